//! What makes no sense about commands, batches of them and command types is refused, and nothing is stored.

use serde_json::json;

use super::bad_input::Sent::{As, Deep, Json, Large, Nothing};
use super::bad_input::{Row, are_refused};
use super::commands::ready;

const SEND: &str = "/devices/dev-01/commands";

#[tokio::test]
async fn what_makes_no_sense_about_commands_is_refused_and_not_stored() {
    let api = ready().await;
    let before = api.get("/logs").await.json();
    are_refused(&api, parameters().into_iter().chain(commands()).chain(types()).chain(batches())).await;
    assert_eq!(api.get("/logs").await.json(), before);
}

#[tokio::test]
async fn parameters_are_bounded_in_their_size() {
    let api = ready().await;
    api.send(reqwest::Method::PUT, "/command-types/free", json!({"params": {}})).await;
    for (bytes, answered) in [(1 << 10, 202), (33 << 10, 422)] {
        let body = json!({"cmd": "free", "params": {"text": "x".repeat(bytes)}});
        assert_eq!(api.send(reqwest::Method::POST, SEND, body).await.status, answered, "{bytes}");
    }
}

fn parameters() -> Vec<Row> {
    vec![
        ("GET", "/commands?limit=-1", Nothing, "422 invalid limit"),
        ("GET", "/commands?limit=1000000000", Nothing, "422 invalid limit"),
        ("GET", "/commands?status=asleep", Nothing, "422 invalid status"),
        ("GET", "/commands?status=", Nothing, "422 invalid status"),
        ("GET", "/commands?status=sent&status=acked", Nothing, "422 invalid status"),
        ("GET", "/commands?device=%00", Nothing, "422 invalid device"),
        ("GET", "/commands?actor=a%00", Nothing, "422 invalid actor"),
        ("GET", "/commands?cmd=%ff", Nothing, "422 invalid cmd"),
        ("GET", "/commands?batch_id=7", Nothing, "422 invalid batch_id"),
        ("GET", "/commands?cursor=forged", Nothing, "422 invalid cursor"),
        ("GET", "/commands?cursor=1bnVsbA", Nothing, "422 invalid cursor"),
        // Of a list of devices: `1["uid","dev-01"]`.
        ("GET", "/commands?cursor=1WyJ1aWQiLCJkZXYtMDEiXQ", Nothing, "422 invalid cursor"),
        ("GET", "/commands?from=yesterday", Nothing, "422 invalid from"),
        ("GET", "/commands?from=-262000-01-01T00:00:00Z", Nothing, "422 invalid from"),
        ("GET", "/commands?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", Nothing, "422 invalid from"),
        ("GET", "/commands?min_position=999:1", Nothing, "422 invalid min_position"),
        ("GET", "/commands?tenant=t1", Nothing, "422 invalid tenant"),
        ("GET", "/devices/dev-01/commands?device=dev-02", Nothing, "422 invalid device"),
        ("GET", "/devices/%00/commands", Nothing, "404 not_found"),
        ("GET", "/commands/019a0000-0000-7000-8000-000000000001?as_of=now", Nothing, "422 invalid as_of"),
        ("GET", "/commands/019a0000-0000-7000-8000-000000000001?x=1", Nothing, "422 invalid x"),
        ("GET", "/command-types?x=1", Nothing, "422 invalid x"),
        ("GET", "/command-types/ping?x=1", Nothing, "422 invalid x"),
        ("GET", "/command-types/%00", Nothing, "404 not_found"),
        ("GET", "/command-batches?cursor=forged", Nothing, "422 invalid cursor"),
        ("GET", "/command-batches?limit=0", Nothing, "422 invalid limit"),
        ("DELETE", "/command-types/explode", Nothing, "404 not_found"),
        ("PUT", "/commands", Nothing, "405 method_not_allowed"),
        ("GET", "/devices/dev-01/command", Nothing, "405 method_not_allowed"),
    ]
}

