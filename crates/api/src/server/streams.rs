//! The requests of an HTTP/2 connection, which has many under way at a time, and their answers, each of which its peer
//! must keep reading. TCP does not tell: the peer may read all bytes and yet give an answer no room.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::response::Response;
use http_body::{Frame, SizeHint};
use hyper::rt::Executor;
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::socket::{Patience, Unread};

/// An answer is given to HTTP/2 in pieces of at most this many bytes, each when there is room for it.
const PIECE: usize = 16 * 1024;
/// How often answers are looked at, as a part of the time that they may wait.
const LOOKS: u32 = 4;

/// The tasks of a connection's requests. They end with the connection.
#[derive(Clone, Default)]
pub(super) struct Streams(Arc<Mutex<JoinSet<()>>>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, request: F) {
        let mut tasks = self.0.lock();
        while let Some(ended) = tasks.try_join_next() {
            if let Err(error) = ended {
                tracing::error!(%error, "serving an HTTP request ended in a panic");
            }
        }
        tasks.spawn(request);
    }
}

/// The answers of a connection that wait for their peer.
#[derive(Clone)]
pub(super) struct Answers {
    unread: Duration,
    waiting: Arc<Mutex<Waiting>>,
}

#[derive(Default)]
struct Waiting {
    next: u64,
    /// When the patience with each answer ends.
    until: HashMap<u64, Instant>,
}

impl Answers {
    pub(super) fn new(unread: Duration) -> Self {
        Self { unread, waiting: Arc::default() }
    }

    /// Watches that the peer reads an answer.
    pub(super) fn watch(&self, response: Response) -> Response {
        response.map(|body| {
            if body.is_end_stream() {
                return body;
            }
            let mut waiting = self.waiting.lock();
            let id = waiting.next;
            waiting.next += 1;
            let (answers, patience) = (self.clone(), Patience::new(self.unread));
            Body::new(Watched { body, rest: Bytes::new(), given: 0, id, answers, patience })
        })
    }

    /// Returns once an answer has waited for too long.
    pub(super) async fn unread(&self) -> Unread {
        loop {
            sleep(self.unread / LOOKS).await;
            if self.waiting.lock().until.values().any(|until| *until <= Instant::now()) {
                return Unread;
            }
        }
    }
}

/// The body of an answer.
struct Watched {
    body: Body,
    /// What the body gave and the peer has had no room for.
    rest: Bytes,
    /// How many bytes were given last. HTTP/2 asks for more when there is room for more.
    given: usize,
    id: u64,
    answers: Answers,
    patience: Patience,
}

impl Watched {
    fn give(&mut self) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let piece = self.rest.split_to(self.rest.len().min(PIECE));
        self.given = piece.len();
        let until = self.patience.waits(Instant::now());
        self.answers.waiting.lock().until.insert(self.id, until);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let given = std::mem::take(&mut self.given);
        if given > 0 {
            self.patience.took(given, Instant::now());
            self.answers.waiting.lock().until.remove(&self.id);
        }
        if !self.rest.is_empty() {
            return self.give();
        }
        match ready!(Pin::new(&mut self.body).poll_frame(context)) {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) if data.is_empty() => Poll::Ready(Some(Ok(Frame::data(data)))),
                Ok(data) => {
                    self.rest = data;
                    self.give()
                }
                Err(trailers) => Poll::Ready(Some(Ok(trailers))),
            },
            ended => Poll::Ready(ended),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (of_body, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(of_body.lower() + rest);
        if let Some(upper) = of_body.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.answers.waiting.lock().until.remove(&self.id);
    }
}
