//! Many devices in a real browser: simulated ones at the first visit, a command to all of them, and a file of more.

use serde_json::json;

use crate::support::browser::{Browser, Page};
use crate::support::server::{EMAIL, PASSWORD};
use crate::support::{LIMIT, Server};

/// Presses the button or follows the link with this text, once it is there.
async fn press(page: &Page, text: &str) {
    let found = format!(
        "[...document.querySelectorAll('button, a')].find((one) => one.textContent.trim() === {})",
        json!(text)
    );
    page.until(&format!("Boolean({found}) && !{found}.disabled")).await;
    page.run(&format!("{found}.click()")).await;
}

/// Waits until the page says this.
async fn says(page: &Page, text: &str) {
    page.until(&format!("document.body.innerText.includes({})", json!(text))).await;
}

/// Chooses a file with this text.
async fn choose(page: &Page, name: &str, text: &str) {
    page.until("Boolean(document.querySelector('input[type=file]'))").await;
    let (name, text) = (json!(name), json!(text));
    page.run(&format!(
        "(() => {{
            const files = new DataTransfer();
            files.items.add(new File([{text}], {name}));
            const input = document.querySelector('input[type=file]');
            input.files = files.files;
            input.dispatchEvent(new Event('change'));
        }})()"
    ))
    .await;
}

async fn logged_in(browser: &Browser, server: &Server) -> Page {
    let page = browser.open(&format!("{}/login.html?next=%2Fapp%2Fdevices", server.url())).await;
    page.until("Boolean(document.querySelector('input[type=password]'))").await;
    let fill = |selector: &str, value: &str| {
        format!("document.querySelector({}).value = {};", json!(selector), json!(value))
    };
    let script = [
        fill("#email", EMAIL),
        fill("input[type=password]", PASSWORD),
        "document.querySelector('form').requestSubmit()".to_owned(),
    ];
    page.run(&script.concat()).await;
    page
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newcomer_starts_simulated_devices_and_sends_all_of_them_a_command() {
    let Some(browser) = Browser::start().await else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::up(directory.path()).await;
    let page = logged_in(&browser, &server).await;
    press(&page, "Start three simulated devices").await;
    page.until("document.querySelectorAll('tr[data-uid] .pill.good').length === 3").await;
    page.run("document.querySelector('thead input[type=checkbox]').click()").await;
    press(&page, "Send command").await;
    press(&page, "Send to 3 devices").await;
    says(&page, "100 %").await;
    says(&page, "completed").await;
    let batch = server.get("/command-batches").await;
    assert_eq!(
        (&batch["items"][0]["commands"]["acked"], &batch["items"][0]["devices"]),
        (&json!(3), &json!(3))
    );
    assert_eq!(page.complaints().await, [""; 0]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_devices_is_refused_as_a_whole_and_registered_once_it_is_right() {
    let Some(browser) = Browser::start().await else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::up(directory.path()).await;
    let page = logged_in(&browser, &server).await;
    press(&page, "Import").await;
    choose(&page, "bad.csv", "uid,name,labels\ndev-01,\"Boiler, large\",site=hanoi\ndev 02,Pump,\n").await;
    says(&page, "Mistakes in the file: 1").await;
    let cells = "[...document.querySelectorAll('tbody tr')].map((row) => [...row.cells].map((cell) => cell.innerText))";
    let mistake = json!([["3", "uid", "1 to 64 of A–Z, a–z, 0–9, _ . : and -."]]);
    assert_eq!(page.run(cells).await, mistake);
    assert_eq!(server.get("/devices").await["items"], json!([]));

    let right = "uid;name;labels\r\ndev-01;\"Boiler; large\";\"site=hanoi;floor=3\"\r\ndev-02;;\r\n";
    choose(&page, "right.csv", right).await;
    press(&page, "Register 2 devices").await;
    says(&page, "2 of 2").await;
    choose_again(&page, &server).await;
    let devices = server.get("/devices").await;
    let device =
        |at: usize| [&devices["items"][at]["name"], &devices["items"][at]["labels"]].map(Clone::clone);
    assert_eq!(device(0), [json!("Boiler; large"), json!({"floor": "3", "site": "hanoi"})]);
    assert_eq!(device(1), [json!("Pump"), json!({})]);
    assert_eq!(page.complaints().await, [""; 0]);
    server.stop().await;
}

/// A second file gives a device that is there a name, and leaves the other as it is.
async fn choose_again(page: &Page, server: &Server) {
    choose(page, "again.ndjson", "{\"uid\":\"dev-02\",\"name\":\"Pump\"}\n{\"uid\":\"dev-01\"}\n").await;
    page.until("Boolean(document.querySelector('input[type=checkbox]'))").await;
    page.run("document.querySelector('input[type=checkbox]').click()").await;
    press(page, "Register 2 devices").await;
    says(page, "1 changed").await;
    says(page, "1 there already").await;
    let renamed = async || server.get("/devices/dev-02").await["name"] == "Pump";
    let waited = tokio::time::timeout(LIMIT, async { while !renamed().await {} }).await;
    assert!(waited.is_ok(), "the change is visible");
}
