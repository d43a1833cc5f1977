//! Poison: an event that cannot be folded parks its own stream, shows itself, and stops nothing else.

use chrono::{TimeDelta, Utc};
use fleetlog_aggregates::identity::Tenant;
use fleetlog_event_log::EventLog;
use fleetlog_projections::devices::{self, Query};
use fleetlog_projections::status::State;
use sqlx::Executor;

use super::{Running, append, now, reading, register, smuggle, status_of};
use crate::support::{Database, t0};

const REGISTERED: &str = r#"{"DeviceRegistered":{"via":"api"}}"#;

async fn names(log: &EventLog) -> Vec<(String, Option<String>)> {
    let page = devices::list(&t0(log), &Query::default(), now(log)).await.expect("listed");
    page.items.into_iter().map(|device| (device.uid.into(), device.name)).collect()
}

fn named(expected: &[(&str, Option<&str>)]) -> Vec<(String, Option<String>)> {
    expected.iter().map(|(uid, name)| ((*uid).to_owned(), name.map(str::to_owned))).collect()
}

#[tokio::test]
async fn an_event_that_cannot_be_read_parks_its_stream_and_no_other() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    register(&log, "bad", Some("before")).await;
    smuggle(&log, "Device", "t0/bad", 2, r#"{"DeviceExploded":{}}"#).await;
    smuggle(&log, "Device", "t0/bad", 3, r#"{"DeviceUpdated":{"name":"after"}}"#).await;
    register(&log, "good", None).await;
    let running = Running::start(&log);
    running.catch_up().await;
    smuggle(&log, "Device", "t0/bad", 4, r#"{"DeviceUpdated":{"name":"long after"}}"#).await;
    running.catch_up().await;
    assert_eq!(names(&log).await, named(&[("bad", Some("before")), ("good", None)]));
    let status = status_of(&log, "devices").await;
    assert_eq!((status.state, status.parked, status.total.lag), (State::Degraded, 1, 0));
    let parked = &status.parked_streams[0];
    assert_eq!(
        (parked.aggregate_type.as_str(), parked.aggregate_id.as_str(), parked.position),
        ("Device", "t0/bad", 2)
    );
    assert!(parked.error.contains("DeviceExploded"), "{parked:?}");
    // A new runner leaves the stream aside as well.
    running.stop().await;
    let running = Running::start(&log);
    smuggle(&log, "Device", "t0/bad", 5, r#"{"DeviceUpdated":{"name":"much later"}}"#).await;
    running.catch_up().await;
    assert_eq!(names(&log).await[0].1.as_deref(), Some("before"));
    assert_eq!(status_of(&log, "devices").await.state, State::Degraded);
    // Telemetry of the same name is another stream.
    append(&log, vec![reading("bad", 1, Utc::now() - TimeDelta::seconds(1), r#""t":1"#)]).await;
    running.catch_up().await;
    let page = devices::list(&t0(&log), &Query::default(), now(&log)).await.expect("listed");
    assert_eq!(page.items[0].messages, 1);
}

#[tokio::test]
async fn an_event_that_the_table_refuses_parks_its_stream_and_no_other() {
    let database = Database::fresh().await;
    let refuses = "ALTER TABLE devices_v1 ADD CHECK (name <> 'refused')";
    database.owner().await.execute(refuses).await.expect("altered");
    let log = database.event_log().await;
    register(&log, "before", None).await;
    smuggle(&log, "Device", "t0/bad", 1, REGISTERED).await;
    smuggle(&log, "Device", "t0/bad", 2, r#"{"DeviceUpdated":{"name":"fine"}}"#).await;
    smuggle(&log, "Device", "t0/bad", 3, r#"{"DeviceUpdated":{"name":"refused"}}"#).await;
    smuggle(&log, "Device", "t0/worse", 1, r#"{"DeviceExploded":{}}"#).await;
    register(&log, "behind", None).await;
    let running = Running::start(&log);
    running.catch_up().await;
    smuggle(&log, "Device", "t0/bad", 4, r#"{"DeviceUpdated":{"name":"after"}}"#).await;
    running.catch_up().await;
    assert_eq!(names(&log).await, named(&[("bad", Some("fine")), ("before", None), ("behind", None)]));
    let status = status_of(&log, "devices").await;
    let parked: Vec<_> =
        status.parked_streams.iter().map(|p| (p.aggregate_id.as_str(), p.position)).collect();
    assert_eq!((status.parked, parked), (2, vec![("t0/bad", 4), ("t0/worse", 5)]));
}

#[tokio::test]
async fn what_belongs_to_others_is_no_poison() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    smuggle(&log, "Command", "t0/c1", 1, r#"{"CommandRequested":{}}"#).await;
    let running = Running::start(&log);
    running.catch_up().await;
    let status = status_of(&log, "devices").await;
    assert_eq!((status.state, status.parked, status.error), (State::Following, 0, None));
}

#[tokio::test]
async fn a_tenant_sees_only_what_is_parked_of_its_own() {
    let database = Database::fresh().await;
    let mut owner = database.owner().await;
    sqlx::query("INSERT INTO tenants (tenant) VALUES ('t1')").execute(&mut owner).await.expect("inserted");
    let log = database.event_log().await;
    smuggle(&log, "Device", "t0/bad", 1, r#"{"DeviceExploded":{}}"#).await;
    let running = Running::start(&log);
    running.catch_up().await;
    for (tenant, parked) in [("t0", 1), ("t1", 0)] {
        let tenant: Tenant = tenant.parse().expect("a tenant");
        let statuses = running.handle.statuses(&log.for_tenant(&tenant)).await.expect("listed");
        let devices = statuses.iter().find(|status| status.projection == "devices").expect("a status");
        assert_eq!((devices.parked, devices.logs.len()), (parked, 2));
        assert!(devices.logs.iter().all(|log| log.tenant == tenant.as_str()));
    }
}
