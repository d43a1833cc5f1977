//! The steps of streams, apart from their clients. A client that does not read is waited for between two steps, and never in the
//! midst of one: what a step holds of the database, a connection or a turn, would be held for as long.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use tokio_util::task::AbortOnDropHandle;

/// The most streams over one WebSocket.
pub const MOST: usize = 32;

/// A step that is under way. Dropping it gives it up.
type Step<T> = AbortOnDropHandle<T>;

/// Takes a step in a task of its own.
pub fn take<T: Send + 'static>(step: impl Future<Output = T> + Send + 'static) -> Step<T> {
    AbortOnDropHandle::new(tokio::spawn(step))
}

/// The steps under way of one WebSocket's streams, each by the client's name for its stream. The one that was begun first comes
/// first, so a stream that has much to say does not keep the others from it.
pub struct Steps<K, T>(Vec<(K, Step<T>)>);

impl<K, T> Default for Steps<K, T> {
    fn default() -> Self {
        Self(vec![])
    }
}

impl<K: PartialEq, T: Send + 'static> Steps<K, T> {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether there is one of this name.
    #[must_use]
    pub fn has(&self, name: &K) -> bool {
        self.0.iter().any(|(own, _)| own == name)
    }

    /// Whether there may be one more.
    #[must_use]
    pub fn have_room(&self) -> bool {
        self.0.len() < MOST
    }

    /// Takes a step of the stream of this name.
    pub fn add(&mut self, name: K, step: impl Future<Output = T> + Send + 'static) {
        self.0.push((name, take(step)));
    }

    /// Gives up the step of this name, if there is one, and with it its stream.
    pub fn remove(&mut self, name: &K) {
        self.0.retain(|(own, _)| own != name);
    }

    /// What the next step that ends leads to; it is not among them any more. `None`: it has panicked, which the runtime has told. A
    /// call that is dropped loses nothing. Without a step it never returns.
    pub async fn next(&mut self) -> (K, Option<T>) {
        poll_fn(|context| {
            for n in 0..self.0.len() {
                if let Poll::Ready(done) = Pin::new(&mut self.0[n].1).poll(context) {
                    let (name, _) = self.0.remove(n);
                    return Poll::Ready((name, done.ok()));
                }
            }
            Poll::Pending
        })
        .await
    }
}
