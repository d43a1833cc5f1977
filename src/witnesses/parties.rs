//! Witnesses that keep what they are given: a broker, and whoever reads a mail.

use bytes::Bytes;
use chrono::TimeDelta;
use fleetlog_access::mail::Mail;
use fleetlog_access::users::Email;
use fleetlog_event_log::EventLog;
use fleetlog_mqtt::{retained, url};
use fleetlog_proof::note::SignedCheckpoint;
use fleetlog_proof::witness::{Failure, Keeper};
use futures::future::BoxFuture;

/// Publishes each checkpoint as the retained message of its log's topic.
pub(super) struct ToBroker {
    pub(super) url: url::Url,
    /// What the topics begin with. The log's name follows.
    pub(super) prefix: String,
}

impl Keeper for ToBroker {
    fn keep<'a>(&'a self, notes: &'a [SignedCheckpoint]) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let message = |note: &SignedCheckpoint| {
                let topic = format!("{}/{}", self.prefix, note.checkpoint.origin);
                (topic, Bytes::copy_from_slice(note.text().as_bytes()))
            };
            let messages: Vec<_> = notes.iter().map(message).collect();
            let published = retained::publish(&self.url, &messages).await;
            published.map_err(|error| Failure::Unreachable(error.to_string()))
        })
    }
}

/// Mails the newest checkpoint of every log, once a day.
pub(super) struct ByMail {
    pub(super) email: Email,
    pub(super) log: EventLog,
}

/// What stands above the checkpoints. Each line is a remark, so that the whole text of the mail can be given to whoever
/// verifies.
const REMARKS: &str = "\
# The newest signed checkpoint of each log of a fleetlog service. Keep this mail.
# Nobody can change an event under them any more without your being able to tell:
#   fleetlog audit verify --key KEY --checkpoint FILE
# FILE has the text of this mail. KEY is what `fleetlog audit key` printed once, and you
# have kept.
";

impl Keeper for ByMail {
    fn keep<'a>(&'a self, notes: &'a [SignedCheckpoint]) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let origin = notes.first().and_then(|note| note.checkpoint.origin.rsplit_once('/'));
            let installation = origin.map_or("fleetlog", |(installation, _)| installation);
            let day = self.log.now().format("%Y-%m-%d");
            let checkpoints: String = notes.iter().map(SignedCheckpoint::text).collect();
            let mail = Mail {
                recipient: self.email.as_str().to_owned(),
                subject: format!("Checkpoints of {installation}, {day}"),
                body: format!("{REMARKS}{checkpoints}"),
            };
            let failed = |error: &dyn std::fmt::Display| {
                Failure::Unreachable(format!("failed to post a mail: {error}"))
            };
            let mut connection = self.log.connection().await.map_err(|error| failed(&error))?;
            mail.post_for_all(&mut connection).await.map_err(|error| failed(&error))
        })
    }

    fn pause(&self) -> Option<TimeDelta> {
        Some(TimeDelta::days(1))
    }
}
