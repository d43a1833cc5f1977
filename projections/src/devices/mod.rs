//! `devices`: who is there, when it was last heard of, its last reading, and how much it has sent.
//!
//! - `fold`: what events change
//! - `model`: how that is written
//! - `listing`: which devices to list, in which order, from where on
//! - `queries`: list, count, get
//!
//! The control lane brings name, labels and life; the telemetry lane brings what was last heard. Either may be ahead.

mod fold;
mod listing;
mod model;
mod queries;

use chrono::{DateTime, Utc};
use fleetlog_aggregates::device::{Labels, Via};
use fleetlog_aggregates::words;
use fleetlog_aggregates::words::UnknownWord;
use fleetlog_event_log::Position;
use fleetlog_event_log::event::Json;
use serde::{Deserialize, Serialize};

use crate::paging::BadCursor;

pub use listing::{Cursor, Query, Sort, SortBy};
pub use model::Model;
pub use queries::{count, get, heard_since, in_service, in_service_now, labels, list, with_labels};

/// A device as the log left it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Device {
    /// Its name within the tenant.
    pub uid: String,
    /// What people call it.
    pub name: Option<String>,
    /// What policies find it by.
    #[cfg_attr(feature = "openapi", schema(value_type = std::collections::BTreeMap<String, String>))]
    pub labels: Labels,
    /// Whether it is heard of.
    pub status: Status,
    /// When it was put on the record; after a decommissioning, when it was put back.
    pub registered_at: DateTime<Utc>,
    /// Who put it there: its own first message, or a request.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub registered_via: Via,
    /// When it was taken out of service.
    pub decommissioned_at: Option<DateTime<Utc>>,
    /// When its newest message arrived, by the server's clock.
    pub last_seen_at: Option<DateTime<Utc>>,
    /// Its latest reading by the device's own clock, whenever that arrived.
    pub last_reading: Option<LastReading>,
    /// How many messages are on the record.
    pub messages: i64,
    /// How many more were recognised as repeats.
    pub duplicates: i64,
}

/// A device's latest reading.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LastReading {
    /// When it happened, by the device's clock.
    pub occurred_at: DateTime<Utc>,
    /// Its position in the telemetry log.
    pub position: Position,
    /// What the device sent.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub payload: Json,
}

/// Whether a device is heard of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Status {
    /// In service, and heard of lately.
    Online,
    /// In service, and silent.
    Offline,
    /// Out of service.
    Decommissioned,
}

words! { Status { Online = "online", Offline = "offline", Decommissioned = "decommissioned" } }

/// What [`list`] and its like fail with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The cursor cannot be followed.
    #[error(transparent)]
    Cursor(#[from] BadCursor),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] fleetlog_event_log::Error),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}
