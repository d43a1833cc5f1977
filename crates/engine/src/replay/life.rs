//! A command after its events: the whole aggregate while it is open, only its end after that.

use cqrs_es::Aggregate;
use fleetlog_aggregates::command::{Command, Event, Status};

/// A command so far.
pub(super) enum Life {
    /// An open command's aggregate.
    Full(Box<Command>),
    /// A final status, which no event changes any more, and the number of attempts.
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

    /// Keeps only the end of a command that has ended, to save memory: few of a device's many commands are open.
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

    /// The command's status as the API writes it.
    pub(super) fn state(&self) -> &'static str {
        self.status().map_or("unknown", Status::as_str)
    }
}
