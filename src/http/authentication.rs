//! Who is calling: found out once for each request, before anything else is done for it. Whatever is done then is done
//! within the caller's tenant.
//!
//! Whoever has no credentials, or bad ones, is nobody; that is refused where somebody is needed, and not before: a login
//! with the token of a session that is over is a login.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use fleetlog_event_log::scope;
use http::{HeaderMap, header};

use super::App;
use super::error::Error;
use crate::identity::Principal;

/// Finds out who is calling, and goes on in that caller's tenant.
pub(super) async fn authenticate(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let principal = match principal(&app, request.headers()).await {
        Ok(Some(principal)) => principal,
        Ok(None) => return next.run(request).await,
        Err(error) => return error.into_response(),
    };
    tracing::Span::current().record("actor", principal.actor());
    request.extensions_mut().insert(principal.clone());
    scope::within(&principal.tenant, next.run(request)).await
}

async fn principal(app: &App, headers: &HeaderMap) -> Result<Option<Principal>, Error> {
    let Some(token) = bearer(headers) else { return Ok(None) };
    let Ok(session_id) = app.identity.keys.verify(token) else { return Ok(None) };
    Ok(app.identity.in_session(session_id).await?)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (scheme, token) = values.next()?.to_str().ok()?.split_once(' ')?;
    // Two of them would leave open which one counts.
    (values.next().is_none() && scheme.eq_ignore_ascii_case("bearer")).then_some(token.trim())
}
