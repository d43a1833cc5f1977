//! The log: gapless positions, each message once, append-only, followed without a miss.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::Utc;
use fleetlog_aggregates::device::{self, Device, Labels, Via};
use fleetlog_aggregates::telemetry::{Message, Recorded, decide};
use fleetlog_event_log::control::{Actor, ExecuteError, Metadata};
use fleetlog_event_log::read::{Filter, Span};
use fleetlog_event_log::telemetry::Outcome;
use fleetlog_event_log::{Error, EventLog, Lane, database};
use futures::future::BoxFuture;
use sqlx::{Executor, Row};
use tokio::task::JoinSet;

use crate::support::{Database, log_of, register_device, t0};

fn message(uid: &str, payload: &str) -> Recorded {
    let topic = format!("t0/devices/{uid}/telemetry");
    let message = Message { topic: &topic, payload: payload.as_bytes(), received_at: Utc::now() };
    decide(message, || uuid::Uuid::now_v7().to_string()).expect("storable")
}

fn reading(uid: &str, n: usize) -> Recorded {
    message(uid, &format!(r#"{{"msg_id":"m{n}","n":{n}}}"#))
}

fn register() -> device::Command {
    register_device(Via::Telemetry, None, Labels::new())
}

async fn append(log: &EventLog, batch: Vec<Recorded>) -> Vec<Outcome> {
    log.append_telemetry(log_of(log, Lane::Telemetry), batch.into()).await.expect("appended")
}

#[tokio::test]
async fn a_batch_gets_the_next_positions_in_its_own_order() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    let outcomes = append(&log, (0..5).map(|n| reading("dev-01", n)).collect()).await;
    assert_eq!(outcomes, (1..=5).map(Outcome::Recorded).collect::<Vec<_>>());
    let events = log.read(log_of(&log, Lane::Telemetry), 0, 10, &Filter::default()).await.expect("read");
    let read: Vec<_> =
        events.iter().map(|event| (event.position, event.msg_id.clone().unwrap_or_default())).collect();
    assert_eq!(read, (0..5).map(|n| (n + 1, format!("m{n}"))).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_same_message_is_stored_once_and_its_repeats_are_counted() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    append(&log, vec![reading("dev-01", 1)]).await;
    let outcomes = append(
        &log,
        vec![reading("dev-01", 1), reading("dev-01", 2), reading("dev-01", 2), reading("dev-02", 1)],
    )
    .await;
    assert_eq!(
        outcomes,
        [Outcome::Duplicate, Outcome::Recorded(2), Outcome::Duplicate, Outcome::Recorded(3)]
    );
    let count: i64 =
        sqlx::query_scalar("SELECT duplicates FROM telemetry_duplicates WHERE aggregate_id = 't0/dev-01'")
            .fetch_one(log.pool())
            .await
            .expect("counted");
    assert_eq!(count, 2);
}

#[tokio::test]
async fn a_repeat_is_recognised_when_it_comes_late_and_an_old_one_in_an_old_partition() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    let mut owner = database.owner().await;
    owner
        .execute("SELECT telemetry_events_make_partitions(now() - interval '60 days', now())")
        .await
        .expect("made");
    // A message of forty days ago, as it was recorded then.
    let long_ago = Utc::now() - chrono::TimeDelta::days(40);
    let again = format!(r#"{{"msg_id":"old","ts":{}}}"#, long_ago.timestamp_millis());
    sqlx::query(
        "INSERT INTO telemetry_events VALUES (
             (SELECT log_id FROM logs WHERE tenant = 't0' AND lane = 'telemetry'), 1, $1, $1, 0, 't0/dev-01', 'old', $2::json)",
    )
    .bind(long_ago)
    .bind(&again)
    .execute(&mut owner)
    .await
    .expect("inserted");
    owner.execute("UPDATE logs SET head = 1 WHERE lane = 'telemetry'").await.expect("moved");
    let late = r#"{"msg_id":"late","ts":"2020-01-01T00:00:00Z"}"#;
    let batch = [&*again, late, late].map(|payload| message("dev-01", payload)).to_vec();
    assert_eq!(append(&log, batch).await, [Outcome::Duplicate, Outcome::Recorded(2), Outcome::Duplicate]);
    assert_eq!(append(&log, vec![message("dev-01", late)]).await, [Outcome::Duplicate]);
}

/// The ids of a device's messages, and what they were flagged with, in order.
async fn ids(log: &EventLog, uid: &str) -> Vec<(String, bool)> {
    let select =
        "SELECT msg_id, flags & 2048 <> 0 FROM telemetry_events WHERE aggregate_id = $1 ORDER BY position";
    sqlx::query_as(select).bind(format!("t0/{uid}")).fetch_all(log.pool()).await.expect("select")
}

/// The same id, with another value: the device's counter has begun again.
fn reused(n: usize, value: usize) -> Recorded {
    message("dev-01", &format!(r#"{{"msg_id":"m{n}","n":{value}}}"#))
}

#[tokio::test]
async fn a_message_with_the_id_of_another_is_stored_once_under_an_id_of_its_own() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    append(&log, vec![reused(1, 1), reused(2, 2)]).await;
    let other = reused(1, 7).under_an_id_of_its_own().msg_id;
    for _ in 0..2 {
        let outcomes = append(&log, vec![reused(1, 1), reused(3, 3)]).await;
        assert_eq!(outcomes[0], Outcome::Duplicate, "the same content");
    }
    // Once in this week's partition, where the index refuses it, and once in a batch with the message itself.
    assert_eq!(append(&log, vec![reused(1, 7)]).await, [Outcome::RecordedApart(4)]);
    let outcomes =
        append(&log, vec![reused(1, 7), reused(1, 1), reused(4, 4), reused(4, 5), reused(4, 5)]).await;
    let expected = [
        Outcome::Duplicate,
        Outcome::Duplicate,
        Outcome::Recorded(5),
        Outcome::RecordedApart(6),
        Outcome::Duplicate,
    ];
    assert_eq!(outcomes, expected);
    // The batch comes again, as it does when its outcome was unknown.
    let outcomes = append(&log, vec![reused(4, 4), reused(4, 5)]).await;
    assert_eq!(outcomes, [Outcome::Duplicate, Outcome::Duplicate]);
    let ids = ids(&log, "dev-01").await;
    assert_eq!(ids.len(), 6, "{ids:?}");
    assert_eq!((&ids[3].0, ids[3].1), (&other, true));
    assert_eq!(ids.iter().filter(|(_, is_flagged)| *is_flagged).count(), 2, "{ids:?}");
}

#[tokio::test]
async fn a_message_with_the_id_of_another_is_told_apart_by_a_node_that_remembers_neither() {
    let database = Database::fresh().await;
    let (here, there) = (database.event_log().await, database.event_log().await);
    // More batches than a node that was just started is wary for.
    for n in 0..70 {
        append(&here, vec![reading("dev-02", n)]).await;
    }
    append(&there, vec![reused(1, 1), reused(1, 7)]).await;
    let outcomes = append(&here, vec![reading("dev-02", 100), reused(1, 9), reused(1, 7)]).await;
    assert_eq!(outcomes, [Outcome::Recorded(73), Outcome::RecordedApart(74), Outcome::Duplicate]);
}

#[tokio::test]
async fn an_id_that_looks_like_one_made_unique_holds_nobody_up() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    let made = reused(1, 7).under_an_id_of_its_own().msg_id;
    let squatter = || message("dev-01", &format!(r#"{{"msg_id":"{made}"}}"#));
    let batch = || vec![squatter(), reused(1, 1), reused(1, 7)];
    let expected = [Outcome::Recorded(1), Outcome::Recorded(2), Outcome::RecordedApart(3)];
    assert_eq!(append(&log, batch()).await, expected);
    assert_eq!(append(&log, batch()).await, [Outcome::Duplicate, Outcome::Duplicate, Outcome::Duplicate]);
    assert_eq!(ids(&log, "dev-01").await[2].0.matches('~').count(), 2);
}

#[tokio::test]
async fn a_repeat_of_what_another_node_has_just_stored_is_recognised() {
    let database = Database::fresh().await;
    let (here, there) = (database.event_log().await, database.event_log().await);
    // More batches than a node that was just started is wary for: it looks up only what it knows to be likely.
    for n in 0..70 {
        append(&here, vec![reading("dev-01", n)]).await;
    }
    append(&there, vec![reading("dev-01", 100), reading("dev-02", 100)]).await;
    let again =
        vec![reading("dev-01", 101), reading("dev-01", 100), reading("dev-02", 0), reading("dev-01", 7)];
    let outcomes = append(&here, again).await;
    assert_eq!(
        outcomes,
        [Outcome::Recorded(73), Outcome::Duplicate, Outcome::Recorded(74), Outcome::Duplicate]
    );
}

#[tokio::test]
async fn a_repeat_within_the_week_is_recognised_whatever_its_time() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    sqlx::query(
        r#"INSERT INTO telemetry_events
         SELECT log_id, 1, week, week, 0, 't0/dev-01', 'monday', '{"msg_id":"monday"}'
         FROM logs, date_trunc('week', now(), 'UTC') AS week WHERE tenant = 't0' AND lane = 'telemetry'"#,
    )
    .execute(&mut database.owner().await)
    .await
    .expect("inserted");
    let again = message("dev-01", r#"{"msg_id":"monday"}"#);
    assert_eq!(append(&log, vec![again]).await, [Outcome::Duplicate]);
}

/// The planner has no statistics of a new partition. With the wrong index an append reads all of a device's readings
/// for each message, and gets slower with every one.
#[tokio::test]
async fn duplicates_are_found_by_the_index_that_is_made_for_it() {
    let database = Database::fresh().await;
    // Without its upkeep, which looks up the last event of each log by position.
    let log = EventLog::open(database::Options::new(database.options())).await.expect("open");
    // Few devices and many, small batches and large: each tempts the planner in its own way.
    for (devices, batch) in [(1, 500), (1000, 2000_usize)] {
        for round in 0..4 {
            let reading = |n: usize| reading(&format!("dev-{}-{}", devices, n % devices), round * batch + n);
            append(&log, (0..batch).map(reading).collect()).await;
            append(&log, (0..batch).map(reading).collect()).await;
        }
    }
    // A session reports what it used when it ends.
    log.close().await;
    let mut owner = database.owner().await;
    let used = "SELECT indexrelname::text FROM pg_stat_user_indexes
                WHERE relname LIKE 'telemetry\\_events%' AND idx_scan > 0";
    let mut indexes: Vec<String> = Vec::new();
    while indexes.is_empty() {
        indexes = sqlx::query_scalar(used).fetch_all(&mut owner).await.expect("statistics");
    }
    assert!(indexes.iter().all(|index| index.ends_with("_msg_id")), "{indexes:?}");
}

#[tokio::test]
async fn a_message_that_the_database_refuses_is_refused_alone() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    let mut batch: Vec<_> = (0..9).map(|n| reading("dev-01", n)).collect();
    "{".clone_into(&mut batch[4].payload);
    let outcomes = append(&log, batch).await;
    let refused: Vec<_> = (0..9).filter(|&n| matches!(outcomes[n], Outcome::Refused(_))).collect();
    assert_eq!(refused, [4]);
    let positions: Vec<_> = outcomes
        .iter()
        .filter_map(|outcome| if let Outcome::Recorded(p) = outcome { Some(*p) } else { None })
        .collect();
    assert_eq!(positions, (1..=8).collect::<Vec<_>>());
}

#[tokio::test]
async fn update_delete_and_truncate_are_refused_to_the_service_and_to_the_owner() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    append(&log, vec![reading("dev-01", 1)]).await;
    log.execute::<Device>(&"t0/dev-01".parse().expect("a stream"), register(), Metadata::by(Actor::Fleetlog))
        .await
        .expect("registered");
    let partition: String = sqlx::query_scalar("SELECT tableoid::regclass::text FROM telemetry_events")
        .fetch_one(log.pool())
        .await
        .expect("a partition");
    let (mut service, mut owner) = (database.service().await, database.owner().await);
    for table in ["events", "control_events", "telemetry_events", partition.as_str()] {
        for statement in [
            format!("UPDATE {table} SET payload = '{{}}'"),
            format!("DELETE FROM {table}"),
            format!("TRUNCATE {table}"),
        ] {
            for connection in [&mut service, &mut owner] {
                let refused = connection.execute(statement.as_str()).await;
                assert!(refused.is_err(), "{statement}");
            }
        }
    }
    for statement in ["UPDATE logs SET head = head - 1", "DELETE FROM logs", "TRUNCATE logs CASCADE"] {
        assert!(owner.execute(statement).await.is_err(), "{statement}");
    }
    let left: i64 =
        sqlx::query_scalar("SELECT count(*) FROM events").fetch_one(&mut owner).await.expect("count");
    assert_eq!(left, 2);
}

#[tokio::test]
async fn the_service_may_only_select_and_insert_events() {
    let database = Database::fresh().await;
    let mut service = database.service().await;
    let granted = sqlx::query(
        "SELECT c.relname::text AS name, privilege FROM pg_class c,
                unnest(ARRAY['SELECT','INSERT','UPDATE','DELETE','TRUNCATE','TRIGGER']) AS privilege
         WHERE (c.relname = 'control_events' OR c.relname LIKE 'telemetry\\_events%') AND c.relkind IN ('r', 'p')
           AND has_table_privilege(c.oid, privilege) AND NOT c.relispartition
         ORDER BY 1, 2",
    )
    .fetch_all(&mut service)
    .await
    .expect("privileges");
    let granted: Vec<(String, String)> = granted.iter().map(|row| (row.get(0), row.get(1))).collect();
    let expected = ["control_events", "telemetry_events"]
        .iter()
        .flat_map(|table| ["INSERT", "SELECT"].map(|privilege| ((*table).to_owned(), privilege.to_owned())));
    assert_eq!(granted, expected.collect::<Vec<_>>());
    assert!(service.execute("DROP TRIGGER control_events_are_append_only ON control_events").await.is_err());
}

/// With positions from an identity column this fails: a number is taken at INSERT and seen at COMMIT, and the reader
/// passes over the ones that commit late.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_reader_misses_nothing_while_appenders_overlap() {
    const BATCHES: usize = 120;
    let database = Database::fresh().await;
    let log = database.event_log().await;
    let telemetry = log_of(&log, Lane::Telemetry);
    let mut appenders = JoinSet::new();
    for appender in ["a", "b"] {
        let log = log.clone();
        appenders.spawn(async move {
            for n in 0..BATCHES {
                append(&log, (0..5).map(|i| reading(appender, n * 5 + i)).collect()).await;
            }
        });
    }
    let mut follower = log.follow(telemetry, 0);
    let mut seen = BTreeSet::new();
    while seen.len() < 2 * BATCHES * 5 {
        for event in follower.next(7).await.expect("read") {
            assert_eq!(event.position as usize, seen.len() + 1, "positions come in order, without a hole");
            seen.insert((event.aggregate_id, event.msg_id));
        }
    }
    appenders.join_all().await;
    assert_eq!(log.heads().log(telemetry).map(|log| log.head), Some(seen.len() as i64));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn control_positions_are_gapless_though_half_the_appends_fail() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    let mut commands = JoinSet::new();
    for n in 0..40 {
        let log = log.clone();
        // Two commands for each device: one of them is refused.
        commands.spawn(async move {
            log.execute::<Device>(
                &format!("t0/dev-{}", n / 2).parse().expect("a stream"),
                register(),
                Metadata::by(Actor::Fleetlog),
            )
            .await
        });
    }
    let outcomes = commands.join_all().await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 20);
    let refused = |outcome: &&Result<_, _>| {
        matches!(outcome, Err(ExecuteError::Refused(device::Error::AlreadyRegistered)))
    };
    assert_eq!(outcomes.iter().filter(refused).count(), 20);
    let events = log.read(log_of(&log, Lane::Control), 0, 100, &Filter::default()).await.expect("read");
    assert_eq!(events.iter().map(|event| event.position).collect::<Vec<_>>(), (1..=20).collect::<Vec<_>>());
}

