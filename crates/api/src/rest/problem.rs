//! The one form of every error's answer: an RFC 9457 problem document with a stable `code`.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

/// A problem document, as RFC 9457 defines it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Problem {
    /// The kind of problem: `urn:fleetlog:problem:` and the code.
    #[serde(rename = "type")]
    #[schema(example = "urn:fleetlog:problem:invalid")]
    pub kind: String,
    /// The status in words.
    #[schema(example = "Unprocessable Entity")]
    pub title: Cow<'static, str>,
    /// The HTTP status.
    #[schema(example = 422)]
    pub status: u16,
    /// The stable code of the problem, for programs.
    #[schema(example = "invalid")]
    pub code: &'static str,
    /// What went wrong, for people.
    #[schema(example = "some fields are not valid")]
    pub detail: Cow<'static, str>,
    /// The fields of the request that are wrong, each with the reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// The request's id, as the service's log shows it.
    #[schema(example = "0199e2a4-7c11-7b9e-8a5a-3f0d4c1b2a69")]
    pub request_id: String,
}

/// A field of the request that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// The query parameter, or the path within the body; empty for the whole body.
    #[schema(example = "limit")]
    pub field: String,
    /// What is wrong with the field, for people.
    #[schema(example = "a limit is 1 to 1000")]
    pub reason: String,
}

impl FieldError {
    /// Makes an entry for a field that is wrong.
    pub fn new(field: impl Into<String>, reason: impl fmt::Display) -> Self {
        Self { field: field.into(), reason: reason.to_string() }
    }
}

/// The content type of a problem document.
pub const CONTENT_TYPE: &str = "application/problem+json";

impl Problem {
    /// Makes a problem document. The middleware fills in the request's id.
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

    /// Makes the problem document for a status that the framework answered by itself.
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

    /// Makes the answer, which the middleware completes.
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

/// The text that the client gets for an internal error.
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

/// Tells whether an answer is an error with an empty or plain-text body. An error that is answered in JSON keeps its
/// own form.
fn is_bare_error(status: StatusCode, headers: &HeaderMap) -> bool {
    let is_error = status.is_client_error() || status.is_server_error();
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    is_error && !content_type.is_some_and(|content_type| content_type.contains("json"))
}