fn commands() -> Vec<Row> {
    vec![
        ("POST", SEND, Nothing, "415 unsupported_media_type"),
        ("POST", SEND, As("text/plain", r#"{"cmd":"ping"}"#), "415 unsupported_media_type"),
        ("POST", SEND, Large, "413 too_large"),
        ("POST", SEND, Deep, "400 malformed"),
        ("POST", SEND, Json("null"), "422 invalid "),
        ("POST", SEND, Json("{}"), "422 invalid cmd"),
        ("POST", SEND, Json(r#"{"cmd":null}"#), "422 invalid cmd"),
        ("POST", SEND, Json(r#"{"cmd":7}"#), "422 invalid cmd"),
        ("POST", SEND, Json(r#"{"cmd":""}"#), "422 invalid cmd"),
        ("POST", SEND, Json(r#"{"cmd":"a\u0000b"}"#), "422 invalid cmd"),
        ("POST", SEND, Json(r#"{"cmd":"ping","cmd":"reboot"}"#), "422 invalid cmd"),
        ("POST", SEND, Json(r#"{"cmd":"ping","tenant":"t1"}"#), "422 invalid tenant"),
        ("POST", SEND, Json(r#"{"cmd":"ping","requested_by":"root"}"#), "422 invalid requested_by"),
        ("POST", SEND, Json(r#"{"cmd":"ping","batch_id":"x"}"#), "422 invalid batch_id"),
        ("POST", SEND, Json(r#"{"cmd":"ping","params":"{}"}"#), "422 invalid params"),
        (
            "POST",
            SEND,
            Json(r#"{"cmd":"set_interval","params":{"seconds":1e400}}"#),
            "422 invalid params.seconds",
        ),
        ("POST", SEND, Json(r#"{"cmd":"set_interval","params":{"seconds":1.5}}"#), "422 invalid params"),
        ("POST", SEND, Json(r#"{"cmd":"ping","timeout_s":"30"}"#), "422 invalid timeout_s"),
        ("POST", SEND, Json(r#"{"cmd":"ping","timeout_s":-1}"#), "422 invalid timeout_s"),
        ("POST", SEND, Json(r#"{"cmd":"ping","timeout_s":0}"#), "422 invalid timeout_s"),
        ("POST", SEND, Json(r#"{"cmd":"ping","timeout_s":86401}"#), "422 invalid timeout_s"),
        ("POST", SEND, Json(r#"{"cmd":"ping","timeout_s":99999999999999999999}"#), "422 invalid timeout_s"),
        ("POST", SEND, Json(r#"{"cmd":"ping","max_attempts":0}"#), "422 invalid max_attempts"),
        ("POST", SEND, Json(r#"{"cmd":"ping","max_attempts":11}"#), "422 invalid max_attempts"),
        ("POST", SEND, Json(r#"{"cmd":"ping","max_attempts":1.5}"#), "422 invalid max_attempts"),
        ("POST", SEND, Json(r#"{"cmd":"ping","expires_at":1772366400}"#), "422 invalid expires_at"),
        ("POST", SEND, Json(r#"{"cmd":"ping","expires_at":"soon"}"#), "422 invalid expires_at"),
        (
            "POST",
            SEND,
            Json(r#"{"cmd":"ping","expires_at":"2020-01-01T00:00:00Z"}"#),
            "422 invalid expires_at",
        ),
        (
            "POST",
            SEND,
            Json(r#"{"cmd":"ping","expires_at":"9998-01-01T00:00:00Z"}"#),
            "422 invalid expires_at",
        ),
        (
            "POST",
            SEND,
            Json(r#"{"cmd":"ping","expires_at":"+262000-01-01T00:00:00Z"}"#),
            "422 invalid expires_at",
        ),
        ("POST", "/devices/dev-01/command", Json(r#"{"cmd":"explode"}"#), "422 invalid cmd"),
        (
            "POST",
            "/commands/019a0000-0000-7000-8000-000000000001/cancel",
            Json(r#"{"reason":5}"#),
            "422 invalid reason",
        ),
        (
            "POST",
            "/commands/019a0000-0000-7000-8000-000000000001/cancel",
            Json(r#"{"by":"root"}"#),
            "422 invalid by",
        ),
        (
            "POST",
            "/commands/019a0000-0000-7000-8000-000000000001/cancel",
            As("text/plain", "x"),
            "415 unsupported_media_type",
        ),
    ]
}

fn types() -> Vec<Row> {
    vec![
        ("PUT", "/command-types/a%20b", Json(r#"{"params":{}}"#), "422 invalid name"),
        ("PUT", "/command-types/%00", Json(r#"{"params":{}}"#), "422 invalid name"),
        ("PUT", "/command-types/x", Json("{}"), "422 invalid params"),
        ("PUT", "/command-types/x", Json(r#"{"params":null}"#), "422 invalid params"),
        ("PUT", "/command-types/x", Json(r#"{"params":true}"#), "422 invalid params"),
        ("PUT", "/command-types/x", Json(r#"{"params":{"type":"nonsense"}}"#), "422 invalid params"),
        ("PUT", "/command-types/x", Json(r#"{"params":{"pattern":"("}}"#), "422 invalid params"),
        (
            "PUT",
            "/command-types/x",
            Json(r#"{"params":{"$ref":"http://127.0.0.1:1/schema"}}"#),
            "422 invalid params",
        ),
        ("PUT", "/command-types/x", Json(r#"{"params":{},"description":""}"#), "422 invalid description"),
        (
            "PUT",
            "/command-types/x",
            Json(r#"{"params":{},"description":"a\u0000"}"#),
            "422 invalid description",
        ),
        ("PUT", "/command-types/x", Json(r#"{"params":{},"name":"y"}"#), "422 invalid name"),
    ]
}

fn batches() -> Vec<Row> {
    let path = "/command-batches";
    vec![
        ("POST", path, Json("{}"), "422 invalid selector"),
        ("POST", path, Json(r#"{"selector":{},"cmd":"ping"}"#), "422 invalid selector"),
        ("POST", path, Json(r#"{"selector":"all","cmd":"ping"}"#), "422 invalid selector"),
        ("POST", path, Json(r#"{"selector":{"all":true},"cmd":"ping"}"#), "422 invalid selector.all"),
        (
            "POST",
            path,
            Json(r#"{"selector":{"devices":["a b"]},"cmd":"ping"}"#),
            "422 invalid selector.devices[0]",
        ),
        ("POST", path, Json(r#"{"selector":{"devices":[]},"cmd":"ping"}"#), "422 invalid selector"),
        ("POST", path, Json(r#"{"selector":{"devices":["dev-09"]},"cmd":"ping"}"#), "422 invalid selector"),
        (
            "POST",
            path,
            Json(r#"{"selector":{"labels":{"a":"\u0000"}},"cmd":"ping"}"#),
            "422 invalid selector",
        ),
        (
            "POST",
            path,
            Json(r#"{"selector":{"labels":{"site":"mars"}},"cmd":"ping"}"#),
            "422 invalid selector",
        ),
        (
            "POST",
            path,
            Json(r#"{"selector":{"devices":["dev-01"],"labels":{}},"cmd":"ping"}"#),
            "422 invalid selector",
        ),
        ("POST", path, Json(r#"{"selector":{"devices":["dev-01"]},"cmd":"explode"}"#), "422 invalid cmd"),
        (
            "POST",
            path,
            Json(r#"{"selector":{"devices":["dev-01"]},"cmd":"ping","params":{"a":1}}"#),
            "422 invalid params",
        ),
        (
            "POST",
            path,
            Json(r#"{"selector":{"devices":["dev-01"]},"cmd":"ping","rate_per_s":0}"#),
            "422 invalid rate_per_s",
        ),
        (
            "POST",
            path,
            Json(r#"{"selector":{"devices":["dev-01"]},"cmd":"ping","rate_per_s":1001}"#),
            "422 invalid rate_per_s",
        ),
        (
            "POST",
            path,
            Json(r#"{"selector":{"devices":["dev-01"]},"cmd":"ping","abort_after_failures":4294967295}"#),
            "422 invalid abort_after_failures",
        ),
        (
            "POST",
            path,
            Json(r#"{"selector":{"devices":["dev-01"]},"cmd":"ping","expires_at":"2020-01-01T00:00:00Z"}"#),
            "422 invalid expires_at",
        ),
    ]
}
