//! The names of headers that HTTP itself does not define.

use http::HeaderName;

/// The client's key for a request, which is carried out once however often it is sent.
pub(super) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Says that the answer is the one to an earlier request with the same key.
pub(super) const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
/// The positions of the logs up to which an answer as of a moment speaks.
pub(super) const AS_OF: HeaderName = HeaderName::from_static("as-of");
/// The request's id, as the log, metadata and answers show it.
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// How many requests the limit still allows.
pub(super) const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// The limit that holds for the request.
pub(super) const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// The addresses that a request came through, as proxies have recorded them.
pub(super) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// How a page's site relates to the service's, as the browser says: `same-origin`, `cross-site` and so on.
pub(super) const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
