//! One command at a time, through the built-in endpoint.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chrono::{TimeDelta, Utc};
use fleetlog_aggregates::command::Status;
use fleetlog_engine::commands::NewCommand;
use fleetlog_engine::dispatch::outlet::{CommandOutlet, Delivery, Lost, Message};
use fleetlog_mqtt::server;
use futures::future::BoxFuture;
use serde_json::json;
use tokio::sync::broadcast;
use uuid::Uuid;

use super::{Fleet, actor, dispatch_to, ping, words};
use crate::support::t0;

#[tokio::test]
async fn a_command_reaches_its_device_and_its_answer_is_the_outcome() {
    let fleet = Fleet::start().await;
    fleet.register("dev-01").await;
    let mut device = fleet.listener("dev-01").await;
    let set =
        NewCommand { cmd: "set_interval".into(), params: Some(json!({"seconds": 5})), ..ping("dev-01") };
    let cmd_id = fleet.send(set).await;
    let command = device.command().await;
    assert_eq!(
        (&command["cmd_id"], &command["cmd"], &command["params"], &command["attempt"]),
        (&json!(cmd_id), &json!("set_interval"), &json!({"seconds": 5}), &json!(1))
    );
    device.ack(&command).await;
    let (state, steps) = fleet.until(cmd_id, |state| state.status == Status::Acked).await;
    assert_eq!(state.result.expect("a result").0, r#"{"ok":true}"#);
    assert_eq!(words(&steps), ["CommandRequested", "CommandSent", "CommandAcknowledged"]);
    assert_eq!(steps[2].actor.as_deref(), Some("device:dev-01"));
    assert!(steps.iter().all(|step| step.correlation_id.as_deref() == Some("c-1")), "{steps:?}");
    assert!(steps[1..].iter().all(|step| step.causation_id.is_some()), "{steps:?}");
    fleet.assert_verified().await;
}

/// A broker at which the first publish meets a fault of the program.
struct Stumbling {
    outlet: server::Outlet,
    stumbled: AtomicBool,
}

impl CommandOutlet for Stumbling {
    fn publish(&self, message: Message) -> BoxFuture<'_, Result<Delivery, Lost>> {
        if self.stumbled.swap(true, Ordering::Relaxed) {
            self.outlet.publish(message)
        } else {
            Box::pin(async { panic!("a fault of the program, as this test wants it") })
        }
    }

    fn arrivals(&self) -> Option<broadcast::Receiver<Arc<str>>> {
        self.outlet.arrivals()
    }
}

#[tokio::test]
async fn a_command_whose_sender_panics_is_sent_again() {
    let mut fleet = Fleet::start().await;
    fleet.register("dev-01").await;
    let mut device = fleet.listener("dev-01").await;
    let stumbling =
        Arc::new(Stumbling { outlet: fleet.node.outlet.clone(), stumbled: AtomicBool::new(false) });
    fleet.dispatching = dispatch_to(&fleet.node, Arc::clone(&stumbling));
    let cmd_id = fleet.send(ping("dev-01")).await;
    let command = device.command().await;
    assert_eq!((&command["cmd_id"], &command["attempt"]), (&json!(cmd_id), &json!(1)));
    assert!(stumbling.stumbled.load(Ordering::Relaxed));
    device.ack(&command).await;
    fleet.until(cmd_id, |state| state.status == Status::Acked).await;
    fleet.assert_verified().await;
}

/// The processes of the service's connections.
async fn connections(fleet: &Fleet) -> BTreeSet<i32> {
    let sql = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'fleetlog'";
    let pids: Vec<i32> = sqlx::query_scalar(sql).fetch_all(fleet.node.log.pool()).await.expect("a list");
    pids.into_iter().collect()
}

#[tokio::test]
async fn many_commands_at_once_cost_the_database_no_new_connections() {
    let fleet = Fleet::start().await;
    let mut devices = Vec::new();
    for nth in 0..8 {
        let uid = format!("dev-{nth}");
        fleet.register(&uid).await;
        devices.push(fleet.listener(&uid).await);
    }
    let mut before = BTreeSet::new();
    for round in 0..12 {
        let rounds = devices.iter_mut().map(async |device| {
            let cmd_id = fleet.send(ping(&device.uid)).await;
            let command = device.command().await;
            device.ack(&command).await;
            fleet.until(cmd_id, |state| state.status == Status::Acked).await;
        });
        futures::future::join_all(rounds).await;
        if round == 1 {
            before = connections(&fleet).await;
        }
    }
    let after = connections(&fleet).await;
    assert!(before.is_subset(&after), "{before:?} have become {after:?}");
    fleet.assert_verified().await;
}

