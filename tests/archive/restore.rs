//! `fleetlog archive`: lists, verifies and restores.

use std::process::Output;

use super::{Past, rows};
use crate::support::{tool, url};

async fn archive(past: &Past, arguments: &[&str]) -> (bool, String) {
    let mut tool = tool("archive");
    tool.args(arguments).env("DATABASE_URL", url(&past.database.options()));
    let Output { status, stdout, stderr } = tool.output().await.expect("the binary");
    (status.success(), String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned())
}

#[tokio::test]
async fn what_was_removed_is_listed_verified_and_restored_from_the_command_line() {
    let past = Past::of([9, 8, 0], 30).await;
    let before = rows(&past.database).await;
    assert!(archive(&past, &["list"]).await.1.contains("nothing was removed"));
    past.keep(Some(30)).await;
    assert_eq!(past.remove().await, 2);

    let (listed, text) = archive(&past, &["list"]).await;
    assert!(listed && text.lines().count() == 2, "{text}");
    assert!(text.contains("1 to 30") && text.contains("31 to 60") && text.contains(".parquet"), "{text}");
    let (verified, text) = archive(&past, &["verify"]).await;
    assert!(verified && text.matches("verified up to").count() == 2, "{text}");

    // The directory is moved, and a file in it is damaged.
    let elsewhere = tempfile::tempdir().expect("a directory");
    let moved = elsewhere.path().join("moved");
    std::fs::rename(past.directory.path(), &moved).expect("moved");
    let (verified, text) = archive(&past, &["verify"]).await;
    assert!(!verified && text.contains("--archive"), "{text}");
    let at = ["--archive", moved.to_str().expect("a path")];
    let ranges = past.log.all_archived().await.expect("read");
    let name = |nth: usize| {
        let copy = ranges[nth].copy.as_ref().expect("a copy");
        moved
            .join(std::path::Path::new(&copy.location).strip_prefix(past.directory.path()).expect("below it"))
    };
    let whole = std::fs::read(name(1)).expect("read");
    std::fs::write(name(1), &whole[1..]).expect("written");
    let (verified, text) = archive(&past, &[&["verify"], &at[..]].concat()).await;
    assert!(
        !verified && text.contains("1 to 30  verified up to") && text.contains("31 to 60  DAMAGED"),
        "{text}"
    );

    let log = past.telemetry.to_string();
    let (restored, text) = archive(&past, &[&["restore", "--log-id", &log], &at[..]].concat()).await;
    assert!(
        !restored && text.contains("restored, for 30 days at least") && text.contains("instead of"),
        "{text}"
    );
    assert_eq!(rows(&past.database).await.len(), 60, "what cannot be verified is not restored");
    std::fs::write(name(1), &whole).expect("written");
    let from = ["restore", "--log-id", &log, "--from", "31", "--keep", "7"];
    let (restored, text) = archive(&past, &[&from, &at[..]].concat()).await;
    assert!(
        restored && text.contains("(checkpoint of ") && text.contains("); restored, for 7 days"),
        "{text}"
    );
    assert_eq!(rows(&past.database).await, before);
    let (again, text) = archive(&past, &[&["restore", "--log-id", &log], &at[..]].concat()).await;
    assert!(again && text.matches("in the database already").count() == 2, "{text}");
    let (listed, text) = archive(&past, &["list"]).await;
    assert!(listed && text.matches("in the database until").count() == 2, "{text}");

    // What was restored is removed again once its time is over, into the same files.
    let over = "UPDATE archived_ranges SET kept_until = now()";
    sqlx::query(over).execute(&mut past.database.owner().await).await.expect("over");
    assert_eq!(past.remove().await, 2);
    assert_eq!(rows(&past.database).await[..], before[60..]);
}

#[tokio::test]
async fn positions_that_are_in_the_database_are_not_restored_over() {
    let past = Past::of([9], 30).await;
    past.keep(Some(30)).await;
    past.remove().await;
    let one = "INSERT INTO telemetry_events SELECT $1, 17, now(), now(), 0, 't0/dev-01', 'x', '{}'";
    sqlx::query(one).bind(past.telemetry).execute(&mut past.database.owner().await).await.expect("stored");
    let (restored, text) = archive(&past, &["restore", "--log-id", &past.telemetry.to_string()]).await;
    assert!(!restored && text.contains("event 17 is in the database already"), "{text}");
    assert_eq!(rows(&past.database).await.len(), 1);
}
