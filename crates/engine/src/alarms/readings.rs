//! The facts in a page of a telemetry log: which device was heard, and what its metrics are.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use fleetlog_aggregates::alarm_rule::{Fact, Since};
use fleetlog_aggregates::device::Labels;
use fleetlog_aggregates::identity::{Uid, split_aggregate_id};
use fleetlog_aggregates::telemetry::Flags;
use fleetlog_event_log::Event;
use fleetlog_event_log::sources::Sources;

use super::board::Board;
use super::rulebook::{Rule, Rulebook};

/// The device that sent a reading.
pub(super) fn uid(event: &Event) -> Option<Uid> {
    split_aggregate_id(&event.aggregate_id).and_then(|(_, uid)| uid.parse().ok())
}

/// When and where an event is.
pub(super) fn since(event: &Event) -> Since {
    let Event { occurred_at, recorded_at, position, .. } = *event;
    Since { at: taken_at(occurred_at, recorded_at, event.flags()), recorded_at, position }
}

/// When a reading was taken. One whose clock was ahead counts from its receipt: what version 0.1.0 stored for it lies minutes
/// after that, and would make the device's next readings late.
pub(super) fn taken_at(
    occurred_at: DateTime<Utc>,
    recorded_at: DateTime<Utc>,
    flags: Flags,
) -> DateTime<Utc> {
    if flags.contains(Flags::CLOCK_AHEAD) { occurred_at.min(recorded_at) } else { occurred_at }
}

/// Takes in a page. `labels` has those of the page's devices, where rules want labels; `sources` say what the metrics of readings
/// are that they have taken in.
pub(super) fn evaluate(
    (rulebook, sources): (&Rulebook, &Sources),
    labels: &HashMap<Uid, Labels>,
    events: &[(Uid, &Event)],
    board: &mut Board<'_>,
) {
    let mut metrics_of: Vec<(Arc<Rule>, f64)> = vec![];
    for (uid, event) in events {
        let (event_since, labels) = (since(event), labels.get(uid));
        // A device that says that it goes away, or whose will says so, is not heard.
        if !event.flags().contains(Flags::OFFLINE) {
            for rule in rulebook.about_silence().filter(|rule| rule.selects(uid, labels)) {
                board.take(rule, uid, "", Fact::Heard(event_since));
            }
        }
        if !rulebook.wants_metrics() {
            continue;
        }
        metrics_of.clear();
        let _ = sources.metrics(event.flags(), &event.payload.0, |name, value| {
            let rules = rulebook.about(name).iter().filter(|rule| rule.selects(uid, labels));
            metrics_of.extend(rules.map(|rule| (Arc::clone(rule), value)));
        });
        for (rule, value) in &metrics_of {
            let subject = rule.definition.condition.metric().unwrap_or_default();
            board.take(rule, uid, subject, Fact::Reading { value: *value, event: event_since });
        }
    }
}