#[tokio::test]
async fn a_device_that_is_not_there_gets_its_commands_in_order_when_it_is_back() {
    let fleet = Fleet::start().await;
    fleet.register("dev-01").await;
    let first = fleet.send(ping("dev-01")).await;
    let second = fleet.send(ping("dev-01")).await;
    let mut device = fleet.listener("dev-01").await;
    for cmd_id in [first, second] {
        let command = device.command().await;
        assert_eq!((&command["cmd_id"], &command["attempt"]), (&json!(cmd_id), &json!(1)));
        // The second must not come before the first has ended.
        assert!(device.device.is_silent());
        device.ack(&command).await;
    }
    fleet.until(second, |state| state.status == Status::Acked).await;
    fleet.assert_verified().await;
}

#[tokio::test]
async fn a_device_that_comes_back_without_a_receipt_gets_the_command_again_in_the_same_attempt() {
    let fleet = Fleet::start().await;
    fleet.register("dev-01").await;
    let mut device = fleet.listener("dev-01").await;
    let patient = NewCommand { timeout_s: Some(3600), max_attempts: Some(1), ..ping("dev-01") };
    let cmd_id = fleet.send(patient).await;
    assert_eq!(device.device.packet().await.expect("PUBLISH")[0], 0x32);
    fleet.until(cmd_id, |state| state.status == Status::Sent).await;
    drop(device);
    let mut device = fleet.listener("dev-01").await;
    let command = device.command().await;
    assert_eq!((&command["cmd_id"], &command["attempt"]), (&json!(cmd_id), &json!(1)));
    // With a receipt it does not come a third time.
    drop(device);
    let mut device = fleet.listener("dev-01").await;
    device.device.report("t0/devices/dev-01/telemetry", "{}").await;
    assert!(device.device.is_silent());
    device.ack(&command).await;
    let (_, steps) = fleet.until(cmd_id, |state| state.status == Status::Acked).await;
    assert_eq!(words(&steps), ["CommandRequested", "CommandSent", "CommandAcknowledged"]);
    fleet.assert_verified().await;
}

#[tokio::test]
async fn a_command_that_was_cancelled_is_not_sent_again_to_a_device_that_comes_back_without_a_receipt() {
    let fleet = Fleet::start().await;
    fleet.register("dev-01").await;
    let mut device = fleet.listener("dev-01").await;
    let patient = NewCommand { timeout_s: Some(3600), max_attempts: Some(1), ..ping("dev-01") };
    let cancelled = fleet.send(patient).await;
    assert_eq!(device.device.packet().await.expect("PUBLISH")[0], 0x32);
    fleet.until(cancelled, |state| state.status == Status::Sent).await;
    drop(device);
    fleet.commands.cancel(&t0(&fleet.node.log), cancelled, None, actor("user:2")).await.expect("cancelled");
    let mut device = fleet.listener("dev-01").await;
    device.device.report("t0/devices/dev-01/telemetry", "{}").await;
    let next = fleet.send(ping("dev-01")).await;
    let command = device.command().await;
    assert_eq!(command["cmd_id"], json!(next));
    device.ack(&command).await;
    assert!(device.device.is_silent());
    fleet.assert_verified().await;
}

#[tokio::test]
async fn a_command_that_its_device_does_not_take_fails_and_is_not_called_sent() {
    let fleet = Fleet::start().await;
    fleet.register("dev-01").await;
    let mut device = fleet.small_listener("dev-01", 100).await;
    let cmd_id = fleet.send(ping("dev-01")).await;
    let (state, steps) = fleet.until(cmd_id, |state| state.status == Status::Failed).await;
    let error = state.error.expect("an error").0;
    assert!(error.contains("cannot be delivered") && error.contains("Maximum Packet Size"), "{error}");
    assert_eq!(words(&steps), ["CommandRequested", "CommandFailed"]);
    device.device.report("t0/devices/dev-01/telemetry", "{}").await;
    assert!(device.device.is_silent());
    fleet.assert_verified().await;
}

