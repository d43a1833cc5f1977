//! A projection's page in a real browser: a rebuild from the button to the swap, rows that differ, and the way back.

use serde_json::json;
use sqlx::Executor;

use super::{Site, reads, whole};
use crate::support::browser::Page;

const REBUILD: &str = "section[aria-labelledby=rebuild]";
const VERSIONS: &str = "section[aria-labelledby=versions] tbody";
const DIFFERENCES: &str = "section[aria-labelledby=differences]";

/// The page of the projection `devices`, which has folded two readings of each of three devices.
async fn of_devices(site: &Site) -> Page {
    for uid in ["dev-01", "dev-02", "dev-03"] {
        site.publish(uid, [json!({"temperature": 20}), json!({"temperature": 21})]).await;
        has_sent(site, uid, 2).await;
    }
    let page = site.admin("/app/projections/devices").await;
    whole(&page).await;
    page
}

/// Waits until the read model counts so many messages of a device.
async fn has_sent(site: &Site, uid: &str, messages: u64) {
    site.until(&format!("/devices/{uid}"), |device| device["messages"] == messages).await;
}

/// Presses a button at the page's head, and the one of the dialog that opens.
async fn press(page: &Page, button: &str, confirm: &str) {
    page.click((".page-head button", button)).await;
    page.click((".dialog-foot button", confirm)).await;
}

#[tokio::test]
async fn a_rebuild_compares_every_row_goes_live_and_can_be_rolled_back() {
    let Some(site) = Site::open().await else { return };
    let page = of_devices(&site).await;
    reads(&page, REBUILD, "It has not been rebuilt yet.").await;
    reads(&page, VERSIONS, "1 live up to date").await;
    press(&page, "Rebuild…", "Rebuild").await;
    reads(&page, VERSIONS, "2 live up to date").await;
    reads(&page, REBUILD, "Differences 0").await;
    reads(&page, &format!("{REBUILD} tbody"), "3 3 0 the same").await;
    for uid in ["dev-01", "dev-02", "dev-03"] {
        has_sent(&site, uid, 2).await;
    }
    press(&page, "Roll back to version 1", "Roll back").await;
    reads(&page, VERSIONS, "1 live up to date").await;
    assert_eq!((page.refused().await, page.complaints().await), (vec![], vec![]));
}

#[tokio::test]
async fn rows_that_differ_are_shown_and_wait_for_a_person_to_accept_the_new_version() {
    let Some(site) = Site::open().await else { return };
    let page = of_devices(&site).await;
    let altered = "UPDATE devices_v1 SET messages = messages + 5 WHERE uid = 'dev-02'";
    site.database.owner().await.execute(altered).await.expect("altered");
    has_sent(&site, "dev-02", 7).await;
    press(&page, "Rebuild…", "Rebuild").await;
    reads(&page, &format!("{REBUILD} .notice"), "Rows that differ: 1.").await;
    reads(&page, DIFFERENCES, "tenant=t0 uid=dev-02").await;
    reads(&page, DIFFERENCES, "messages 7 2").await;
    reads(&page, VERSIONS, "1 live").await;
    press(&page, "Accept and swap", "Accept and swap").await;
    reads(&page, VERSIONS, "2 live up to date").await;
    has_sent(&site, "dev-02", 2).await;
    assert_eq!((page.refused().await, page.complaints().await), (vec![], vec![]));
}