/// Begins devices' streams together, at most so many.
async fn begin(log: &EventLog, uids: impl IntoIterator<Item = usize>, most: i64) -> Vec<String> {
    let control = log_of(log, Lane::Control);
    let streams: Vec<_> = uids.into_iter().map(|uid| format!("t0/dev-{uid}")).collect();
    let begun = log.record(move |recorder| -> BoxFuture<'_, Result<_, Error>> {
        let event =
            device::Event::DeviceRegistered { via: Via::Telemetry, name: None, labels: Labels::new() };
        Box::pin(async move {
            recorder.begin::<Device>(control, &streams, &event, &Metadata::by(Actor::Fleetlog), most).await
        })
    });
    begun.await.expect("begun")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn streams_that_begin_together_begin_once_and_leave_no_hole() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    let mut beginning = JoinSet::new();
    for n in 0..8 {
        let (together, alone) = (log.clone(), log.clone());
        // Each half of these is in another's too, and some begin by themselves meanwhile.
        beginning.spawn(async move { begin(&together, n * 5..n * 5 + 10, i64::MAX).await.len() });
        beginning.spawn(async move {
            let uid = format!("t0/dev-{}", n * 6);
            usize::from(
                alone
                    .execute::<Device>(
                        &uid.parse().expect("a stream"),
                        register(),
                        Metadata::by(Actor::Fleetlog),
                    )
                    .await
                    .is_ok(),
            )
        });
    }
    let begun: usize = beginning.join_all().await.into_iter().sum();
    assert_eq!(begun, 45);
    let events = log.read(log_of(&log, Lane::Control), 0, 100, &Filter::default()).await.expect("read");
    assert_eq!(events.iter().map(|event| event.position).collect::<Vec<_>>(), (1..=45).collect::<Vec<_>>());
    let streams: BTreeSet<_> = events.iter().map(|event| (&event.aggregate_id, event.sequence)).collect();
    assert_eq!(streams.len(), 45);
    assert!(streams.iter().all(|(_, sequence)| *sequence == 1));
}

