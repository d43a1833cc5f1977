//! Who reads over what was removed is told which positions and times that was, and where they are: never a silent hole.

use fleetlog_access::Role;
use fleetlog_archive::restore::restore;
use fleetlog_archive::{Archiver, Place};
use fleetlog_event_log::control::{Actor, Metadata};
use fleetlog_event_log::{Lane, LogId};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::Executor;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::{keep, store, week};
use crate::support::api::answer;
use crate::support::graphql_ws::Socket;
use crate::support::{Api, Stream, eventually};

/// An API with three weeks of 30 readings of tenant `t0`, of which the first two were removed.
struct Removed {
    api: Api,
    directory: TempDir,
    telemetry: LogId,
}

impl Removed {
    async fn with(place: impl FnOnce(&TempDir) -> Place) -> Self {
        let (api, directory) = (Api::start().await, tempfile::tempdir().expect("a directory"));
        let telemetry = api.log_of("t0", Lane::Telemetry);
        let mut owner = api.database.owner().await;
        // The devices `dev-00` to `dev-02` are not on the control log: nobody knows since when they are there.
        store(&mut owner, telemetry, [9, 8, 0], 30).await;
        keep(&mut owner, "t0", Some(30)).await;
        api.log.heads().refresh(api.log.pool()).await.expect("the heads");
        api.catch_up().await;
        api.prove().await;
        let archiver = Archiver::new(api.log.clone(), place(&directory));
        assert_eq!(archiver.remove_due(&CancellationToken::new()).await.expect("removed").len(), 2);
        // From now on the tenant keeps everything, so that nothing is hidden.
        keep(&mut owner, "t0", None).await;
        api.log.terms().refresh(api.log.pool()).await.expect("the terms");
        Self { api, directory, telemetry }
    }

    async fn archived() -> Self {
        Self::with(|directory| Place::Directory(directory.path().to_owned())).await
    }

    /// All pages of a list, and the name of the parameter that goes on.
    async fn pages(&self, path: &str, parameter: &str) -> Vec<Value> {
        let (mut pages, mut next) = (vec![], String::new());
        loop {
            let page = self.api.get(&format!("{path}{next}")).await.json();
            let cursor = page["next_cursor"].as_str().map(str::to_owned);
            pages.push(page);
            let Some(cursor) = cursor else { return pages };
            next = format!("&{parameter}={cursor}");
        }
    }

    /// The first positions of the ranges that an answer names.
    async fn told(&self, path: &str) -> Vec<i64> {
        let pages = self.pages(path, if path.starts_with("/events") { "after" } else { "cursor" }).await;
        pages.iter().flat_map(|page| ranges(page).into_iter().map(|(first, _)| first)).collect()
    }
}

/// The ranges that a page passes over.
fn ranges(page: &Value) -> Vec<(i64, i64)> {
    let archived = page["archived"].as_array().map_or(&[][..], Vec::as_slice).iter();
    let number = |range: &Value, field: &str| range[field].as_i64().expect("a position");
    archived.map(|range| (number(range, "first_position"), number(range, "last_position"))).collect()
}

#[tokio::test]
async fn pages_and_the_ranges_they_pass_over_are_every_position_once_in_both_directions() {
    let removed = Removed::archived().await;
    let restored = removed.api.log.all_archived().await.expect("read").swap_remove(0);
    for is_restored in [false, true] {
        if is_restored {
            // The hole is in the middle now.
            let (log, keys) =
                (&removed.api.log, fleetlog_proof::read::keys(&removed.api.log).await.expect("keys"));
            let by = Metadata::by(Actor::Console);
            restore(log, &keys, None, restored.clone(), 30, by).await.expect("restored");
        }
        for (order, limit) in [("asc", 7), ("desc", 7), ("asc", 30), ("desc", 1000)] {
            let path = format!("/events?log=telemetry&order={order}&limit={limit}");
            let mut told = vec![];
            for page in removed.pages(&path, "after").await {
                let items = page["items"].as_array().expect("items").iter();
                let mut of_page: Vec<i64> =
                    items.map(|item| item["position"].as_i64().expect("one")).collect();
                of_page.extend(ranges(&page).into_iter().flat_map(|(first, last)| first..=last));
                of_page.sort_unstable();
                if order == "desc" {
                    of_page.reverse();
                }
                told.extend(of_page);
            }
            if order == "desc" {
                told.reverse();
            }
            assert_eq!(told, (1..=90).collect::<Vec<_>>(), "{order} {limit} {is_restored}");
        }
    }
}

