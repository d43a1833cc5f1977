//! What was known at an earlier moment: the answers that were given then.

use chrono::Utc;
use fleetlog_access::Role;
use fleetlog_aggregates::command::Input;
use fleetlog_event_log::Lane;
use fleetlog_projections::paging;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::commands::{acknowledged, happens, text};
use crate::support::Api;
use crate::support::api::{Answer, user_id};

/// The last event of a moment.
pub(crate) struct Moment {
    pub(crate) position: String,
    pub(crate) recorded_at: String,
}

/// The newest event of both logs.
pub(crate) async fn newest(api: &Api) -> Moment {
    let mut found = vec![];
    for lane in ["control", "telemetry"] {
        let page = api.get(&format!("/events?log={lane}&order=desc&limit=1")).await.json();
        found.extend(page["items"].as_array().expect("items").clone());
    }
    let event = found.iter().max_by_key(|event| text(event, "recorded_at")).expect("an event");
    let position = format!("{}:{}", event["log_id"], event["position"]);
    Moment { position, recorded_at: text(event, "recorded_at").to_owned() }
}

fn at(path: &str, as_of: &str) -> String {
    format!("{path}{}as_of={as_of}", if path.contains('?') { '&' } else { '?' })
}

/// All pages of an answer, without what an answer as of a moment cannot say: cursors, ids of requests, repeats.
async fn told(api: &Api, path: &str, as_of: Option<&str>) -> Vec<Value> {
    let path = as_of.map_or_else(|| path.to_owned(), |as_of| at(path, as_of));
    let (mut pages, mut cursor) = (vec![], String::new());
    loop {
        let answer = api.get(&format!("{path}{cursor}")).await;
        let dated = answer.header("as-of").to_owned();
        assert_eq!(dated.is_empty(), as_of.is_none() || answer.status != StatusCode::OK, "{path}: {dated}");
        let mut page = answer.json();
        let next = page["next_cursor"].take();
        if let Some(fields) = page.as_object_mut() {
            for field in ["request_id", "duplicates"] {
                fields.remove(field);
            }
        }
        for item in page["items"].as_array_mut().into_iter().flatten() {
            item.as_object_mut().expect("an item").remove("duplicates");
        }
        pages.push(page);
        let Some(next) = next.as_str() else { return pages };
        cursor = format!("&cursor={next}");
    }
}

/// Lists whose filters and orders mean what was known then.
const LISTS: [&str; 8] = [
    "/devices?limit=2&count=true",
    "/devices?limit=1&sort=-last_seen_at",
    "/devices?limit=1&status=online&count=true",
    "/devices?status=decommissioned",
    "/devices?q=pump&count=true",
    "/commands?limit=1&count=true",
    "/commands?limit=1&status=sent",
    "/devices/dev-01/commands?limit=1&status=requested",
];

pub(crate) async fn sent(api: &Api, cmd: &str) -> String {
    let written = api.send(Method::POST, "/devices/dev-01/commands", json!({"cmd": cmd})).await;
    assert_eq!(written.status, StatusCode::ACCEPTED, "{}", written.text);
    text(&written.json(), "cmd_id").to_owned()
}

pub(crate) async fn writes(api: &Api, method: Method, path: &str, body: Value) {
    let written = api.send(method, path, body).await;
    assert!(written.status.is_success(), "{}", written.text);
}

/// A history step by step: what happens at each, and the paths of the things that there are then.
async fn step(api: &Api, nth: usize, commands: &mut Vec<String>) {
    match nth {
        0 => drop(api.publish("dev-01", [json!({"t": 1, "ts": "2026-03-01T12:00:00Z"})]).await),
        1 => {
            writes(api, Method::POST, "/devices", json!({"uid": "dev-02", "labels": {"site": "a"}})).await;
        }
        2 => commands.push(sent(api, "ping").await),
        3 => happens(api, &commands[0], Input::MarkSent { attempt: 1, at: Utc::now() }).await,
        4 => {
            // The last reading by the device's clock is not the last to arrive.
            let readings = [
                json!({"t": 3, "ts": "2026-03-01T14:00:00Z"}),
                json!({"t": 2, "ts": "2026-03-01T13:00:00Z"}),
            ];
            api.publish("dev-01", readings).await;
        }
        5 => writes(api, Method::PATCH, "/devices/dev-01", json!({"name": "Pump Ölberg"})).await,
        6 => commands.push(sent(api, "reboot").await),
        7 => happens(api, &commands[0], acknowledged()).await,
        8 => writes(api, Method::PATCH, "/devices/dev-02", json!({"labels": {"site": "b"}})).await,
        9 => drop(api.publish("dev-03", [json!({"t": 5})]).await),
        10 => {
            let path = format!("/commands/{}/cancel", commands[1]);
            writes(api, Method::POST, &path, json!({"reason": "not needed"})).await;
        }
        11 => writes(api, Method::DELETE, "/devices/dev-01", Value::Null).await,
        _ => writes(api, Method::POST, "/devices", json!({"uid": "dev-01", "name": "again"})).await,
    }
}

