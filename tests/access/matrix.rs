//! Every operation and every field, by every caller, on one's own, another tenant's and no thing at all: `matrix.txt`.

use std::collections::BTreeMap;

use fleetlog_access::{Action, Role};
use fleetlog_api::graphql::Schemas;
use fleetlog_api::rest::{self, docs::ACTION};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::things::{self, CANARY, KINDS, OURS, Whose};
use crate::support::Api;
use crate::support::api::{Answer, answer, user_id};

const MATRIX: &str = include_str!("matrix.txt");

/// A line of the file.
struct Row {
    operation: String,
    action: Option<Action>,
    who: Vec<&'static str>,
    /// What is answered on each of [`Whose`].
    cells: Vec<&'static str>,
    body: &'static str,
}

/// The lines of a section of the file.
pub(crate) fn section(name: &str) -> Vec<&'static str> {
    let lines = MATRIX.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    let from = lines.skip_while(|line| *line != format!("[{name}]")).skip(1);
    from.take_while(|line| !line.starts_with('[')).collect()
}

fn rows(name: &str) -> Vec<Row> {
    let row = |line: &'static str| {
        let columns: Vec<_> = line.splitn(5, '|').map(str::trim).collect();
        let action = columns[1];
        Row {
            operation: columns[0].split_whitespace().collect::<Vec<_>>().join(" "),
            action: (action != "-").then(|| action.parse().unwrap_or_else(|_| panic!("{line}"))),
            who: columns[2].split_whitespace().collect(),
            cells: columns[3].split_whitespace().collect(),
            body: columns.get(4).copied().unwrap_or_default(),
        }
    };
    section(name).into_iter().map(row).collect()
}

/// Somebody who calls.
#[derive(Clone, Copy)]
enum Caller<'k> {
    Nobody,
    /// A program of ours, whose key is for something else.
    Key(&'k str),
    /// A user of ours.
    User(Role),
    /// A user of the tenant that runs the platform.
    Platform(Role),
}

impl<'k> Caller<'k> {
    /// Who calls an operation. Where the platform's people may, all of them try.
    fn all(row: &Row, keys: &'k [(Action, String); 2]) -> Vec<Self> {
        let other = keys.iter().find(|(action, _)| row.action != Some(*action)).expect("two keys");
        let mut all = vec![Self::Nobody, Self::Key(&other.1)];
        all.extend(Role::ALL.map(Self::User));
        if row.who.iter().any(|who| who.starts_with("platform:")) {
            all.extend(Role::ALL.map(Self::Platform));
        }
        all
    }

    fn name(self) -> String {
        match self {
            Self::Nobody => "nobody".into(),
            Self::Key(_) => "a key".into(),
            Self::User(role) => role.to_string(),
            Self::Platform(role) => format!("platform:{role}"),
        }
    }

    fn may(self, row: &Row) -> bool {
        row.who == ["everyone"] || row.who.contains(&self.name().as_str())
    }

    fn request(self, api: &Api, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = api.request(method, path).header("x-request-id", "matrix");
        match self {
            Self::Nobody => request,
            Self::Key(key) => request.bearer_auth(key),
            Self::User(role) => request.bearer_auth(api.token(OURS, role)),
            Self::Platform(role) => request.bearer_auth(api.token("t0", role)),
        }
    }

    /// Asks a question. Of a subscription, the first message is the answer.
    async fn ask(self, api: &Api, question: Value) -> Answer {
        if !question["query"].as_str().is_some_and(|query| query.starts_with("subscription")) {
            return self.send(api, Method::POST, "/graphql", Some(question)).await;
        }
        let mut opened = self
            .request(api, Method::POST, "/graphql/stream")
            .json(&question)
            .send()
            .await
            .expect("an answer");
        let (status, headers) = (opened.status(), opened.headers().clone());
        let mut text = String::new();
        while let Some(chunk) = opened.chunk().await.expect("a chunk") {
            text.push_str(std::str::from_utf8(&chunk).expect("UTF-8"));
            let data = text.split_once("data: ").and_then(|(_, rest)| rest.split_once("\n\n"));
            if let Some((data, _)) = data {
                return Answer { status, headers, text: data.to_owned() };
            }
        }
        Answer { status, headers, text }
    }

