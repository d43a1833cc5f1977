//! The route, and one question's way through: read, measured, answered. One question a request: no batches.

use async_graphql::{Request, Response, ServerError, Variables};
use axum::Extension;
use axum::extract::State;
use chrono::{DateTime, Utc};
use fleetlog_access::{Action, Principal, Resource, authorize};
use fleetlog_event_log::TenantLog;
use fleetlog_event_log::control::Metadata;
use fleetlog_projections::devices;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::answer::Answer;
use super::cost;
use super::error::{denied, with_codes};
use super::loaders::loaders;
use crate::rest::error::{Denied, NO_DEVICE};
use crate::rest::extract::{Body, Caller};
use crate::rest::{App, Error, RequestId, guard};

/// `POST /graphql`.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(ask))
}

/// Who is asking. Resolvers find it in their context.
pub(super) struct Asker {
    pub(super) app: App,
    pub(super) principal: Principal,
    /// The log of the asker's tenant.
    pub(super) log: TenantLog,
    request: RequestId,
    /// One moment for the whole question.
    pub(super) now: DateTime<Utc>,
}

impl Asker {
    /// Whether the asker may do that to the tenant's things.
    pub(super) fn may(&self, action: Action) -> Result<(), Error> {
        Ok(authorize(&self.principal, action, &Resource::Tenant(&self.principal.tenant))?)
    }

    /// Whether the asker may do that to one device of theirs, whose labels are known.
    pub(super) fn may_device(&self, action: Action, device: &devices::Device) -> Result<(), Error> {
        let uid = device.uid.parse().map_err(|_| Error::NotFound(NO_DEVICE))?;
        Ok(guard::known(&self.principal, action, None, &uid, &device.labels)?)
    }

    /// Whether the asker may do that, with that command, to the device of that name.
    pub(super) async fn may_named(&self, action: Action, cmd: Option<&str>, uid: &str) -> Result<(), Error> {
        match uid.parse() {
            Ok(uid) => guard::command(&self.app, &self.principal, action, cmd, &uid).await,
            // What cannot be the name of a device is the name of none.
            Err(_) => self.may(action),
        }
    }

    /// Whether the asker may do that to a command that is on the record; `None` is the id of none.
    pub(super) async fn may_recorded(&self, action: Action, cmd_id: Option<Uuid>) -> Result<(), Error> {
        match cmd_id {
            Some(cmd_id) => guard::recorded(&self.app, &self.principal, action, cmd_id).await,
            None => self.may(action),
        }
    }

    /// What goes on the record with what the asker writes.
    pub(super) fn metadata(&self) -> Metadata {
        self.request.metadata(&self.principal)
    }
}

/// A question.
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
    /// Ignored.
    #[serde(default, rename = "extensions")]
    #[schema(value_type = Option<Object>)]
    _extensions: Option<serde_json::Value>,
}

/// What `GraphQL` answers: `data`, and `errors`, each with a `code` among its `extensions`.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its schema is used")]
#[schema(as = Answer)]
struct Answered {
    data: serde_json::Value,
    errors: Option<Vec<serde_json::Value>>,
}

/// A `GraphQL` question. Its errors come with status 200.
#[utoipa::path(
    post, path = "/graphql", tag = "graphql", operation_id = "ask_graphql", request_body = Ask,
    responses((status = 200, description = "The answer", body = Answered)),
    extensions(("x-action" = json!("graphql.query"))),
)]
async fn ask(
    State(app): State<App>,
    Caller(principal): Caller,
    request_id: RequestId,
    ask: Result<Body<Ask>, Error>,
) -> Result<(Extension<Denied>, Answer), Error> {
    authorize(&principal, Action::GraphqlQuery, &Resource::Tenant(&principal.tenant))?;
    let Body(ask) = ask?;
    let question = match cost::read(&ask.query) {
        Ok(question) => question,
        Err(refused) => return Ok(refuse(refused.to_string())),
    };
    let schema = match (&app.graphql.types, question.about_types) {
        (Some(types), true) => types.clone(),
        (None, true) => return Ok(refuse("the schema cannot be asked for its types here".to_owned())),
        (_, false) => app.graphql.data.clone(),
    };
    let log = app.tenant_log(&principal);
    let mut request = Request::new(ask.query)
        .variables(Variables::from_json(ask.variables.unwrap_or_default()))
        .data(loaders(app.clone(), log.clone()))
        .data(Asker { app, principal, log, request: request_id, now: Utc::now() });
    request.operation_name = ask.operation_name;
    request.set_parsed_query(question.document);
    let answer = schema.execute(request).await;
    Ok((Extension(Denied(denied(&answer))), Answer(with_codes(answer))))
}

fn refuse(why: String) -> (Extension<Denied>, Answer) {
    let answer = with_codes(Response::from_errors(vec![ServerError::new(why, None)]));
    (Extension(Denied([].into())), Answer(answer))
}
