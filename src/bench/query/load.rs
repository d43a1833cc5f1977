//! Many connections that ask: each request at its time, or one after the other.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::super::client::Client;
use super::super::report::Timings;
use super::asks::{Ask, Asks};

/// Connections for requests that come at a rate.
const CONNECTIONS: u32 = 64;
/// Connections on each of which one request follows the other.
const BUSY: u32 = 16;

/// Asks at a rate, of one device after the other.
pub(super) async fn at_rate(
    client: &Client,
    asks: &Asks,
    ask: Ask,
    rate: u32,
    time: Duration,
) -> anyhow::Result<Timings> {
    let (schedule, due) = mpsc::unbounded_channel::<(Instant, u32)>();
    let due = Arc::new(Mutex::new(due));
    let mut workers: JoinSet<anyhow::Result<Vec<Duration>>> = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (mut client, asks, due) = (client.another().await?, asks.clone(), Arc::clone(&due));
        workers.spawn(async move {
            let mut took = Vec::new();
            loop {
                let next = due.lock().await.recv().await;
                let Some((due, number)) = next else { return Ok(took) };
                asks.ask(&mut client, ask, number).await?;
                took.push(due.elapsed());
            }
        });
    }
    let requests = (f64::from(rate) * time.as_secs_f64()) as u32;
    tokio::task::spawn_blocking(move || keep_time(&schedule, rate, requests)).await?;
    let mut timings = Timings::new(ask.name());
    while let Some(worker) = workers.join_next().await {
        worker??.into_iter().for_each(|took| timings.took(took));
    }
    Ok(timings)
}

/// On a thread of its own: the runtime's timers are true to a millisecond only, which is a fifth of what is looked for.
fn keep_time(schedule: &mpsc::UnboundedSender<(Instant, u32)>, rate: u32, requests: u32) {
    let started = Instant::now();
    for number in 0..requests {
        let due = started + Duration::from_secs(1) * number / rate;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        // Nobody listens once an answer was wrong, which is told there.
        let _ = schedule.send((due, number));
    }
}

/// Asks as often as is answered. Answers a second.
pub(super) async fn most(client: &Client, asks: &Asks, ask: Ask, time: Duration) -> anyhow::Result<f64> {
    let mut workers: JoinSet<anyhow::Result<u32>> = JoinSet::new();
    let mut clients = Vec::new();
    for _ in 0..BUSY {
        let mut client = client.another().await?;
        // So that every connection of the pool behind it has prepared its statements.
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
