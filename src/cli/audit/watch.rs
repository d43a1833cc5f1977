//! `fleetlog audit watch`: watches a service's logs from elsewhere, for whoever does not trust its operator.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use fleetlog_event_log::LogId;
use fleetlog_http_client::Url;
use fleetlog_proof::note::VerifierKey;
use fleetlog_proof::watch::{Accepted, Options, Round, Watch};

use crate::cli::output::output;
use crate::shutdown;

/// Options of `audit watch`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The service, as `https://fleet.example.com`.
    #[arg(long, env = "FLEETLOG_WATCH_URL", value_name = "URL")]
    pub url: Url,
    /// The installation's verifier key, as `fleetlog audit key` printed it. Have it from somebody whom you trust, not from
    /// the service itself.
    #[arg(long, env = "FLEETLOG_WATCH_KEY", value_name = "KEY")]
    pub key: VerifierKey,
    /// The folder of this watcher: what it has accepted, and the evidence. Made if there is none.
    #[arg(long, env = "FLEETLOG_WATCH_STATE", value_name = "DIR")]
    pub state: PathBuf,
    /// An API key of the service with the action `events.read` and, to cosign, `audit.cosign`.
    #[arg(long, env = "FLEETLOG_WATCH_API_KEY", value_name = "KEY", hide_env_values = true)]
    pub api_key: Option<String>,
    /// A file with a key to cosign what is accepted, as `fleetlog audit new-witness-key` makes it.
    #[arg(long, env = "FLEETLOG_WATCH_WITNESS_KEY", value_name = "FILE")]
    pub witness_key: Option<PathBuf>,
    /// Only these logs; by default all that the API key may see.
    #[arg(long, value_name = "LOG", value_parser = clap::value_parser!(i32).range(1..))]
    pub log_id: Vec<i32>,
    /// Look once, print what was found, and end: with exit code 1 if a log is not what it was or could not be watched.
    #[arg(long)]
    pub once: bool,
    /// The pause between two looks, such as `10s`, `5m` or `1h`.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time)]
    pub every: Duration,
    /// Warn when a log has had no new checkpoint for so long. A service that hides what happens shows an old checkpoint.
    #[arg(long, value_name = "TIME", default_value = "1d", value_parser = time)]
    pub stale_after: Duration,
}

/// Reads a time: a number of seconds, or of another unit that stands behind it.
fn time(text: &str) -> Result<Duration, &'static str> {
    let (number, unit) = match text.strip_suffix(['s', 'm', 'h', 'd']) {
        Some(number) => (number, &text[number.len()..]),
        None => (text, "s"),
    };
    let seconds = match unit {
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => 1,
    };
    let number = number.parse().ok().filter(|number| (1..=10_000_u64).contains(number));
    let number = number.ok_or("expected a number from 1 to 10000 and a unit: 10s, 5m, 1h or 1d")?;
    Ok(Duration::from_secs(number * seconds))
}

/// Watches until Ctrl-C or SIGTERM, or until a log is not what it was.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let shutdown = shutdown::on_signal()?;
    let witness = args.witness_key.map(|file| {
        let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        text.parse().with_context(|| file.display().to_string())
    });
    let state = args.state.clone();
    let mut watch = Watch::new(Options {
        url: args.url.clone(),
        api_key: args.api_key,
        key: args.key,
        state: args.state,
        witness: witness.transpose()?,
        only: args.log_id.into_iter().map(LogId).collect(),
        every: args.every,
        stale_after: args.stale_after,
    })?;
    let forgeries = if args.once {
        let Some(round) = shutdown.run_until_cancelled(watch.round()).await else { return Ok(()) };
        report(round)?
    } else {
        tracing::info!(url = %args.url, state = %state.display(), "watching the logs");
        watch.run(shutdown).await.map_or_else(|forgeries| forgeries.len(), |()| 0)
    };
    if forgeries > 0 {
        let logs = if forgeries == 1 { "1 log is".to_owned() } else { format!("{forgeries} logs are") };
        bail!("{logs} not as before; the evidence is in {}", state.display());
    }
    Ok(())
}

/// Prints what one look has found. Returns how many logs are not what they were.
fn report(round: Round) -> anyhow::Result<usize> {
    let mut out = output();
    for Accepted { log_id, old, size, cosigned } in round.accepted {
        let found = match old {
            None => format!("{size} events are signed; seen for the first time"),
            Some(old) if old == size => format!("{size} events are signed, as before"),
            Some(old) => format!("{size} events are signed, and the first {old} are those from before"),
        };
        writeln!(out, "log {log_id}: {found}{}", if cosigned { "; cosigned" } else { "" })?;
    }
    for (log_id, forgery) in &round.forgeries {
        writeln!(out, "log {log_id}: {forgery}")?;
    }
    out.flush()?;
    if round.forgeries.is_empty()
        && let Some((log_id, failure)) = round.failures.first()
    {
        let what = log_id.map_or_else(|| "the logs".to_owned(), |log_id| format!("log {log_id}"));
        bail!("failed to watch {what}: {failure}");
    }
    Ok(round.forgeries.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_number_with_or_without_its_unit() {
        for (text, seconds) in [("10s", 10), ("10", 10), ("5m", 300), ("1h", 3600), ("2d", 172_800)] {
            assert_eq!(time(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "s", "0s", "-1s", "1.5h", "10001", "1w", "1 h"] {
            assert!(time(text).is_err(), "{text}");
        }
    }
}
