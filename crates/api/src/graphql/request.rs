//! The routes, and the steps of one question: parsed, measured, answered. A request holds one question, never a batch.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_graphql::parser::types::{ExecutableDocument, OperationDefinition, OperationType};
use async_graphql::{Name, Request, Response, ServerError, Variables};
use chrono::{DateTime, Utc};
use fleetlog_access::action::typed::GraphqlQuery;
use fleetlog_access::{self as access, Action, Forbidden, authorize};
use fleetlog_aggregates::device::Labels;
use fleetlog_aggregates::identity::Uid;
use fleetlog_event_log::TenantLog;
use fleetlog_event_log::control::Metadata;
use fleetlog_projections::devices::Device;
use http::HeaderMap;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use uuid::Uuid;

use super::answer::{Answer, asks_for_own_type};
use super::cost;
use super::error::with_codes;
use super::folding::Folding;
use super::loaders::loaders;
use super::order::Order;
use super::price;
use crate::app::App;
use crate::door::action::guarded;
use crate::door::guard::Refused;
use crate::door::{May, guard};
use crate::rest::extract::{Body, Query};
use crate::rest::page::further;
use crate::rest::problem::Problem;
use crate::rest::{Error, RequestId};

/// `POST /graphql`, and `GET /graphql` for what only reads.
pub fn router() -> OpenApiRouter<App> {
    guarded!(ask, ask_by_get)
}

/// The caller of a question. Resolvers find it in their context.
pub(super) struct Asker {
    pub(super) door: May<GraphqlQuery>,
    request: RequestId,
    /// The current time, the same for the whole question.
    pub(super) now: DateTime<Utc>,
    /// The actions that were refused so far. Each goes on the record once a question, however many of its fields are
    /// refused.
    refused: Mutex<BTreeSet<Action>>,
    /// What the question's answers as of moments of the past have folded.
    pub(super) folding: Folding,
}

impl Asker {
    /// The log of the caller's tenant.
    pub(super) fn log(&self) -> &TenantLog {
        self.door.log()
    }

    /// Checks that the caller may do `action` to the tenant's things.
    pub(super) fn may(&self, action: Action) -> Result<(), Error> {
        self.noted(guard::tenant(&self.door.caller, action, None).map_err(Refused::from))
    }

    /// Checks that the caller may do `action` to the platform.
    pub(super) fn may_platform(&self, action: Action) -> Result<(), Error> {
        let decided = authorize(&self.door.caller, action, &access::Resource::Platform);
        self.noted(decided.map_err(Refused::from))
    }

    /// Checks that the caller may do `action` to one device of the tenant, whose labels are known.
    pub(super) fn may_device(&self, action: Action, device: &Device) -> Result<(), Error> {
        let decided = guard::known(&self.door.caller, action, None, &device.uid, &device.labels);
        self.noted(decided.map_err(Refused::from))
    }

    /// Checks that the caller may do `action` to a device with the command `cmd`. `None`: no device can have the uid.
    pub(super) async fn may_named(
        &self,
        action: Action,
        cmd: Option<&str>,
        uid: Option<&Uid>,
    ) -> Result<(), Error> {
        match uid {
            Some(uid) => self.noted(guard::command(&self.door.caller, self.log(), action, cmd, uid).await),
            // There are no labels to look up.
            None => self.may(action),
        }
    }

    /// Checks that the caller may write a device, as it is and with these labels. `None`: no device can have the uid.
    pub(super) async fn may_write(&self, uid: Option<&Uid>, labels: Option<&Labels>) -> Result<(), Error> {
        let action = Action::DevicesWrite;
        match uid {
            Some(uid) => self.noted(guard::written(&self.door.caller, self.log(), action, uid, labels).await),
            None => self.may(action),
        }
    }

    /// Checks that the caller may do `action` to a command that is on the record. `None`: no command can have the id.
    pub(super) async fn may_recorded(&self, action: Action, cmd_id: Option<Uuid>) -> Result<(), Error> {
        match cmd_id {
            Some(cmd_id) => self.noted(guard::recorded(&self.door.caller, self.log(), action, cmd_id).await),
            None => self.may(action),
        }
    }

    fn noted(&self, decided: Result<(), Refused>) -> Result<(), Error> {
        decided.map_err(|refused| {
            let is_noted = |Forbidden(action): &Forbidden| !self.refused.lock().insert(*action);
            match refused {
                Refused::Forbidden(forbidden) if is_noted(&forbidden) => forbidden.into(),
                refused => refused.noted(&self.door.app, &self.door.caller),
            }
        })
    }

