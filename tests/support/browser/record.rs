//! What a page has said and asked for: its console and its network log.

use serde_json::Value;

use super::page::Page;

impl Page {
    /// What the page has complained of: exceptions that nobody caught, and errors on its console. What the network refused is
    /// not among them; see [`Page::refused`].
    pub(crate) async fn complaints(&self) -> Vec<String> {
        self.told(complaint).await
    }

    /// Every address that the page asked for, by HTTP or WebSocket, in order.
    pub(crate) async fn asked(&self) -> Vec<String> {
        self.told(|method, params| {
            let address = match method {
                "Network.requestWillBeSent" => &params["request"]["url"],
                "Network.webSocketCreated" => &params["url"],
                _ => return None,
            };
            let address = address.as_str()?;
            (!address.starts_with("data:")).then(|| address.to_owned())
        })
        .await
    }

    /// What the page asked for and did not get, with the status.
    pub(crate) async fn refused(&self) -> Vec<String> {
        self.told(|method, params| {
            let response = &params["response"];
            let refused = method == "Network.responseReceived" && response["status"].as_u64()? >= 400;
            refused.then(|| format!("{} {}", response["status"], response["url"]))
        })
        .await
    }

    async fn told<T>(&self, look: impl Fn(&str, &Value) -> Option<T>) -> Vec<T> {
        // What was told before comes before the answer.
        self.run("0").await;
        self.wire.told(&self.session, look)
    }
}

fn complaint(method: &str, params: &Value) -> Option<String> {
    match method {
        "Runtime.exceptionThrown" => Some(params["exceptionDetails"].to_string()),
        "Runtime.consoleAPICalled" if params["type"] == "error" => Some(params["args"].to_string()),
        "Log.entryAdded" if params["entry"]["level"] == "error" && params["entry"]["source"] != "network" => {
            Some(params["entry"]["text"].to_string())
        }
        _ => None,
    }
}
