//! The tenant's users, for its admins.

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use fleetlog_access::administration;
use fleetlog_access::directory::{self, Account, Cursor, Status};
use fleetlog_access::invitations::Invitation;
use fleetlog_access::{Action, Principal, Resource, Role, authorize};
use http::{StatusCode, header};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::error::{Error, NO_USER};
use super::extract::{Body, Caller, NoParameters, Query, UserId, parse, present};
use super::page::List;
use super::parameters::Limit;
use super::problem::Problem;
use super::{App, PREFIX, RequestId};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(list_users, add_user)).routes(routes!(read_user, change_user))
}

/// Which users.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Which {
    /// Part of the address or the name, in any case.
    q: Option<String>,
    /// Only those of this role.
    #[param(inline)]
    role: Option<Role>,
    /// Only these.
    #[param(inline)]
    status: Option<Status>,
    /// At most so many.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000, default = 100)]
    limit: Limit,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
    /// Whether to count all pages' items.
    #[serde(default)]
    count: bool,
}

/// The tenant's users, in the order in which they were added.
#[utoipa::path(
    get, path = "/users", tag = "users", operation_id = "list_users", params(Which),
    responses((status = 200, description = "A page of users", body = List<Account>)),
    extensions(("x-action" = json!("users.read"))),
)]
async fn list_users(
    State(app): State<App>,
    Caller(caller): Caller,
    which: Result<Query<Which>, Error>,
) -> Result<Json<List<Account>>, Error> {
    authorize(&caller, Action::UsersRead, &Resource::Tenant(&caller.tenant))?;
    let Query(Which { q, role, status, limit, cursor, count }) = which?;
    let after = parse("cursor", cursor.as_deref())?;
    let query = directory::Query { q, role, status, after, limit: limit.0 };
    let page = directory::list(&app.tenant_log(&caller), &query).await?;
    let total = if count { Some(directory::count(&app.tenant_log(&caller), &query).await?) } else { None };
    Ok(Json(List::page(page, |account: &Account| Cursor(account.user_id).to_string()).with_total(total)))
}

/// One of the tenant's users.
#[utoipa::path(
    get, path = "/users/{id}", tag = "users", operation_id = "read_user",
    params(("id" = Uuid, Path, description = "The user")),
    responses(
        (status = 200, description = "The user", body = Account),
        (status = 404, description = "No such user", body = Problem, content_type = "application/problem+json"),
    ),
    extensions(("x-action" = json!("users.read"))),
)]
async fn read_user(
    State(app): State<App>,
    Caller(caller): Caller,
    user: Result<UserId, Error>,
    nothing: Result<Query<NoParameters>, Error>,
) -> Result<Json<Account>, Error> {
    authorize(&caller, Action::UsersRead, &Resource::Tenant(&caller.tenant))?;
    let UserId(user_id) = user?;
    nothing?;
    account(&app, &caller, user_id).await.map(Json)
}

/// A user to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewUser {
    /// The address to log in with.
    #[schema(example = "jo@example.com")]
    email: String,
    /// What the user may do.
    role: Role,
    /// What people call the user: 1 to 200 characters.
    #[serde(default, deserialize_with = "present")]
    name: Option<String>,
    /// The password to log in with: 12 characters or more, at most 256 bytes, and hard to guess. Without one, an
    /// invitation is mailed, by which the user chooses it within 7 days.
    #[serde(default, deserialize_with = "present")]
    password: Option<String>,
}

/// Adds a user to the tenant, or invites one.
#[utoipa::path(
    post, path = "/users", tag = "users", operation_id = "add_user", request_body = NewUser,
    responses(
        (status = 201, description = "Added", body = Account, headers(("Location" = String))),
        (status = 409, description = "The address has an account, or the tenant has as many users as it may have", body = Problem, content_type = "application/problem+json"),
    ),
    extensions(("x-action" = json!("users.write"))),
)]
async fn add_user(
    State(app): State<App>,
    Caller(caller): Caller,
    request: RequestId,
    user: Result<Body<NewUser>, Error>,
) -> Result<impl IntoResponse, Error> {
    authorize(&caller, Action::UsersWrite, &Resource::Tenant(&caller.tenant))?;
    let Body(NewUser { email, role, name, password }) = user?;
    let invitation = Invitation { email, role, name, password };
    let metadata = request.metadata(&caller);
    let user_id = app.identity.invite(&app.tenant_log(&caller), invitation, metadata).await?;
    let location = format!("{PREFIX}/users/{user_id}");
    let account = account(&app, &caller, user_id).await?;
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(account)))
}

/// What to change; the rest stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = UserChange)]
struct Change {
    /// What people call the user: 1 to 200 characters.
    #[serde(default, deserialize_with = "present")]
    name: Option<String>,
    /// What the user may do.
    #[serde(default, deserialize_with = "present")]
    role: Option<Role>,
    /// Whether the user is let in. Who is not has no session left.
    #[serde(default, deserialize_with = "present")]
    active: Option<bool>,
}

/// Changes one of the tenant's users, with effect from the next request on.
#[utoipa::path(
    patch, path = "/users/{id}", tag = "users", operation_id = "change_user", request_body = Change,
    params(("id" = Uuid, Path, description = "The user")),
    responses(
        (status = 200, description = "The user", body = Account),
        (status = 404, description = "No such user", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The last active admin stays one", body = Problem, content_type = "application/problem+json"),
    ),
    extensions(("x-action" = json!("users.write"))),
)]
async fn change_user(
    State(app): State<App>,
    Caller(caller): Caller,
    request: RequestId,
    user: Result<UserId, Error>,
    change: Result<Body<Change>, Error>,
) -> Result<Json<Account>, Error> {
    authorize(&caller, Action::UsersWrite, &Resource::Tenant(&caller.tenant))?;
    let UserId(user_id) = user?;
    let Body(Change { name, role, active }) = change?;
    if name.is_none() && role.is_none() && active.is_none() {
        return Err(Error::field("", "expected name, role or active"));
    }
    let change = administration::Change { name, role, active };
    let metadata = request.metadata(&caller);
    app.identity.change_user(&app.tenant_log(&caller), user_id, change, metadata).await?;
    account(&app, &caller, user_id).await.map(Json)
}

async fn account(app: &App, caller: &Principal, user_id: Uuid) -> Result<Account, Error> {
    let account = directory::get(&app.tenant_log(caller), user_id).await?;
    account.ok_or(Error::NotFound(NO_USER))
}
