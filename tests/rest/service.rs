//! Health, metrics, headers, and what happens to every request.

use std::io::{Read, Write};
use std::sync::atomic::Ordering;

use fleetlog_access::Role;
use fleetlog_api::Settings;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::Api;
use crate::support::api::{Answer, answer};

#[tokio::test]
async fn health_shows_each_part_apart() {
    let api = Api::start().await;
    let alive = answer(api.request(Method::GET, "/healthz")).await;
    assert_eq!(alive.json(), json!({"status": "alive", "version": env!("CARGO_PKG_VERSION")}));
    api.catch_up().await;
    let ready = || async { answer(api.request(Method::GET, "/readyz")).await };
    let words = |answer: &Answer| {
        let answer = answer.json();
        ["status", "database", "broker", "projections"].map(|name| answer[name].as_str().map(str::to_owned))
    };
    let with = ready().await;
    assert_eq!(with.status, StatusCode::OK);
    assert_eq!(words(&with), ["ready", "up", "up", "up"].map(|word| Some(word.to_owned())));
    assert!(
        parts(&with).iter().all(|part| part["state"] == "up" && part.get("reason").is_none()),
        "{}",
        with.text
    );
    api.broker_is_up.store(false, Ordering::Relaxed);
    let without = ready().await;
    assert_eq!(without.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(words(&without), ["degraded", "up", "down", "up"].map(|word| Some(word.to_owned())));
    let broker = parts(&without).into_iter().find(|part| part["name"] == "broker").expect("the broker");
    assert!(broker["state"] == "down" && broker["reason"].is_string(), "{broker}");
}

/// The parts that an answer of `/readyz` lists.
fn parts(answer: &Answer) -> Vec<Value> {
    answer.json()["parts"].as_array().cloned().unwrap_or_default()
}

#[tokio::test]
async fn without_its_database_the_service_says_so_and_when_to_try_again() {
    let api = Api::start().await;
    api.database.go_away().await;
    let answered = api.get("/telemetry/dev-01").await;
    assert_eq!(answered.refusal(), "503 unavailable");
    assert_eq!(answered.header("retry-after"), "1");
    let ready = api.until("/readyz", |answer| answer.json()["database"] == "down").await;
    assert_eq!(
        (ready.status, &ready.json()["status"]),
        (StatusCode::SERVICE_UNAVAILABLE, &json!("not_ready"))
    );
    let asked = api.send(Method::POST, "/graphql", json!({"query": "{ logs { head } }"})).await;
    assert_eq!(asked.refusal(), "503 unavailable", "nobody can tell who is asking");
    let alive = answer(api.request(Method::GET, "/healthz")).await;
    assert_eq!(alive.status, StatusCode::OK);
}

#[tokio::test]
async fn every_answer_carries_its_request_id_and_the_headers_that_protect() {
    let api = Api::start().await;
    for path in ["/healthz", "/nowhere", "/devices", "/docs/", "/openapi.json"] {
        let answered = answer(api.request(Method::GET, path).header("x-request-id", "trace-1")).await;
        let header = |name| answered.header(name).to_owned();
        assert_eq!(header("x-request-id"), "trace-1", "{path}");
        assert_eq!(header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(header("x-frame-options"), "DENY", "{path}");
        assert_eq!(header("referrer-policy"), "no-referrer", "{path}");
        assert!(header("content-security-policy").contains("frame-ancestors 'none'"), "{path}");
        assert_eq!(header("cache-control"), "no-store", "{path}");
    }
    let odd = answer(api.request(Method::GET, "/nowhere").header("x-request-id", "a b")).await;
    assert_eq!(odd.json()["request_id"], odd.header("x-request-id"));
    assert_eq!(odd.header("x-request-id").len(), 36);
}

#[tokio::test]
async fn large_answers_are_compressed_and_small_ones_are_not() {
    let api = Api::start().await;
    let encoding = |path: &'static str| {
        let request = api.request(Method::GET, path).header("accept-encoding", "gzip");
        async { request.send().await.expect("an answer").headers().get("content-encoding").cloned() }
    };
    assert_eq!(encoding("/openapi.json").await.expect("compressed"), "gzip");
    assert_eq!(encoding("/healthz").await, None);
}

#[tokio::test]
async fn a_browser_page_may_call_only_from_a_listed_origin() {
    let listed = Settings {
        cors_origins: vec!["https://app.example".parse().expect("an origin")],
        ..Settings::default()
    };
    for (settings, origin, allowed) in [
        (Settings::default(), "https://app.example", ""),
        (listed.clone(), "https://app.example", "https://app.example"),
        (listed, "https://evil.example", ""),
    ] {
        let api = Api::start_with(settings).await;
        let preflight = api
            .request(Method::OPTIONS, "/devices")
            .header("origin", origin)
            .header("access-control-request-method", "GET");
        assert_eq!(answer(preflight).await.header("access-control-allow-origin"), allowed);
    }
}

#[tokio::test]
async fn metrics_need_a_login_unless_they_are_open() {
    let api = Api::start().await;
    assert_eq!(answer(api.request(Method::GET, "/metrics")).await.refusal(), "401 unauthenticated");
    assert_eq!(api.send_as(Role::Viewer, Method::GET, "/metrics", None).await.refusal(), "403 forbidden");
    assert_eq!(api.get("/metrics").await.status, StatusCode::OK);
    api.add_tenant("t1").await;
    let stranger = api.request(Method::GET, "/metrics").bearer_auth(api.token("t1", Role::Admin));
    assert_eq!(answer(stranger).await.refusal(), "403 forbidden");
    let open = Api::start_with(Settings { open_metrics: true, ..Settings::default() }).await;
    assert_eq!(answer(open.request(Method::GET, "/metrics")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn requests_are_counted_by_their_route_not_by_what_clients_make_up() {
    let api = Api::start().await;
    let _counting = metrics::set_default_local_recorder(&api.recorder);
    for path in ["/devices/dev-01", "/devices/dev-02", "/api/v1/devices/dev-01", "/nowhere/1", "/nowhere/2"] {
        assert_eq!(api.get(path).await.status, StatusCode::NOT_FOUND);
    }
    let counters = api.get("/metrics").await.text;
    for counted in [
        r#"fleetlog_http_requests_total{method="GET",path="/devices/{uid}",status="404"} 2"#,
        r#"fleetlog_http_requests_total{method="GET",path="/api/v1/devices/{uid}",status="404"} 1"#,
        r#"fleetlog_http_requests_total{method="GET",path="unmatched",status="404"} 2"#,
        r#"fleetlog_http_request_duration_seconds_bucket{method="GET",path="unmatched",le="0.5"} 2"#,
    ] {
        assert!(counters.contains(counted), "{counted} in {counters}");
    }
}

#[tokio::test]
async fn the_page_of_the_document_works_without_the_internet() {
    let api = Api::start().await;
    let page = answer(api.request(Method::GET, "/docs/")).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(!page.text.contains("://"), "{}", page.text);
    for path in ["/docs/swagger-ui-bundle.js", "/docs/swagger-initializer.js", "/docs/swagger-ui.css"] {
        assert_eq!(answer(api.request(Method::GET, path)).await.status, StatusCode::OK, "{path}");
    }
    assert_eq!(answer(api.request(Method::GET, "/docs/nothing.js")).await.refusal(), "404 not_found");
}

#[tokio::test]
async fn what_is_no_http_is_refused_and_the_service_goes_on() {
    let api = Api::start().await;
    let host = api.url().trim_start_matches("http://").to_owned();
    for bytes in [
        &b"\x00\x01\x02\xff\xfe\r\n\r\n"[..],
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nhost: x\r\n\r\n",
        b"POST /auth/login HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"POST /auth/login HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\nxxxxx",
    ] {
        let (host, bytes) = (host.clone(), bytes.to_vec());
        let status = tokio::task::spawn_blocking(move || {
            let mut socket = std::net::TcpStream::connect(host).expect("connects");
            socket.set_read_timeout(Some(std::time::Duration::from_secs(5))).expect("sets");
            socket.write_all(&bytes).expect("writes");
            let mut answer = [0; 12];
            let _ = socket.read(&mut answer);
            String::from_utf8_lossy(&answer[9..]).into_owned()
        });
        assert!(status.await.expect("a status").starts_with('4'));
    }
    assert_eq!(answer(api.request(Method::GET, "/healthz")).await.status, StatusCode::OK);
}
