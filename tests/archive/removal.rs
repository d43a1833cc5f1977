//! When a week is removed, and when it stays.

use fleetlog_archive::check;
use fleetlog_archive::restore::{KEEP_DAYS, restore};
use fleetlog_archive::{Archiver, Place};
use fleetlog_event_log::archived::{Copy, Removal};
use fleetlog_event_log::control::{Actor, Metadata};
use fleetlog_projections::rebuild::{KEEP_S, Request, Step};
use fleetlog_projections::{Options, Projections};
use tokio_util::sync::CancellationToken;

use super::{Past, keep, partitions, rows, store, week};
use crate::support::eventually;

fn by_cli() -> Metadata {
    Metadata::by(Actor::Console)
}

#[tokio::test]
async fn a_year_under_a_retention_of_30_days_leaves_comes_back_equal_and_is_rebuilt_from_files() {
    let past = Past::of((1..=52).rev(), 70).await;
    let projections =
        Projections::new(past.log.clone(), Options { page: 90, batch: 300, ..Options::default() });
    let handle = projections.handle();
    let stop = CancellationToken::new();
    let running = tokio::spawn(projections.run(stop.clone()));
    for projection in ["devices", "telemetry_windows"] {
        handle
            .wait_for(projection, past.telemetry, 52 * 70, std::time::Duration::from_secs(20))
            .await
            .expect("caught up");
    }
    let before = rows(&past.database).await;
    past.keep(Some(30)).await;
    // A week is over 30 days after its end. Of the fifth before this one that depends on the day.
    let removed = past.remove().await;
    assert!((47..=48).contains(&removed), "{removed}");
    assert_eq!(partitions(&past.database).await, 53 - removed as i64);
    let kept = rows(&past.database).await;
    assert_eq!(kept[..], before[removed * 70..]);

    let ranges = past.log.all_archived().await.expect("read");
    assert_eq!(ranges.len(), removed);
    for range in &ranges {
        assert_eq!((range.count(), range.week < week(4)), (70, true));
        check::copy(&past.log, &past.keys().await, None, range).await.expect("as it was written");
    }
    assert_eq!(past.remove().await, 0, "nothing is removed twice");

    // A new version reaches back before the first reading that is kept, and equals the one before.
    for projection in ["devices", "telemetry_windows"] {
        let request =
            Request { from_version: None, keep_s: KEEP_S, accept: false, requested_by: "cli".into() };
        handle.rebuild(projection, request, by_cli()).await.expect("begun");
        let rebuilt = eventually("the rebuild ends", async || {
            let last = handle.last_rebuild(projection).await.expect("read").expect("a rebuild");
            if last.ended_at.is_some() || last.step == Step::Waiting { Ok(last) } else { Err(last) }
        })
        .await;
        assert_eq!((rebuilt.step, rebuilt.differences), (Step::Swapped, Some(0)), "{rebuilt:?}");
    }

    for range in ranges {
        restore(&past.log, &past.keys().await, None, range, KEEP_DAYS, by_cli()).await.expect("restored");
    }
    assert_eq!(rows(&past.database).await, before);
    assert_eq!(past.remove().await, 0, "what was restored stays for a while");
    stop.cancel();
    running.await.expect("ended").expect("stopped");
}

#[tokio::test]
async fn a_week_stays_while_one_tenant_with_readings_in_it_keeps_them() {
    let past = Past::of([12, 11, 10], 20).await;
    let mut owner = past.database.owner().await;
    sqlx::query("INSERT INTO tenants (tenant) VALUES ('t1')").execute(&mut owner).await.expect("a tenant");
    past.log.heads().refresh(past.log.pool()).await.expect("the heads");
    let other = past.log.heads().of("t1", fleetlog_event_log::Lane::Telemetry).expect("a log");
    store(&mut owner, other, [11], 1).await;
    past.log.heads().refresh(past.log.pool()).await.expect("the heads");
    past.prove().await;
    assert_eq!(past.remove().await, 0, "nobody has a retention");
    past.keep(Some(30)).await;
    assert_eq!(past.remove().await, 2, "one reading of a tenant without a retention keeps its week");
    assert_eq!(rows(&past.database).await.len(), 21);
    keep(&mut owner, "t1", Some(365)).await;
    assert_eq!(past.remove().await, 0, "the longer retention counts");
    keep(&mut owner, "t1", Some(30)).await;
    assert_eq!(past.remove().await, 1);
    let told = "SELECT split_part(aggregate_id, '/', 1) || ' ' || string_agg(payload #>> '{ReadingsRemoved,first}', ' '
                                                                            ORDER BY position)
                FROM control_events WHERE event_type = 'ReadingsRemoved' GROUP BY log_id, aggregate_id ORDER BY 1";
    let told: Vec<String> = sqlx::query_scalar(told).fetch_all(&mut owner).await.expect("the record");
    assert_eq!(told, ["t0 1 41 21", "t1 1"], "each removal is on the record of its tenant");
}

