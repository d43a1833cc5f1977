//! The subscriptions of one connection, each by the client's name for it.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use crate::graphql::followed::{Followed, Said};

/// The most subscriptions of a connection.
pub(super) const MOST: usize = 32;

/// The subscriptions of a connection, in turn: one that has much to say does not keep the others from it.
#[derive(Default)]
pub(super) struct Subscriptions {
    followed: Vec<(String, Followed)>,
    /// Whose turn it is.
    turn: usize,
}

impl Subscriptions {
    /// Whether there is one of this name.
    pub(super) fn has(&self, id: &str) -> bool {
        self.followed.iter().any(|(own, _)| own == id)
    }

    /// Whether there may be one more.
    pub(super) fn have_room(&self) -> bool {
        self.followed.len() < MOST
    }

    pub(super) fn add(&mut self, id: String, followed: Followed) {
        self.followed.push((id, followed));
    }

    pub(super) fn get(&self, id: &str) -> Option<&Followed> {
        self.followed.iter().find(|(own, _)| own == id).map(|(_, followed)| followed)
    }

    pub(super) fn remove(&mut self, id: &str) -> Option<Followed> {
        let n = self.followed.iter().position(|(own, _)| own == id)?;
        Some(self.followed.swap_remove(n).1)
    }

    /// What one of them says next. A call that is dropped loses nothing.
    pub(super) async fn next(&mut self) -> (String, Option<Said>) {
        poll_fn(|context| {
            let count = self.followed.len();
            for step in 0..count {
                let n = (self.turn + step) % count;
                let (id, followed) = &mut self.followed[n];
                if let Poll::Ready(said) = pin!(followed.next()).poll(context) {
                    self.turn = n + 1;
                    return Poll::Ready((id.clone(), said));
                }
            }
            Poll::Pending
        })
        .await
    }
}