    async fn send(self, api: &Api, method: Method, path: &str, body: Option<Value>) -> Answer {
        let request = self.request(api, method, path);
        answer(match body {
            Some(body) => request.json(&body),
            None => request,
        })
        .await
    }
}

/// Things by their kinds, and the text that an answer is compared by: without their names, which it may repeat.
#[derive(Default)]
struct Cast(BTreeMap<&'static str, String>);

impl Cast {
    /// What a text names, made anew.
    async fn for_text(api: &Api, text: &str, whose: Whose) -> Self {
        let mut cast = Self::default();
        for kind in KINDS {
            if text.contains(&format!("{{{kind}}}")) {
                cast.0.insert(kind, things::make(api, kind, whose).await);
            }
        }
        if text.contains("{log}") {
            cast.0.insert("log", things::log_of(api, whose));
        }
        if text.contains("{tenant}") {
            cast.0.insert("tenant", things::tenant_of(whose));
        }
        if !cast.0.is_empty() && whose != Whose::Nobodys {
            api.catch_up().await;
        }
        cast
    }

    fn put_into(&self, text: &str) -> String {
        let fresh = Uuid::now_v7().to_string();
        let text = text.replace("{fresh}", &fresh);
        self.0.iter().fold(text, |text, (kind, name)| text.replace(&format!("{{{kind}}}"), name))
    }

    /// Without what it only repeats.
    fn strip_from(&self, answer: &Answer) -> String {
        let names = self.0.iter().filter(|(kind, _)| **kind != "log");
        names.fold(answer.text.clone(), |text, (kind, name)| text.replace(name, kind))
    }
}

/// What no answer to somebody of ours may hold.
fn without_canary(what: &str, caller: Caller<'_>, text: &str) {
    if !matches!(caller, Caller::Platform(_)) {
        assert!(!text.to_lowercase().contains(CANARY), "{what} shows {} another's: {text}", caller.name());
    }
}

/// An operation's path with the kinds of things for what the document calls them.
fn with_kinds(path: &str) -> String {
    if path == "/devices/{uid}/credentials/{id}" {
        return "/devices/{credential}".to_owned();
    }
    let (mut segments, mut before) = (vec![], "");
    for segment in path.split('/') {
        segments.push(match (segment.starts_with('{'), before) {
            (true, "devices" | "telemetry") => "{device}",
            (true, "commands") => "{command}",
            (true, "command-batches") => "{batch}",
            (true, "command-types") => "{type}",
            (true, "alarms") => "{alarm}",
            (true, "alarm-rules") => "{rule}",
            (true, "sources") => "{source}",
            (true, "policies") => "{policy}",
            (true, "api-keys") => "{key}",
            (true, "users") => "{user}",
            (true, "webhooks") => "{webhook}",
            (true, "tenants") => things::OURS,
            // Nobody's: a caller's own is in the tests of sessions, of webhooks and of simulations.
            (true, "sessions" | "deliveries" | "simulations") => "00000000-0000-7000-8000-000000000000",
            (true, "tiers") => "premium",
            (true, "quarantine") => "1000000",
            (true, "projections") => "devices",
            (true, "audit" | "events") => "{log}",
            (true, "{log}") => "1",
            (true, "tile") => "0/000.p/1",
            (true, other) => panic!("nobody knows what is in {path} behind {other}"),
            (false, _) => segment,
        });
        before = segment;
    }
    segments.join("/")
}

/// What differs between two answers, apart from the names that they repeat.
fn compared(cast: &Cast, answer: &Answer) -> (u16, BTreeMap<String, String>, String) {
    let apart = ["date", "content-length", "ratelimit"];
    let headers = answer.headers.iter().filter(|(name, _)| !apart.contains(&name.as_str()));
    let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().expect("text").to_owned()));
    (answer.status.as_u16(), headers.collect(), cast.strip_from(answer))
}

