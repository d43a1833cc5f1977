//! The tenant's users, for its admins.

use axum::Json;
use axum::response::IntoResponse;
use fleetlog_access::action::typed::{UsersRead, UsersWrite};
use fleetlog_access::administration;
use fleetlog_access::directory::{self, Account, Cursor};
use fleetlog_access::invitations::Invitation;
use fleetlog_access::sessions;
use fleetlog_event_log::TenantLog;
use http::{StatusCode, header};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use uuid::Uuid;

use super::error::Error;
use super::extract::{Body, NoParameters, Query, parse};
use super::page::List;
use super::parameters::Limit;
use super::registration::{ACCEPTED, Accepted};
use super::{PREFIX, RequestId, wire};
use crate::app::App;
use crate::door::May;
use crate::door::action::guarded;
use crate::resource::{Resource, uuid};

pub(super) fn router() -> OpenApiRouter<App> {
    guarded!(
        list_users,
        add_user,
        read_user,
        change_user,
        invite_user_again,
        list_user_sessions,
        end_user_sessions
    )
}

impl Resource for Account {
    type Id = Uuid;
    const MISSING: &'static str = "there is no such user";

    fn id(name: &str) -> Option<Uuid> {
        uuid(name)
    }
}

/// Selects the users of a page.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Which {
    /// Part of the address or the name, in any case.
    q: Option<String>,
    /// Only users with this role.
    #[param(inline)]
    role: Option<wire::Role>,
    /// Only users with this status.
    #[param(inline)]
    status: Option<wire::UserStatus>,
    /// The most items to return on a page.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000, default = 100)]
    limit: Limit,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
    /// Whether to count the items of all pages.
    #[serde(default)]
    count: bool,
}

/// Lists the tenant's users, in the order in which they were added.
#[utoipa::path(
    get, path = "/users", tag = "users", operation_id = "list_users", params(Which),
    responses((status = 200, description = "A page of users", body = List<wire::User>)),
)]
async fn list_users(
    door: May<UsersRead>,
    Query(Which { q, role, status, limit, cursor, count }): Query<Which>,
) -> Result<Json<List<wire::User>>, Error> {
    let after = parse("cursor", cursor.as_deref())?;
    let query = directory::Query {
        q,
        role: role.map(Into::into),
        status: status.map(Into::into),
        after,
        limit: limit.0,
    };
    let page = directory::list(door.log(), &query).await?;
    let total = if count { Some(directory::count(door.log(), &query).await?) } else { None };
    Ok(Json(List::page(page, |account: &Account| Cursor(account.user_id).to_string()).with_total(total)))
}

/// Returns one of the tenant's users.
#[utoipa::path(
    get, path = "/users/{id}", tag = "users", operation_id = "read_user",
    params(("id" = Uuid, Path, description = "The user's id")),
    responses(
        (status = 200, description = "The user, as of now", body = wire::User),
        (status = 404, description = "No such user"),
    ),
)]
async fn read_user(door: May<UsersRead, Account>, _: Query<NoParameters>) -> Result<Json<wire::User>, Error> {
    account(door.log(), door.id).await.map(Json)
}

/// A user to add.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewUser {
    /// The address to log in with.
    #[schema(example = "jo@example.com")]
    email: String,
    /// What the user may do.
    role: wire::Role,
    /// The user's name, for people: 1 to 200 characters.
    name: Option<String>,
    /// The password to log in with: 12 characters or more, at most 256 bytes, and hard to guess. Without it, an
    /// invitation is mailed, and the user chooses a password within 7 days.
    password: Option<String>,
}

/// Adds a user to the tenant, or invites one.
#[utoipa::path(
    post, path = "/users", tag = "users", operation_id = "add_user", request_body = NewUser,
    responses(
        (status = 201, description = "The user is added or invited", body = wire::User, headers(("Location" = String))),
        (status = 409, description = "The address has an account, or the tenant has as many users as it may have"),
    ),
)]
async fn add_user(
    door: May<UsersWrite>,
    request: RequestId,
    Body(NewUser { email, role, name, password }): Body<NewUser>,
) -> Result<impl IntoResponse, Error> {
    let invitation = Invitation { email, role: role.into(), name, password };
    let metadata = request.metadata(&door.caller);
    let user_id = door.app.access.invitations.invite(door.log(), invitation, metadata).await?;
    let location = format!("{PREFIX}/users/{user_id}");
    let account = account(door.log(), user_id).await?;
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(account)))
}

