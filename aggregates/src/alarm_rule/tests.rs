use serde_json::json;

use super::condition::Side;
use super::*;

fn too_hot() -> Definition {
    Definition {
        title: "Too hot".into(),
        severity: Severity::Critical,
        devices: Devices::All,
        condition: Condition::Threshold {
            metric: "t".into(),
            is: Side::Above,
            value: 80.0,
            clear_value: Some(75.0),
            for_s: 60,
        },
        mail: vec![],
    }
}

fn defined(version: u32, definition: Definition) -> Event {
    Event::AlarmRuleDefined { version, definition }
}

fn define(definition: Definition, replaces: Option<u32>) -> Input {
    Input::Define { definition, replaces }
}

fn given(events: impl IntoIterator<Item = Event>) -> AlarmRule {
    let mut rule = AlarmRule::default();
    events.into_iter().for_each(|event| rule.apply(event));
    rule
}

/// The field at fault, if one is.
fn fault(change: impl FnOnce(&mut Definition)) -> Option<&'static str> {
    let mut definition = too_hot();
    change(&mut definition);
    match check(&definition) {
        Err(Error::Invalid { field, .. }) => Some(field),
        _ => None,
    }
}

#[test]
fn a_definition_counts_up_and_one_that_changes_nothing_is_not_recorded() {
    assert_eq!(given([]).decide(define(too_hot(), None)), Ok(vec![defined(1, too_hot())]));
    let rule = given([defined(1, too_hot())]);
    assert_eq!(rule.decide(define(too_hot(), Some(1))), Ok(vec![]));
    let milder = Definition { severity: Severity::Minor, ..too_hot() };
    assert_eq!(rule.decide(define(milder.clone(), None)), Ok(vec![defined(2, milder)]));
}

#[test]
fn of_two_that_replace_the_same_version_one_is_refused() {
    let rule = given([defined(1, too_hot()), defined(2, Definition { title: "Hot".into(), ..too_hot() })]);
    assert_eq!(rule.decide(define(too_hot(), Some(1))), Err(Error::OtherVersion(2)));
    assert_eq!(rule.decide(define(too_hot(), Some(0))), Err(Error::OtherVersion(2)));
    assert!(rule.decide(define(too_hot(), Some(2))).is_ok());
    assert!(given([]).decide(define(too_hot(), Some(0))).is_ok());
}

#[test]
fn what_is_removed_is_gone_until_it_is_defined_again_with_the_next_version() {
    assert_eq!(given([]).decide(Input::Remove), Err(Error::Unknown));
    let removed = given([defined(1, too_hot()), Event::AlarmRuleRemoved {}]);
    assert_eq!((removed.current(), removed.decide(Input::Remove)), (None, Err(Error::Unknown)));
    assert_eq!(removed.decide(define(too_hot(), Some(0))), Ok(vec![defined(2, too_hot())]));
}

#[test]
fn only_another_condition_or_other_devices_begin_anew() {
    let mut rule = given([defined(1, too_hot())]);
    rule.apply(defined(2, Definition { title: "Hot".into(), severity: Severity::Minor, ..too_hot() }));
    assert_eq!((rule.epoch(), rule.current().map(|(version, _)| version)), (1, Some(2)));
    rule.apply(defined(3, Definition { condition: Condition::Silent { for_s: 60 }, ..too_hot() }));
    assert_eq!(rule.epoch(), 3);
    rule.apply(defined(4, too_hot()));
    rule.apply(Event::AlarmRuleRemoved {});
    rule.apply(defined(5, too_hot()));
    assert_eq!(rule.epoch(), 5, "a rule that was removed knows nothing");
}

