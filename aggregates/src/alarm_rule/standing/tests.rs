use super::*;
use crate::alarm_rule::condition::Side;

/// An event at a second, recorded a second later, at a position of the same number.
fn event(second: i64) -> Since {
    let at = DateTime::from_timestamp(1_800_000_000 + second, 0).expect("a time");
    Since { at, recorded_at: at + TimeDelta::seconds(1), position: second }
}

fn reading(second: i64, value: f64) -> Fact {
    Fact::Reading { value, event: event(second) }
}

fn clock(second: i64) -> Fact {
    Fact::Clock(event(second).at)
}

fn command(second: i64, succeeded: bool) -> Fact {
    Fact::Command { succeeded, event: event(second) }
}

/// What becomes of the facts: `raised 7` by the event at second 7, `cleared 9`.
fn verdicts(condition: &Condition, facts: impl IntoIterator<Item = Fact>) -> Vec<String> {
    let mut standing = Standing::default();
    let verdicts = facts.into_iter().filter_map(|fact| standing.take(condition, fact));
    let word = |verdict| match verdict {
        Verdict::Raise { since, .. } => format!("raised {}", since.position),
        Verdict::Clear { by, .. } => format!("cleared {}", by.position),
    };
    verdicts.map(word).collect()
}

fn above(value: f64, clear_value: Option<f64>, for_s: u32) -> Condition {
    Condition::Threshold { metric: "t".into(), is: Side::Above, value, clear_value, for_s }
}

#[test]
fn a_value_beyond_the_threshold_raises_once_and_one_behind_the_clear_value_clears() {
    let facts = [79.0, 80.0, 81.0, 90.0, 78.0, 75.0, 76.0, 85.0];
    let facts = (0..).zip(facts).map(|(second, value)| reading(second, value));
    assert_eq!(verdicts(&above(80.0, Some(75.0), 0), facts), ["raised 2", "cleared 5", "raised 7"]);
}

#[test]
fn below_is_the_other_side() {
    let condition =
        Condition::Threshold { metric: "t".into(), is: Side::Below, value: 3.0, clear_value: None, for_s: 0 };
    let facts = [reading(1, 3.0), reading(2, 2.9), reading(3, 3.0)];
    assert_eq!(verdicts(&condition, facts), ["raised 2", "cleared 3"]);
}

#[test]
fn a_value_must_hold_for_its_time_by_the_devices_clock_or_by_the_servers() {
    let condition = above(80.0, None, 60);
    let interrupted = [reading(0, 81.0), reading(30, 79.0), reading(50, 81.0), reading(109, 81.0)];
    assert_eq!(verdicts(&condition, interrupted), [""; 0]);
    let held = [reading(0, 81.0), reading(59, 85.0), reading(60, 82.0), clock(1000)];
    assert_eq!(verdicts(&condition, held), ["raised 0"]);
    // No further reading comes. The first was recorded at second 1.
    assert_eq!(verdicts(&condition, [reading(0, 81.0), clock(60)]), [""; 0]);
    assert_eq!(verdicts(&condition, [reading(0, 81.0), clock(61), clock(62)]), ["raised 0"]);
    assert_eq!(verdicts(&condition, [reading(0, 81.0), reading(30, 79.0), clock(100)]), [""; 0]);
}

#[test]
fn a_late_reading_changes_nothing() {
    let condition = above(80.0, None, 0);
    assert_eq!(verdicts(&condition, [reading(5, 70.0), reading(4, 90.0), reading(5, 90.0)]), [""; 0]);
    let facts = [reading(5, 90.0), reading(4, 70.0), reading(6, 70.0)];
    assert_eq!(verdicts(&condition, facts), ["raised 5", "cleared 6"]);
}

#[test]
fn a_change_in_either_direction_raises_until_the_time_has_no_such_change() {
    let condition = Condition::Rate { metric: "t".into(), by: 5.0, within_s: 60 };
    let facts = [
        reading(0, 10.0),
        reading(30, 15.0),
        reading(50, 15.1),
        reading(55, 15.2),
        reading(120, 15.2),
        reading(130, 9.0),
        reading(131, 9.0),
    ];
    assert_eq!(verdicts(&condition, facts), ["raised 50", "cleared 120", "raised 130"]);
}

#[test]
fn a_device_is_silent_once_its_time_is_over_and_its_next_message_ends_that() {
    let condition = Condition::Silent { for_s: 60 };
    let heard = |second| Fact::Heard(event(second));
    assert_eq!(verdicts(&condition, [clock(1000)]), [""; 0], "it was never heard");
    assert_eq!(verdicts(&condition, [heard(0), heard(30), clock(61), clock(90)]), [""; 0]);
    let facts = [heard(0), heard(30), clock(91), clock(200), heard(300), clock(360), clock(361)];
    assert_eq!(verdicts(&condition, facts), ["raised 30", "cleared 300", "raised 300"]);
}

#[test]
fn a_servers_clock_that_was_set_back_makes_no_device_silent() {
    let mut standing = Standing::default();
    let condition = Condition::Silent { for_s: 60 };
    standing.take(&condition, Fact::Heard(event(100)));
    standing.take(&condition, Fact::Heard(Since { position: 101, ..event(0) }));
    assert_eq!(standing.due(&condition), Some(event(160).recorded_at));
    assert_eq!(standing.since.map(|since| since.position), Some(101));
}

#[test]
fn a_failed_command_raises_once_and_the_next_that_succeeds_clears() {
    let condition = Condition::CommandFailed { cmds: vec![] };
    let facts = [command(1, true), command(2, false), command(3, false), command(4, true), command(5, true)];
    assert_eq!(verdicts(&condition, facts), ["raised 2", "cleared 4"]);
    let named = Condition::CommandFailed { cmds: vec!["ping".parse().expect("a name")] };
    assert!(condition.is_about("reboot") && named.is_about("ping") && !named.is_about("reboot"));
}

#[test]
fn a_fact_of_another_kind_changes_nothing() {
    for condition in [above(1.0, None, 0), Condition::Silent { for_s: 1 }] {
        let mut standing = Standing::default();
        assert_eq!(standing.take(&condition, command(1, false)), None);
        assert_eq!(standing, Standing::default());
    }
}
