//! Rebuilds: a new version is folded beside the live one, compared with it, swapped in and brought back.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use fleetlog_aggregates::command::Event as Answer;
use fleetlog_aggregates::device::{Change, Command, OnlineWithin};
use fleetlog_aggregates::telemetry::{Message, decide};
use fleetlog_event_log::control::{Actor, Metadata};
use fleetlog_event_log::sources::Sources;
use fleetlog_event_log::{Event, EventLog, Lane, LogId, Result};
use fleetlog_projections::devices::{self, Query, Rule, Status};
use fleetlog_projections::read_model::{Poison, ReadModel, Rows};
use fleetlog_projections::rebuild::{KEEP_S, Rebuild, Refused, Request, Steer, Step, UnderWay};
use fleetlog_projections::status::{ProjectionStatus, State};
use fleetlog_projections::verify::verify;
use fleetlog_projections::{Handle, Options, Projections, status};
use sqlx::{Executor, PgConnection};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::windows::untidy;
use super::{
    Running, append, assert_equal_to_the_fold_of_the_log, execute, reading, register, status as said,
};
use crate::support::{Database, eventually, fill_the_disk, free_the_disk, t0};

fn by_fleetlog() -> Metadata {
    Metadata::by(Actor::Fleetlog)
}

fn request() -> Request {
    Request { from_version: None, keep_s: KEEP_S, accept: false, requested_by: "user:1".into() }
}

pub(super) async fn begin(handle: &Handle, projection: &str) -> Result<Rebuild, Refused> {
    handle.rebuild(projection, request(), by_fleetlog()).await
}

async fn steer(handle: &Handle, projection: &str, how: Steer) -> Result<Rebuild, Refused> {
    handle.steer(projection, how, by_fleetlog()).await
}

/// Waits until the last rebuild of a projection is in some state.
async fn until(handle: &Handle, projection: &str, expected: impl Fn(&Rebuild) -> bool) -> Rebuild {
    eventually("the rebuild gets there", async || {
        let last = handle.last_rebuild(projection).await.expect("read").expect("a rebuild");
        if expected(&last) { Ok(last) } else { Err(last) }
    })
    .await
}

pub(super) async fn ended(handle: &Handle, projection: &str) -> Rebuild {
    until(handle, projection, |rebuild| rebuild.ended_at.is_some()).await
}

pub(super) async fn live_version(log: &EventLog, projection: &str) -> i32 {
    let statuses = status::list_all(log).await.expect("read");
    let live = statuses.iter().find(|status| status.projection == projection && status.live);
    live.expect("a live version").version
}

/// Verifies a projection and returns how many rows it has and how many differ.
pub(super) async fn verified(log: &EventLog, handle: &Handle, projection: &str) -> (i64, i64) {
    let facts = handle.facts(projection).expect("a projection");
    let verified = verify(log, facts, 10, |_| {}).await.expect("verified");
    assert!(verified.differences() == 0 || !verified.listed.is_empty(), "differences are listed");
    (verified.rows.iter().map(|rows| rows.stored).sum(), verified.differences())
}

#[tokio::test]
async fn a_rebuilt_read_model_equals_the_live_one_and_takes_its_place() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    let running = Running::start(&log);
    append(&log, untidy(0, 700)).await;
    running.catch_up().await;
    for projection in ["devices", "commands", "telemetry_windows"] {
        let before = live_version(&log, projection).await;
        let begun = begin(&running.handle, projection).await.expect("begun");
        assert_eq!((begun.from_version, begun.version, begun.step), (before, before + 1, Step::Building));
        let rebuilt = ended(&running.handle, projection).await;
        assert_eq!((rebuilt.step, rebuilt.differences, rebuilt.error), (Step::Swapped, Some(0), None));
        assert_eq!(rebuilt.ranges, Some(rebuilt.ranges_compared), "each range of each kind of rows");
        assert_eq!(rebuilt.kept_version, Some(before), "{projection}");
        assert_eq!(live_version(&log, projection).await, begun.version);
        let ranges = running.handle.compared_ranges(rebuilt.rebuild_id).await.expect("read");
        assert!(
            !ranges.is_empty() && ranges.iter().all(|range| range.live_checksum == range.rebuilt_checksum)
        );
    }
    // It goes on from where it is.
    append(&log, untidy(700, 900)).await;
    running.catch_up().await;
    assert_equal_to_the_fold_of_the_log(&log).await;
    for projection in ["devices", "commands", "telemetry_windows"] {
        let (rows, differences) = verified(&log, &running.handle, projection).await;
        assert_eq!(differences, 0, "{projection}");
        assert!(rows > 0 || projection == "commands", "{projection}");
    }
    running.stop().await;
}

