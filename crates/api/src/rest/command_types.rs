//! Command types: which commands the tenant's devices may be told, and what their parameters must be.

use axum::Json;
use axum::extract::State;
use fleetlog_access::{Action, Resource, authorize};
use fleetlog_aggregates::command_type::Definition;
use fleetlog_aggregates::identity::CommandName;
use fleetlog_event_log::control::Committed;
use fleetlog_projections::commands::{self, CommandType};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::{Error, NO_TYPE};
use super::extract::{Body, Caller, NoParameters, Query, TypeName, present};
use super::min_position::When;
use super::page::List;
use super::parameters::LogPosition;
use super::problem::Problem;
use super::{App, RequestId, min_position};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(list_command_types)).routes(routes!(
        read_command_type,
        define_command_type,
        remove_command_type
    ))
}

/// The tenant's command types, by name. A command that is not one of them is never sent.
#[utoipa::path(
    get, path = "/command-types", tag = "commands", operation_id = "list_command_types", params(When),
    responses((status = 200, description = "The command types", body = List<CommandType>)),
    extensions(("x-action" = json!("command_types.read"))),
)]
async fn list_command_types(
    State(app): State<App>,
    Caller(caller): Caller,
    when: Result<Query<When>, Error>,
) -> Result<Json<List<CommandType>>, Error> {
    authorize(&caller, Action::CommandTypesRead, &Resource::Tenant(&caller.tenant))?;
    let Query(when) = when?;
    min_position::of_projection::<commands::Model>(&app, &caller.tenant, when.min_position).await?;
    Ok(Json(List::whole(commands::types(&app.tenant_log(&caller)).await?)))
}

/// What a command type says.
#[derive(Serialize, ToSchema)]
#[schema(as = CommandTypeDefinition)]
struct Named {
    /// What commands of this type say in `cmd`.
    name: String,
    /// What it does, for people.
    description: Option<String>,
    /// The JSON Schema that `params` must fit.
    #[schema(value_type = Object)]
    params: Value,
}

/// One command type, from the log itself: never behind.
#[utoipa::path(
    get, path = "/command-types/{name}", tag = "commands", operation_id = "read_command_type",
    params(("name" = String, Path, description = "The command type")),
    responses(
        (status = 200, description = "The command type", body = Named),
        (status = 404, description = "No such command type", body = Problem, content_type = "application/problem+json"),
    ),
    extensions(("x-action" = json!("command_types.read"))),
)]
async fn read_command_type(
    State(app): State<App>,
    Caller(caller): Caller,
    TypeName(name): TypeName,
    nothing: Result<Query<NoParameters>, Error>,
) -> Result<Json<Named>, Error> {
    authorize(&caller, Action::CommandTypesRead, &Resource::Tenant(&caller.tenant))?;
    nothing?;
    let definition = app.commands.type_of(&app.tenant_log(&caller), &name).await?;
    let Definition { description, params } = definition.ok_or(Error::NotFound(NO_TYPE))?;
    Ok(Json(Named { name: name.into(), description, params }))
}

/// What a command type is to say.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewCommandType)]
struct New {
    /// What it does, for people: 1 to 500 characters.
    #[serde(default, deserialize_with = "present")]
    description: Option<String>,
    /// The JSON Schema that `params` must fit: an object of at most 16 KiB.
    #[schema(value_type = Object)]
    params: Value,
}

/// What a write has done.
#[derive(Serialize, ToSchema)]
#[schema(as = CommandTypeWritten)]
struct Written {
    /// The command type.
    name: String,
    /// Where it is on the record, to wait for with `min_position`; null if there was nothing to change.
    #[schema(example = "1:42")]
    position: Option<String>,
}

impl Written {
    fn new(name: CommandName, at: Option<Committed>) -> Self {
        Self { name: name.into(), position: at.map(|at| LogPosition::from(at).to_string()) }
    }
}

/// Puts a command type on the tenant's list, or changes it.
#[utoipa::path(
    put, path = "/command-types/{name}", tag = "commands", operation_id = "define_command_type", request_body = New,
    params(("name" = String, Path, description = "The command type: 1 to 64 of `A-Z a-z 0-9 _ . -`")),
    responses((status = 200, description = "On the list in this form", body = Written)),
    extensions(("x-action" = json!("command_types.write"))),
)]
async fn define_command_type(
    State(app): State<App>,
    Caller(caller): Caller,
    request: RequestId,
    name: Result<TypeName, Error>,
    definition: Result<Body<New>, Error>,
) -> Result<Json<Written>, Error> {
    authorize(&caller, Action::CommandTypesWrite, &Resource::Tenant(&caller.tenant))?;
    let why = "expected 1 to 64 characters of A-Z, a-z, 0-9, '_', '.' and '-'";
    let TypeName(name) = name.map_err(|_| Error::field("name", why))?;
    let Body(New { description, params }) = definition?;
    let (definition, metadata) = (Definition { description, params }, request.metadata(&caller));
    let at = app.commands.define_type(&app.tenant_log(&caller), &name, definition, metadata).await?;
    Ok(Json(Written::new(name, at)))
}

/// Takes a command type off the tenant's list. Commands that were requested before are still sent.
#[utoipa::path(
    delete, path = "/command-types/{name}", tag = "commands", operation_id = "remove_command_type",
    params(("name" = String, Path, description = "The command type")),
    responses(
        (status = 200, description = "Off the list", body = Written),
        (status = 404, description = "No such command type", body = Problem, content_type = "application/problem+json"),
    ),
    extensions(("x-action" = json!("command_types.write"))),
)]
async fn remove_command_type(
    State(app): State<App>,
    Caller(caller): Caller,
    request: RequestId,
    TypeName(name): TypeName,
) -> Result<Json<Written>, Error> {
    authorize(&caller, Action::CommandTypesWrite, &Resource::Tenant(&caller.tenant))?;
    let at = app.commands.remove_type(&app.tenant_log(&caller), &name, request.metadata(&caller)).await?;
    Ok(Json(Written::new(name, at)))
}
