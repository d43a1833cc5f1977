//! `GraphQL` subscriptions, over WebSocket and as server-sent events.

mod bad_input;
mod changes;
mod ends;

use fleetlog_access::Role;
use fleetlog_event_log::Lane;
use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use crate::support::graphql_ws::{Said, Socket};
use crate::support::{Api, Stream, until};

const READINGS: &str = "subscription($after: String, $from: String) {
    telemetry(after: $after, from: $from) { at deviceUid reading { position payload } leftOut removed { firstPosition } }
}";

/// Subscribes as server-sent events.
async fn streamed(api: &Api, role: Role, query: &str, variables: Value) -> Stream {
    let request = api.request(Method::POST, "/graphql/stream").bearer_auth(api.token("t0", role));
    let request = request.json(&json!({"query": query, "variables": variables}));
    Stream::open(request).await.unwrap_or_else(|answer| panic!("{}", answer.text))
}

/// A way to subscribe.
enum Way {
    Socket(Box<Socket>),
    Stream(Stream),
}

impl Way {
    /// Subscribes to readings after a position, by this way or the other.
    async fn follow(api: &Api, by_socket: bool, at: Option<&str>) -> Self {
        let variables = json!({"after": at, "from": "start"});
        if by_socket {
            let mut socket = Socket::of(api, Role::Viewer).await;
            socket.subscribe("1", READINGS, variables).await;
            Self::Socket(Box::new(socket))
        } else {
            Self::Stream(streamed(api, Role::Viewer, READINGS, variables).await)
        }
    }

    async fn next(&mut self) -> Value {
        match self {
            Self::Socket(socket) => socket.data("1").await,
            Self::Stream(stream) => {
                let told = stream.next().await.expect("a message");
                let message = told.data["data"]["telemetry"].clone();
                assert_eq!((&*told.name, &json!(told.id)), ("next", &message["at"]), "{}", told.data);
                message
            }
        }
    }
}

#[tokio::test]
async fn a_subscriber_that_is_cut_off_again_and_again_has_every_reading_once_and_in_order_on_any_node_and_either_way()
 {
    const COUNT: i64 = 400;
    let api = std::sync::Arc::new(Api::start().await);
    let other = api.another_node().await;
    let writing = tokio::spawn({
        let api = std::sync::Arc::clone(&api);
        async move {
            for n in 0..COUNT / 4 {
                let uid = format!("dev-{:02}", n % 7);
                api.publish(&uid, (0..4).map(|of| json!({"n": 4 * n + of}))).await;
            }
        }
    });
    let (mut at, mut positions) = (None::<String>, vec![]);
    for round in 0.. {
        let node = if round % 2 == 0 { &*api } else { &other };
        let mut way = Way::follow(node, round % 4 < 2, at.as_deref()).await;
        let first = way.next().await;
        assert_eq!((&first["reading"], first["at"].is_string()), (&Value::Null, true), "{first}");
        for _ in 0..fastrand::usize(1..40) {
            let message = way.next().await;
            at = message["at"].as_str().map(str::to_owned);
            positions.push(message["reading"]["position"].as_i64().unwrap_or_else(|| panic!("{message}")));
            if positions.len() == COUNT as usize {
                break;
            }
        }
        if positions.len() == COUNT as usize {
            break;
        }
    }
    writing.await.expect("written");
    assert_eq!(positions, (1..=COUNT).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_subscription_says_where_it_begins_so_that_nothing_is_missed_if_it_is_cut_off_at_once() {
    let api = Api::start().await;
    api.publish("dev-01", [json!({"n": 0})]).await;
    let mut socket = Socket::of(&api, Role::Viewer).await;
    let begin = socket.follow("1", READINGS, json!({})).await;
    drop(socket);
    api.publish("dev-01", [json!({"n": 1})]).await;
    let mut socket = Socket::of(&api, Role::Viewer).await;
    assert_eq!(socket.follow("1", READINGS, json!({"after": begin["at"]})).await["at"], begin["at"]);
    assert_eq!(socket.data("1").await["reading"]["payload"], json!({"n": 1}));
}

#[tokio::test]
async fn several_subscriptions_share_a_connection_and_each_ends_by_itself() {
    let api = Api::start().await;
    let mut socket = Socket::of(&api, Role::Admin).await;
    socket.follow("a", READINGS, json!({})).await;
    let devices =
        "subscription { events(type: [\"DeviceRegistered\"]) { event { eventType deviceUid payload } } }";
    socket.follow("b", devices, json!({})).await;
    api.publish("dev-01", [json!({"n": 0})]).await;
    let mut told = vec![];
    for _ in 0..2 {
        let Said::Message(message) = socket.next().await else { panic!("closed") };
        told.push((message["id"].as_str().expect("an id").to_owned(), message["payload"]["data"].clone()));
    }
    told.sort_by(|one, other| one.0.cmp(&other.0));
    assert_eq!(told[0].1["telemetry"]["deviceUid"], "dev-01");
    assert_eq!(told[1].1["events"]["event"]["deviceUid"], "dev-01", "{}", told[1].1);
    socket.say(json!({"type": "complete", "id": "a"})).await;
    socket.say(json!({"type": "ping"})).await;
    assert_eq!(socket.next().await, Said::Message(json!({"type": "pong"})));
    api.publish("dev-02", [json!({"n": 0})]).await;
    assert_eq!(socket.data("b").await["event"]["deviceUid"], "dev-02");
}

#[tokio::test]
async fn what_a_rate_leaves_out_is_told() {
    let api = Api::start().await;
    api.publish("dev-01", (0..10).map(|n| json!({"n": n}))).await;
    let query = "subscription { telemetry(deviceUid: \"dev-01\", from: \"start\", maxRate: 0.001) {
        at reading { payload } leftOut } }";
    let mut socket = Socket::of(&api, Role::Viewer).await;
    socket.follow("1", query, json!({})).await;
    let (first, then) = (socket.data("1").await, socket.data("1").await);
    assert_eq!((&first["reading"]["payload"], &first["leftOut"]), (&json!({"n": 0}), &Value::Null));
    assert_eq!((&then["reading"], &then["leftOut"]), (&Value::Null, &json!(9)));
    let end = format!("{}:10", api.log_of("t0", Lane::Telemetry));
    assert_eq!(then["at"], end);
}