    /// The metadata of the events that the caller writes.
    pub(super) fn metadata(&self) -> Metadata {
        self.request.metadata(&self.door.caller)
    }
}

/// A question in `GraphQL`, and the values of its variables.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Ask {
    /// The question, in `GraphQL`.
    #[schema(example = "{ devices(first: 10) { nodes { uid status } } }")]
    query: String,
    /// The values of its variables.
    #[schema(value_type = Option<Object>)]
    variables: Option<Map<String, Value>>,
    /// The name of the operation to carry out, if the question holds several.
    operation_name: Option<String>,
    /// Accepted for compatibility, and ignored.
    #[serde(rename = "extensions")]
    #[schema(value_type = Option<Object>)]
    _extensions: Option<Map<String, Value>>,
}

/// A question in a query string.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
struct AskByGet {
    /// The question, in `GraphQL`.
    #[param(example = "{ devices(first: 10) { nodes { uid status } } }")]
    query: String,
    /// The values of its variables: a JSON object.
    variables: Option<String>,
    /// The name of the operation to carry out, if the question holds several.
    operation_name: Option<String>,
    /// A JSON object, which is accepted for compatibility and ignored.
    extensions: Option<String>,
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
    Ask { query, variables, operation_name, .. }: Ask,
    may_write: bool,
) -> Result<Answer, Error> {
    let in_own_type = asks_for_own_type(headers);
    let refuse = |why: String| {
        let response = with_codes(Response::from_errors(vec![ServerError::new(why, None)]));
        Ok(Answer { response, order: Order::default(), in_own_type, further: further(0) })
    };
    let question = match cost::read(&query) {
        Ok(question) => question,
        Err(refused) => return refuse(refused.to_string()),
    };
    let variables = variables.unwrap_or_default();
    let (mut order, mut root) = (Order::default(), "Query");
    // The library refuses a name that no operation has.
    if let Some(operation) = operation(&question.document, operation_name.as_deref()) {
        if operation.ty == OperationType::Mutation && !may_write {
            return Err(Error::needs_post());
        }
        if let Some(missing) = missing_variable(operation, &variables) {
            return refuse(format!("the variable ${missing} needs a value"));
        }
        if let Err(dear) = price::check(&question.document, operation, &variables) {
            return refuse(dear.to_string());
        }
        order = Order::of(&operation.selection_set.node, &question.document);
        if operation.ty == OperationType::Mutation {
            root = "Mutation";
        }
    }
    let schemas = &door.app.graphql;
    let schema = match (&schemas.types, question.about_types) {
        (Some(types), true) => types.clone(),
        (None, true) => return refuse("the schema cannot be asked for its types here".to_owned()),
        (_, false) => schemas.data.clone(),
    };
    let (now, nulls) = (door.app.now(), Arc::clone(&schemas.nulls));
    let folding = Folding::default();
    let loaders = loaders(door.app.clone(), door.log().clone(), folding.clone());
    let mut request = Request::new(query)
        .variables(Variables::from_json(Value::Object(variables)))
        .data(loaders)
        .data(Asker { door, request: request_id, now, refused: Mutex::default(), folding: folding.clone() });
    request.operation_name = operation_name;
    request.set_parsed_query(question.document);
    let mut response = with_codes(schema.execute(request).await);
    nulls.settle(&mut response, &order, root);
    let further = further(folding.events().await);
    Ok(Answer { response, order, in_own_type, further })
}

/// A variable that must not be null, and has neither a value nor a default. The library would notice it in the first
/// field that uses it, after others have been carried out.
fn missing_variable<'d>(
    operation: &'d OperationDefinition,
    variables: &Map<String, Value>,
) -> Option<&'d Name> {
    let mut defined = operation.variable_definitions.iter().map(|definition| &definition.node);
    let missing = defined.find(|defined| {
        let given = variables.get(defined.name.node.as_str());
        let is_null = given.map_or(defined.default_value.is_none(), Value::is_null);
        !defined.var_type.node.nullable && is_null
    });
    missing.map(|defined| &defined.name.node)
}

/// The operation to carry out: the only one, or the one of that name.
fn operation<'d>(document: &'d ExecutableDocument, name: Option<&str>) -> Option<&'d OperationDefinition> {
    let mut operations = document.operations.iter();
    let found = match name {
        Some(name) => operations.find(|(own, _)| own.is_some_and(|own| own == name)),
        None => operations.next().filter(|_| operations.next().is_none()),
    };
    found.map(|(_, operation)| &operation.node)
}
