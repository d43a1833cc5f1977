//! What admins change of their tenant's users: names, roles, and who is let in.

use fleetlog_aggregates::acts;
use fleetlog_aggregates::identity::Tenant;
use fleetlog_event_log::TenantLog;
use fleetlog_event_log::control::Metadata;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::accounts::{self, Refused};
use super::role::Role;
use super::users::Name;
use super::{parsed, session_rows};

/// What to change; the rest stays.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// What people call the user.
    pub name: Option<String>,
    /// What the user may do.
    pub role: Option<Role>,
    /// Whether the user is let in.
    pub active: Option<bool>,
}

/// What admins can change of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
struct State {
    name: Option<String>,
    role: Role,
    active: bool,
    /// Invited, without a password yet.
    invited: bool,
}

impl State {
    /// Whether the user is an admin who can log in.
    fn decides(&self) -> bool {
        self.role == Role::Admin && self.active && !self.invited
    }

    fn with(&self, name: Option<Name>, role: Option<Role>, active: Option<bool>) -> Self {
        Self {
            name: name.map_or_else(|| self.name.clone(), |name| Some(name.as_str().to_owned())),
            role: role.unwrap_or(self.role),
            active: active.unwrap_or(self.active),
            invited: self.invited,
        }
    }

    /// The events of the change from this state to `after`.
    fn acts_towards(&self, after: &Self) -> Vec<acts::User> {
        let mut acts = vec![];
        if self.name != after.name {
            acts.push(acts::User::UserProfileChanged {});
        }
        if self.role != after.role {
            acts.push(acts::User::UserRoleChanged { role: after.role.to_string() });
        }
        match (self.active, after.active) {
            (true, false) => acts.push(acts::User::UserDeactivated {}),
            (false, true) => acts.push(acts::User::UserReactivated {}),
            _ => {}
        }
        acts
    }
}

/// Changes one of the tenant's users. The change is in effect when this returns: a user who was deactivated has no session
/// left.
pub async fn change(
    log: &TenantLog,
    user_id: Uuid,
    change: Change,
    metadata: Metadata,
) -> Result<(), Refused> {
    let name = change.name.map(|name| Name::parse(&name).ok_or(Refused::BadName)).transpose()?;
    let (role, active, tenant) = (change.role, change.active, log.tenant().clone());
    log.record(move |recorder| {
        Box::pin(async move {
            let rules = accounts::lock(recorder.connection(), &tenant).await?.ok_or(Refused::Unknown)?;
            let before = find(recorder.connection(), &tenant, user_id).await?.ok_or(Refused::Unknown)?;
            let after = before.with(name, role, active);
            if before.decides() && !after.decides() {
                check_other_admins(recorder.connection(), &tenant, user_id).await?;
            }
            if !before.active && after.active {
                rules.check_room(recorder.connection(), &tenant).await?;
            }
            set(recorder.connection(), &tenant, user_id, &after).await?;
            if before.active && !after.active {
                let why = acts::SessionEnd::Deactivated;
                session_rows::end_all(recorder, (&tenant, user_id), None, why, &metadata).await?;
            }
            for act in before.acts_towards(&after) {
                recorder.tell(&tenant, &user_id.to_string(), &act, &metadata).await?;
            }
            Ok(())
        })
    })
    .await
}

async fn find(
    connection: &mut PgConnection,
    tenant: &Tenant,
    user_id: Uuid,
) -> Result<Option<State>, Refused> {
    let row = sqlx::query(
        "SELECT name, role, deactivated_at IS NULL AS active, invited FROM users
         WHERE tenant = $1 AND user_id = $2",
    )
    .bind(tenant.as_str())
    .bind(user_id)
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(State {
        name: row.try_get("name")?,
        role: parsed(&row, "role")?,
        active: row.try_get("active")?,
        invited: row.try_get("invited")?,
    }))
}

async fn check_other_admins(
    connection: &mut PgConnection,
    tenant: &Tenant,
    user_id: Uuid,
) -> Result<(), Refused> {
    let others: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM users WHERE tenant = $1 AND user_id <> $2 AND role = 'admin'
             AND deactivated_at IS NULL AND NOT invited)",
    )
    .bind(tenant.as_str())
    .bind(user_id)
    .fetch_one(connection)
    .await?;
    if others { Ok(()) } else { Err(Refused::LastAdmin) }
}

async fn set(
    connection: &mut PgConnection,
    tenant: &Tenant,
    user_id: Uuid,
    state: &State,
) -> Result<(), Refused> {
    sqlx::query(
        "UPDATE users SET name = $3, role = $4,
             deactivated_at = CASE WHEN $5 THEN NULL ELSE coalesce(deactivated_at, clock_timestamp()) END
         WHERE tenant = $1 AND user_id = $2",
    )
    .bind(tenant.as_str())
    .bind(user_id)
    .bind(&state.name)
    .bind(state.role.as_str())
    .bind(state.active)
    .execute(connection)
    .await?;
    Ok(())
}
