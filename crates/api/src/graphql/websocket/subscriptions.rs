//! The subscriptions of one connection, each by the client's name for it.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use crate::graphql::followed::{Followed, Said};
use crate::live::steps::{self, Step};

/// The most subscriptions of a connection.
pub(super) const MOST: usize = 32;

/// The subscriptions of a connection that work out what they say next, the one that has waited for longest first: one that has
/// much to say does not keep the others from it.
#[derive(Default)]
pub(super) struct Subscriptions(Vec<(String, Step<Says>)>);

/// A subscription, and what it says.
type Says = (Followed, Option<Said>);

impl Subscriptions {
    /// Whether there is one of this name.
    pub(super) fn has(&self, id: &str) -> bool {
        self.0.iter().any(|(own, _)| own == id)
    }

    /// Whether there may be one more.
    pub(super) fn have_room(&self) -> bool {
        self.0.len() < MOST
    }

    /// Lets a subscription work out what it says next.
    pub(super) fn add(&mut self, id: String, mut followed: Followed) {
        let step = steps::take(async move {
            let said = followed.next().await;
            (followed, said)
        });
        self.0.push((id, step));
    }

    /// Gives a subscription up, if there is one of this name.
    pub(super) fn remove(&mut self, id: &str) {
        self.0.retain(|(own, _)| own != id);
    }

    /// What one of them says next; it is not among them any more. `None`: it has panicked. A call that is dropped loses nothing.
    pub(super) async fn next(&mut self) -> (String, Option<Says>) {
        poll_fn(|context| {
            for n in 0..self.0.len() {
                if let Poll::Ready(says) = Pin::new(&mut self.0[n].1).poll(context) {
                    let (id, _) = self.0.remove(n);
                    return Poll::Ready((id, says.ok()));
                }
            }
            Poll::Pending
        })
        .await
    }
}