#[tokio::test]
async fn an_answer_names_only_ranges_that_may_hold_what_was_asked_for() {
    let removed = Removed::archived().await;
    let api = &removed.api;
    api.publish("new-01", [json!({"t": 1})]).await;
    // In between the two weeks that were removed, and after both.
    let [between, after] = [8, 7].map(|weeks| week(weeks).format("%Y-%m-%dT%H:%M:%SZ").to_string());
    for (path, told) in [
        ("/events?log=telemetry".to_owned(), &[1, 31][..]),
        (format!("/events?log=telemetry&from={between}"), &[31]),
        (format!("/events?log=telemetry&to={between}"), &[1]),
        (format!("/events?log=telemetry&from={after}"), &[]),
        ("/events?log=telemetry&after=10".to_owned(), &[1, 31]),
        ("/events?log=telemetry&after=30".to_owned(), &[31]),
        ("/events?log=telemetry&after=60".to_owned(), &[]),
        ("/events?log=telemetry&aggregate=dev-01".to_owned(), &[1, 31]),
        ("/events?log=telemetry&aggregate=new-01".to_owned(), &[]),
        ("/events?log=telemetry&type=DeviceRegistered".to_owned(), &[]),
        ("/events?log=telemetry&actor=ingest".to_owned(), &[]),
        ("/events?log=control".to_owned(), &[]),
        ("/telemetry/dev-01?limit=3".to_owned(), &[31, 1]),
        ("/telemetry/dev-01?limit=3&order=asc".to_owned(), &[1, 31]),
        (format!("/telemetry/dev-01?from={between}"), &[31]),
        (format!("/telemetry/dev-01?from={after}&limit=3"), &[]),
        ("/telemetry/new-01?limit=3".to_owned(), &[]),
    ] {
        assert_eq!(removed.told(&path).await, told, "{path}");
    }
    let newest = api.get("/telemetry/dev-01?limit=3").await.json();
    assert!(newest["has_more"] == true && newest["archived"].is_null(), "not before the page reaches it");
    let logs = api.get("/logs").await.json();
    let begins: Vec<_> =
        logs["items"].as_array().expect("logs").iter().map(|log| log["begins"].clone()).collect();
    assert_eq!(begins, [1, 61]);

    // Pages that end before a range do not name it: of all pages, one does.
    let keys = fleetlog_proof::read::keys(&api.log).await.expect("keys");
    let first = api.log.all_archived().await.expect("read").swap_remove(0);
    restore(&api.log, &keys, None, first, 30, Metadata::by(Actor::Console)).await.expect("restored");
    for order in ["asc", "desc"] {
        assert_eq!(removed.told(&format!("/telemetry/dev-01?limit=3&order={order}")).await, [31], "{order}");
    }
}

#[tokio::test]
async fn the_same_ranges_are_told_in_graphql() {
    let removed = Removed::archived().await;
    let api = &removed.api;
    api.publish("dev-01", [json!({"t": 1})]).await;
    let ask = "{ device(uid: \"dev-01\") { telemetry(first: 50) { archived { firstPosition lastPosition state file } } } }";
    let told = async || {
        let answer = api.ask(ask).await;
        answer["data"]["device"]["telemetry"]["archived"].clone()
    };
    api.catch_up().await;
    assert_eq!(told().await, json!([]), "it was registered after they were recorded");
    api.database
        .owner()
        .await
        .execute(
            "ALTER TABLE control_events DISABLE TRIGGER USER;
             UPDATE control_events SET recorded_at = now() - interval '1 year' WHERE aggregate_id = 't0/dev-01';",
        )
        .await
        .expect("registered long ago");
    let told = told().await;
    let files = [told[0]["file"].as_str().expect("a file"), told[1]["file"].as_str().expect("a file")];
    assert_eq!(
        told,
        json!([
            {"firstPosition": 31, "lastPosition": 60, "state": "archived", "file": files[0]},
            {"firstPosition": 1, "lastPosition": 30, "state": "archived", "file": files[1]},
        ])
    );
    let begins = api.ask("{ logs { begins } }").await;
    assert_eq!(begins["data"]["logs"], json!([{"begins": 1}, {"begins": 61}]));
}

#[tokio::test]
async fn whoever_follows_is_told_what_was_removed_before_what_comes_after_it_by_every_door() {
    let removed = Removed::archived().await;
    let api = &removed.api;
    let (mut stream, mut positions, mut told) =
        (Stream::of(api, Role::Viewer, "log=telemetry&from=start").await, vec![], vec![]);
    while positions.len() < 30 {
        let message = stream.next().await.expect("a message");
        match &*message.name {
            "resync" => told.extend(ranges(&message.data)),
            "" => positions.push(message.data["position"].as_i64().expect("a position")),
            other => panic!("{other}: {}", message.data),
        }
    }
    assert_eq!((told, positions), (vec![(1, 30), (31, 60)], (61..=90).collect()));

    let query = "subscription($after: String) { telemetry(from: \"start\", after: $after) {
        at reading { position } removed { firstPosition lastPosition state } } }";
    let mut socket = Socket::of(api, Role::Viewer).await;
    let begin = socket.follow("1", query, json!({})).await;
    assert_eq!(begin["removed"], Value::Null);
    let range = |first, last| json!({"firstPosition": first, "lastPosition": last, "state": "archived"});
    let (mut told, mut at) = (vec![], Value::Null);
    while told.len() < 2 {
        let message = socket.data("1").await;
        assert_eq!(message["reading"], Value::Null, "what was removed comes first");
        told.extend(message["removed"].as_array().expect("ranges").clone());
        at = message["at"].clone();
    }
    assert_eq!(told, [range(1, 30), range(31, 60)]);
    assert_eq!(socket.data("1").await["reading"]["position"], 61);
    // Whoever was told goes on after it, and is not told again.
    let mut socket = Socket::of(api, Role::Viewer).await;
    socket.follow("1", query, json!({"after": at})).await;
    assert_eq!(socket.data("1").await["reading"]["position"], 61);
}

