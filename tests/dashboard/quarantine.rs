//! The quarantine in a real browser: from a message that nobody understands to its reading.

use reqwest::Method;
use serde_json::json;

use super::{Site, reads, whole};

#[tokio::test]
async fn a_refused_message_is_tried_on_the_page_of_sources_as_it_came() {
    let Some(site) = Site::open().await else { return };
    let mut device = site.device("bridge").await;
    device.report("zigbee2mqtt/Living Room", "{\n  \"temperature\": 21.5\n}").await;
    let page = site.admin("/app/quarantine").await;
    reads(&page, "main", "zigbee2mqtt/Living Room").await;
    page.click(("main a", "Make a source of it")).await;
    reads(&page, ".trials", "zigbee2mqtt/Living Room").await;
    let messages = "document.querySelector('#messages').value";
    assert_eq!(page.run(messages).await, "zigbee2mqtt/Living Room\t{ \"temperature\": 21.5 }");
    assert_eq!((page.refused().await, page.complaints().await), (vec![], vec![]));
}

#[tokio::test]
async fn a_refused_message_is_taken_in_again_with_one_click_once_a_source_takes_its_topic() {
    let Some(site) = Site::open().await else { return };
    let mut device = site.device("bridge").await;
    device.report("zigbee2mqtt/lamp", r#"{"temperature":21.5}"#).await;
    device.report("something/else", "1").await;
    let page = site.admin("/app/quarantine").await;
    whole(&page).await;
    reads(&page, "main", "zigbee2mqtt/lamp").await;
    site.send(Method::PUT, "/sources/zigbee", json!({"preset": "zigbee2mqtt"})).await;
    page.click((".page-head button", "Take all in again")).await;
    reads(&page, ".said", "1 taken in, 1 refused again").await;
    let lamp =
        site.until("/telemetry/lamp", |page| page["items"].as_array().is_some_and(|all| !all.is_empty()));
    assert_eq!(lamp.await["items"][0]["payload"]["json"], json!({"temperature": 21.5}));
    reads(&page, ".page-head .sub", "Messages that became no event, kept whole with the reason: 1").await;
    assert_eq!((page.refused().await, page.complaints().await), (vec![], vec![]));
}