#[tokio::test]
async fn an_answer_as_of_a_moment_is_the_answer_that_was_given_then() {
    let api = Api::start().await;
    api.ship_types().await;
    let (mut commands, mut remembered) = (vec![], vec![]);
    for nth in 0..13 {
        step(&api, nth, &mut commands).await;
        api.catch_up().await;
        let devices = (1..=4).map(|n| format!("/devices/dev-{n:02}"));
        let singles = devices.chain(commands.iter().map(|id| format!("/commands/{id}")));
        // The read model's own test has many more lists.
        let lists = LISTS.iter().skip(nth % 3).step_by(3).map(|path| (*path).to_owned());
        let mut answers = vec![];
        for path in singles.chain(lists) {
            let live = told(&api, &path, None).await;
            answers.push((path, live));
        }
        remembered.push((newest(&api).await, answers));
    }
    for (nth, (moment, answers)) in remembered.iter().enumerate() {
        let as_of = if nth % 4 == 0 { &moment.position } else { &moment.recorded_at };
        for (path, live) in answers {
            assert_eq!(told(&api, path, Some(as_of)).await, *live, "step {nth}: {path} as of {as_of}");
        }
    }
    // Both ways to name a moment mean the same.
    for (moment, answers) in &remembered {
        let path = &answers[0].0;
        let [by_time, by_position] = [&moment.recorded_at, &moment.position].map(|as_of| at(path, as_of));
        let (by_time, by_position) = (api.get(&by_time).await, api.get(&by_position).await);
        assert_eq!(
            (&by_time.text, by_time.header("as-of")),
            (&by_position.text, by_position.header("as-of"))
        );
    }
}

#[tokio::test]
async fn an_answer_says_up_to_which_positions_it_speaks() {
    let api = Api::start().await;
    api.ship_types().await;
    api.publish("dev-01", [json!({"t": 1}), json!({"t": 2})]).await;
    let [control, telemetry] = [Lane::Control, Lane::Telemetry].map(|lane| api.log_of("t0", lane));
    let control_head = api.get("/events?order=desc&limit=1").await.json()["items"][0]["position"].clone();
    let device = api.get(&format!("/devices/dev-01?as_of={telemetry}:1")).await;
    assert_eq!(device.header("as-of"), format!("{control}:{control_head}, {telemetry}:1"));
    // Both readings were recorded at one moment, but a position says which.
    assert_eq!(device.json()["messages"], 1);
    assert_eq!(device.json()["duplicates"], Value::Null);
    let list = api.get(&format!("/commands?as_of={control}:{control_head}")).await;
    assert_eq!(list.header("as-of"), format!("{control}:{control_head}"));
    assert_eq!(api.get("/devices/dev-01").await.header("as-of"), "");
}

#[tokio::test]
async fn before_its_first_event_a_thing_is_not_there() {
    let api = Api::start().await;
    api.ship_types().await;
    let control = api.log_of("t0", Lane::Control);
    let before = newest(&api).await.position;
    api.publish("dev-01", [json!({"t": 1})]).await;
    let id = sent(&api, "ping").await;
    for moment in ["2020-01-01T00:00:00Z", &format!("{control}:0"), &before] {
        for path in ["/devices/dev-01", "/devices/dev-01/commands", &format!("/commands/{id}")] {
            let unknown =
                path.replace("dev-01", "nobody").replace(&id, "019a0000-0000-7000-8000-000000000001");
            let (then, unknown) = (api.get(&at(path, moment)).await, api.get(&unknown).await);
            assert_eq!(then.refusal(), "404 not_found", "{path} as of {moment}");
            assert_eq!(then.json()["detail"], unknown.json()["detail"], "{path}");
        }
        for path in ["/devices?count=true", "/commands?count=true"] {
            let list = api.get(&at(path, moment)).await.json();
            assert_eq!((&list["items"], &list["total"]), (&json!([]), &json!(0)), "{path} as of {moment}");
        }
    }
}

fn reason(answer: &Answer) -> String {
    let problem = answer.json();
    let error = &problem["errors"][0];
    let told = [&error["field"], &error["reason"]].map(|text| text.as_str().unwrap_or_default().to_owned());
    format!("{} {}", answer.status.as_u16(), told.join(": "))
}

