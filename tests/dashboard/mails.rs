//! Where the links of mails lead: each is taken from a mail, and followed.

use fleetlog_access::Role;
use reqwest::Method;
use serde_json::json;

use super::{STRONG, Site, log_in, reads, text, whole};

const STRONGER: &str = "granite umbrella noodle";
const JO: &str = "jo@example.com";

#[tokio::test]
async fn whoever_follows_an_invitation_chooses_a_password_and_is_in() {
    let Some(site) = Site::open().await else { return };
    site.send(Method::POST, "/users", json!({"email": JO, "role": "operator"})).await;
    let page = site.browser.open(&site.mailed(JO).await).await;
    reads(&page, "main h1", "Welcome to fleetlog").await;
    page.fill("#name", "Jo").await;
    page.fill("#password", "password1234").await;
    reads(&page, "#password-hint", "Easily guessed").await;
    page.press("Enter").await;
    page.until("Boolean(document.querySelector('.wrong')?.innerText)").await;
    page.fill("#password", STRONG).await;
    reads(&page, "#password-hint", "ood").await;
    page.press("Enter").await;
    reads(&page, "main h1", "You are in").await;
    assert_eq!(page.run("location.hash").await, "", "the token is out of the address");
    page.click(("a", "Log in")).await;
    page.fill("#email", JO).await;
    page.fill("#password", STRONG).await;
    page.press("Enter").await;
    page.until("location.pathname === '/app'").await;
    whole(&page).await;
    reads(&page, ".who-name", "Jo").await;
    assert_eq!(page.complaints().await, [""; 0]);
}

#[tokio::test]
async fn an_address_is_confirmed_by_a_click_on_the_page_of_the_mails_link_and_only_once() {
    let Some(site) = Site::open().await else { return };
    site.send(Method::PATCH, "/tenant", json!({"registration": "open"})).await;
    let page = site.browser.open(&site.url("/login.html")).await;
    let body = json!({"email": JO, "password": STRONG}).to_string();
    let request = json!({"method": "POST", "headers": {"content-type": "application/json"}, "body": body});
    assert_eq!(page.run(&format!("fetch('/auth/register', {request}).then((it) => it.status)")).await, 202);
    log_in(&page, JO, STRONG).await;
    let link = site.mailed(JO).await;
    page.go(&site.url("/app/account")).await;
    reads(&page, "main", "Send the mail again").await;
    page.go(&link).await;
    reads(&page, "main h1", "Confirm your e-mail address").await;
    page.click(("button", "Confirm the address")).await;
    reads(&page, "main h1", "Your address is confirmed").await;
    page.go(&site.url("/app/account")).await;
    reads(&page, "main", JO).await;
    assert!(!text(&page, "main").await.contains("Send the mail again"));
    page.go(&link).await;
    page.click(("button", "Confirm the address")).await;
    reads(&page, "main", "If the link is used up").await;
}

#[tokio::test]
async fn whoever_has_forgotten_the_password_gets_a_mail_and_chooses_another() {
    let Some(site) = Site::open().await else { return };
    let other = site.user(JO, Role::Operator, "/app").await;
    whole(&other).await;
    let page = site.browser.open(&site.url("/login.html")).await;
    page.click(("a", "Forgotten password?")).await;
    reads(&page, "main h1", "Forgotten password").await;
    page.fill("#email", JO).await;
    page.click(("button", "Send the mail")).await;
    reads(&page, "main", JO).await;
    page.go(&site.mailed(JO).await).await;
    page.fill("#password", STRONGER).await;
    page.press("Enter").await;
    reads(&page, "main h1", "Your password is set").await;
    // All earlier sessions have ended.
    other.until("location.pathname === '/login.html'").await;
    page.click(("a", "Log in")).await;
    page.fill("#email", JO).await;
    page.fill("#password", STRONGER).await;
    page.press("Enter").await;
    page.until("location.pathname === '/app'").await;
    assert_eq!(page.complaints().await, [""; 0]);
}
