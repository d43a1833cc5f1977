//! The route, and one question's way through: read, measured, answered. One question a request: no batches.

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

/// Who is asking. Resolvers find it in their context.
pub(super) struct Asker {
    pub(super) door: May<GraphqlQuery>,
    request: RequestId,
    /// One moment for the whole question.
    pub(super) now: DateTime<Utc>,
    /// What was refused so far. A question is one request, however many of its fields are refused for one reason.
    refused: Mutex<BTreeSet<Action>>,
}

impl Asker {
    /// The log of the asker's tenant.
    pub(super) fn log(&self) -> &TenantLog {
        self.door.log()
    }

    /// Whether the asker may do that to the tenant's things.
    pub(super) fn may(&self, action: Action) -> Result<(), Error> {
        self.noted(guard::tenant(&self.door.caller, action, None).map_err(Refused::from))
    }

    /// Whether the asker may do that to one device of theirs, whose labels are known.
    pub(super) fn may_device(&self, action: Action, device: &Device) -> Result<(), Error> {
        let uid = Device::id(&device.uid).ok_or_else(Error::missing::<Device>)?;
        let decided = guard::known(&self.door.caller, action, None, &uid, &device.labels);
        self.noted(decided.map_err(Refused::from))
    }

    /// Whether the asker may do that, with that command, to the device of that name.
    pub(super) async fn may_named(&self, action: Action, cmd: Option<&str>, uid: &str) -> Result<(), Error> {
        match Device::id(uid) {
            Some(uid) => self.noted(guard::command(&self.door.caller, self.log(), action, cmd, &uid).await),
            // What cannot be the name of a device is the name of none.
            None => self.may(action),
        }
    }

    /// Whether the asker may do that to a command that is on the record; `None` is the id of none.
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

    /// What goes on the record with what the asker writes.
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
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    variables: Option<serde_json::Value>,
    /// Which of its operations is meant, if it has several.
    #[serde(default)]
    operation_name: Option<String>,
    /// Taken, and not looked at.
    #[serde(default, rename = "extensions")]
    #[schema(value_type = Option<Object>)]
    _extensions: Option<serde_json::Value>,
}

/// What `GraphQL` answers: `data`, and `errors`, each with a `code` among its `extensions`.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its schema is used")]
#[schema(as = Answer)]
struct Answered {
    /// What was asked for, by the names of the fields; null where an error left nothing of it.
    data: serde_json::Value,
    /// What could not be answered, each with the path of its field. Absent, if that is nothing.
    errors: Option<Vec<serde_json::Value>>,
}

/// A `GraphQL` question. Its errors come with status 200.
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
    let loaders = loaders(door.app.clone(), door.log().clone());
    let mut request = Request::new(ask.query)
        .variables(Variables::from_json(ask.variables.unwrap_or_default()))
        .data(loaders)
        .data(Asker { door, request: request_id, now: Utc::now(), refused: Mutex::default() });
    request.operation_name = ask.operation_name;
    request.set_parsed_query(question.document);
    Answer(with_codes(schema.execute(request).await))
}

fn refuse(why: String) -> Answer {
    Answer(with_codes(Response::from_errors(vec![ServerError::new(why, None)])))
}
