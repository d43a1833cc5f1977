//! Every operation of the document, with generated values for each of its fields and parameters: it answers as the
//! document says, and takes what the document says it takes.

use fleetlog_access::Role;
use fleetlog_aggregates::alarm::{Alarm, Input};
use fleetlog_event_log::Lane;
use fleetlog_event_log::control::{Actor, Metadata};
use fleetlog_proof::hash::Hash;
use fleetlog_proof::note::{Checkpoint, Kind, SigningKey};
use reqwest::{Method, StatusCode};
use serde_json::{Map, Value, json};

use super::document::{Document, Operation};
use crate::support::Api;
use crate::support::api::{Answer, answer, user_id};

/// What an example cannot name: a token out of a mail, or a password of the caller's own.
const WANTS_A_SECRET: [&str; 8] = [
    "browser_log_in",
    "log_in",
    "refresh",
    "change_me",
    "change_password",
    "accept_invitation",
    "reset_password",
    "verify_address",
];

/// A delivery to the fleet's webhook.
const DELIVERY: &str = "00000000-0000-7000-8000-000000000000";

/// A running API with one of everything, and the document.
struct Fleet {
    api: Api,
    document: Document,
    /// The names in paths.
    names: Vec<(&'static str, String)>,
}

/// Puts a message into quarantine, and returns its number.
async fn quarantined(api: &Api) -> i64 {
    let sql = "INSERT INTO quarantine (tenant, topic, payload, reason, detail, received_at)
               VALUES ('t0', 'x', 'y', 'bad_topic', 'z', now()) RETURNING quarantine_id";
    sqlx::query_scalar(sql).fetch_one(&mut api.database.owner().await).await.expect("quarantined")
}

impl Fleet {
    async fn start() -> Self {
        let api = Api::start().await;
        api.ship_types().await;
        api.add_tenant("t1").await;
        for uid in ["dev-01", "dev-02"] {
            api.publish(uid, [json!({"msg_id": "a1", "temperature": 21.5}), json!({"t": "x"})]).await;
        }
        let post = async |path: &str, body: Value| {
            let made = api.send(Method::POST, path, body).await;
            assert!(made.status.is_success(), "{path}: {}", made.text);
            made.json()
        };
        let id_of = |made: &Value, id: &str| made[id].as_str().expect("an id").to_owned();
        let command = post("/devices/dev-01/commands", json!({"cmd": "ping"})).await;
        let selector = json!({"devices": ["dev-01"]});
        let batch = post("/command-batches", json!({"cmd": "ping", "selector": selector})).await;
        let key = post("/api-keys", json!({"name": "k", "actions": ["devices.read"]})).await;
        let credential = post("/devices/dev-01/credentials", json!({})).await;
        api.catch_up().await;
        post("/projections/devices/rebuild", json!({})).await;
        let policy = "forbid (principal in Role::\"viewer\", action == Action::\"devices.write\", resource is Device);";
        let policy = api.send(Method::PUT, "/policies/mine", json!({"source": policy})).await;
        assert_eq!(policy.status, StatusCode::OK, "{}", policy.text);
        let rule = json!({"title": "Hot", "severity": "major", "condition": {"kind": "silent", "for_s": 60}});
        assert_eq!(api.send(Method::PUT, "/alarm-rules/hot", rule).await.status, StatusCode::OK);
        let source = json!({"definition": {"topics": [{"topic": "others/{uid}"}]}});
        assert_eq!(api.send(Method::PUT, "/sources/others", source).await.status, StatusCode::OK);
        let tier = json!({"limits": [{"path": "*", "requests": 1_000_000, "window_s": 1}]});
        assert_eq!(api.send(Method::PUT, "/tiers/mine", tier).await.status, StatusCode::OK);
        api.catch_up().await;
        api.prove().await;
        sign_the_example(&api).await;
        // No server listens there.
        let webhook = post("/webhooks", json!({"url": "http://127.0.0.1:9/"})).await;
        sqlx::query(
            "INSERT INTO webhook_deliveries
                 (delivery_id, webhook_id, tenant, revision, log_id, after_position, last_position)
             SELECT $1::uuid, webhook_id, tenant, revision, $2, 0, 1 FROM webhooks",
        )
        .bind(DELIVERY)
        .bind(api.log_of("t0", Lane::Control).0)
        .execute(&mut api.database.owner().await)
        .await
        .expect("a delivery");
        let open = api.send(Method::PATCH, "/tenant", json!({"registration": "open"})).await;
        assert_eq!(open.status, StatusCode::OK, "{}", open.text);
        let viewer = user_id("t0", Role::Viewer).to_string();
        let session = uuid::Uuid::now_v7();
        sqlx::query(
            "INSERT INTO sessions (session_id, tenant, user_id, expires_at)
             VALUES ($1, 't0', $2, now() + interval '1 day')",
        )
        .bind(session)
        .bind(user_id("t0", Role::Admin))
        .execute(&mut api.database.owner().await)
        .await
        .expect("a second session");
        let names = vec![
            ("/devices/{uid}/credentials/{id}", id_of(&credential, "credential_id")),
            ("/commands/{id}", id_of(&command, "cmd_id")),
            ("/command-batches/{id}", id_of(&batch, "batch_id")),
            ("/api-keys/{id}", id_of(&key, "key_id")),
            ("/users/{id}", viewer),
            ("/auth/sessions/{id}", session.to_string()),
            ("/policies/{name}", "mine".to_owned()),
            ("/command-types/{name}", "ping".to_owned()),
            ("/webhooks/{id}", id_of(&webhook, "webhook_id")),
            ("/simulations/{id}", uuid::Uuid::now_v7().to_string()),
            ("/alarms/{id}", raise(&api).await),
            ("/alarm-rules/{name}", "hot".to_owned()),
            ("/sources/{name}", "others".to_owned()),
            ("/quarantine/{id}", quarantined(&api).await.to_string()),
            ("/tiers/{tier}", "mine".to_owned()),
            ("/tenants/{tenant}", "t1".to_owned()),
            ("/projections/{projection}", "devices".to_owned()),
        ];
        Self { api, document: Document::read(), names }
    }

