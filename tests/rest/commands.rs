//! Commands over REST: sent, listed, followed, cancelled.

use chrono::Utc;
use fleetlog_access::Role;
use fleetlog_aggregates::command::{Ack, Command, Input};
use fleetlog_event_log::control::{Actor, Metadata};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::Api;
use crate::support::api::{Answer, answer, user_id};

const UNKNOWN: &str = "019a0000-0000-7000-8000-000000000001";

/// With a device that can be told something.
pub(crate) async fn ready() -> Api {
    let api = Api::start().await;
    api.ship_types().await;
    api.publish("dev-01", []).await;
    api.publish("dev-02", []).await;
    api.catch_up().await;
    api
}

async fn sent(api: &Api, uid: &str, body: Value) -> Value {
    let answered = api.send(Method::POST, &format!("/devices/{uid}/commands"), body).await;
    assert_eq!(answered.status, StatusCode::ACCEPTED, "{}", answered.text);
    answered.json()
}

pub(crate) fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value[field].as_str().expect("a text")
}

fn ids(page: &Value) -> Vec<&str> {
    page["items"].as_array().expect("items").iter().map(|command| text(command, "cmd_id")).collect()
}

/// What a device or the dispatcher adds to a command's record.
pub(crate) async fn happens(api: &Api, cmd_id: &str, input: Input) {
    let metadata = Metadata::by(Actor::Dispatcher);
    let stream = format!("t0/{cmd_id}");
    api.log
        .execute::<Command>(&stream.parse().expect("a stream"), input, metadata)
        .await
        .expect("decided")
        .expect("recorded");
}

pub(crate) fn acknowledged() -> Input {
    let ack = Ack::Ack { result: Some(json!({"interval": 5}).into()) };
    Input::Acknowledge { device_uid: "dev-01".parse().expect("a uid"), ack, at: Utc::now() }
}

/// A problem document without what differs from request to request.
pub(super) fn anonymous(answer: &Answer) -> (StatusCode, String) {
    let mut problem = answer.json();
    problem["request_id"] = Value::Null;
    (answer.status, problem.to_string())
}

#[tokio::test]
async fn a_command_is_accepted_with_its_id_its_place_and_its_position() {
    let api = ready().await;
    for path in ["/api/v1/devices/dev-01/commands", "/devices/dev-01/command"] {
        let request = api
            .request(Method::POST, path)
            .bearer_auth(api.token("t0", Role::Operator))
            .header("x-request-id", "trace-9")
            .json(
                &json!({"cmd": "set_interval", "params": {"seconds": 5}, "timeout_s": 7, "max_attempts": 2}),
            );
        let answered = answer(request).await;
        assert_eq!(answered.status, StatusCode::ACCEPTED, "{}", answered.text);
        let written = answered.json();
        assert_eq!(written["status"], "requested");
        let location = format!("/api/v1/commands/{}", text(&written, "cmd_id"));
        assert_eq!(answered.header("location"), location);
        let command = api.get(&location).await.json();
        assert_eq!(command["cmd_id"], written["cmd_id"]);
        for (field, value) in [
            ("device_uid", json!("dev-01")),
            ("cmd", json!("set_interval")),
            ("params", json!({"seconds": 5})),
            ("status", json!("requested")),
            ("requested_by", json!(user_id("t0", Role::Operator))),
            ("timeout_s", json!(7)),
            ("max_attempts", json!(2)),
            ("attempts", json!(0)),
            ("correlation_id", json!("trace-9")),
        ] {
            assert_eq!(command[field], value, "{field}");
        }
        let page =
            api.get(&format!("/devices/dev-01/commands?min_position={}", text(&written, "position"))).await;
        assert_eq!(page.json()["items"][0], command, "the read model says what the log says");
    }
}

#[tokio::test]
async fn a_history_names_every_step_with_its_actor_and_the_state_after_it() {
    let api = ready().await;
    let written = sent(&api, "dev-01", json!({"cmd": "ping"})).await;
    let id = text(&written, "cmd_id");
    happens(&api, id, Input::MarkSent { attempt: 1, at: Utc::now() }).await;
    happens(&api, id, acknowledged()).await;
    let path = format!("/commands/{id}/history");
    let history = api.send_as(Role::Auditor, Method::GET, &path, None).await.json();
    assert_eq!(history["command"], api.get(&format!("/commands/{id}")).await.json());
    assert_eq!(history["command"]["result"], json!({"interval": 5}));
    let steps = history["steps"].as_array().expect("steps");
    let told = steps.iter().map(|step| {
        let fields = ["sequence", "event_type", "status", "attempts", "actor"];
        fields.map(|field| step[field].clone())
    });
    let user = user_id("t0", Role::Admin);
    assert_eq!(
        told.collect::<Vec<_>>(),
        [
            [json!(1), json!("CommandRequested"), json!("requested"), json!(0), json!(user)],
            [json!(2), json!("CommandSent"), json!("sent"), json!(1), json!("dispatcher")],
            [json!(3), json!("CommandAcknowledged"), json!("acked"), json!(1), json!("dispatcher")],
        ]
    );
    let events = api.get(&format!("/events?aggregate={id}")).await.json();
    let positions = |list: &[Value]| list.iter().map(|item| item["position"].clone()).collect::<Vec<_>>();
    assert_eq!(positions(steps), positions(events["items"].as_array().expect("items")));
    assert_eq!(steps[2]["event"], json!({"result": {"interval": 5}}));
}

