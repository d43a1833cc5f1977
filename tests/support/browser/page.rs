//! A page: where it is, what runs in it, what it looks like.

use std::env;
use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::wire::Wire;
use crate::support::{LIMIT, eventually};

/// Names the directory in which pictures of pages are kept.
const PICTURES: &str = "FLEETLOG_SCREENSHOTS";

/// A page of a browser.
pub(crate) struct Page {
    pub(super) wire: Arc<Wire>,
    pub(super) session: String,
}

/// The colours that a person prefers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    Light,
    Dark,
}

impl Scheme {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }
}

impl Page {
    pub(super) async fn new(wire: &Arc<Wire>, context: &Value) -> Self {
        let blank = json!({"url": "about:blank", "browserContextId": context});
        let target = wire.call(None, "Target.createTarget", blank).await;
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let attached = wire.call(None, "Target.attachToTarget", attach).await;
        let session = attached["sessionId"].as_str().expect("a session").to_owned();
        let page = Self { wire: Arc::clone(wire), session };
        for domain in ["Page.enable", "Runtime.enable", "Log.enable", "Network.enable"] {
            page.call(domain, json!({})).await;
        }
        page.call("Emulation.setFocusEmulationEnabled", json!({"enabled": true})).await;
        page.scheme(Scheme::Light).await;
        page
    }

    /// Goes to an address, and waits until the page is loaded.
    pub(crate) async fn go(&self, url: &str) {
        let gone = self.call("Page.navigate", json!({"url": url})).await;
        assert_eq!(gone.get("errorText"), None, "{url}: {gone}");
        self.until("document.readyState === 'complete'").await;
    }

    /// Runs JavaScript, waits for the promise if it is one, and returns its value.
    pub(crate) async fn run(&self, script: &str) -> Value {
        let params = json!({"expression": script, "awaitPromise": true, "returnByValue": true});
        let mut answer = self.call("Runtime.evaluate", params).await;
        assert_eq!(answer.get("exceptionDetails"), None, "{script}");
        answer["result"]["value"].take()
    }

    /// Waits until JavaScript says so. If it never does, a picture of the page is written, and its path is in the message.
    pub(crate) async fn until(&self, script: &str) {
        let asking = eventually(script, async || match self.look(script).await {
            Value::Bool(true) => Ok(()),
            instead => Err(instead),
        });
        self.in_time(script, asking).await;
    }

    /// Waits for something; see [`Page::until`].
    pub(super) async fn in_time<T>(&self, what: &str, asking: impl Future<Output = T>) -> T {
        if let Ok(answer) = tokio::time::timeout(LIMIT.mul_f32(0.9), asking).await {
            return answer;
        }
        let directory = pictures().unwrap_or_else(|| env!("CARGO_TARGET_TMPDIR").into());
        std::fs::create_dir_all(&directory).expect("a directory");
        let path = directory.join(format!("never-{}.webp", fastrand::u32(..)));
        std::fs::write(&path, self.picture().await).expect("written");
        let said = self.run("document.body?.innerText ?? ''").await;
        panic!("never: {what}; {}; {:?}; {said}", path.display(), self.complaints().await);
    }

    /// The value of JavaScript. Null where it fails, as it does on a page that is just being left.
    pub(super) async fn look(&self, script: &str) -> Value {
        let params = json!({"expression": script, "awaitPromise": true, "returnByValue": true});
        let mut answer = self.wire.try_call(Some(&self.session), "Runtime.evaluate", params).await;
        answer["result"]["result"]["value"].take()
    }

    /// Gives the page a size, in CSS pixels.
    pub(crate) async fn size(&self, width: u32, height: u32) {
        self.size_at(width, height, 1.0).await;
    }

    /// Gives the page a size, and each of its pixels so many of a picture, along each side.
    pub(crate) async fn size_at(&self, width: u32, height: u32, scale: f64) {
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": scale, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", metrics).await;
    }

    /// Prefers a colour scheme. Nothing moves, so that pictures of the same page are the same.
    pub(crate) async fn scheme(&self, scheme: Scheme) {
        let features = json!([
            {"name": "prefers-color-scheme", "value": scheme.as_str()},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]);
        self.call("Emulation.setEmulatedMedia", json!({"features": features})).await;
    }

    /// A picture of what is seen, as WebP.
    pub(crate) async fn picture(&self) -> Vec<u8> {
        self.captured(json!({"format": "webp", "quality": 85})).await
    }

    /// Keeps a picture of the whole page, where a directory for pictures is named. JPEG takes a third of the time that WebP takes.
    pub(crate) async fn keep_picture(&self, name: &str) {
        let Some(directory) = pictures() else { return };
        let whole = json!({"format": "jpeg", "quality": 80, "captureBeyondViewport": true});
        std::fs::create_dir_all(&directory).expect("a directory");
        std::fs::write(directory.join(format!("{name}.jpg")), self.captured(whole).await).expect("written");
    }

    async fn captured(&self, how: Value) -> Vec<u8> {
        let answer = self.call("Page.captureScreenshot", how).await;
        BASE64_STANDARD.decode(answer["data"].as_str().expect("a picture")).expect("base64")
    }

    pub(crate) async fn call(&self, method: &str, params: Value) -> Value {
        self.wire.call(Some(&self.session), method, params).await
    }
}

fn pictures() -> Option<PathBuf> {
    env::var_os(PICTURES).map(PathBuf::from)
}
