//! A browser's session, held in one cookie, for pages that keep no token themselves.
//!
//! These paths lie outside the versioned API, where the web page's clients expect them.

use axum::Json;
use axum::extract::State;
use fleetlog_access::action::typed::UserRead;
use fleetlog_access::callers::Credential;
use fleetlog_access::login::LoggedIn;
use fleetlog_access::principal::Oneself;
use fleetlog_access::session_tokens::Client;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::accounts;
use super::auth;
use super::cookies::{self, SetCookie};
use super::error::Error;
use super::extract::{Body, Caller, Peer};
use super::{RequestId, wire};
use crate::app::App;
use crate::door::May;
use crate::door::action::guarded;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(log_in)).routes(routes!(log_out)).merge(guarded!(me))
}

/// The credentials of a user who logs in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = BrowserCredentials)]
struct Credentials {
    /// The user's e-mail address.
    #[schema(example = "admin@localhost")]
    email: String,
    /// The user's password.
    password: String,
}

/// Begins a browser's session. Only a page of the service's own origin can do so.
#[utoipa::path(
    post, path = "/api/login", tag = "browser", operation_id = "browser_log_in", request_body = Credentials,
    responses(
        (status = 200, description = "Logged in: the cookie is set", body = wire::Me, headers(("Set-Cookie" = String))),
        (status = 401, description = "Wrong address or password"),
        (status = 403, description = "From a page of another origin"),
        (status = 429, description = "Too many attempts"),
    ),
)]
async fn log_in(
    State(app): State<App>,
    Peer(peer): Peer,
    client: Client,
    request: RequestId,
    headers: HeaderMap,
    Body(credentials): Body<Credentials>,
) -> Result<(SetCookie, SetCookie, Json<wire::Me>), Error> {
    let settings = &app.access.settings;
    if !cookies::is_own_page(&headers, settings) {
        return Err(Error::foreign_page());
    }
    let Credentials { email, password } = credentials;
    let request_id = request.as_str().to_owned();
    let origin = cookies::origin(peer, &headers, settings);
    let LoggedIn { tokens, device } =
        app.access.logins.log_in(&email, &password, origin, client, request_id).await?;
    let credential = Credential::Session(tokens.session_id);
    let caller = app.access.callers.again(&credential).await?.ok_or_else(Error::unauthenticated)?;
    let cookie = SetCookie::session(tokens.refresh, tokens.expires_at - app.now(), settings);
    let device = SetCookie::device(device, settings);
    let me = accounts::own(&May::<UserRead, Oneself>::after_login(app, caller).await?).await?;
    Ok((cookie, device, me))
}

/// Ends a browser's session, and removes its cookie.
#[utoipa::path(
    post, path = "/api/logout", tag = "browser", operation_id = "browser_log_out",
    responses((status = 204, description = "Logged out, if one was logged in", headers(("Set-Cookie" = String)))),
)]
async fn log_out(
    State(app): State<App>,
    caller: Option<Caller>,
    request: RequestId,
) -> Result<(SetCookie, StatusCode), Error> {
    if let Some(Caller(caller)) = caller {
        auth::end(&app, &caller, &request).await?;
    }
    Ok((SetCookie::removed(&app.access.settings), StatusCode::NO_CONTENT))
}

/// Returns the caller's own account.
#[utoipa::path(
    get, path = "/api/me", tag = "browser", operation_id = "browser_me",
    responses((status = 200, description = "The user, as of now", body = wire::Me)),
)]
async fn me(door: May<UserRead, Oneself>) -> Result<Json<wire::Me>, Error> {
    accounts::own(&door).await
}
