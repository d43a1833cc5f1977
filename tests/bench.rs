//! The benchmarks run, and count what they say they count. What they measure is nobody's business here.

use rstest::rstest;
use serde_json::Value;

use crate::support::tool;

async fn report(arguments: &[&str]) -> Value {
    let run = tool("bench").args(arguments).arg("--json").output().await.expect("the binary");
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    assert!(run.status.success(), "{arguments:?}: {said}");
    let line = String::from_utf8(run.stdout).expect("text");
    serde_json::from_str(line.trim()).unwrap_or_else(|error| panic!("{error}: {line}"))
}

/// The value of a figure.
fn value(report: &Value, name: &str) -> f64 {
    let figures = report["figures"].as_array().expect("figures");
    let figure = figures.iter().find(|figure| figure["name"] == name);
    figure.and_then(|figure| figure["value"].as_f64()).unwrap_or_else(|| panic!("no {name}: {report}"))
}

#[rstest]
#[case::mosquitto("mosquitto")]
#[case::endpoint("endpoint")]
#[tokio::test]
async fn ingest_is_measured_beside_its_ceiling(#[case] broker: &str) {
    let load = ["ingest", "--broker", broker, "--devices", "10", "--rate", "200", "--seconds", "1"];
    let report = report(&load).await;
    assert!(value(&report, "stored at that rate") > 0.0, "{report}");
    assert!(value(&report, "stored at most") > 0.0, "{report}");
    assert_eq!(report["checked"].as_array().map(Vec::len), Some(2), "{report}");
}

#[tokio::test]
async fn ingest_is_measured_over_tls() {
    let load =
        ["ingest", "--broker", "endpoint", "--tls", "--devices", "10", "--rate", "200", "--seconds", "1"];
    let report = report(&load).await;
    assert!(value(&report, "stored at most") > 0.0, "{report}");
    assert!(report["load"].as_str().is_some_and(|load| load.contains("over TLS")), "{report}");
}

#[tokio::test]
async fn commands_are_measured_under_telemetry() {
    let load = ["commands", "--devices", "10", "--telemetry", "20", "--rate", "5", "--seconds", "1"];
    assert!(value(&report(&load).await, "accepted at most") > 0.0);
}

#[tokio::test]
async fn a_rebuild_is_measured_beside_its_ceiling_and_under_telemetry() {
    let report = report(&["rebuild", "--devices", "10", "--events", "2000", "--telemetry", "20"]).await;
    assert!(value(&report, "folded") > 0.0 && value(&report, "folded under telemetry") > 0.0, "{report}");
    assert_eq!(report["checked"].as_array().map(Vec::len), Some(3), "{report}");
}

#[tokio::test]
async fn idle_connections_are_measured_beside_a_bare_listener() {
    let load = ["connections", "--connections", "30", "--publishers", "5", "--seconds", "1"];
    let report = report(&load).await;
    assert!(value(&report, "connected") > 0.0, "{report}");
    assert_eq!(report["latencies"].as_array().map(Vec::len), Some(3), "{report}");
    assert_eq!(report["checked"].as_array().map(Vec::len), Some(1), "{report}");
}

#[tokio::test]
async fn reads_are_measured_beside_a_bare_handler() {
    let load = ["query", "--devices", "10", "--events", "2000", "--rate", "20", "--seconds", "1"];
    let report = report(&load).await;
    for ask in ["newest 100 readings", "windows by the minute", "the same windows in GraphQL"] {
        assert!(value(&report, ask) > 0.0, "{report}");
    }
    assert_eq!(report["checked"].as_array().map(Vec::len), Some(1), "{report}");
}

#[tokio::test]
async fn growth_is_measured_at_three_sizes() {
    let load = ["query", "--growth", "--devices", "10", "--events", "2000", "--seconds", "1"];
    let report = report(&load).await;
    assert!(value(&report, "append, three times as many") > 0.0, "{report}");
    assert_eq!(report["checked"].as_array().map(Vec::len), Some(3), "{report}");
}

#[tokio::test]
async fn appends_are_measured_beside_copy() {
    let report = report(&["append", "--devices", "10", "--messages", "5000", "--batch", "100"]).await;
    assert!(value(&report, "stored") > 0.0, "{report}");
    assert_eq!(report["checked"].as_array().map(Vec::len), Some(2), "{report}");
}

#[tokio::test]
async fn projections_are_measured_beside_sql() {
    let report = report(&["projections", "--devices", "10", "--events", "5000"]).await;
    assert!(value(&report, "folded") > 0.0, "{report}");
    assert_eq!(report["checked"].as_array().map(Vec::len), Some(3), "{report}");
}
