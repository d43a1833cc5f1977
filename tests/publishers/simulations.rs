//! Simulated devices that people start over HTTP.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Api, Server};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn simulated_devices_log_in_publish_and_stop_and_are_taken_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let arguments = ["--device-auth", "required"];
    let mut server = Server::up_with(directory.path(), "127.0.0.1", &arguments).await;
    let start = async |server: &Server| {
        let request = server.request(Method::POST, "/simulations").json(&json!({ "devices": 2 }));
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::CREATED);
        answer.json::<Value>().await.expect("JSON")
    };
    let first = start(&server).await;
    assert_eq!(first["devices"], json!(["demo-1", "demo-2"]));
    let device = server.until("/devices/demo-1", |device| device["messages"].as_i64() >= Some(1)).await;
    assert_eq!((&device["labels"], &device["status"]), (&json!({"simulated": "true"}), &json!("online")));
    let other = start(&server).await;
    assert_eq!(other["devices"], json!(["demo-3", "demo-4"]), "the first two are taken");

    let listed = server.get("/simulations").await;
    assert_eq!((&listed["enabled"], listed["items"].as_array().map(Vec::len)), (&json!(true), Some(2)));
    let path = format!("/simulations/{}", first["simulation_id"].as_str().expect("an id"));
    let stopped = server.request(Method::DELETE, &path).send().await.expect("an answer");
    assert_eq!(stopped.status(), StatusCode::NO_CONTENT);
    server.until("/simulations", |listed| listed["items"].as_array().map(Vec::len) == Some(1)).await;
    let credentials = server.get("/devices/demo-1/credentials").await;
    assert_eq!(credentials["items"][0]["active"], false, "{credentials}");
    let gone = server.request(Method::DELETE, &path).send().await.expect("an answer");
    assert_eq!(gone.status(), StatusCode::NOT_FOUND);
    assert_eq!(start(&server).await["devices"], json!(["demo-1", "demo-2"]));
    server.stop().await;
}

#[tokio::test]
async fn nothing_is_simulated_where_the_operator_has_not_allowed_it() {
    let api = Api::start().await;
    assert_eq!(api.get("/simulations").await.json(), json!({ "enabled": false, "items": [] }));
    let refused = api.send(Method::POST, "/simulations", json!({})).await;
    assert_eq!(refused.refusal(), "409 simulations_off");
    assert_eq!(api.get("/devices").await.json()["items"], json!([]));
}
