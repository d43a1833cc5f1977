//! The memory of idle connections on the built-in endpoint, beside that of a bare listener which holds as many.
//!
//! The server is looked at with no connection at all, then with all of them, while each pings and nothing else happens.
//! At the end some of them publish: those that are held can still be served.

use std::time::Duration;

use anyhow::Context;
use fleetlog_mqtt::descriptors;
use fleetlog_mqtt::url::Url;
use tokio::time::{Instant, sleep};

use super::check;
use super::fleet::{Fleet, Pace};
use super::lab::{Lab, Mqtt};
use super::progress::Progress;
use super::report::{Figure, Report, Timings};
use super::usage::{Used, Watch};
use crate::bench::args::Connections as Args;

/// File descriptors of a process besides its connections.
const BESIDES: u64 = 256;
/// For how long some publish.
const PUBLISHING: Duration = Duration::from_secs(2);
/// How many messages each of them publishes a second.
const RATE: u32 = 10;
/// How long memory is looked at.
const LOOK: Duration = Duration::from_secs(2);

/// What some connections cost.
struct Held {
    /// How long each took to be accepted.
    accepted: Timings,
    /// All of them, a second.
    rate: f64,
    empty_mib: f64,
    full_mib: f64,
}

/// Measures.
pub(super) async fn run(args: &Args, lab: &Lab) -> anyhow::Result<Report> {
    let Args { connections, publishers, seconds } = *args;
    // Of the server too, which takes over this process's limit.
    descriptors::allow(u64::from(connections) + BESIDES)?;
    let bare = bare(lab, connections).await?;

    let server = lab.serve(Mqtt::Endpoint).await?;
    let (url, time) = (server.mqtt(), Duration::from_secs(seconds.into()));
    let publishers = publishers.min(connections);
    let (held, mut idle, mut publishing) = hold(&url, server.id(), connections, publishers).await?;
    let watch = Watch::begin(&[("server", server.id()), ("postgres", lab.postgres())]);
    let (pings, more) = tokio::try_join!(idle.idle(time), publishing.idle(time))?;
    let used = watch.end().await?;

    let mut report = Report::new(
        "connections",
        format!(
            "{connections} connections, idle for {time:?}; then {publishers} of them publish {RATE} messages a second each"
        ),
    );
    report
        .figure(Figure::new("memory without a connection", held.empty_mib, "MiB"))
        .figure(Figure::new("memory with all of them", memory(&used)?, "MiB"))
        .figure(
            Figure::new("memory of a connection", held.each_kib(connections), "KiB")
                .beside("a bare listener's", bare.each_kib(connections)),
        )
        .figure(Figure::new("connected", held.rate, "connections/s").beside("by a bare listener", bare.rate))
        .timings(&held.accepted)
        .timings(&pings.and(&more)?)
        .usage("while idle", used);

    let progress = Progress::watch(lab.database()).await?;
    let pace = Pace::Rate(f64::from(publishers * RATE));
    let (acknowledged, _) = tokio::try_join!(publishing.publish(&pace, PUBLISHING), idle.idle(PUBLISHING))?;
    report.timings(&acknowledged);
    progress.until_stored(publishing.different()).await?;
    report.checked(check::events(&mut lab.owner().await?, publishing.different()).await?);
    drop((idle, publishing, progress));
    server.stop().await?;
    Ok(report)
}

/// The same connections on a bare listener.
async fn bare(lab: &Lab, connections: u32) -> anyhow::Result<Held> {
    let listener = lab.bare("listener", &[]).await?;
    let (held, ..) = hold(&listener.address().into(), listener.id(), connections, 0).await?;
    listener.stop().await?;
    Ok(held)
}

/// Connects to a server: those that stay idle, and those that do not.
async fn hold(
    url: &Url,
    server: Option<u32>,
    connections: u32,
    publishers: u32,
) -> anyhow::Result<(Held, Fleet, Fleet)> {
    let empty_mib = look(server).await?;
    let (started, mut accepted) = (Instant::now(), Timings::new("connecting"));
    let idle =
        Fleet::connect_timed(url, publishers..connections, connections - publishers, &mut accepted).await?;
    let publishing = Fleet::connect_timed(url, 0..publishers, publishers, &mut accepted).await?;
    let rate = f64::from(connections) / started.elapsed().as_secs_f64();
    let full_mib = look(server).await?;
    Ok((Held { accepted, rate, empty_mib, full_mib }, idle, publishing))
}

/// What a process holds now, in MiB.
async fn look(process: Option<u32>) -> anyhow::Result<f64> {
    let watch = Watch::begin(&[("server", process)]);
    sleep(LOOK).await;
    memory(&watch.end().await?)
}

fn memory(used: &[Used]) -> anyhow::Result<f64> {
    let server = used.iter().find(|used| used.name() == "server");
    Ok(server.context("the server is gone")?.peak_mib())
}

impl Held {
    fn each_kib(&self, connections: u32) -> f64 {
        (self.full_mib - self.empty_mib) * 1024.0 / f64::from(connections)
    }
}