/// An answer of a device to a command, or what the dispatcher says of one.
async fn answer(log: &EventLog, cmd_id: &str, actor: Actor, event: Answer) {
    let stream = format!("t0/{cmd_id}").parse().expect("a stream");
    let recorded = log.record(move |recorder| {
        Box::pin(async move { recorder.append("Command", &stream, &event, &Metadata::by(actor)).await })
    });
    recorded.await.map_err(|error: fleetlog_event_log::Error| error).expect("recorded");
}

#[tokio::test]
async fn what_devices_answer_and_say_about_themselves_is_folded_the_same_in_every_order_and_by_the_log_itself()
 {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    let running = Running::start(&log);
    let device = |uid: &str| Actor::Device(uid.parse().expect("a uid"));
    let update = |seconds| {
        let online_within = Some(OnlineWithin::from(seconds));
        Command::Update(Change { online_within, ..Change::default() })
    };
    for uid in ["asleep", "gone", "back", "silent", "dull"] {
        register(&log, uid, None).await;
    }
    let now = Utc::now();
    append(&log, vec![reading("gone", 1, now, r#""t":1"#), said("gone", "offline")]).await;
    append(&log, vec![said("back", "offline"), reading("back", 1, now, r#""t":1"#)]).await;
    append(&log, vec![said("dull", "online"), said("silent", "0"), said("unregistered", "0")]).await;
    execute(&log, "t0/asleep", update(Some(3600))).await;
    execute(&log, "t0/dull", update(Some(60))).await;
    execute(&log, "t0/dull", update(None)).await;
    answer(&log, "c1", device("asleep"), Answer::CommandAcknowledged { result: None }).await;
    answer(&log, "c2", Actor::Dispatcher, Answer::CommandFailed { error: None }).await;
    answer(&log, "c3", device("unregistered"), Answer::CommandFailed { error: None }).await;
    running.catch_up().await;
    let shown = |log: EventLog| async move {
        let rule = Rule { at: log.now(), within: Duration::from_mins(10) };
        let query = Query::default();
        let page = devices::list(&t0(&log), &query, rule).await.expect("listed");
        let shown = page.items.into_iter().map(|device| {
            let status = (device.uid.to_string(), device.status, device.last_seen_at.is_some());
            (status, device.online_within_s, device.messages, device.last_reading.is_some())
        });
        shown.collect::<Vec<_>>()
    };
    let expected = [
        (("asleep", Status::Online, true), Some(3600), 0, false),
        (("back", Status::Online, true), None, 2, true),
        (("dull", Status::Online, true), None, 1, false),
        (("gone", Status::Offline, true), None, 2, true),
        (("silent", Status::Offline, false), None, 1, false),
    ];
    let expected = expected.map(|((uid, status, seen), within, messages, read)| {
        ((uid.to_owned(), status, seen), within, messages, read)
    });
    assert_eq!(shown(log.clone()).await, expected);
    let (rows, differences) = verified(&log, &running.handle, "devices").await;
    assert_eq!((rows, differences), (6, 0), "the unregistered one has a row, too");
    begin(&running.handle, "devices").await.expect("begun");
    let rebuilt = ended(&running.handle, "devices").await;
    assert_eq!((rebuilt.step, rebuilt.differences), (Step::Swapped, Some(0)));
    assert_eq!(shown(log.clone()).await, expected);
    running.stop().await;
}

#[tokio::test]
async fn a_rebuild_that_breaks_off_anywhere_is_taken_up_again_and_loses_and_repeats_nothing() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    let options = || Options { page: 40, batch: 60, ..Options::default() };
    append(&log, untidy(0, 3_000)).await;
    let mut running = Running::start_with(&log, options());
    running.catch_up().await;
    for projection in ["devices", "telemetry_windows"] {
        begin(&running.handle, projection).await.expect("begun");
    }
    // Cut off without warning, again and again, until both have ended.
    for n in 1.. {
        let both = async {
            ended(&running.handle, "devices").await;
            ended(&running.handle, "telemetry_windows").await;
        };
        let cut_off = tokio::time::timeout(Duration::from_millis(300 * n), both).await.is_err();
        running.task.abort();
        running = Running::start_with(&log, options());
        if !cut_off {
            break;
        }
    }
    running.catch_up().await;
    for projection in ["devices", "telemetry_windows"] {
        let rebuilt = ended(&running.handle, projection).await;
        assert_eq!((rebuilt.step, rebuilt.differences), (Step::Swapped, Some(0)), "{projection}");
    }
    assert_equal_to_the_fold_of_the_log(&log).await;
    running.stop().await;
}

#[tokio::test]
async fn one_rebuild_of_a_projection_runs_at_a_time_and_bad_requests_change_nothing() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    let idle = Projections::new(log.clone(), Options::default()).handle();
    assert!(matches!(begin(&idle, "devices").await, Err(Refused::NotLive(_))), "none has ever run");
    let running = Running::start(&log);
    append(&log, untidy(0, 10)).await;
    running.catch_up().await;
    let bad = |from_version, keep_s| Request { from_version, keep_s, ..request() };
    let asked = running.handle.rebuild("devices", bad(Some(7), KEEP_S), by_fleetlog()).await;
    assert!(matches!(asked, Err(Refused::UnknownVersion { version: 7, .. })));
    let asked = running.handle.rebuild("devices", bad(None, -1), by_fleetlog()).await;
    assert!(matches!(asked, Err(Refused::Keep)));
    assert!(matches!(
        running.handle.roll_back("devices", "user:1".into(), by_fleetlog()).await,
        Err(Refused::NothingKept(_))
    ));
    assert!(matches!(steer(&running.handle, "devices", Steer::Pause).await, Err(Refused::NoneRuns(_))));
    let mut owner = database.owner().await;
    owner.execute("UPDATE projections SET format = 9 WHERE projection = 'commands'").await.expect("updated");
    assert!(matches!(
        begin(&running.handle, "commands").await,
        Err(Refused::ForeignFormat { format: 9, known: 1, .. })
    ));
    assert!(matches!(begin(&running.handle, "tomatoes").await, Err(Refused::UnknownProjection(_))));
    let (first, second) = tokio::join!(begin(&running.handle, "devices"), begin(&running.handle, "devices"));
    assert!(first.is_ok() != second.is_ok(), "one of two");
    assert!(matches!(first.and(second), Err(Refused::Runs { .. })));
    ended(&running.handle, "devices").await;
    let tables =
        "SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relname ~ '^(devices|commands)_v[0-9]+$'";
    let tables: i64 = sqlx::query_scalar(tables).fetch_one(&mut owner).await.expect("counted");
    assert_eq!(tables, 3, "no refused request left a table");
    running.stop().await;
}

#[tokio::test]
async fn a_role_that_may_not_create_tables_is_told_so_before_anything_is_touched() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    append(&log, untidy(0, 1)).await;
    let running = Running::start(&log);
    running.catch_up().await;
    let mut owner = database.owner().await;
    // As if the schema had been migrated by a role that has lost the right since.
    let weak = "
        CREATE ROLE weak_owner NOLOGIN;
        ALTER FUNCTION add_projection_version OWNER TO weak_owner;
        GRANT SELECT ON projections TO weak_owner;
        REVOKE CREATE ON SCHEMA public FROM PUBLIC;";
    owner.execute(weak).await.expect("set up");
    let asked = begin(&running.handle, "devices").await;
    assert!(matches!(asked, Err(Refused::MayNotCreate)), "{asked:?}");
    assert_eq!(running.handle.last_rebuild("devices").await.expect("read"), None);
    owner.execute("DROP OWNED BY weak_owner CASCADE; DROP ROLE weak_owner").await.expect("removed");
    running.stop().await;
}

#[tokio::test]
async fn a_rebuild_that_meets_a_full_disk_pauses_in_any_step_and_goes_on_once_it_is_resumed() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    append(&log, untidy(0, 400)).await;
    let running = Running::start(&log);
    running.catch_up().await;
    running.stop().await;
    let mut owner = database.owner().await;
    // No room for a further version: the request is refused, and leaves nothing.
    fill_the_disk(&mut owner, "projections", 0).await;
    let idle = Projections::new(log.clone(), Options::default()).handle();
    let asked = begin(&idle, "telemetry_windows").await;
    assert!(matches!(asked, Err(Refused::DiskFull)), "{asked:?}");
    assert_eq!(idle.last_rebuild("telemetry_windows").await.expect("read"), None);
    free_the_disk(&mut owner).await;

    let begun = begin(&idle, "telemetry_windows").await.expect("begun");
    let (new, live) = (format!("telemetry_windows_v{}", begun.version), begun.from_version);
    // Room for some batches, and not for all.
    fill_the_disk(&mut owner, &new, 64 << 10).await;
    let running = Running::start_with(&log, Options { page: 10, fold_bytes: 1, ..Options::default() });
    for (step, next) in [
        (Step::Building, Some("projection_checkpoints")),
        (Step::Building, Some("projection_rebuild_ranges")),
        (Step::Comparing, Some("projections")),
        (Step::Swapping, None),
    ] {
        let paused = until(&running.handle, "telemetry_windows", |rebuild| rebuild.paused).await;
        assert_eq!((paused.step, paused.ended_at), (step, None));
        assert!(paused.events.position > 0, "some of it was committed before");
        assert_eq!(
            paused.error.as_deref(),
            Some("the database's disk is full; free some space and resume, or cancel")
        );
        assert_eq!(live_version(&log, "telemetry_windows").await, live, "after {step}");
        let (_, differences) = verified(&log, &running.handle, "telemetry_windows").await;
        assert_eq!(differences, 0, "the live version is as it was after {step}");
        free_the_disk(&mut owner).await;
        if let Some(table) = next {
            fill_the_disk(&mut owner, table, 0).await;
        }
        let resumed = steer(&running.handle, "telemetry_windows", Steer::Resume).await.expect("resumed");
        assert_eq!((resumed.paused, resumed.error), (false, None));
    }
    let swapped = ended(&running.handle, "telemetry_windows").await;
    assert_eq!((swapped.step, swapped.differences), (Step::Swapped, Some(0)));
    append(&log, untidy(400, 450)).await;
    running.catch_up().await;
    assert_equal_to_the_fold_of_the_log(&log).await;
    let runs = format!("SELECT (SELECT count(*) FROM {new}), (SELECT count(*) FROM telemetry_runs)");
    let (made, shown): (i64, i64) = sqlx::query_as(&runs).fetch_one(log.pool()).await.expect("counted");
    assert!(made == shown && made > 0, "the view of the runs shows the new version's: {made} and {shown}");
    running.stop().await;
}

#[tokio::test]
async fn a_paused_rebuild_rests_until_it_is_resumed_and_a_cancelled_one_leaves_nothing() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    append(&log, untidy(0, 200)).await;
    let running = Running::start(&log);
    running.catch_up().await;
    begin(&running.handle, "devices").await.expect("begun");
    let paused = steer(&running.handle, "devices", Steer::Pause).await.expect("paused");
    assert!(paused.paused && paused.ended_at.is_none());
    until(&running.handle, "devices", |rebuild| !rebuild.running).await;
    steer(&running.handle, "devices", Steer::Resume).await.expect("resumed");
    assert_eq!(ended(&running.handle, "devices").await.step, Step::Swapped);

    begin(&running.handle, "telemetry_windows").await.expect("begun");
    steer(&running.handle, "telemetry_windows", Steer::Pause).await.expect("paused");
    steer(&running.handle, "telemetry_windows", Steer::Cancel).await.expect("cancelled");
    let cancelled = ended(&running.handle, "telemetry_windows").await;
    assert_eq!(cancelled.step, Step::Cancelled);
    let left = "SELECT to_regclass($1 || cancelled.version)::text FROM projection_rebuilds AS cancelled
                WHERE step = 'cancelled'";
    for table in ["telemetry_windows_v", "telemetry_series_v"] {
        let left: Option<String> =
            sqlx::query_scalar(left).bind(table).fetch_one(log.pool()).await.expect("read");
        assert_eq!(left, None, "{table}");
    }
    assert_eq!(steers(&log).await, "pause resume pause cancel", "each is on the record");
    running.stop().await;
}

/// How rebuilds were steered, as the record has it.
async fn steers(log: &EventLog) -> String {
    let steers =
        "SELECT coalesce(string_agg(payload -> 'RebuildSteered' ->> 'how', ' ' ORDER BY position), '')
                  FROM control_events WHERE event_type = 'RebuildSteered'";
    sqlx::query_scalar(steers).fetch_one(log.pool()).await.expect("read")
}

#[tokio::test]
async fn what_a_rebuild_does_already_is_answered_and_not_put_on_the_record_again() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    append(&log, untidy(0, 20)).await;
    let running = Running::start(&log);
    running.catch_up().await;
    running.stop().await;
    // Nobody works on it.
    let idle = Projections::new(log.clone(), Options::default()).handle();
    begin(&idle, "devices").await.expect("begun");
    for (how, recorded) in [
        (Steer::Resume, ""),
        (Steer::Pause, "pause"),
        (Steer::Pause, "pause"),
        (Steer::Resume, "pause resume"),
        (Steer::Resume, "pause resume"),
        (Steer::Accept, "pause resume accept"),
        (Steer::Accept, "pause resume accept"),
        (Steer::Cancel, "pause resume accept cancel"),
        (Steer::Cancel, "pause resume accept cancel"),
    ] {
        let before = idle.last_rebuild("devices").await.expect("read");
        let steered = steer(&idle, "devices", how).await.expect("answered");
        assert_eq!(steers(&log).await, recorded);
        assert_eq!(steered.paused, how == Steer::Pause, "{how:?}");
        if before.as_ref() == Some(&steered) {
            continue;
        }
        assert!(recorded.ends_with(how.as_str()), "{how:?} changed something: {before:?} {steered:?}");
    }
    for how in [Steer::Pause, Steer::Resume, Steer::Accept] {
        let asked = steer(&idle, "devices", how).await;
        assert!(matches!(asked, Err(Refused::TooLate { step: Step::Cancelled, .. })), "{asked:?}");
    }
}

