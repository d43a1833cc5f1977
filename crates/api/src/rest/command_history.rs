//! One command, read from the log itself: its state and its steps, now or as of an earlier moment.

use axum::Json;
use fleetlog_access::action::typed::CommandsRead;
use fleetlog_projections::commands::{self, Command, Step};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;

use super::error::Error;
use super::extract::Query;
use super::parameters::Moment;
use super::wire;
use crate::app::App;
use crate::door::May;
use crate::door::action::guarded;

pub(super) fn router() -> OpenApiRouter<App> {
    guarded!(read_command, read_command_history)
}

/// The moment as of which to answer.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct When {
    /// Answer as of this moment: events that were recorded later are left out.
    #[param(value_type = Option<DateTime<Utc>>)]
    as_of: Option<Moment>,
}

/// A command, with the steps that led to its state.
#[derive(Serialize, ToSchema)]
#[schema(as = CommandHistory)]
struct History {
    /// The command as the steps have left it.
    command: wire::Command,
    /// Every event of the command, in order.
    steps: Vec<wire::CommandStep>,
}

/// Returns one command, read from the log itself, so never behind.
#[utoipa::path(
    get, path = "/commands/{id}", tag = "commands", operation_id = "read_command",
    params(("id" = String, Path, description = "The command's id"), When),
    responses(
        (status = 200, description = "The command, as the log has it", body = wire::Command),
        (status = 404, description = "No such command"),
    ),
)]
async fn read_command(
    door: May<CommandsRead, Command>,
    Query(when): Query<When>,
) -> Result<Json<wire::Command>, Error> {
    read(&door, when).await.map(|(command, _)| Json(command.into()))
}

/// Returns every step of a command, with its actor and the state after it, read from the log itself.
#[utoipa::path(
    get, path = "/commands/{id}/history", tag = "commands", operation_id = "read_command_history",
    params(("id" = String, Path, description = "The command's id"), When),
    responses(
        (status = 200, description = "The command and its steps", body = History),
        (status = 404, description = "No such command"),
    ),
)]
async fn read_command_history(
    door: May<CommandsRead, Command>,
    Query(when): Query<When>,
) -> Result<Json<History>, Error> {
    let (command, steps) = read(&door, when).await?;
    Ok(Json(History { command: command.into(), steps: steps.into_iter().map(Into::into).collect() }))
}

async fn read(door: &May<CommandsRead, Command>, when: When) -> Result<(Command, Vec<Step>), Error> {
    let found = commands::history(door.log(), door.id, when.as_of.map(|at| at.0)).await?;
    found.ok_or_else(Error::missing::<Command>)
}
