//! Everything that is done to each request and answer, from the outside in: the id, the line in the log and in the
//! metrics, headers, a handler's panic, the limits on time and size.

use std::any::Any;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use fleetlog_access::Principal;
use fleetlog_event_log::control::Metadata;
use http::{HeaderValue, Method, header};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{NotForContentType, Predicate, SizeAbove};
use tower_http::cors::{AllowOrigin, CorsLayer};
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::set_header::SetResponseHeaderLayer;
use tracing::Instrument;

use super::error::{Error, NOT_YET};
use super::framing;
use super::headers::{
    AS_OF, IDEMPOTENCY_KEY, IDEMPOTENT_REPLAYED, RATELIMIT, RATELIMIT_POLICY, X_REQUEST_ID,
};
use super::pages;
use super::problem::{self, Problem};
use super::streams::LAST_EVENT_ID;

/// The largest body, in bytes.
pub const MAX_BODY: usize = 1024 * 1024;
/// How long a request may take.
pub const TIMEOUT: Duration = Duration::from_secs(30);
/// The smallest answer that is compressed, in bytes. Below it compression costs more than it saves.
const COMPRESS_ABOVE: u64 = 1024;

/// A request's id in the log, in metadata and in answers: the client's own if it is valid, or a new one.
#[derive(Debug, Clone, Default)]
pub struct RequestId(String);

impl RequestId {
    fn of(request: &Request) -> Self {
        let given = request.headers().get(X_REQUEST_ID).and_then(|value| value.to_str().ok());
        let sane = given.filter(|id| {
            (1..=64).contains(&id.len())
                && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        });
        Self(sane.map_or_else(|| uuid::Uuid::now_v7().to_string(), str::to_owned))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The metadata of the events that this request writes.
    #[must_use]
    pub fn metadata(&self, caller: &Principal) -> Metadata {
        Metadata::within(self.0.clone(), caller.actor())
    }
}

/// Wraps a router in these layers.
pub(super) fn wrap(router: Router, cors_origins: &[HeaderValue]) -> Router {
    let compress = SizeAbove::new(COMPRESS_ABOVE)
        .and(NotForContentType::IMAGES)
        // Hashes, which do not compress.
        .and(NotForContentType::const_new("application/octet-stream"))
        .and(NotForContentType::SSE)
        .and(NotForContentType::GRPC);
    let default = |name, value| SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value));
    // The last layer is the outermost.
    router
        .layer((DefaultBodyLimit::disable(), RequestBodyLimitLayer::new(MAX_BODY)))
        .layer(from_fn(within_time))
        .layer(from_fn(framing::check))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(CompressionLayer::new().compress_when(compress))
        .layer(cors(cors_origins))
        .layer(default(header::CACHE_CONTROL, "no-store"))
        .layer(default(header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"))
        .layer(default(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(default(header::X_FRAME_OPTIONS, "DENY"))
        .layer(default(header::REFERRER_POLICY, "no-referrer"))
        .layer(from_fn(observe))
}

fn cors(origins: &[HeaderValue]) -> CorsLayer {
    let everyone = origins.iter().any(|origin| origin == "*");
    let listed = || AllowOrigin::list(origins.iter().cloned());
    CorsLayer::new()
        .allow_origin(if everyone { AllowOrigin::any() } else { listed() })
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            IDEMPOTENCY_KEY,
            LAST_EVENT_ID,
            X_REQUEST_ID,
        ])
        .expose_headers([
            AS_OF,
            header::LOCATION,
            header::RETRY_AFTER,
            IDEMPOTENT_REPLAYED,
            RATELIMIT,
            RATELIMIT_POLICY,
            X_REQUEST_ID,
        ])
        .max_age(Duration::from_mins(10))
}

/// Gives a request its id, its span and its place in the metrics, and an error its problem document.
async fn observe(mut request: Request, next: Next) -> Response {
    let id = RequestId::of(&request);
    let method = known_method(request.method());
    let path = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).to_owned();
    let span =
        tracing::info_span!("request", request_id = id.as_str(), method, path, actor = tracing::field::Empty);
    request.extensions_mut().insert(id.clone());
    async {
        let started = Instant::now();
        let response = next.run(request).await;
        let counted = counted_as(&response);
        let mut response = problem::complete(response, id.as_str());
        if let Ok(value) = HeaderValue::from_str(id.as_str()) {
            response.headers_mut().insert(X_REQUEST_ID, value);
        }
        let (status, elapsed) = (response.status().as_u16(), started.elapsed());
        let elapsed_us = elapsed.as_micros() as u64;
        // A page is some forty files: a line for each would hide the rest.
        if path == pages::FILES {
            tracing::debug!(status, elapsed_us, "answered");
        } else {
            tracing::info!(status, elapsed_us, "answered");
        }
        super::metrics::answered(method, path, counted, elapsed);
        response
    }
    .instrument(span)
    .await
}

/// An answer's status as a metric's label. A read whose `min_position` has not been reached is counted by its code:
/// alerts on 5xx would otherwise be in the hands of every caller.
fn counted_as(response: &Response) -> String {
    match response.extensions().get::<Problem>() {
        Some(problem) if problem.code == NOT_YET => NOT_YET.to_owned(),
        _ => response.status().as_str().to_owned(),
    }
}

/// A method as a metric's label. Unknown methods share one label, so that clients cannot create time series.
fn known_method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

async fn within_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Error::timed_out().into_response(),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the layer wants a function of this type")]
fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let message = panic.downcast_ref::<&str>().copied();
    let message = message.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    tracing::error!(message = message.unwrap_or("not a text"), "a handler panicked");
    Error::internal("a handler panicked").into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::get;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::server::{Limits, serve};

    #[tokio::test]
    async fn a_panic_is_answered_without_its_words_and_the_service_goes_on() {
        async fn panics() {
            panic!("a secret");
        }
        let router = wrap(Router::new().route("/panics", get(panics)), &[]);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a socket");
        let url = format!("http://{}/panics", listener.local_addr().expect("an address"));
        let stop = CancellationToken::new();
        let serving =
            tokio::spawn(serve(vec![listener.into()], router, Limits::new(9, vec![]), stop.clone()));
        for _ in 0..2 {
            let answer = reqwest::get(&url).await.expect("an answer");
            assert_eq!(answer.status(), 500);
            let problem: serde_json::Value = answer.json().await.expect("JSON");
            assert_eq!(problem["code"], "internal");
            assert!(!problem.to_string().contains("secret"), "{problem}");
        }
        stop.cancel();
        serving.await.expect("no panic").expect("no error");
        assert!(reqwest::get(&url).await.is_err(), "it has stopped");
    }

    fn id(header: &str) -> String {
        let request = Request::builder().header(X_REQUEST_ID, header).body(Body::empty()).expect("a request");
        RequestId::of(&request).0
    }

    #[test]
    fn a_sane_request_id_is_kept_and_any_other_replaced() {
        assert_eq!(id("trace-17_a.b"), "trace-17_a.b");
        for odd in ["", "a b", "a\u{e9}", "<script>", &"x".repeat(65)] {
            assert_eq!(id(odd).len(), 36, "{odd}");
        }
    }
}
