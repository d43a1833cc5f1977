//! Events for tests of folds: `given([reading("dev-01", "12:00:00", r#"{"t":1}"#)])`.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use fleetlog_aggregates::telemetry::{AGGREGATE_TYPE, EVENT_TYPE, Flags};
use fleetlog_event_log::event::{Json, StoredMetadata};
use fleetlog_event_log::sources::Sources;
use fleetlog_event_log::{Event, LogId};

use crate::read_model::{Poison, ReadModel};

/// Folds events at positions 1, 2, 3 …, and returns for each whether it is poison.
pub(crate) fn given<M: ReadModel>(
    events: impl IntoIterator<Item = Event>,
) -> (M::Fold, Vec<Result<(), Poison>>) {
    let mut fold = M::Fold::default();
    let results = (1..)
        .zip(events)
        .map(|(position, event)| M::fold(&mut fold, &Event { position, ..event }, &Sources::default()));
    let results = results.collect();
    (fold, results)
}

/// A time of day on 2026-03-01, or a full timestamp.
pub(crate) fn at(time: &str) -> DateTime<Utc> {
    let full = if time.contains('T') { time.to_owned() } else { format!("2026-03-01T{time}Z") };
    full.parse().unwrap_or_else(|error| panic!("{time}: {error}"))
}

/// A reading of a device of `t0`, recorded a second after it occurred.
pub(crate) fn reading(uid: &str, occurred_at: &str, payload: &str) -> Event {
    event(AGGREGATE_TYPE, uid, EVENT_TYPE, occurred_at, payload)
}

/// A control event of a device of `t0`.
pub(crate) fn change(uid: &str, event_type: &str, occurred_at: &str, payload: &str) -> Event {
    event("Device", uid, event_type, occurred_at, &format!(r#"{{"{event_type}":{payload}}}"#))
}

/// An event of any kind, of tenant `t0`.
pub(crate) fn event(
    aggregate_type: &str,
    id: &str,
    event_type: &str,
    occurred_at: &str,
    payload: &str,
) -> Event {
    let occurred_at = at(occurred_at);
    Event {
        log_id: LogId(1),
        position: 0,
        aggregate_type: Cow::Owned(aggregate_type.to_owned()),
        aggregate_id: format!("t0/{id}"),
        sequence: 1,
        event_type: Cow::Owned(event_type.to_owned()),
        event_version: Cow::Borrowed("1.0"),
        payload: Json(payload.to_owned()),
        metadata: StoredMetadata::Telemetry { flags: Flags::default() },
        occurred_at,
        recorded_at: occurred_at + chrono::TimeDelta::seconds(1),
        msg_id: None,
    }
}
