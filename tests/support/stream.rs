//! A client of server-sent events, as a browser's `EventSource` reads them.

use fleetlog_access::Role;
use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use serde_json::Value;

use super::LIMIT;
use super::api::{Answer, Api};

/// An open stream.
pub(crate) struct Stream {
    response: reqwest::Response,
    unread: Vec<u8>,
    /// The id of the last message: where the next stream goes on.
    pub(crate) last: String,
}

/// A message that tells something.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Told {
    pub(crate) id: String,
    /// The message's name; empty for an event of the log.
    pub(crate) name: String,
    pub(crate) data: Value,
}

impl Stream {
    /// Opens a stream, or says why not.
    pub(crate) async fn open(request: reqwest::RequestBuilder) -> Result<Self, Answer> {
        let opened = Self::try_open(request).await;
        opened.expect("an answer")
    }

    /// Opens a stream of a server that may be gone.
    pub(crate) async fn try_open(request: reqwest::RequestBuilder) -> reqwest::Result<Result<Self, Answer>> {
        let response = request.timeout(10 * LIMIT).send().await?;
        if response.status() != StatusCode::OK {
            let (status, headers): (_, HeaderMap) = (response.status(), response.headers().clone());
            return Ok(Err(Answer { status, headers, text: response.text().await? }));
        }
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut stream = Self { response, unread: vec![], last: String::new() };
        // The first block says where the stream begins.
        stream.block().await;
        Ok(Ok(stream))
    }

    /// Opens a stream of the default tenant as its user of a role.
    pub(crate) async fn of(api: &Api, role: Role, query: &str) -> Self {
        let request =
            api.request(Method::GET, &format!("/stream?{query}")).bearer_auth(api.token("t0", role));
        Self::open(request).await.unwrap_or_else(|answer| panic!("{query}: {}", answer.text))
    }

    /// What the stream tells next; `None` once it has ended.
    pub(crate) async fn next(&mut self) -> Option<Told> {
        loop {
            let block = self.block().await?;
            let field = |name: &str| {
                let lines = block.lines().filter_map(|line| line.split_once(": "));
                lines.filter(|(field, _)| *field == name).map(|(_, value)| value.to_owned()).next_back()
            };
            let Some(data) = field("data") else { continue };
            let data = serde_json::from_str(&data).unwrap_or_else(|_| panic!("no JSON: {data}"));
            return Some(Told { id: self.last.clone(), name: field("event").unwrap_or_default(), data });
        }
    }

    /// The next event of the log.
    pub(crate) async fn event(&mut self) -> Value {
        let told = self.next().await.expect("an event");
        assert_eq!(told.name, "", "{told:?}");
        told.data
    }

    /// The next `count` events.
    pub(crate) async fn events(&mut self, count: usize) -> Vec<Value> {
        let mut events = vec![];
        while events.len() < count {
            events.push(self.event().await);
        }
        events
    }

    /// The name and the code of the message that ends the stream, after whatever comes before it.
    pub(crate) async fn end(&mut self) -> String {
        let mut last = None;
        while let Some(told) = self.next().await {
            last = Some(told);
        }
        let last = last.expect("a last message");
        assert_eq!(last.name, "end", "{last:?}");
        last.data["code"].as_str().expect("a code").to_owned()
    }

    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.unread.windows(2).position(|pair| pair == b"\n\n") {
                let block: Vec<u8> = self.unread.drain(..end + 2).collect();
                let block = String::from_utf8(block).expect("UTF-8");
                if let Some(id) = block.lines().find_map(|line| line.strip_prefix("id: ")) {
                    id.clone_into(&mut self.last);
                }
                return Some(block);
            }
            let chunk = tokio::time::timeout(LIMIT, self.response.chunk()).await.expect("in time");
            // A server that was killed ends the stream as well.
            self.unread.extend_from_slice(&chunk.ok().flatten()?);
        }
    }
}