#[tokio::test]
async fn a_command_is_shown_as_it_was_at_any_moment() {
    let api = ready().await;
    let written = sent(&api, "dev-01", json!({"cmd": "ping"})).await;
    let id = text(&written, "cmd_id");
    happens(&api, id, Input::MarkSent { attempt: 1, at: Utc::now() }).await;
    happens(&api, id, acknowledged()).await;
    let history = api.get(&format!("/commands/{id}/history")).await.json();
    let recorded = |step: usize| text(&history["steps"][step], "recorded_at");
    for (moment, status, steps) in
        [(recorded(0), "requested", 1), (recorded(1), "sent", 2), (recorded(2), "acked", 3)]
    {
        let then = api.get(&format!("/commands/{id}/history?as_of={moment}")).await.json();
        assert_eq!(then["command"]["status"], status);
        assert_eq!(then["steps"].as_array().map(Vec::len), Some(steps), "{status}");
        let command = api.get(&format!("/commands/{id}?as_of={moment}")).await.json();
        assert_eq!(command, then["command"]);
    }
    let before = api.get(&format!("/commands/{id}?as_of=2020-01-01T00:00:00Z")).await;
    assert_eq!(before.refusal(), "404 not_found", "it was not there yet");
}

#[tokio::test]
async fn commands_are_found_by_whatever_is_known_of_them() {
    let api = ready().await;
    let first = sent(&api, "dev-01", json!({"cmd": "ping"})).await;
    let second = sent(&api, "dev-02", json!({"cmd": "reboot"})).await;
    let third = sent(&api, "dev-01", json!({"cmd": "reboot"})).await;
    let id = |written: &Value| text(written, "cmd_id").to_owned();
    let (first, second, third) = (id(&first), id(&second), id(&third));
    happens(&api, &third, Input::MarkSent { attempt: 1, at: Utc::now() }).await;
    api.catch_up().await;
    let whole = api.get(&format!("/commands/{second}")).await.json();
    let (at, trace) = (text(&whole, "requested_at"), text(&whole, "correlation_id"));
    let nobody = "019a0000-0000-7000-8000-00000000000f";
    for (path, found) in [
        ("/commands".to_owned(), vec![&third, &second, &first]),
        ("/commands?device=dev-01".to_owned(), vec![&third, &first]),
        ("/devices/dev-01/commands".to_owned(), vec![&third, &first]),
        ("/devices/dev-01/commands?cmd=ping".to_owned(), vec![&first]),
        ("/devices/dev-01/commands?status=sent".to_owned(), vec![&third]),
        ("/commands?device=dev-03".to_owned(), vec![]),
        ("/commands?status=sent".to_owned(), vec![&third]),
        ("/commands?status=requested&cmd=reboot".to_owned(), vec![&second]),
        (format!("/commands?actor={}&cmd=ping", user_id("t0", Role::Admin)), vec![&first]),
        (format!("/commands?actor={nobody}"), vec![]),
        (format!("/commands?correlation_id={trace}"), vec![&second]),
        (format!("/commands?batch_id={nobody}"), vec![]),
        (format!("/commands?from={at}"), vec![&third, &second]),
        (format!("/commands?to={at}"), vec![&first]),
    ] {
        assert_eq!(ids(&api.get(&path).await.json()), found, "{path}");
    }
}