#[tokio::test]
async fn a_moment_that_nobody_can_know_is_refused_with_what_to_write_instead() {
    let api = Api::start().await;
    api.publish("dev-01", [json!({"t": 1})]).await;
    api.catch_up().await;
    let telemetry = api.log_of("t0", Lane::Telemetry);
    let forms = "422 as_of: expected a time such as 2026-03-01T12:00:00Z, or a position such as 1:42";
    let paths = [
        "/devices",
        "/devices/dev-01",
        "/devices/dev-01/commands",
        "/commands",
        "/commands/019a0000-0000-7000-8000-000000000001",
    ];
    for path in paths {
        let refused = async |as_of: &str| reason(&api.get(&at(path, as_of)).await);
        for bad in ["now", "", "42", "1:x", "1:-1", "x:1", "%2B1:5", "1:05", "01:5", "2026-03-01"] {
            assert_eq!(refused(bad).await, forms, "{path} as of {bad}");
        }
        assert_eq!(
            refused("2999-01-01T00:00:00Z").await,
            "422 as_of: expected a time that has passed: what comes until then is not known",
            "{path}"
        );
        assert_eq!(
            refused(&format!("{telemetry}:2")).await,
            "422 as_of: expected a position up to 1, where the log ends now",
            "{path}"
        );
        let unknown = api.get(&at(path, "999999:1")).await;
        assert_eq!(unknown.refusal(), "404 not_found", "{path}");
        assert_eq!(unknown.json()["detail"], "there is no such log", "{path}");
    }
    let counted = api.get("/commands?status=sent&count=true&as_of=1:1").await;
    assert_eq!(reason(&counted), "422 count: with as_of, the commands of one status are not counted");
}

#[tokio::test]
async fn a_cursor_goes_on_at_the_moment_of_its_list_only() {
    let api = Api::start().await;
    api.ship_types().await;
    for uid in ["dev-01", "dev-02", "dev-03"] {
        api.publish(uid, [json!({"t": 1})]).await;
    }
    let Moment { position, recorded_at } = newest(&api).await;
    api.publish("dev-00", [json!({"t": 1})]).await;
    api.catch_up().await;
    let next = async |path: &str| {
        let page = api.get(path).await.json();
        page["next_cursor"].as_str().unwrap_or_else(|| panic!("{path}: {page}")).to_owned()
    };
    let (then, now) = (next(&at("/devices?limit=1", &position)).await, next("/devices?limit=1").await);
    let other =
        "422 cursor: the cursor belongs to a list as of another moment: go on as of the moment of that list";
    let by_time = at(&format!("/devices?limit=1&cursor={then}"), &recorded_at);
    let as_before = at(&format!("/devices?limit=1&cursor={now}"), &position);
    for path in [format!("/devices?cursor={then}"), by_time, as_before] {
        assert_eq!(reason(&api.get(&path).await), other, "{path}");
    }
    let forged = at("/devices?cursor=1nonsense", &position);
    assert_eq!(
        reason(&api.get(&forged).await),
        "422 cursor: the cursor is not one that this service has given out"
    );
    let sorted = at(&format!("/devices?sort=-uid&cursor={then}"), &position);
    assert_eq!(
        reason(&api.get(&sorted).await),
        "422 cursor: the cursor belongs to a list with another sort order"
    );
    let rest = api.get(&at(&format!("/devices?cursor={then}"), &position)).await.json();
    let uids: Vec<_> = rest["items"].as_array().expect("items").iter().map(|item| &item["uid"]).collect();
    assert_eq!(uids, ["dev-02", "dev-03"], "what came later is not in the list");
}

#[tokio::test]
async fn all_pages_of_a_list_speak_of_the_positions_of_the_first_one() {
    let api = Api::start().await;
    for uid in ["dev-01", "dev-02", "dev-03"] {
        api.publish(uid, [json!({"t": 1})]).await;
    }
    let moment = newest(&api).await.recorded_at;
    let first = api.get(&at("/devices?limit=1", &moment)).await;
    // As if the last event had not been visible yet when the first page was read.
    let cursor = first.json()["next_cursor"].clone();
    let mut place: Value = paging::decode(cursor.as_str().expect("a cursor")).expect("ours");
    place["telemetry"] = json!(1);
    let next = api.get(&at(&format!("/devices?cursor={}", paging::encode(&place)), &moment)).await;
    let telemetry = api.log_of("t0", Lane::Telemetry);
    assert!(first.header("as-of").ends_with(&format!(", {telemetry}:3")), "{}", first.header("as-of"));
    assert!(next.header("as-of").ends_with(&format!(", {telemetry}:1")), "{}", next.header("as-of"));
    let messages: Vec<_> =
        next.json()["items"].as_array().expect("items").iter().map(|item| item["messages"].clone()).collect();
    assert_eq!(messages, [0, 0]);
}

