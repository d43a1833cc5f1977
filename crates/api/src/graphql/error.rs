//! Errors of resolvers: the words of REST's problem documents, with their code among the extensions.

use async_graphql::{ErrorExtensions, Response, Value};

use crate::rest::Error as HttpError;

/// What REST would answer, for `GraphQL`.
impl From<HttpError> for async_graphql::Error {
    fn from(error: HttpError) -> Self {
        error.log();
        Self::new(error.message()).extend_with(|_, extensions| extensions.set("code", error.code()))
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
