use super::*;

fn about() -> About {
    About {
        rule: "too-hot".parse().expect("a rule"),
        severity: Severity::Critical,
        device_uid: "dev-01".parse().expect("a uid"),
    }
}

fn raised() -> Raised {
    Raised {
        about: about(),
        rule_version: 2,
        title: "Too hot".into(),
        condition: "threshold".into(),
        metric: Some("t".into()),
        cmd: None,
        value: Some(80.5),
        since: DateTime::from_timestamp(1_800_000_000, 0).expect("a time"),
        cause: "2:17".into(),
    }
}

fn acknowledged() -> Event {
    Event::AlarmAcknowledged { about: about(), by: "user:1".into(), note: None }
}

fn clearing(why: Why) -> Clearing {
    Clearing { why, by: None, note: None, value: Some(70.0), cause: Some("2:18".into()) }
}

fn cleared(why: Why) -> Event {
    let Clearing { why, by, note, value, cause } = clearing(why);
    Event::AlarmCleared { about: about(), why, by, note, value, cause }
}

fn given(events: impl IntoIterator<Item = Event>) -> Alarm {
    let mut alarm = Alarm::default();
    events.into_iter().for_each(|event| alarm.apply(event));
    alarm
}

fn acknowledge() -> Input {
    Input::Acknowledge { by: "user:1".into(), note: None }
}

#[test]
fn every_state_decides_every_input() {
    let (raise, clear) = (|| Input::Raise(raised()), || Input::Clear(clearing(Why::Condition)));
    let is_raised = || Event::AlarmRaised(raised());
    let nothing: [Event; 0] = [];
    assert_eq!(given(nothing.clone()).decide(raise()), Ok(vec![is_raised()]));
    assert_eq!(given(nothing.clone()).decide(acknowledge()), Err(Error::Unknown));
    assert_eq!(given(nothing).decide(clear()), Err(Error::Unknown));

    assert_eq!(given([is_raised()]).decide(raise()), Err(Error::AlreadyRaised));
    assert_eq!(given([is_raised()]).decide(acknowledge()), Ok(vec![acknowledged()]));
    assert_eq!(given([is_raised()]).decide(clear()), Ok(vec![cleared(Why::Condition)]));

    let acked = || given([is_raised(), acknowledged()]);
    assert_eq!(acked().decide(raise()), Err(Error::AlreadyRaised));
    assert_eq!(acked().decide(acknowledge()), Err(Error::AlreadyAcknowledged));
    assert_eq!(acked().decide(clear()), Ok(vec![cleared(Why::Condition)]));

    let over = || given([is_raised(), cleared(Why::Person)]);
    assert_eq!(over().decide(raise()), Err(Error::AlreadyRaised));
    assert_eq!(over().decide(acknowledge()), Err(Error::AlreadyCleared));
    assert_eq!(over().decide(clear()), Err(Error::AlreadyCleared));
}

#[test]
fn a_note_is_text_that_can_be_shown() {
    for (note, fits) in [("a\nb", true), ("", false), ("a\u{7}", false), (&*"é".repeat(MAX_NOTE + 1), false)]
    {
        let input = Input::Acknowledge { by: "user:1".into(), note: Some(note.to_owned()) };
        assert_eq!(given([Event::AlarmRaised(raised())]).decide(input).is_ok(), fits, "{note:?}");
    }
}

#[test]
fn an_event_raises_the_same_alarm_however_often_and_another_event_another_one() {
    let (tenant, rule) = ("t0".parse().expect("a tenant"), "too-hot".parse().expect("a rule"));
    let id = |epoch, device, subject, cause| super::id(&tenant, &rule, epoch, device, subject, cause);
    let first = id(1, "dev-01", "t", "2:17");
    assert_eq!(first, id(1, "dev-01", "t", "2:17"));
    assert_eq!(first.to_string(), "afa10eff-9cc9-572f-888d-1cac4e728081", "it is stored for ever");
    for other in [
        id(2, "dev-01", "t", "2:17"),
        id(1, "dev-02", "t", "2:17"),
        id(1, "dev-01", "u", "2:17"),
        id(1, "dev-01", "t", "2:18"),
    ] {
        assert_ne!(first, other);
    }
}

#[test]
fn the_stored_form_of_every_event_stays_readable() {
    for (json, event) in [
        (
            r#"{"AlarmRaised":{"rule":"too-hot","severity":"critical","device_uid":"dev-01","rule_version":2,"title":"Too hot","condition":"threshold","metric":"t","value":80.5,"since":"2027-01-15T08:00:00Z","cause":"2:17"}}"#,
            Event::AlarmRaised(raised()),
        ),
        (
            r#"{"AlarmAcknowledged":{"rule":"too-hot","severity":"critical","device_uid":"dev-01","by":"user:1","note":"On my way."}}"#,
            Event::AlarmAcknowledged { about: about(), by: "user:1".into(), note: Some("On my way.".into()) },
        ),
        (
            r#"{"AlarmCleared":{"rule":"too-hot","severity":"critical","device_uid":"dev-01","why":"condition","value":70.0,"cause":"2:18"}}"#,
            cleared(Why::Condition),
        ),
        (
            r#"{"AlarmCleared":{"rule":"too-hot","severity":"critical","device_uid":"dev-01","why":"person","by":"user:1","note":"Fixed."}}"#,
            Event::AlarmCleared {
                about: about(),
                why: Why::Person,
                by: Some("user:1".into()),
                note: Some("Fixed.".into()),
                value: None,
                cause: None,
            },
        ),
    ] {
        assert_eq!(serde_json::to_string(&event).expect("serializes"), json);
        assert_eq!(serde_json::from_str::<Event>(json).expect("deserializes"), event);
    }
}
