//! `kill -9` between every two steps of a removal, with the real binary: nothing is lost, and the next start goes on.

use std::path::Path;
use std::process::ExitStatus;

use fleetlog_archive::check;
use fleetlog_archive::restore::{KEEP_DAYS, restore};
use fleetlog_event_log::control::{Actor, Metadata};
use rstest::rstest;
use tokio::process::Child;

use super::{Past, rows};
use crate::support::server::free_port;
use crate::support::{LIMIT, binary, eventually, url};

/// Starts the service, which looks for weeks that are over at once.
fn serve(past: &Past, crash_at: &str) -> Child {
    let mut serve = binary("serve", free_port());
    serve
        .env("DATABASE_URL", url(&past.database.options()))
        .env("FLEETLOG_ARCHIVE", past.directory.path())
        .env("CRASH_AT", crash_at)
        .args(["--mqtt", &format!("127.0.0.1:{}", free_port())]);
    serve.spawn().expect("the binary")
}

async fn ended(mut child: Child) -> ExitStatus {
    tokio::time::timeout(LIMIT, child.wait()).await.expect("an end").expect("a child")
}

/// The files in a directory and below it whose names end so.
fn files(directory: &Path, end: &str) -> usize {
    let entries =
        std::fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry").path());
    entries
        .map(
            |path| {
                if path.is_dir() { files(&path, end) } else { path.to_string_lossy().ends_with(end).into() }
            },
        )
        .sum()
}

#[rstest]
#[case("archive.written", 0)]
#[case("archive.renamed", 0)]
#[case("archive.verified", 0)]
#[case("archive.removed", 1)]
#[tokio::test]
async fn a_killed_archiver_loses_nothing_and_goes_on_at_the_next_start(
    #[case] point: &str,
    #[case] removed: usize,
) {
    let past = Past::of([9, 8], 20).await;
    let before = rows(&past.database).await;
    past.fold().await;
    past.keep(Some(30)).await;

    let killed = ended(serve(&past, point)).await;
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&killed), Some(9), "{killed}");
    assert_eq!(past.log.all_archived().await.expect("read").len(), removed);
    assert_eq!(rows(&past.database).await[..], before[20 * removed..]);

    let again = serve(&past, "");
    let ranges = eventually("both weeks are removed", async || {
        let ranges = past.log.all_archived().await.expect("read");
        if ranges.len() == 2 { Ok(ranges) } else { Err(ranges) }
    })
    .await;
    let pid = again.id().expect("running").to_string();
    let sent = tokio::process::Command::new("kill").args(["-INT", &pid]).status().await.expect("kill");
    assert!(sent.success() && ended(again).await.success());
    assert_eq!((files(past.directory.path(), ".parquet"), files(past.directory.path(), ".draft")), (2, 0));
    let keys = past.keys().await;
    for range in ranges {
        check::copy(&past.log, &keys, None, &range).await.expect("as it was written");
        restore(&past.log, &keys, None, range, KEEP_DAYS, Metadata::by(Actor::Console))
            .await
            .expect("restored");
    }
    assert_eq!(rows(&past.database).await, before);
}