/// The state of a version in the list of projections, and what its rebuild does.
async fn listed(log: &EventLog, projection: &str, version: i32) -> (State, Option<UnderWay>) {
    let statuses = status::list_all(log).await.expect("listed");
    let of = |of: &&ProjectionStatus| (of.projection.as_str(), of.version) == (projection, version);
    let status = statuses.iter().find(of).expect("a version");
    (status.state, status.rebuild)
}

#[tokio::test]
async fn a_rebuild_is_named_as_it_is_where_it_is_listed_and_where_it_stands_in_the_way() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    append(&log, untidy(0, 60)).await;
    let running = Running::start(&log);
    running.catch_up().await;
    running.stop().await;
    let idle = Projections::new(log.clone(), Options::default()).handle();
    let broken = "UPDATE devices_v1 SET messages = messages + 1 WHERE uid = 'dev-03'";
    database.owner().await.execute(broken).await.expect("broken");
    let begun = begin(&idle, "devices").await.expect("begun");
    let in_the_way = async || begin(&idle, "devices").await.expect_err("one runs").to_string();
    let (state, now) = listed(&log, "devices", begun.version).await;
    assert_eq!(
        (state, now.map(|now| (now.step, now.paused))),
        (State::Building, Some((Step::Building, false)))
    );
    assert_eq!(
        in_the_way().await,
        "a rebuild of devices to version 2 is building: wait until it has ended, or `cancel` it"
    );
    steer(&idle, "devices", Steer::Pause).await.expect("paused");
    let (state, now) = listed(&log, "devices", begun.version).await;
    assert_eq!((state, now.map(|now| (now.step, now.paused))), (State::Paused, Some((Step::Building, true))));
    assert_eq!(
        in_the_way().await,
        "a rebuild of devices to version 2 is paused while building: `resume` lets it go on, `cancel` ends it"
    );
    let back = idle.roll_back("devices", "user:1".into(), by_fleetlog()).await;
    assert!(matches!(back, Err(Refused::Runs { now: UnderWay { paused: true, .. }, .. })), "{back:?}");

    steer(&idle, "devices", Steer::Resume).await.expect("resumed");
    let running = Running::start(&log);
    let waiting = until(&running.handle, "devices", |rebuild| rebuild.step == Step::Waiting).await;
    assert_eq!(waiting.next(), [Steer::Accept, Steer::Cancel]);
    assert_eq!(listed(&log, "devices", begun.version).await, (State::Waiting, waiting.under_way()));
    assert_eq!(
        in_the_way().await,
        "a rebuild of devices to version 2 is waiting until the rows that differ are accepted: `accept` lets the new \
         version go live, `cancel` ends it"
    );
    steer(&running.handle, "devices", Steer::Accept).await.expect("accepted");
    let swapped = ended(&running.handle, "devices").await;
    assert_eq!((swapped.under_way(), swapped.next()), (None, &[][..]));
    running.stop().await;
}

