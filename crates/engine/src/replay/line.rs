//! What is told, one line after the other. As JSON, each is an object whose `line` says what it is.

use chrono::{DateTime, SecondsFormat, Utc};
use fleetlog_aggregates::command::{self, Request, Status};
use fleetlog_aggregates::device;
use fleetlog_aggregates::identity::Uid;
use fleetlog_event_log::Event;
use serde::{Serialize, Serializer};
use uuid::Uuid;

/// One line.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "line", rename_all = "snake_case")]
pub enum Line {
    /// A command, whose events follow.
    Command {
        /// Which.
        cmd_id: Uuid,
        /// What was asked for, and by whom.
        #[serde(flatten)]
        request: Request,
    },
    /// A device, whose events and whose commands' events follow.
    Device {
        /// Which.
        device_uid: Uid,
    },
    /// An event.
    Event(Box<Step>),
    /// Where a command or a device was after the events told before.
    State(State),
    /// How many commands were in which state.
    Counts {
        /// When; now, where it is absent.
        #[serde(skip_serializing_if = "Option::is_none")]
        as_of: Option<DateTime<Utc>>,
        /// By state.
        commands: Counts,
    },
}

/// An event, as it is stored, and what it changed.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    /// The event.
    #[serde(flatten)]
    pub event: Event,
    /// Where the command or the device was after it.
    pub state: &'static str,
    #[serde(skip)]
    pub(super) what: What,
}

/// An event's payload, understood.
#[derive(Debug, Clone)]
pub(super) enum What {
    /// Of the command that is being told.
    Command(command::Event),
    /// Of one of a device's commands.
    CommandOf(Uuid, command::Event),
    /// Of a device.
    Device(device::Event),
}

/// Where a command or a device was.
#[derive(Debug, Clone, Serialize)]
pub struct State {
    /// When; now, where it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_of: Option<DateTime<Utc>>,
    /// Which command, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmd_id: Option<Uuid>,
    /// Which device, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_uid: Option<Uid>,
    /// Where it was.
    pub state: &'static str,
    /// How many attempts there had been at a command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// A device's commands, by state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commands: Option<Counts>,
}

/// Commands by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts([u64; Status::ALL.len()]);

impl Counts {
    /// Each state with its count, in the order of a life.
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

/// A time as people and programs read it, to the microsecond that is stored.
pub(super) fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}
