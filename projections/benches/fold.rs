//! The cost of folding a reading into windows: `cargo bench -p fleetlog-projections`.

use std::borrow::Cow;

use chrono::{DateTime, TimeDelta};
use divan::Bencher;
use divan::counter::ItemsCount;
use fleetlog_aggregates::telemetry::{AGGREGATE_TYPE, EVENT_TYPE, Flags};
use fleetlog_event_log::event::{Json, StoredMetadata};
use fleetlog_event_log::sources::Sources;
use fleetlog_event_log::{Event, LogId};
use fleetlog_projections::read_model::ReadModel;
use fleetlog_projections::telemetry_windows::Model;

/// The readings of one fold.
const EVENTS: i64 = 1_000;

fn main() {
    divan::main();
}

/// One reading a second, from the devices in turn.
fn readings(devices: i64) -> Vec<Event> {
    let reading = |n: i64| {
        let at = DateTime::UNIX_EPOCH + TimeDelta::seconds(n);
        Event {
            log_id: LogId(1),
            position: n + 1,
            aggregate_type: Cow::Borrowed(AGGREGATE_TYPE),
            aggregate_id: format!("t0/dev-{}", n % devices),
            sequence: n / devices + 1,
            event_type: Cow::Borrowed(EVENT_TYPE),
            event_version: Cow::Borrowed("1.0"),
            payload: Json(format!(r#"{{"temperature":{n}.5,"humidity":40,"door":{{"open":true}}}}"#)),
            metadata: StoredMetadata::Telemetry { flags: Flags::default() },
            occurred_at: at,
            recorded_at: at,
            msg_id: None,
        }
    };
    (0..EVENTS).map(reading).collect()
}

#[divan::bench(args = [1, 100, 1000])]
fn fold(bencher: Bencher<'_, '_>, devices: i64) {
    let (events, sources) = (readings(devices), Sources::default());
    bencher.counter(ItemsCount::new(events.len())).bench(|| {
        let mut fold = <Model as ReadModel>::Fold::default();
        let folded = events.iter().filter(|event| Model::fold(&mut fold, event, &sources).is_ok()).count();
        (fold, folded)
    });
}
