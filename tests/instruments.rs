//! What the service counts: declared, described, listed.

use std::collections::HashSet;
use std::fmt::Write as _;

use fleetlog::instruments;
use fleetlog_event_log::instrument::{Instrument, Kind, Unit};

use crate::rest::contract::assert_committed;
use crate::support::Api;

const HEAD: &str = "\
# Metrics

What `GET /metrics` serves. A test makes the tables from the `instruments.rs` of each crate and compares them with this
file; `UPDATE=1 cargo test --test main instruments` writes it. [OPERATIONS.md](OPERATIONS.md#what-to-watch) says which of them to watch.

A counter starts at 0 with each process. A histogram of seconds has buckets from 1 ms to 30 s. A histogram of counts is
served as a summary with quantiles. A metric appears as soon as there is something to count.
";

fn listed() -> String {
    let mut text = HEAD.to_owned();
    for (area, instruments) in instruments::AREAS {
        let _ = writeln!(
            text,
            "\n## {area}\n\n| metric | kind | unit | labels | meaning |\n| --- | --- | --- | --- | --- |"
        );
        for instrument in instruments {
            let Instrument { name, kind, unit, labels, .. } = instrument;
            let help = instrument.help();
            let kind = format!("{kind:?}").to_lowercase();
            let unit = format!("{unit:?}").to_lowercase();
            let labels = labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
            let _ = writeln!(text, "| `{name}` | {kind} | {unit} | {labels} | {help} |");
        }
    }
    text
}

#[test]
fn the_committed_list_of_metrics_is_what_the_code_declares() {
    assert_committed("docs/METRICS.md", &listed());
}

#[test]
fn a_name_is_used_once_and_says_what_it_counts() {
    let mut names = HashSet::new();
    for instrument in instruments::all() {
        let Instrument { name, kind, unit, .. } = *instrument;
        assert!(names.insert(name), "{name} is declared twice");
        assert!(name.starts_with("fleetlog_"), "{name}");
        assert_eq!(name.ends_with("_total"), kind == Kind::Counter, "{name}");
        assert_eq!(name.ends_with("_seconds"), unit == Unit::Seconds, "{name}");
        let help = instrument.help();
        assert!(help.ends_with('.') && help.split(' ').count() >= 3, "{name}: {help}");
    }
}

#[tokio::test]
async fn a_metric_is_served_with_its_help_text() {
    let api = Api::start().await;
    let _counting = metrics::set_default_local_recorder(&api.recorder);
    api.get("/devices").await;
    let served = api.get("/metrics").await.text;
    let help = "# HELP fleetlog_http_requests_total HTTP requests answered, by method, route and status.";
    assert!(served.lines().any(|line| line.starts_with(help)), "{served}");
}
