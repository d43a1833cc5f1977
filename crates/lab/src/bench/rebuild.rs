//! Events a second of a rebuild of `telemetry_windows` beside the live version, compared with one SQL statement that
//! computes the same windows; and how far the live versions are behind while another rebuild runs under telemetry.

use std::time::Duration;

use anyhow::{Context, ensure};
use fleetlog_event_log::EventLog;
use fleetlog_event_log::control::{Actor, Metadata};
use fleetlog_projections::rebuild::{Rebuild as Seen, Request, Step};
use fleetlog_projections::{Handle, Options, Projections};
use tokio::time::{Instant, sleep};

use super::check;
use super::fleet::{Fleet, Pace};
use super::lab::{self, Lab, Mqtt, Server};
use super::progress::Progress;
use super::projections::{equal, record, sql};
use super::report::{Figure, Report, Timings};
use super::usage::{Used, Watch};
use crate::bench::args::{Projections as Load, Rebuild};

/// The read model that is rebuilt: the largest.
const REBUILT: &str = "telemetry_windows";
/// How often the rebuild's step is read.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Telemetry is published in pieces of this length until the rebuild has ended.
const PIECE: Duration = Duration::from_secs(2);
/// A rebuild that takes longer fails the benchmark.
const PATIENCE: Duration = Duration::from_hours(1);

/// Runs the benchmark.
pub(super) async fn run(args: &Rebuild, lab: &Lab) -> anyhow::Result<Report> {
    let Rebuild { devices, events, telemetry } = *args;
    record(&Load { devices, events }, lab).await?;
    let mut owner = lab.owner().await?;
    let by_sql = sql(&mut owner).await?;
    let server = lab.serve(Mqtt::Endpoint).await?;
    let progress = Progress::watch(lab.database()).await?;
    progress.until_folded(events).await?;

    let load = format!(
        "{events} events of {devices} devices over a day, folded beside the live version; then again under {telemetry} messages/s"
    );
    let mut report = Report::new("rebuild", load);
    let log = lab::event_log(lab.database()).await?;
    let rate = |taken: Duration| events as f64 / taken.as_secs_f64();
    let alone = measure(&log, lab, &server).await?;
    report.figure(
        Figure::new("folded", rate(alone.built), "events/s")
            .beside("the same windows by one statement", rate(by_sql)),
    );
    report.figure(Figure::new("until the new version is live", alone.swapped.as_secs_f64(), "s"));
    report.usage("by the rebuild", alone.used);
    report.checked(equal(&mut owner).await?);

    // Other devices: what the first ones would send is on the record.
    let (more, mut connecting) = (devices.min(1_000), Timings::new("connecting"));
    let mut fleet =
        Fleet::connect_timed(&server.mqtt(), devices..devices + more, more, &mut connecting).await?;
    fleet.introduce().await?;
    progress.until_folded(events + fleet.different()).await?;
    let lag = progress.lag();
    let rebuilding = measure(&log, lab, &server);
    let publishing = async {
        let mut acknowledged = Timings::new("acknowledged");
        let pace = Pace::Rate(telemetry.into());
        let mut rebuilding = std::pin::pin!(rebuilding);
        loop {
            let mut publish = std::pin::pin!(fleet.publish(&pace, PIECE));
            tokio::select! {
                ended = &mut rebuilding => {
                    acknowledged = acknowledged.and(&publish.await?)?;
                    return anyhow::Ok((ended?, acknowledged));
                }
                published = &mut publish => acknowledged = acknowledged.and(&published?)?,
            }
        }
    };
    let (busy, acknowledged) = publishing.await?;
    report.figure(Figure::new("folded under telemetry", rate(busy.built), "events/s"));
    report.timings(&acknowledged).timings(&lag.end().await?).usage("under telemetry", busy.used);
    let different = events + fleet.different();
    progress.until_folded(different).await?;
    report.checked(check::events(&mut owner, different).await?);
    report.checked(check::windows(&mut owner, different, devices).await?);
    drop(fleet);
    log.close().await;
    server.stop().await?;
    Ok(report)
}

/// What a rebuild took.
struct Taken {
    /// Until the events were folded that there were at the beginning.
    built: Duration,
    /// Until the new version was live.
    swapped: Duration,
    used: Vec<Used>,
}

/// Rebuilds once, and requires that nothing differs.
async fn measure(log: &EventLog, lab: &Lab, server: &Server) -> anyhow::Result<Taken> {
    let handle = Projections::new(log.clone(), Options::default()).handle();
    let watch = Watch::begin(&[("server", server.id()), ("postgres", lab.postgres())]);
    let started = Instant::now();
    let request = Request { from_version: None, keep_s: 0, accept: false, requested_by: "cli".into() };
    handle.rebuild(REBUILT, request, Metadata::by(Actor::Console)).await?;
    let begun = until(&handle, |seen| seen.events.position > 0 || seen.step != Step::Building).await?;
    // The service looks for rebuilds once a second: that wait is not the folding's.
    let (first, position) = (Instant::now(), begun.events.position);
    let built = until(&handle, |seen| seen.step != Step::Building).await?;
    let share = (built.events.head - position).max(1) as f64 / built.events.head.max(1) as f64;
    let built = first.elapsed().div_f64(share);
    let ended = until(&handle, |seen| seen.ended_at.is_some() || seen.step == Step::Waiting).await?;
    ensure!(ended.step == Step::Swapped, "{:?} rows differ: {:?}", ended.differences, ended.error);
    Ok(Taken { built, swapped: started.elapsed(), used: watch.end().await? })
}

async fn until(handle: &Handle, expected: impl Fn(&Seen) -> bool) -> anyhow::Result<Seen> {
    let waiting = async {
        loop {
            let seen = handle.last_rebuild(REBUILT).await?.context("there is a rebuild")?;
            if expected(&seen) {
                return anyhow::Ok(seen);
            }
            sleep(LOOK_EVERY).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.context("the rebuild takes too long")?
}
