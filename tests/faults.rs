//! What was acknowledged is on the record, once, whatever is killed: with the real binary, as processes.

mod damage;
mod output;
mod postgres;

use fleetlog_embedded::{mosquitto, postgres as embedded};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, PgConnection};

use crate::support::{Database, Publisher, Server};

const DEVICES: usize = 200;
const EACH: usize = 100;
const MESSAGES: usize = DEVICES * EACH;

/// All messages, each once; positions without a hole; windows equal to a fold by SQL alone.
async fn assert_complete(server: &mut Server, database: &mut PgConnection) {
    let telemetry = |answer: &serde_json::Value| {
        let logs = answer["items"].as_array().cloned().unwrap_or_default();
        logs.iter().any(|log| log["lane"] == "telemetry" && log["head"] == MESSAGES)
    };
    server.until("/logs", telemetry).await;
    let folded = |answer: &serde_json::Value| {
        let projections = answer["items"].as_array().cloned().unwrap_or_default();
        !projections.is_empty() && projections.iter().all(|projection| projection["lag"] == 0)
    };
    server.until("/projections", folded).await;
    let counts = "SELECT count(*), count(DISTINCT (aggregate_id, msg_id)), count(DISTINCT position), min(position), max(position)
                  FROM telemetry_events";
    let counts: (i64, i64, i64, i64, i64) =
        sqlx::query_as(counts).fetch_one(&mut *database).await.expect("counts");
    let all = MESSAGES as i64;
    assert_eq!(counts, (all, all, all, 1, all));
    let differing: (i64, i64) =
        sqlx::query_as(include_str!("projections/windows.sql")).fetch_one(database).await.expect("compared");
    assert_eq!(differing, (0, 0), "windows that are missing, and too many");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_with_its_own_endpoint_loses_nothing_it_acknowledged() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut server = Server::up(directory.path()).await;
    let mqtt = server.mqtt();
    let publisher = Publisher::start(mqtt, DEVICES, EACH);
    for kill_after in [MESSAGES / 10, MESSAGES / 2] {
        publisher.acknowledged(kill_after).await;
        server.kill().await;
        server = Server::up_on(directory.path(), mqtt).await;
    }
    publisher.finish().await;
    let database = PgConnectOptions::new_without_pgpass().username("fleetlog").database("fleetlog");
    let socket = directory.path().join("postgres/postgres.socket");
    let mut database = database.socket(socket).connect().await.expect("connect");
    assert_complete(&mut server, &mut database).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_behind_mosquitto_loses_nothing_the_broker_took() {
    let directory = tempfile::tempdir().expect("a directory");
    let broker =
        mosquitto::Broker::start(mosquitto::Options { dir: directory.path().to_owned(), port: None })
            .await
            .expect("Mosquitto");
    let database = Database::fresh().await;
    let port = broker.address().port();
    let mut server = Server::serve(&database.options(), port, &[]).await;
    let publisher = Publisher::start(port, DEVICES, EACH);
    for kill_after in [MESSAGES / 10, MESSAGES / 2] {
        publisher.acknowledged(kill_after).await;
        server.kill().await;
        server = Server::serve(&database.options(), port, &[]).await;
    }
    publisher.finish().await;
    assert_complete(&mut server, &mut database.owner().await).await;
    server.stop().await;
    broker.stop().await.expect("stopped");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_that_restarts_at_once_costs_no_message() {
    let directory = tempfile::tempdir().expect("a directory");
    let options = embedded::Options::new(directory.path().join("postgres"));
    let mut cluster = embedded::Cluster::start(options.clone(), |_| ()).await.expect("Postgres");
    let broker = mosquitto::Options { dir: directory.path().join("mosquitto"), port: None };
    let broker = mosquitto::Broker::start(broker).await.expect("Mosquitto");
    let port = broker.address().port();
    let mut server = Server::serve(&cluster.connect_options(), port, &[]).await;
    let publisher = Publisher::start(port, DEVICES, EACH);
    for restart_after in [MESSAGES / 10, MESSAGES / 2] {
        publisher.acknowledged(restart_after).await;
        cluster.stop_immediately().await.expect("stopped");
        cluster = embedded::Cluster::start(options.clone(), |_| ()).await.expect("Postgres");
    }
    publisher.finish().await;
    let mut database = cluster.connect_options().connect().await.expect("connect");
    assert_complete(&mut server, &mut database).await;
    server.stop().await;
    broker.stop().await.expect("stopped");
    cluster.stop().await.expect("stopped");
}