#[tokio::test]
async fn a_version_that_has_just_gone_live_is_never_listed_as_stopped_and_gets_its_runner_without_an_event() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    append(&log, untidy(0, 60)).await;
    let running = Running::start(&log);
    running.catch_up().await;
    // That it went live is on the control log, which the windows do not read.
    let is_up = async |version: i32| {
        eventually("the runner turns to the live version", async || {
            match listed(&log, "telemetry_windows", version).await {
                (State::Following, None) => Ok(()),
                (state @ (State::Starting | State::Building), now) => Err((state, now)),
                other => panic!("{other:?}"),
            }
        })
        .await;
    };
    let rebuilt = begin(&running.handle, "telemetry_windows").await.expect("begun");
    is_up(rebuilt.version).await;
    let back = running.handle.roll_back("telemetry_windows", "user:1".into(), by_fleetlog());
    let back = back.await.expect("begun");
    is_up(back.version).await;
    running.stop().await;
    assert_eq!(listed(&log, "telemetry_windows", back.version).await.0, State::Starting, "for some seconds");
    let past = "UPDATE projection_rebuilds SET ended_at = ended_at - interval '1 minute'";
    database.owner().await.execute(past).await.expect("aged");
    assert_eq!(listed(&log, "telemetry_windows", back.version).await.0, State::Stopped);
}

