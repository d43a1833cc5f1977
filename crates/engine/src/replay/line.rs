//! The lines of a replay. As JSON, each is an object whose `line` says which kind it is.

use chrono::{DateTime, SecondsFormat, Utc};
use fleetlog_aggregates::command::{self, Request, Status};
use fleetlog_aggregates::device;
use fleetlog_aggregates::identity::Uid;
use fleetlog_event_log::Event;
use fleetlog_event_log::as_of::AsOf;
use serde::{Serialize, Serializer};
use uuid::Uuid;

/// A line of a replay.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "line", rename_all = "snake_case")]
pub enum Line {
    /// A command; its events follow.
    Command {
        /// The command's id.
        cmd_id: Uuid,
        /// The request.
        #[serde(flatten)]
        request: Request,
    },
    /// A device; its events and those of its commands follow.
    Device {
        /// The device's uid.
        device_uid: Uid,
    },
    /// An event.
    Event(Box<Step>),
    /// The state of a command or a device after the events before this line.
    State(State),
    /// The number of commands in each state.
    Counts {
        /// The moment of the replay; absent means now.
        #[serde(skip_serializing_if = "Option::is_none")]
        as_of: Option<AsOf>,
        /// The number of commands by state.
        commands: Counts,
    },
}

/// A stored event, and the state after it.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    /// The event.
    #[serde(flatten)]
    pub event: Event,
    /// The state of the command or the device after the event.
    pub state: &'static str,
    #[serde(skip)]
    pub(super) what: What,
}

/// A parsed payload.
#[derive(Debug, Clone)]
pub(super) enum What {
    /// An event of the command that is replayed.
    Command(command::Event),
    /// An event of one of a device's commands.
    CommandOf(Uuid, command::Event),
    /// An event of a device.
    Device(device::Event),
}

/// The state of a command or a device.
#[derive(Debug, Clone, Serialize)]
pub struct State {
    /// The moment of the replay; absent means now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_of: Option<AsOf>,
    /// The command's id; absent for a device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmd_id: Option<Uuid>,
    /// The device's uid; absent for a command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_uid: Option<Uid>,
    /// The state.
    pub state: &'static str,
    /// The number of attempts; absent for a device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// The number of the device's commands by state; absent for a command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commands: Option<Counts>,
}

/// Numbers of commands by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts([u64; Status::ALL.len()]);

impl Counts {
    /// Each state with its number, in the order of a command's life.
    pub fn iter(&self) -> impl Iterator<Item = (Status, u64)> {
        Status::ALL.into_iter().zip(self.0)
    }
}

impl Extend<Status> for Counts {
    fn extend<I: IntoIterator<Item = Status>>(&mut self, statuses: I) {
        for status in statuses {
            self.0[status as usize] += 1;
        }
    }
}

impl FromIterator<Status> for Counts {
    fn from_iter<I: IntoIterator<Item = Status>>(statuses: I) -> Self {
        let mut counts = Self::default();
        counts.extend(statuses);
        counts
    }
}

impl Serialize for Counts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter().map(|(status, count)| (status.as_str(), count)))
    }
}

/// A time in RFC 3339, to the microsecond, as it is stored.
pub(super) fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}
