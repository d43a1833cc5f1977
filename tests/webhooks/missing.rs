//! Readings that nobody keeps any more when they are due: told, never a silent hole.

use chrono::{Duration, Utc};
use fleetlog_archive::{Archiver, Place};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::Sending;
use crate::archive::{keep, store};
use crate::support::{Receiver, eventually};

use fleetlog_event_log::Lane;

#[tokio::test]
async fn a_webhook_is_told_which_readings_were_removed_or_are_over_age() {
    let (sending, receiver) = (Sending::start().await, Receiver::start().await);
    let (api, directory) = (&sending.api, tempfile::tempdir().expect("a directory"));
    let telemetry = api.log_of("t0", Lane::Telemetry);
    let mut owner = api.database.owner().await;
    // Three weeks of 30 readings; the first two are removed.
    store(&mut owner, telemetry, [9, 8, 0], 30).await;
    keep(&mut owner, "t0", Some(30)).await;
    api.log.heads().refresh(api.log.pool()).await.expect("the heads");
    api.catch_up().await;
    api.prove().await;
    let archiver = Archiver::new(api.log.clone(), Place::Directory(directory.path().to_owned()));
    assert_eq!(archiver.remove_due(&CancellationToken::new()).await.expect("removed").len(), 2);
    api.log.heads().refresh(api.log.pool()).await.expect("the heads");
    api.log.terms().refresh(api.log.pool()).await.expect("the terms");
    // Old already when they are stored, and not removed yet.
    let old = (Utc::now() - Duration::days(60)).to_rfc3339();
    api.publish("dev-09", [json!({"ts": old, "n": 1}), json!({"n": 2}), json!({"ts": old, "n": 3})]).await;
    let (webhook_id, _) = sending.readings(&receiver).await;
    sending.until(&webhook_id, |webhook| webhook["places"][0]["position"] == 93).await;
    let positions: Vec<i64> =
        receiver.accepted().iter().map(|event| event["position"].as_i64().expect("a position")).collect();
    assert_eq!(positions, (61..=90).chain([92]).collect::<Vec<_>>());
    let missing = eventually("what is missing", async || {
        let taken = receiver.taken();
        let missing: Vec<_> = taken
            .iter()
            .flat_map(|taken| taken.json()["data"]["missing"].as_array().cloned().unwrap_or_default())
            .collect();
        if missing.len() >= 3 { Ok(missing) } else { Err(missing) }
    })
    .await;
    let told: Vec<_> = missing
        .iter()
        .map(|range| {
            (range["first_position"].clone(), range["last_position"].clone(), range["state"].clone())
        })
        .collect();
    assert_eq!(
        told,
        [
            (json!(1), json!(30), json!("archived")),
            (json!(31), json!(60), json!("archived")),
            (json!(91), json!(93), json!("over_age")),
        ]
    );
    assert!(missing[0]["file"].as_str().expect("a file").ends_with(".parquet"));
}