#[tokio::test]
async fn a_browser_without_headers_follows_with_a_ticket_and_comes_back_by_the_last_id() {
    let api = Api::start().await;
    api.publish("dev-01", [json!({"n": 0}), json!({"n": 1})]).await;
    let ticket = async || {
        let issued = api.send_as(Role::Viewer, Method::POST, "/stream/tickets", None).await;
        issued.json()["ticket"].as_str().expect("a ticket").to_owned()
    };
    let query = "subscription { telemetry(from: \"start\") { at reading { payload } } }";
    let request = |ticket: String| {
        let parameters = form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("query", query), ("ticket", &ticket)])
            .finish();
        api.request(Method::GET, &format!("/graphql/stream?{parameters}"))
    };
    let mut stream =
        Stream::open(request(ticket().await)).await.unwrap_or_else(|answer| panic!("{}", answer.text));
    stream.next().await.expect("the beginning");
    stream.next().await.expect("the first reading");
    let again = request(ticket().await).header("Last-Event-ID", stream.last);
    let mut stream = Stream::open(again).await.unwrap_or_else(|answer| panic!("{}", answer.text));
    stream.next().await.expect("the beginning");
    let told = stream.next().await.expect("the second reading");
    assert_eq!(told.data["data"]["telemetry"]["reading"]["payload"], json!({"n": 1}));

    let path = format!("/graphql/ws?ticket={}", ticket().await);
    let opened = Socket::open(&api, &path, Some("graphql-transport-ws"), HeaderMap::new()).await;
    let mut socket = opened.unwrap_or_else(|status| panic!("{status}"));
    socket.say(json!({"type": "connection_init"})).await;
    assert_eq!(socket.next().await, Said::Message(json!({"type": "connection_ack"})));
}

#[tokio::test]
async fn a_client_that_never_reads_is_cut_off_while_others_are_told_everything() {
    let api = Api::start().await;
    let _counting = metrics::set_default_local_recorder(&api.recorder);
    for _ in 0..20 {
        api.publish("dev-01", (0..400).map(|n| json!({"n": n, "text": "x".repeat(4000)}))).await;
    }
    let mut silent = Socket::of(&api, Role::Viewer).await;
    silent.subscribe("1", READINGS, json!({"from": "start"})).await;
    let mut other = Socket::of(&api, Role::Viewer).await;
    other.follow("1", READINGS, json!({})).await;
    let has = |line: &str| api.recorder.handle().render().lines().any(|own| own == line);
    until("both follow", async || has("fleetlog_live_followers 2")).await;
    api.publish("dev-02", [json!({"n": 0})]).await;
    assert_eq!(other.data("1").await["deviceUid"], "dev-02");
    until("one is cut off", async || has("fleetlog_http_unread_total 1")).await;
    until("its seat is free", async || has("fleetlog_live_followers 1")).await;
    api.publish("dev-02", [json!({"n": 1})]).await;
    assert_eq!(other.data("1").await["deviceUid"], "dev-02");
    drop(silent);
}
