//! A real Chromium without a window, driven over its `DevTools` protocol: opens pages, does what a person does in them, reads what
//! they asked for and complain of, takes pictures of them.
//!
//! One Chromium serves all tests of a run. Each [`Browser`] is a context of its own in it: no cookie or store is shared.

mod input;
mod page;
mod process;
mod record;
mod wire;

use std::io::Write;
use std::sync::Arc;

use serde_json::{Value, json};

pub(crate) use page::{Page, Scheme};
use wire::Wire;

/// A browser with cookies and stores of its own. They are gone when it goes out of scope, and its pages with them.
pub(crate) struct Browser {
    wire: Arc<Wire>,
    context: Value,
}

impl Browser {
    /// Starts a browser. `None`, where there is no Chromium: the test is skipped, which a line says past the capture of tests' output.
    pub(crate) async fn start() -> Option<Self> {
        let Some(address) = process::address() else {
            let name = std::thread::current().name().unwrap_or("a test").to_owned();
            let hint = "needs Chromium: run scripts/install-tools test, or set CHROMIUM to the program";
            let _ = writeln!(std::io::stderr(), "\nskipped: {name} {hint}");
            return None;
        };
        Some(Self::within(Arc::new(Wire::connect(address).await)).await)
    }

    /// Another one in which nobody is logged in.
    pub(crate) async fn another(&self) -> Self {
        Self::within(Arc::clone(&self.wire)).await
    }

    async fn within(wire: Arc<Wire>) -> Self {
        let own = json!({"disposeOnDetach": true});
        let context = wire.call(None, "Target.createBrowserContext", own).await["browserContextId"].take();
        Self { wire, context }
    }

    /// Opens a page, and waits until it is loaded.
    pub(crate) async fn open(&self, url: &str) -> Page {
        let page = Page::new(&self.wire, &self.context).await;
        page.go(url).await;
        page
    }

    /// What the browser's processes are: their kinds and ids.
    pub(crate) async fn processes(&self) -> Value {
        self.wire.call(None, "SystemInfo.getProcessInfo", json!({})).await["processInfo"].take()
    }
}
