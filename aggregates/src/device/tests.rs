//! A device's rules, as sentences.

use super::*;

fn given(events: impl IntoIterator<Item = Event>) -> Device {
    let mut device = Device::default();
    events.into_iter().for_each(|event| device.apply(event));
    device
}

#[expect(clippy::disallowed_methods, reason = "a tenant's room is not the aggregate's business")]
fn register(via: Via) -> Command {
    Registration { via, name: None, labels: Labels::new() }.admit()
}

fn registered() -> Event {
    Event::DeviceRegistered { via: Via::Telemetry, name: None, labels: Labels::new() }
}

fn rename(name: &str) -> Command {
    Command::Update(Change { name: Some(name.into()), ..Change::default() })
}

fn within(online_within: OnlineWithin) -> Command {
    Command::Update(Change { online_within: Some(online_within), ..Change::default() })
}

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).expect("in range")
}

fn id(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

/// Issues credential `n` at second 10.
fn issue(n: u128, expires: Option<i64>, revoke_others: Option<i64>) -> Command {
    let (expires_at, revoke_others) = (expires.map(at), revoke_others.map(at));
    Command::IssueCredential {
        credential_id: id(n),
        certificate: None,
        expires_at,
        revoke_others,
        behind: None,
        at: at(10),
    }
}

fn revoke(n: u128) -> Command {
    Command::RevokeCredential { credential_id: id(n), at: at(10) }
}

fn issued(n: u128, expires: Option<i64>) -> Event {
    let expires_at = expires.map(at);
    Event::DeviceCredentialIssued { credential_id: id(n), expires_at, certificate: None, behind: None }
}

/// The devices `m-0` and so on.
fn meters(count: usize) -> Behind {
    Behind::Devices((0..count).map(|n| format!("m-{n}").parse().expect("a uid")).collect())
}

fn revoked(n: u128, from: Option<i64>) -> Event {
    Event::DeviceCredentialRevoked { credential_id: id(n), from: from.map(at) }
}

#[test]
fn an_unknown_device_is_registered_by_its_first_telemetry() {
    assert_eq!(given([]).decide(register(Via::Telemetry)), Ok(vec![registered()]));
}

#[test]
fn a_device_is_registered_once() {
    for via in [Via::Telemetry, Via::Api] {
        assert_eq!(given([registered()]).decide(register(via)), Err(Error::AlreadyRegistered));
    }
}

#[test]
fn only_a_person_brings_a_decommissioned_device_back() {
    let gone = given([registered(), Event::DeviceDecommissioned {}]);
    assert_eq!(gone.decide(register(Via::Telemetry)), Err(Error::Decommissioned));
    assert_eq!(gone.decide(register(Via::Api)).map(|events| events.len()), Ok(1));
}

#[test]
fn an_update_records_only_what_changed() {
    let device = given([registered()]);
    let events = device.decide(rename("boiler")).expect("accepted");
    assert_eq!(
        events,
        [Event::DeviceUpdated { name: Some("boiler".into()), labels: None, online_within: None }]
    );
    assert_eq!(given([registered()].into_iter().chain(events)).decide(rename("boiler")), Ok(vec![]));
}

#[test]
fn a_device_has_a_threshold_of_its_own_until_it_has_the_usual_one_again() {
    let updated = |online_within| {
        vec![Event::DeviceUpdated { name: None, labels: None, online_within: Some(online_within) }]
    };
    let own = OnlineWithin::Seconds(3600);
    let device = || given([registered()].into_iter().chain(updated(own)));
    assert_eq!(given([registered()]).decide(within(own)), Ok(updated(own)));
    assert_eq!(device().decide(within(own)), Ok(vec![]));
    assert_eq!(device().decide(within(OnlineWithin::Usual)), Ok(updated(OnlineWithin::Usual)));
    assert_eq!(given([registered()]).decide(within(OnlineWithin::Usual)), Ok(vec![]), "it has that");
    assert_eq!(device().decide(rename("boiler")).map(|events| events.len()), Ok(1));
    let again = [Event::DeviceDecommissioned {}, registered()];
    let again = given([registered()].into_iter().chain(updated(own)).chain(again));
    assert_eq!(again.decide(within(OnlineWithin::Usual)), Ok(vec![]), "a new life begins without");
    for (seconds, is_taken) in [(0, false), (1, true), (604_800, true), (604_801, false)] {
        assert_eq!(given([registered()]).decide(within(OnlineWithin::Seconds(seconds))).is_ok(), is_taken);
    }
}

#[test]
fn nothing_happens_to_a_device_that_is_not_in_service() {
    for command in [rename("boiler"), Command::Decommission, issue(1, None, None), revoke(1)] {
        assert_eq!(given([]).decide(command.clone()), Err(Error::NotRegistered));
        let gone = given([registered(), Event::DeviceDecommissioned {}]);
        assert_eq!(gone.decide(command), Err(Error::Decommissioned));
    }
}

#[test]
fn a_name_or_label_that_cannot_be_shown_is_refused() {
    let label = |key: &str, value: &str| {
        let labels = Some(Labels::from([(key.into(), value.into())]));
        Command::Update(Change { labels, ..Change::default() })
    };
    let many = (0..=MAX_LABELS).map(|n| (n.to_string(), "v".into())).collect();
    for command in [
        rename(""),
        rename("a\0b"),
        rename(&"x".repeat(201)),
        label("", "v"),
        label("k", ""),
        label("k\n", "v"),
        Command::Update(Change { labels: Some(many), ..Change::default() }),
    ] {
        let refused = given([registered()]).decide(command.clone());
        assert!(matches!(refused, Err(Error::Invalid(_))), "{command:?}");
    }
}

#[test]
fn a_registered_device_gets_a_credential_that_ends_later_or_never() {
    let device = given([registered()]);
    assert_eq!(device.decide(issue(1, None, None)), Ok(vec![issued(1, None)]));
    assert_eq!(device.decide(issue(1, Some(11), None)), Ok(vec![issued(1, Some(11))]));
    assert_eq!(device.decide(issue(1, Some(10), None)), Err(Error::AlreadyExpired));
}

#[test]
fn a_gateways_credential_speaks_for_up_to_a_thousand_devices_or_a_prefix() {
    let issue = |behind| Command::IssueCredential {
        certificate: None,
        credential_id: id(1),
        expires_at: None,
        revoke_others: None,
        behind,
        at: at(10),
    };
    let device = given([registered()]);
    for (behind, is_taken) in [
        (Some(meters(0)), false),
        (Some(meters(1)), true),
        (Some(meters(1000)), true),
        (Some(meters(1001)), false),
        (Some(Behind::Prefix("m-".parse().expect("a prefix"))), true),
    ] {
        let expected = Event::DeviceCredentialIssued {
            credential_id: id(1),
            expires_at: None,
            certificate: None,
            behind: behind.clone(),
        };
        assert_eq!(device.decide(issue(behind)).ok(), is_taken.then(|| vec![expected]));
    }
}

#[test]
fn a_credential_is_revoked_once_and_only_while_it_is_good() {
    let device = given([registered(), issued(1, None), issued(2, Some(10))]);
    assert_eq!(device.decide(revoke(1)), Ok(vec![revoked(1, None)]));
    for unknown in [2, 3] {
        assert_eq!(device.decide(revoke(unknown)), Err(Error::UnknownCredential));
    }
    let device = given([registered(), issued(1, None), revoked(1, None)]);
    assert_eq!(device.decide(revoke(1)), Err(Error::UnknownCredential));
}

#[test]
fn a_device_has_at_most_five_credentials_that_are_good() {
    let five = || [registered()].into_iter().chain((1..=5).map(|n| issued(n, None)));
    assert_eq!(given(five()).decide(issue(6, None, None)), Err(Error::TooManyCredentials));
    assert_eq!(given(five()).decide(issue(6, None, Some(20))), Err(Error::TooManyCredentials));
    let one_less = given(five().chain([revoked(3, None)]));
    assert_eq!(one_less.decide(issue(6, None, None)), Ok(vec![issued(6, None)]));
    let one_over = given(five().chain([revoked(3, Some(9))]));
    assert_eq!(one_over.decide(issue(6, None, None)), Ok(vec![issued(6, None)]));
    let replaced = given(five()).decide(issue(6, None, Some(10))).expect("accepted");
    assert_eq!((replaced.len(), replaced.last()), (6, Some(&issued(6, None))));
}

#[test]
fn a_rotation_ends_the_others_after_the_overlap_and_prolongs_none() {
    let device = given([registered(), issued(1, None), issued(2, Some(15)), issued(3, Some(30))]);
    assert_eq!(
        device.decide(issue(4, None, Some(20))),
        Ok(vec![revoked(1, Some(20)), revoked(3, Some(20)), issued(4, None)])
    );
    assert_eq!(
        given([registered(), issued(1, None)]).decide(issue(4, None, Some(10))),
        Ok(vec![revoked(1, None), issued(4, None)])
    );
}

#[test]
fn no_credential_outlives_a_decommissioning() {
    let again = [registered(), issued(1, None), Event::DeviceDecommissioned {}, registered()];
    assert_eq!(given(again).decide(revoke(1)), Err(Error::UnknownCredential));
}

fn issued_for(n: u128, certificate: Certificate) -> Event {
    Event::DeviceCredentialIssued {
        credential_id: id(n),
        expires_at: None,
        certificate: Some(certificate),
        behind: None,
    }
}

#[test]
fn a_certificate_is_a_whole_fingerprint_or_a_subject() {
    let issue = |certificate: Certificate| {
        let certificate = Some(certificate.normal());
        let (expires_at, revoke_others) = (None, None);
        let command = Command::IssueCredential {
            behind: None,
            credential_id: id(1),
            certificate,
            expires_at,
            revoke_others,
            at: at(10),
        };
        given([registered()]).decide(command)
    };
    let digits = "0a".repeat(32);
    let colons = Certificate::Sha256(["0A"; 32].join(":"));
    assert_eq!(issue(colons), Ok(vec![issued_for(1, Certificate::Sha256(digits.clone()))]));
    let subject = Certificate::Subject("CN=dev-01,O=Example".into());
    assert_eq!(issue(subject.clone()), Ok(vec![issued_for(1, subject)]));
    for digits in ["", &digits[1..], &format!("{digits}0"), &digits.replace('a', "g")] {
        assert!(
            matches!(issue(Certificate::Sha256(digits.into())), Err(Error::BadCertificate(_))),
            "{digits}"
        );
    }
    for subject in ["CN=dev\\,01,O=A \\+ B", "CN=dev-01+serialNumber=7,2.5.4.10=#0c0141", "CN=a=b"] {
        assert!(issue(Certificate::Subject(subject.into())).is_ok(), "{subject}");
    }
    let others =
        ["/O=Example/CN=dev-01", "O = Example, CN = dev-01", "CN=dev-01, O=Example", "subject=CN=dev-01"];
    for subject in ["", "dev-01", "CN=\n", "CN=dev-01,", &"C=".repeat(MAX_SUBJECT)].into_iter().chain(others)
    {
        assert!(
            matches!(issue(Certificate::Subject(subject.into())), Err(Error::BadCertificate(_))),
            "{subject}"
        );
    }
}

#[test]
fn the_stored_form_of_every_event_stays_readable() {
    for (json, event) in [
        (r#"{"DeviceRegistered":{"via":"telemetry"}}"#, registered()),
        (
            r#"{"DeviceUpdated":{"name":"boiler"}}"#,
            Event::DeviceUpdated { name: Some("boiler".into()), labels: None, online_within: None },
        ),
        (
            r#"{"DeviceUpdated":{"online_within_s":3600}}"#,
            Event::DeviceUpdated {
                name: None,
                labels: None,
                online_within: Some(OnlineWithin::Seconds(3600)),
            },
        ),
        (
            r#"{"DeviceUpdated":{"online_within_s":null}}"#,
            Event::DeviceUpdated { name: None, labels: None, online_within: Some(OnlineWithin::Usual) },
        ),
        (r#"{"DeviceDecommissioned":{}}"#, Event::DeviceDecommissioned {}),
        (
            r#"{"DeviceCredentialIssued":{"credential_id":"00000000-0000-0000-0000-000000000007"}}"#,
            issued(7, None),
        ),
        (
            r#"{"DeviceCredentialIssued":{"credential_id":"00000000-0000-0000-0000-000000000007","expires_at":"1970-01-01T00:01:00Z"}}"#,
            issued(7, Some(60)),
        ),
        (
            r#"{"DeviceCredentialIssued":{"credential_id":"00000000-0000-0000-0000-000000000007","certificate":{"sha256":"5f0c…"}}}"#,
            issued_for(7, Certificate::Sha256("5f0c…".into())),
        ),
        (
            r#"{"DeviceCredentialIssued":{"credential_id":"00000000-0000-0000-0000-000000000007","certificate":{"subject":"CN=dev-01,O=Example"}}}"#,
            issued_for(7, Certificate::Subject("CN=dev-01,O=Example".into())),
        ),
        (
            r#"{"DeviceCredentialIssued":{"credential_id":"00000000-0000-0000-0000-000000000007","behind":{"devices":["m-0"]}}}"#,
            Event::DeviceCredentialIssued {
                credential_id: id(7),
                expires_at: None,
                certificate: None,
                behind: Some(meters(1)),
            },
        ),
        (
            r#"{"DeviceCredentialRevoked":{"credential_id":"00000000-0000-0000-0000-000000000007"}}"#,
            revoked(7, None),
        ),
        (
            r#"{"DeviceCredentialRevoked":{"credential_id":"00000000-0000-0000-0000-000000000007","from":"1970-01-01T00:01:00Z"}}"#,
            revoked(7, Some(60)),
        ),
    ] {
        assert_eq!(serde_json::to_string(&event).expect("serializes"), json);
        assert_eq!(serde_json::from_str::<Event>(json).expect("deserializes"), event);
    }
}

#[test]
fn each_event_leaves_a_device_where_its_kind_says() {
    let credential = || [issued(7, None), revoked(7, None)];
    let events = [
        registered(),
        Event::DeviceUpdated { name: None, labels: None, online_within: None },
        Event::DeviceDecommissioned {},
    ];
    for event in events.into_iter().chain(credential()) {
        for before in [vec![], vec![registered()], vec![registered(), Event::DeviceDecommissioned {}]] {
            let (before, mut device) = (given(before.clone()).status(), given(before));
            device.apply(event.clone());
            assert_eq!(device.status(), event.kind().status_after().unwrap_or(before), "{event:?}");
        }
    }
}

#[test]
fn what_begins_and_ends_service_is_told_by_name() {
    assert_eq!(EventType::that_begin_service(), ["DeviceRegistered"]);
    assert_eq!(EventType::that_end_service(), ["DeviceDecommissioned"]);
    assert_eq!(EventType::that_change_status(), ["DeviceRegistered", "DeviceDecommissioned"]);
}
