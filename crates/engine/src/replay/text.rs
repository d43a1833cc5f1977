//! The lines of a replay as text. Values from devices and people are shown as JSON: in quotes, on one line, and without
//! the characters that a terminal would act on.

use std::fmt::{self, Display, Formatter, Write};

use chrono::SecondsFormat;
use fleetlog_aggregates::command::{self, Ack, Request};
use fleetlog_aggregates::device::{self, Certificate, OnlineWithin, Via};
use fleetlog_event_log::Event;
use fleetlog_event_log::as_of::AsOf;
use serde::Serialize;

use super::line::{Counts, Line, State, Step, What, time};

impl Display for Line {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command { cmd_id, request } => {
                let Request { device_uid, cmd, params, requested_by, .. } = request;
                let (cmd, params, by) = (plain(cmd), quoted(params), plain(requested_by));
                write!(f, "command {cmd_id} for {device_uid}: {cmd} {params}, asked for by {by}")
            }
            Self::Device { device_uid } => write!(f, "device {device_uid}"),
            Self::Event(step) => step.fmt(f),
            Self::State(state) => state.fmt(f),
            Self::Counts { as_of, commands } => write!(f, "{}: {commands}", Moment(*as_of)),
        }
    }
}

impl Display for Step {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Event { position, recorded_at, .. } = &self.event;
        // Always six decimals, so that lines align.
        let at = recorded_at.to_rfc3339_opts(SecondsFormat::Micros, true);
        write!(
            f,
            "  {at}  {position:>6}  {}  ",
            plain(&self.event.metadata.actor().map_or_else(|| "-".to_owned(), |actor| actor.to_string()))
        )?;
        match &self.what {
            What::Command(event) => command(event, f)?,
            What::CommandOf(id, event) => {
                write!(f, "command {id}: ")?;
                if let command::Event::CommandRequested(Request { cmd, params, .. }) = event {
                    write!(f, "{} {} ", plain(cmd), quoted(params))?;
                }
                command(event, f)?;
            }
            What::Device(event) => device(event, f)?,
        }
        write!(f, " -> {}", self.state)
    }
}

impl Display for State {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", Moment(self.as_of), self.state)?;
        match self.attempts {
            None | Some(0) => {}
            Some(1) => f.write_str(" after 1 attempt")?,
            Some(attempts) => write!(f, " after {attempts} attempts")?,
        }
        self.commands.iter().try_for_each(|commands| write!(f, "; {commands}"))
    }
}

impl Display for Counts {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("commands:")?;
        let mut separator = " ";
        for (status, count) in self.iter().filter(|(_, count)| *count > 0) {
            write!(f, "{separator}{count} {}", status.as_str())?;
            separator = ", ";
        }
        if separator == " " { f.write_str(" none") } else { Ok(()) }
    }
}

struct Moment(Option<AsOf>);

impl Display for Moment {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(at) => write!(f, "as of {at}"),
            None => f.write_str("now"),
        }
    }
}

fn command(event: &command::Event, f: &mut Formatter<'_>) -> fmt::Result {
    match event {
        command::Event::CommandRequested(Request { timeout_s, max_attempts, expires_at, .. }) => {
            let attempts = if *max_attempts == 1 { "attempt" } else { "attempts" };
            write!(
                f,
                "requested: {max_attempts} {attempts} of {timeout_s} s at most, until {}",
                time(*expires_at)
            )
        }
        command::Event::CommandSent { attempt, deadline } => {
            write!(f, "sent, attempt {attempt}: an answer is due by {}", time(*deadline))
        }
        command::Event::CommandAcknowledged { result } => {
            f.write_str("acknowledged")?;
            result.iter().try_for_each(|result| write!(f, ": {}", quoted(result)))
        }
        command::Event::CommandFailed { error } => {
            f.write_str("failed")?;
            error.iter().try_for_each(|error| write!(f, ": {}", quoted(error)))
        }
        command::Event::CommandTimedOut { attempts: 1 } => f.write_str("timed out after 1 attempt"),
        command::Event::CommandTimedOut { attempts } => write!(f, "timed out after {attempts} attempts"),
        command::Event::CommandCancelled { by, reason } => {
            write!(f, "cancelled by {}", plain(by))?;
            reason.iter().try_for_each(|reason| write!(f, ": {}", quoted(reason)))
        }
        command::Event::LateAckRecorded(ack) => {
            f.write_str("answered too late, ")?;
            let (word, said) = match ack {
                Ack::Ack { result } => ("ack", result),
                Ack::Failed { error } => ("failed", error),
            };
            f.write_str(word)?;
            said.iter().try_for_each(|said| write!(f, ": {}", quoted(said)))
        }
        command::Event::UnreadableAckRecorded { why } => {
            write!(f, "answered with something that cannot be read: {}", plain(why))
        }
    }
}

