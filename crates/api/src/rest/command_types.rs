//! Command types: the commands that the tenant's devices may be sent, with a JSON Schema for the parameters of each.

use axum::Json;
use fleetlog_access::action::typed::{CommandTypesRead, CommandTypesWrite};
use fleetlog_aggregates::command_type::Definition;
use fleetlog_aggregates::identity::CommandName;
use fleetlog_event_log::control::Committed;
use fleetlog_projections::commands::{self, CommandType};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;

use super::error::Error;
use super::extract::{Body, NewName, NoParameters, Query};
use super::min_position::When;
use super::page::List;
use super::parameters::LogPosition;
use super::{RequestId, min_position, wire};
use crate::app::App;
use crate::door::May;
use crate::door::action::guarded;
use crate::resource::{Nameable, Resource};

pub(super) fn router() -> OpenApiRouter<App> {
    guarded!(list_command_types, read_command_type, define_command_type, remove_command_type)
}

impl Resource for CommandType {
    type Id = CommandName;
    const MISSING: &'static str = "there is no such command type";

    fn id(name: &str) -> Option<CommandName> {
        name.parse().ok()
    }
}

impl Nameable for CommandType {
    const PARAMETER: &'static str = "name";
    const NAMES: &'static str = "expected 1 to 64 characters of A-Z, a-z, 0-9, '_', '.' and '-'";

    fn name(id: &CommandName) -> &str {
        id.as_str()
    }
}

/// Lists the tenant's command types, by name. A command that is not on this list is never sent.
#[utoipa::path(
    get, path = "/command-types", tag = "commands", operation_id = "list_command_types", params(When),
    responses((status = 200, description = "The command types", body = List<wire::CommandType>)),
)]
async fn list_command_types(
    door: May<CommandTypesRead>,
    Query(when): Query<When>,
) -> Result<Json<List<wire::CommandType>>, Error> {
    min_position::of_projection::<commands::Model>(&door.app, door.log(), when.min_position).await?;
    let types: List<CommandType> = List::whole(commands::types(door.log()).await?);
    Ok(Json(types.map(|command_type| wire::CommandType::of(command_type, door.log()))))
}

/// A command type of the tenant.
#[derive(Serialize, ToSchema)]
#[schema(as = CommandTypeDefinition)]
struct Named {
    /// The name, as commands of this type carry it in `cmd`.
    name: String,
    /// What the command does, for people.
    description: Option<String>,
    /// The JSON Schema that `params` must fit.
    #[schema(value_type = Object)]
    params: Value,
    /// How many attempts a command has whose request does not say. Null: 3.
    max_attempts: Option<u32>,
}

/// Returns one command type, read from the log itself, so never behind.
#[utoipa::path(
    get, path = "/command-types/{name}", tag = "commands", operation_id = "read_command_type",
    params(("name" = String, Path, description = "The command type")),
    responses(
        (status = 200, description = "The command type", body = Named),
        (status = 404, description = "No such command type"),
    ),
)]
async fn read_command_type(
    door: May<CommandTypesRead, CommandType>,
    _: Query<NoParameters>,
) -> Result<Json<Named>, Error> {
    let definition = door.app.commands.type_of(door.log(), &door.id).await?;
    let Definition { description, params, max_attempts } =
        definition.ok_or_else(Error::missing::<CommandType>)?;
    Ok(Json(Named { name: door.id.into(), description, params, max_attempts }))
}

/// The new content of a command type.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewCommandType)]
struct New {
    /// What the command does, for people: 1 to 500 characters.
    description: Option<String>,
    /// The JSON Schema that `params` must fit: an object of at most 16 KiB.
    #[schema(value_type = Object)]
    params: Value,
    /// How many attempts a command has whose request does not say. Without it: 3. One is right for what must not be done
    /// twice, such as a restart, which a device answers only afterwards.
    #[schema(minimum = 1, maximum = 10)]
    max_attempts: Option<u32>,
}

/// The result of a write.
#[derive(Serialize, ToSchema)]
#[schema(as = CommandTypeWritten)]
struct Written {
    /// The name of the command type.
    name: String,
    /// The position of this write on the record, to wait for with `min_position`; null if there was nothing to change.
    #[schema(example = "1:42")]
    position: Option<String>,
}

impl Written {
    fn new(name: CommandName, at: Option<Committed>) -> Self {
        Self { name: name.into(), position: at.map(|at| LogPosition::from(at).to_string()) }
    }
}

/// Adds a command type to the tenant's list, or changes it.
#[utoipa::path(
    put, path = "/command-types/{name}", tag = "commands", operation_id = "define_command_type", request_body = New,
    params(("name" = String, Path, description = "The command type: 1 to 64 of `A-Z a-z 0-9 _ . -`")),
    responses((status = 200, description = "On the list in this form", body = Written)),
)]
async fn define_command_type(
    door: May<CommandTypesWrite>,
    request: RequestId,
    NewName(name): NewName<CommandType>,
    Body(New { description, params, max_attempts }): Body<New>,
) -> Result<Json<Written>, Error> {
    let definition = Definition { description, params, max_attempts };
    let metadata = request.metadata(&door.caller);
    let at = door.app.commands.define_type(door.log(), &name, definition, metadata).await?;
    Ok(Json(Written::new(name, at)))
}

/// Removes a command type from the tenant's list. Commands that were requested before are still sent.
#[utoipa::path(
    delete, path = "/command-types/{name}", tag = "commands", operation_id = "remove_command_type",
    params(("name" = String, Path, description = "The command type")),
    responses(
        (status = 200, description = "Off the list", body = Written),
        (status = 404, description = "No such command type"),
    ),
)]
async fn remove_command_type(
    door: May<CommandTypesWrite, CommandType>,
    request: RequestId,
) -> Result<Json<Written>, Error> {
    let at = door.app.commands.remove_type(door.log(), &door.id, request.metadata(&door.caller)).await?;
    Ok(Json(Written::new(door.id, at)))
}
