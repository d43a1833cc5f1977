//! Live streams of one device: how long a reading takes from the log to its followers, and what they cost the server.
//!
//! A few followers come first, which is the best that can be had; then all of them; then some more that never read. A time counts
//! from the moment at which Postgres recorded the reading. Every follower counts what it gets, and some look at the times.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use fleetlog_mqtt::descriptors;
use http::{Method, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::client::Client;
use super::fleet::{Fleet, Pace};
use super::lab::{Lab, Mqtt};
use super::load::uid;
use super::report::{Figure, Report, Timings};
use super::usage::Watch;
use crate::bench::args::Streams as Args;

/// File descriptors that a process needs besides its connections.
const BESIDES: u64 = 256;
/// How many followers look at the times.
const LOOKING: u32 = 50;
/// How many followers the first look has.
const FEW: u32 = 5;
/// How long each look at memory lasts.
const LOOK: Duration = Duration::from_secs(2);
/// How long the last readings may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs the benchmark.
pub(super) async fn run(args: &Args, lab: &Lab) -> anyhow::Result<Report> {
    let Args { followers, unread, rate, seconds } = *args;
    let connections = followers + unread + FEW + 16;
    // The server inherits this process's limit.
    descriptors::allow(u64::from(connections) + BESIDES)?;
    // One in eight connections may have streams of one user. One device needs a connection to MQTT, and what is not taken there
    // is left for HTTP.
    let most = (8 * connections).to_string();
    let limits = ["--http-connections", &most, "--mqtt-connections", "16"];
    let server = lab.serve_with(Mqtt::Endpoint, &limits).await?;
    let mut fleet = Fleet::connect(&server.mqtt(), 1, 1).await?;
    fleet.introduce().await?;
    let client = server.client().await?;
    let (pace, time) = (Pace::Rate(f64::from(rate)), Duration::from_secs(seconds.into()));
    let mut report = Report::new(
        "streams",
        format!(
            "{followers} followers of one device, which sends {rate} messages/s for {time:?}; then {unread} more that never read"
        ),
    );

    let few = Followers::open(&client, FEW).await?;
    let best = few.follow("to a few followers", &mut fleet, &pace, time).await?;
    report.timings(&best);
    drop(few);
    let before = memory(server.id()).await?;
    let all = Followers::open(&client, followers).await?;
    let idle = memory(server.id()).await?;
    let watch = Watch::begin(&[("server", server.id()), ("postgres", lab.postgres())]);
    report.timings(&all.follow("to all followers", &mut fleet, &pace, time).await?);
    let used = watch.end().await?;
    let busy = used.iter().find(|used| used.name() == "server").context("the server is gone")?.peak_mib();
    report.usage("with all followers", used);
    let mut unreads = vec![];
    for _ in 0..unread {
        unreads.push(open(&client).await?);
    }
    let watch = Watch::begin(&[("server", server.id()), ("postgres", lab.postgres())]);
    report.timings(&all.follow("beside some that never read", &mut fleet, &pace, time).await?);
    let used = watch.end().await?;
    let full = used.iter().find(|used| used.name() == "server").context("the server is gone")?.peak_mib();
    report.usage("beside some that never read", used);
    report
        .figure(Figure::new("memory without a follower", before, "MiB"))
        .figure(Figure::new("memory with all of them, idle", idle, "MiB"))
        .figure(Figure::new("memory with all of them, busy", busy, "MiB"))
        .figure(Figure::new("memory beside some that never read", full, "MiB"));
    report.checked(format!("each of {followers} followers got every reading once, in order"));
    drop((all, unreads, fleet, client));
    server.stop().await?;
    Ok(report)
}

/// The resident memory of a process, in MiB.
async fn memory(process: Option<u32>) -> anyhow::Result<f64> {
    let watch = Watch::begin(&[("server", process)]);
    sleep(LOOK).await;
    let used = watch.end().await?;
    Ok(used.first().context("the server is gone")?.peak_mib())
}

/// Opens a stream of the device's readings.
async fn open(client: &Client) -> anyhow::Result<(Client, Response<Incoming>)> {
    let mut client = client.another().await?;
    let path = format!("/stream?log=telemetry&device={}", uid(0));
    let answer = client.request(Method::GET, &path, String::new()).await?;
    ensure!(answer.status() == StatusCode::OK, "{path}: {}", answer.status());
    Ok((client, answer))
}

/// Followers that read.
struct Followers {
    tasks: JoinSet<anyhow::Result<()>>,
    shared: Arc<Shared>,
    count: u32,
}

struct Shared {
    /// How many readings all followers together have got.
    got: AtomicU64,
    timings: Mutex<Timings>,
}

impl Followers {
    async fn open(client: &Client, count: u32) -> anyhow::Result<Self> {
        let shared = Arc::new(Shared { got: AtomicU64::new(0), timings: Mutex::new(Timings::new("")) });
        let mut tasks = JoinSet::new();
        let looking = count.div_ceil(LOOKING);
        for n in 0..count {
            let (client, answer) = open(client).await?;
            let (shared, looks) = (Arc::clone(&shared), n.is_multiple_of(looking));
            tasks.spawn(async move {
                let _client = client;
                read(answer, &shared, looks).await
            });
        }
        Ok(Self { tasks, shared, count })
    }

    /// Has the device publish, and returns how long its readings took, when all followers have all of them.
    async fn follow(
        &self,
        name: &'static str,
        fleet: &mut Fleet,
        pace: &Pace,
        time: Duration,
    ) -> anyhow::Result<Timings> {
        *self.shared.timings.lock() = Timings::new(name);
        let (before, got) = (fleet.different(), self.shared.got.load(Ordering::Relaxed));
        fleet.publish(pace, time).await?;
        let expected = got + (fleet.different() - before) * u64::from(self.count);
        let all = async {
            while self.shared.got.load(Ordering::Relaxed) < expected {
                ensure!(!self.tasks.is_empty(), "the followers are gone");
                sleep(Duration::from_millis(20)).await;
            }
            Ok(())
        };
        timeout(PATIENCE, all).await.context("some followers do not get everything")??;
        let got = self.shared.got.load(Ordering::Relaxed);
        ensure!(got == expected, "{got} readings were told, and {expected} expected");
        Ok(std::mem::replace(&mut *self.shared.timings.lock(), Timings::new("")))
    }
}

/// Reads a stream to its end.
async fn read(mut answer: Response<Incoming>, shared: &Shared, looks: bool) -> anyhow::Result<()> {
    let (mut unread, mut last) = (Vec::new(), 0);
    while let Some(frame) = answer.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        unread.extend_from_slice(&data);
        let Some(end) = unread.windows(2).rposition(|pair| pair == b"\n\n") else { continue };
        let whole: Bytes = unread.drain(..end + 2).collect::<Vec<_>>().into();
        let text = std::str::from_utf8(&whole)?;
        let now = Utc::now();
        let mut count = 0;
        for block in text.split("\n\n").filter(|block| block.contains("\ndata: ")) {
            count += 1;
            let position = field(block, "\"position\":", ',').context("a position")?.parse::<i64>()?;
            ensure!(last == 0 || position == last + 1, "{position} came after {last}");
            last = position;
            if looks {
                let at: DateTime<Utc> = field(block, "\"recorded_at\":\"", '"').context("a time")?.parse()?;
                shared.timings.lock().took((now - at).to_std().unwrap_or_default());
            }
        }
        shared.got.fetch_add(count, Ordering::Relaxed);
    }
    Ok(())
}

/// What stands between `name` and `end`.
fn field<'b>(block: &'b str, name: &str, end: char) -> Option<&'b str> {
    let rest = &block[block.find(name)? + name.len()..];
    Some(&rest[..rest.find(end)?])
}
