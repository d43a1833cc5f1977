//! A command as a device reads it, and its ack. A device carries out each command once, however many attempts arrive,
//! and acknowledges every attempt with the same ack.

use std::collections::VecDeque;

use chrono::{DateTime, Utc};
use fleetlog_aggregates::command::Ack;
use fleetlog_aggregates::topic::Channel;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use super::Message;

/// How many acks are remembered. A command arrives again within minutes, or not at all.
const REMEMBERED: usize = 100;
/// The range of `set_interval`, in seconds, as in the command type that comes with fleetlog.
const SECONDS: std::ops::RangeInclusive<u32> = 1..=86_400;

/// The fields of a command that a device needs. The message also has the attempt's number and its time.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Command {
    pub(crate) cmd_id: Uuid,
    pub(crate) cmd: String,
    #[serde(default)]
    pub(crate) params: Value,
    /// The device must not carry out the command at or after this time.
    pub(crate) expires_at: DateTime<Utc>,
}

#[derive(Serialize)]
struct AckMessage<'a> {
    cmd_id: Uuid,
    #[serde(flatten)]
    ack: &'a Ack,
}

/// The last acks of one device.
#[derive(Debug, Default)]
pub(crate) struct AckCache {
    given: VecDeque<(Uuid, Ack)>,
}

impl Command {
    /// Parses a message. One that is not a command gets no ack, because it has no id to name in it.
    pub(crate) fn read(payload: &[u8]) -> Option<Self> {
        match serde_json::from_slice(payload) {
            Ok(command) => Some(command),
            Err(error) => {
                tracing::warn!(%error, "ignored a message that is not a command");
                None
            }
        }
    }

    /// The seconds of a `set_interval`, or a `failed` ack that says what is wrong.
    pub(crate) fn seconds(&self) -> Result<u32, Ack> {
        let seconds = self.params["seconds"].as_u64().and_then(|seconds| u32::try_from(seconds).ok());
        seconds.filter(|seconds| SECONDS.contains(seconds)).ok_or_else(|| {
            failed(&format!("expected params.seconds from {} to {}", SECONDS.start(), SECONDS.end()))
        })
    }
}

impl AckCache {
    /// The ack of a command. Calls `carry_out` if the command is new and has not expired.
    pub(crate) fn answer(
        &mut self,
        command: &Command,
        now: DateTime<Utc>,
        carry_out: impl FnOnce(&Command) -> Ack,
    ) -> Ack {
        if let Some((_, ack)) = self.given.iter().find(|(cmd_id, _)| *cmd_id == command.cmd_id) {
            return ack.clone();
        }
        let ack = if command.expires_at <= now { failed("expired") } else { carry_out(command) };
        if self.given.len() == REMEMBERED {
            self.given.pop_front();
        }
        self.given.push_back((command.cmd_id, ack.clone()));
        ack
    }
}

/// An ack that says that the command was done, with this result.
pub(crate) fn done(result: Value) -> Ack {
    Ack::Ack { result: Some(result.into()) }
}

/// An ack that says that the command failed, and why.
pub(crate) fn failed(why: &str) -> Ack {
    Ack::Failed { error: Some(json!(why).into()) }
}

/// An ack as the message to publish.
pub(crate) fn message(command: &Command, ack: &Ack) -> Message {
    let payload = json!(AckMessage { cmd_id: command.cmd_id, ack }).to_string();
    Message { channel: Channel::CommandAck, payload, due: Instant::now() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(n: u128, cmd: &str, params: Value) -> Command {
        let expires_at = DateTime::from_timestamp(1000, 0).expect("in range");
        Command { cmd_id: Uuid::from_u128(n), cmd: cmd.to_owned(), params, expires_at }
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).expect("in range")
    }

    #[test]
    fn a_command_that_comes_again_is_answered_again_and_not_carried_out() {
        let mut acks = AckCache::default();
        let ping = command(1, "ping", json!({}));
        assert_eq!(acks.answer(&ping, at(0), |_| done(json!(1))), done(json!(1)));
        for late in [1, 2000] {
            assert_eq!(acks.answer(&ping, at(late), |_| unreachable!()), done(json!(1)));
        }
    }

    #[test]
    fn an_expired_command_is_refused_from_the_moment_on_at_which_it_expires() {
        for (n, now, expected) in [(1, 999, done(json!(1))), (2, 1000, failed("expired"))] {
            let answer =
                AckCache::default().answer(&command(n, "ping", json!({})), at(now), |_| done(json!(1)));
            assert_eq!(answer, expected);
        }
    }

    #[test]
    fn the_last_hundred_answers_are_remembered() {
        let mut acks = AckCache::default();
        for n in 0..=REMEMBERED as u128 {
            acks.answer(&command(n, "ping", json!({})), at(0), |_| done(json!("first")));
        }
        for (n, expected) in [(1, "first"), (0, "second")] {
            let answer = acks.answer(&command(n, "ping", json!({})), at(0), |_| done(json!("second")));
            assert_eq!(answer, done(json!(expected)), "{n}");
        }
    }

    #[test]
    fn an_answer_is_what_the_service_reads() {
        let ping = command(7, "ping", json!({}));
        for ack in [done(json!({"ms": 3})), failed("hot")] {
            let message = message(&ping, &ack);
            let read = fleetlog_aggregates::command_ack::decode(message.payload.as_bytes());
            assert_eq!(read, Ok((ping.cmd_id, ack)));
        }
    }

    #[test]
    fn an_interval_is_a_whole_number_of_seconds_up_to_a_day() {
        for (params, expected) in [
            (json!({"seconds": 1}), Some(1)),
            (json!({"seconds": 86_400}), Some(86_400)),
            (json!({"seconds": 0}), None),
            (json!({"seconds": 86_401}), None),
            (json!({"seconds": 1.5}), None),
            (json!({"seconds": u64::MAX}), None),
            (json!({}), None),
            (json!(null), None),
        ] {
            assert_eq!(command(1, "set_interval", params.clone()).seconds().ok(), expected, "{params}");
        }
    }

    #[test]
    fn what_is_no_command_is_ignored() {
        let id = Uuid::nil();
        let whole = format!(
            r#"{{"cmd_id":"{id}","cmd":"ping","params":{{}},"attempt":1,"issued_at":"1970-01-01T00:00:00Z","expires_at":"1970-01-01T00:16:40Z"}}"#
        );
        assert_eq!(
            Command::read(whole.as_bytes()),
            Some(Command { cmd_id: id, ..command(0, "ping", json!({})) })
        );
        for bad in ["", "{}", "[]", r#"{"cmd_id":"7","cmd":"ping"}"#] {
            assert_eq!(Command::read(bad.as_bytes()), None, "{bad}");
        }
    }
}