#[tokio::test]
async fn a_week_that_has_just_ended_stays_whatever_the_retention() {
    let past = Past::of([2, 0], 5).await;
    past.keep(Some(1)).await;
    past.remove().await;
    assert_eq!(rows(&past.database).await.len(), 5, "this week's");
    // Nobody has readings in an empty one, so no retention keeps it; the next reading belongs into it.
    let past = Past::of([2], 5).await;
    past.keep(Some(1)).await;
    past.remove().await;
    let there = "SELECT to_regclass(week_partition($1)) IS NOT NULL";
    let there: bool = sqlx::query_scalar(there)
        .bind(week(0))
        .fetch_one(&mut past.database.owner().await)
        .await
        .expect("an answer");
    assert!(there, "this week's");
}

#[tokio::test]
async fn a_week_stays_until_every_projection_has_folded_it() {
    let past = Past::of([9, 8], 20).await;
    past.keep(Some(30)).await;
    let mut owner = past.database.owner().await;
    let stand = "INSERT INTO projections (projection, version, live, lanes, state)
                 VALUES ('slow', 1, true, '{telemetry}', 'following')";
    sqlx::query(stand).execute(&mut owner).await.expect("a projection");
    assert_eq!(past.remove().await, 0, "it has folded nothing");
    let reach = "INSERT INTO projection_checkpoints (projection, version, log_id, position) VALUES ('slow', 1, $1, $2)
                 ON CONFLICT (projection, version, log_id) DO UPDATE SET position = excluded.position";
    for (position, removed) in [(19, 0), (20, 1), (39, 0), (40, 1)] {
        sqlx::query(reach)
            .bind(past.telemetry)
            .bind(position)
            .execute(&mut owner)
            .await
            .expect("a checkpoint");
        assert_eq!(past.remove().await, removed, "it stands at {position}");
    }
}

#[tokio::test]
async fn a_week_stays_until_a_signed_checkpoint_covers_it() {
    let past = Past::of([9], 20).await;
    past.keep(Some(30)).await;
    store(&mut past.database.owner().await, past.telemetry, [8], 20).await;
    past.log.heads().refresh(past.log.pool()).await.expect("the heads");
    assert_eq!(past.remove().await, 1);
    past.prove().await;
    assert_eq!(past.remove().await, 1);
}

#[tokio::test]
async fn a_week_of_broken_ranges_becomes_a_file_for_each_and_comes_back() {
    let past = Past::of([9, 8, 9, 8], 20).await;
    let before = rows(&past.database).await;
    past.keep(Some(30)).await;
    assert_eq!(past.remove().await, 2);
    let ranges = past.log.all_archived().await.expect("read");
    let positions: Vec<_> = ranges.iter().map(|range| (range.first, range.last)).collect();
    assert_eq!(positions, [(1, 20), (21, 40), (41, 60), (61, 80)]);
    for range in ranges {
        restore(&past.log, &past.keys().await, None, range, KEEP_DAYS, by_cli()).await.expect("restored");
    }
    assert_eq!(rows(&past.database).await, before);
}

#[tokio::test]
async fn the_database_removes_nothing_that_was_not_named_exactly() {
    let past = Past::of([9], 20).await;
    let removal =
        |first, last, copy| Removal { log_id: past.telemetry, first, last, copy, proved_size: None };
    let remove = async |ranges: &[(i64, i64)]| {
        let removals = ranges.iter().map(|&(first, last)| removal(first, last, None));
        past.log.remove(week(9), removals.collect(), by_cli()).await.map_err(|error| error.to_string())
    };
    assert!(remove(&[(1, 20)]).await.is_err_and(|error| error.contains("keeps its readings for ever")));
    past.keep(Some(30)).await;
    for wrong in [
        &[][..],
        &[(1, 19)],
        &[(2, 20)],
        &[(1, 21)],
        &[(1, 10), (5, 14)],
        &[(1, 10), (12, 20)],
        &[(1, 10), (12, 21)],
    ] {
        assert!(remove(wrong).await.is_err(), "{wrong:?}");
    }
    // Where a key signs, each file has the proof of what is in it.
    let copy = Copy { location: "log-2/unproved.parquet".into(), bytes: 1, sha256: vec![0; 32] };
    let unproved = past.log.remove(week(9), vec![removal(1, 20, Some(copy))], by_cli()).await;
    assert!(unproved.is_err_and(|error| error.to_string().contains("has no proof of them")));
    assert_eq!(rows(&past.database).await.len(), 20);
    let mut service = past.database.service().await;
    let drop = sqlx::query("DROP TABLE telemetry_events").execute(&mut service).await;
    assert!(drop.is_err(), "the service itself may drop nothing");
    remove(&[(1, 12), (13, 20)]).await.expect("removed");
    assert_eq!(rows(&past.database).await.len(), 0);
}

#[tokio::test]
async fn without_a_place_for_copies_readings_are_removed_and_noted() {
    let past = Past::of([9], 20).await;
    past.keep(Some(30)).await;
    let archiver = Archiver::new(past.log.clone(), Place::Nowhere);
    assert_eq!(archiver.remove_due(&CancellationToken::new()).await.expect("removed").len(), 1);
    let ranges = past.log.all_archived().await.expect("read");
    assert!(matches!(&ranges[..], [range] if range.copy.is_none() && range.count() == 20));
    let restored = restore(&past.log, &past.keys().await, None, ranges[0].clone(), KEEP_DAYS, by_cli()).await;
    assert!(restored.is_err_and(|error| error.to_string().contains("no copy was kept")));
}