    /// The operation's path with names of things that there are.
    fn path(&self, operation: &Operation) -> String {
        let name = self.names.iter().find(|(part, _)| operation.path.contains(part));
        let name = name.map_or("", |(_, name)| name);
        let log = self.api.log_of("t0", Lane::Control).to_string();
        let path = operation.path.replace("{uid}", "dev-01").replace("{log}", &log);
        let path = path.replace("{position}", "1").replace("{tile}", "0/000.p/1");
        let path = path.replace("{delivery_id}", DELIVERY);
        ["{id}", "{name}", "{tier}", "{tenant}", "{projection}"]
            .into_iter()
            .fold(path, |path, part| path.replace(part, name))
    }

    fn request(&self, operation: &Operation, path: &str) -> reqwest::RequestBuilder {
        let request = self.api.request(operation.method.clone(), path);
        match operation.described["operationId"].as_str() {
            // They end the session that they are called in.
            Some("log_out" | "browser_log_out") => request,
            _ => request.bearer_auth(self.api.token("t0", Role::Admin)),
        }
    }

    async fn send(&self, operation: &Operation, body: &Value) -> Answer {
        answer(self.request(operation, &self.path(operation)).json(body)).await
    }

    /// Operations with a body, with the schema of the body's fields and a body that makes sense.
    fn with_body<'o>(
        &'o self,
        operations: &'o [Operation],
    ) -> impl Iterator<Item = (&'o Operation, &'o Value, &'o Map<String, Value>)> {
        operations.iter().filter_map(|operation| {
            let (schema, example) = operation.body()?;
            Some((operation, self.document.resolve(schema), example.as_object()?))
        })
    }
}

/// Raises an alarm, and returns its id.
async fn raise(api: &Api) -> String {
    let raised = json!({"rule": "hot", "severity": "major", "device_uid": "dev-01", "rule_version": 1, "title": "Hot",
        "condition": "silent", "since": "2026-03-01T12:00:00Z", "cause": "2:1"});
    let (id, raised) = (uuid::Uuid::now_v7(), serde_json::from_value(raised).expect("an alarm"));
    let by = Metadata::by(Actor::Alarms);
    let stream = api.log.for_tenant(&"t0".parse().expect("a tenant")).stream(id);
    api.log.execute::<Alarm>(&stream, Input::Raise(raised), by).await.expect("raised");
    id.to_string()
}

