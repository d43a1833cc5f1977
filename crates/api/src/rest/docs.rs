//! The `OpenAPI` document, and the page that shows it. Both work without the internet.

use axum::Router;
use http::{HeaderValue, header};
use serde_json::json;
use tower_http::set_header::SetResponseHeaderLayer;
use utoipa::OpenApi;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Content, Ref, RefOr, ResponseBuilder};
use utoipa_swagger_ui::SwaggerUi;

use super::problem::{self, Problem};
pub use crate::door::action::ACTION;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "fleetlog",
        description = "Every reading and every command on the record, exactly once, in order.\n\n\
            Log in with `POST /auth/login` and send the token along as `Authorization: Bearer …`. Every error is an \
            `application/problem+json` document with a stable `code`. Lists come in pages: pass `next_cursor` on as \
            `cursor` until `has_more` is false. Writes return the `position` that they got; pass it on as \
            `min_position` to read them back. The same paths answer without the prefix `/api/v1`."
    ),
    components(schemas(Problem))
)]
struct Base;

/// The document without its paths.
pub(super) fn base() -> utoipa::openapi::OpenApi {
    Base::openapi()
}

/// Adds to every operation the login that it needs, and the problem documents of its errors.
pub(super) fn complete(mut document: utoipa::openapi::OpenApi) -> utoipa::openapi::OpenApi {
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
    document.components.get_or_insert_default().add_security_scheme("bearer", SecurityScheme::Http(bearer));
    for operation in document.paths.paths.values_mut().flat_map(operations) {
        add_problems(operation);
    }
    document
}

fn operations(path: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut path.get, &mut path.post, &mut path.put, &mut path.patch, &mut path.delete].into_iter().flatten()
}

fn add_problems(operation: &mut Operation) {
    let needs_login = operation.extensions.as_ref().is_some_and(|extensions| extensions.contains_key(ACTION));
    let mut shared = vec![("default", "Any other error")];
    if needs_login {
        operation.security = Some(vec![SecurityRequirement::new::<_, [&str; 0], &str>("bearer", [])]);
        shared.extend([("401", "No valid access token"), ("403", "Not allowed to your role")]);
    }
    if operation.parameters.is_some() || operation.request_body.is_some() {
        shared.push(("422", "A field is wrong, unknown or missing"));
    }
    let responses = &mut operation.responses.responses;
    for (status, description) in shared {
        let response = || ResponseBuilder::new().description(description).build().into();
        responses.entry(status.to_owned()).or_insert_with(response);
    }
    for (status, response) in responses {
        // An error's answer is a problem document, unless its handler declares another body.
        if let RefOr::T(response) = response
            && !status.starts_with('2')
            && response.content.is_empty()
        {
            let content = Content::new(Some(Ref::from_schema_name("Problem")));
            response.content.insert(problem::CONTENT_TYPE.to_owned(), content.into());
        }
    }
}

/// `/openapi.json`, and `/docs`.
pub(super) fn router(document: utoipa::openapi::OpenApi) -> Router {
    // The page runs its own scripts only, styles its elements inline and draws its icons from `data:` URLs.
    let policy =
        "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'";
    let policy =
        SetResponseHeaderLayer::overriding(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    Router::from(SwaggerUi::new("/docs").url("/openapi.json", complete(document))).layer(policy)
}

/// The document as it is committed.
#[must_use]
pub fn text(document: &utoipa::openapi::OpenApi) -> String {
    let mut document = json!(document);
    // The document is sorted, so that a change of the code changes only the lines that it is about.
    document.sort_all_objects();
    let mut text = serde_json::to_string_pretty(&document).unwrap_or_default();
    text.push('\n');
    text
}