#[tokio::test]
async fn of_streams_that_begin_together_no_more_do_than_may() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    log.execute::<Device>(&"t0/dev-2".parse().expect("a stream"), register(), Metadata::by(Actor::Fleetlog))
        .await
        .expect("registered");
    assert_eq!(begin(&log, 1..9, 3).await, ["t0/dev-1", "t0/dev-3", "t0/dev-4"]);
    assert_eq!(begin(&log, 1..9, 0).await, Vec::<String>::new());
    assert_eq!(log.heads().log(log_of(&log, Lane::Control)).map(|log| log.head), Some(4));
}

#[tokio::test]
async fn appends_that_come_at_the_same_time_share_transactions_and_no_conflict() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    let mut appends = JoinSet::new();
    for nth in 0..200 {
        // Every fourth is for a stream that another one of them is for, too.
        let (log, stream) =
            (log.clone(), format!("t0/dev-{}", if nth % 4 == 0 { nth / 8 } else { 1000 + nth }));
        appends.spawn(async move {
            log.execute::<Device>(
                &stream.parse().expect("a stream"),
                register(),
                Metadata::by(Actor::Fleetlog),
            )
            .await
        });
    }
    let mut appended = BTreeSet::new();
    while let Some(done) = appends.join_next().await {
        match done.expect("no panic") {
            Ok(at) => drop(appended.insert(at.expect("an event").position)),
            Err(ExecuteError::Refused(device::Error::AlreadyRegistered)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(appended.into_iter().collect::<Vec<_>>(), (1..=175).collect::<Vec<_>>());
    let count = "SELECT count(DISTINCT xmin::text) FROM control_events";
    let transactions: i64 = sqlx::query_scalar(count).fetch_one(log.pool()).await.expect("a count");
    assert!(transactions < 100, "{transactions} transactions");
}

#[tokio::test]
async fn an_event_for_a_tenant_that_does_not_exist_is_refused() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    let refused = log
        .execute::<Device>(
            &"nobody/dev-01".parse().expect("a stream"),
            register(),
            Metadata::by(Actor::Fleetlog),
        )
        .await;
    assert!(matches!(refused, Err(ExecuteError::Log(error)) if error.is_bad_data()));
}

#[tokio::test]
async fn a_follower_on_another_node_is_woken() {
    let database = Database::fresh().await;
    let (here, there) = (database.event_log().await, database.event_log().await);
    let mut follower = there.follow(log_of(&there, Lane::Telemetry), 0);
    append(&here, vec![reading("dev-01", 1)]).await;
    assert_eq!(follower.next(10).await.expect("read").len(), 1);
}

#[tokio::test]
async fn a_caller_that_leaves_leaves_no_transaction_open() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    let telemetry = log_of(&log, Lane::Telemetry);
    let mut owner = database.owner().await;
    owner.execute("BEGIN; SELECT 1 FROM logs WHERE lane = 'telemetry' FOR UPDATE").await.expect("locked");
    {
        let abandoned = log.append_telemetry(telemetry, Arc::from([reading("dev-01", 1)]));
        tokio::pin!(abandoned);
        // Polled once, it waits for the lock; then its caller leaves.
        assert!(futures::poll!(abandoned.as_mut()).is_pending());
    }
    owner.execute("COMMIT").await.expect("released");
    assert_eq!(log.follow(telemetry, 0).next(10).await.expect("read").len(), 1);
    let open = "SELECT count(*) FROM pg_stat_activity
                WHERE datname = current_database() AND state LIKE 'idle in transaction%'";
    let open: i64 = sqlx::query_scalar(open).fetch_one(&mut owner).await.expect("count");
    assert_eq!(open, 0);
}

