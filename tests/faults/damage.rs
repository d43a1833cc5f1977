//! A damaged page of the database's files: what it held is named, and what lies beyond it is read.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;

use fleetlog_aggregates::device::{Device, Labels, Via};
use fleetlog_embedded::postgres as embedded;
use fleetlog_engine::ingest::Fate;
use fleetlog_engine::replay::{self, Scope};
use fleetlog_event_log::control::{Actor, Metadata};
use fleetlog_event_log::damage::Damage;
use fleetlog_event_log::read::Filter;
use fleetlog_event_log::{Error, EventLog, Lane, database};
use fleetlog_projections::status::{self, ProjectionStatus, State};
use fleetlog_projections::{Options, Projections};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection};
use tokio_util::sync::CancellationToken;

use crate::support::{Database, Node, Publisher, Server, eventually, log_of, register_device, until};

const EVENTS: usize = 400;

fn positions(answer: &Value) -> Vec<i64> {
    let items = answer["items"].as_array().cloned().unwrap_or_default();
    items.iter().filter_map(|item| item["position"].as_i64()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_events_of_a_damaged_page_are_named_and_all_others_are_read() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut server = Server::up(directory.path()).await;
    let publisher = Publisher::start(server.mqtt(), 1, EVENTS);
    publisher.finish().await;
    // A projection that has still to read the damaged page would keep the next start from being ready.
    let folded = |answer: &Value| {
        let projections = answer["items"].as_array().cloned().unwrap_or_default();
        !projections.is_empty() && projections.iter().all(|projection| projection["lag"] == 0)
    };
    server.until("/projections", folded).await;
    let cluster = directory.path().join("postgres");
    let connect = PgConnectOptions::new_without_pgpass().username("fleetlog").database("fleetlog");
    let mut owner = connect.socket(cluster.join("postgres.socket")).connect().await.expect("connect");
    let file: String =
        sqlx::query_scalar("SELECT pg_relation_filepath(tableoid::regclass) FROM telemetry_events LIMIT 1")
            .fetch_one(&mut owner)
            .await
            .expect("a partition");
    owner.close().await.expect("closed");
    server.stop().await;
    let file = OpenOptions::new().write(true).open(cluster.join("postgres").join(file)).expect("a table");
    assert!(file.metadata().expect("a file").len() > 3 * 8192, "a page between two others");
    file.write_all_at(&[0x55; 100], 8192 + 4000).expect("scribbled");

    let server = Server::up(directory.path()).await;
    let read = async |after: i64, limit: i64| {
        let path = format!("/events?log=telemetry&after={after}&limit={limit}");
        let answer = server.request(Method::GET, &path).send().await.expect("an answer");
        (answer.status(), answer.json::<Value>().await.expect("JSON"))
    };
    let (mut after, mut found, mut damaged) = (0, Vec::new(), Vec::new());
    while after < EVENTS as i64 {
        let (status, answer) = read(after, EVENTS as i64).await;
        if status == StatusCode::OK {
            let page = positions(&answer);
            after = *page.last().expect("an event");
            assert_eq!(answer["next_cursor"].is_null(), after == EVENTS as i64, "{answer}");
            found.extend(page);
            continue;
        }
        assert_eq!((status.as_u16(), &answer["code"]), (500, &"corrupt".into()), "{answer}");
        let detail = answer["detail"].as_str().expect("a detail");
        let mut numbers =
            detail.split(|char: char| !char.is_ascii_digit()).filter_map(|word| word.parse().ok());
        let (from, to): (i64, i64) = (numbers.next().expect("a number"), numbers.next().expect("a number"));
        assert!(from == after + 1 && to >= from, "after {after}: {detail}");
        assert!(detail.contains(&format!("after={to}")) && !detail.contains("telemetry_events"), "{detail}");
        damaged.extend(from..=to);
        after = to;
    }
    assert!(found.len() > EVENTS / 2 && damaged.len() > 1, "{damaged:?}");
    for event in &damaged {
        assert!(!found.contains(event), "{event} was both read and not");
    }
    found.extend(&damaged);
    found.sort_unstable();
    assert_eq!(found, (1..=EVENTS as i64).collect::<Vec<_>>(), "nothing is passed over");
    // Whoever meets the same page is told the same events, the first ones in a row.
    let from = damaged[0];
    let to = (from..=EVENTS as i64).take_while(|event| damaged.contains(event)).last().expect("the first");
    let named = format!("events {from} to {to} of log 2 cannot be read, because what stores them is damaged");
    let answer =
        server.request(Method::GET, "/telemetry/dev-000?limit=1000").send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let answer: Value = answer.json().await.expect("JSON");
    let detail = format!("{named}; /events goes on behind them with after={to}");
    assert_eq!((&answer["code"], &answer["detail"]), (&"corrupt".into(), &detail.as_str().into()));
    let answer = server
        .graphql(r#"{ device(uid: "dev-000") { telemetry(first: 1000) { nodes { position } } } }"#)
        .await;
    assert_eq!(answer["errors"][0]["message"], detail, "{answer}");
    assert_eq!(answer["errors"][0]["extensions"]["code"], "corrupt", "{answer}");
    let answer = server.request(Method::GET, "/readyz").send().await.expect("an answer");
    let answer: Value = answer.json().await.expect("JSON");
    let parts = answer["parts"].as_array().cloned().unwrap_or_default();
    let reads = parts.into_iter().find(|part| part["name"] == "reads").expect("a part");
    let reason = format!(
        "{named}; restore them from a backup: what follows the log waits for them, and /events passes them with after={to}"
    );
    let said = reads["reason"].as_str().unwrap_or_default();
    assert!(said.starts_with(&reason), "{said}: {reason}");
    server.stop().await;
}

/// Registers devices, one after the other.
async fn register(log: &EventLog, devices: usize) {
    for device in 0..devices {
        let stream = format!("t0/dev-{device:03}").parse().expect("a stream");
        let register = register_device(Via::Api, None, Labels::new());
        log.execute::<Device>(&stream, register, Metadata::by(Actor::Fleetlog)).await.expect("registered");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_projection_waits_before_the_damaged_events_says_so_and_goes_on_once_they_are_restored() {
    const DEVICES: usize = 150;
    let directory = tempfile::tempdir().expect("a directory");
    let cluster = async || {
        let options = embedded::Options::new(directory.path());
        embedded::Cluster::start(options, |_| ()).await.expect("a private Postgres")
    };
    let postgres = cluster().await;
    let options = || database::Options::new(postgres.connect_options());
    options().migrate().await.expect("migrated");
    let log = EventLog::open(options()).await.expect("open");
    register(&log, DEVICES).await;
    let file: String = sqlx::query_scalar("SELECT pg_relation_filepath('control_events')")
        .fetch_one(log.pool())
        .await
        .expect("a table");
    log.close().await;
    drop(log);
    postgres.stop().await.expect("stopped");
    let file = directory.path().join("postgres").join(file);
    let file = OpenOptions::new().read(true).write(true).open(file).expect("a table");
    assert!(file.metadata().expect("a file").len() > 3 * 8192, "a page between two others");
    let mut whole = [0; 8192];
    file.read_exact_at(&mut whole, 8192).expect("read");
    file.write_all_at(&[0x55; 100], 8192 + 4000).expect("scribbled");

    let postgres = cluster().await;
    let options = || database::Options::new(postgres.connect_options());
    let log = EventLog::open(options()).await.expect("open");
    let stop = CancellationToken::new();
    let (upkeep, stopping) = (log.clone(), stop.clone());
    let upkeep = tokio::spawn(async move { upkeep.run(stopping).await });
    let running = tokio::spawn(Projections::new(log.clone(), Options::default()).run(stop.clone()));
    let devices = async |expected: &dyn Fn(&ProjectionStatus) -> bool| {
        eventually("the devices are followed as expected", async || {
            let all = status::list_all(&log).await.expect("read");
            let devices = all.into_iter().find(|one| one.projection == "devices").ok_or(None)?;
            if expected(&devices) { Ok(devices) } else { Err(Some(devices)) }
        })
        .await
    };
    let failed = devices(&|devices| devices.state == State::Failed).await;
    let control = log_of(&log, Lane::Control);
    let tenant = log.for_tenant(&"t0".parse().expect("a tenant"));
    let damage = async |error: Error| match error {
        Error::Damaged(damage) => damage,
        other => panic!("{other}"),
    };
    let read = log.read(control, 0, 1000, &Filter::default()).await.expect_err("damaged");
    let Damage { from, to, .. } = damage(read).await;
    assert!(from > 1 && to >= from && to < DEVICES as i64, "{from} to {to}");
    let waits = format!(
        "events {from} to {to} of log {control} cannot be read, because what stores them is damaged; it waits at {} \
         until they are restored from a backup, because it leaves none out",
        from - 1
    );
    assert_eq!(failed.error.as_deref(), Some(waits.as_str()));
    let of_control = failed.logs.iter().find(|of| of.log_id == control).expect("a log");
    assert_eq!(of_control.progress.position, from - 1, "what comes before is applied");

    // A stream, a state and a replay are not told short either.
    let stream = tenant.stream(format!("dev-{:03}", from - 1));
    let loaded = tenant.load::<Device>(&stream).await.expect_err("damaged");
    let replayed = replay::Options { tenant: tenant.tenant().clone(), scope: Scope::Open, as_of: None };
    let replayed = replay::run(&log, &replayed, &mut |_| Ok(())).await.expect_err("damaged");
    let streams = tenant.streams::<Device>(&[stream]).await.expect_err("damaged");
    let named = format!("read events {from} to {to} of log {control}: table control_events is damaged");
    for error in [loaded.to_string(), streams.to_string(), replayed.to_string()] {
        assert!(error.trim_start_matches("failed to ").starts_with(&named), "{error}");
    }

    file.write_all_at(&whole, 8192).expect("restored");
    let moved = devices(&|devices| devices.state == State::Following && devices.total.lag == 0).await;
    assert_eq!(moved.error, None);
    let folded: i64 =
        sqlx::query_scalar("SELECT count(*) FROM devices_v1").fetch_one(log.pool()).await.expect("read");
    assert_eq!(folded, DEVICES as i64);
    let reads = || log.health().states().into_iter().find(|part| part.name == "reads").expect("a part");
    until("reads succeed again", async || reads().up).await;
    stop.cancel();
    running.await.expect("ended").expect("ended");
    upkeep.await.expect("ended");
    postgres.stop().await.expect("stopped");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_are_missing_at_the_end_of_a_log_are_reported_at_the_start() {
    let database = Database::fresh().await;
    let node = Node::start_on(database.options(), |_, _| ()).await;
    for number in 1..=3 {
        let payload = format!(r#"{{"msg_id":"m{number}","t":{number}}}"#);
        let fate = node.ingest("t0/devices/dev-01/telemetry", payload).await;
        assert_eq!(fate, Ok(Fate::Recorded(number)));
    }
    drop(node);
    let mut owner = database.owner().await;
    let lost = "SET session_replication_role = replica; DELETE FROM telemetry_events WHERE position = 3";
    sqlx::raw_sql(lost).execute(&mut owner).await.expect("lost");
    let node = Node::start_on(database.options(), |_, _| ()).await;
    let reason = eventually("the log is reported", async || {
        let states = node.log.health().states();
        let log = states.iter().find(|part| part.name == "log").and_then(|part| part.reason.clone());
        log.ok_or(states)
    })
    .await;
    assert!(reason.contains("its head is 3, and its last event is 2"), "{reason}");
}
