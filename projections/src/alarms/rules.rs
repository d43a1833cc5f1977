//! The queries over `alarm_rules`.

use chrono::{DateTime, Utc};
use fleetlog_aggregates::alarm_rule::Definition;
use fleetlog_event_log::database::parsed;
use fleetlog_event_log::{Position, TenantLog};
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{FromRow, Row};

use super::Error;

/// A rule that a tenant has defined.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// The rule's name.
    pub name: String,
    /// How often it was defined.
    pub version: i32,
    /// What the rule says.
    pub definition: Definition,
    /// When the rule got this definition.
    pub defined_at: DateTime<Utc>,
    /// The position of the rule's last event in the control log.
    pub last_position: Position,
}

impl FromRow<'_, PgRow> for Rule {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            name: row.try_get("name")?,
            version: row.try_get("version")?,
            definition: Definition {
                title: row.try_get("title")?,
                severity: parsed(row, "severity")?,
                devices: row.try_get::<Json<_>, _>("devices")?.0,
                condition: row.try_get::<Json<_>, _>("condition")?.0,
                mail: row.try_get("mail")?,
            },
            defined_at: row.try_get("defined_at")?,
            last_position: row.try_get("last_position")?,
        })
    }
}

/// A tenant's rules, by name.
pub async fn rules(log: &TenantLog) -> Result<Vec<Rule>, Error> {
    let rules = sqlx::query_as(
        "SELECT name, version, title, severity, devices, condition, mail,
                defined_at, last_position
         FROM alarm_rules WHERE tenant = $1 AND removed_at IS NULL ORDER BY name",
    );
    Ok(rules.bind(log.tenant().as_str()).fetch_all(&mut *log.connection().await?).await?)
}