#[tokio::test]
async fn readers_never_see_a_gap_a_mixture_or_a_decrease_while_a_version_is_swapped() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    append(&log, untidy(0, 500)).await;
    let running = Running::start(&log);
    running.catch_up().await;
    let stop = CancellationToken::new();
    let polling: JoinHandle<u64> = tokio::spawn({
        let (log, stop) = (log.clone(), stop.clone());
        async move {
            let (mut seen, mut reads) = (0, 0);
            while !stop.is_cancelled() {
                // A mixture would show in the two sums: each reading has one `t`.
                let (messages, readings): (i64, i64) = sqlx::query_as(
                    "SELECT (SELECT sum(messages)::bigint FROM devices),
                            (SELECT sum(count)::bigint FROM telemetry_windows WHERE step = 86400 AND metric = 't')",
                )
                .fetch_one(log.pool())
                .await
                .expect("read");
                assert!(messages + readings >= seen, "{messages} + {readings} after {seen}");
                seen = messages + readings;
                reads += 1;
            }
            reads
        }
    });
    for n in 5..9 {
        for projection in ["devices", "telemetry_windows"] {
            begin(&running.handle, projection).await.expect("begun");
        }
        append(&log, untidy(n * 100, n * 100 + 100)).await;
        for projection in ["devices", "telemetry_windows"] {
            assert_eq!(ended(&running.handle, projection).await.step, Step::Swapped);
        }
    }
    running.catch_up().await;
    stop.cancel();
    assert!(polling.await.expect("no decrease") > 10);
    assert_equal_to_the_fold_of_the_log(&log).await;
    running.stop().await;
}

