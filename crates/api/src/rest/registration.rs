//! Accounts, for people who are not logged in: making one, and following the mails about it. No answer reveals whether
//! an address has an account.

use axum::Json;
use axum::extract::State;
use fleetlog_access::action::PLATFORM_TENANT;
use fleetlog_access::sign_up::Application;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::RequestId;
use super::error::Error;
use super::extract::{Body, Peer};
use crate::app::App;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .routes(routes!(register))
        .routes(routes!(verify))
        .routes(routes!(forgot_password))
        .routes(routes!(reset_password))
        .routes(routes!(accept_invitation))
}

/// The answer to a request that may send a mail.
#[derive(Serialize, ToSchema)]
pub(super) struct Accepted {
    /// What happens next, for people.
    #[schema(example = "if this can be done, a mail is on its way")]
    detail: &'static str,
}

/// The answer to every request that may send a mail.
pub(super) const ACCEPTED: (StatusCode, Json<Accepted>) =
    (StatusCode::ACCEPTED, Json(Accepted { detail: "if this can be done, a mail is on its way" }));

/// A user who registers.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Registration)]
struct Applicant {
    /// The address to log in with.
    #[schema(example = "jo@example.com")]
    email: String,
    /// The password to log in with: 12 characters or more, at most 256 bytes, and hard to guess.
    password: String,
    /// The user's name, for people: 1 to 200 characters.
    name: Option<String>,
    /// The tenant to join. Without it: `t0`.
    tenant: Option<String>,
}

/// Makes an account with the role viewer, if the tenant allows people to register. A mail asks to confirm the address.
/// The answer is the same if the address already has an account.
#[utoipa::path(
    post, path = "/auth/register", tag = "auth", operation_id = "register", request_body = Applicant,
    responses(
        (status = 202, description = "A mail says how to go on", body = Accepted),
        (status = 403, description = "Nobody can register there"),
        (status = 422, description = "An address or a password that is not taken, and why"),
        (status = 429, description = "Too many attempts"),
    ),
)]
async fn register(
    State(app): State<App>,
    Peer(peer): Peer,
    request: RequestId,
    Body(applicant): Body<Applicant>,
) -> Result<(StatusCode, Json<Accepted>), Error> {
    let Applicant { email, password, name, tenant } = applicant;
    let tenant = tenant.unwrap_or_else(|| PLATFORM_TENANT.to_owned());
    let application = Application { email, password, name, tenant };
    app.access.sign_up.register(application, peer, request.as_str().to_owned()).await?;
    Ok(ACCEPTED)
}

/// A token from a mail.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = MailedToken)]
struct Mailed {
    /// The token from the mail.
    token: String,
}

/// Confirms an e-mail address. A new address takes effect now.
#[utoipa::path(
    post, path = "/auth/verify", tag = "auth", operation_id = "verify_address", request_body = Mailed,
    responses(
        (status = 204, description = "The address is confirmed"),
        (status = 422, description = "The token is not valid, or not any more"),
    ),
)]
async fn verify(
    State(app): State<App>,
    request: RequestId,
    Body(Mailed { token }): Body<Mailed>,
) -> Result<StatusCode, Error> {
    app.access.profile.verify_address(token, request.as_str().to_owned()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A user who has forgotten the password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ForgottenPassword)]
struct Forgotten {
    /// The address to log in with.
    #[schema(example = "jo@example.com")]
    email: String,
}

/// Asks for a mail with a token for choosing a new password. The token is valid for an hour.
#[utoipa::path(
    post, path = "/auth/password/forgot", tag = "auth", operation_id = "forgot_password", request_body = Forgotten,
    responses(
        (status = 202, description = "If there is such an account, a mail says how to go on", body = Accepted),
        (status = 429, description = "Too many attempts"),
    ),
)]
async fn forgot_password(
    State(app): State<App>,
    Peer(peer): Peer,
    Body(Forgotten { email }): Body<Forgotten>,
) -> Result<(StatusCode, Json<Accepted>), Error> {
    app.access.recovery.forgot_password(&email, peer).await?;
    Ok(ACCEPTED)
}

/// A new password, with the token from the mail.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PasswordReset)]
struct Reset {
    /// The token from the mail.
    token: String,
    /// The password: 12 characters or more, at most 256 bytes, and hard to guess.
    password: String,
}

/// Sets a new password with a mailed token, and ends all sessions of the user.
#[utoipa::path(
    post, path = "/auth/password/reset", tag = "auth", operation_id = "reset_password", request_body = Reset,
    responses(
        (status = 204, description = "This is the password from here on"),
        (status = 422, description = "The token is not valid, or not any more; or the password is too easy to guess, in which case the token stays good"),
    ),
)]
async fn reset_password(
    State(app): State<App>,
    request: RequestId,
    Body(Reset { token, password }): Body<Reset>,
) -> Result<StatusCode, Error> {
    app.access.recovery.reset_password(token, password, request.as_str().to_owned()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The password and the name that an invited user chooses.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = InvitationAnswer)]
struct Answer {
    /// The token from the mail.
    token: String,
    /// The password: 12 characters or more, at most 256 bytes, and hard to guess.
    password: String,
    /// The user's name, for people: 1 to 200 characters.
    name: Option<String>,
}

/// Accepts an invitation and sets the password to log in with.
#[utoipa::path(
    post, path = "/auth/invitation/accept", tag = "auth", operation_id = "accept_invitation", request_body = Answer,
    responses(
        (status = 204, description = "The user can log in"),
        (status = 422, description = "The token is not valid, or not any more; or the password is too easy to guess, in which case the token stays good"),
    ),
)]
async fn accept_invitation(
    State(app): State<App>,
    request: RequestId,
    Body(Answer { token, password, name }): Body<Answer>,
) -> Result<StatusCode, Error> {
    app.access.invitations.accept(token, password, name, request.as_str().to_owned()).await?;
    Ok(StatusCode::NO_CONTENT)
}
