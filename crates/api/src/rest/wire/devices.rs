//! Devices, as REST shows them.

use chrono::{DateTime, Utc};
use fleetlog_aggregates::device::{Labels, Via};
use fleetlog_event_log::event::Json;
use fleetlog_event_log::{Lane, Position, TenantLog};
use fleetlog_projections::devices;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::EventPosition;

/// A device, and what was last heard of it.
#[derive(Serialize, ToSchema)]
pub(in crate::rest) struct Device {
    /// The device's name within its tenant.
    pub(in crate::rest) uid: String,
    /// The display name, for people.
    pub(in crate::rest) name: Option<String>,
    /// The labels by which people and policies find the device.
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    pub(in crate::rest) labels: Labels,
    /// Whether the device is in service, and there: it has given a sign of life within its threshold, and has not said since
    /// that it is offline.
    pub(in crate::rest) status: Status,
    /// When the device was registered; after a decommissioning, when it was registered again.
    pub(in crate::rest) registered_at: DateTime<Utc>,
    /// What the device was registered by: its first message (`telemetry`) or a request (`api`).
    #[schema(value_type = String)]
    pub(in crate::rest) registered_via: Via,
    /// When the device was taken out of service.
    pub(in crate::rest) decommissioned_at: Option<DateTime<Utc>>,
    /// When the device's newest message arrived that is a sign of life, by the server's clock: a reading, an answer to a command, or
    /// that it is online. A connection is a sign of life too, and does not count here: `connected_at` tells of it.
    pub(in crate::rest) last_seen_at: Option<DateTime<Utc>>,
    /// Since when the device is connected to the MQTT endpoint. Null if it is not; null with a broker of one's own, which does not
    /// tell.
    pub(in crate::rest) connected_at: Option<DateTime<Utc>>,
    /// After how many seconds without a sign of life the device counts as offline. Null: as the service's setting says.
    pub(in crate::rest) online_within_s: Option<u32>,
    /// The latest reading by the device's own clock, whenever it arrived.
    pub(in crate::rest) last_reading: Option<LastReading>,
    /// How many messages of the device are on the record.
    pub(in crate::rest) messages: i64,
    /// How many further messages were recognised as repeats. Null in an answer as of an earlier moment: they are not on the record.
    pub(in crate::rest) duplicates: Option<i64>,
    /// The last event of the control log that changed the device: its registration, its name or labels, its decommissioning.
    /// Null if it is not known.
    pub(in crate::rest) last_control_event: Option<EventPosition>,
    /// The last reading that is counted in `messages`, by its place in the log. Null if there is none, or it is not known.
    pub(in crate::rest) last_telemetry_event: Option<EventPosition>,
}

impl Device {
    /// A device of the log's tenant.
    pub(in crate::rest) fn of(device: devices::Device, log: &TenantLog) -> Self {
        Self {
            uid: device.uid.into(),
            name: device.name,
            labels: device.labels,
            status: device.status.into(),
            registered_at: device.registered_at,
            registered_via: device.registered_via,
            decommissioned_at: device.decommissioned_at,
            last_seen_at: device.last_seen_at,
            connected_at: device.connected_at,
            online_within_s: device.online_within_s,
            last_reading: device.last_reading.map(Into::into),
            messages: device.messages,
            duplicates: device.duplicates,
            last_control_event: EventPosition::of(log, Lane::Control, device.control_position),
            last_telemetry_event: EventPosition::of(log, Lane::Telemetry, device.telemetry_position),
        }
    }
}

/// A device's latest reading.
#[derive(Serialize, ToSchema)]
pub(in crate::rest) struct LastReading {
    /// When the reading was taken, by the device's clock.
    pub(in crate::rest) occurred_at: DateTime<Utc>,
    /// The position of the reading in the telemetry log.
    #[schema(value_type = i64)]
    pub(in crate::rest) position: Position,
    /// The payload that the device sent.
    #[schema(value_type = Object)]
    pub(in crate::rest) payload: Json,
}

impl From<devices::LastReading> for LastReading {
    fn from(reading: devices::LastReading) -> Self {
        Self { occurred_at: reading.occurred_at, position: reading.position, payload: reading.payload }
    }
}

/// Whether a device is in service and was heard of lately.
#[derive(Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = DeviceStatus)]
pub(in crate::rest) enum Status {
    /// The device is in service and there.
    Online,
    /// The device is in service, and silent or gone.
    Offline,
    /// The device is out of service.
    Decommissioned,
}

impl From<devices::Status> for Status {
    fn from(status: devices::Status) -> Self {
        match status {
            devices::Status::Online => Self::Online,
            devices::Status::Offline => Self::Offline,
            devices::Status::Decommissioned => Self::Decommissioned,
        }
    }
}

impl From<Status> for devices::Status {
    fn from(status: Status) -> Self {
        match status {
            Status::Online => Self::Online,
            Status::Offline => Self::Offline,
            Status::Decommissioned => Self::Decommissioned,
        }
    }
}
