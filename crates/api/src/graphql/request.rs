//! The route, and the steps of one question: parsed, measured, answered. A request holds one question, never a batch.

use std::collections::BTreeSet;

use async_graphql::{Request, Response, ServerError, Variables};
use chrono::{DateTime, Utc};
use fleetlog_access::action::typed::GraphqlQuery;
use fleetlog_access::{Action, Forbidden};
use fleetlog_event_log::TenantLog;
use fleetlog_event_log::control::Metadata;
use fleetlog_projections::devices::Device;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use uuid::Uuid;

use super::answer::Answer;
use super::cost;
use super::error::with_codes;
use super::loaders::loaders;
use crate::app::App;
use crate::door::action::guarded;
use crate::door::guard::Refused;
use crate::door::{May, guard};
use crate::resource::Resource;
use crate::rest::extract::Body;
use crate::rest::{Error, RequestId};

/// `POST /graphql`.
pub fn router() -> OpenApiRouter<App> {
    guarded!(ask)
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

    /// Checks that the caller may do `action` to one device of the tenant, whose labels are known.
    pub(super) fn may_device(&self, action: Action, device: &Device) -> Result<(), Error> {
        let uid = Device::id(&device.uid).ok_or_else(Error::missing::<Device>)?;
        let decided = guard::known(&self.door.caller, action, None, &uid, &device.labels);
        self.noted(decided.map_err(Refused::from))
    }

    /// Checks that the caller may do `action` to the device `uid` with the command `cmd`.
    pub(super) async fn may_named(&self, action: Action, cmd: Option<&str>, uid: &str) -> Result<(), Error> {
        match Device::id(uid) {
            Some(uid) => self.noted(guard::command(&self.door.caller, self.log(), action, cmd, &uid).await),
            // No device can have an invalid uid, so there are no labels to look up.
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

/// The answer to a `GraphQL` question: `data`, and `errors`, each with a `code` among its `extensions`.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its schema is used")]
#[schema(as = Answer)]
struct Answered {
    /// The data that was asked for, by field name; null where errors left nothing.
    data: Value,
    /// The errors, each with the path of its field. Absent if there are none.
    errors: Option<Vec<Value>>,
}

/// Answers a `GraphQL` question. Errors in it come with status 200.
#[utoipa::path(
    post, path = "/graphql", tag = "graphql", operation_id = "ask_graphql", request_body = Ask,
    responses((status = 200, description = "The answer, or why there is none", body = Answered)),
)]
async fn ask(door: May<GraphqlQuery>, request_id: RequestId, Body(ask): Body<Ask>) -> Answer {
    let question = match cost::read(&ask.query) {
        Ok(question) => question,
        Err(refused) => return refuse(refused.to_string()),
    };
    let schemas = &door.app.graphql;
    let schema = match (&schemas.types, question.about_types) {
        (Some(types), true) => types.clone(),
        (None, true) => return refuse("the schema cannot be asked for its types here".to_owned()),
        (_, false) => schemas.data.clone(),
    };
    let now = door.app.now();
    let loaders = loaders(door.app.clone(), door.log().clone());
    let mut request = Request::new(ask.query)
        .variables(Variables::from_json(Value::Object(ask.variables.unwrap_or_default())))
        .data(loaders)
        .data(Asker { door, request: request_id, now, refused: Mutex::default() });
    request.operation_name = ask.operation_name;
    request.set_parsed_query(question.document);
    Answer(with_codes(schema.execute(request).await))
}

fn refuse(why: String) -> Answer {
    Answer(with_codes(Response::from_errors(vec![ServerError::new(why, None)])))
}
