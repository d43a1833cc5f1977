//! Whoever reads what was removed gets it from its files, or is told where it is: never a silent hole.

use fleetlog_event_log::control::{Actor, Metadata};
use fleetlog_event_log::read::Slice;
use fleetlog_event_log::{Error, Event, Position};
use fleetlog_projections::rebuild::{KEEP_S, Refused, Request};
use fleetlog_projections::verify::{self, verify};
use fleetlog_projections::{Options, Projections};
use tokio_util::sync::CancellationToken;

use super::Past;

fn positions(events: &[Event]) -> Vec<Position> {
    events.iter().map(|event| event.position).collect()
}

/// Three weeks of 30 readings, of which two are removed.
async fn removed() -> Past {
    let past = Past::of([9, 8, 0], 30).await;
    past.keep(Some(30)).await;
    assert_eq!(past.remove().await, 2);
    past
}

/// The files, oldest first.
async fn files(past: &Past) -> Vec<String> {
    let ranges = past.log.all_archived().await.expect("read");
    ranges.into_iter().map(|range| range.copy.expect("a copy").location).collect()
}

#[tokio::test]
async fn a_follower_reads_what_was_removed_from_files_and_goes_on_in_the_database() {
    let past = removed().await;
    for begin in [0, 7, 29, 30, 59, 60] {
        let mut follower = past.log.follow(past.telemetry, begin);
        let mut read = vec![];
        while follower.position() < 90 {
            read.extend(positions(&follower.next(8).await.expect("events")));
        }
        assert_eq!(read, (begin + 1..=90).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn slices_of_a_log_that_was_removed_are_its_events_each_once() {
    let past = removed().await;
    // Up to a position in the database, and up to one in the archive.
    for (of, until) in [(1, 85), (2, 85), (3, 85), (1, 45), (3, 45)] {
        let mut read = vec![];
        for nth in 0..of {
            let (slice, mut after) = (Slice { nth, of, until }, 0);
            loop {
                let events = past.log.slice_page(past.telemetry, after, slice, 7, 300).await.expect("events");
                let Some(last) = events.last() else { break };
                after = last.position;
                read.extend(positions(&events));
            }
        }
        read.sort_unstable();
        assert_eq!(read, (1..=until).collect::<Vec<_>>(), "{of} slices");
    }
}

#[tokio::test]
async fn who_reads_no_archives_is_told_what_is_missing_and_how_it_comes_back() {
    let past = removed().await;
    let log = past.database.event_log().await;
    for (after, missing) in [(0, "events 1 to 30"), (29, "events 1 to 30"), (30, "events 31 to 60")] {
        let error = log.follow(past.telemetry, after).next(10).await.expect_err("told");
        let words: Vec<_> = missing.split(' ').collect();
        let (first, last) = (words[1], words[3]);
        let told = error.to_string();
        assert!(matches!(error, Error::Archived(_)) && told.contains(missing), "{told}");
        assert!(
            told.contains(&format!(
                "`fleetlog archive restore --log-id {} --from {first} --to {last}`",
                past.telemetry
            )),
            "{told}"
        );
        assert!(told.contains(&past.directory.path().display().to_string()), "{told}");
    }
    assert_eq!(log.follow(past.telemetry, 60).next(100).await.expect("events").len(), 30);
}

#[tokio::test]
async fn a_file_that_was_changed_is_not_read() {
    let past = removed().await;
    let file = &files(&past).await[0];
    let mut bytes = std::fs::read(file).expect("read");
    let middle = bytes.len() / 3;
    bytes[middle] ^= 1;
    std::fs::write(file, bytes).expect("written");
    let error = past.log.follow(past.telemetry, 0).next(10).await.expect_err("told").to_string();
    assert!(error.contains("is not as it was written"), "{error}");
    assert_eq!(past.log.follow(past.telemetry, 30).next(1).await.expect("the other file").len(), 1);
}

#[tokio::test]
async fn what_cannot_be_folded_from_the_beginning_is_refused_before_anything_is_touched() {
    let past = removed().await;
    let projections = Projections::new(past.log.clone(), Options::default());
    let (handle, stop) = (projections.handle(), CancellationToken::new());
    let running = tokio::spawn(projections.run(stop.clone()));
    handle
        .wait_for("devices", past.telemetry, 90, std::time::Duration::from_secs(20))
        .await
        .expect("caught up");
    let request =
        || Request { from_version: None, keep_s: KEEP_S, accept: false, requested_by: "cli".into() };
    let facts = handle.facts("devices").expect("a projection");

    let unverified = verify(&past.log, facts, 1, |_| {}).await.expect_err("told");
    assert!(matches!(unverified, verify::Error::Archived { .. }));
    assert!(unverified.to_string().contains("events 1 to 30 of log"), "{unverified}");

    std::fs::remove_file(&files(&past).await[1]).expect("removed");
    let refused = handle.rebuild("devices", request(), Metadata::by(Actor::Console)).await;
    assert!(
        matches!(&refused, Err(Refused::Incomplete { why, .. }) if why.contains("No such file")),
        "{refused:?}"
    );
    let versions = "SELECT count(*) FROM projections WHERE projection = 'devices'";
    let versions: i64 = sqlx::query_scalar(versions).fetch_one(past.log.pool()).await.expect("a count");
    assert_eq!(versions, 1);
    // What reads nothing of it is rebuilt and verified all the same.
    handle.rebuild("commands", request(), Metadata::by(Actor::Console)).await.expect("begun");
    verify(&past.log, handle.facts("commands").expect("a projection"), 1, |_| {}).await.expect("verified");
    stop.cancel();
    running.await.expect("ended").expect("stopped");
}

#[tokio::test]
async fn a_time_is_found_though_what_lies_before_or_behind_it_was_removed() {
    use fleetlog_event_log::read::{Filter, Start};
    let past = removed().await;
    let ranges = past.log.all_archived().await.expect("read");
    let keep_days = fleetlog_archive::restore::KEEP_DAYS;
    let by_cli = Metadata::by(Actor::Console);
    fleetlog_archive::restore::restore(
        &past.log,
        &past.keys().await,
        None,
        ranges[0].clone(),
        keep_days,
        by_cli,
    )
    .await
    .expect("restored");
    // The first week is there again, the second is not, the third always was.
    let (from, to) = (ranges[0].first_recorded_at, ranges[0].last_recorded_at);
    let filter = Filter { from: Some(from + (to - from) / 2), to: Some(to), ..Filter::default() };
    let page = past.log.events_page(past.telemetry, Start::default(), 100, &filter).await.expect("read").page;
    assert_eq!(positions(&page.items).last(), Some(&29));
    assert!((14..=16).contains(&page.items.len()), "{}", page.items.len());
}
