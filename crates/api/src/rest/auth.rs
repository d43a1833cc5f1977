//! Logging in and out, and refreshing a session. For programs, and for pages that keep the access token themselves;
//! [`browser`](super::browser) is for pages that keep their whole session in the cookie.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use fleetlog_access::session_tokens::{Client, Tokens};
use fleetlog_access::{Principal, access_tokens};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::RequestId;
use super::cookies::{self, SetCookie};
use super::error::Error;
use super::extract::{Body, Caller, OptionalBody, Peer};
use crate::app::App;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(log_in)).routes(routes!(refresh)).routes(routes!(log_out))
}

/// The credentials of a user who logs in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Credentials {
    /// The user's e-mail address.
    #[schema(example = "admin@localhost")]
    pub(super) email: String,
    /// The user's password.
    pub(super) password: String,
    /// Where the refresh token is sent.
    refresh: Option<RefreshIn>,
}

/// Where a refresh token is sent.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum RefreshIn {
    /// In a cookie that no script can read: for web pages.
    #[default]
    Cookie,
    /// In the body of the answer: for programs.
    Body,
}

/// The tokens of a session. Send the access token with each request, as `Authorization: Bearer <access_token>`.
#[derive(Serialize, ToSchema)]
#[schema(as = Token)]
struct LoggedIn {
    /// The access token of the session.
    access_token: String,
    /// Always the word `bearer`.
    token_type: &'static str,
    /// How long the access token is valid, in seconds.
    expires_in: u64,
    /// The refresh token, valid once, for the next access and refresh tokens. Only present if the request asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
}

impl LoggedIn {
    fn answer(app: &App, tokens: Tokens, to: RefreshIn, headers: &HeaderMap) -> Response {
        let settings = &app.access.settings;
        let in_body = to == RefreshIn::Body;
        let logged_in = Json(Self {
            access_token: tokens.access,
            token_type: "bearer",
            expires_in: access_tokens::LIFETIME.as_secs(),
            refresh_token: in_body.then(|| tokens.refresh.clone()),
        });
        if in_body || !cookies::is_own_page(headers, settings) {
            return logged_in.into_response();
        }
        (SetCookie::session(tokens.refresh, tokens.expires_at - app.now(), settings), logged_in)
            .into_response()
    }
}

/// Logs a user in by e-mail address and password. Returns an access token and a refresh token.
#[utoipa::path(
    post, path = "/auth/login", tag = "auth", operation_id = "log_in",
    request_body = Credentials,
    responses(
        (status = 200, description = "Logged in, with what to send along from now on", body = LoggedIn, headers(("Set-Cookie" = String))),
        (status = 401, description = "Wrong address or password"),
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
) -> Result<Response, Error> {
    let Credentials { email, password, refresh } = credentials;
    let refresh = refresh.unwrap_or_default();
    let request_id = request.as_str().to_owned();
    let origin = cookies::origin(peer, &headers, &app.access.settings);
    let login = app.access.logins.log_in(&email, &password, origin, client, request_id).await?;
    let answer = LoggedIn::answer(&app, login.tokens, refresh, &headers);
    if refresh == RefreshIn::Body || !cookies::is_own_page(&headers, &app.access.settings) {
        return Ok(answer);
    }
    // Behind the session's, which comes first.
    Ok((SetCookie::device(login.device, &app.access.settings), answer).into_response())
}

/// A refresh token that a program keeps by itself.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Refresh {
    /// The refresh token. Without it, the token in the cookie is used.
    refresh_token: Option<String>,
}

impl Refresh {
    /// Returns the refresh token of the request, and where to send the next one.
    fn token(self, app: &App, headers: &HeaderMap) -> Option<(String, RefreshIn)> {
        let settings = &app.access.settings;
        match self.refresh_token {
            Some(token) => Some((token, RefreshIn::Body)),
            None if !cookies::is_own_page(headers, settings) => None,
            None => cookies::token(headers, settings).map(|token| (token, RefreshIn::Cookie)),
        }
    }
}

/// Exchanges a refresh token for the next access token and the next refresh token. A refresh token is valid once:
/// within 10 s the same client may send it again; later, a second use ends the session.
#[utoipa::path(
    post, path = "/auth/refresh", tag = "auth", operation_id = "refresh",
    request_body = Option<Refresh>,
    responses(
        (status = 200, description = "The next tokens", body = LoggedIn, headers(("Set-Cookie" = String))),
        (status = 401, description = "Not a good refresh token"),
    ),
)]
async fn refresh(
    State(app): State<App>,
    client: Client,
    request: RequestId,
    headers: HeaderMap,
    OptionalBody(refresh): OptionalBody<Refresh>,
) -> Result<Response, Error> {
    let (token, to) = refresh.token(&app, &headers).ok_or_else(Error::no_refresh_token)?;
    let tokens = app.access.sessions.refresh(&token, client, request.as_str().to_owned()).await?;
    Ok(LoggedIn::answer(&app, tokens, to, &headers))
}

/// Ends the caller's session: its access tokens and its refresh token stop being valid at once, and streams
/// that they have opened end within 3 s. The answer is the same where there is no session.
#[utoipa::path(
    post, path = "/auth/logout", tag = "auth", operation_id = "log_out",
    request_body = Option<Refresh>,
    responses((status = 204, description = "Logged out, if one was logged in", headers(("Set-Cookie" = String)))),
)]
async fn log_out(
    State(app): State<App>,
    caller: Option<Caller>,
    request: RequestId,
    headers: HeaderMap,
    OptionalBody(refresh): OptionalBody<Refresh>,
) -> Result<(SetCookie, StatusCode), Error> {
    let by_token = match refresh.token(&app, &headers) {
        Some((token, _)) => app.access.sessions.with_refresh_token(&token).await?,
        None => None,
    };
    for principal in by_token.into_iter().chain(caller.map(|Caller(principal)| principal)) {
        end(&app, &principal, &request).await?;
    }
    Ok((SetCookie::removed(&app.access.settings), StatusCode::NO_CONTENT))
}

/// Ends the session that a caller is in.
pub(super) async fn end(app: &App, caller: &Principal, request: &RequestId) -> Result<(), Error> {
    app.access.sessions.log_out(caller, request.metadata(caller)).await?;
    Ok(())
}
