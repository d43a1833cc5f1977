//! Who is calling, and what they may do. Knows no HTTP.
//!
//! - [`principal`]: the caller: a user, the user's tenant and role
//! - [`mod@authorize`]: the only door: may this principal do that
//! - [`password`]: slow hashes, off the async threads
//! - [`keys`]: the signing keys, and the access tokens they sign
//! - [`users`]: the table of users
//! - [`limiter`]: how often one may try to log in
//! - [`login`]: an e-mail address and a password against an access token
//! - [`mod@first_start`]: the keys and the first admin
//!
//! Users and keys are ordinary rows, never events.

pub mod authorize;
pub mod first_start;
pub mod keys;
pub mod limiter;
pub mod login;
pub mod password;
pub mod principal;
pub mod users;

use fleetlog_event_log::database;

pub use authorize::{Action, Forbidden, Resource, authorize};
pub use first_start::{FirstStart, first_start};
pub use keys::Keys;
pub use login::Logins;
pub use principal::{Principal, Role};

/// What fails in here, other than a refusal.
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
    /// The first admin's password is too easy to guess.
    #[error("take the first admin's password: {0}")]
    Weak(#[from] password::Weak),
    /// The first admin's e-mail address is none.
    #[error("take the first admin's e-mail address: 3 to 254 characters, with an @ and without spaces")]
    BadEmail,
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}
