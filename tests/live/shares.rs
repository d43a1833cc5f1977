//! Shares of streams: a caller that opens as many as it can keeps nobody else out.

use fleetlog_access::Role;
use fleetlog_api::Settings;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};

use super::sockets::Socket;
use crate::support::api::answer;
use crate::support::{Api, Stream, eventually, graphql_ws};

/// Of so many connections one caller's streams have 10, those of an address 20, those of a tenant 40, and all together 60.
const CONNECTIONS: usize = 80;

async fn api() -> Api {
    Api::start_with(Settings { connections: CONNECTIONS, ..Settings::default() }).await
}

/// A request for a stream from this address.
fn stream_from(api: &Api, address: [u8; 4], role: Role) -> RequestBuilder {
    let client = Client::builder().local_address(Some(address.into())).build().expect("a client");
    client.get(format!("{}/stream", api.url())).bearer_auth(api.token("t0", role))
}

async fn opened(request: RequestBuilder) -> Stream {
    Stream::open(request).await.unwrap_or_else(|answer| panic!("{}", answer.text))
}

fn bearer(api: &Api, role: Role) -> HeaderMap {
    let token = HeaderValue::from_str(&format!("Bearer {}", api.token("t0", role))).expect("a token");
    HeaderMap::from_iter([(AUTHORIZATION, token)])
}

/// Health, metrics, requests and streams of another caller, from the same address.
async fn bystanders_are_served(api: &Api) {
    for path in ["/healthz", "/readyz"] {
        assert_eq!(answer(api.request(Method::GET, path)).await.status, 200, "{path}");
    }
    for path in ["/metrics", "/devices"] {
        assert_eq!(api.get(path).await.status, 200, "{path}");
    }
    let mut stream = Stream::of(api, Role::Viewer, "log=telemetry").await;
    let position = api.publish("dev-01", [json!({"n": 0})]).await;
    assert_eq!(stream.event().await["position"], position);
}

#[tokio::test]
async fn ten_thousand_streams_attempted_by_one_caller_leave_everybody_else_served() {
    let api = api().await;
    let mut socket = Socket::open(&api, Role::Admin, "/ws").await;
    let mut own = vec![];
    for _ in 1..10 {
        own.push(Stream::of(&api, Role::Admin, "").await);
    }
    for n in 0..32 {
        socket.send(json!({"type": "follow", "topic": n.to_string()})).await;
        assert_eq!(socket.of("at").await["topic"], n.to_string());
    }
    let attempts = async |from: usize| {
        for n in from..from + 1250 {
            let path =
                if n % 2 == 0 { "/stream" } else { "/graphql/stream?query=subscription{telemetry{at}}" };
            let refused = api.get(path).await;
            assert_eq!(refused.refusal(), "429 too_many_streams", "{}", refused.text);
            assert_eq!(refused.header("retry-after"), "1");
        }
    };
    tokio::join!(attempts(0), attempts(1250), attempts(2500), attempts(3750));
    for n in 32..5032 {
        socket.send(json!({"type": "follow", "topic": n.to_string()})).await;
        let refused = socket.of("refused").await;
        assert_eq!((&refused["topic"], &refused["problem"]["status"]), (&json!(n.to_string()), &json!(429)));
    }
    bystanders_are_served(&api).await;
}

#[tokio::test]
async fn whichever_door_a_caller_takes_the_refusal_says_the_bound_and_what_to_do() {
    let api = api().await;
    let mut own = vec![];
    for _ in 0..10 {
        own.push(Stream::of(&api, Role::Admin, "").await);
    }
    let bound = "a user or key has 10 connections with streams at most: close one, or follow several";
    let refused = api.get("/stream").await;
    assert!(
        refused.json()["detail"].as_str().is_some_and(|text| text.starts_with(bound)),
        "{}",
        refused.text
    );
    for path in ["/ws", "/ws/telemetry"] {
        let token = format!("Bearer {}", api.token("t0", Role::Admin));
        assert_eq!(
            Socket::try_open(&api, path, &[("authorization", &token)]).await.err(),
            Some(429),
            "{path}"
        );
    }
    let headers = bearer(&api, Role::Admin);
    let protocol = Some("graphql-transport-ws");
    assert_eq!(graphql_ws::Socket::open(&api, "/graphql/ws", protocol, headers).await.err(), Some(429));
    // Who says only there who it is has no other share.
    let mut socket = graphql_ws::Socket::anonymous(&api).await;
    let token = api.token("t0", Role::Admin);
    socket.say(json!({"type": "connection_init", "payload": {"token": token}})).await;
    let graphql_ws::Said::Closed(Some((1013, reason))) = socket.next().await else { panic!("let in") };
    assert!(reason.starts_with(bound), "{reason}");
    own.pop();
    eventually("a seat is free", async || {
        let request = api.request(Method::GET, "/stream").bearer_auth(api.token("t0", Role::Admin));
        Stream::open(request).await.map_err(|refused| refused.text).map(drop)
    })
    .await;
}

#[tokio::test]
async fn idle_streams_of_one_address_leave_its_requests_and_other_addresses_served() {
    let api = api().await;
    let [here, there] = [[127, 0, 0, 1], [127, 0, 0, 2]];
    let mut own = vec![];
    for role in [Role::Admin, Role::Operator] {
        for _ in 0..10 {
            own.push(opened(stream_from(&api, here, role)).await);
        }
    }
    let refused = Stream::open(stream_from(&api, here, Role::Viewer)).await.err().expect("refused");
    assert_eq!(refused.refusal(), "429 too_many_streams");
    assert!(refused.text.contains("an address has 20 connections with streams at most"), "{}", refused.text);
    assert_eq!(answer(api.request(Method::GET, "/healthz")).await.status, 200);
    assert_eq!(api.get("/devices").await.status, 200);
    let mut stream = opened(stream_from(&api, there, Role::Viewer)).await;
    api.publish("dev-01", [json!({"n": 0})]).await;
    assert_eq!(stream.event().await["event_type"], "DeviceRegistered");
}

#[tokio::test]
async fn websockets_that_say_nothing_leave_everybody_else_served() {
    let api = api().await;
    let mut silent = vec![];
    for _ in 0..10 {
        silent.push(graphql_ws::Socket::anonymous(&api).await);
    }
    let protocol = Some("graphql-transport-ws");
    let refused = graphql_ws::Socket::open(&api, "/graphql/ws", protocol, HeaderMap::new()).await;
    assert_eq!(refused.err(), Some(503));
    bystanders_are_served(&api).await;
    graphql_ws::Socket::of(&api, Role::Viewer).await;
}

#[tokio::test]
async fn a_caller_has_a_thousand_streams_at_most_however_few_connections_they_take() {
    let api = Api::start().await;
    let (mut sockets, mut begun) = (vec![], 0);
    let refused: Value = 'full: loop {
        let mut socket = Socket::open(&api, Role::Admin, "/ws").await;
        for n in 0..32 {
            socket
                .send(json!({"type": "follow", "topic": n.to_string(), "follow": {"log": "control"}}))
                .await;
            let told = socket.told().await;
            if told["type"] == "refused" {
                break 'full told;
            }
            begun += 1;
        }
        sockets.push(socket);
    };
    assert_eq!((begun, &refused["problem"]["code"]), (1000, &json!("too_many_streams")), "{refused}");
    assert_eq!(refused["problem"]["detail"], "a user or key has 1000 streams at most: end one");
    Stream::of(&api, Role::Viewer, "").await;
}