fn device(event: &device::Event, f: &mut Formatter<'_>) -> fmt::Result {
    let (name, labels) = match event {
        device::Event::DeviceRegistered { via, name, labels } => {
            f.write_str(match via {
                Via::Telemetry => "registered by its first message",
                Via::Api => "registered over the API",
            })?;
            (name, Some(labels).filter(|labels| !labels.is_empty()))
        }
        device::Event::DeviceUpdated { name, labels, online_within } => {
            f.write_str("updated")?;
            match online_within {
                None => {}
                Some(OnlineWithin::Usual) => f.write_str(", online within the usual time")?,
                Some(OnlineWithin::Seconds(seconds)) => write!(f, ", online within {seconds} s")?,
            }
            (name, labels.as_ref())
        }
        device::Event::DeviceDecommissioned {} => return f.write_str("decommissioned"),
        device::Event::DeviceCredentialIssued { credential_id, expires_at, certificate, behind } => {
            write!(f, "credential {credential_id} issued")?;
            match certificate {
                Some(Certificate::Sha256(digits)) => write!(f, " for the certificate {digits}")?,
                Some(Certificate::Subject(subject)) => {
                    write!(f, " for certificates of {}", quoted(subject))?;
                }
                None => {}
            }
            behind.iter().try_for_each(|behind| write!(f, " for a gateway with {}", quoted(behind)))?;
            return expires_at.iter().try_for_each(|at| write!(f, ", until {}", time(*at)));
        }
        device::Event::DeviceCredentialRevoked { credential_id, from } => {
            write!(f, "credential {credential_id} revoked")?;
            return from.iter().try_for_each(|at| write!(f, " from {} on", time(*at)));
        }
    };
    name.iter().try_for_each(|name| write!(f, ", name {}", quoted(name)))?;
    labels.iter().try_for_each(|labels| write!(f, ", labels {}", quoted(labels)))
}

/// A value as JSON. JSON escapes most control characters; the rest is escaped here.
fn quoted(value: &impl Serialize) -> String {
    plain(&serde_json::to_string(value).unwrap_or_default())
}

fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for character in text.chars() {
        if is_obeyed(character) {
            // Writing to a String cannot fail.
            let _ = write!(plain, "\\u{:04x}", u32::from(character));
        } else {
            plain.push(character);
        }
    }
    plain
}

/// Whether a terminal would act on a character instead of showing it: control characters, and those that change the
/// direction of text.
fn is_obeyed(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_others_have_said_cannot_take_over_a_terminal_or_begin_a_line() {
        let said = json!({ "error": "a\nb\u{1b}[2J\u{9b}2J\u{202e}c" });
        assert_eq!(quoted(&said), r#"{"error":"a\nb\u001b[2J\u009b2J\u202ec"}"#);
        assert_eq!(plain("user\u{7f}\n"), r"user\u007f\u000a");
    }

    #[test]
    fn counts_name_what_there_is() {
        assert_eq!(Counts::default().to_string(), "commands: none");
        let counts: Counts =
            [command::Status::Sent, command::Status::Acked, command::Status::Sent].into_iter().collect();
        assert_eq!(counts.to_string(), "commands: 2 sent, 1 acked");
    }
}