#[tokio::test]
async fn every_operation_answers_every_caller_as_the_matrix_says() {
    let api = things::tenants().await;
    let mut rows = rows("REST");
    // Last what gives a thing of ours another's name: from then on we may see that name.
    rows.sort_by_key(|row| {
        let logs_out = row.operation.ends_with("/logout");
        (logs_out, row.cells.get(1).is_some_and(|cell| cell.starts_with('2')))
    });
    let keys = things::keys(&api).await;
    for row in rows {
        let (method, path) = row.operation.split_once(' ').expect("an operation");
        let method: Method = method.parse().expect("a method");
        let path = with_kinds(path);
        let text = format!("{path} {}", row.body);
        let named = KINDS.iter().chain(&["log"]).any(|kind| text.contains(&format!("{{{kind}}}")));
        assert_eq!(row.cells.len(), if named { 3 } else { 1 }, "{}", row.operation);
        for caller in Caller::all(&row, &keys) {
            let mut answers = vec![];
            for (whose, cell) in Whose::ALL.into_iter().zip(&row.cells) {
                let cast = Cast::for_text(&api, &text, whose).await;
                let body = cast.put_into(row.body);
                let body = (!body.is_empty()).then(|| serde_json::from_str(&body).expect("JSON"));
                let answered = caller.send(&api, method.clone(), &cast.put_into(&path), body).await;
                let expected = match caller {
                    caller if caller.may(&row) => cell,
                    Caller::Nobody => "401",
                    Caller::Key(_) | Caller::User(_) | Caller::Platform(_) => "403",
                };
                let what = format!("{} as {} on {whose:?}", row.operation, caller.name());
                assert_eq!(answered.status.as_str(), expected, "{what}: {}", answered.text);
                without_canary(&what, caller, &cast.strip_from(&answered));
                answers.push(compared(&cast, &answered));
            }
            if answers.len() == 3 && answers[1].0 >= 400 {
                assert_eq!(answers[1], answers[2], "{} tells {} what exists", row.operation, caller.name());
            }
        }
    }
    nothing_happened_to_them(&api).await;
}

#[tokio::test]
async fn every_field_answers_every_caller_as_the_matrix_says() {
    let api = things::tenants().await;
    let keys = things::keys(&api).await;
    for row in rows("GraphQL") {
        for caller in Caller::all(&row, &keys) {
            let mut answers = vec![];
            for (whose, cell) in Whose::ALL.into_iter().zip(&row.cells) {
                let cast = Cast::for_text(&api, row.body, whose).await;
                let question = json!({"query": cast.put_into(row.body)});
                let answered = caller.ask(&api, question).await;
                let what = format!("{} as {} on {whose:?}", row.operation, caller.name());
                let expected = match caller {
                    caller if caller.may(&row) => cell,
                    Caller::Nobody => "401",
                    // It may not even ask.
                    Caller::Key(_) => "403",
                    // Where nothing is found, there is nothing that could be refused.
                    _ if cell == &"null"
                        && !row.operation.starts_with("Query.")
                        && outer_may(&row, caller) =>
                    {
                        "null"
                    }
                    Caller::User(_) | Caller::Platform(_) => "forbidden",
                };
                assert_eq!(outcome(&answered), expected, "{what}: {}", answered.text);
                without_canary(&what, caller, &cast.strip_from(&answered));
                answers.push(compared(&cast, &answered));
            }
            if let [_, theirs, none] = &answers[..] {
                assert_eq!(theirs, none, "{} tells {} what exists", row.operation, caller.name());
            }
        }
    }
    nothing_happened_to_them(&api).await;
}

/// Whether a caller may ask for what a field is in.
fn outer_may(row: &Row, caller: Caller<'_>) -> bool {
    let outer = format!("Query.{}", row.operation.split('.').next().unwrap_or_default().to_lowercase());
    rows("GraphQL").iter().find(|row| row.operation == outer).is_some_and(|row| caller.may(row))
}