#[test]
fn what_is_out_of_bounds_is_refused_by_its_field() {
    assert_eq!(fault(|_| ()), None);
    assert_eq!(fault(|it| it.title = String::new()), Some("title"));
    assert_eq!(fault(|it| it.title = "a\nb".into()), Some("title"));
    assert_eq!(fault(|it| it.title = "x".repeat(201)), Some("title"));
    assert_eq!(fault(|it| it.devices = Devices::Uids(vec![])), Some("devices"));
    assert_eq!(fault(|it| it.devices = Devices::Labels(Labels::new())), Some("devices"));
    assert_eq!(fault(|it| it.mail = vec![Uuid::nil(); 21]), Some("mail"));
    let threshold = |metric: &str, is, value, clear_value, for_s| Condition::Threshold {
        metric: metric.into(),
        is,
        value,
        clear_value,
        for_s,
    };
    for condition in [
        threshold("", Side::Above, 1.0, None, 0),
        threshold(&"m".repeat(129), Side::Above, 1.0, None, 0),
        threshold("a\0b", Side::Above, 1.0, None, 0),
        threshold("t", Side::Above, f64::NAN, None, 0),
        threshold("t", Side::Above, f64::INFINITY, None, 0),
        threshold("t", Side::Above, 1e300, None, 0),
        threshold("t", Side::Above, 1.0, Some(1.1), 0),
        threshold("t", Side::Below, 1.0, Some(0.9), 0),
        threshold("t", Side::Above, 1.0, None, condition::MAX_HOLD_S + 1),
        Condition::Rate { metric: "t".into(), by: -1.0, within_s: 60 },
        Condition::Rate { metric: "t".into(), by: 1.0, within_s: 0 },
        Condition::Rate { metric: "t".into(), by: 1.0, within_s: 86_401 },
        Condition::Silent { for_s: 0 },
        Condition::Silent { for_s: u32::MAX },
        Condition::CommandFailed { cmds: vec!["ping".parse().expect("a name"); 51] },
    ] {
        assert_eq!(fault(|it| it.condition = condition.clone()), Some("condition"), "{condition:?}");
    }
    for condition in [
        threshold("t", Side::Below, 1.0, Some(1.0), 0),
        Condition::Rate { metric: "t".into(), by: 0.0, within_s: 1 },
        Condition::CommandFailed { cmds: vec![] },
    ] {
        assert_eq!(fault(|it| it.condition = condition.clone()), None, "{condition:?}");
    }
}

#[test]
fn the_stored_form_of_every_event_stays_readable() {
    let of = |devices, condition| Definition { devices, condition, ..too_hot() };
    let labels = [("site".to_owned(), "hue".to_owned())].into();
    let rest = r#""title":"Too hot","severity":"critical","#;
    for (json, event) in [
        (
            r#""devices":"all","condition":{"kind":"threshold","metric":"t","is":"above","value":80.0,"clear_value":75.0,"for_s":60}"#,
            of(Devices::All, too_hot().condition),
        ),
        (
            r#""devices":{"uids":["dev-01"]},"condition":{"kind":"rate","metric":"t","by":5.0,"within_s":60}"#,
            of(
                Devices::Uids(vec!["dev-01".parse().expect("a uid")]),
                Condition::Rate { metric: "t".into(), by: 5.0, within_s: 60 },
            ),
        ),
        (
            r#""devices":{"labels":{"site":"hue"}},"condition":{"kind":"silent","for_s":300}"#,
            of(Devices::Labels(labels), Condition::Silent { for_s: 300 }),
        ),
        (
            r#""devices":"all","condition":{"kind":"command_failed","cmds":["ping"]},"mail":["00000000-0000-0000-0000-000000000000"]"#,
            Definition {
                mail: vec![Uuid::nil()],
                ..of(Devices::All, Condition::CommandFailed { cmds: vec!["ping".parse().expect("a name")] })
            },
        ),
    ] {
        let json = format!(r#"{{"AlarmRuleDefined":{{"version":1,{rest}{json}}}}}"#);
        let event = defined(1, event);
        assert_eq!(serde_json::to_string(&event).expect("serializes"), json);
        assert_eq!(serde_json::from_str::<Event>(&json).expect("deserializes"), event);
    }
    let removed = serde_json::to_value(Event::AlarmRuleRemoved {}).expect("serializes");
    assert_eq!(removed, json!({"AlarmRuleRemoved": {}}));
}
