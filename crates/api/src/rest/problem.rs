//! The one form of every error's answer: an RFC 9457 problem document with a stable `code`.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

/// What an error's answer says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Problem {
    /// Names the kind of problem: `urn:fleetlog:problem:` and the code.
    #[serde(rename = "type")]
    #[schema(example = "urn:fleetlog:problem:invalid")]
    pub kind: String,
    /// The status in words.
    #[schema(example = "Unprocessable Entity")]
    pub title: Cow<'static, str>,
    /// The HTTP status.
    #[schema(example = 422)]
    pub status: u16,
    /// What went wrong, for programs. Stable.
    #[schema(example = "invalid")]
    pub code: &'static str,
    /// What went wrong, for people.
    #[schema(example = "some fields are not valid")]
    pub detail: Cow<'static, str>,
    /// Which fields of the request are wrong, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// The request, as the log knows it.
    #[schema(example = "0199e2a4-7c11-7b9e-8a5a-3f0d4c1b2a69")]
    pub request_id: String,
}

/// A field of the request that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// The query parameter, or the path within the body; empty for the whole of it.
    #[schema(example = "limit")]
    pub field: String,
    /// What is wrong with it, for people.
    #[schema(example = "a limit is 1 to 1000")]
    pub reason: String,
}

impl FieldError {
    /// Says what is wrong with a field.
    pub fn new(field: impl Into<String>, reason: impl fmt::Display) -> Self {
        Self { field: field.into(), reason: reason.to_string() }
    }
}

/// The content type of a problem document.
pub const CONTENT_TYPE: &str = "application/problem+json";

impl Problem {
    /// A problem of which only the request is not known yet.
    #[must_use]
    pub fn new(status: StatusCode, code: &'static str, detail: Cow<'static, str>) -> Self {
        Self {
            kind: format!("urn:fleetlog:problem:{code}"),
            title: Cow::Borrowed(status.canonical_reason().unwrap_or("Error")),
            status: status.as_u16(),
            code,
            detail,
            errors: vec![],
            request_id: String::new(),
        }
    }

    /// The problem for a status that the framework answered by itself.
    fn of_status(status: StatusCode) -> Self {
        let (code, detail) = match status {
            StatusCode::NOT_FOUND => ("not_found", "there is nothing at this path"),
            StatusCode::METHOD_NOT_ALLOWED => ("method_not_allowed", "this path does not take this method"),
            StatusCode::PAYLOAD_TOO_LARGE => ("too_large", "the body is over 1 MiB"),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => ("unsupported_media_type", "the body must be JSON"),
            status if status.is_client_error() => ("bad_request", "the request cannot be understood"),
            _ => ("internal", INTERNAL),
        };
        Self::new(status, code, Cow::Borrowed(detail))
    }

    /// The answer, which the middleware completes.
    #[must_use]
    pub fn into_pending_response(self, retry_after: Option<Duration>) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = status.into_response();
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(after) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// What is said of an error that is none of the client's business.
pub(super) const INTERNAL: &str = "something failed inside; the service's log has it under this request id";

/// Writes the problem document of an answer that is an error and has none yet.
pub(super) fn complete(response: Response, request_id: &str) -> Response {
    let status = response.status();
    let (mut parts, body) = response.into_parts();
    let problem = match parts.extensions.remove::<Problem>() {
        Some(problem) => problem,
        None if is_bare_error(status, &parts.headers) => Problem::of_status(status),
        None => return Response::from_parts(parts, body),
    };
    let problem = Problem { request_id: request_id.to_owned(), ..problem };
    let mut completed = (status, Json(problem)).into_response();
    for name in [header::CONTENT_LENGTH, header::CONTENT_TYPE, header::TRANSFER_ENCODING] {
        parts.headers.remove(name);
    }
    completed.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    completed.headers_mut().extend(parts.headers);
    completed
}

/// An error that says nothing, or says it in plain text. What answers an error in JSON has its own form for it.
fn is_bare_error(status: StatusCode, headers: &HeaderMap) -> bool {
    let is_error = status.is_client_error() || status.is_server_error();
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    is_error && !content_type.is_some_and(|content_type| content_type.contains("json"))
}
