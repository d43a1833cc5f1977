//! Limits the number of requests: by address, before anything is done for a request, and by caller, once the caller is
//! known.
//!
//! An answer says in `RateLimit` how many requests are left and in `RateLimit-Policy` what the limit is
//! (draft-ietf-httpapi-ratelimit-headers); a refusal says in `Retry-After` when to try again.

use axum::body::HttpBody;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use fleetlog_access::Principal;
use fleetlog_access::quota::rule::{COMMAND, Call};
use fleetlog_access::quota::{ANONYMOUS, Exceeded, Requester, Standing};
use http::{HeaderMap, HeaderValue, Method};

use super::PREFIX;
use super::error::Error;
use super::extract::Peer;
use super::headers::{RATELIMIT, RATELIMIT_POLICY};
use crate::app::App;
use crate::instruments;

/// The paths that monitoring asks, which have no limit.
const EXEMPT: [&str; 3] = ["/healthz", "/readyz", "/metrics"];
/// Second names of paths. Each shares the limit of the path that it stands for.
const ALIASES: [(&str, &str); 2] = [("/devices/{uid}/command", COMMAND.path), ("/api/login", "/auth/login")];

/// Refuses requests from an address that has used up its limit, before anything else is done for them.
pub(super) async fn by_address(State(app): State<App>, request: Request, next: Next) -> Response {
    let Some((method, path)) = call(&request) else { return next.run(request).await };
    let Peer(address) = Peer::of(request.extensions(), request.headers(), &app.settings.trusted_proxies);
    let quota = &app.access.quota;
    let admitted = match address {
        Some(address) => quota.admit(address, Call { method: &method, path: &path }).await,
        None => Ok(()),
    };
    match admitted {
        Ok(()) => next.run(request).await,
        Err(exceeded) => refuse("address", exceeded),
    }
}

/// How many bytes of an answer a request pays for. A larger answer counts as a request more for each further piece of
/// this size, so that a limit bounds the work and not only the number of requests.
const PER_REQUEST: u64 = 64 << 10;

/// As how many requests more an answer counts, for work that its size does not show. A handler adds it to the response.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Further(pub(crate) u64);

/// Refuses requests of a caller who has used up a limit; without a caller, the limit counts by address.
pub(super) async fn by_caller(State(app): State<App>, request: Request, next: Next) -> Response {
    let Some((method, path)) = call(&request) else { return next.run(request).await };
    let call = Call { method: &method, path: &path };
    let quota = &app.access.quota;
    let known = request.extensions().get::<Principal>().map(|caller| (caller.into(), caller.tier.clone()));
    let counted = known.or_else(|| {
        let Peer(address) = Peer::of(request.extensions(), request.headers(), &app.settings.trusted_proxies);
        address.map(|address| (Requester::Address(address), ANONYMOUS.into()))
    });
    let Some((requester, tier)) = counted else { return next.run(request).await };
    match quota.take(requester, &tier, call).await {
        Ok(None) => next.run(request).await,
        Ok(Some(standing)) => {
            let mut response = next.run(request).await;
            let further = response.extensions().get::<Further>().map_or(0, |further| further.0);
            let beyond = response.body().size_hint().lower() / PER_REQUEST + further;
            let standing = if beyond > 0 { quota.charge(requester, &standing, beyond) } else { standing };
            tell(&standing, response.headers_mut());
            response
        }
        Err(exceeded) => refuse("caller", exceeded),
    }
}

/// Counts a command against the caller's limit where the command does not come over REST's path of commands.
pub(crate) async fn take_command(app: &App, caller: &Principal) -> Result<(), Error> {
    let taken = app.access.quota.take(Requester::from(caller), &caller.tier, COMMAND).await;
    taken.map(|_| ()).map_err(Error::from)
}

/// Whether monitoring asks for this path.
pub(super) fn is_exempt(request: &Request) -> bool {
    EXEMPT.contains(&path(request))
}

/// The path that a request counts under.
pub(super) fn path(request: &Request) -> &str {
    let matched = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let path = matched.strip_prefix(PREFIX).unwrap_or(matched);
    let alias = ALIASES.into_iter().find(|(alias, _)| *alias == path);
    alias.map_or(path, |(_, path)| path)
}

/// The method and path by which limits tell requests apart; `None` if the path is exempt.
fn call(request: &Request) -> Option<(Method, String)> {
    let path = path(request);
    (!EXEMPT.contains(&path)).then(|| (request.method().clone(), path.to_owned()))
}

fn refuse(by: &'static str, exceeded: Exceeded) -> Response {
    instruments::RATE_LIMITED.with([by.into()]).increment(1);
    let standing = exceeded.0.clone();
    let mut response = Error::from(exceeded).into_response();
    tell(&standing, response.headers_mut());
    response
}

fn tell(Standing { rule, remaining, reset }: &Standing, headers: &mut HeaderMap) {
    let name = rule.name();
    let policy = format!("\"{name}\";q={};w={}", rule.requests, rule.window_s);
    let left = format!("\"{name}\";r={remaining};t={reset}");
    for (header, value) in [(RATELIMIT_POLICY, policy), (RATELIMIT, left)] {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(header, value);
        }
    }
}
