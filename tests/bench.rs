//! The benchmarks run, and count what they say they count. What they measure is nobody's business here.

use serde_json::Value;

use crate::support::tool;

async fn figures(arguments: &[&str]) -> Value {
    let run = tool("bench").args(arguments).arg("--json").output().await.expect("the binary");
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    assert!(run.status.success(), "{arguments:?}: {said}");
    let line = String::from_utf8(run.stdout).expect("text");
    serde_json::from_str(line.trim()).unwrap_or_else(|error| panic!("{error}: {line}"))
}

#[tokio::test]
async fn ingest_is_measured_beside_its_ceiling() {
    let figures = figures(&["ingest", "--devices", "10", "--messages", "2000"]).await;
    assert_eq!(figures["messages"], 2000, "{figures}");
    assert!(figures["ratio"].as_f64().is_some_and(|ratio| ratio > 0.0), "{figures}");
}

#[tokio::test]
async fn commands_are_measured_under_telemetry() {
    let figures =
        figures(&["commands", "--devices", "10", "--telemetry", "20", "--rate", "5", "--seconds", "1"]).await;
    assert!(figures["accepted_per_s"].as_f64().is_some_and(|rate| rate > 0.0), "{figures}");
}
