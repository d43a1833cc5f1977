//! Errors of resolvers: the problem document's words, with its code among the extensions.

use std::collections::BTreeSet;

use async_graphql::{ErrorExtensions, Response, Value};
use fleetlog_access::{Action, Forbidden};

use crate::rest::Error as HttpError;

/// What REST would answer, for `GraphQL`.
impl From<HttpError> for async_graphql::Error {
    fn from(error: HttpError) -> Self {
        error.log();
        let (problem, _) = error.problem();
        let denied = match error {
            HttpError::Forbidden(forbidden) => Some(forbidden),
            _ => None,
        };
        let mut reasons = problem.errors.iter().map(|error| format!("{}: {}", error.field, error.reason));
        let message = reasons.next().unwrap_or_else(|| problem.detail.into_owned());
        let error = denied.map_or_else(|| Self::new(message), Self::new_with_source);
        error.extend_with(|_, extensions| extensions.set("code", problem.code))
    }
}

/// What an answer refuses, for the record.
pub(super) fn denied(answer: &Response) -> BTreeSet<Action> {
    let denied = answer.errors.iter().filter_map(|error| error.source::<Forbidden>());
    denied.map(|Forbidden(action)| *action).collect()
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
