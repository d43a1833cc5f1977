//! Reads over HTTP from a large log, by a user who has logged in: how long each takes at a rate, and how many are
//! answered at most, beside a bare handler that reads the same from the same Postgres.
//!
//! Requests come at a rate whether or not those before them have been answered, and their latency counts from the
//! moment at which they were due. The kinds of request run one after the other, so that none hides behind another.
//!
//! - [`large`]: the log, and its read models
//! - [`asks`]: the requests, and whether the answers are right
//! - [`load`]: many connections that send them
//! - [`bare`]: the ceiling, as its own process
//! - [`growth`]: the benchmark at several sizes of the log

mod asks;
pub(super) mod bare;
mod growth;
mod large;
mod load;

use std::time::Duration;

use super::client::Client;
use super::lab::Lab;
use super::report::{Figure, Report};
use super::usage::Watch;
use crate::bench::args::Query as Args;
use asks::{Ask, Asks};
use large::Large;

/// Runs the benchmark.
pub(super) async fn run(args: &Args, lab: &Lab) -> anyhow::Result<Report> {
    if args.growth {
        return growth::run(args, lab).await;
    }
    let large = Large::new(args.devices, args.events);
    let server = large.serve(lab).await?;
    let bare = lab.bare("handler", &["--database-url", &lab.url()]).await?;
    let asks = Asks::of(&large);
    let watch =
        Watch::begin(&[("server", server.id()), ("bare handler", bare.id()), ("postgres", lab.postgres())]);
    let time = Duration::from_secs(args.seconds.into());
    let (client, ceiling) = (server.client().await?, Client::connect(bare.address()).await?);
    let Args { devices, events, rate, .. } = args;
    let mut report = Report::new(
        "query",
        format!(
            "{events} events of {devices} devices; {rate} requests/s for {time:?}, then as many as are answered"
        ),
    );
    for ask in Ask::ALL {
        load::at_rate(&client, &asks, ask, *rate, time.min(WARM)).await?;
        report.timings(&load::at_rate(&client, &asks, ask, *rate, time).await?);
    }
    let mut twin = 0.0;
    for ask in Ask::ALL {
        let most = load::most(&client, &asks, ask, time).await?;
        let (name, best) = match ask {
            Ask::Graphql => ("its REST twin", twin),
            Ask::Readings | Ask::Windows => ("a bare handler", load::most(&ceiling, &asks, ask, time).await?),
        };
        report.figure(Figure::new(ask.name(), most, "answers/s").beside(name, best));
        twin = most;
    }
    report.usage("in all", watch.end().await?);
    report.checked(asks.check(&client, &ceiling, &mut lab.owner().await?).await?);
    bare.stop().await?;
    server.stop().await?;
    Ok(report)
}

/// How long requests are sent before they count, so that every connection has prepared its statements.
const WARM: Duration = Duration::from_secs(1);
