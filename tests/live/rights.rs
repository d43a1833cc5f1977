//! Who is told what, and until when.

use fleetlog_access::Role;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Api, Stream};

#[tokio::test]
async fn a_viewer_is_told_of_devices_and_readings_and_of_nothing_that_needs_more() {
    let api = Api::start().await;
    api.ship_types().await;
    api.publish("dev-01", [json!({"n": 0})]).await;
    let command = json!({"cmd": "set_interval", "params": {"seconds": 5}});
    api.send(Method::POST, "/devices/dev-01/commands", command).await;
    let policy =
        json!({"source": r#"@description("none") permit (principal == User::"nobody", action, resource);"#});
    api.send(Method::PUT, "/policies/none", policy).await;
    api.publish("dev-02", [json!({"n": 0})]).await;
    let mut stream = Stream::of(&api, Role::Viewer, "from=start").await;
    let mut told: Vec<Value> = vec![];
    for event in stream.events(4).await {
        told.push(json!([event["aggregate_id"], event["event_type"]]));
    }
    told.sort_by_key(ToString::to_string);
    let of = |uid: &str, event: &str| json!([format!("t0/{uid}"), event]);
    let both = |event| ["dev-01", "dev-02"].map(|uid| of(uid, event));
    let mut expected: Vec<Value> = [both("DeviceRegistered"), both("TelemetryRecorded")].concat();
    expected.sort_by_key(ToString::to_string);
    assert_eq!(told, expected);
}

#[tokio::test]
async fn a_policy_about_devices_filters_a_stream_and_one_that_comes_later_narrows_it() {
    let api = Api::start().await;
    for (uid, site) in [("dev-01", "hanoi"), ("dev-02", "hue")] {
        api.send(Method::POST, "/devices", json!({"uid": uid, "labels": {"site": site}})).await;
    }
    let forbid = |site: &str| {
        json!({"source": format!(
            r#"forbid (principal, action == Action::"telemetry.read", resource is Device)
               when {{ resource.hasTag("site") && resource.getTag("site") == "{site}" }};"#
        )})
    };
    let put = api.send(Method::PUT, "/policies/no-hanoi", forbid("hanoi")).await;
    assert!(put.status.is_success(), "{}", put.text);
    api.catch_up().await;
    let mut stream = Stream::of(&api, Role::Viewer, "log=telemetry").await;
    for uid in ["dev-01", "dev-02"] {
        api.publish(uid, [json!({"n": 0})]).await;
    }
    assert_eq!(stream.event().await["aggregate_id"], "t0/dev-02");

    let put = api.send(Method::PUT, "/policies/no-hanoi", forbid("hue")).await;
    assert!(put.status.is_success(), "{}", put.text);
    // The stream goes on without the one, and begins to tell of the other.
    loop {
        for uid in ["dev-02", "dev-01"] {
            api.publish(uid, [json!({"n": 1})]).await;
        }
        if stream.event().await["aggregate_id"] == "t0/dev-01" {
            break;
        }
    }
    for uid in ["dev-02", "dev-01"] {
        api.publish(uid, [json!({"n": 2})]).await;
    }
    for _ in 0..1 {
        assert_eq!(stream.event().await["aggregate_id"], "t0/dev-01");
    }
}

#[tokio::test]
async fn a_stream_of_one_tenant_tells_nothing_of_another() {
    let api = Api::start().await;
    api.add_tenant("t1").await;
    api.publish_of("t1", "dev-01", [json!({"n": 0})]).await;
    api.publish("dev-01", [json!({"n": 0})]).await;
    let mut stream = Stream::of(&api, Role::Admin, "from=start&log=telemetry").await;
    api.publish_of("t1", "dev-01", [json!({"n": 1})]).await;
    api.publish("dev-01", [json!({"n": 1})]).await;
    for event in stream.events(2).await {
        assert_eq!(event["aggregate_id"], "t0/dev-01");
    }
}

#[tokio::test]
async fn a_ticket_opens_one_stream_and_nothing_else() {
    let api = Api::start().await;
    api.publish("dev-01", [json!({"n": 0})]).await;
    let ticket = || async {
        let issued = api.send_as(Role::Viewer, Method::POST, "/stream/tickets", None).await;
        assert_eq!(issued.status, 201, "{}", issued.text);
        issued.json()["ticket"].as_str().expect("a ticket").to_owned()
    };
    let first = ticket().await;
    let elsewhere = api.until(&format!("/devices?ticket={first}"), |_| true).await;
    assert_eq!(elsewhere.refusal(), "401 unauthenticated");
    let open = |ticket: String| {
        Stream::open(api.request(Method::GET, &format!("/stream?from=start&ticket={ticket}")))
    };
    let mut stream = open(first.clone()).await.unwrap_or_else(|answer| panic!("{}", answer.text));
    assert_eq!(stream.events(2).await.len(), 2);
    for bad in [first, "flt_x".to_owned(), String::new()] {
        let refused = open(bad.clone()).await.err().expect("refused");
        assert_eq!(refused.refusal(), "401 unauthenticated", "{bad}");
        assert!(refused.text.contains("the ticket is used, or over 30 s old, or none"), "{}", refused.text);
    }
    let old = ticket().await;
    let age = "UPDATE stream_tickets SET expires_at = expires_at - interval '31 s'";
    sqlx::query(age).execute(&mut api.database.owner().await).await.expect("aged");
    let refused = open(old).await.err().expect("refused");
    assert_eq!(refused.refusal(), "401 unauthenticated");
    assert!(refused.text.contains("POST /stream/tickets"), "{}", refused.text);
}