/// Makes a checkpoint of the size that the document's example is about.
async fn sign_the_example(api: &Api) {
    let log_id = api.log_of("t0", Lane::Control);
    let key = SigningKey::generate("example", Kind::Note).expect("a key");
    let origin = format!("example/{log_id}");
    let note = key.sign(&Checkpoint { origin, size: 3, root: Hash::empty() });
    sqlx::query(
        "INSERT INTO audit_checkpoints (log_id, size, root, note, signed_at) VALUES ($1, 3, $2, $3, now())",
    )
    .bind(log_id.0)
    .bind(Hash::empty().0.as_slice())
    .bind(note)
    .execute(&mut api.database.owner().await)
    .await
    .expect("a checkpoint");
}

/// What went against the document, all of it.
#[derive(Default)]
struct Faults(Vec<String>);

impl Faults {
    /// Notes what an answer does that the document does not say, or else what is wrong in the eyes of the test.
    fn note(
        &mut self,
        fleet: &Fleet,
        operation: &Operation,
        answered: &Answer,
        sent: &str,
        wrong: Option<String>,
    ) {
        if let Some(fault) = fleet.document.fault(operation, answered).or(wrong) {
            let sent = sent.chars().take(200).collect::<String>();
            self.0.push(format!(
                "{} {sent}: {fault}: {} {}",
                operation.name(),
                answered.status,
                answered.text
            ));
        }
    }
}

impl Drop for Faults {
    fn drop(&mut self) {
        assert!(
            std::thread::panicking() || self.0.is_empty(),
            "{} faults:\n{}",
            self.0.len(),
            self.0.join("\n")
        );
    }
}

/// The field that a refusal is about.
fn wrong_field(answered: &Answer) -> Option<String> {
    let is_refusal = answered.refusal() == "422 invalid";
    is_refusal.then(|| answered.json()["errors"][0]["field"].as_str().unwrap_or_default().to_owned())
}

/// Values for any field: of each type, none, at the ends of ranges, too long.
fn values() -> Vec<Value> {
    vec![
        Value::Null,
        json!(true),
        json!(-1),
        json!(1.5),
        json!(u64::MAX),
        json!(""),
        json!("\u{0}"),
        json!("é".repeat(5_000)),
        json!([null]),
        json!({"a": {"b": 1}}),
    ]
}

#[tokio::test]
async fn every_example_of_a_body_is_accepted_and_every_answer_is_as_documented() {
    let (fleet, mut faults) = (Fleet::start().await, Faults::default());
    for operation in fleet.document.operations() {
        let id = operation.described["operationId"].as_str().expect("an id");
        let path = format!("{}?{}", fleet.path(&operation), operation.query(&[]));
        let request = fleet.request(&operation, path.trim_end_matches('?'));
        let request = match operation.body() {
            Some((schema, example)) => {
                assert_eq!(fleet.document.fits(schema, example), Ok(()), "{id}");
                request.json(example)
            }
            None => request,
        };
        let answered = answer(request).await;
        let is_read = operation.method == Method::GET;
        // A plain request opens no WebSocket.
        let is_socket = operation.described["responses"].get("101").is_some();
        let is_opened = is_socket && answered.status == StatusCode::UPGRADE_REQUIRED;
        let is_taken = answered.status.is_success()
            || is_opened
            || (!is_read && answered.status == StatusCode::CONFLICT);
        // Simulations are off here, so none runs that could be stopped.
        let is_taken = is_taken || id == "stop_simulation";
        let wrong = (!is_taken && !WANTS_A_SECRET.contains(&id)).then(|| "the example is refused".to_owned());
        faults.note(&fleet, &operation, &answered, "its example", wrong);
        for (status, response) in operation.described["responses"].as_object().expect("responses") {
            let content = &fleet.document.resolve(response)["content"];
            for content in content.as_object().into_iter().flat_map(Map::values) {
                let Some(example) = content.get("example") else { continue };
                assert_eq!(fleet.document.fits(&content["schema"], example), Ok(()), "{id} {status}");
            }
        }
    }
}

