//! The memory of idle connections on the built-in endpoint, beside that of a bare listener with as many.
//!
//! The server's memory is read with no connection, and then with all of them, while each pings and nothing else
//! happens. At the end some of them publish, which shows that idle connections can still be served.

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

/// File descriptors that a process needs besides its connections.
const BESIDES: u64 = 256;
/// How long some devices publish at the end.
const PUBLISHING: Duration = Duration::from_secs(2);
/// How many messages a second each of them publishes.
const RATE: u32 = 10;
/// How long each look at memory lasts.
const LOOK: Duration = Duration::from_secs(2);

/// The cost of held connections.
struct Held {
    /// How long each connection took to be accepted.
    accepted: Timings,
    /// Connections accepted a second.
    rate: f64,
    empty_mib: f64,
    full_mib: f64,
}

/// Runs the benchmark.
pub(super) async fn run(args: &Args, lab: &Lab) -> anyhow::Result<Report> {
    let Args { connections, publishers, seconds } = *args;
    // The server inherits this process's limit.
    descriptors::allow(u64::from(connections) + BESIDES)?;
    let bare = bare(lab, connections).await?;

    let server = lab.serve(Mqtt::EndpointOf(connections)).await?;
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

/// Holds as many connections on a bare listener.
async fn bare(lab: &Lab, connections: u32) -> anyhow::Result<Held> {
    let listener = lab.bare("listener", &[]).await?;
    let (held, ..) = hold(&listener.address().into(), listener.id(), connections, 0).await?;
    listener.stop().await?;
    Ok(held)
}

/// Connects the devices to a server: those that stay idle, and those that publish later.
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

/// The resident memory of a process, in MiB.
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
