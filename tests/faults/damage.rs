//! A damaged page of the database's files: what it held is named, and what lies beyond it is read.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;

use fleetlog_engine::ingest::Fate;
use reqwest::{Method, StatusCode};
use serde_json::Value;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection};

use crate::support::{Database, Node, Publisher, Server};

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
        projections.len() == 3 && projections.iter().all(|projection| projection["lag"] == 0)
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

    let mut server = Server::up(directory.path()).await;
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
    found.extend(damaged);
    found.sort_unstable();
    assert_eq!(found, (1..=EVENTS as i64).collect::<Vec<_>>(), "nothing is passed over");
    let reads = server.until("/readyz", |answer| {
        let parts = answer["parts"].as_array().cloned().unwrap_or_default();
        parts.iter().any(|part| {
            let reason = part["reason"].as_str().unwrap_or_default();
            part["name"] == "reads" && reason.contains("telemetry_events_")
        })
    });
    reads.await;
    server.stop().await;
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
    let reason = loop {
        let states = node.log.health().states();
        if let Some(reason) = states.into_iter().find(|part| part.name == "log").and_then(|part| part.reason)
        {
            break reason;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    };
    assert!(reason.contains("its head is 3, and its last event is 2"), "{reason}");
}