/// The fields to change; absent fields stay as they are.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = UserChange)]
struct Change {
    /// The user's name, for people: 1 to 200 characters.
    name: Option<String>,
    /// What the user may do.
    role: Option<wire::Role>,
    /// Whether the user may log in. At `false` all of the user's sessions end.
    active: Option<bool>,
}

/// Changes one of the tenant's users, with effect from the next request on.
#[utoipa::path(
    patch, path = "/users/{id}", tag = "users", operation_id = "change_user", request_body = Change,
    params(("id" = Uuid, Path, description = "The user's id")),
    responses(
        (status = 200, description = "The user, as of now", body = wire::User),
        (status = 404, description = "No such user"),
        (status = 409, description = "The last active admin stays one"),
    ),
)]
async fn change_user(
    door: May<UsersWrite, Account>,
    request: RequestId,
    Body(Change { name, role, active }): Body<Change>,
) -> Result<Json<wire::User>, Error> {
    if name.is_none() && role.is_none() && active.is_none() {
        return Err(Error::field("", "expected name, role or active"));
    }
    let change = administration::Change { name, role: role.map(Into::into), active };
    let metadata = request.metadata(&door.caller);
    administration::change(door.log(), door.id, change, metadata).await?;
    account(door.log(), door.id).await.map(Json)
}

/// Mails another invitation to a user who has not accepted yet. The link of the one before is worth nothing from then on.
#[utoipa::path(
    post, path = "/users/{id}/invitation", tag = "users", operation_id = "invite_user_again",
    params(("id" = Uuid, Path, description = "The user's id")),
    responses(
        (status = 202, description = "A mail says how to go on", body = Accepted),
        (status = 404, description = "No such user"),
        (status = 409, description = "The user has accepted, or is deactivated"),
    ),
)]
async fn invite_user_again(
    door: May<UsersWrite, Account>,
    request: RequestId,
) -> Result<(StatusCode, Json<Accepted>), Error> {
    let metadata = request.metadata(&door.caller);
    door.app.access.invitations.invite_again(door.log(), door.id, metadata).await?;
    Ok(ACCEPTED)
}

/// Lists the open sessions of one of the tenant's users, newest first.
#[utoipa::path(
    get, path = "/users/{id}/sessions", tag = "users", operation_id = "list_user_sessions",
    params(("id" = Uuid, Path, description = "The user's id")),
    responses(
        (status = 200, description = "All of the user's sessions", body = List<wire::Session>),
        (status = 404, description = "No such user"),
    ),
)]
async fn list_user_sessions(door: May<UsersRead, Account>) -> Result<Json<List<wire::Session>>, Error> {
    account(door.log(), door.id).await?;
    Ok(Json(List::whole(sessions::list(door.log(), door.id).await?)))
}

/// Ends all sessions of one of the tenant's users. Their tokens stop being valid at once; streams that they have opened end
/// within 3 s.
#[utoipa::path(
    delete, path = "/users/{id}/sessions", tag = "users", operation_id = "end_user_sessions",
    params(("id" = Uuid, Path, description = "The user's id")),
    responses(
        (status = 204, description = "The sessions are ended"),
        (status = 404, description = "No such user"),
    ),
)]
async fn end_user_sessions(door: May<UsersWrite, Account>, request: RequestId) -> Result<StatusCode, Error> {
    account(door.log(), door.id).await?;
    sessions::end_all(door.log(), door.id, None, request.metadata(&door.caller)).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn account(log: &TenantLog, user_id: Uuid) -> Result<wire::User, Error> {
    let account = directory::get(log, user_id).await?;
    account.map(Into::into).ok_or_else(Error::missing::<Account>)
}
