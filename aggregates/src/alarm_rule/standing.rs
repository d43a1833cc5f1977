//! How a condition stands for one device, and one metric or command type of it. Facts come one after the other; each leaves
//! a standing, and sometimes a verdict. Pure: time is a fact like the others.
//!
//! Readings are ordered by the device's time: one that is not newer than the last one that counted is late, and changes
//! nothing. Silence, and how long a value has held without a further reading, are measured by the server's clock.

use chrono::{DateTime, TimeDelta, Utc};

use super::Condition;
use super::recent::Recent;

/// Something that a condition may be about.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fact {
    /// A reading with the metric.
    Reading {
        /// The metric's value.
        value: f64,
        /// Where and when.
        event: Since,
    },
    /// A message of the device that shows that it is there.
    Heard(Since),
    /// A command to the device has ended.
    Command {
        /// Whether the device did it.
        succeeded: bool,
        /// Where and when.
        event: Since,
    },
    /// It is this late by the server's clock, and the logs were read up to heads that were read after that.
    Clock(DateTime<Utc>),
}

/// The place and the times of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Since {
    /// When it happened, by the device's clock for a reading.
    pub at: DateTime<Utc>,
    /// When it was appended, by the server's clock.
    pub recorded_at: DateTime<Utc>,
    /// Its position in its log.
    pub position: i64,
}

/// What follows from a fact.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Verdict {
    /// An alarm is raised.
    Raise {
        /// The event with which the condition began to hold: of a silence, the last message. It names the alarm.
        since: Since,
        /// The metric's value; of a rate, by how much it has changed.
        value: Option<f64>,
    },
    /// The alarm is cleared.
    Clear {
        /// The event with which the condition ended.
        by: Since,
        /// The metric's value; of a rate, by how much it has changed.
        value: Option<f64>,
    },
}

/// How a condition stands.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Standing {
    /// The device's time of the last reading that counted.
    pub seen_at: Option<DateTime<Utc>>,
    /// The metric's value in it; of a rate, by how much it had changed.
    pub value: Option<f64>,
    /// The event with which the condition began to hold; of a silence, the last message.
    pub since: Option<Since>,
    /// Whether an alarm was raised, and the condition has not ended since.
    pub is_raised: bool,
    /// The values of the last seconds, for a rate.
    pub recent: Recent,
}

impl Standing {
    /// Takes in a fact.
    pub fn take(&mut self, condition: &Condition, fact: Fact) -> Option<Verdict> {
        match (condition, fact) {
            (_, Fact::Clock(now)) => self.clock(condition, now),
            (
                Condition::Threshold { is, value: limit, clear_value, for_s, .. },
                Fact::Reading { value, event },
            ) => {
                if !self.is_newer(event, value) {
                    return None;
                }
                if self.is_raised {
                    let is_over = !is.is_beyond(value, clear_value.unwrap_or(*limit));
                    return is_over.then(|| self.end(event));
                }
                if !is.is_beyond(value, *limit) {
                    self.since = None;
                    return None;
                }
                let since = *self.since.get_or_insert(event);
                let held = event.at.signed_duration_since(since.at);
                (held >= seconds(*for_s)).then(|| self.begin(since))
            }
            (Condition::Rate { by, within_s, .. }, Fact::Reading { value, event }) => {
                if !self.is_newer(event, value) {
                    return None;
                }
                let change = self.recent.add(event.at, value, seconds(*within_s));
                self.value = Some(change);
                match (change > *by, self.is_raised) {
                    (true, false) => Some(self.begin(event)),
                    (false, true) => Some(self.end(event)),
                    _ => None,
                }
            }
            (Condition::Silent { .. }, Fact::Heard(event)) => {
                let was_raised = std::mem::take(&mut self.is_raised);
                // A server's clock that was set back does not make a device silent.
                let heard =
                    self.since.map_or(event.recorded_at, |last| last.recorded_at.max(event.recorded_at));
                self.since = Some(Since { recorded_at: heard, ..event });
                was_raised.then_some(Verdict::Clear { by: event, value: None })
            }
            (Condition::CommandFailed { .. }, Fact::Command { succeeded, event }) => {
                match (succeeded, self.is_raised) {
                    (false, false) => Some(self.begin(event)),
                    (true, true) => Some(self.end(event)),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// When the clock will decide, by the server's clock, if no other fact comes before.
    #[must_use]
    pub fn due(&self, condition: &Condition) -> Option<DateTime<Utc>> {
        let since = self.since.filter(|_| !self.is_raised)?;
        let for_s = match condition {
            Condition::Threshold { for_s, .. } | Condition::Silent { for_s } => *for_s,
            Condition::Rate { .. } | Condition::CommandFailed { .. } => return None,
        };
        Some(since.recorded_at + seconds(for_s))
    }

    fn clock(&mut self, condition: &Condition, now: DateTime<Utc>) -> Option<Verdict> {
        let since = self.since?;
        self.due(condition).is_some_and(|due| due <= now).then(|| self.begin(since))
    }

    /// Notes a reading, unless it is late.
    fn is_newer(&mut self, event: Since, value: f64) -> bool {
        let is_newer = self.seen_at.is_none_or(|seen| seen < event.at);
        if is_newer {
            self.seen_at = Some(event.at);
            self.value = Some(value);
        }
        is_newer
    }

    fn begin(&mut self, since: Since) -> Verdict {
        self.is_raised = true;
        self.since = Some(since);
        Verdict::Raise { since, value: self.value }
    }

    fn end(&mut self, by: Since) -> Verdict {
        self.is_raised = false;
        self.since = None;
        Verdict::Clear { by, value: self.value }
    }
}

fn seconds(seconds: u32) -> TimeDelta {
    TimeDelta::seconds(i64::from(seconds))
}

#[cfg(test)]
#[path = "standing/tests.rs"]
mod tests;