#[tokio::test]
async fn whoever_follows_minutes_is_told_what_was_removed_by_every_door() {
    let removed = Removed::archived().await;
    let api = &removed.api;
    let query = "subscription { windowChanged(deviceUid: \"dev-01\", from: \"start\") {
        at changed { metric } removed { firstPosition } } }";
    let mut socket = Socket::of(api, Role::Viewer).await;
    socket.follow("1", query, json!({})).await;
    let mut first = vec![];
    while first.is_empty() {
        let message = socket.data("1").await;
        let windows = message["changed"].as_array().expect("a list");
        assert!(
            windows.is_empty() || message["removed"].is_array(),
            "what was removed comes first: {message}"
        );
        first.extend(
            message["removed"].as_array().into_iter().flatten().map(|of| of["firstPosition"].clone()),
        );
    }
    assert_eq!(first, [1, 31]);
    let mut stream = Stream::of(api, Role::Viewer, "windows=1m&device=dev-01&from=start").await;
    let message = stream.next().await.expect("a message");
    assert_eq!((&*message.name, ranges(&message.data)), ("resync", vec![(1, 30), (31, 60)]));
    assert_eq!(stream.next().await.expect("a message").name, "", "the minutes come after it");
}

#[tokio::test]
async fn an_event_in_the_archive_is_gone_and_the_answer_says_where_it_is_to_those_who_may_know() {
    let removed = Removed::archived().await;
    let Removed { api, directory, telemetry } = &removed;
    let path = format!("/events/{telemetry}");
    assert_eq!(api.get(&format!("{path}/61")).await.json()["position"], 61);
    assert_eq!(api.get(&format!("{path}/91")).await.refusal(), "404 not_found");
    for path in [format!("{path}/5"), format!("/commands?as_of={telemetry}:5")] {
        let answer = api.get(&path).await;
        assert_eq!(answer.refusal(), "410 archived", "{path}");
        let detail = answer.json()["detail"].as_str().expect("text").to_owned();
        let restore = format!("`fleetlog archive restore --log-id {telemetry} --from 1 --to 30`");
        assert!(
            detail.contains(&restore) && detail.contains(&format!("file log-{telemetry}/2026w")),
            "{detail}"
        );
        assert!(!detail.contains(&directory.path().display().to_string()), "{detail}");
    }
    // Of the tenants only the one that runs the platform may know where the files are, and of its people the administrators.
    let first = async |role: Role| {
        let page = api.send_as(role, Method::GET, "/events?log=telemetry&limit=1", None).await.json();
        page["archived"][0].clone()
    };
    let [admin, auditor] = [first(Role::Admin).await, first(Role::Auditor).await];
    let file = admin["file"].as_str().expect("a file");
    assert_eq!(admin["location"], directory.path().join(file).display().to_string());
    assert_eq!((&auditor["file"], &auditor["location"]), (&admin["file"], &Value::Null));
    api.add_tenant("t1").await;
    let other = api.request(Method::GET, &format!("{path}/5")).bearer_auth(api.token("t1", Role::Admin));
    assert_eq!(answer(other).await.refusal(), "404 not_found");
}

#[tokio::test]
async fn what_was_removed_without_a_copy_is_told_as_such() {
    let removed = Removed::with(|_| Place::Nowhere).await;
    let page = removed.api.get("/events?log=telemetry").await.json();
    let told = &page["archived"][0];
    assert_eq!((&told["state"], &told["file"]), (&json!("removed"), &Value::Null));
    let answer = removed.api.get(&format!("/events/{}/5", removed.telemetry)).await;
    assert_eq!(answer.refusal(), "410 removed");
    assert!(answer.text.contains("no copy was kept"), "{}", answer.text);
}

#[tokio::test]
async fn a_node_tells_what_another_one_has_removed() {
    let removed = Removed::archived().await;
    let (api, telemetry) = (&removed.api, removed.telemetry);
    let other = api.another_node().await;
    // What it knew when it began is not what it is asked for.
    let mut owner = api.database.owner().await;
    store(&mut owner, telemetry, [7], 30).await;
    keep(&mut owner, "t0", Some(30)).await;
    api.log.heads().refresh(api.log.pool()).await.expect("the heads");
    api.catch_up().await;
    api.prove().await;
    let archiver = Archiver::new(api.log.clone(), Place::Directory(removed.directory.path().to_owned()));
    assert_eq!(archiver.remove_due(&CancellationToken::new()).await.expect("removed").len(), 1);
    keep(&mut owner, "t0", None).await;
    eventually("it is told", async || {
        let page = answer(
            other
                .request(Method::GET, "/events?log=telemetry&after=90")
                .bearer_auth(removed.api.token("t0", Role::Admin)),
        );
        let page = page.await.json();
        if ranges(&page) == [(91, 120)] { Ok(()) } else { Err(page) }
    })
    .await;
}
