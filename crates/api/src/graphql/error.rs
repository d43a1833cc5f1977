//! Errors of resolvers: the texts of REST's problem documents, with their code among the extensions.

use async_graphql::{ErrorExtensions, Response, Value};

use crate::rest::Error as HttpError;

/// Turns an error into a `GraphQL` error with the text and the code that REST would answer.
impl From<HttpError> for async_graphql::Error {
    fn from(error: HttpError) -> Self {
        error.log();
        Self::new(error.message_with(as_argument))
            .extend_with(|_, extensions| extensions.set("code", error.code()))
    }
}

/// The name of a field as this interface has it: `idempotency_key` is `idempotencyKey`. What follows the first dot is the
/// caller's own.
fn as_argument(field: &str) -> String {
    let (own, rest) = field.split_at(field.find(['.', '[']).unwrap_or(field.len()));
    let mut words = own.split('_');
    let mut name = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut letters = word.chars();
        name.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        name.push_str(letters.as_str());
    }
    name + rest
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
