//! `fleetlog simulate` and `fleetlog agent`: simulated devices, and this machine as a device.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use fleetlog_aggregates::identity::Uid;
use fleetlog_lab::agent;
use fleetlog_lab::simulate;

use super::output::output;
use super::{Agent, Simulate};
use crate::shutdown;

/// Runs the simulated devices until the duration is over or Ctrl-C, and prints a report.
pub async fn simulate(args: Simulate) -> anyhow::Result<()> {
    let duration = args.duration.map(Duration::try_from_secs_f64).transpose()?;
    let (url, tenant) = (args.target.broker()?, args.target.tenant.parse()?);
    let faults = simulate::Faults {
        fail: args.fail_rate,
        silent: args.silent_rate,
        late: args.late_rate,
        late_by: Duration::from_secs(args.late_by.into()),
    };
    let (devices, logins) = match &args.credentials {
        None => (args.devices, simulate::Logins::None),
        Some(file) => {
            let devices = read_credentials(file)?;
            (u32::try_from(devices.len())?, simulate::Logins::Each(devices.into()))
        }
    };
    let options = simulate::Options {
        duration,
        faults,
        logins,
        ..simulate::Options::new(url, tenant, devices, args.rate)
    };
    let report = simulate::run(options, shutdown::on_signal()?, |progress| {
        let _ = writeln!(std::io::stderr(), "{progress}");
    });
    writeln!(output(), "{}", report.await?)?;
    Ok(())
}

/// Reads lines of `uid,password`. An error names only the line's number, because the file is full of secrets.
fn read_credentials(file: &Path) -> anyhow::Result<Vec<(Uid, String)>> {
    let text = std::fs::read_to_string(file).with_context(|| format!("failed to read {}", file.display()))?;
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    let devices = lines.map(|(number, line)| {
        let parts =
            line.split_once(',').and_then(|(uid, password)| Some((uid.parse().ok()?, password.to_owned())));
        parts.with_context(|| format!("{}: line {number} is not uid,password", file.display()))
    });
    let devices = devices.collect::<anyhow::Result<Vec<_>>>()?;
    anyhow::ensure!(
        !devices.is_empty(),
        "{}: the file has no devices; put uid,password on each line",
        file.display()
    );
    Ok(devices)
}

/// Publishes this machine's readings until Ctrl-C.
pub async fn agent(args: Agent) -> anyhow::Result<()> {
    let uid = args.uid.unwrap_or_else(agent::hostname).parse()?;
    let mut options = agent::Options::new(args.target.broker()?, args.target.tenant.parse()?, uid);
    options.interval = Duration::from_secs(args.interval.into());
    agent::run(options, shutdown::on_signal()?).await;
    Ok(())
}
