//! What no stream begins with.

use fleetlog_access::Role;
use fleetlog_event_log::Lane;
use reqwest::Method;
use serde_json::json;

use crate::support::{Api, Stream};

#[tokio::test]
async fn a_stream_that_cannot_be_followed_is_refused_with_the_parameter_and_the_reason() {
    let api = Api::start().await;
    api.add_tenant("t1").await;
    api.publish("dev-01", [json!({"n": 0})]).await;
    api.publish_of("t1", "dev-01", [json!({"n": 0})]).await;
    let (control, telemetry) = (api.log_of("t0", Lane::Control), api.log_of("t0", Lane::Telemetry));
    let foreign = api.log_of("t1", Lane::Telemetry);
    let many: Vec<_> = (0..101).map(|n| format!("d{n}")).collect();
    for (query, field, reason) in [
        ("after=1:-1".into(), "after", "expected the position of each log"),
        ("after=x".into(), "after", "expected the position of each log"),
        (format!("after={telemetry}:1"), "after", "expected the positions of these logs"),
        (format!("log=telemetry&after={telemetry}:2"), "after", "ends at position 1 now"),
        (
            format!("log=telemetry&after={telemetry}:1,{telemetry}:1"),
            "after",
            "expected the position of each log",
        ),
        (format!("log=telemetry&after={foreign}:1"), "after", "there is no log"),
        (format!("log=telemetry&after={control}:0"), "after", "expected the positions of these logs"),
        ("log=other".into(), "log", "expected control or telemetry"),
        (
            "log=telemetry&cmd_id=00000000-0000-0000-0000-000000000000".into(),
            "cmd_id",
            "no event of this log passes",
        ),
        ("log=telemetry&type=DeviceRegistered".into(), "type", "no event of this log passes"),
        ("log=control&aggregate_type=Telemetry".into(), "aggregate_type", "no event of this log passes"),
        ("device=a%20b".into(), "device", "1 to 64"),
        ("device=".into(), "device", "expected 1 to 100 words"),
        (format!("device={}", many.join(",")), "device", "expected 1 to 100 words"),
        ("label=site".into(), "label", "expected labels such as"),
        ("max_rate=0".into(), "max_rate", "expected 0.001 to 1000"),
        ("max_rate=NaN".into(), "max_rate", "expected 0.001 to 1000"),
        ("from=yesterday".into(), "from", "expected now, start, or a time"),
        ("from=2999-01-01T00:00:00Z".into(), "from", "has passed"),
        ("cmd_id=x".into(), "cmd_id", ""),
        ("devices=dev-01".into(), "devices", "unknown field"),
    ] {
        let request =
            api.request(Method::GET, &format!("/stream?{query}")).bearer_auth(api.token("t0", Role::Admin));
        let refused = Stream::open(request).await.err().unwrap_or_else(|| panic!("{query} was taken"));
        let error = refused.json()["errors"][0].clone();
        assert_eq!(
            (refused.status.as_u16(), error["field"].as_str()),
            (422, Some(field)),
            "{query}: {}",
            refused.text
        );
        assert!(error["reason"].as_str().is_some_and(|text| text.contains(reason)), "{query}: {error}");
    }
    for last in ["-1", "1:99999999999999999999", "\u{e9}", &format!("{telemetry}:9")] {
        let request =
            api.request(Method::GET, "/stream?log=telemetry").bearer_auth(api.token("t0", Role::Admin));
        let refused = Stream::open(request.header("Last-Event-ID", last)).await.err().expect("refused");
        assert_eq!(refused.json()["errors"][0]["field"], "Last-Event-ID", "{last}: {}", refused.text);
    }
    let request = api.request(Method::GET, "/stream");
    assert_eq!(Stream::open(request).await.err().expect("refused").refusal(), "401 unauthenticated");
}
