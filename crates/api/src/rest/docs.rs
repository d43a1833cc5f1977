//! The `OpenAPI` document, and the page that shows it. Both work without the internet.
//!
//! - [`mod@complete`]: what holds for every operation alike
//! - [`examples`]: examples of bodies and answers

mod complete;
mod examples;

use axum::Router;
use http::{HeaderValue, header};
use serde_json::{Value, json};
use tower_http::set_header::SetResponseHeaderLayer;
use utoipa::OpenApi;
use utoipa_swagger_ui::SwaggerUi;

use super::problem::Problem;
pub use crate::door::action::ACTION;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "fleetlog",
        description = "Every reading and every command on the record, exactly once, in order.\n\n\
            Log in with `POST /auth/login` and send the token along as `Authorization: Bearer …`. Every error is an \
            `application/problem+json` document with a stable `code`. Lists come in pages: pass `next_cursor` on as \
            `cursor` (at `GET /events` as `after`) until `has_more` is false. Writes return the `position` that they got; pass it on as \
            `min_position` to read them back. A position is a plain decimal number. Stored times have microseconds: a `from` or \
            `to` between two of them counts as the later one, an `as_of` as the earlier one, so each selects what lies within it. \
            In a body, `null` for a field that is optional means that the field is \
            absent; where a change can clear a field, its description says that `null` does so. The same paths answer without the prefix `/api/v1`."
    ),
    components(schemas(Problem))
)]
struct Base;

/// The document without its paths.
pub(super) fn base() -> utoipa::openapi::OpenApi {
    Base::openapi()
}

/// The whole document, with what holds for every operation alike.
pub(super) fn complete(document: &utoipa::openapi::OpenApi) -> Value {
    let mut document = json!(document);
    complete::complete(&mut document);
    // The document is sorted, so that a change of the code changes only the lines that it is about.
    document.sort_all_objects();
    document
}

/// `/openapi.json`, and `/docs`.
pub(super) fn router(document: &utoipa::openapi::OpenApi) -> Router {
    // The page runs its own scripts only, styles its elements inline and draws its icons from `data:` URLs.
    let policy =
        "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'";
    let policy =
        SetResponseHeaderLayer::overriding(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    Router::from(SwaggerUi::new("/docs").external_url_unchecked("/openapi.json", complete(document)))
        .layer(policy)
}

/// The document as it is committed.
#[must_use]
pub fn text(document: &Value) -> String {
    let mut text = serde_json::to_string_pretty(document).unwrap_or_default();
    text.push('\n');
    text
}
