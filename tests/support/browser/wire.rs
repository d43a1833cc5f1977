//! The connection to Chromium: calls with their answers, and what it tells by itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

use crate::support::LIMIT;

/// A connection. It is closed when it goes out of scope.
pub(super) struct Wire {
    outgoing: mpsc::UnboundedSender<Message>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// The number of the last call.
    last: u64,
    waiting: HashMap<u64, oneshot::Sender<Value>>,
    /// What came without a call, in order.
    events: Vec<Value>,
}

impl Wire {
    pub(super) async fn connect(address: &str) -> Self {
        let (socket, _) = connect_async(address).await.expect("a connection");
        let (mut sending, mut hearing) = socket.split();
        let (outgoing, mut calls) = mpsc::unbounded_channel();
        let state = Arc::<Mutex<State>>::default();
        let told = Arc::clone(&state);
        tokio::spawn(async move {
            loop {
                let heard = tokio::select! {
                    call = calls.recv() => match call {
                        Some(call) => {
                            sending.send(call).await.expect("sent");
                            continue;
                        }
                        None => break,
                    },
                    heard = hearing.next() => heard,
                };
                match heard {
                    Some(Ok(Message::Text(text))) => {
                        locked(&told).take(serde_json::from_str(&text).expect("JSON"));
                    }
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => break,
                }
            }
            // Whoever waits for an answer learns that there is none.
            locked(&told).waiting.clear();
        });
        Self { outgoing, state }
    }

    /// Calls a method, of a page if its session is given, and returns the answer.
    pub(super) async fn call(&self, session: Option<&str>, method: &str, params: Value) -> Value {
        let mut answer = self.try_call(session, method, params).await;
        assert_eq!(answer.get("error"), None, "{method}");
        answer["result"].take()
    }

    /// Calls a method, and returns its answer, or its error.
    pub(super) async fn try_call(&self, session: Option<&str>, method: &str, params: Value) -> Value {
        let (told, answer) = oneshot::channel();
        let number = {
            let mut state = locked(&self.state);
            state.last += 1;
            let number = state.last;
            state.waiting.insert(number, told);
            number
        };
        let mut call = json!({"id": number, "method": method, "params": params});
        if let Some(session) = session {
            call["sessionId"] = json!(session);
        }
        self.outgoing.send(Message::text(call.to_string())).expect("open");
        let answer = tokio::time::timeout(LIMIT, answer).await;
        answer.unwrap_or_else(|_| panic!("{method}: no answer")).expect("Chromium is there")
    }

    /// What a page has told so far, as much of it as is looked for.
    pub(super) fn told<T>(&self, session: &str, look: impl Fn(&str, &Value) -> Option<T>) -> Vec<T> {
        let state = locked(&self.state);
        let own = state.events.iter().filter(|event| event["sessionId"] == session);
        own.filter_map(|event| look(event["method"].as_str()?, &event["params"])).collect()
    }
}

impl State {
    fn take(&mut self, message: Value) {
        match message["id"].as_u64() {
            Some(id) => {
                if let Some(waiting) = self.waiting.remove(&id) {
                    // Whoever gave up waiting is gone.
                    let _ = waiting.send(message);
                }
            }
            None => self.events.push(message),
        }
    }
}

/// A test that has panicked meanwhile does not keep the others from looking.
fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
