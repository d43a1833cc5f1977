//! Every state with every input, as one table, and what no sequence of inputs can make happen.

use std::fmt::Write;

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_772_366_400 + seconds, 0).expect("in range")
}

fn uid(uid: &str) -> Uid {
    uid.parse().expect("a uid")
}

fn request() -> Request {
    Request {
        device_uid: uid("dev-01"),
        cmd: "ping".into(),
        params: json!({}),
        requested_by: "user:1".into(),
        timeout_s: 10,
        max_attempts: 2,
        expires_at: at(100),
        batch_id: None,
        request_digest: None,
    }
}

fn requested() -> Event {
    Event::CommandRequested(request())
}

fn sent(attempt: u32, seconds: i64) -> Event {
    Event::CommandSent { attempt, deadline: at(seconds + 10) }
}

fn done() -> Ack {
    Ack::Ack { result: Some(json!({"ms": 3}).into()) }
}

fn broken() -> Ack {
    Ack::Failed { error: Some(json!("hot").into()) }
}

fn answer(ack: Ack, seconds: i64) -> Input {
    Input::Acknowledge { device_uid: uid("dev-01"), ack, at: at(seconds) }
}

fn cancel() -> Input {
    Input::Cancel { by: "user:2".into(), reason: None }
}

fn cancelled() -> Event {
    Event::CommandCancelled { by: "user:2".into(), reason: None }
}

fn given(events: impl IntoIterator<Item = Event>) -> Command {
    let mut command = Command::default();
    events.into_iter().for_each(|event| command.apply(event));
    command
}

/// A command in each state of the table.
fn states() -> Vec<(&'static str, Command)> {
    let timed_out = Event::CommandTimedOut { attempts: 2 };
    vec![
        ("–", given([])),
        ("requested", given([requested()])),
        ("sent", given([requested(), sent(1, 0)])),
        ("sent, last", given([requested(), sent(1, 0), sent(2, 11)])),
        ("acked", given([requested(), sent(1, 0), answered(done())])),
        ("failed", given([requested(), sent(1, 0), answered(broken())])),
        ("timed out", given([requested(), sent(1, 0), sent(2, 11), timed_out.clone()])),
        ("timed out, late", given([requested(), sent(1, 0), timed_out, Event::LateAckRecorded(done())])),
        ("cancelled", given([requested(), cancelled()])),
        ("cancelled, late", given([requested(), sent(1, 0), cancelled(), Event::LateAckRecorded(done())])),
    ]
}

#[test]
fn every_state_decides_every_input() {
    let inputs = [
        ("request", Input::Request(request(), at(0))),
        ("sent 1", Input::MarkSent { attempt: 1, at: at(20) }),
        ("sent 2", Input::MarkSent { attempt: 2, at: at(20) }),
        ("sent 3", Input::MarkSent { attempt: 3, at: at(20) }),
        ("ack", answer(done(), 20)),
        ("failed", answer(broken(), 20)),
        ("other device", Input::Acknowledge { device_uid: uid("dev-02"), ack: done(), at: at(20) }),
        ("time out early", Input::TimeOut(at(5))),
        ("time out at 50", Input::TimeOut(at(50))),
        ("time out at 100", Input::TimeOut(at(100))),
        ("give up", Input::GiveUp("cannot be delivered")),
        ("cancel", cancel()),
    ];
    let mut table = String::new();
    for (name, state) in states() {
        for (input_name, input) in &inputs {
            let outcome = match state.decide(input.clone()) {
                Ok(events) => events.iter().map(DomainEvent::event_type).collect::<Vec<_>>().join(" + "),
                Err(error) => format!("refused: {error}"),
            };
            let _ = writeln!(table, "{name} | {input_name} | {outcome}");
        }
    }
    insta::assert_snapshot!(table);
}

#[test]
fn an_attempt_waits_for_the_device_and_the_next_one_for_a_pause_that_doubles() {
    let next = |state: &Command| state.next();
    assert_eq!(next(&given([])), None);
    let Some(Next::Send { attempt: 1, or_time_out, .. }) = next(&given([requested()])) else { panic!() };
    assert_eq!(or_time_out, at(100));
    let once = given([requested(), sent(1, 0)]);
    assert_eq!(next(&once), Some(Next::Send { attempt: 2, at: at(11), or_time_out: at(21) }));
    let short = given([requested(), sent(1, 85)]);
    assert_eq!(next(&short), Some(Next::Send { attempt: 2, at: at(96), or_time_out: at(100) }), "it expires");
    let twice = given([requested(), sent(1, 0), sent(2, 11)]);
    assert_eq!(next(&twice), Some(Next::TimeOut { at: at(21) }), "no attempt is left");
    let late = given([requested(), sent(1, 95)]);
    assert_eq!(next(&late), Some(Next::TimeOut { at: at(105) }), "no time is left");
    let pauses: Vec<i64> = (1..10).map(|attempt| pause(attempt).num_seconds()).collect();
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
}

