//! Log lines: pretty for people, or one JSON object a line for programs. They go to standard error; standard output is
//! for results.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

use super::LogFormat;

/// Levels of libraries whose notes are too detailed by default.
const QUIET: &str = "sqlx=warn,rumqttc=warn,h2=warn,hyper=warn";

/// Starts logging. `filter` has the form `level` or `target=level,…`.
pub fn start(format: LogFormat, filter: &str) -> Result<(), tracing_subscriber::filter::ParseError> {
    let filter = EnvFilter::builder().parse(format!("{QUIET},{filter}"))?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_span_events(FmtSpan::NONE)
        .with_writer(std::io::stderr)
        // A line that cannot be written is lost, and nothing else. The report of that would go to standard error again, and
        // its failure would be a panic.
        .log_internal_errors(false);
    match format {
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).init(),
        LogFormat::Pretty => lines.with_ansi(std::io::stderr().is_terminal()).with_target(false).init(),
    }
    Ok(())
}
