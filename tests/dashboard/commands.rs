//! A command from the form on a device's page to the device's answer, seen as it happens.

use serde_json::{Value, json};

use super::{Site, reads, whole};

#[tokio::test]
async fn a_command_that_is_sent_from_a_devices_page_is_seen_to_end_when_the_device_answers() {
    let Some(site) = Site::open().await else { return };
    let mut device = site.device("dev-01").await;
    device.subscribe("t0/devices/dev-01/commands").await;
    device.report("t0/devices/dev-01/telemetry", json!({"temperature": 21.5}).to_string()).await;
    let page = site.admin("/app/devices/dev-01?tab=commands").await;
    whole(&page).await;
    page.click(("button", "Send command")).await;
    page.choose("#cmd", "set_interval").await;
    page.fill("#param-seconds", "5").await;
    page.click(("dialog button", "Send")).await;
    let command: Value = serde_json::from_slice(&device.message().await).expect("JSON");
    assert_eq!((&command["cmd"], &command["params"]), (&json!("set_interval"), &json!({"seconds": 5})));
    reads(&page, "li.command .pill", "sent").await;
    assert_eq!(page.run("document.querySelectorAll('li.command').length").await, 1);
    let answer = json!({"cmd_id": command["cmd_id"], "status": "ack", "result": {"ok": true}});
    device.report("t0/devices/dev-01/command_ack", answer.to_string()).await;
    reads(&page, "li.command .pill", "acknowledged").await;
    reads(&page, "li.command .command-body", "Command acknowledged").await;
    page.click(("li.command a", "Details")).await;
    let id = command["cmd_id"].as_str().expect("an id");
    page.until(&format!("location.pathname === '/app/commands/{id}'")).await;
    whole(&page).await;
    for step in ["Command requested", "Command sent", "Command acknowledged"] {
        reads(&page, "main", step).await;
    }
    assert_eq!((page.refused().await, page.complaints().await), (vec![], vec![]));
}
