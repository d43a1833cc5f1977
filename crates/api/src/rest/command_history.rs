//! One command from the log itself: what it is, and every step to it, now or at any moment before.

use axum::Json;
use axum::extract::State;
use fleetlog_access::{Action, Principal};
use fleetlog_projections::commands::{self, Command, Step};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::error::{Error, NO_COMMAND};
use super::extract::{Caller, CommandId, Query};
use super::parameters::Moment;
use super::problem::Problem;
use super::{App, guard};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(read_command)).routes(routes!(read_command_history))
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
    params(("id" = String, Path, description = "The command"), When),
    responses(
        (status = 200, description = "The command", body = Command),
        (status = 404, description = "No such command", body = Problem, content_type = "application/problem+json"),
    ),
    extensions(("x-action" = json!("commands.read"))),
)]
async fn read_command(
    State(app): State<App>,
    Caller(caller): Caller,
    CommandId(id): CommandId,
    when: Result<Query<When>, Error>,
) -> Result<Json<Command>, Error> {
    read(&app, &caller, id, when).await.map(|(command, _)| Json(command))
}

/// Every step of a command's life, with who did it and where it left the command; from the log itself.
#[utoipa::path(
    get, path = "/commands/{id}/history", tag = "commands", operation_id = "read_command_history",
    params(("id" = String, Path, description = "The command"), When),
    responses(
        (status = 200, description = "The command and its steps", body = History),
        (status = 404, description = "No such command", body = Problem, content_type = "application/problem+json"),
    ),
    extensions(("x-action" = json!("commands.read"))),
)]
async fn read_command_history(
    State(app): State<App>,
    Caller(caller): Caller,
    CommandId(id): CommandId,
    when: Result<Query<When>, Error>,
) -> Result<Json<History>, Error> {
    read(&app, &caller, id, when).await.map(|(command, steps)| Json(History { command, steps }))
}

async fn read(
    app: &App,
    caller: &Principal,
    id: Uuid,
    when: Result<Query<When>, Error>,
) -> Result<(Command, Vec<Step>), Error> {
    guard::recorded(app, caller, Action::CommandsRead, id).await?;
    let Query(when) = when?;
    let found = commands::history(&app.tenant_log(caller), id, when.as_of.map(|at| at.0)).await?;
    found.ok_or(Error::NotFound(NO_COMMAND))
}
