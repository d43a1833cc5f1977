//! What a definition makes of a message, all at once and with the places: for who writes a definition and wants to see. Made
//! by the functions that ingest and the folds call.

use std::fmt;

use chrono::{DateTime, SecondsFormat, Utc};
use fleetlog_aggregates::telemetry::Flags;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::aliases::Aliases;
use crate::identify::Message;
use crate::measure::{Remark, Remarks};
use crate::source::Source;

/// What becomes of a message. Its text is for people, a line a reading.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Trial {
    /// The message's topic.
    pub topic: String,
    /// What would be recorded. Empty where the message is refused, or is only an answer to a command.
    pub readings: Vec<TriedReading>,
    /// Why the message would go to quarantine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// What it says of a command, where it came on a topic of answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<TriedAnswer>,
}

/// A reading as it would be recorded, and its metrics.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TriedReading {
    /// The device.
    pub uid: String,
    /// The definition's words for where the uid was found.
    pub uid_from: String,
    /// When the reading was taken.
    pub occurred_at: DateTime<Utc>,
    /// The definition's words for where the time was found. `None` for the arrival.
    pub time_from: Option<String>,
    /// The message's own id.
    pub msg_id: Option<String>,
    /// The definition's words for where the id was found.
    pub id_from: Option<String>,
    /// What was noticed, and would be stored.
    pub flags: Flags,
    /// The metrics, by name.
    pub metrics: Map<String, Value>,
    /// What was noticed about the metrics.
    pub remarks: Remarks,
}

/// An answer to a command.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TriedAnswer {
    /// The device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// The command's id. `None` for the one under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmd_id: Option<String>,
    /// Whether the device says that the command has failed.
    pub is_failure: bool,
    /// Why it is no answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

impl Source {
    /// Tries the source on a message. `aliases` is what earlier messages of the device have said, and learns from this one.
    #[must_use]
    pub fn test(&self, message: Message<'_>, aliases: &mut Aliases) -> Trial {
        let Message { topic, payload, .. } = message;
        let answer = self.answer(message).map(|answer| match answer {
            Ok(answer) => TriedAnswer {
                uid: Some(answer.uid.to_string()),
                cmd_id: answer.cmd_id.map(|id| id.to_string()),
                is_failure: answer.is_failure,
                refused: None,
            },
            Err(why) => {
                TriedAnswer { uid: None, cmd_id: None, is_failure: false, refused: Some(why.to_string()) }
            }
        });
        let mut trial = Trial { topic: topic.to_owned(), readings: Vec::new(), refused: None, answer };
        if trial.answer.is_some() && !self.takes(topic) {
            return trial;
        }
        match self.identify(message) {
            Err(refused) => trial.refused = Some(refused.to_string()),
            Ok(identified) => {
                let metrics = self.open(topic, payload, aliases).all();
                let tried = identified.into_iter().zip(metrics).map(|(reading, metrics)| TriedReading {
                    uid: reading.uid.to_string(),
                    uid_from: reading.uid_from.to_owned(),
                    occurred_at: reading.occurred_at,
                    time_from: reading.time_from.map(ToOwned::to_owned),
                    msg_id: reading.msg_id,
                    id_from: reading.id_from.map(ToOwned::to_owned),
                    flags: reading.flags,
                    metrics: metrics
                        .values
                        .into_iter()
                        .map(|(name, value)| (name.into(), value.into()))
                        .collect(),
                    remarks: metrics.remarks,
                });
                trial.readings = tried.collect();
            }
        }
        self.learn(topic, payload, aliases);
        trial
    }
}

impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines: Vec<String> = self.readings.iter().map(ToString::to_string).collect();
        lines.extend(self.refused.iter().map(|why| format!("refused: {why}")));
        lines.extend(self.answer.iter().map(ToString::to_string));
        f.write_str(&lines.join("\n"))
    }
}

/// `uid time id [flags] | metrics [remarks]`. The arrival is `now`, and no id is `-`.
impl fmt::Display for TriedReading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = match self.time_from {
            None => "now".to_owned(),
            Some(_) => self.occurred_at.to_rfc3339_opts(SecondsFormat::AutoSi, true),
        };
        let id = self.msg_id.as_deref().unwrap_or("-");
        let flags: Vec<_> = self.flags.names().collect();
        write!(f, "{} {time} {id} [{}] |", self.uid, flags.join(" "))?;
        for (name, value) in &self.metrics {
            write!(f, " {name}={}", value.as_f64().unwrap_or_default())?;
        }
        let remarks: Vec<_> = self.remarks.iter().map(Remark::as_str).collect();
        if remarks.is_empty() { Ok(()) } else { write!(f, " [{}]", remarks.join(" ")) }
    }
}

impl fmt::Display for TriedAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(why) = &self.refused {
            return write!(f, "no answer: {why}");
        }
        let uid = self.uid.as_deref().unwrap_or("-");
        let outcome = if self.is_failure { "failed" } else { "acked" };
        write!(f, "answer of {uid}: {} {outcome}", self.cmd_id.as_deref().unwrap_or("the command under way"))
    }
}
