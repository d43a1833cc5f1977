//! Everything is reached by keyboard.

use serde_json::json;

use super::{Site, reads, text, whole};

#[tokio::test]
async fn a_page_or_a_device_is_found_by_its_name_and_reached_without_a_mouse() {
    let Some(site) = Site::open().await else { return };
    site.publish("boiler-7", [json!({"temperature": 21.5})]).await;
    let page = site.admin("/app").await;
    whole(&page).await;
    page.press("Tab").await;
    assert_eq!(page.run("document.activeElement.innerText").await, "To the content");
    page.press("Enter").await;
    assert_eq!(page.run("document.activeElement.id").await, "main");

    page.press("Control+k").await;
    page.until("document.activeElement.matches('dialog[open] input[role=combobox]')").await;
    page.call("Input.insertText", json!({"text": "ler-7"})).await;
    reads(&page, "#palette-list", "boiler-7").await;
    page.press("Enter").await;
    page.until("location.pathname === '/app/devices/boiler-7'").await;
    page.press("Control+k").await;
    page.until("Boolean(document.querySelector('#palette-0'))").await;
    page.press("ArrowDown").await;
    page.until("document.querySelector('[role=option][aria-selected=true]')?.id === 'palette-1'").await;
    assert_eq!(page.run("document.activeElement.getAttribute('aria-activedescendant')").await, "palette-1");
    page.press("Enter").await;
    page.until("location.pathname === '/app/devices'").await;
    reads(&page, "main h1", "Devices").await;
    whole(&page).await;

    page.press("/").await;
    page.until("document.activeElement.type === 'search'").await;
    page.call("Input.insertText", json!({"text": "nothing has this name"})).await;
    page.until("location.search.includes('nothing')").await;
    reads(&page, "main", "No device fits this filter.").await;
    // While one writes, letters are letters.
    page.press("g").await;
    page.press("f").await;
    assert_eq!(page.run("location.pathname").await, "/app/devices");
    page.run("document.activeElement.blur()").await;
    page.press("g").await;
    page.press("f").await;
    page.until("location.pathname === '/app'").await;
    assert_eq!(page.complaints().await, [""; 0]);
}

#[tokio::test]
async fn the_shortcuts_are_listed_on_a_key_and_charts_move_and_zoom_by_keys() {
    let Some(site) = Site::open().await else { return };
    site.publish("dev-01", [json!({"temperature": 21.5}), json!({"temperature": 22.5})]).await;
    let page = site.admin("/app/devices/dev-01").await;
    page.until("document.querySelectorAll('fl-chart .u-over').length > 0").await;
    page.press("?").await;
    reads(&page, "dialog[open]", "Keyboard shortcuts").await;
    page.press("Escape").await;
    page.until("document.querySelector('dialog') === null").await;
    let span = "(() => { const [from, to] = document.querySelector('fl-device-charts').range; return Math.round(to - from) })()";
    assert_eq!(page.run(span).await, 900);
    page.run("document.querySelector('fl-chart .chart').focus()").await;
    page.press("+").await;
    page.until(&format!("{span} === 450")).await;
    let middle = "document.querySelector('fl-device-charts').range[0]";
    let before = page.run(middle).await.as_f64().expect("seconds");
    page.press("ArrowLeft").await;
    page.until(&format!("{middle} < {before}")).await;
    page.press("0").await;
    page.until(&format!("{span} === 900 && !location.search.includes('from')")).await;
    assert!(text(&page, ".range-text").await.contains("live"), "back to live");
    assert_eq!(page.complaints().await, [""; 0]);
}
