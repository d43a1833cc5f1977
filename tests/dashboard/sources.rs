//! A source in a real browser: from an example message to a definition that is saved, with the result beside it while one types.

use reqwest::Method;
use serde_json::Value;

use super::{Site, reads, whole};

#[tokio::test]
async fn a_source_is_made_from_a_message_and_shows_what_becomes_of_it_while_one_types() {
    let Some(site) = Site::open().await else { return };
    let message = "zigbee2mqtt/lamp%20%7B%22temperature%22%3A21.5%7D";
    let page = site.admin(&format!("/app/sources?message={message}")).await;
    whole(&page).await;
    reads(&page, ".trials", "the source takes no messages on this topic").await;
    page.until("document.querySelector('#preset option[value=zigbee2mqtt]') !== null").await;
    let choose = "const preset = document.querySelector('#preset'); preset.value = 'zigbee2mqtt';
        preset.dispatchEvent(new Event('change', { bubbles: true })); 0";
    page.run(&format!("(() => {{ {choose} }})()")).await;
    reads(&page, ".trials", "lamp at the time of arrival temperature 21.5").await;
    let wrong = "const text = document.querySelector('#definition'); text.value = '{\"topics\":[{\"topic\":\"x/{y}\"}]}';
        text.dispatchEvent(new Event('input', { bubbles: true }));";
    page.run(&format!("(() => {{ {wrong} }})()")).await;
    reads(&page, "ul.wrong", "definition/topics/0/topic").await;
    page.run(&format!("(() => {{ {choose} }})()")).await;
    reads(&page, ".trials", "lamp at the time of arrival temperature 21.5").await;
    // What was wrong stood above the button, which has moved when it is gone.
    page.until("document.querySelector('ul.wrong') === null").await;
    page.click((".source-form button", "Save")).await;
    reads(&page, ".said", "zigbee2mqtt is saved, in version 1").await;
    reads(&page, "section[aria-label=Sources]", "zigbee2mqtt/{uid}").await;
    let sources = site.send(Method::GET, "/sources", Value::Null).await;
    assert_eq!(sources["items"][0]["preset"], "zigbee2mqtt");
    assert_eq!(page.complaints().await, Vec::<String>::new());
}