/// Puts the control log's events an hour back.
async fn an_hour_ago(api: &Api) {
    let mut owner = api.database.owner().await;
    let sql = "ALTER TABLE control_events DISABLE TRIGGER USER;
               UPDATE control_events SET recorded_at = recorded_at - interval '1 hour'";
    sqlx::raw_sql(sql).execute(&mut owner).await.expect("put back");
}

#[tokio::test]
async fn a_cursor_with_positions_that_its_moment_does_not_have_is_refused() {
    let api = Api::start().await;
    api.ship_types().await;
    for uid in ["dev-01", "dev-02", "dev-03"] {
        api.publish(uid, [json!({"t": 1})]).await;
    }
    sent(&api, "ping").await;
    sent(&api, "reboot").await;
    let Moment { position, recorded_at } = newest(&api).await;
    api.catch_up().await;
    let other =
        "422 cursor: the cursor names positions that its moment does not have: begin again without a cursor";
    for path in ["/devices", "/commands", "/devices/dev-01/commands"] {
        for moment in [&position, &recorded_at] {
            let page = api.get(&at(&format!("{path}?limit=1"), moment)).await.json();
            let cursor = page["next_cursor"].as_str().unwrap_or_else(|| panic!("{path}: {page}"));
            let place: Value = paging::decode(cursor).expect("ours");
            for (field, forged) in [
                ("control", -1),
                ("telemetry", i64::MIN),
                ("control", i64::MAX),
                ("telemetry", place["telemetry"].as_i64().expect("a position") + 1),
            ] {
                let mut place = place.clone();
                place[field] = json!(forged);
                let path = at(&format!("{path}?cursor={}", paging::encode(&place)), moment);
                assert_eq!(reason(&api.get(&path).await), other, "{path}: {place}");
            }
        }
    }
    // A moment that is named by a position has this position.
    let page = api.get(&at("/devices?limit=1", &position)).await.json();
    let mut place: Value = paging::decode(page["next_cursor"].as_str().expect("a cursor")).expect("ours");
    place["control"] = json!(1);
    let mixed = api.get(&at(&format!("/devices?cursor={}", paging::encode(&place)), &position)).await;
    assert_eq!(reason(&mixed), other);
    // What is visible for long cannot have been invisible to the first page.
    an_hour_ago(&api).await;
    let page = api.get(&at("/commands?limit=1", &recorded_at)).await.json();
    let mut place: Value = paging::decode(page["next_cursor"].as_str().expect("a cursor")).expect("ours");
    place["control"] = json!(place["control"].as_i64().expect("a position") - 1);
    let early = api.get(&at(&format!("/commands?cursor={}", paging::encode(&place)), &recorded_at)).await;
    assert_eq!(reason(&early), other);
}

#[tokio::test]
async fn another_tenants_log_is_no_log_and_its_things_are_not_there() {
    let api = Api::start().await;
    api.add_tenant("t1").await;
    api.publish("dev-01", [json!({"t": 1})]).await;
    api.publish_of("t1", "secret", [json!({"t": 1}), json!({"t": 2})]).await;
    api.catch_up().await;
    for lane in [Lane::Control, Lane::Telemetry] {
        for path in ["/devices", "/devices/secret", "/devices/dev-01", "/commands"] {
            let answer = api.get(&at(path, &format!("{}:1", api.log_of("t1", lane)))).await;
            assert_eq!(answer.json()["detail"], "there is no such log", "{path}");
        }
    }
    let moment = newest(&api).await.recorded_at;
    assert_eq!(api.get(&at("/devices/secret", &moment)).await.refusal(), "404 not_found");
    let list = api.get(&at("/devices?count=true", &moment)).await.json();
    assert_eq!((list["items"].as_array().map(Vec::len), &list["total"]), (Some(1), &json!(1)));
}

/// Who may see only devices in Hanoi.
pub(crate) fn only_hanoi() -> Value {
    let source = format!(
        r#"forbid (principal == User::"{}", action, resource is Device)
           unless {{ resource.hasTag("site") && resource.getTag("site") == "hanoi" }};"#,
        user_id("t0", Role::Auditor)
    );
    json!({ "source": source })
}

