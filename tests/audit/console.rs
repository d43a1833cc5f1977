//! `fleetlog audit`, the real binary.

use std::process::Output;

use fleetlog_event_log::Lane;
use serde_json::json;
use sqlx::Executor;

use super::{Signed, append, register};
use crate::support::{tool, url};

async fn replay(signed: &Signed, arguments: &[&str]) -> Output {
    let mut tool = tool("replay");
    tool.args(arguments).env("DATABASE_URL", url(&signed.database.options()));
    tool.env("FLEETLOG_AUDIT_DIR", signed.folder.path());
    tool.output().await.expect("the binary")
}

async fn audit(signed: &Signed, arguments: &[&str]) -> Output {
    let mut tool = tool("audit");
    tool.args(arguments).env("DATABASE_URL", url(&signed.database.options()));
    if matches!(arguments[0], "verify" | "new-key") {
        tool.env("FLEETLOG_AUDIT_DIR", signed.folder.path());
    }
    tool.output().await.expect("the binary")
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn reason(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn an_auditor_verifies_a_log_and_is_told_what_was_forged() {
    let signed = Signed::with(50, 2).await;
    append(&signed.log, 50, 53).await;
    let good = audit(&signed, &["verify"]).await;
    assert!(good.status.success(), "{}", reason(&good));
    let (control, telemetry) = (signed.lane(Lane::Control), signed.lane(Lane::Telemetry));
    let lines: Vec<String> = out(&good).lines().map(ToOwned::to_owned).collect();
    assert!(lines[0].starts_with(&format!(
        "log {control}: 2 events, 1 to 2, are as recorded (checkpoint of 2 events, signed 20"
    )));
    assert!(
        lines[1].starts_with(&format!("log {telemetry}: 50 events, 1 to 50, are as recorded")),
        "{lines:?}"
    );
    assert!(lines[1].ends_with("; 3 newer ones are not signed yet"), "{lines:?}");

    // The checkpoints that somebody has kept count as much as the folder's.
    let (kept, key) = (audit(&signed, &["checkpoint"]).await, audit(&signed, &["key"]).await);
    let key = out(&key).trim().to_owned();
    let file = signed.folder.path().join("kept");
    std::fs::write(&file, out(&kept)).expect("written");
    let mut owner = signed.database.owner().await;
    owner.execute("SET session_replication_role = replica").await.expect("set");
    owner
        .execute("UPDATE telemetry_events SET payload = '{\"temperature\":0}' WHERE position = 17")
        .await
        .expect("forged");
    // Whoever has the database also has its trees and its checkpoints.
    owner.execute("DELETE FROM audit_checkpoints").await.expect("deleted");
    let arguments = [
        "verify",
        "--key",
        &key,
        "--checkpoint",
        &file.display().to_string(),
        "--log-id",
        &telemetry.to_string(),
    ];
    let bad = audit(&signed, &arguments).await;
    assert_eq!(bad.status.code(), Some(1));
    assert_eq!(out(&bad), format!("log {telemetry}: position 17 differs\n"));
    assert!(reason(&bad).ends_with("fleetlog: 1 log is not as recorded\n"), "{}", reason(&bad));
}

#[tokio::test]
async fn a_replay_says_how_far_the_log_is_proved_and_tells_nothing_of_a_forged_one() {
    let signed = Signed::with(1, 5).await;
    register(&signed.log, 5..7).await;
    let control = signed.lane(Lane::Control);
    let good = replay(&signed, &["--device", "dev-3"]).await;
    let last = out(&good).lines().last().map(ToOwned::to_owned).unwrap_or_default();
    assert!(last.starts_with(&format!("verified up to {control}:5 (checkpoint of 20")), "{last}");
    assert!(last.ends_with("Z); 2 newer events are not signed yet"), "{last}");
    let json = replay(&signed, &["--device", "dev-3", "--format", "json"]).await;
    let last: serde_json::Value =
        serde_json::from_str(out(&json).lines().last().expect("a line")).expect("JSON");
    assert_eq!(
        (&last["line"], &last["verified"], &last["unsigned"]),
        (&json!("proof"), &json!(5), &json!(2))
    );

    // One of another device, which this replay would not have told.
    let mut owner = signed.database.owner().await;
    owner.execute("SET session_replication_role = replica").await.expect("set");
    owner
        .execute("UPDATE control_events SET payload = replace(payload::text, 'pump', 'lamp')::json WHERE position = 2")
        .await
        .expect("forged");
    let bad = replay(&signed, &["--device", "dev-3"]).await;
    assert_eq!((bad.status.code(), &*out(&bad)), (Some(1), ""));
    let reason = reason(&bad);
    assert!(reason.starts_with(&format!("log {control}: position 2 differs\n")), "{reason}");
    assert!(reason.contains("the log is not as recorded, so nothing of it is told"), "{reason}");
    let anyway = replay(&signed, &["--device", "dev-1", "--unverified"]).await;
    assert!(anyway.status.success() && out(&anyway).contains("lamp 1"), "{}", out(&anyway));
    assert!(!out(&anyway).contains("verified"), "{}", out(&anyway));
}

#[tokio::test]
async fn one_event_is_proved_and_what_cannot_be_proved_is_refused_with_the_reason() {
    let signed = Signed::with(10, 1).await;
    append(&signed.log, 10, 12).await;
    let telemetry = signed.lane(Lane::Telemetry);
    let proof = audit(&signed, &["prove", &format!("{telemetry}:7")]).await;
    assert!(out(&proof).starts_with("c2sp.org/tlog-proof@v1\nindex 6\n"), "{}", reason(&proof));
    for (arguments, why) in [
        (
            vec!["prove".to_owned(), format!("{telemetry}:11")],
            "is not signed yet; the newest checkpoint has 10 events",
        ),
        (vec!["prove".to_owned(), format!("{telemetry}:99")], "has no signed event at position 99"),
        (vec!["prove".to_owned(), "99:1".to_owned()], "there is no log 99"),
        (vec!["prove".to_owned(), "1".to_owned()], "expected a log and a position in it, as 2:1042"),
        (vec!["verify".to_owned(), "--key".to_owned(), "nonsense".to_owned()], "this is no verifier key"),
        (vec!["verify".to_owned(), "--checkpoint".to_owned(), "/nowhere".to_owned()], "/nowhere"),
        (vec!["new-key".to_owned()], "there is a key in"),
    ] {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let refused = audit(&signed, &arguments).await;
        assert!(
            !refused.status.success() && reason(&refused).contains(why),
            "{arguments:?}: {}",
            reason(&refused)
        );
    }
}
