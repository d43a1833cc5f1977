//! `fleetlog simulate` and `fleetlog agent`: devices, made up and real.

use std::io::Write;
use std::time::Duration;

use super::{Agent, Simulate};
use crate::{agent, shutdown, simulate};

/// Publishes as many devices until the duration is over or Ctrl-C, and reports.
pub async fn simulate(args: Simulate) -> anyhow::Result<()> {
    let duration = args.duration.map(Duration::try_from_secs_f64).transpose()?;
    let (url, tenant) = (args.target.mqtt_url.parse()?, args.target.tenant.parse()?);
    let faults = simulate::Faults {
        fail: args.fail_rate,
        silent: args.silent_rate,
        late: args.late_rate,
        late_by: Duration::from_secs(args.late_by.into()),
    };
    let options = simulate::Options {
        duration,
        faults,
        ..simulate::Options::new(url, tenant, args.devices, args.rate)
    };
    let report = simulate::run(options, shutdown::on_signal()?, |progress| {
        let _ = writeln!(std::io::stderr(), "{progress}");
    });
    writeln!(std::io::stdout(), "{}", report.await?)?;
    Ok(())
}

/// Publishes this machine's own readings until Ctrl-C.
pub async fn agent(args: Agent) -> anyhow::Result<()> {
    let uid = args.uid.unwrap_or_else(agent::hostname).parse()?;
    let mut options = agent::Options::new(args.target.mqtt_url.parse()?, args.target.tenant.parse()?, uid);
    options.interval = Duration::from_secs(args.interval.into());
    agent::run(options, shutdown::on_signal()?).await;
    Ok(())
}
