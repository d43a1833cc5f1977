//! The metadata of a control event: who caused it, and what it follows from.

use std::fmt;

use chrono::{DateTime, Utc};
use fleetlog_aggregates::identity::Uid;
use serde::{Serialize, Serializer};
use uuid::Uuid;

use crate::{LogId, Position};

/// A control event's metadata, as it is appended. [`StoredMetadata`](crate::event::StoredMetadata) is read back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Metadata {
    /// Who caused the event.
    pub actor: Actor,
    /// The requester's name for what the event belongs to, such as the request's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// The place of the event that this one follows from. Stored as `log:position`.
    #[serde(rename = "causation_id", skip_serializing_if = "Option::is_none", serialize_with = "place")]
    pub causation: Option<(LogId, Position)>,
    /// When it happened, if that differs from the time of the append.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub occurred_at: Option<DateTime<Utc>>,
}

impl Metadata {
    /// The metadata of what an actor does now, and of which nothing else is known.
    #[must_use]
    pub fn by(actor: Actor) -> Self {
        Self { actor, correlation_id: None, causation: None, occurred_at: None }
    }

    /// The metadata of what an actor does within a request.
    #[must_use]
    pub fn within(request_id: String, actor: Actor) -> Self {
        Self { correlation_id: Some(request_id), ..Self::by(actor) }
    }
}

#[expect(clippy::ref_option, reason = "the form that serde asks for")]
fn place<S: Serializer>(place: &Option<(LogId, Position)>, serializer: S) -> Result<S::Ok, S::Error> {
    match place {
        Some((log_id, position)) => serializer.collect_str(&format_args!("{log_id}:{position}")),
        None => serializer.serialize_none(),
    }
}

/// Who causes a control event. Its text is what is stored and shown.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Actor {
    /// A user: the user's id.
    User(Uuid),
    /// A program with an API key: `key:` and the key's id.
    Key(Uuid),
    /// A device: `device:` and its uid.
    Device(Uid),
    /// Ingest, when it registers a device: `ingest`.
    Ingest,
    /// The dispatcher: `dispatcher`.
    Dispatcher,
    /// The evaluator of alarm rules: `alarms`.
    Alarms,
    /// The service itself: `fleetlog`.
    Fleetlog,
    /// A command line on the service's machine: `cli`.
    Console,
    /// A caller without a login: `nobody`.
    Nobody,
    /// Any other text that an event names as its actor.
    Other(String),
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(user_id) => user_id.fmt(f),
            Self::Key(key_id) => write!(f, "key:{key_id}"),
            Self::Device(uid) => write!(f, "device:{uid}"),
            Self::Ingest => f.write_str("ingest"),
            Self::Dispatcher => f.write_str("dispatcher"),
            Self::Alarms => f.write_str("alarms"),
            Self::Fleetlog => f.write_str("fleetlog"),
            Self::Console => f.write_str("cli"),
            Self::Nobody => f.write_str("nobody"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

impl From<&str> for Actor {
    /// Reads an actor back. What would not be written again as the same text is [`Actor::Other`].
    fn from(text: &str) -> Self {
        let id = |text: &str| Uuid::parse_str(text).ok().filter(|id| id.to_string() == text);
        match text {
            "ingest" => Self::Ingest,
            "dispatcher" => Self::Dispatcher,
            "alarms" => Self::Alarms,
            "fleetlog" => Self::Fleetlog,
            "cli" => Self::Console,
            "nobody" => Self::Nobody,
            _ => None
                .or_else(|| id(text).map(Self::User))
                .or_else(|| id(text.strip_prefix("key:")?).map(Self::Key))
                .or_else(|| text.strip_prefix("device:")?.parse().ok().map(Self::Device))
                .unwrap_or_else(|| Self::Other(text.to_owned())),
        }
    }
}

impl Serialize for Actor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "019a0000-0000-7000-8000-00000000000a";

    #[test]
    fn the_stored_form_of_metadata_stays() {
        let json = |metadata: &Metadata| serde_json::to_string(metadata).expect("serializes");
        assert_eq!(json(&Metadata::by(Actor::Ingest)), r#"{"actor":"ingest"}"#);
        let request = Metadata::within("r-1".into(), Actor::Nobody);
        assert_eq!(json(&request), r#"{"actor":"nobody","correlation_id":"r-1"}"#);
        let whole = Metadata {
            causation: Some((LogId(1), 23)),
            occurred_at: DateTime::from_timestamp(60, 0),
            ..request
        };
        assert_eq!(
            json(&whole),
            r#"{"actor":"nobody","correlation_id":"r-1","causation_id":"1:23","occurred_at":"1970-01-01T00:01:00Z"}"#
        );
    }

    #[test]
    fn an_actor_comes_back_from_its_text() {
        let id = Uuid::parse_str(ID).expect("an id");
        for (actor, text) in [
            (Actor::User(id), ID),
            (Actor::Key(id), "key:019a0000-0000-7000-8000-00000000000a"),
            (Actor::Device("dev-01".parse().expect("a uid")), "device:dev-01"),
            (Actor::Ingest, "ingest"),
            (Actor::Dispatcher, "dispatcher"),
            (Actor::Alarms, "alarms"),
            (Actor::Fleetlog, "fleetlog"),
            (Actor::Console, "cli"),
            (Actor::Nobody, "nobody"),
        ] {
            assert_eq!((actor.to_string().as_str(), Actor::from(text)), (text, actor));
        }
        for text in ["", "user:1", "device:a/b", "key:1", &ID.to_uppercase()] {
            assert_eq!(Actor::from(text), Actor::Other(text.to_owned()));
            assert_eq!(Actor::from(text).to_string(), text);
        }
    }
}