/// `data`, `null`, the code of an error, or the status where that is no answer to a question.
fn outcome(answered: &Answer) -> String {
    let answer = answered.json();
    if answered.status != reqwest::StatusCode::OK {
        return answered.status.as_str().to_owned();
    }
    if let Some(code) = answer["errors"][0]["extensions"]["code"].as_str() {
        return code.to_owned();
    }
    let first = answer["data"].as_object().and_then(|data| data.values().next());
    if first.is_none_or(Value::is_null) { "null".into() } else { "data".into() }
}

#[tokio::test]
async fn whatever_is_asked_for_another_tenants_is_answered_like_nothing() {
    let api = things::tenants().await;
    for probe in section("REST probes") {
        let path = probe.split_whitespace().last().expect("a path");
        both(&api, probe, path, async |text| {
            Caller::User(Role::Admin).send(&api, Method::GET, &text, None).await
        })
        .await;
    }
    for probe in section("GraphQL probes") {
        both(&api, probe, probe, async |text| {
            let question = json!({"query": text});
            Caller::User(Role::Admin).send(&api, Method::POST, "/graphql", Some(question)).await
        })
        .await;
    }
}

async fn both(api: &Api, probe: &str, text: &str, send: impl AsyncFn(String) -> Answer) {
    let mut answers = vec![];
    for whose in [Whose::Foreign, Whose::Nobodys] {
        let cast = Cast::for_text(api, text, whose).await;
        let answered = send(cast.put_into(text)).await;
        assert!(answered.status.as_u16() < 500, "{probe}: {}", answered.text);
        without_canary(probe, Caller::User(Role::Admin), &cast.strip_from(&answered));
        answers.push(compared(&cast, &answered));
    }
    assert_eq!(answers[0], answers[1], "{probe} tells what exists");
}

/// Nothing that ours did is on the other tenant's record.
async fn nothing_happened_to_them(api: &Api) {
    let ours: Vec<_> = Role::ALL.iter().map(|role| user_id(OURS, *role).to_string()).collect();
    let theirs = "SELECT count(*) FROM events JOIN logs USING (log_id)
        WHERE tenant = $1 AND metadata ->> 'actor' = ANY($2)";
    let done: i64 = sqlx::query_scalar(theirs)
        .bind(things::tenant_of(Whose::Foreign))
        .bind(ours)
        .fetch_one(&mut api.database.owner().await)
        .await
        .expect("a count");
    assert_eq!(done, 0);
}

#[test]
fn the_matrix_has_every_operation_with_its_action() {
    let document: Value = serde_json::from_str(&rest::docs::text(&rest::document())).expect("JSON");
    let mut operations = BTreeMap::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            let path = path.strip_prefix(rest::PREFIX).unwrap_or(path);
            let action = operation[ACTION].as_str().unwrap_or("-").to_owned();
            operations.insert(format!("{} {path}", method.to_uppercase()), action);
        }
    }
    let listed = rows("REST")
        .into_iter()
        .map(|row| (row.operation.clone(), row.action.map_or("-", Action::as_str).to_owned()));
    assert_eq!(listed.collect::<BTreeMap<_, _>>(), operations);
}

#[test]
fn the_matrix_has_every_field_that_asks_for_something() {
    let (mut of, mut missing) = ("", vec![]);
    let listed: Vec<_> = rows("GraphQL").into_iter().map(|row| row.operation).collect();
    let sdl = Schemas::new(false).sdl();
    for line in sdl.lines() {
        if let Some(name) = line.strip_prefix("type ") {
            of = name.trim_end_matches([' ', '{']);
        } else if !line.starts_with('\t') {
            of = "";
        }
        let Some(field) = line.strip_prefix('\t').filter(|_| !of.is_empty()) else { continue };
        let name: String = field.chars().take_while(char::is_ascii_alphanumeric).collect();
        let asks =
            ["Query", "Mutation", "Subscription"].contains(&of) || field[name.len()..].starts_with('(');
        let is_field = field[name.len()..].starts_with(['(', ':']) && !name.is_empty();
        if is_field && asks && !listed.contains(&format!("{of}.{name}")) {
            missing.push(format!("{of}.{name}"));
        }
    }
    assert_eq!(missing, Vec::<String>::new());
    assert!(sdl.contains("type Query {") && listed.contains(&"Query.devices".to_owned()));
}
