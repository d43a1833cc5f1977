//! Errors of resolvers: the texts of REST's problem documents, with their code among the extensions.

use async_graphql::{ErrorExtensions, Response, Value};

use crate::rest::Error as HttpError;

/// Turns an error into a `GraphQL` error with the text and the code that REST would answer.
impl From<HttpError> for async_graphql::Error {
    fn from(error: HttpError) -> Self {
        error.log();
        Self::new(error.message()).extend_with(|_, extensions| extensions.set("code", error.code()))
    }
}

/// Adds a code to errors that the library raised itself.
pub(super) fn with_codes(mut response: Response) -> Response {
    for error in &mut response.errors {
        let extensions = error.extensions.get_or_insert_default();
        if extensions.get("code").is_none() {
            extensions.set("code", Value::from("invalid"));
        }
    }
    response
}