#[tokio::test]
async fn a_silent_device_is_tried_again_and_given_up_and_its_late_answer_changes_nothing() {
    let fleet = Fleet::start().await;
    fleet.register("dev-01").await;
    let mut device = fleet.listener("dev-01").await;
    let impatient = NewCommand { timeout_s: Some(1), max_attempts: Some(2), ..ping("dev-01") };
    let cmd_id = fleet.send(impatient).await;
    assert_eq!(device.command().await["attempt"], 1);
    let again = device.command().await;
    assert_eq!((&again["cmd_id"], &again["attempt"]), (&json!(cmd_id), &json!(2)));
    fleet.until(cmd_id, |state| state.status == Status::TimedOut).await;
    device.ack(&again).await;
    device.ack(&again).await;
    let (state, steps) = fleet.until(cmd_id, |state| state.late_ack.is_some()).await;
    assert_eq!((state.status, state.result), (Status::TimedOut, None));
    assert_eq!(
        words(&steps),
        ["CommandRequested", "CommandSent", "CommandSent", "CommandTimedOut", "LateAckRecorded"]
    );
    let contrary = json!({"cmd_id": cmd_id, "status": "failed"});
    device.answer(contrary).await;
    let quarantined = fleet.node.quarantined("t0/devices/dev-01/command_ack").await;
    assert_eq!(quarantined, [(Some("t0".to_owned()), "other_answer".to_owned())]);
    fleet.assert_verified().await;
}

#[tokio::test]
async fn a_device_that_goes_away_after_an_attempt_is_given_up_as_a_silent_one_is() {
    let fleet = Fleet::start().await;
    fleet.register("dev-01").await;
    let mut device = fleet.listener("dev-01").await;
    let impatient = NewCommand { timeout_s: Some(1), max_attempts: Some(2), ..ping("dev-01") };
    let (cmd_id, behind) = (fleet.send(impatient).await, fleet.send(ping("dev-01")).await);
    device.command().await;
    drop(device);
    let (state, steps) = fleet.until(cmd_id, |state| state.status == Status::TimedOut).await;
    assert_eq!(
        (state.attempts, words(&steps)),
        (1, vec!["CommandRequested", "CommandSent", "CommandTimedOut"])
    );
    // The one behind was never sent, and waits for the device.
    let mut device = fleet.listener("dev-01").await;
    assert_eq!(device.command().await["cmd_id"], json!(behind));
    fleet.assert_verified().await;
}

