//! Finds out who is calling, once for each request, before anything else is done for it.
//!
//! The caller is found by an access token or an API key in `Authorization: Bearer`, or else by the session's cookie, or where a
//! stream is opened, by a ticket. A request without any, or with an invalid one, has no caller. The [`door`](crate::door) refuses it, not this layer: a
//! login that still carries the token of an ended session must succeed.

use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use fleetlog_access::callers::Credential;
use fleetlog_access::{Principal, Who};
use http::request::Parts;
use http::{HeaderMap, header};

use super::error::{BAD_TICKET, Error, FOREIGN_COOKIE};
use super::{cookies, rate_limits, streams};
use crate::app::App;

/// Why a request has no caller although it brought something to be known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unknown {
    /// The session's cookie is not used, because the request does not come from a page of this service.
    ForeignCookie,
    /// The ticket is used, is too old, or is none.
    BadTicket,
}

impl Unknown {
    /// The answer to the request.
    pub(super) fn error(self) -> Error {
        match self {
            Self::ForeignCookie => Error::foreign_cookie(),
            Self::BadTicket => Error::bad_ticket(),
        }
    }

    /// The reason for closing a WebSocket.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::ForeignCookie => FOREIGN_COOKIE,
            Self::BadTicket => BAD_TICKET,
        }
    }
}

/// Who a request came from, or why from nobody.
pub(crate) struct Known(pub(crate) Result<(Principal, Credential), Option<Unknown>>);

impl FromRequestParts<App> for Known {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Error> {
        let extensions = &parts.extensions;
        let known = extensions.get().cloned().zip(extensions.get().cloned());
        Ok(Self(known.ok_or_else(|| extensions.get().copied())))
    }
}

/// Finds out who is calling.
pub(super) async fn authenticate(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let ticket = ticket(&request);
    // A ticket counts before a cookie, which a browser may send along.
    if ticket.is_none() && is_foreign(&app, &request) {
        request.extensions_mut().insert(Unknown::ForeignCookie);
        return next.run(request).await;
    }
    let by_ticket = ticket.is_some() && !request.headers().contains_key(header::AUTHORIZATION);
    let (principal, credential) = match caller(&app, request.headers(), ticket).await {
        Ok(Some(caller)) => caller,
        Ok(None) => {
            if by_ticket {
                request.extensions_mut().insert(Unknown::BadTicket);
            }
            return next.run(request).await;
        }
        Err(error) => return error.into_response(),
    };
    tracing::Span::current().record("actor", tracing::field::display(principal.actor()));
    request.extensions_mut().insert(principal);
    request.extensions_mut().insert(credential);
    next.run(request).await
}

/// Whether a request brings nothing but a cookie with which a page of another origin would change something, or open a
/// WebSocket, which no browser keeps from reading.
fn is_foreign(app: &App, request: &Request) -> bool {
    let (settings, headers) = (&app.access.settings, request.headers());
    !headers.contains_key(header::AUTHORIZATION)
        && (!request.method().is_safe() || headers.contains_key(header::UPGRADE))
        && cookies::token(headers, settings).is_some()
        && !cookies::is_own_page(headers, settings)
}

async fn caller(
    app: &App,
    headers: &HeaderMap,
    ticket: Option<String>,
) -> Result<Option<(Principal, Credential)>, Error> {
    let callers = &app.access.callers;
    if headers.contains_key(header::AUTHORIZATION) {
        let Some(token) = bearer(headers) else { return Ok(None) };
        return with_bearer(app, token).await;
    }
    if let Some(ticket) = ticket {
        let Some(credential) = app.access.tickets.take(&ticket).await? else { return Ok(None) };
        let principal = callers.again(&credential).await?;
        return Ok(principal.map(|principal| (principal, credential)));
    }
    let Some(token) = cookies::token(headers, &app.access.settings) else { return Ok(None) };
    let principal = callers.with_refresh_token(&token).await?;
    Ok(principal.and_then(|principal| match principal.who {
        // Its token is soon replaced by the next one, and the session goes on.
        Who::User { session_id, .. } => Some((principal, Credential::Session(session_id))),
        Who::Key { .. } => None,
    }))
}

/// The caller with an access token or an API key; `None` if it is not good.
pub(crate) async fn with_bearer(app: &App, token: &str) -> Result<Option<(Principal, Credential)>, Error> {
    let principal = app.access.callers.with_bearer(token).await?;
    Ok(principal.map(|principal| {
        let credential = match principal.who {
            Who::User { .. } => Credential::Token(token.to_owned()),
            Who::Key { key_id, .. } => Credential::Key(principal.tenant.clone(), key_id),
        };
        (principal, credential)
    }))
}

/// The ticket that opens a stream.
fn ticket(request: &Request) -> Option<String> {
    let query = request.uri().query().filter(|_| streams::is_stream(rate_limits::path(request)))?;
    let mut parameters = form_urlencoded::parse(query.as_bytes());
    parameters.find(|(name, _)| name == "ticket").map(|(_, ticket)| ticket.into_owned())
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (scheme, token) = values.next()?.to_str().ok()?.split_once(' ')?;
    // Two `Authorization` headers are ambiguous, so neither is used.
    (values.next().is_none() && scheme.eq_ignore_ascii_case("bearer")).then_some(token.trim())
}