#[tokio::test]
async fn pages_of_commands_follow_each_other_newest_first() {
    let api = ready().await;
    let mut wanted = vec![];
    for _ in 0..5 {
        wanted.push(text(&sent(&api, "dev-01", json!({"cmd": "ping"})).await, "cmd_id").to_owned());
    }
    wanted.reverse();
    api.catch_up().await;
    for list in ["/commands", "/devices/dev-01/commands"] {
        let (mut seen, mut cursor) = (vec![], String::new());
        loop {
            let page = api.get(&format!("{list}?limit=2&count=true{cursor}")).await.json();
            assert_eq!(page["total"], 5);
            seen.extend(ids(&page).into_iter().map(str::to_owned));
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(seen, wanted, "{list}");
    }
}

#[tokio::test]
async fn a_command_is_cancelled_until_it_has_ended() {
    let api = ready().await;
    for (body, reason) in [(None, Value::Null), (Some(json!({"reason": "too late"})), json!("too late"))] {
        let written = sent(&api, "dev-01", json!({"cmd": "ping"})).await;
        let path = format!("/commands/{}/cancel", text(&written, "cmd_id"));
        let cancel = || api.send_as(Role::Operator, Method::POST, &path, body.clone());
        let cancelled = cancel().await;
        assert_eq!(cancelled.status, StatusCode::OK, "{}", cancelled.text);
        let cancelled = cancelled.json();
        assert_eq!((&cancelled["cmd_id"], &cancelled["status"]), (&written["cmd_id"], &json!("cancelled")));
        let list = format!("/commands?limit=1&min_position={}", text(&cancelled, "position"));
        let command = api.get(&list).await.json()["items"][0].clone();
        assert_eq!((&command["status"], &command["cancel_reason"]), (&json!("cancelled"), &reason));
        assert_eq!(command["cancelled_by"], json!(user_id("t0", Role::Operator)));
        assert_eq!(cancel().await.refusal(), "409 already_ended");
    }
    let written = sent(&api, "dev-01", json!({"cmd": "ping"})).await;
    happens(&api, text(&written, "cmd_id"), acknowledged()).await;
    let path = format!("/commands/{}/cancel", text(&written, "cmd_id"));
    assert_eq!(api.send(Method::POST, &path, json!({})).await.refusal(), "409 already_ended");
}

#[tokio::test]
async fn another_tenants_command_answers_like_one_that_does_not_exist() {
    let api = ready().await;
    api.add_tenant("t1").await;
    api.ship_types().await;
    api.publish_of("t1", "dev-01", []).await;
    let request =
        api.request(Method::POST, "/devices/dev-01/commands").bearer_auth(api.token("t1", Role::Admin));
    let secret = answer(request.json(&json!({"cmd": "ping"}))).await;
    assert_eq!(secret.status, StatusCode::ACCEPTED, "{}", secret.text);
    let secret = text(&secret.json(), "cmd_id").to_owned();
    let ours = text(&sent(&api, "dev-01", json!({"cmd": "ping"})).await, "cmd_id").to_owned();
    api.catch_up().await;
    for (method, path) in [
        (Method::GET, "/commands/{}"),
        (Method::GET, "/commands/{}/history"),
        (Method::POST, "/commands/{}/cancel"),
    ] {
        let ask =
            async |id: &str| api.send_as(Role::Admin, method.clone(), &path.replace("{}", id), None).await;
        let unknown = ask(UNKNOWN).await;
        assert_eq!(unknown.refusal(), "404 not_found", "{path}");
        let (upper, plain) = (ours.to_uppercase(), ours.replace('-', ""));
        for id in [&*secret, "dev-01", "1", "%00", "%ff", &upper, &plain, "'%20OR%201=1--"] {
            assert_eq!(anonymous(&ask(id).await), anonymous(&unknown), "{method} {path} {id}");
        }
    }
    assert_eq!(ids(&api.get("/commands").await.json()), [ours]);
}

#[tokio::test]
async fn a_device_that_cannot_be_told_anything_is_told_apart() {
    let api = ready().await;
    let ping = json!({"cmd": "ping"});
    for path in ["/devices/dev-09/commands", "/devices/dev-09/command", "/devices/%00/commands"] {
        let answered = api.send(Method::POST, path, ping.clone()).await;
        assert_eq!(anonymous(&answered), anonymous(&api.get("/devices/dev-09").await), "{path}");
    }
    assert_eq!(api.get("/devices/dev-09/commands").await.refusal(), "404 not_found");
    assert_eq!(ids(&api.get("/devices/dev-01/commands").await.json()), Vec::<&str>::new());
    api.send_as(Role::Admin, Method::DELETE, "/devices/dev-01", None).await;
    let answered = api.send(Method::POST, "/devices/dev-01/commands", ping).await;
    assert_eq!(answered.refusal(), "409 decommissioned");
}

#[tokio::test]
async fn only_those_who_run_devices_send_and_cancel() {
    let api = ready().await;
    let written = sent(&api, "dev-01", json!({"cmd": "ping"})).await;
    let cancel = format!("/commands/{}/cancel", text(&written, "cmd_id"));
    for role in [Role::Viewer, Role::Analyst, Role::Auditor] {
        for path in ["/devices/dev-01/commands", "/devices/dev-01/command", "/command-batches", &cancel] {
            let body = Some(json!({"cmd": "ping"}));
            assert_eq!(
                api.send_as(role, Method::POST, path, body).await.refusal(),
                "403 forbidden",
                "{role} {path}"
            );
        }
    }
    let command = api.get(&format!("/commands/{}", text(&written, "cmd_id"))).await.json();
    assert_eq!(command["status"], "requested", "nothing has happened to it");
    assert_eq!(api.send_as(Role::Operator, Method::POST, &cancel, None).await.status, StatusCode::OK);
}
