//! One command from the log itself: what it is, and every step to it, now or at any moment before.

use axum::Json;
use fleetlog_access::action::typed::CommandsRead;
use fleetlog_projections::commands::{self, Command, Step};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;

use super::error::Error;
use super::extract::Query;
use super::parameters::Moment;
use crate::app::App;
use crate::door::May;
use crate::door::action::guarded;

pub(super) fn router() -> OpenApiRouter<App> {
    guarded!(read_command, read_command_history)
}

/// As of when.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct When {
    /// As it was at this moment: nothing that was recorded later counts.
    #[param(value_type = Option<DateTime<Utc>>)]
    as_of: Option<Moment>,
}

/// A command, and how it came to be what it is.
#[derive(Serialize, ToSchema)]
#[schema(as = CommandHistory)]
struct History {
    /// What the steps add up to.
    command: Command,
    /// Every event of its life, in order.
    steps: Vec<Step>,
}

/// One command, from the log itself: never behind.
#[utoipa::path(
    get, path = "/commands/{id}", tag = "commands", operation_id = "read_command",
    params(("id" = String, Path, description = "The command's id"), When),
    responses(
        (status = 200, description = "The command, as the log has it", body = Command),
        (status = 404, description = "No such command"),
    ),
)]
async fn read_command(
    door: May<CommandsRead, Command>,
    Query(when): Query<When>,
) -> Result<Json<Command>, Error> {
    read(&door, when).await.map(|(command, _)| Json(command))
}

/// Every step of a command's life, with who did it and where it left the command; from the log itself.
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
    read(&door, when).await.map(|(command, steps)| Json(History { command, steps }))
}

async fn read(door: &May<CommandsRead, Command>, when: When) -> Result<(Command, Vec<Step>), Error> {
    let found = commands::history(door.log(), door.id, when.as_of.map(|at| at.0)).await?;
    found.ok_or_else(Error::missing::<Command>)
}
