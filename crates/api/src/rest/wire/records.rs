//! The record of an event: what its leaf in the log's tree covers.

use chrono::{DateTime, SecondsFormat, Utc};
use fleetlog_event_log::Event;
use fleetlog_event_log::event::{Json, StoredMetadata};
use serde::Serialize;
use utoipa::ToSchema;

/// An event's stored columns, each as it is hashed: one of the two forms that a line of a bundle has.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = EventRecord)]
pub(in crate::rest) enum Record {
    /// An event of the control lane.
    Control(ControlRecord),
    /// A reading of a device.
    Reading(ReadingRecord),
}

/// The columns of an event of the control lane.
#[derive(Serialize, ToSchema)]
pub(in crate::rest) struct ControlRecord {
    /// The number of the event's log.
    log_id: i32,
    /// The event's position in its log.
    position: i64,
    /// The type of the aggregate that the event's stream belongs to.
    #[schema(example = "Device")]
    aggregate_type: String,
    /// The event's stream: the tenant, and the name within the tenant.
    #[schema(example = "t0/dev-01")]
    aggregate_id: String,
    /// The event's number in its stream.
    sequence: i64,
    /// What happened: the name of the event.
    #[schema(example = "DeviceRegistered")]
    event_type: String,
    /// The version of the payload's format.
    #[schema(example = "1.0")]
    event_version: String,
    /// The stored JSON text of the payload, byte for byte.
    #[schema(example = "{\"DeviceRegistered\":{}}")]
    payload: String,
    /// The stored JSON text of the metadata, byte for byte.
    #[schema(example = "{\"actor\":\"user:admin\"}")]
    metadata: String,
    /// When the event happened, with six decimals.
    #[schema(example = "2026-11-20T13:00:00.000000Z")]
    occurred_at: String,
    /// When the event was recorded, with six decimals.
    #[schema(example = "2026-11-20T13:00:00.000001Z")]
    recorded_at: String,
}

/// The columns of a reading.
#[derive(Serialize, ToSchema)]
pub(in crate::rest) struct ReadingRecord {
    /// The number of the reading's log.
    log_id: i32,
    /// The reading's position in its log.
    position: i64,
    /// When the reading was taken, with six decimals.
    #[schema(example = "2026-11-20T13:32:47.000000Z")]
    occurred_at: String,
    /// When the reading was recorded, with six decimals.
    #[schema(example = "2026-11-20T13:32:47.250000Z")]
    recorded_at: String,
    /// What ingest noticed, as bits.
    flags: i16,
    /// The reading's stream: the tenant, and the device's uid.
    #[schema(example = "t0/dev-01")]
    aggregate_id: String,
    /// The device's message id.
    #[schema(example = "1")]
    msg_id: String,
    /// The stored JSON text of the payload, byte for byte.
    #[schema(example = "{\"metrics\":{\"temp_c\":21.5}}")]
    payload: String,
}

impl From<Event> for Record {
    fn from(event: Event) -> Self {
        let text = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Micros, true);
        let (occurred_at, recorded_at) = (text(event.occurred_at), text(event.recorded_at));
        let Json(payload) = event.payload;
        match event.metadata {
            StoredMetadata::Control(Json(metadata)) => Self::Control(ControlRecord {
                log_id: event.log_id.0,
                position: event.position,
                aggregate_type: event.aggregate_type.into_owned(),
                aggregate_id: event.aggregate_id,
                sequence: event.sequence,
                event_type: event.event_type.into_owned(),
                event_version: event.event_version.into_owned(),
                payload,
                metadata,
                occurred_at,
                recorded_at,
            }),
            StoredMetadata::Telemetry { flags } => Self::Reading(ReadingRecord {
                log_id: event.log_id.0,
                position: event.position,
                occurred_at,
                recorded_at,
                flags: flags.bits(),
                aggregate_id: event.aggregate_id,
                msg_id: event.msg_id.unwrap_or_default(),
                payload,
            }),
        }
    }
}
