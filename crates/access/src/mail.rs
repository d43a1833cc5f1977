//! Mails: written by the transaction that they tell of, sent soon after.
//!
//! - [`Mail`]: one of them, and how it gets onto its way
//! - [`letters`]: what they say
//! - [`delivery`]: from the table to [`transport`], by whichever node comes first
//!
//! A mail's body may have a token in it. It is kept only until it is sent.

pub mod delivery;
pub mod letters;
pub mod transport;

use fleetlog_aggregates::identity::Tenant;
use sqlx::PgConnection;
use uuid::Uuid;

pub use delivery::Delivery;
pub use letters::Letters;
pub use transport::{BadSettings, Transport};

use super::error::Error;

/// A mail to be: plain text.
#[derive(Clone, PartialEq, Eq)]
pub struct Mail {
    /// Whom it is for: one address.
    pub recipient: String,
    /// What it is about, in a few words.
    pub subject: String,
    /// What it says.
    pub body: String,
}

impl Mail {
    /// Puts it on its way, on behalf of a tenant. It is sent if the transaction commits.
    pub async fn post(&self, connection: &mut PgConnection, tenant: &Tenant) -> Result<(), Error> {
        self.put(connection, Some(tenant)).await
    }

    /// Puts it on its way, on behalf of the installation, whose mails no tenant sees. It is sent if the transaction commits.
    pub async fn post_for_all(&self, connection: &mut PgConnection) -> Result<(), Error> {
        self.put(connection, None).await
    }

    async fn put(&self, connection: &mut PgConnection, tenant: Option<&Tenant>) -> Result<(), Error> {
        sqlx::query(
            "INSERT INTO mail_outbox (mail_id, tenant, recipient, subject, body) VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(Uuid::now_v7())
        .bind(tenant.map(Tenant::as_str))
        .bind(&self.recipient)
        .bind(&self.subject)
        .bind(&self.body)
        .execute(connection)
        .await?;
        Ok(())
    }
}