#[test]
fn an_answer_that_comes_before_the_publish_was_recorded_proves_the_publish() {
    let events = given([requested()]).decide(answer(done(), 3)).expect("accepted");
    assert_eq!(events, [sent(1, 3), answered(done())]);
}

#[test]
fn a_request_keeps_its_bounds() {
    let with = |change: fn(&mut Request)| {
        let mut request = request();
        change(&mut request);
        match given([]).decide(Input::Request(request, at(0))) {
            Err(Error::Invalid { field, .. }) => field,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(with(|request| request.timeout_s = 0), "timeout_s");
    assert_eq!(with(|request| request.timeout_s = 86_401), "timeout_s");
    assert_eq!(with(|request| request.max_attempts = 0), "max_attempts");
    assert_eq!(with(|request| request.max_attempts = 11), "max_attempts");
    assert_eq!(with(|request| request.expires_at = at(0)), "expires_at");
    assert_eq!(with(|request| request.expires_at = at(31 * 86_400)), "expires_at");
    let wordy = Input::Cancel { by: "user:2".into(), reason: Some("x".repeat(501)) };
    assert!(matches!(given([requested()]).decide(wordy), Err(Error::Invalid { field: "reason", .. })));
}

#[test]
fn an_id_is_used_for_one_request_only() {
    let with = |digest: &str| Request { request_digest: Some(digest.into()), ..request() };
    let state = given([Event::CommandRequested(with("a"))]);
    assert_eq!(state.decide(Input::Request(with("a"), at(9))), Err(Error::AlreadyRequested));
    assert_eq!(state.decide(Input::Request(with("b"), at(9))), Err(Error::OtherRequest));
}

#[test]
fn the_stored_form_of_every_event_stays_readable() {
    for (json, event) in [
        (
            r#"{"CommandRequested":{"device_uid":"dev-01","cmd":"ping","params":{},"requested_by":"user:1","timeout_s":10,"max_attempts":2,"expires_at":"2026-03-01T12:01:40Z"}}"#,
            requested(),
        ),
        (r#"{"CommandSent":{"attempt":1,"deadline":"2026-03-01T12:00:10Z"}}"#, sent(1, 0)),
        (r#"{"CommandAcknowledged":{"result":{"ms":3}}}"#, answered(done())),
        (r#"{"CommandAcknowledged":{}}"#, Event::CommandAcknowledged { result: None }),
        (r#"{"CommandFailed":{"error":"hot"}}"#, answered(broken())),
        (r#"{"CommandTimedOut":{"attempts":2}}"#, Event::CommandTimedOut { attempts: 2 }),
        (r#"{"CommandCancelled":{"by":"user:2"}}"#, cancelled()),
        (r#"{"LateAckRecorded":{"status":"ack","result":{"ms":3}}}"#, Event::LateAckRecorded(done())),
        (r#"{"LateAckRecorded":{"status":"failed","error":"hot"}}"#, Event::LateAckRecorded(broken())),
        (r#"{"UnreadableAckRecorded":{"why":"no"}}"#, Event::UnreadableAckRecorded { why: "no".into() }),
    ] {
        assert_eq!(serde_json::to_string(&event).expect("serializes"), json);
        assert_eq!(serde_json::from_str::<Event>(json).expect("deserializes"), event);
    }
}

fn unreadable(uid_of: &str) -> Input {
    Input::AcknowledgeUnreadably { device_uid: uid(uid_of), why: "no JSON".into(), at: at(0) }
}

#[test]
fn an_unreadable_answer_is_in_the_history_once_an_attempt_and_changes_nothing_else() {
    let noted = Event::UnreadableAckRecorded { why: "no JSON".into() };
    let mut command = given([requested(), sent(1, 0)]);
    let next = command.next();
    assert_eq!(command.decide(unreadable("dev-02")), Err(Error::OtherDevice));
    assert_eq!(command.decide(unreadable("dev-01")), Ok(vec![noted.clone()]));
    command.apply(noted.clone());
    assert_eq!((command.status(), command.next()), (Some(Status::Sent), next));
    assert_eq!(command.decide(unreadable("dev-01")), Ok(vec![]), "the device repeats itself");
    command.apply(sent(2, 11));
    assert_eq!(command.decide(unreadable("dev-01")), Ok(vec![noted]));
    let early = given([requested()]).decide(unreadable("dev-01"));
    assert_eq!(early, Ok(vec![sent(1, 0), Event::UnreadableAckRecorded { why: "no JSON".into() }]));
    assert_eq!(given([]).decide(unreadable("dev-01")), Err(Error::Unknown));
    let ended = given([requested(), sent(1, 0), cancelled()]);
    assert_eq!(ended.decide(unreadable("dev-01")), Ok(vec![]));
}

fn inputs() -> impl Strategy<Value = Input> {
    let device = prop_oneof![4 => Just("dev-01"), 1 => Just("dev-02")].prop_map(uid);
    let time = (0_i64..200).prop_map(at);
    let ack = prop_oneof![Just(done()), Just(broken()), Just(Ack::Ack { result: None })];
    prop_oneof![
        time.clone().prop_map(|at| Input::Request(request(), at)),
        (1_u32..4, time.clone()).prop_map(|(attempt, at)| Input::MarkSent { attempt, at }),
        (device, ack, time.clone()).prop_map(|(device_uid, ack, at)| Input::Acknowledge {
            device_uid,
            ack,
            at
        }),
        Just(unreadable("dev-01")),
        time.prop_map(Input::TimeOut),
        Just(Input::GiveUp("cannot be delivered")),
        Just(cancel()),
    ]
}

/// Whether the event may follow the status.
fn is_legal(from: Option<Status>, event: &Event) -> bool {
    match event {
        Event::CommandRequested(_) => from.is_none(),
        Event::CommandSent { .. }
        | Event::CommandFailed { .. }
        | Event::CommandTimedOut { .. }
        | Event::CommandCancelled { .. } => matches!(from, Some(Status::Requested | Status::Sent)),
        Event::CommandAcknowledged { .. } | Event::UnreadableAckRecorded { .. } => from == Some(Status::Sent),
        Event::LateAckRecorded(_) => matches!(from, Some(Status::TimedOut | Status::Cancelled)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_inputs_makes_an_illegal_transition_or_a_second_end(
        inputs in prop::collection::vec(inputs(), 1..24)
    ) {
        let mut command = Command::default();
        let (mut ends, mut late, mut attempts) = (0, 0, 0);
        for input in inputs {
            for event in command.decide(input).unwrap_or_default() {
                prop_assert!(is_legal(command.status(), &event), "{:?} then {event:?}", command.status());
                if let Event::CommandSent { attempt, .. } = event {
                    attempts += 1;
                    prop_assert_eq!(attempt, attempts);
                }
                late += u32::from(matches!(event, Event::LateAckRecorded(_)));
                let was = command.status().is_some_and(Status::is_terminal);
                command.apply(event);
                ends += u32::from(!was && command.status().is_some_and(Status::is_terminal));
            }
        }
        prop_assert!(ends <= 1 && late <= 1 && attempts <= 2);
        prop_assert_eq!(ends == 0, command.next().is_some() || command.status().is_none());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100_000, ..ProptestConfig::default() })]

    /// Both decide on the state that they have read. The log accepts the first append, and the other decides again.
    #[test]
    fn of_an_ack_and_a_timeout_that_race_exactly_one_ends_the_command(
        ack_first in any::<bool>(), ack_reads_first in any::<bool>(), late_by in 0_i64..50
    ) {
        let mut command = given([requested(), sent(1, 0), sent(2, 11)]);
        let (ack, timeout) = (answer(done(), 21), Input::TimeOut(at(21 + late_by)));
        let (first, second) = if ack_first { (ack, timeout) } else { (timeout, ack) };
        // The log rejects what the second decided before the first was appended.
        if ack_reads_first {
            prop_assert!(command.decide(second.clone()).is_ok());
        }
        for event in command.decide(first).expect("both may end it") {
            command.apply(event);
        }
        let ended = command.status();
        prop_assert!(ended.is_some_and(Status::is_terminal));
        match command.decide(second) {
            Ok(events) => {
                prop_assert_eq!(&events[..], [Event::LateAckRecorded(done())]);
                prop_assert_eq!(ended, Some(Status::TimedOut));
            }
            Err(error) => prop_assert_eq!(error, Error::Ended(Status::Acked)),
        }
    }
}