#[tokio::test]
async fn who_may_not_see_a_device_now_does_not_see_it_as_it_was() {
    let api = Api::start().await;
    api.ship_types().await;
    // One leaves the caller's sight, and the other comes into it.
    for (uid, site) in [("leaves", "hanoi"), ("comes", "hue")] {
        writes(&api, Method::POST, "/devices", json!({"uid": uid, "labels": {"site": site}})).await;
        writes(&api, Method::POST, &format!("/devices/{uid}/commands"), json!({"cmd": "ping"})).await;
    }
    let then = newest(&api).await.position;
    for (uid, site) in [("leaves", "hue"), ("comes", "hanoi")] {
        writes(&api, Method::PATCH, &format!("/devices/{uid}"), json!({"labels": {"site": site}})).await;
    }
    writes(&api, Method::PUT, "/policies/only-hanoi", only_hanoi()).await;
    api.catch_up().await;
    let get = async |path: &str| api.send_as(Role::Auditor, Method::GET, &at(path, &then), None).await;
    for (uid, refusal) in [("leaves", "403 forbidden"), ("comes", "200 ")] {
        for path in [format!("/devices/{uid}"), format!("/devices/{uid}/commands")] {
            assert_eq!(get(&path).await.refusal(), refusal, "{path}");
        }
    }
    assert_eq!(get("/devices/comes").await.json()["labels"], json!({"site": "hue"}), "as it was");
    for (path, field) in [("/devices?count=true", "uid"), ("/commands?count=true", "device_uid")] {
        let list = get(path).await.json();
        let seen: Vec<_> = list["items"].as_array().expect("items").iter().map(|item| &item[field]).collect();
        assert_eq!(seen, ["comes"], "{path}");
        assert_eq!(list["total"], Value::Null, "{path}");
    }
}

#[tokio::test]
async fn a_command_of_a_status_is_found_however_many_others_there_are() {
    let api = Api::start().await;
    api.ship_types().await;
    api.publish("dev-01", []).await;
    let first = sent(&api, "ping").await;
    happens(&api, &first, Input::MarkSent { attempt: 1, at: Utc::now() }).await;
    for _ in 0..30 {
        sent(&api, "ping").await;
    }
    let then = newest(&api).await.position;
    happens(&api, &first, acknowledged()).await;
    api.catch_up().await;
    let list = api.get(&at("/commands?status=sent&limit=3", &then)).await.json();
    let ids: Vec<_> = list["items"].as_array().expect("items").iter().map(|item| &item["cmd_id"]).collect();
    assert_eq!((ids, &list["has_more"]), (vec![&json!(first)], &json!(false)));
    let requested = told(&api, "/commands?status=requested&limit=7", Some(&then)).await;
    let items: usize = requested.iter().filter_map(|page| Some(page["items"].as_array()?.len())).sum();
    assert_eq!((requested.len(), items), (5, 30));
}

#[tokio::test]
async fn readings_that_are_no_longer_kept_are_not_guessed() {
    let api = Api::start().await;
    api.publish("dev-01", [json!({"t": 1}), json!({"t": 2})]).await;
    let then = newest(&api).await.position;
    // As after the removal of a part of the log.
    let mut owner = api.database.owner().await;
    sqlx::raw_sql(
        "DO $$ DECLARE part regclass; BEGIN
             FOR part IN SELECT inhrelid FROM pg_inherits WHERE inhparent = 'telemetry_events'::regclass LOOP
                 EXECUTE format('ALTER TABLE %s DISABLE TRIGGER USER', part);
                 EXECUTE format('DELETE FROM %s WHERE position = 1', part);
             END LOOP;
             INSERT INTO archived_ranges (log_id, first_position, last_position, week, first_recorded_at, last_recorded_at)
             SELECT log_id, 1, 1, date_trunc('week', now()), now(), now() FROM logs
             WHERE tenant = 't0' AND lane = 'telemetry';
             UPDATE logs SET archived_until = 1 WHERE tenant = 't0' AND lane = 'telemetry';
         END $$",
    )
    .execute(&mut owner)
    .await
    .expect("removed");
    let removed = "readings before position 2 are no longer kept, so how much devices had sent by an earlier moment is \
                   not known: ask for devices as they are now";
    for path in ["/devices", "/devices/dev-01"] {
        let answer = api.get(&at(path, &then)).await;
        assert_eq!(
            (answer.refusal().as_str(), text(&answer.json(), "detail")),
            ("410 removed", removed),
            "{path}"
        );
    }
    let telemetry = api.log_of("t0", Lane::Telemetry);
    let answer = api.get(&at("/devices", &format!("{telemetry}:1"))).await;
    assert_eq!(answer.refusal(), "410 removed");
    assert_eq!(api.get(&at("/commands", &then)).await.status, StatusCode::OK, "commands need no readings");
}
