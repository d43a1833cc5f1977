//! Who is logged in, and what they are shown.

use fleetlog_access::Role;
use reqwest::Method;
use serde_json::{Value, json};

use super::{STRONG, Site, reads, text, whole};
use crate::support::server::{EMAIL, PASSWORD};

#[tokio::test]
async fn a_wrong_password_is_said_to_be_wrong_and_the_right_one_leads_to_the_page_that_was_asked_for() {
    let Some(site) = Site::open().await else { return };
    let page = site.browser.open(&site.url("/app/devices?status=online")).await;
    page.until("location.pathname === '/login.html'").await;
    page.fill("#email", EMAIL).await;
    page.fill("#password", "not the password").await;
    page.press("Enter").await;
    reads(&page, "[role=alert]", "password").await;
    insta::assert_snapshot!(text(&page, "[role=alert]").await, @"The e-mail address or the password is wrong.");
    assert_eq!(page.run("document.querySelector('#email').value").await, EMAIL);
    page.fill("#password", PASSWORD).await;
    page.press("Enter").await;
    page.until("location.pathname + location.search === '/app/devices?status=online'").await;
    reads(&page, "main h1", "Devices").await;
    page.go(&site.url("/app/account")).await;
    page.click(("button", "Log out")).await;
    page.until("location.pathname === '/login.html'").await;
    page.go(&site.url("/app")).await;
    page.until("location.pathname === '/login.html' && Boolean(document.querySelector('#email'))").await;
    assert_eq!(page.complaints().await, [""; 0]);
}

#[tokio::test]
async fn a_user_who_is_deactivated_is_led_to_the_login_and_back() {
    let Some(site) = Site::open().await else { return };
    let page = site.user("jo@example.com", Role::Operator, "/app/devices").await;
    whole(&page).await;
    let users = site.send(Method::GET, "/users", Value::Null).await;
    let jo =
        users["items"].as_array().and_then(|all| all.iter().find(|user| user["email"] == "jo@example.com"));
    let path = format!("/users/{}", jo.expect("Jo")["user_id"].as_str().expect("an id"));
    site.send(Method::PATCH, &path, json!({"active": false})).await;
    page.until("location.pathname === '/login.html'").await;
    assert_eq!(page.run("new URLSearchParams(location.search).get('next')").await, "/app/devices");
    site.send(Method::PATCH, &path, json!({"active": true})).await;
    page.fill("#email", "jo@example.com").await;
    page.fill("#password", STRONG).await;
    page.press("Enter").await;
    page.until("location.pathname === '/app/devices'").await;
}

/// What the frame and a device's page offer.
const OFFERED: &str =
    "[...document.querySelectorAll('nav a, main button')].map((one) => (one.innerText || one.title).trim())
    .filter((text) => text)";

#[tokio::test]
async fn a_viewer_is_not_shown_what_it_may_not_do_and_an_administrator_is() {
    let Some(site) = Site::open().await else { return };
    site.publish("dev-01", [json!({"temperature": 21.5})]).await;
    let admin = site.admin("/app/devices").await;
    let viewer = site.user("jo@example.com", Role::Viewer, "/app/devices").await;
    for (page, shown) in [(&admin, true), (&viewer, false)] {
        whole(page).await;
        let offered = page.run(OFFERED).await.to_string();
        for what in ["Register device", "Commands", "Log", "Quarantine"] {
            assert_eq!(offered.contains(&format!("\"{what}\"")), shown, "{what}: {offered}");
        }
        page.go(&site.url("/app/devices/dev-01?tab=commands")).await;
        whole(page).await;
        let offered = page.run(OFFERED).await.to_string();
        for what in ["Send command", "Commands", "Credentials"] {
            assert_eq!(offered.contains(&format!("\"{what}\"")), shown, "{what}: {offered}");
        }
        page.go(&site.url("/app/commands")).await;
        whole(page).await;
        let heading = if shown { "Commands" } else { "Not for your role" };
        assert_eq!(text(page, "main h1").await, heading);
        assert_eq!((page.refused().await, page.complaints().await), (vec![], vec![]));
    }
    let forbidden =
        "fetch('/api/v1/devices', { method: 'POST', headers: { 'content-type': 'application/json' },
        body: '{\"uid\":\"dev-02\"}' }).then((answer) => answer.status)";
    assert_eq!((admin.run(forbidden).await, viewer.run(forbidden).await), (json!(201), json!(403)));
}

#[tokio::test]
async fn a_policy_takes_the_button_from_whoever_it_forbids_to_press_it() {
    let Some(site) = Site::open().await else { return };
    site.publish("dev-01", [json!({"temperature": 21.5})]).await;
    let forbid = "forbid (principal in Role::\"operator\", action == Action::\"commands.write\", resource);";
    let page = site.user("jo@example.com", Role::Operator, "/app/devices/dev-01?tab=commands").await;
    let send =
        "[...document.querySelectorAll('main button')].some((one) => one.innerText.includes('Send command'))";
    page.until(send).await;
    site.send(Method::PUT, "/policies/no-commands", json!({"source": forbid})).await;
    page.go(&site.url("/app/devices/dev-01?tab=commands")).await;
    whole(&page).await;
    assert_eq!(page.run(send).await, false);
}
