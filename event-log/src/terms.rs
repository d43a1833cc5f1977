//! The terms on which each tenant uses the platform, as far as this process knows them. Every message and every read
//! looks at them, which must not cost a query each time.
//!
//! This node's own decisions are known at once; those of other nodes are learnt by polling: see `upkeep`.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::RwLock;
use serde::Serialize;
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgPool, Row};

use crate::Result;

/// One tenant's terms.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Terms {
    /// Whether the tenant is suspended: neither its users nor its devices may log in.
    pub suspended: bool,
    /// Readings older than this many days are not shown. `None` shows all.
    pub retention_days: Option<i32>,
    /// How many devices may be in service. `None` sets no limit.
    pub max_devices: Option<i32>,
    /// How much its devices may send.
    pub ingest: IngestLimits,
}

/// How much the devices of a tenant may send, by its tier. `None` sets no bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct IngestLimits {
    /// How many messages a second, over all connections of a node.
    pub messages_per_s: Option<i32>,
    /// How many bytes of payload a second, over all connections of a node.
    pub bytes_per_s: Option<i64>,
    /// How many messages a second over one connection to the endpoint.
    pub connection_messages_per_s: Option<i32>,
    /// How many bytes of payload a second over one connection to the endpoint.
    pub connection_bytes_per_s: Option<i64>,
    /// How many devices a second may register themselves, on a node.
    pub new_devices_per_s: Option<i32>,
}

impl FromRow<'_, PgRow> for IngestLimits {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            messages_per_s: row.try_get("messages_per_s")?,
            bytes_per_s: row.try_get("bytes_per_s")?,
            connection_messages_per_s: row.try_get("connection_messages_per_s")?,
            connection_bytes_per_s: row.try_get("connection_bytes_per_s")?,
            new_devices_per_s: row.try_get("new_devices_per_s")?,
        })
    }
}

/// Each row is the terms of a tenant that has any.
pub(crate) const TERMS: &str = "
    SELECT tenant, suspended_at IS NOT NULL AS suspended, retention_days, max_devices,
           messages_per_s, bytes_per_s, connection_messages_per_s, connection_bytes_per_s, new_devices_per_s
    FROM tenants JOIN tiers USING (tier)
    WHERE suspended_at IS NOT NULL OR num_nonnulls(
        retention_days, max_devices, messages_per_s, bytes_per_s, connection_messages_per_s,
        connection_bytes_per_s, new_devices_per_s) > 0";

impl Terms {
    /// The time before which no reading is shown.
    #[must_use]
    pub fn shown_since(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.retention_days.and_then(|days| now.checked_sub_signed(TimeDelta::days(days.into())))
    }
}

/// The terms of each tenant that has any.
pub(crate) type Known = HashMap<String, Terms>;

/// All tenants' terms. Cheap to clone.
#[derive(Clone, Default)]
pub struct AllTerms(Arc<RwLock<Arc<Known>>>);

impl AllTerms {
    pub(crate) async fn load(pool: &PgPool) -> Result<Self> {
        let terms = Self::default();
        terms.refresh(pool).await?;
        Ok(terms)
    }

    /// A tenant's terms, as they are known now.
    #[must_use]
    pub fn of(&self, tenant: &str) -> Terms {
        self.known(tenant).unwrap_or_default()
    }

    /// A tenant's terms, if it has any.
    #[must_use]
    pub fn known(&self, tenant: &str) -> Option<Terms> {
        self.0.read().get(tenant).copied()
    }

    /// Reads the terms over a pool that sees all tenants: a decision of another node is known when this returns.
    pub async fn refresh(&self, pool: &PgPool) -> Result<()> {
        let rows = sqlx::query(TERMS).fetch_all(pool).await?;
        self.learn(rows.iter().map(decided).collect::<Result<_>>()?);
        Ok(())
    }

    /// Takes in terms that were just read.
    pub(crate) fn learn(&self, fresh: Known) {
        *self.0.write() = Arc::new(fresh);
    }
}

/// Reads a tenant and its terms from a row.
pub(crate) fn decided(row: &PgRow) -> Result<(String, Terms)> {
    let terms = Terms {
        suspended: row.try_get("suspended")?,
        retention_days: row.try_get("retention_days")?,
        max_devices: row.try_get("max_devices")?,
        ingest: IngestLimits::from_row(row)?,
    };
    Ok((row.try_get("tenant")?, terms))
}
