//! What fails in this crate, other than a refusal.

use fleetlog_event_log::database;

/// A failure of the database or of cryptography. Refusals have types of their own.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database.
    #[error(transparent)]
    Database(#[from] database::Error),
    /// A stored key or hash is damaged, or the system has no randomness.
    #[error("use a {what}: {reason}")]
    Crypto {
        /// What was being used.
        what: &'static str,
        /// Why it failed.
        reason: String,
    },
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}
