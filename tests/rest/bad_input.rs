//! Whatever makes no sense gets a definite refusal: the right status, a stable code, and not a word from inside.

use fleetlog_access::Role;
use reqwest::Method;
use serde_json::Value;

use crate::support::Api;
use crate::support::api::{Answer, answer};

/// What no answer may contain.
const INTERNAL_WORDS: [&str; 10] =
    ["sqlx", "postgres", "panicked", "select ", ".rs:", "unwrap", "tokio", "axum", "serde", "thread"];

/// A body and how it is sent.
pub(super) enum Sent {
    Nothing,
    Json(&'static str),
    As(&'static str, &'static str),
    Large,
    Deep,
}
use Sent::{As, Deep, Json, Large, Nothing};

fn is_definite(answered: &Answer, context: &str) {
    assert!(answered.status.is_client_error(), "{context}: {} {}", answered.status, answered.text);
    assert_eq!(answered.header("content-type"), "application/problem+json", "{context}");
    let problem = answered.json();
    for field in ["type", "title", "status", "code", "detail", "request_id"] {
        assert!(!problem[field].is_null(), "{context}: no {field} in {problem}");
    }
    assert_eq!(problem["status"], answered.status.as_u16(), "{context}");
    assert_eq!(
        problem["type"],
        format!("urn:fleetlog:problem:{}", problem["code"].as_str().expect("a code"))
    );
    assert_eq!(problem["request_id"], answered.header("x-request-id"), "{context}");
    let text = answered.text.to_lowercase();
    for word in INTERNAL_WORDS {
        assert!(!text.contains(word), "{context}: {word:?} in {text}");
    }
}

async fn send(api: &Api, method: Method, path: &str, body: &Sent) -> Answer {
    let request = api.request(method, path).bearer_auth(api.token("t0", Role::Admin));
    let json = |body: String| ("application/json", body);
    let (content_type, body) = match body {
        Nothing => return answer(request).await,
        Json(body) => json((*body).to_owned()),
        As(content_type, body) => (*content_type, (*body).to_owned()),
        Large => json(format!(r#"{{"uid":"{}"}}"#, "x".repeat(2 << 20))),
        Deep => json("[".repeat(100_000)),
    };
    answer(request.header("content-type", content_type).body(body)).await
}

#[tokio::test]
async fn whatever_makes_no_sense_is_refused() {
    let api = Api::start().await;
    api.publish("dev-01", [serde_json::json!({"t": 1})]).await;
    api.catch_up().await;
    are_refused(&api, table()).await;
}

/// Method, path and body; and the status, the code and the field of the refusal.
pub(super) type Row = (&'static str, &'static str, Sent, &'static str);

/// Sends what makes no sense, and compares what is said of it.
pub(super) async fn are_refused(api: &Api, rows: impl IntoIterator<Item = Row>) {
    for (method, path, body, wanted) in rows {
        let answered = send(api, method.parse().expect("a method"), path, &body).await;
        let context = match body {
            Json(body) => format!("{method} {path} {body}"),
            _ => format!("{method} {path}"),
        };
        is_definite(&answered, &context);
        let field = answered.json()["errors"][0]["field"].as_str().map(|field| format!(" {field}"));
        assert_eq!(answered.refusal() + &field.unwrap_or_default(), wanted, "{context}: {}", answered.text);
    }
}

fn table() -> impl Iterator<Item = Row> {
    paths_and_methods().into_iter().chain(parameters()).chain(bodies())
}

fn paths_and_methods() -> Vec<Row> {
    vec![
        ("GET", "/nowhere", Nothing, "404 not_found"),
        ("GET", "/api/v1/nowhere", Nothing, "404 not_found"),
        ("GET", "/api/v2/devices", Nothing, "404 not_found"),
        ("GET", "//devices", Nothing, "404 not_found"),
        ("GET", "/devices/", Nothing, "404 not_found"),
        ("GET", "/devices/dev-02", Nothing, "404 not_found"),
        ("GET", "/devices/%00", Nothing, "404 not_found"),
        ("GET", "/devices/%ff%fe", Nothing, "404 not_found"),
        ("GET", "/devices/a%2Fb", Nothing, "404 not_found"),
        ("GET", "/devices/..%2f..%2fetc", Nothing, "404 not_found"),
        ("GET", "/devices/'%20OR%201=1--", Nothing, "404 not_found"),
        ("GET", "/telemetry/dev-02", Nothing, "404 not_found"),
        ("GET", "/telemetry/%00", Nothing, "404 not_found"),
        ("GET", "/telemetry/dev-02/windows", Nothing, "404 not_found"),
        ("GET", "/devices/dev-02/metrics", Nothing, "404 not_found"),
        ("GET", "/events?log=999", Nothing, "404 not_found"),
        ("GET", "/events?log=99999999999999", Nothing, "404 not_found"),
        ("GET", "/events?log=-1", Nothing, "404 not_found"),
        ("DELETE", "/devices/dev-02", Nothing, "404 not_found"),
        ("PUT", "/devices", Nothing, "405 method_not_allowed"),
        ("POST", "/telemetry/dev-01", Nothing, "405 method_not_allowed"),
        ("DELETE", "/events", Nothing, "405 method_not_allowed"),
        ("GET", "/auth/login", Nothing, "405 method_not_allowed"),
        ("GET", "/graphql", Nothing, "422 invalid query"),
        ("GET", "/graphql?query=%7Blogs%7Bhead%7D%7D&variables=1", Nothing, "422 invalid variables"),
        (
            "GET",
            "/graphql?query=mutation%7BcancelCommand(id:1)%7Breplayed%7D%7D",
            Nothing,
            "405 method_not_allowed",
        ),
        ("BREW", "/devices", Nothing, "405 method_not_allowed"),
    ]
}

fn parameters() -> Vec<Row> {
    vec![
        ("GET", "/devices?limit=-1", Nothing, "422 invalid limit"),
        ("GET", "/devices?limit=0", Nothing, "422 invalid limit"),
        ("GET", "/devices?limit=1000000000", Nothing, "422 invalid limit"),
        ("GET", "/devices?limit=99999999999999999999", Nothing, "422 invalid limit"),
        ("GET", "/devices?limit=ten", Nothing, "422 invalid limit"),
        ("GET", "/devices?limit=", Nothing, "422 invalid limit"),
        ("GET", "/devices?limit=1&limit=2", Nothing, "422 invalid limit"),
        ("GET", "/devices?limti=1", Nothing, "422 invalid limti"),
        ("GET", "/devices?status=asleep", Nothing, "422 invalid status"),
        ("GET", "/devices?sort=password_hash", Nothing, "422 invalid sort"),
        ("GET", "/devices?count=maybe", Nothing, "422 invalid count"),
        ("GET", "/devices?q=a%00b", Nothing, "422 invalid q"),
        ("GET", "/devices?q=%ff", Nothing, "422 invalid q"),
        ("GET", "/devices?%ff=1", Nothing, "422 invalid "),
        ("GET", "/devices?cursor=", Nothing, "422 invalid cursor"),
        ("GET", "/devices?cursor=forged", Nothing, "422 invalid cursor"),
        ("GET", "/devices?cursor=1bnVsbA", Nothing, "422 invalid cursor"),
        ("GET", "/devices?min_position=1", Nothing, "422 invalid min_position"),
        ("GET", "/devices?min_position=999:1", Nothing, "422 invalid min_position"),
        ("GET", "/devices?min_position=1:-5", Nothing, "422 invalid min_position"),
        ("GET", "/devices?min_position=%2B1:5", Nothing, "422 invalid min_position"),
        ("GET", "/devices?min_position=1:05", Nothing, "422 invalid min_position"),
        ("GET", "/devices?min_position=1:1000", Nothing, "422 invalid min_position"),
        ("GET", "/devices/dev-01?fields=secret", Nothing, "422 invalid fields"),
        ("GET", "/telemetry/dev-01?order=up", Nothing, "422 invalid order"),
        ("GET", "/telemetry/dev-01?from=yesterday", Nothing, "422 invalid from"),
        ("GET", "/telemetry/dev-01?from=2026-13-45T99:99:99Z", Nothing, "422 invalid from"),
        ("GET", "/telemetry/dev-01?from=-262000-01-01T00:00:00Z", Nothing, "422 invalid from"),
        ("GET", "/telemetry/dev-01?to=%2B262000-01-01T00:00:00Z", Nothing, "422 invalid to"),
        (
            "GET",
            "/telemetry/dev-01?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z",
            Nothing,
            "422 invalid from",
        ),
        ("GET", "/telemetry/dev-01?cursor=1WzkyMjMzNzIwMzY4NTQ3NzU4MDcsMV0", Nothing, "422 invalid cursor"),
        ("GET", "/telemetry/dev-01?limit=1001", Nothing, "422 invalid limit"),
        ("GET", "/devices/dev-01/metrics?cursor=1bnVsbA", Nothing, "422 invalid cursor"),
        ("GET", "/devices/dev-01/metrics?limit=1001", Nothing, "422 invalid limit"),
        ("GET", "/telemetry/dev-01/windows?step=7", Nothing, "422 invalid step"),
        ("GET", "/telemetry/dev-01/windows?step=90s", Nothing, "422 invalid step"),
        ("GET", "/telemetry/dev-01/windows?step=-5m", Nothing, "422 invalid step"),
        ("GET", "/telemetry/dev-01/windows?fill=next", Nothing, "422 invalid fill"),
        ("GET", "/telemetry/dev-01/windows?fill=null&points=3", Nothing, "422 invalid points"),
        ("GET", "/telemetry/dev-01/windows?limit=0", Nothing, "422 invalid limit"),
        ("GET", "/telemetry/dev-01/windows?cursor=forged", Nothing, "422 invalid cursor"),
        ("GET", "/telemetry/dev-01/windows?step=2month", Nothing, "422 invalid step"),
        ("GET", "/telemetry/dev-01/windows?step=99999999999d", Nothing, "422 invalid step"),
        ("GET", "/telemetry/dev-01/windows?step=1m&from=2001-01-01T00:00:00Z", Nothing, "422 invalid step"),
        ("GET", "/telemetry/dev-01/windows?tz=Mars/Olympus", Nothing, "422 invalid tz"),
        ("GET", "/telemetry/dev-01/windows?points=1", Nothing, "422 invalid points"),
        ("GET", "/telemetry/dev-01/windows?points=-1", Nothing, "422 invalid points"),
        ("GET", "/telemetry/dev-01/windows?metric=a%00", Nothing, "422 invalid metric"),
        (
            "GET",
            "/telemetry/dev-01/windows?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z",
            Nothing,
            "422 invalid from",
        ),
        ("GET", "/events?after=-1", Nothing, "422 invalid after"),
        ("GET", "/events?after=%2B5", Nothing, "422 invalid after"),
        ("GET", "/events?after=05", Nothing, "422 invalid after"),
        ("GET", "/events/1/abc", Nothing, "422 invalid position"),
        ("GET", "/events/1/0", Nothing, "422 invalid position"),
        ("GET", "/events/1/01", Nothing, "422 invalid position"),
        ("GET", "/events/1/%2B1", Nothing, "422 invalid position"),
        ("GET", "/events/1/9223372036854775808", Nothing, "422 invalid position"),
        ("GET", "/events/1/9223372036854775807", Nothing, "404 not_found"),
        ("GET", "/events?after=99999999999999999999", Nothing, "422 invalid after"),
        ("GET", "/events?aggregate=%00", Nothing, "422 invalid aggregate"),
        ("GET", "/events?cursor=x", Nothing, "422 invalid cursor"),
        ("GET", "/quarantine?cursor=x", Nothing, "422 invalid cursor"),
        ("GET", "/logs?tenant=t1", Nothing, "422 invalid tenant"),
        ("GET", "/projections?x=1", Nothing, "422 invalid x"),
    ]
}

fn bodies() -> Vec<Row> {
    vec![
        ("POST", "/devices", Nothing, "415 unsupported_media_type"),
        ("POST", "/devices", As("text/plain", r#"{"uid":"dev-09"}"#), "415 unsupported_media_type"),
        (
            "POST",
            "/devices",
            As("application/x-www-form-urlencoded", "uid=dev-09"),
            "415 unsupported_media_type",
        ),
        ("POST", "/devices", Large, "413 too_large"),
        ("POST", "/devices", Deep, "400 malformed"),
        ("POST", "/devices", Json(""), "400 malformed"),
        ("POST", "/devices", Json("{"), "400 malformed"),
        ("POST", "/devices", Json("{} {}"), "400 malformed"),
        ("POST", "/devices", Json(r#"["dev-09"]"#), "422 invalid "),
        ("POST", "/devices", Json("dev-09"), "400 malformed"),
        ("POST", "/devices", Json(r#"{"uid":"dev-09"} x"#), "400 malformed"),
        ("POST", "/devices", Json("null"), "422 invalid "),
        ("POST", "/devices", Json("[]"), "422 invalid "),
        ("POST", "/devices", Json("{}"), "422 invalid uid"),
        ("POST", "/devices", Json(r#"{"uid":null}"#), "422 invalid uid"),
        ("POST", "/devices", Json(r#"{"uid":7}"#), "422 invalid uid"),
        ("POST", "/devices", Json(r#"{"uid":""}"#), "422 invalid uid"),
        ("POST", "/devices", Json(r#"{"uid":"a b"}"#), "422 invalid uid"),
        ("POST", "/devices", Json(r#"{"uid":"a\u0000"}"#), "422 invalid uid"),
        ("POST", "/devices", Json(r#"{"uid":"\ud800"}"#), "422 invalid uid"),
        ("POST", "/devices", Json(r#"{"uid":"dev-09","tenant":"t1"}"#), "422 invalid tenant"),
        ("POST", "/devices", Json(r#"{"uid":"dev-09","name":""}"#), "422 invalid"),
        ("POST", "/devices", Json(r#"{"uid":"dev-09","name":"a\u0000b"}"#), "422 invalid"),
        ("POST", "/devices", Json(r#"{"uid":"dev-09","labels":{"a":1}}"#), "422 invalid labels.a"),
        ("POST", "/devices", Json(r#"{"uid":"dev-09","labels":["a"]}"#), "422 invalid labels"),
        ("POST", "/devices", Json(r#"{"uid":"dev-09","uid":"dev-08"}"#), "422 invalid uid"),
        ("POST", "/devices", Json(r#"{"uid":"dev-01"}"#), "409 already_registered"),
        ("PATCH", "/devices/dev-01", Json("{}"), "422 invalid "),
        ("PATCH", "/devices/dev-01", Json(r#"{"name":null}"#), "422 invalid "),
        ("PATCH", "/devices/dev-01", Json(r#"{"status":"online"}"#), "422 invalid status"),
        ("PATCH", "/devices/dev-02", Json(r#"{"name":"x"}"#), "404 not_found"),
        ("POST", "/users", Json(r#"{"email":"a@b.example","role":null}"#), "422 invalid role"),
        ("POST", "/users", Json(r#"{"email":"a@b.example","role":5}"#), "422 invalid role"),
        ("POST", "/users", Json(r#"{"email":"a@b.example","role":{"admin":null}}"#), "422 invalid role"),
        ("PATCH", "/tenant", Json(r#"{"registration":5}"#), "422 invalid registration"),
        ("POST", "/tenants", Json(r#"{"tenant":"a","admin":["a@b.example","x"]}"#), "422 invalid admin"),
        ("PUT", "/tiers/a", Json(r#"{"limits":[["*",1,1]]}"#), "422 invalid limits[0]"),
        ("POST", "/command-batches", Json(r#"{"cmd":"ping","selector":5}"#), "422 invalid selector"),
        (
            "POST",
            "/command-batches",
            Json(r#"{"cmd":"ping","selector":[["a"],null]}"#),
            "422 invalid selector",
        ),
        ("POST", "/auth/login", Json(r#"{"email":"a"}"#), "422 invalid password"),
        ("POST", "/auth/login", Json(r#"{"email":"a","password":1}"#), "422 invalid password"),
        ("POST", "/auth/login", Json(r#"{"email":"a","password":"b","role":"admin"}"#), "422 invalid role"),
        ("POST", "/graphql", Json(r#"{"query":1}"#), "422 invalid query"),
        ("POST", "/graphql", Json("{}"), "422 invalid query"),
        (
            "POST",
            "/graphql",
            Json(r#"{"query":"{ logs { head } }","variables":[1]}"#),
            "422 invalid variables",
        ),
        (
            "POST",
            "/graphql",
            Json(r#"{"query":"{ logs { head } }","extensions":"x"}"#),
            "422 invalid extensions",
        ),
        (
            "POST",
            "/graphql",
            Json(r#"[{"query":"{ __typename }"},{"query":"{ __typename }"}]"#),
            "422 invalid ",
        ),
        ("POST", "/graphql", As("multipart/form-data; boundary=x", "--x--"), "415 unsupported_media_type"),
    ]
}

#[tokio::test]
async fn a_refusal_says_which_field_and_why() {
    let api = Api::start().await;
    let problem: Value = api.get("/devices?limit=5000").await.json();
    assert_eq!(problem["errors"], serde_json::json!([{"field": "limit", "reason": "expected 1 to 1000"}]));
}

#[tokio::test]
async fn whether_a_caller_may_comes_before_what_the_path_and_the_body_say() {
    let api = Api::start().await;
    let requests = [
        ("GET", "/api-keys/none", "404 not_found"),
        ("DELETE", "/api-keys/none", "404 not_found"),
        ("GET", "/users/none", "404 not_found"),
        ("GET", "/command-types/%00", "404 not_found"),
        ("PUT", "/command-types/%00", "422 invalid"),
        ("GET", "/policies/%00", "404 not_found"),
        ("GET", "/commands/none", "404 not_found"),
        ("POST", "/commands/none/cancel", "404 not_found"),
        ("GET", "/command-batches/none?limit=1", "404 not_found"),
        ("DELETE", "/devices/%00", "404 not_found"),
        ("GET", "/devices/%00/credentials", "404 not_found"),
        ("GET", "/tiers/UPPER", "404 not_found"),
        ("PUT", "/tiers/UPPER", "422 invalid"),
        ("GET", "/tenants/%00", "404 not_found"),
        ("GET", "/events?limit=0", "422 invalid"),
        ("POST", "/devices/dev-01/commands", "415 unsupported_media_type"),
    ];
    for (method, path, answer_to_admins) in requests {
        let method: Method = method.parse().expect("a method");
        let nobody = answer(api.request(method.clone(), path)).await;
        let viewer = api.send_as(Role::Viewer, method.clone(), path, None).await;
        let admin = api.send_as(Role::Admin, method.clone(), path, None).await;
        let answers = [nobody, viewer, admin].map(|answer| answer.refusal());
        assert_eq!(answers, ["401 unauthenticated", "403 forbidden", answer_to_admins], "{method} {path}");
    }
}
