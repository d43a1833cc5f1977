//! On which terms each tenant uses the platform, as far as this process knows: what is looked at for every message and
//! every read, and must not cost a query each time.
//!
//! What is decided here is known here at once; what another node decides, by polling: see `upkeep`.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row};

use crate::Result;

/// One tenant's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Terms {
    /// Nobody of it is let in, neither people nor devices.
    pub suspended: bool,
    /// Readings that are older are not shown; `None`: all are.
    pub retention_days: Option<i32>,
    /// How many devices may be in service; `None`: any number.
    pub max_devices: Option<i32>,
}

impl Terms {
    /// The moment before which no reading is shown.
    #[must_use]
    pub fn shown_since(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.retention_days.and_then(|days| now.checked_sub_signed(TimeDelta::days(days.into())))
    }
}

/// The terms of each tenant for which something is decided.
pub(crate) type Known = HashMap<String, Terms>;

/// All tenants'. Cheap to clone.
#[derive(Clone, Default)]
pub struct AllTerms(Arc<RwLock<Arc<Known>>>);

impl AllTerms {
    pub(crate) async fn load(pool: &PgPool) -> Result<Self> {
        let terms = Self::default();
        terms.refresh(pool).await?;
        Ok(terms)
    }

    /// A tenant's, as they are known now.
    #[must_use]
    pub fn of(&self, tenant: &str) -> Terms {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known.get(tenant).copied().unwrap_or_default()
    }

    /// Reads them anew, through connections that see all tenants: what was decided is known here when this returns.
    pub async fn refresh(&self, pool: &PgPool) -> Result<()> {
        let rows = sqlx::query(
            "SELECT tenant, suspended_at IS NOT NULL AS suspended, retention_days, max_devices FROM tenants
             WHERE suspended_at IS NOT NULL OR retention_days IS NOT NULL OR max_devices IS NOT NULL",
        )
        .fetch_all(pool)
        .await?;
        self.learn(rows.iter().map(decided).collect::<Result<_>>()?);
        Ok(())
    }

    /// Takes in terms that were read a moment ago.
    pub(crate) fn learn(&self, fresh: Known) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(fresh);
    }
}

/// A row of terms, and whose they are.
pub(crate) fn decided(row: &PgRow) -> Result<(String, Terms)> {
    let terms = Terms {
        suspended: row.try_get("suspended")?,
        retention_days: row.try_get("retention_days")?,
        max_devices: row.try_get("max_devices")?,
    };
    Ok((row.try_get("tenant")?, terms))
}
