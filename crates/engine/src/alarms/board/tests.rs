use chrono::{DateTime, TimeDelta, Utc};
use fleetlog_aggregates::alarm_rule::condition::Side;
use fleetlog_aggregates::alarm_rule::{Definition, Devices, Event, Severity};

use super::*;

fn rulebook(condition: Condition) -> Rulebook {
    let definition = Definition {
        title: "Look here".into(),
        severity: Severity::Major,
        devices: Devices::All,
        condition,
        mail: vec![],
    };
    let mut rulebook = Rulebook::default();
    rulebook.apply("look".parse().expect("a rule"), Event::AlarmRuleDefined { version: 1, definition });
    rulebook
}

fn threshold(for_s: u32) -> Condition {
    Condition::Threshold { metric: "t".into(), is: Side::Above, value: 80.0, clear_value: None, for_s }
}

fn event(second: i64) -> Since {
    let at: DateTime<Utc> = DateTime::from_timestamp(1_800_000_000 + second, 0).expect("a time");
    Since { at, recorded_at: at, position: second }
}

fn reading(second: i64, value: f64) -> Fact {
    Fact::Reading { value, event: event(second) }
}

/// What becomes of facts about one device, if so many alarms are open already: the words of the steps, and the row.
fn evaluated(condition: Condition, open: usize, facts: &[Fact]) -> (Vec<&'static str>, Stood, usize) {
    let (tenant, uid): (Tenant, Uid) = ("t0".parse().expect("a tenant"), "dev-01".parse().expect("a uid"));
    let rulebook = rulebook(condition);
    let rule = Arc::clone(rulebook.find("look").expect("a rule"));
    let mut board = Board::new((&tenant, &rulebook), LogId(2), OfDevices::new(), open);
    for fact in facts {
        board.take(&rule, &uid, "t", *fact);
    }
    let (mut rows, steps, open, _) = board.into_parts();
    let word = |step: &Step| if matches!(step.input, Input::Raise(_)) { "raise" } else { "clear" };
    (steps.iter().map(word).collect(), rows.remove(&uid).expect("rows").remove(0), open)
}

#[test]
fn a_row_names_the_alarm_that_is_open_and_none_once_it_is_over() {
    let (steps, row, open) = evaluated(threshold(0), 3, &[reading(1, 90.0)]);
    assert_eq!((steps, row.alarm_id.is_some(), open), (vec!["raise"], true, 4));
    let (steps, row, open) = evaluated(threshold(0), 3, &[reading(1, 90.0), reading(2, 10.0)]);
    assert_eq!((steps, row.alarm_id, open), (vec!["raise", "clear"], None, 3));
}

#[test]
fn beyond_the_most_open_alarms_none_is_raised_and_so_none_is_cleared() {
    let (steps, row, open) = evaluated(threshold(0), MAX_OPEN, &[reading(1, 90.0), reading(2, 10.0)]);
    assert_eq!((steps, row.alarm_id, open), (vec![], None, MAX_OPEN));
}

#[test]
fn the_clock_is_asked_again_when_it_said_and_not_with_each_message() {
    let silent = Condition::Silent { for_s: 60 };
    let heard = [Fact::Heard(event(0)), Fact::Heard(event(30)), Fact::Heard(event(59))];
    let minute = TimeDelta::seconds(60);
    let (_, row, _) = evaluated(silent.clone(), 0, &heard);
    assert_eq!(row.due_at, Some(event(0).recorded_at + minute));
    let asked = [&heard[..], &[Fact::Clock(event(60).at)]].concat();
    let (steps, row, _) = evaluated(silent, 0, &asked);
    assert_eq!((steps, row.due_at), (vec![], Some(event(59).recorded_at + minute)));
    let (_, row, _) = evaluated(threshold(60), 0, &[reading(1, 90.0), reading(2, 10.0)]);
    assert_eq!(row.due_at, None, "nothing is waited for any more");
}
