//! `devices`: each device, when it was last heard of, its last reading, and how much it has sent.
//!
//! - `fold`: what events change
//! - `compared`: what two versions are compared by, and the same from the log
//! - `model`: how the changes are written
//! - `listing`: which devices to list, in which order, after which device
//! - `queries`: list, count, get
//! - `changes`: devices as each of their events left them, from the log
//! - [`online`]: which devices count as online, and what connections have to do with it
//! - [`as_of`]: the same as of a moment of the past, folded from the log
//!
//! The control lane brings a device's registration, name and labels, and its answers to commands; the telemetry lane brings
//! what else the device sent. Either lane may be ahead of the other. Who is connected to the endpoint is not in the log: it is
//! a table of its own, which is joined to the rows when they are read.

pub mod as_of;
mod changes;
mod compared;
mod fold;
mod listing;
mod model;
pub mod online;
mod queries;

use chrono::{DateTime, Utc};
use fleetlog_aggregates::device::{Labels, Via};
use fleetlog_aggregates::identity::Uid;
use fleetlog_aggregates::words;
use fleetlog_aggregates::words::UnknownWord;
use fleetlog_event_log::Position;
use fleetlog_event_log::event::Json;

use crate::paging::BadCursor;

pub use changes::after_each;
pub use listing::{Cursor, Query, Sort, SortBy};
pub use model::Model;
pub use online::Rule;
pub use queries::{count, get, heard_since, in_service, in_service_now, labels, list, with_labels};

/// A device, and what was last heard of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Device {
    /// The device's name within its tenant.
    pub uid: Uid,
    /// The display name, for people.
    pub name: Option<String>,
    /// The labels by which people and policies find the device.
    pub labels: Labels,
    /// Whether the device is in service and was heard of lately.
    pub status: Status,
    /// When the device was registered; after a decommissioning, when it was registered again.
    pub registered_at: DateTime<Utc>,
    /// What the device was registered by: its first message (`telemetry`) or a request (`api`).
    pub registered_via: Via,
    /// When the device was taken out of service.
    pub decommissioned_at: Option<DateTime<Utc>>,
    /// When the last message of the device that is a sign of life arrived, by the server's clock: a reading, an answer to a
    /// command, or that it is online.
    pub last_seen_at: Option<DateTime<Utc>>,
    /// Since when the device is connected to the endpoint. `None` if it is not, or if that is not known.
    pub connected_at: Option<DateTime<Utc>>,
    /// After how many seconds without a sign of life the device counts as offline. `None`: as the service's setting says.
    pub online_within_s: Option<u32>,
    /// The latest reading by the device's own clock, whenever it arrived.
    pub last_reading: Option<LastReading>,
    /// How many messages of the device are on the record.
    pub messages: i64,
    /// How many further messages were recognised as repeats. `None` as of a moment of the past: repeats are counted, and not
    /// on the record.
    pub duplicates: Option<i64>,
    /// The position of the last event of the control log that changed the device. Credentials change nothing that is
    /// said here. `None` if it is not known.
    pub control_position: Option<Position>,
    /// The position of the last of its `messages`, whatever their own times. `None` if there are none, or it is not known.
    pub telemetry_position: Option<Position>,
}

/// A device's latest reading.
#[derive(Debug, Clone, PartialEq)]
pub struct LastReading {
    /// When the reading was taken, by the device's clock.
    pub occurred_at: DateTime<Utc>,
    /// The position of the reading in the telemetry log.
    pub position: Position,
    /// The payload that the device sent.
    pub payload: Json,
}

/// Whether a device is in service and was heard of lately.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// The device is in service and there.
    Online,
    /// The device is in service, and silent or gone.
    Offline,
    /// The device is out of service.
    Decommissioned,
}

words! { Status { Online = "online", Offline = "offline", Decommissioned = "decommissioned" } }

/// Why a query for devices failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The cursor cannot be followed.
    #[error(transparent)]
    Cursor(#[from] BadCursor),
    /// The list would fold too many changes.
    #[error(
        "the tenant's devices had changed more than {} times by then, which is more than a list as of a moment folds: \
         ask for one device at a time",
        as_of::CHANGES
    )]
    TooManyChanges,
    /// One device alone had sent too many readings.
    #[error(
        "a device had sent more than {} readings by then, which is more than an answer folds: ask as of an earlier \
         moment, or read the device's telemetry up to then",
        as_of::READINGS
    )]
    DeviceSentTooMuch,
    /// Too many answers to commands came within the time that decides who was online, or before a list by when devices were
    /// last seen.
    #[error(
        "devices had answered more than {} commands, which is more than an answer folds: leave out the status, and sort by \
         uid or by registered_at",
        as_of::READINGS
    )]
    TooManyAnswers,
    /// Too many readings came within the time that decides who was online.
    #[error(
        "more than {} readings had just come, which is more than an answer folds to tell who was online: leave out the \
         status",
        as_of::READINGS
    )]
    TooManyLately,
    /// The order of the list depends on too many readings.
    #[error(
        "the devices had sent more than {} readings by then, which is more than an answer folds: sort by uid or by \
         registered_at",
        as_of::READINGS
    )]
    TooManyToSort,
    /// The first readings are no longer on the record.
    #[error(
        "readings before position {begins} are no longer kept, so how much devices had sent by an earlier moment is not \
         known: ask for devices as they are now"
    )]
    Removed {
        /// The first position that the telemetry log still holds.
        begins: Position,
    },
    /// The database failed.
    #[error(transparent)]
    Database(#[from] fleetlog_event_log::Error),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}
