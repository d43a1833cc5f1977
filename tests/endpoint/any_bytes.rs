//! Whatever a client sends: the service goes on, and nothing is left of it.

#[path = "../../crates/mqtt/tests/any_bytes/conversation.rs"]
mod conversation;

use std::net::SocketAddr;

use fastrand::Rng;
use futures::{StreamExt, stream};

use super::memory;
use crate::support::mqtt::{Device, V5};
use crate::support::{Server, eventually};

/// How many connections are made up.
const CONNECTIONS: u64 = 2_000;
/// How many of them there are at a time.
const AT_ONCE: usize = 16;

/// Says what some random numbers make up, and hears all that is answered.
async fn converse(address: SocketAddr, seed: u64) {
    let bytes = conversation::some(&mut Rng::with_seed(seed));
    Device::dial(address, V5).await.say_all(&bytes).await;
}

#[tokio::test]
async fn whatever_clients_send_the_service_goes_on_and_nothing_is_left_of_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::up(dir.path()).await;
    let address = SocketAddr::from(([127, 0, 0, 1], server.mqtt()));
    let first = fastrand::u64(..);
    let converse = async |seeds: std::ops::Range<u64>| {
        let seeds = stream::iter(seeds).map(|nth| converse(address, first.wrapping_add(nth)));
        seeds.buffer_unordered(AT_ONCE).collect::<Vec<_>>().await;
    };
    converse(0..CONNECTIONS / 4).await;
    let before = memory(server.id());
    converse(CONNECTIONS / 4..CONNECTIONS).await;
    let grown = memory(server.id()).saturating_sub(before);
    assert!(grown < 32 << 20, "{grown} bytes more, from seed {first} on");
    let mut bystander = Device::connect(address, V5, "bystander").await;
    bystander.report("t0/devices/bystander/telemetry", "{}").await;
    // The last of them may be about to end.
    let what = format!("one connection and no fault of the program, from seed {first} on");
    eventually(&what, async || {
        let metrics = server.text("/metrics").await;
        // What never happened is not among them.
        let faults = metrics.lines().any(|line| line.starts_with("fleetlog_mqtt_panics_total "));
        let alone = metrics.lines().any(|line| line == "fleetlog_mqtt_connections 1");
        if alone && !faults { Ok(()) } else { Err(metrics) }
    })
    .await;
    server.stop().await;
}
