//! The caller's own account: read it, change it, confirm its address.

use axum::Json;
use fleetlog_access::Action;
use fleetlog_access::accounts::Refused;
use fleetlog_access::action::ActionType;
use fleetlog_access::action::typed::{UserRead, UserWrite};
use fleetlog_access::directory;
use fleetlog_access::principal::Oneself;
use fleetlog_access::profile;
use http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;

use super::error::Error;
use super::extract::{Body, Peer};
use super::registration::{ACCEPTED, Accepted};
use super::{RequestId, wire};
use crate::app::App;
use crate::door::May;
use crate::door::action::guarded;

pub(super) fn router() -> OpenApiRouter<App> {
    guarded!(me, change_me, user_me, change_password, resend_verification)
}

/// The account of the user that the door is to.
pub(super) async fn own<A: ActionType>(door: &May<A, Oneself>) -> Result<Json<wire::Me>, Error> {
    let account = directory::get(door.log(), door.id.user_id).await?.ok_or_else(Error::unauthenticated)?;
    let may = fleetlog_access::allowed(&door.caller).map(Action::as_str).collect();
    Ok(Json(wire::Me { user: account.into(), may }))
}

/// Returns the caller's own account.
#[utoipa::path(
    get, path = "/auth/me", tag = "auth", operation_id = "me",
    responses((status = 200, description = "The user, as of now", body = wire::Me)),
)]
async fn me(door: May<UserRead, Oneself>) -> Result<Json<wire::Me>, Error> {
    own(&door).await
}

/// Returns the caller's own account, as `/auth/me` does.
#[utoipa::path(
    get, path = "/users/me", tag = "users", operation_id = "user_me",
    responses((status = 200, description = "The user, as of now", body = wire::Me)),
)]
async fn user_me(door: May<UserRead, Oneself>) -> Result<Json<wire::Me>, Error> {
    own(&door).await
}

/// Changes to the caller's own account; absent fields stay as they are.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ProfileChange)]
struct Change {
    /// The user's name, for people: 1 to 200 characters.
    name: Option<String>,
    /// The new address to log in with. A mail is sent to it, and it takes effect once it is confirmed. Needs `current`.
    email: Option<String>,
    /// The current password.
    current: Option<String>,
}

/// Changes the caller's name, or asks for another address. The answer shows the account as it is now.
#[utoipa::path(
    patch, path = "/auth/me", tag = "auth", operation_id = "change_me", request_body = Change,
    responses((status = 200, description = "The user, as of now", body = wire::Me)),
)]
async fn change_me(
    door: May<UserWrite, Oneself>,
    Peer(peer): Peer,
    request: RequestId,
    Body(Change { name, email, current }): Body<Change>,
) -> Result<Json<wire::Me>, Error> {
    let metadata = request.metadata(&door.caller);
    if name.is_none() && email.is_none() {
        return Err(Error::field("", "expected name or email"));
    }
    if let Some(email) = email {
        let current = current.ok_or_else(|| Error::field("current", "needed to change the address"))?;
        door.app
            .access
            .profile
            .request_address(door.id.clone(), &email, current, peer, metadata.clone())
            .await?;
    }
    if let Some(name) = name {
        profile::rename(door.log(), door.id.user_id, &name, metadata).await?;
    }
    own(&door).await
}

/// A new password for the caller's own user.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PasswordChange)]
struct NewPassword {
    /// The current password.
    current: String,
    /// The new password: 12 characters or more, at most 256 bytes, and hard to guess.
    new: String,
}

/// Changes the caller's password, and ends the caller's other sessions.
#[utoipa::path(
    post, path = "/auth/password", tag = "auth", operation_id = "change_password", request_body = NewPassword,
    responses(
        (status = 204, description = "This is the password from here on"),
        (status = 422, description = "Not the current password, or too easy to guess"),
        (status = 429, description = "Too many attempts"),
    ),
)]
async fn change_password(
    door: May<UserWrite, Oneself>,
    Peer(peer): Peer,
    request: RequestId,
    Body(NewPassword { current, new }): Body<NewPassword>,
) -> Result<StatusCode, Error> {
    let metadata = request.metadata(&door.caller);
    let changed = door.app.access.profile.change_password(door.id, current, new, peer, metadata).await;
    changed.map_err(|refused| match refused {
        Refused::Weak(weak) => Error::field("new", weak),
        other => other.into(),
    })?;
    Ok(StatusCode::NO_CONTENT)
}

/// Asks for another mail that confirms the caller's address.
#[utoipa::path(
    post, path = "/auth/verify/resend", tag = "auth", operation_id = "resend_verification",
    responses(
        (status = 202, description = "A mail says how to go on", body = Accepted),
        (status = 409, description = "It is confirmed already"),
    ),
)]
async fn resend_verification(
    door: May<UserWrite, Oneself>,
    Peer(peer): Peer,
) -> Result<(StatusCode, Json<Accepted>), Error> {
    door.app.access.profile.resend_verification(door.id, peer).await?;
    Ok(ACCEPTED)
}
