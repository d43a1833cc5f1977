//! Why something is not done for a webhook.

use fleetlog_access as access;
use fleetlog_event_log::database;

use crate::url::BadUrl;
use crate::webhook::MAX_WEBHOOKS;

/// A failure of the database, or of a secret that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database.
    #[error(transparent)]
    Database(#[from] database::Error),
    /// A secret cannot be sealed or opened.
    #[error("failed to {0}")]
    Sealed(access::Error),
    /// A row says what this version does not understand.
    #[error("webhook {0} cannot be read: {1}")]
    Unreadable(uuid::Uuid, String),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

impl From<access::Error> for Error {
    fn from(error: access::Error) -> Self {
        match error {
            access::Error::Database(error) => Self::Database(error),
            error @ access::Error::Crypto { .. } => Self::Sealed(error),
        }
    }
}

/// Why a request about webhooks is refused.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// There is no such webhook.
    #[error("there is no such webhook")]
    Unknown,
    /// There is no such delivery.
    #[error("there is no such delivery")]
    UnknownDelivery,
    /// The tenant has as many as it may have.
    #[error("a tenant has at most {MAX_WEBHOOKS} webhooks")]
    TooMany,
    /// No webhook may be there.
    #[error(transparent)]
    BadUrl(#[from] BadUrl),
    /// The position lies after what the webhook has taken.
    #[error("the webhook has not come that far, or does not follow that log: {0}")]
    NotBehind(String),
    /// The delivery has no events to send again.
    #[error("a test has no events to send again: ask for another test")]
    IsTest,
    /// Another test or replay of the tenant is under way.
    #[error("another test or replay is under way; try again")]
    Busy,
    /// Something failed.
    #[error(transparent)]
    Failed(#[from] Error),
}

impl From<database::Error> for Refused {
    fn from(error: database::Error) -> Self {
        Self::Failed(error.into())
    }
}

impl From<sqlx::Error> for Refused {
    fn from(error: sqlx::Error) -> Self {
        Self::Failed(error.into())
    }
}

impl From<access::Error> for Refused {
    fn from(error: access::Error) -> Self {
        Self::Failed(error.into())
    }
}
