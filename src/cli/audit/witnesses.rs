//! `fleetlog audit witnesses`: who took which checkpoint, and what is wrong with who did not.

use std::io::Write;

use anyhow::bail;
use chrono::{DateTime, SecondsFormat, Utc};
use fleetlog_event_log::EventLog;
use fleetlog_proof::read;
use fleetlog_proof::witness::store::{self, Standing};

use crate::cli::output::output;

/// Prints a line for each witness and log.
pub(super) async fn run(log: &EventLog) -> anyhow::Result<()> {
    let standings = store::all(&mut *log.connection().await?).await?;
    if standings.is_empty() {
        bail!("no service has sent checkpoints to a witness yet; `fleetlog serve --witness URL` does");
    }
    let mut out = output();
    for standing in standings {
        let newest = read::checkpoint(log, standing.log_id).await?;
        let signed = newest.map_or(0, |newest| newest.note.checkpoint.size);
        writeln!(out, "{}", line(&standing, signed))?;
    }
    out.flush()?;
    Ok(())
}

fn line(standing: &Standing, signed: u64) -> String {
    let Standing { witness, log_id, size, taken_at, cosignature, problem, .. } = standing;
    let taken = match taken_at {
        Some(at) => {
            let how = if cosignature.is_some() { "signed" } else { "took" };
            format!("{how} {size} events at {}", clock(*at))
        }
        None => "took nothing".to_owned(),
    };
    let lacks = if *size == signed { String::new() } else { format!(", {signed} are signed here") };
    let problem =
        problem.as_ref().map_or_else(String::new, |(why, since)| format!("; since {}: {why}", clock(*since)));
    format!("{witness}: log {log_id}: {taken}{lacks}{problem}")
}

fn clock(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}
