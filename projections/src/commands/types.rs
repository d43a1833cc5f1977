//! The queries over `command_types`.

use chrono::{DateTime, Utc};
use fleetlog_event_log::event::Json;
use fleetlog_event_log::{Position, TenantLog};
use sqlx::postgres::PgRow;
use sqlx::{FromRow, Row};

use super::Error;

/// A command type that a tenant has defined.
#[derive(Debug, Clone, PartialEq)]
pub struct CommandType {
    /// The name of the type, which its commands carry in `cmd`.
    pub name: String,
    /// What the command does, for people.
    pub description: Option<String>,
    /// The JSON Schema that `params` must fit.
    pub params: Json,
    /// How many attempts a command has whose request does not say.
    pub max_attempts: Option<i32>,
    /// When the type got this definition.
    pub defined_at: DateTime<Utc>,
    /// The position of the type's last event in the control log. `None` if it is not known.
    pub last_position: Option<Position>,
}

impl FromRow<'_, PgRow> for CommandType {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            name: row.try_get("name")?,
            description: row.try_get("description")?,
            params: row.try_get("params")?,
            max_attempts: row.try_get("max_attempts")?,
            defined_at: row.try_get("defined_at")?,
            last_position: row.try_get("last_position")?,
        })
    }
}

/// A tenant's command types, by name.
pub async fn types(log: &TenantLog) -> Result<Vec<CommandType>, Error> {
    let types = sqlx::query_as(
        "SELECT name, description, params::text AS params, max_attempts, defined_at, last_position FROM command_types
         WHERE tenant = $1 AND removed_at IS NULL ORDER BY name",
    );
    Ok(types.bind(log.tenant().as_str()).fetch_all(&mut *log.connection().await?).await?)
}
