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

/// Marks a request whose session's cookie is not used, because it does not come from a page of this service.
#[derive(Debug, Clone, Copy)]
pub(super) struct ForeignCookie;

/// Finds out who is calling.
pub(super) async fn authenticate(State(app): State<App>, mut request: Request, next: Next) -> Response {
    if is_foreign(&app, request.method(), request.headers()) {
        request.extensions_mut().insert(ForeignCookie);
        return next.run(request).await;
    }
    let principal = match principal(&app, request.headers()).await {
        Ok(Some(principal)) => principal,
        Ok(None) => return next.run(request).await,
        Err(error) => return error.into_response(),
    };
    tracing::Span::current().record("actor", tracing::field::display(principal.actor()));
    request.extensions_mut().insert(principal);
    next.run(request).await
}

/// Whether a request brings nothing but a cookie with which a page of another origin would change something.
fn is_foreign(app: &App, method: &Method, headers: &HeaderMap) -> bool {
    let settings = &app.access.settings;
    !headers.contains_key(header::AUTHORIZATION)
        && !method.is_safe()
        && cookies::token(headers, settings).is_some()
        && !cookies::is_own_page(headers, settings)
}

async fn principal(app: &App, headers: &HeaderMap) -> Result<Option<Principal>, Error> {
    if headers.contains_key(header::AUTHORIZATION) {
        return match bearer(headers) {
            Some(token) => Ok(app.access.callers.with_bearer(token).await?),
            None => Ok(None),
        };
    }
    let Some(token) = cookies::token(headers, &app.access.settings) else { return Ok(None) };
    Ok(app.access.callers.with_refresh_token(&token).await?)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (scheme, token) = values.next()?.to_str().ok()?.split_once(' ')?;
    // Two `Authorization` headers are ambiguous, so neither is used.
    (values.next().is_none() && scheme.eq_ignore_ascii_case("bearer")).then_some(token.trim())
}
