//! The names of headers that HTTP itself does not define.

use http::HeaderName;

/// What a client calls a request, so that it is done once however often it is sent.
pub(super) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Says that the answer is the one to an earlier request with the same key.
pub(super) const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
/// What a request is called in the log, in metadata and in answers.
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// What is left of the limit that holds for the request.
pub(super) const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// The limit that holds for the request.
pub(super) const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// The addresses that a request came through, as proxies wrote them down.
pub(super) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// From which kind of page a browser sends a request.
pub(super) const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
