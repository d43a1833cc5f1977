//! Finds out who is calling, once for each request, before anything else is done for it.
//!
//! The caller is found by an access token or an API key in `Authorization: Bearer`, or else by the session's cookie. A
//! request without any, or with an invalid one, has no caller. The [`door`](crate::door) refuses it, not this layer: a
//! login that still carries the token of an ended session must succeed.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use fleetlog_access::Principal;
use http::{HeaderMap, Method, header};

use super::cookies;
use super::error::Error;
use crate::app::App;

/// Finds out who is calling.
pub(super) async fn authenticate(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let principal = match principal(&app, request.method(), request.headers()).await {
        Ok(Some(principal)) => principal,
        Ok(None) => return next.run(request).await,
        Err(error) => return error.into_response(),
    };
    tracing::Span::current().record("actor", tracing::field::display(principal.actor()));
    request.extensions_mut().insert(principal);
    next.run(request).await
}

async fn principal(app: &App, method: &Method, headers: &HeaderMap) -> Result<Option<Principal>, Error> {
    if headers.contains_key(header::AUTHORIZATION) {
        return match bearer(headers) {
            Some(token) => Ok(app.access.callers.with_bearer(token).await?),
            None => Ok(None),
        };
    }
    let Some(token) = cookies::token(headers, &app.access.settings) else { return Ok(None) };
    if !method.is_safe() && !cookies::is_own_page(headers, &app.access.settings) {
        return Ok(None);
    }
    Ok(app.access.callers.with_refresh_token(&token).await?)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (scheme, token) = values.next()?.to_str().ok()?.split_once(' ')?;
    // Two `Authorization` headers are ambiguous, so neither is used.
    (values.next().is_none() && scheme.eq_ignore_ascii_case("bearer")).then_some(token.trim())
}
