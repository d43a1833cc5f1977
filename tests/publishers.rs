//! The devices that fleetlog brings along: simulated ones, and this machine.

mod commands;
mod simulations;
mod tls;

use std::time::Duration;

use chrono::{DateTime, Utc};
use fleetlog_lab::{agent, simulate};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::support::Node;

#[tokio::test]
async fn simulated_devices_keep_their_pace_and_everything_acknowledged_is_recorded() {
    let node = Node::start().await;
    let tenant = "t0".parse().expect("a tenant");
    let options = simulate::Options {
        duration: Some(Duration::from_secs(2)),
        ..simulate::Options::new(node.address.into(), tenant, 20, 100.0)
    };
    let report = simulate::run(options, CancellationToken::new(), |_| ()).await.expect("options");
    println!("{report}");
    let total = &report.total;
    assert!((100..=200).contains(&total.sent), "{report}");
    assert_eq!((total.acked, total.failed), (total.sent, 0), "{report}");
    assert!(Duration::ZERO < report.p50 && report.p50 <= report.p99, "{report}");
    let mut recorded = 0;
    for device in 1..=20 {
        recorded += node.recorded(&format!("t0/sim-{device:05}")).await.len() as u64;
    }
    assert_eq!(recorded, total.acked);
}

#[tokio::test]
async fn simulating_nothing_is_refused() {
    let node = Node::start().await;
    let (usual, many) = (simulate::Faults::default(), simulate::Faults { late: 1.5, ..Default::default() });
    for (rate, prefix, faults, error) in [
        (0.0, "sim-", usual, simulate::Error::Rate),
        (f64::NAN, "sim-", usual, simulate::Error::Rate),
        (1.0, "a/b", usual, simulate::Error::Prefix),
        (1.0, "sim-", many, simulate::Error::Faults),
    ] {
        let options = simulate::Options::new(node.address.into(), "t0".parse().expect("a tenant"), 1, rate);
        let options = simulate::Options { prefix: prefix.to_owned(), faults, ..options };
        assert_eq!(simulate::run(options, CancellationToken::new(), |_| ()).await.err(), Some(error));
    }
}

#[tokio::test]
async fn readings_made_while_the_broker_is_away_arrive_later_with_their_own_time() {
    let away = TcpListener::bind("127.0.0.1:0").await.expect("listen");
    let address = away.local_addr().expect("an address");
    let stop = CancellationToken::new();
    let options = agent::Options {
        interval: Duration::from_millis(50),
        ..agent::Options::new(address.into(), "t0".parse().expect("a tenant"), "here".parse().expect("a uid"))
    };
    let agent = tokio::spawn(agent::run(options, stop.clone()));
    for _ in 0..2 {
        drop(away.accept().await.expect("an attempt"));
    }
    drop(away);
    let started = Utc::now();
    let node = Node::start_with(|_, endpoint| endpoint.listen = address).await;
    while node.recorded("t0/here").await.len() < 10 {}
    stop.cancel();
    agent.await.expect("an orderly end");
    let occurred: Vec<DateTime<Utc>> =
        sqlx::query_scalar("SELECT occurred_at FROM telemetry_events ORDER BY position")
            .fetch_all(&mut node.owner().await)
            .await
            .expect("select");
    assert!(occurred[0] < started, "{occurred:?} before {started}");
    assert!(occurred.is_sorted(), "{occurred:?}");
    let reading: serde_json::Value = serde_json::from_str(&node.recorded("t0/here").await[0]).expect("JSON");
    assert!(reading["msg_id"].is_string() && reading["memory"]["used_percent"].is_number(), "{reading}");
}
