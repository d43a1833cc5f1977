//! Many connections that send requests: each at its time, or one after the other.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::super::client::Client;
use super::super::report::Timings;
use super::super::schedule::Schedule;
use super::asks::{Ask, Asks};

/// Connections for requests at a rate.
const CONNECTIONS: u32 = 64;
/// Connections for requests at full speed, each with one request at a time.
const BUSY: u32 = 16;

/// Sends requests at a rate, about one device after the other.
pub(super) async fn at_rate(
    client: &Client,
    asks: &Asks,
    ask: Ask,
    rate: u32,
    time: Duration,
) -> anyhow::Result<Timings> {
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(client.another().await?);
    }
    let schedule = Schedule::start(rate, (f64::from(rate) * time.as_secs_f64()) as u32);
    let mut workers: JoinSet<anyhow::Result<Vec<Duration>>> = JoinSet::new();
    for mut client in clients {
        let (asks, schedule) = (asks.clone(), schedule.clone());
        workers.spawn(async move {
            let mut took = Vec::new();
            while let Some((due, number)) = schedule.next().await {
                asks.ask(&mut client, ask, number).await?;
                took.push(due.elapsed());
            }
            Ok(took)
        });
    }
    let mut timings = Timings::new(ask.name());
    while let Some(worker) = workers.join_next().await {
        worker??.into_iter().for_each(|took| timings.took(took));
    }
    Ok(timings)
}

/// Sends each connection's next request when the last is answered. Returns the answers a second.
pub(super) async fn most(client: &Client, asks: &Asks, ask: Ask, time: Duration) -> anyhow::Result<f64> {
    let mut workers: JoinSet<anyhow::Result<u32>> = JoinSet::new();
    let mut clients = Vec::new();
    for _ in 0..BUSY {
        let mut client = client.another().await?;
        // One request first, so that the server's database connections have prepared their statements.
        asks.ask(&mut client, ask, 0).await?;
        clients.push(client);
    }
    let started = Instant::now();
    for (worker, mut client) in (0..).zip(clients) {
        let asks = asks.clone();
        workers.spawn(async move {
            let mut answers = 0;
            while started.elapsed() < time {
                asks.ask(&mut client, ask, worker + answers * BUSY).await?;
                answers += 1;
            }
            Ok(answers)
        });
    }
    let mut answers = 0;
    while let Some(worker) = workers.join_next().await {
        answers += worker??;
    }
    Ok(f64::from(answers) / started.elapsed().as_secs_f64())
}