#[tokio::test]
async fn an_answer_is_kept_as_the_device_wrote_it_in_time_or_late() {
    let fleet = Fleet::start().await;
    fleet.register("dev-01").await;
    let mut device = fleet.listener("dev-01").await;
    let exact = r#"{"n":123456789012345678901234567890.123, "n":1.0,"z":1,"a":2}"#;
    let answer = |cmd_id: Uuid, field: &str| format!(r#"{{"cmd_id":"{cmd_id}","status":{field}:{exact}}}"#);
    let done = fleet.send(ping("dev-01")).await;
    device.command().await;
    device.answer(answer(done, r#""ack","result""#)).await;
    let failed = fleet.send(ping("dev-01")).await;
    device.command().await;
    device.answer(answer(failed, r#""failed","error""#)).await;
    let late = fleet.send(NewCommand { timeout_s: Some(1), max_attempts: Some(1), ..ping("dev-01") }).await;
    device.command().await;
    fleet.until(late, |state| state.status == Status::TimedOut).await;
    device.answer(answer(late, r#""ack","result""#)).await;
    let (state, _) = fleet.until(done, |state| state.result.is_some()).await;
    assert_eq!(state.result.expect("a result").0, exact);
    let (state, _) = fleet.until(failed, |state| state.error.is_some()).await;
    assert_eq!(state.error.expect("an error").0, exact);
    let (state, _) = fleet.until(late, |state| state.late_ack.is_some()).await;
    assert_eq!(state.late_ack.expect("an ack").0, format!(r#"{{"status":"ack","result":{exact}}}"#));
    fleet.assert_verified().await;
}

#[tokio::test]
async fn what_expires_before_its_device_is_back_is_never_sent() {
    let fleet = Fleet::start().await;
    fleet.register("dev-01").await;
    let soon = NewCommand { expires_at: Some(Utc::now() + TimeDelta::seconds(1)), ..ping("dev-01") };
    let cmd_id = fleet.send(soon).await;
    let (state, steps) = fleet.until(cmd_id, |state| state.status == Status::TimedOut).await;
    assert_eq!((state.attempts, words(&steps)), (0, vec!["CommandRequested", "CommandTimedOut"]));
    let mut device = fleet.listener("dev-01").await;
    let next = fleet.send(ping("dev-01")).await;
    assert_eq!(device.command().await["cmd_id"], json!(next));
    fleet.assert_verified().await;
}

#[tokio::test]
async fn what_is_cancelled_before_its_device_is_back_is_never_sent() {
    let fleet = Fleet::start().await;
    fleet.register("dev-01").await;
    let cmd_id = fleet.send(ping("dev-01")).await;
    let reason = Some("wrong device".to_owned());
    fleet.commands.cancel(&t0(&fleet.node.log), cmd_id, reason, actor("user:2")).await.expect("cancelled");
    let (state, _) = fleet.until(cmd_id, |state| state.status == Status::Cancelled).await;
    assert_eq!(
        (state.cancelled_by.as_deref(), state.cancel_reason.as_deref()),
        (Some("user:2"), Some("wrong device"))
    );
    let mut device = fleet.listener("dev-01").await;
    let next = fleet.send(ping("dev-01")).await;
    assert_eq!(device.command().await["cmd_id"], json!(next));
    fleet.assert_verified().await;
}

#[tokio::test]
async fn an_answer_to_what_the_device_was_not_told_is_quarantined_and_acknowledged() {
    let fleet = Fleet::start().await;
    for uid in ["dev-01", "dev-02"] {
        fleet.register(uid).await;
    }
    let mut device = fleet.listener("dev-01").await;
    let mut other = fleet.listener("dev-02").await;
    let cmd_id = fleet.send(ping("dev-01")).await;
    let command = device.command().await;
    other.ack(&command).await;
    other.answer(json!({"cmd_id": Uuid::nil(), "status": "ack"})).await;
    other.answer(json!({"cmd_id": cmd_id, "status": "done"})).await;
    let reasons: Vec<String> = fleet
        .node
        .quarantined("t0/devices/dev-02/command_ack")
        .await
        .into_iter()
        .map(|(_, reason)| reason)
        .collect();
    assert_eq!(reasons, ["unknown_command", "unknown_command", "bad_ack"]);
    let (state, _) = fleet.until(cmd_id, |state| state.status == Status::Sent).await;
    assert_eq!(state.result, None, "the right device has not answered");
    fleet.assert_verified().await;
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_is_in_its_commands_history_and_one_with_nan_is_an_answer() {
    let fleet = Fleet::start().await;
    fleet.register("dev-01").await;
    let mut device = fleet.listener("dev-01").await;
    let cmd_id = fleet.send(NewCommand { timeout_s: Some(3600), ..ping("dev-01") }).await;
    device.command().await;
    for _ in 0..2 {
        device.answer(json!({"cmd_id": cmd_id, "status": "done"})).await;
    }
    let topic = "t0/devices/dev-01/command_ack";
    let quarantined = fleet.node.quarantined(topic).await;
    assert_eq!(quarantined, vec![(Some("t0".to_owned()), "bad_ack".to_owned()); 2]);
    let answer = format!(r#"{{"cmd_id":"{cmd_id}","status":"ack","result":{{"t":NaN,"h":40}}}}"#);
    fleet.node.ingest(topic, answer).await.expect("recorded");
    let (state, steps) = fleet.until(cmd_id, |state| state.status == Status::Acked).await;
    assert_eq!(state.result.map(|result| result.0).as_deref(), Some(r#"{"t":null,"h":40}"#));
    assert_eq!(
        words(&steps),
        ["CommandRequested", "CommandSent", "UnreadableAckRecorded", "CommandAcknowledged"]
    );
    fleet.assert_verified().await;
}

#[tokio::test]
async fn the_read_model_says_what_the_log_says() {
    let fleet = Fleet::start().await;
    fleet.register("dev-01").await;
    let mut device = fleet.listener("dev-01").await;
    let acked = fleet.send(ping("dev-01")).await;
    let command = device.command().await;
    device.ack(&command).await;
    let failed = fleet.send(ping("dev-01")).await;
    device.command().await;
    device.answer(json!({"cmd_id": failed, "status": "failed", "error": {"code": 7}})).await;
    let cancelled = fleet.send(ping("dev-01")).await;
    let late = device.command().await;
    fleet.commands.cancel(&t0(&fleet.node.log), cancelled, None, actor("user:2")).await.expect("cancelled");
    device.ack(&late).await;
    fleet.catch_up().await;
    let log = &fleet.node.log;
    let ids = [acked, failed, cancelled];
    let rows = fleetlog_projections::commands::get(&t0(log), &ids).await.expect("rows");
    assert_eq!(rows.len(), 3);
    for row in rows {
        assert_eq!(row, super::read(log, row.cmd_id).await.0);
    }
    fleet.assert_verified().await;
}
