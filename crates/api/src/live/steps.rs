//! The steps of streams, apart from their clients. A client that does not read is waited for between two steps, and never in the
//! midst of one: what a step holds of the database, a connection or a turn, would be held for as long.

use tokio_util::task::AbortOnDropHandle;

/// A step that is under way. Dropping it gives it up.
pub type Step<T> = AbortOnDropHandle<T>;

/// Takes a step in a task of its own.
pub fn take<T: Send + 'static>(step: impl Future<Output = T> + Send + 'static) -> Step<T> {
    AbortOnDropHandle::new(tokio::spawn(step))
}
