//! A command, as its events left it: all of it while it goes on, and how it ended after that.

use cqrs_es::Aggregate;
use fleetlog_aggregates::command::{Command, Event, Status};

/// A command's life so far.
pub(super) enum Life {
    /// As its aggregate has it.
    Full(Box<Command>),
    /// How it ended, which no event changes any more, and after how many attempts.
    Ended(Status, u32),
}

impl Default for Life {
    fn default() -> Self {
        Self::Full(Box::default())
    }
}

impl Life {
    pub(super) fn apply(&mut self, event: Event) {
        if let Self::Full(command) = self {
            command.apply(event);
        }
    }

    /// Lets go of everything but the end, once there is one: of a device's many commands few have not ended.
    pub(super) fn forget_if_ended(&mut self) {
        if let (true, Some(status)) = (self.has_ended(), self.status()) {
            *self = Self::Ended(status, self.attempts());
        }
    }

    pub(super) fn status(&self) -> Option<Status> {
        match self {
            Self::Full(command) => command.status(),
            Self::Ended(status, _) => Some(*status),
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.status().is_some_and(Status::is_terminal)
    }

    pub(super) fn attempts(&self) -> u32 {
        match self {
            Self::Full(command) => command.attempts(),
            Self::Ended(_, attempts) => *attempts,
        }
    }

    /// The public word for where it is.
    pub(super) fn state(&self) -> &'static str {
        self.status().map_or("unknown", Status::as_str)
    }
}
