//! One command for many devices.

use fleetlog_aggregates::identity::Uid;
use fleetlog_engine::commands::batch::{NewBatch, Selector};
use fleetlog_projections::commands::{Batch, batch};
use serde_json::json;
use uuid::Uuid;

use super::{Fleet, actor};
use crate::support::{LIMIT, t0};

fn new_batch(uids: &[String], rate_per_s: u32, abort_after_failures: Option<u32>) -> NewBatch {
    let devices = uids.iter().map(|uid| uid.parse::<Uid>().expect("a uid")).collect();
    NewBatch {
        selector: Selector::Devices(devices),
        cmd: "ping".into(),
        params: None,
        rate_per_s,
        abort_after_failures,
        timeout_s: Some(5),
        max_attempts: Some(1),
        expires_at: None,
    }
}

async fn devices(fleet: &Fleet, count: usize) -> Vec<String> {
    let uids: Vec<String> = (0..count).map(|n| format!("dev-{n:02}")).collect();
    for uid in &uids {
        fleet.register(uid).await;
    }
    fleet.catch_up().await;
    uids
}

async fn request(fleet: &Fleet, new: NewBatch) -> Uuid {
    fleet
        .commands
        .send_batch(&t0(&fleet.node.log), new, None, actor("user:1"), async |devices| Ok(devices))
        .await
        .expect("accepted")
        .id
}

async fn until(fleet: &Fleet, batch_id: Uuid, expected: impl Fn(&Batch) -> bool) -> Batch {
    let waiting = async {
        let mut heads = fleet.node.log.heads().watch();
        loop {
            fleet.catch_up().await;
            let found = batch(&t0(&fleet.node.log), batch_id).await.expect("read");
            if let Some(found) = found.filter(|found| expected(found)) {
                return found;
            }
            heads.changed().await.expect("a log");
        }
    };
    tokio::time::timeout(LIMIT, waiting).await.expect("the batch gets there")
}

#[tokio::test]
async fn a_batch_is_complete_when_every_device_has_answered() {
    let fleet = Fleet::start().await;
    let uids = devices(&fleet, 10).await;
    let mut listeners = vec![];
    for uid in &uids {
        listeners.push(fleet.listener(uid).await);
    }
    let batch_id = request(&fleet, new_batch(&uids, 1000, None)).await;
    for device in &mut listeners {
        let command = device.command().await;
        device.ack(&command).await;
    }
    let batch = until(&fleet, batch_id, |batch| batch.status == "completed").await;
    assert_eq!((batch.devices, batch.commands.acked, batch.commands.waiting), (10, 10, 0));
    assert_eq!(batch.requested_by, "user:1");
    fleet.assert_verified().await;
}

#[tokio::test]
async fn a_batch_stops_itself_when_too_many_fail() {
    let fleet = Fleet::start().await;
    let uids = devices(&fleet, 30).await;
    let mut listeners = vec![];
    for uid in &uids {
        listeners.push(fleet.listener(uid).await);
    }
    let batch_id = request(&fleet, new_batch(&uids, 8, Some(2))).await;
    for device in listeners.iter_mut().take(2) {
        let command = device.command().await;
        device.answer(json!({"cmd_id": command["cmd_id"], "status": "failed"})).await;
    }
    let batch = until(&fleet, batch_id, |batch| batch.status == "aborted").await;
    assert!(batch.commands.waiting > 0, "{batch:?}");
    assert_eq!(batch.commands.failed, 2);
    fleet.assert_verified().await;
}

#[tokio::test]
async fn a_cancelled_batch_sends_nothing_more_and_takes_back_what_was_not_sent() {
    let fleet = Fleet::start().await;
    // Nobody listens, so nothing can be sent.
    let uids = devices(&fleet, 40).await;
    let batch_id = request(&fleet, new_batch(&uids, 20, None)).await;
    until(&fleet, batch_id, |batch| batch.commands.requested >= 10).await;
    fleet
        .commands
        .cancel_batch(&t0(&fleet.node.log), batch_id, None, actor("user:2"))
        .await
        .expect("cancelled");
    let batch = until(&fleet, batch_id, |batch| {
        batch.status == "cancelled" && batch.commands.requested == 0 && batch.commands.cancelled >= 10
    })
    .await;
    assert!(batch.commands.waiting > 0 && batch.commands.sent == 0, "{batch:?}");
    assert_eq!(batch.cancelled_by.as_deref(), Some("user:2"));
    fleet.assert_verified().await;
}

#[tokio::test]
async fn a_batch_that_is_interrupted_goes_on_and_tells_no_device_twice() {
    let mut fleet = Fleet::start().await;
    let uids = devices(&fleet, 40).await;
    let batch_id = request(&fleet, new_batch(&uids, 40, None)).await;
    until(&fleet, batch_id, |batch| batch.commands.requested >= 10).await;
    fleet.dispatch_anew();
    let batch = until(&fleet, batch_id, |batch| batch.commands.waiting == 0).await;
    assert_eq!((batch.commands.requested, batch.status.as_str()), (40, "running"));
    let requested = "SELECT count(*), count(DISTINCT payload -> 'CommandRequested' ->> 'device_uid')
        FROM control_events WHERE event_type = 'CommandRequested'";
    let counts: (i64, i64) =
        sqlx::query_as(requested).fetch_one(fleet.node.log.pool()).await.expect("counted");
    assert_eq!(counts, (40, 40));
    fleet.assert_verified().await;
}

#[tokio::test]
async fn a_paused_batch_requests_nothing_until_it_goes_on() {
    let fleet = Fleet::start().await;
    let log = t0(&fleet.node.log);
    let uids = devices(&fleet, 40).await;
    let batch_id = request(&fleet, new_batch(&uids, 20, None)).await;
    until(&fleet, batch_id, |batch| batch.commands.requested >= 5).await;
    fleet.commands.pause_batch(&log, batch_id, actor("user:2")).await.expect("paused");
    // By the time that another batch of this rate is through, this one would be, too.
    let other = request(&fleet, new_batch(&uids, 20, None)).await;
    until(&fleet, other, |batch| batch.commands.waiting == 0).await;
    let paused = until(&fleet, batch_id, |batch| batch.status == "paused").await;
    assert!(paused.commands.waiting >= 20, "{paused:?}");
    fleet.assert_verified().await;
    fleet.commands.resume_batch(&log, batch_id, actor("user:2")).await.expect("resumed");
    let resumed = until(&fleet, batch_id, |batch| batch.commands.waiting == 0).await;
    assert_eq!(resumed.status, "running");
    fleet.assert_verified().await;
}

#[tokio::test]
async fn a_batch_that_expires_before_each_device_had_its_turn_is_cancelled() {
    let fleet = Fleet::start().await;
    let log = t0(&fleet.node.log);
    let uids = devices(&fleet, 2).await;
    let expires_at = Some(log.now() + chrono::TimeDelta::seconds(4));
    let batch_id = request(&fleet, NewBatch { expires_at, ..new_batch(&uids, 1, None) }).await;
    fleet.commands.pause_batch(&log, batch_id, actor("user:2")).await.expect("paused");
    let batch = until(&fleet, batch_id, |batch| batch.status == "cancelled").await;
    assert_eq!(batch.cancelled_by.as_deref(), Some("dispatcher"));
    assert!(batch.cancel_reason.is_some_and(|reason| reason.contains("expired")));
    fleet.assert_verified().await;
}
