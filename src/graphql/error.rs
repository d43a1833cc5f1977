//! Errors of resolvers: the problem document's words, with its code among the extensions.

use async_graphql::{ErrorExtensions, Response, Value};

use crate::http::Error as HttpError;

/// What REST would answer, for `GraphQL`.
impl From<HttpError> for async_graphql::Error {
    fn from(error: HttpError) -> Self {
        error.log();
        let (problem, _) = error.problem();
        let mut reasons = problem.errors.iter().map(|error| format!("{}: {}", error.field, error.reason));
        let message = reasons.next().unwrap_or_else(|| problem.detail.into_owned());
        Self::new(message).extend_with(|_, extensions| extensions.set("code", problem.code))
    }
}

/// What the library refuses by itself has no code yet.
pub(super) fn with_codes(mut response: Response) -> Response {
    for error in &mut response.errors {
        let extensions = error.extensions.get_or_insert_default();
        if extensions.get("code").is_none() {
            extensions.set("code", Value::from("invalid"));
        }
    }
    response
}