#[tokio::test]
async fn a_field_takes_what_the_document_says_and_nothing_else() {
    let (fleet, mut faults) = (Fleet::start().await, Faults::default());
    let operations = fleet.document.operations();
    for (operation, schema, example) in fleet.with_body(&operations) {
        let fits = fleet.document.validator(schema);
        for name in schema["properties"].as_object().expect("properties").keys() {
            let mut less = example.clone();
            less.remove(name);
            let absent = fleet.send(operation, &Value::Object(less)).await;
            for value in values() {
                let mut body = example.clone();
                body.insert(name.clone(), value.clone());
                let body = Value::Object(body);
                let answered = fleet.send(operation, &body).await;
                let within = [format!("{name}."), format!("{name}[")];
                let is_about_it = wrong_field(&answered).is_some_and(|field| {
                    field == *name || within.iter().any(|within| field.starts_with(within))
                });
                let wrong = match fits.validate(&body) {
                    Err(why) if !is_about_it => Some(format!("it does not fit ({why})")),
                    Ok(())
                        if value.is_null()
                            && is_about_it
                            && wrong_field(&absent) != wrong_field(&answered) =>
                    {
                        Some("null is not as good as absent".to_owned())
                    }
                    _ => None,
                };
                faults.note(&fleet, operation, &answered, &format!("{name}={value}"), wrong);
            }
        }
    }
}

#[tokio::test]
async fn a_body_of_another_shape_is_refused_with_the_field() {
    let (fleet, mut faults) = (Fleet::start().await, Faults::default());
    let operations = fleet.document.operations();
    for (operation, schema, example) in fleet.with_body(&operations) {
        let mut bodies = vec![];
        let mut more = example.clone();
        more.insert("surprise".to_owned(), json!(1));
        bodies.push((Value::Object(more), "surprise"));
        for required in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            let mut less = example.clone();
            less.remove(required);
            bodies.push((Value::Object(less), required));
        }
        bodies.extend([json!(null), json!([]), json!([1]), json!(5), json!("x")].map(|other| (other, "")));
        for (body, field) in bodies {
            let answered = fleet.send(operation, &body).await;
            let wrong = (wrong_field(&answered).as_deref() != Some(field)).then(|| format!("not {field:?}"));
            faults.note(&fleet, operation, &answered, &body.to_string(), wrong);
        }
        for (kind, text, refusal) in [
            ("application/json", "{", "400 malformed"),
            ("application/json", "{} x", "400 malformed"),
            ("text/plain", "{}", "415 unsupported_media_type"),
        ] {
            let request = fleet.request(operation, &fleet.path(operation));
            let answered = answer(request.header("content-type", kind).body(text)).await;
            let wrong = (answered.refusal() != refusal).then(|| format!("not {refusal}"));
            faults.note(&fleet, operation, &answered, text, wrong);
        }
    }
}

#[tokio::test]
async fn a_parameter_takes_what_the_document_says_or_is_refused_by_name() {
    let (fleet, mut faults) = (Fleet::start().await, Faults::default());
    let long = "x".repeat(2_000);
    let odd =
        ["", "0", "-1", "1.5", "99999999999999999999", "x", "true", "%C3%A9", "%00", "%ff", "a%2Fb", &long];
    let operations = fleet.document.operations();
    for operation in operations.iter().filter(|operation| operation.method == Method::GET) {
        let path = fleet.path(operation);
        for parameter in operation.described["parameters"].as_array().into_iter().flatten() {
            let name = parameter["name"].as_str().expect("a name");
            let is_query = parameter["in"] == "query";
            for value in odd.into_iter().filter(|value| is_query || !value.is_empty()) {
                let path = if is_query {
                    format!("{path}?{}", operation.query(&[(name, value)]))
                } else {
                    operation.path.replace(&format!("{{{name}}}"), value).replace("{uid}", "dev-01")
                };
                let answered = answer(fleet.request(operation, &path)).await;
                let field = wrong_field(&answered).filter(|field| is_query && field != name);
                let wrong = field.map(|field| format!("it is about {field:?}"));
                faults.note(&fleet, operation, &answered, &path, wrong);
            }
        }
    }
}