#[tokio::test]
async fn the_statement_that_verifies_windows_takes_the_same_metrics_from_any_payload() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    let many =
        |from: usize, to: usize| (from..to).map(|n| format!(r#""m{n}":{n}"#)).collect::<Vec<_>>().join(",");
    let payloads = [
        r#""a":{"b":[1,{"c":2.5},true,[[7]]]},"a":{"b":[5]},"t":1,"t":3"#.to_owned(),
        r#""x\u0000y":1,"e":1e-400,"tiny":4.9e-324,"huge":1e300,"zero":-0.0,"":3,"s":"1","n":null"#
            .to_owned(),
        r#""ü.é":1,"caf\u00e9":2,"o":{"msg_id":4,"ts":5},"l":[],"m":{},"q\"uote":6"#.to_owned(),
        format!(r#""{}":1,"{}":2"#, "x".repeat(128), "x".repeat(129)),
        many(0, 300),
        format!(r#""nested":{{{}}}"#, many(0, 300)),
        // What is in no array before what is, each name once, and one that is written in two ways.
        format!(r#""first":1,"list":[{},{{"in":2}}],"nested":{{"last":3}}"#, vec!["1"; 300].join(",")),
        r#""t":1,"u.v":5,"u":{"v":6},"t":2,"t":null,"list":[1,2],"list.0":3"#.to_owned(),
        "\"e\u{301}\":1,\"\u{e9}\":2,\"nested\":{\"e\u{301}\":3}".to_owned(),
    ];
    let now = Utc::now() - TimeDelta::hours(1);
    let mut batch: Vec<_> =
        payloads.iter().enumerate().map(|(n, payload)| reading("dev-01", n, now, payload)).collect();
    // More metrics than a device may have windows of.
    batch.extend((0..6).map(|n| reading("dev-02", n, now, &many(n * 200, n * 200 + 200))));
    batch.push(reading("dev-02", 9, now, &many(0, 200)));
    // Texts, each of a device of its own.
    let nested = |depth: usize| {
        format!(r#"{{"n":NaN,"a":{}1{}}}"#, r#"{"a":"#.repeat(depth - 1), "}".repeat(depth - 1))
    };
    let (deep, nearly) = (nested(65), nested(64));
    let texts = [
        r#"{"t":NaN,"u":[1,-Infinity,nan],"v":"NaN","nan":1,"w":1e300,"x":1e400,"y":1e279,"z":-1E+2000}"#,
        "\u{feff}{\"t\":1,\"s\":\"a\\\"NaN\\\\\"}\0",
        " {\"t\":2}\r\n\0",
        "{\"s\":\"a\0b\",\"t\":3}",
        r#"{"s":"\u0000","\u0000":1,"t":4,"n":NaN}"#,
        r#"{"s":"\ud800","t":5,"n":NaN}"#,
        r#"{"t":6,"n":NaN"#,
        r#"{"t":7,"n":nano}"#,
        r#"{"t":8,"n":NaN,}"#,
        r#"{"t":9,"t":10,"n":NaN,"ts":1,"msg_id":2}"#,
        "{\"s\":\"a\nb\",\"t\":11}",
        &deep,
        &nearly,
        "21.50",
        "-1e3\n",
        "1e400",
        "1e300",
        "1e-400",
        "007",
        ".5",
        "+1",
        "NaN",
        "ON",
        "Closed",
        "oN\0",
        "on off",
        "\"ON\"",
        "null",
        "[1,2]",
        "",
        "t=1",
    ];
    let text = |(n, text): (usize, &&str)| {
        let topic = format!("t0/devices/text-{n:02}/telemetry");
        let message = Message { topic: &topic, payload: text.as_bytes(), received_at: now };
        decide(message, || format!("text-{n}")).expect("storable")
    };
    batch.extend(texts.iter().enumerate().map(text));
    append(&log, batch).await;
    let running = Running::start(&log);
    running.catch_up().await;
    let (windows, differences) = verified(&log, &running.handle, "telemetry_windows").await;
    let measured =
        "SELECT count(DISTINCT aggregate_id) FROM telemetry_windows WHERE aggregate_id LIKE 't0/text-%'";
    let measured: i64 = sqlx::query_scalar(measured).fetch_one(log.pool()).await.expect("counted");
    assert_eq!(measured, 12, "texts with metrics");
    assert!(windows > 1_500, "{windows}");
    assert_eq!(differences, 0);
    running.stop().await;
}

/// Counts the readings of each device, or counts each twice.
struct Totals<const TWICE: bool> {
    version: i32,
}

impl<const TWICE: bool> ReadModel for Totals<TWICE> {
    const NAME: &'static str = "totals";
    const FORMAT: i32 = 1;
    const TABLES: &'static [&'static str] = &["totals"];
    const LANES: &'static [Lane] = &[Lane::Telemetry];
    const DIVISIBLE: bool = true;
    type Fold = BTreeMap<String, i64>;

    fn new(version: i32) -> Self {
        Self { version }
    }

    fn compared() -> Vec<Rows> {
        vec![Rows {
            name: "totals",
            key: &["device"],
            values: &["readings"],
            sums: &[],
            positions: &[],
            stored: |version| format!("SELECT * FROM totals_v{version} WHERE range_of(device, $2) = $1"),
            from_log: Some(|version| {
                format!(
                    "SELECT aggregate_id AS device, count(*) AS readings FROM telemetry_events AS event
                     JOIN projection_checkpoints AS checkpoint USING (log_id)
                     WHERE projection = 'totals' AND version = {version} AND event.position <= checkpoint.position
                       AND range_of(aggregate_id, $2) = $1 GROUP BY 1"
                )
            }),
        }]
    }

    fn fold(fold: &mut Self::Fold, event: &Event, _: &Sources) -> Result<(), Poison> {
        *fold.entry(event.aggregate_id.clone()).or_default() += 1 + i64::from(TWICE);
        Ok(())
    }

    fn size(fold: &Self::Fold) -> usize {
        fold.len() * 100
    }

    async fn write(&mut self, connection: &mut PgConnection, log_id: LogId, fold: Self::Fold) -> Result<()> {
        let (devices, readings): (Vec<_>, Vec<_>) = fold.into_iter().unzip();
        sqlx::query(&format!(
            "INSERT INTO totals_v{} AS total (log_id, device, readings)
             SELECT $1, * FROM unnest($2::text[], $3::bigint[])
             ON CONFLICT (log_id, device) DO UPDATE SET readings = total.readings + excluded.readings",
            self.version
        ))
        .bind(log_id)
        .bind(devices)
        .bind(readings)
        .execute(connection)
        .await?;
        Ok(())
    }
}

const TOTALS: &str = "
    CREATE TABLE totals_v1 (
        log_id int NOT NULL,
        device text NOT NULL,
        readings bigint NOT NULL,
        CONSTRAINT totals_v1_key PRIMARY KEY (log_id, device)
    );
    SELECT open_read_model('totals_v1', 'totals');";

fn start<M: ReadModel>(log: &EventLog) -> Running {
    let projections = Projections::none(log.clone(), Options::default()).with::<M>();
    let (handle, shutdown) = (projections.handle(), CancellationToken::new());
    let running = projections.run(shutdown.clone());
    let task = tokio::spawn(async move { running.await.expect("running") });
    Running { handle, shutdown, task }
}

async fn totals(log: &EventLog) -> Vec<(String, i64)> {
    let totals = sqlx::query_as("SELECT device, readings FROM totals ORDER BY device");
    totals.fetch_all(log.pool()).await.expect("read")
}

#[tokio::test]
async fn a_fold_that_differs_is_listed_and_goes_live_only_once_it_is_accepted_and_can_be_taken_back() {
    let database = Database::fresh().await;
    database.owner().await.execute(TOTALS).await.expect("migrated");
    let log = database.event_log().await;
    let one = |uid: &str, id| reading(uid, id, Utc::now() - TimeDelta::minutes(1), r#""t":1"#);
    append(&log, vec![one("dev-01", 1), one("dev-01", 2), one("dev-02", 1)]).await;
    let good = start::<Totals<false>>(&log);
    good.catch_up().await;
    let right = totals(&log).await;
    assert_eq!(verified(&log, &good.handle, "totals").await, (2, 0));
    good.stop().await;

    let broken = start::<Totals<true>>(&log);
    begin(&broken.handle, "totals").await.expect("begun");
    let waiting = until(&broken.handle, "totals", |rebuild| rebuild.step == Step::Waiting).await;
    assert_eq!(waiting.differences, Some(2));
    assert_eq!(totals(&log).await, right, "readers see the live version");
    let listed = broken.handle.differences(waiting.rebuild_id, 0, 10).await.expect("read");
    let shown: Vec<_> = listed
        .iter()
        .map(|row| (row.key.0.as_str(), row.live.as_ref().map(|live| live.0.as_str()), row.rebuilt.clone()))
        .collect();
    assert_eq!(shown[0].0, r#"{"device" : "t0/dev-01"}"#);
    assert_eq!(shown[0].1, Some(r#"{"readings" : 2}"#));
    assert!(shown[0].2.as_ref().is_some_and(|rebuilt| rebuilt.0 == r#"{"readings" : 4}"#));

    steer(&broken.handle, "totals", Steer::Accept).await.expect("accepted");
    assert_eq!(ended(&broken.handle, "totals").await.step, Step::Swapped);
    assert_eq!(totals(&log).await[0], ("t0/dev-01".to_owned(), 4));
    let facts = broken.handle.facts("totals").expect("a projection");
    let verified = verify(&log, facts, 10, |_| {}).await.expect("verified");
    assert_eq!(
        (verified.differences(), verified.listed[0].key.0.as_str()),
        (2, r#"{"device" : "t0/dev-01"}"#)
    );
    broken.stop().await;

    let good = start::<Totals<false>>(&log);
    append(&log, vec![one("dev-02", 2)]).await;
    good.catch_up().await;
    good.handle.roll_back("totals", "user:1".into(), by_fleetlog()).await.expect("begun");
    assert_eq!(ended(&good.handle, "totals").await.step, Step::Swapped);
    assert_eq!(totals(&log).await, [("t0/dev-01".to_owned(), 2), ("t0/dev-02".to_owned(), 2)]);
    append(&log, vec![one("dev-02", 3)]).await;
    good.catch_up().await;
    assert_eq!(totals(&log).await[1].1, 3, "the version that was brought back goes on");
    good.stop().await;
}

#[tokio::test]
async fn the_version_that_was_live_before_is_removed_when_its_time_is_over() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    append(&log, untidy(0, 20)).await;
    let running = Running::start(&log);
    running.catch_up().await;
    let briefly = Request { keep_s: 0, ..request() };
    running.handle.rebuild("devices", briefly, by_fleetlog()).await.expect("begun");
    let gone = until(&running.handle, "devices", |rebuild| {
        rebuild.ended_at.is_some() && rebuild.kept_version.is_none()
    })
    .await;
    assert_eq!(gone.step, Step::Swapped);
    let versions: Vec<i32> =
        sqlx::query_scalar("SELECT version FROM projections WHERE projection = 'devices'")
            .fetch_all(log.pool())
            .await
            .expect("read");
    assert_eq!(versions, [2]);
    assert!(status::list_all(&log).await.expect("read").iter().all(|status| status.state != State::Kept));
    running.stop().await;
}
