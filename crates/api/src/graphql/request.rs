//! The routes of questions with one answer, and the steps to it. A request holds one question, never a batch.

use std::sync::Arc;

use async_graphql::parser::types::OperationType;
use async_graphql::{Response, ServerError};
use fleetlog_access::action::typed::GraphqlQuery;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;

use super::answer::{Answer, asks_for_own_type};
use super::asker::Asker;
use super::error::with_codes;
use super::folding::Folding;
use super::loaders::loaders;
use super::order::Order;
use super::question::{Ask, Question};
use crate::app::App;
use crate::door::May;
use crate::door::action::guarded;
use crate::rest::extract::{Body, Query};
use crate::rest::page::further;
use crate::rest::problem::Problem;
use crate::rest::{Error, RequestId};

/// What a subscription is told that is not sent to where it is answered.
const NEEDS_STREAM: &str =
    "a subscription is followed at /graphql/stream (server-sent events) or /graphql/ws (WebSocket)";

/// `POST /graphql`, and `GET /graphql` for what only reads.
pub(super) fn router() -> OpenApiRouter<App> {
    guarded!(ask, ask_by_get)
}

/// A question in a query string.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(super) struct AskByGet {
    /// The question, in `GraphQL`.
    #[param(example = "{ devices(first: 10) { nodes { uid status } } }")]
    pub(super) query: String,
    /// The values of its variables: a JSON object.
    pub(super) variables: Option<String>,
    /// The name of the operation to carry out, if the question holds several.
    pub(super) operation_name: Option<String>,
    /// A JSON object, which is accepted for compatibility and ignored.
    pub(super) extensions: Option<String>,
}

impl TryFrom<AskByGet> for Ask {
    type Error = Error;

    fn try_from(ask: AskByGet) -> Result<Self, Error> {
        let object = |field, text: Option<String>| {
            let object = text.as_deref().map(serde_json::from_str::<Option<Map<String, Value>>>).transpose();
            object.map(Option::flatten).map_err(|_| Error::field(field, "expected a JSON object"))
        };
        let AskByGet { query, variables, operation_name, extensions } = ask;
        let variables = object("variables", variables)?;
        Ok(Self { query, variables, operation_name, _extensions: object("extensions", extensions)? })
    }
}

/// The answer to a `GraphQL` question: `data`, and `errors`, each with a `code` among its `extensions`.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its schema is used")]
#[schema(as = Answer)]
struct Answered {
    /// The data that was asked for, by field name in the order of the question; null where errors left nothing. Absent
    /// if the question was not carried out.
    #[schema(required = false)]
    data: Value,
    /// The errors, each with the path of its field. Absent if there are none.
    errors: Option<Vec<Value>>,
}

/// Answers a `GraphQL` question. Errors in it come with status 200, unless `Accept` asks for
/// `application/graphql-response+json`: then a question that cannot be carried out is 400.
#[utoipa::path(
    post, path = "/graphql", tag = "graphql", operation_id = "ask_graphql", request_body = Ask,
    responses(
        (status = 200, description = "The answer, or why there is none", content(
            (Answered = "application/json"), (Answered = "application/graphql-response+json"),
        )),
        (status = 400, description = "The body is not JSON, or the question cannot be carried out", content(
            (Problem = "application/problem+json"), (Answered = "application/graphql-response+json"),
        )),
    ),
)]
async fn ask(
    door: May<GraphqlQuery>,
    request_id: RequestId,
    headers: HeaderMap,
    Body(ask): Body<Ask>,
) -> Result<Answer, Error> {
    carry_out(door, request_id, &headers, ask, true).await
}

/// Answers a `GraphQL` question in the query string. It only reads: a mutation needs POST.
#[utoipa::path(
    get, path = "/graphql", tag = "graphql", operation_id = "query_graphql", params(AskByGet),
    responses(
        (status = 200, description = "The answer, or why there is none", content(
            (Answered = "application/json"), (Answered = "application/graphql-response+json"),
        )),
        (status = 400, description = "The question cannot be carried out", content(
            (Answered = "application/graphql-response+json"),
        )),
        (status = 405, description = "The question is a mutation"),
    ),
)]
async fn ask_by_get(
    door: May<GraphqlQuery>,
    request_id: RequestId,
    headers: HeaderMap,
    Query(ask): Query<AskByGet>,
) -> Result<Answer, Error> {
    carry_out(door, request_id, &headers, ask.try_into()?, false).await
}

async fn carry_out(
    door: May<GraphqlQuery>,
    request_id: RequestId,
    headers: &HeaderMap,
    ask: Ask,
    may_write: bool,
) -> Result<Answer, Error> {
    let in_own_type = asks_for_own_type(headers);
    let refuse = |why: String| {
        let response = with_codes(Response::from_errors(vec![ServerError::new(why, None)]));
        Ok(Answer { response, order: Order::default(), in_own_type, further: further(0) })
    };
    let Question { request, operation, order, about_types } = match Question::try_from(ask) {
        Ok(question) => question,
        Err(why) => return refuse(why),
    };
    let root = match operation {
        Some(OperationType::Mutation) if !may_write => return Err(Error::needs_post()),
        Some(OperationType::Mutation) => "Mutation",
        Some(OperationType::Subscription) => return refuse(NEEDS_STREAM.to_owned()),
        Some(OperationType::Query) | None => "Query",
    };
    let schemas = &door.app.graphql;
    let schema = match (&schemas.types, about_types) {
        (Some(types), true) => types.clone(),
        (None, true) => return refuse("the schema cannot be asked for its types here".to_owned()),
        (_, false) => schemas.data.clone(),
    };
    let (nulls, folding) = (Arc::clone(&schemas.nulls), Folding::default());
    let loaders = loaders(door.app.clone(), door.log().clone(), folding.clone());
    let request = request.data(loaders).data(Asker::once(door, request_id, folding.clone()));
    let mut response = with_codes(schema.execute(request).await);
    nulls.settle(&mut response, &order, root);
    let further = further(folding.events().await);
    Ok(Answer { response, order, in_own_type, further })
}
