//! A receiver of webhooks: a small HTTP server that keeps what it is sent, and answers as it is told to.

use std::net::SocketAddr;
use std::sync::Arc;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::eventually;
use super::http::{Answer, Request, converse};

/// How a receiver answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Manner {
    /// With this status.
    Status(u16),
    /// With this status, and these headers.
    Headers(u16, Vec<(&'static str, String)>),
    /// Never.
    Silent,
    /// With 204, once it is to behave otherwise.
    Held,
    /// With 200 and a body of this many bytes, sent for as long as somebody reads.
    Long(u64),
    /// With these bytes, and then nothing more.
    Begun(&'static str),
}

/// A request that was taken.
#[derive(Debug, Clone)]
pub(crate) struct Taken {
    pub(crate) id: String,
    pub(crate) timestamp: String,
    pub(crate) signatures: String,
    pub(crate) body: Vec<u8>,
    /// What it was answered with.
    pub(crate) status: u16,
}

impl Taken {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    pub(crate) fn events(&self) -> Vec<Value> {
        self.json()["data"]["events"].as_array().cloned().unwrap_or_default()
    }

    /// Whether one of the signatures is made with a secret, as Standard Webhooks says.
    pub(crate) fn is_signed_with(&self, secret: &str) -> bool {
        let key = BASE64_STANDARD.decode(secret.strip_prefix("whsec_").expect("a secret")).expect("base64");
        let signed = [format!("{}.{}.", self.id, self.timestamp).as_bytes(), &self.body].concat();
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), &signed);
        let expected = format!("v1,{}", BASE64_STANDARD.encode(tag));
        self.signatures.split(' ').any(|signature| signature == expected)
    }
}

struct State {
    manner: watch::Sender<Manner>,
    taken: Vec<Taken>,
    /// How many bytes of long answers were sent.
    sent: u64,
}

/// A receiver. It stops listening when it goes out of scope.
pub(crate) struct Receiver {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    serving: JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        Self::on(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    async fn on(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.expect("a socket");
        let address = listener.local_addr().expect("bound");
        let state = State { manner: watch::Sender::new(Manner::Status(204)), taken: vec![], sent: 0 };
        let state = Arc::new(Mutex::new(state));
        let serving = tokio::spawn(serve(listener, Arc::clone(&state)));
        Self { address, state, serving }
    }

    /// Where it is.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    pub(crate) fn behave(&self, manner: Manner) {
        self.state.lock().manner.send_replace(manner);
    }

    /// Everything that it was sent.
    pub(crate) fn taken(&self) -> Vec<Taken> {
        self.state.lock().taken.clone()
    }

    pub(crate) fn sent(&self) -> u64 {
        self.state.lock().sent
    }

    /// The first `count` requests, once there are as many.
    pub(crate) async fn requests(&self, count: usize) -> Vec<Taken> {
        eventually("requests to a webhook", async || {
            let taken = self.taken();
            if taken.len() >= count { Ok(taken[..count].to_vec()) } else { Err(taken.len()) }
        })
        .await
    }

    /// The positions of a log's events that it has answered with 2xx, once there are `count` of them, repeats left out.
    pub(crate) async fn positions(&self, log_id: i32, count: usize) -> Vec<i64> {
        eventually("events at a webhook", async || {
            let mut positions: Vec<i64> = vec![];
            for event in self.accepted() {
                let position = event["position"].as_i64().expect("a position");
                if event["log_id"] == log_id && positions.last().is_none_or(|last| *last < position) {
                    positions.push(position);
                }
            }
            if positions.len() >= count { Ok(positions) } else { Err(positions.len()) }
        })
        .await
    }

    /// The events of all requests that it has answered with 2xx.
    pub(crate) fn accepted(&self) -> Vec<Value> {
        let taken = self.taken();
        taken.iter().filter(|taken| taken.status / 100 == 2).flat_map(Taken::events).collect()
    }
}

async fn serve(listener: TcpListener, state: Arc<Mutex<State>>) {
    let mut clients = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        clients.spawn(client(stream, Arc::clone(&state)));
    }
}

async fn client(mut stream: TcpStream, state: Arc<Mutex<State>>) {
    let raw = Mutex::new(None);
    let (reading, mut writing) = stream.split();
    let joined = tokio::io::join(reading, &mut writing);
    let answer = |request: Request| {
        let answered = answer(&state, &request);
        let mut manner = state.lock().manner.subscribe();
        if answered.is_none() {
            *raw.lock() = Some(manner.borrow().clone());
        }
        async move {
            let _ = manner.wait_for(|manner| *manner != Manner::Held).await;
            answered
        }
    };
    converse(joined, answer).await;
    match raw.into_inner() {
        Some(Manner::Silent) => std::future::pending().await,
        Some(Manner::Begun(bytes)) => {
            let _ = writing.write_all(bytes.as_bytes()).await;
            std::future::pending::<()>().await;
        }
        Some(Manner::Long(bytes)) => {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {bytes}\r\n\r\n");
            let _ = writing.write_all(head.as_bytes()).await;
            let block = vec![b'x'; 1 << 16];
            let mut left = bytes;
            while left > 0 && writing.write_all(&block).await.is_ok() {
                left = left.saturating_sub(block.len() as u64);
                state.lock().sent += block.len() as u64;
            }
        }
        _ => {}
    }
}

fn answer(state: &Mutex<State>, request: &Request) -> Option<Answer> {
    let header = |name| request.header(name).unwrap_or_default().to_owned();
    let mut state = state.lock();
    let (status, headers) = match state.manner.borrow().clone() {
        Manner::Status(status) => (status, vec![]),
        Manner::Headers(status, headers) => (status, headers),
        Manner::Held => (204, vec![]),
        Manner::Silent | Manner::Long(_) | Manner::Begun(_) => (0, vec![]),
    };
    assert_eq!((&*request.method, &*request.target), ("POST", "/hook"));
    state.taken.push(Taken {
        id: header("webhook-id"),
        timestamp: header("webhook-timestamp"),
        signatures: header("webhook-signature"),
        body: request.body.clone(),
        status,
    });
    (status > 0).then(|| Answer { status, headers, ..Answer::default() })
}
