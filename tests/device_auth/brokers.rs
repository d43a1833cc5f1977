//! What EMQX and mosquitto-go-auth ask over HTTP.

use fleetlog_api::Settings;
use fleetlog_engine::devices::credentials::secret::ServiceLogin;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::Fleet;
use crate::support::Api;
use crate::support::api::{Answer, answer};

async fn ask(api: &Api, path: &str, question: Value) -> Answer {
    answer(api.request(Method::POST, path).json(&question)).await
}

/// The same question as JSON and as a form has the same answer.
async fn ask_mosquitto(api: &Api, path: &str, question: Value) -> StatusCode {
    let form: Vec<(String, String)> = question
        .as_object()
        .expect("an object")
        .iter()
        .map(|(name, value)| (name.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
        .collect();
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let request = api.request(Method::POST, path).header("content-type", "application/x-www-form-urlencoded");
    let as_form = answer(request.body(body)).await.status;
    let as_json = ask(api, path, question).await.status;
    assert_eq!(as_form, as_json, "{path}");
    as_json
}

#[tokio::test]
async fn emqx_learns_who_may_connect_and_until_when() {
    let fleet = Fleet::start().await;
    let good = fleet.device("t0", "dev-01").await;
    let login =
        |password: &str| json!({ "username": good.username, "password": password, "clientid": "any" });
    let allowed = ask(&fleet.api, "/mqtt/emqx/auth", login(&good.password)).await;
    assert_eq!(allowed.status, StatusCode::OK);
    assert_eq!(allowed.json(), json!({ "result": "allow", "is_superuser": false }));
    let denied = json!({ "result": "deny", "is_superuser": false });
    for question in [login("wrong"), json!({}), json!([]), json!({ "username": null, "password": 1 })] {
        let answered = ask(&fleet.api, "/mqtt/emqx/auth", question.clone()).await;
        assert_eq!((answered.status, answered.json()), (StatusCode::OK, denied.clone()), "{question}");
    }
    let at = (chrono::Utc::now() + chrono::TimeDelta::hours(1)).timestamp();
    let until = chrono::DateTime::from_timestamp(at, 0).expect("in range");
    let brief = fleet.issue("t0", "dev-01", json!({ "expires_at": until })).await;
    let answered = ask(&fleet.api, "/mqtt/emqx/auth", login(&brief.password)).await;
    assert_eq!(answered.json()["expire_at"], at);
}

#[tokio::test]
async fn emqx_learns_what_a_device_may_do_as_long_as_it_may_be_there() {
    let fleet = Fleet::start().await;
    let good = fleet.device("t0", "dev-01").await;
    let result = async |topic: &str, action: &str| {
        let question = json!({ "username": good.username, "topic": topic, "action": action });
        let answered = ask(&fleet.api, "/mqtt/emqx/acl", question).await;
        assert_eq!(answered.status, StatusCode::OK);
        answered.json()["result"].as_str().expect("a result").to_owned()
    };
    for (topic, action, expected) in [
        ("t0/devices/dev-01/telemetry", "publish", "allow"),
        ("t0/devices/dev-01/command_ack", "publish", "allow"),
        ("t0/devices/dev-01/commands", "subscribe", "allow"),
        ("t0/devices/dev-01/telemetry", "subscribe", "deny"),
        ("t0/devices/dev-01/commands", "publish", "deny"),
        ("t0/devices/dev-02/telemetry", "publish", "deny"),
        ("t1/devices/dev-01/commands", "subscribe", "deny"),
        ("t0/devices/dev-01/telemetry", "all", "deny"),
        ("#", "subscribe", "deny"),
    ] {
        assert_eq!(result(topic, action).await, expected, "{action} {topic}");
    }
    fleet.send("t0", Method::DELETE, &format!("/devices/dev-01/credentials/{}", good.id), Value::Null).await;
    assert_eq!(result("t0/devices/dev-01/telemetry", "publish").await, "deny");
}

#[tokio::test]
async fn mosquitto_learns_the_same_by_status() {
    let fleet = Fleet::start().await;
    let good = fleet.device("t0", "dev-01").await;
    let login =
        |password: &str| json!({ "username": good.username, "password": password, "clientid": "any" });
    assert_eq!(ask_mosquitto(&fleet.api, "/mqtt/mosquitto/user", login(&good.password)).await, 200);
    assert_eq!(ask_mosquitto(&fleet.api, "/mqtt/mosquitto/user", login("wrong")).await, 403);
    let user = json!({ "username": good.username });
    assert_eq!(ask_mosquitto(&fleet.api, "/mqtt/mosquitto/superuser", user).await, 403);
    for (topic, acc, status) in [
        ("t0/devices/dev-01/telemetry", 2, 200),
        ("t0/devices/dev-01/commands", 1, 200),
        ("t0/devices/dev-01/commands", 4, 200),
        ("t0/devices/dev-01/telemetry", 1, 403),
        ("t0/devices/dev-01/commands", 2, 403),
        ("t0/devices/dev-02/telemetry", 2, 403),
        ("t0/devices/+/commands", 4, 403),
        ("t0/devices/dev-01/telemetry", 3, 403),
    ] {
        let question = json!({ "username": good.username, "clientid": "any", "topic": topic, "acc": acc });
        assert_eq!(ask_mosquitto(&fleet.api, "/mqtt/mosquitto/acl", question).await, status, "{acc} {topic}");
    }
}

#[tokio::test]
async fn however_much_is_guessed_at_a_device_it_costs_few_look_ups_and_the_right_device_is_let_in() {
    let fleet = Fleet::start().await;
    let api = &fleet.api;
    let _here = metrics::set_default_local_recorder(&api.recorder);
    let good = fleet.device("t0", "dev-01").await;
    let login = async |password: &str| {
        let question = json!({ "username": good.username, "password": password, "clientid": "any" });
        ask(api, "/mqtt/emqx/auth", question).await.json()["result"].as_str().expect("a result").to_owned()
    };
    let guesses = 60;
    for guess in 0..guesses {
        assert_eq!(login(&format!("fld_{guess}")).await, "deny");
    }
    assert_eq!(login(&good.password).await, "allow");
    let name = "fleetlog_device_guesses_not_looked_up_total ";
    let counters = api.get("/metrics").await.text;
    let counted = counters.lines().find_map(|line| line.strip_prefix(name)).expect(name);
    assert!(counted.parse::<i32>().expect("a number") > 0, "{counted} of {guesses}");
    let newer = fleet.issue("t0", "dev-01", json!({})).await;
    assert_eq!(login(&newer.password).await, "allow", "a secret that no look-up has found");
    fleet.send("t0", Method::DELETE, &format!("/devices/dev-01/credentials/{}", good.id), Value::Null).await;
    assert_eq!(login(&good.password).await, "deny", "a revocation holds at once");
}

#[tokio::test]
async fn fleetlogs_own_user_is_known_by_the_address_of_its_broker() {
    let broker = Some(ServiceLogin::new("fleetlog", "secret"));
    let api = Api::start_with(Settings { broker, ..Settings::default() }).await;
    let user = |password: &str| json!({ "username": "fleetlog", "password": password });
    assert_eq!(ask_mosquitto(&api, "/mqtt/mosquitto/user", user("secret")).await, 200);
    assert_eq!(ask_mosquitto(&api, "/mqtt/mosquitto/user", user("other")).await, 403);
    for (topic, acc, status) in [
        ("+/devices/+/telemetry", 4, 200),
        ("$share/nodes/+/devices/+/telemetry", 4, 200),
        ("+/devices/+/command_ack", 4, 200),
        ("t0/devices/dev-01/telemetry", 1, 200),
        ("t0/devices/dev-01/commands", 2, 200),
        ("t0/devices/dev-01/telemetry", 2, 403),
        ("#", 4, 403),
    ] {
        let question = json!({ "username": "fleetlog", "clientid": "x", "topic": topic, "acc": acc });
        assert_eq!(ask_mosquitto(&api, "/mqtt/mosquitto/acl", question).await, status, "{acc} {topic}");
    }
}

#[tokio::test]
async fn for_everyone_but_the_broker_there_is_nothing_there() {
    let elsewhere = vec!["192.0.2.0/24".parse().expect("a network")];
    let strangers = Api::start_with(Settings { broker_networks: elsewhere, ..Settings::default() }).await;
    let ours = Api::start().await;
    let plain = |answered: Answer| {
        assert_eq!(answered.status, StatusCode::NOT_FOUND, "{}", answered.text);
        answered.text.replace(answered.header("x-request-id"), "")
    };
    for path in [
        "/mqtt/emqx/auth",
        "/mqtt/emqx/acl",
        "/mqtt/mosquitto/user",
        "/mqtt/mosquitto/superuser",
        "/mqtt/mosquitto/acl",
    ] {
        for method in [Method::GET, Method::POST] {
            let nothing = plain(answer(strangers.request(method.clone(), "/mqtt/nothing")).await);
            assert_eq!(plain(answer(strangers.request(method.clone(), path)).await), nothing, "{path}");
            let proxied = ours.request(method.clone(), path).header("x-forwarded-for", "192.0.2.1");
            assert_eq!(plain(answer(proxied).await), nothing, "{path}");
        }
    }
}
