//! One's own account.

use axum::Json;
use axum::extract::State;
use fleetlog_access::accounts::Refused;
use fleetlog_access::directory::{self, Account};
use fleetlog_access::recovery::Oneself;
use fleetlog_access::{Action, Forbidden, Principal, Resource, Who, authorize};
use http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::Error;
use super::extract::{Body, Caller, Peer, present};
use super::problem::Problem;
use super::registration::{ACCEPTED, Accepted};
use super::{App, RequestId};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .routes(routes!(me, change_me))
        .routes(routes!(user_me))
        .routes(routes!(change_password))
        .routes(routes!(resend_verification))
}

/// The user that the caller is; a program is none.
fn oneself(caller: &Principal, action: Action) -> Result<Oneself, Error> {
    authorize(caller, action, &Resource::Tenant(&caller.tenant))?;
    let Who::User { user_id, session_id, .. } = caller.who else { return Err(Forbidden(action).into()) };
    Ok(Oneself { tenant: caller.tenant.clone(), user_id, session_id })
}

async fn account(app: &App, caller: &Principal, oneself: &Oneself) -> Result<Json<Account>, Error> {
    let account = directory::get(&app.tenant_log(caller), oneself.user_id).await?;
    account.map(Json).ok_or(Error::Unauthenticated)
}

/// Who one is.
#[utoipa::path(
    get, path = "/auth/me", tag = "auth", operation_id = "me",
    responses((status = 200, description = "The user", body = Account)),
    extensions(("x-action" = json!("user.read"))),
)]
async fn me(State(app): State<App>, Caller(caller): Caller) -> Result<Json<Account>, Error> {
    me_of(&app, &caller).await
}

/// The same for whoever asks in another way.
pub(super) async fn me_of(app: &App, caller: &Principal) -> Result<Json<Account>, Error> {
    account(app, caller, &oneself(caller, Action::UserRead)?).await
}

/// Who one is: the same as `/auth/me`.
#[utoipa::path(
    get, path = "/users/me", tag = "users", operation_id = "user_me",
    responses((status = 200, description = "The user", body = Account)),
    extensions(("x-action" = json!("user.read"))),
)]
async fn user_me(app: State<App>, caller: Caller) -> Result<Json<Account>, Error> {
    me(app, caller).await
}

/// What to change about oneself; the rest stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ProfileChange)]
struct Change {
    /// What people call the user: 1 to 200 characters.
    #[serde(default, deserialize_with = "present")]
    name: Option<String>,
    /// The address to log in with. A mail goes there; it counts once it is confirmed. Needs `current`.
    #[serde(default, deserialize_with = "present")]
    email: Option<String>,
    /// The current password.
    #[serde(default, deserialize_with = "present")]
    current: Option<String>,
}

/// Changes one's name, or asks for another address. The answer shows what counts now.
#[utoipa::path(
    patch, path = "/auth/me", tag = "auth", operation_id = "change_me", request_body = Change,
    responses((status = 200, description = "The user", body = Account)),
    extensions(("x-action" = json!("user.write"))),
)]
async fn change_me(
    State(app): State<App>,
    Caller(caller): Caller,
    Peer(peer): Peer,
    request: RequestId,
    change: Result<Body<Change>, Error>,
) -> Result<Json<Account>, Error> {
    let oneself = oneself(&caller, Action::UserWrite)?;
    let Body(Change { name, email, current }) = change?;
    let metadata = request.metadata(&caller);
    if name.is_none() && email.is_none() {
        return Err(Error::field("", "expected name or email"));
    }
    if let Some(email) = email {
        let current = current.ok_or_else(|| Error::field("current", "needed to change the address"))?;
        app.identity.request_address(oneself.clone(), &email, current, peer, metadata.clone()).await?;
    }
    if let Some(name) = name {
        app.identity.rename(&app.tenant_log(&caller), oneself.clone(), &name, metadata).await?;
    }
    account(&app, &caller, &oneself).await
}

/// Another password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PasswordChange)]
struct NewPassword {
    /// The current password.
    current: String,
    /// The new one: 12 characters or more, at most 256 bytes, and hard to guess.
    new: String,
}

/// Changes one's password, and ends one's other sessions.
#[utoipa::path(
    post, path = "/auth/password", tag = "auth", operation_id = "change_password", request_body = NewPassword,
    responses(
        (status = 204, description = "This is the password from here on"),
        (status = 422, description = "Not the current password, or too easy to guess", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "Too many attempts", body = Problem, content_type = "application/problem+json"),
    ),
    extensions(("x-action" = json!("user.write"))),
)]
async fn change_password(
    State(app): State<App>,
    Caller(caller): Caller,
    Peer(peer): Peer,
    request: RequestId,
    passwords: Result<Body<NewPassword>, Error>,
) -> Result<StatusCode, Error> {
    let oneself = oneself(&caller, Action::UserWrite)?;
    let Body(NewPassword { current, new }) = passwords?;
    let changed = app.identity.change_password(oneself, current, new, peer, request.metadata(&caller)).await;
    changed.map_err(|refused| match refused {
        Refused::Weak(weak) => Error::field("new", weak),
        other => other.into(),
    })?;
    Ok(StatusCode::NO_CONTENT)
}

/// Asks for another mail to confirm one's address with.
#[utoipa::path(
    post, path = "/auth/verify/resend", tag = "auth", operation_id = "resend_verification",
    responses(
        (status = 202, description = "A mail says how to go on", body = Accepted),
        (status = 409, description = "It is confirmed already", body = Problem, content_type = "application/problem+json"),
    ),
    extensions(("x-action" = json!("user.write"))),
)]
async fn resend_verification(
    State(app): State<App>,
    Caller(caller): Caller,
    Peer(peer): Peer,
) -> Result<(StatusCode, Json<Accepted>), Error> {
    let oneself = oneself(&caller, Action::UserWrite)?;
    app.identity.resend_verification(oneself, peer).await?;
    Ok(ACCEPTED)
}
