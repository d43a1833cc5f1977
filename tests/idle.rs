//! What a service costs its database while nothing happens.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use fleetlog::service::{Broker, Options, Service};
use fleetlog_access::mail::Transport;
use fleetlog_api::rest;
use fleetlog_event_log::database;
use fleetlog_mqtt::server;
use sqlx::PgConnection;
use tokio_util::sync::CancellationToken;

use crate::support::Database;

/// How long questions are counted, in seconds of the database's clock.
const WINDOW_S: f64 = 10.0;
/// How often the end of a window is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How many windows there are for the service, and for autovacuum, to come to rest.
const WINDOWS: usize = 12;
/// With fewer questions a second the service is not idle but held up.
const ALIVE: f64 = 0.5;

/// A connection to another database, whose own questions are not counted.
struct Counter {
    connection: PgConnection,
    database: String,
}

/// How many transactions there have been in a database, and the time in seconds, by the database's clock. A statement
/// outside of a transaction is one, and so is the ping of a pool.
#[derive(Clone, Copy)]
struct Count {
    questions: f64,
    at: f64,
}

impl Counter {
    async fn of(database: &Database) -> Self {
        let name = database.options().get_database().expect("a name").to_owned();
        Self { connection: Database::fresh().await.owner().await, database: name }
    }

    async fn read(&mut self) -> Count {
        let read =
            "SELECT (xact_commit + xact_rollback)::float8, extract(epoch FROM clock_timestamp())::float8
            FROM pg_stat_database WHERE datname = $1";
        let read = sqlx::query_as(read).bind(&self.database).fetch_one(&mut self.connection);
        let (questions, at) = read.await.expect("a count");
        Count { questions, at }
    }
}

#[tokio::test]
async fn an_idle_service_with_a_thousand_tenants_asks_the_database_fewer_than_five_questions_a_second() {
    let (database, outbox) = (Database::fresh().await, tempfile::tempdir().expect("a directory"));
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let service = Service::start(Options {
        tls: None,
        database: database::Options::new(database.options()),
        migrate: false,
        http: anywhere,
        broker: Broker::Endpoint(server::Options::new(anywhere)),
        admin_email: None,
        admin_password: None,
        secret: None,
        access: fleetlog_access::Settings::default(),
        mail: Transport::Files(outbox.path().to_owned()),
        webhooks: fleetlog_webhooks::Options::default(),
        audit_dir: Some(outbox.path().join("audit")),
        metrics: rest::metrics::recorder(fleetlog::instruments::all()).expect("a recorder").handle(),
        witnesses: vec![],
        archive: Some(fleetlog_archive::Place::Nowhere),
        simulations: false,
        settings: fleetlog_api::Settings::default(),
    });
    let service = service.await.expect("started");
    let stop = CancellationToken::new();
    let mut running = tokio::spawn(service.run(stop.clone()));
    let mut owner = database.owner().await;
    let tenants =
        "INSERT INTO tenants (tenant) SELECT 'quiet-' || number FROM generate_series(1, 1000) AS number";
    sqlx::raw_sql(tenants).execute(&mut owner).await.expect("tenants");

    let (mut counter, mut rates) = (Counter::of(&database).await, vec![]);
    for _ in 0..WINDOWS {
        let (began, mut looks) = (counter.read().await, tokio::time::interval(LOOK_EVERY));
        let mut now = began;
        while now.at - began.at < WINDOW_S {
            tokio::select! {
                ended = &mut running => panic!("the service ended: {ended:?}"),
                _ = looks.tick() => {}
            }
            now = counter.read().await;
        }
        let rate = (now.questions - began.questions) / (now.at - began.at);
        rates.push(rate);
        if (ALIVE..5.0).contains(&rate) {
            stop.cancel();
            running.await.expect("no panic").expect("stopped");
            return;
        }
    }
    panic!("questions a second: {rates:.1?}");
}
