//! Logging in, and who one is.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::error::Error;
use super::extract::{Body, Caller, Peer};
use super::problem::Problem;
use super::{App, RequestId};
use crate::identity::sessions::Client;
use crate::identity::{Action, Resource, Role, Who, authorize, keys, users};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(log_in)).routes(routes!(me))
}

/// Who wants to log in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Credentials {
    /// The user's e-mail address.
    #[schema(example = "admin@localhost")]
    email: String,
    /// The user's password.
    password: String,
}

/// What to send along from now on, as `Authorization: Bearer <access_token>`.
#[derive(Serialize, ToSchema)]
#[schema(as = Token)]
struct LoggedIn {
    /// The access token.
    access_token: String,
    /// Always `bearer`.
    token_type: &'static str,
    /// How long it is good for, in seconds.
    expires_in: u64,
}

/// An e-mail address and a password against an access token.
#[utoipa::path(
    post, path = "/auth/login", tag = "auth", operation_id = "log_in",
    request_body = Credentials,
    responses(
        (status = 200, description = "Logged in", body = LoggedIn),
        (status = 401, description = "Wrong address or password", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "Too many attempts", body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn log_in(
    State(app): State<App>,
    Peer(peer): Peer,
    client: Client,
    request: RequestId,
    Body(credentials): Body<Credentials>,
) -> Result<Json<LoggedIn>, Error> {
    let Credentials { email, password } = credentials;
    let request_id = request.as_str().to_owned();
    let access_token = app.identity.log_in(&email, &password, peer, client, request_id).await?;
    Ok(Json(LoggedIn { access_token, token_type: "bearer", expires_in: keys::LIFETIME.as_secs() }))
}

/// The user whose token was sent.
#[derive(Serialize, ToSchema)]
struct Me {
    /// The user's id, as events name their actor.
    user_id: Uuid,
    /// The address to log in with.
    email: String,
    /// Whose things the user sees.
    #[schema(example = "t0")]
    tenant: String,
    /// What the user may do.
    role: Role,
}

/// Who one is.
#[utoipa::path(
    get, path = "/auth/me", tag = "auth", operation_id = "me",
    responses((status = 200, description = "The user", body = Me)),
    extensions(("x-action" = json!("user.read"))),
)]
async fn me(State(app): State<App>, Caller(caller): Caller) -> Result<Json<Me>, Error> {
    authorize(&caller, Action::UserRead, &Resource::Tenant(&caller.tenant))?;
    let Who::User { user_id, role, .. } = caller.who else { return Err(Error::Forbidden) };
    let email = users::email(app.log.pool(), user_id).await?.ok_or(Error::Unauthenticated)?;
    Ok(Json(Me { user_id, email, tenant: caller.tenant.into(), role }))
}
