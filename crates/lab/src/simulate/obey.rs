//! How simulated devices answer commands: as told, or, for a chosen share, with the faults of real devices.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use chrono::Utc;
use fleetlog_aggregates::command::Ack;
use fleetlog_aggregates::identity::Uid;
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use uuid::Uuid;

use super::Error;
use super::counts::Counts;
use crate::device::Message;
use crate::device::command::{self, AckCache, Command, done, failed};

/// The shares of commands that go wrong. Each is 0 to 1, and their sum is at most 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Faults {
    /// The device says that it failed.
    pub fail: f64,
    /// The device never answers.
    pub silent: f64,
    /// The device answers [`Faults::late_by`] after it received the command.
    pub late: f64,
    /// The delay of a late answer.
    pub late_by: Duration,
}

impl Default for Faults {
    /// No faults. The delay is a minute, which is longer than an attempt waits by default.
    fn default() -> Self {
        Self { fail: 0.0, silent: 0.0, late: 0.0, late_by: Duration::from_mins(1) }
    }
}

/// How a device treats a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Obeyed,
    Failed,
    Silent,
    Late,
}

/// What a device did with a command's message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Acked,
    Failed,
    Silent,
    Late,
}

impl Faults {
    pub(super) fn check(&self) -> Result<(), Error> {
        let parts = [self.fail, self.silent, self.late];
        // Shares that are meant to add up to 1 may miss it by a rounding error.
        let fit = parts.iter().sum::<f64>() <= 1.0 + f64::EPSILON;
        if fit && parts.iter().all(|part| (0.0..=1.0).contains(part)) { Ok(()) } else { Err(Error::Faults) }
    }

    /// Depends on the command's id alone, so that every attempt of a command has the same fate.
    fn fate(&self, cmd_id: Uuid) -> Fate {
        let mut hasher = DefaultHasher::new();
        cmd_id.hash(&mut hasher);
        let drawn = hasher.finish() as f64 / 2_f64.powi(64);
        match drawn {
            drawn if drawn < self.fail => Fate::Failed,
            drawn if drawn < self.fail + self.silent => Fate::Silent,
            drawn if drawn < self.fail + self.silent + self.late => Fate::Late,
            _ => Fate::Obeyed,
        }
    }
}

/// The command side of one simulated device.
pub(super) struct SimulatedDevice<'a> {
    pub(super) uid: &'a Uid,
    pub(super) faults: &'a Faults,
    pub(super) counts: &'a Counts,
    /// The time between two of the device's messages.
    pub(super) period: watch::Sender<Duration>,
    pub(super) outbox: mpsc::Sender<Message>,
}

impl SimulatedDevice<'_> {
    /// Answers commands until the channel of commands closes.
    pub(super) async fn obey(self, mut commands: mpsc::Receiver<Command>) {
        let mut acks = AckCache::default();
        // In the order in which they are due, because all wait equally long.
        let mut late: VecDeque<(Instant, Message)> = VecDeque::new();
        loop {
            let due = async {
                match late.front() {
                    Some((due, _)) => tokio::time::sleep_until(*due).await,
                    None => std::future::pending().await,
                }
            };
            let answer = tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.answer(&command, &mut acks, &mut late),
                    None => return,
                },
                () = due => late.pop_front().map(|(_, message)| message),
            };
            if let Some(answer) = answer
                && self.outbox.send(answer).await.is_err()
            {
                return;
            }
        }
    }

    /// The answer to send now, or `None` for a command that is answered late or never.
    fn answer(
        &self,
        command: &Command,
        acks: &mut AckCache,
        late: &mut VecDeque<(Instant, Message)>,
    ) -> Option<Message> {
        let fate = self.faults.fate(command.cmd_id);
        if fate == Fate::Silent {
            self.counts.commanded(Outcome::Silent);
            return None;
        }
        let ack = acks.answer(command, Utc::now(), |command| match fate {
            Fate::Failed => failed("simulated failure"),
            _ => self.carry_out(command),
        });
        let message = command::message(command, &ack);
        if fate == Fate::Late {
            self.counts.commanded(Outcome::Late);
            late.push_back((Instant::now() + self.faults.late_by, message));
            return None;
        }
        self.counts.commanded(match ack {
            Ack::Ack { .. } => Outcome::Acked,
            Ack::Failed { .. } => Outcome::Failed,
        });
        Some(message)
    }

    fn carry_out(&self, command: &Command) -> Ack {
        match command.cmd.as_str() {
            "ping" => done(json!({ "uid": self.uid })),
            "set_interval" => match command.seconds() {
                Ok(seconds) => {
                    self.period.send_replace(Duration::from_secs(seconds.into()));
                    done(json!({ "seconds": seconds }))
                }
                Err(refusal) => refusal,
            },
            "reboot" => Ack::Ack { result: None },
            _ => failed("not supported"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(fail: f64, silent: f64, late: f64) -> Faults {
        Faults { fail, silent, late, ..Faults::default() }
    }

    #[test]
    fn as_many_commands_as_asked_for_meet_with_each_fate_and_each_with_its_own() {
        let faults = faults(0.1, 0.2, 0.3);
        let mut counts = [0_i32; 4];
        for n in 0..10_000 {
            let fate = faults.fate(Uuid::from_u128(n));
            assert_eq!(fate, faults.fate(Uuid::from_u128(n)));
            counts[fate as usize] += 1;
        }
        for (count, expected) in counts.into_iter().zip([4000, 1000, 2000, 3000]) {
            assert!((count - expected).abs() < 200, "{counts:?}");
        }
    }

    #[test]
    fn parts_are_from_nothing_to_everything() {
        for good in [faults(0.0, 0.0, 0.0), faults(1.0, 0.0, 0.0), faults(0.1, 0.2, 0.7)] {
            assert_eq!(good.check(), Ok(()), "{good:?}");
        }
        for bad in [
            faults(-0.1, 0.0, 0.0),
            faults(0.0, 1.1, 0.0),
            faults(0.4, 0.4, 0.4),
            faults(0.0, 0.0, f64::NAN),
            faults(1.5, -0.5, 0.0),
        ] {
            assert_eq!(bad.check(), Err(Error::Faults), "{bad:?}");
        }
    }
}