#[tokio::test]
async fn a_database_that_may_lose_what_it_acknowledged_is_not_served() {
    let database = Database::fresh().await;
    for (setting, value) in [("synchronous_commit", "off")] {
        let unsafe_options = database.options().options([(setting, value)]);
        let refused = EventLog::open(database::Options::new(unsafe_options)).await.err();
        assert!(matches!(refused, Some(fleetlog_event_log::Error::NotDurable { .. })), "{setting}");
    }
}

#[tokio::test]
async fn a_devices_readings_are_read_by_time_in_pages() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    let at = |minute: u32| format!("2026-01-01T00:{minute:02}:00Z");
    let order = [3, 1, 4, 0, 2];
    let batch =
        order.map(|n| message("dev-01", &format!(r#"{{"msg_id":"m{n}","ts":"{}"}}"#, at(n)))).to_vec();
    append(&log, batch).await;
    let dev_01 = "dev-01".parse().expect("a uid");
    for ascending in [true, false] {
        let mut read = Vec::new();
        let mut span = Span { from: at(1).parse().ok(), to: at(4).parse().ok(), ascending, beyond: None };
        loop {
            let log_id = log_of(&log, Lane::Telemetry);
            let page = t0(&log).readings_page(log_id, &dev_01, span, 2).await.expect("read");
            span.beyond = page.items.last().map(|reading| (reading.occurred_at, reading.position));
            read.extend(page.items.iter().map(|reading| reading.msg_id.clone()));
            if !page.has_more {
                break;
            }
        }
        let expected = if ascending { ["m1", "m2", "m3"] } else { ["m3", "m2", "m1"] };
        assert_eq!(read, expected);
    }
}

#[tokio::test]
async fn row_level_security_keeps_the_order_of_a_devices_index() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    let log_id = log_of(&log, Lane::Telemetry);
    let newest = format!(
        r#"EXPLAIN (COSTS off) SELECT position FROM telemetry_events
           WHERE log_id = {log_id} AND aggregate_id COLLATE "POSIX" = 't0/dev-01'
           ORDER BY occurred_at DESC, position DESC LIMIT 100"#
    );
    let plan: Vec<String> =
        sqlx::query_scalar(&newest).fetch_all(&mut database.requests("t0").await).await.expect("a plan");
    assert!(!plan.iter().any(|line| line.trim_start().starts_with("->  Sort")), "{plan:#?}");
}

#[tokio::test]
async fn a_request_without_a_tenant_sees_nothing_and_with_one_only_that_tenants() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    append(&log, vec![reading("dev-01", 1)]).await;
    let count = "SELECT (SELECT count(*) FROM telemetry_events) + (SELECT count(*) FROM logs)";
    let within = async |tenant: &str| -> i64 {
        let log = log.for_tenant(&tenant.parse().expect("a tenant"));
        let mut connection = log.connection().await.expect("connects");
        sqlx::query_scalar(count).fetch_one(&mut *connection).await.expect("a count")
    };
    let nobodys: i64 =
        sqlx::query_scalar(count).fetch_one(&mut database.requests("").await).await.expect("a count");
    assert_eq!(nobodys, 0);
    for _ in 0..3 {
        assert_eq!(within("t0").await, 3);
        assert_eq!(within("t1").await, 0, "the connection has not kept its tenant");
    }
}

#[tokio::test]
async fn a_connection_that_was_kept_shows_whoever_reads_next_their_own_rows_only() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    append(&log, vec![reading("dev-01", 1)]).await;
    let rows = async |tenant: &str, sql: &'static str| {
        let log = log.for_tenant(&tenant.parse().expect("a tenant"));
        log.fetch(sqlx::query(sql)).await.map(|rows| rows.len())
    };
    let seen = async |tenant: &str| {
        rows(tenant, "SELECT FROM telemetry_events UNION ALL SELECT FROM logs").await.expect("rows")
    };
    for _ in 0..3 {
        assert_eq!(seen("t0").await, 3);
        assert_eq!(seen("t1").await, 0);
        assert_eq!(tokio::join!(seen("t0"), seen("t1"), seen("t0"), seen("t1")), (3, 0, 3, 0));
        // What has failed, or was given up halfway, is not used again.
        assert!(rows("t0", "SELECT 1 / (SELECT count(*) FROM pg_sleep(0) WHERE false)").await.is_err());
        let given_up =
            tokio::time::timeout(std::time::Duration::ZERO, rows("t0", "SELECT pg_sleep(60)")).await;
        assert!(given_up.is_err());
    }
}
