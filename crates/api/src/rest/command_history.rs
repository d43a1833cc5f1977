//! One command, read from the log itself: its state and its steps, now or as of an earlier moment.

use fleetlog_access::action::typed::CommandsRead;
use fleetlog_projections::commands::{self, Command, Step};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;

use super::as_of::{Dated, Snapshot};
use super::error::Error;
use super::extract::Query;
use super::parameters::AsOf;
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
    /// Answer as of this moment: what had been recorded at a time, or a log up to `<log>:<position>`.
    #[param(value_type = Option<String>, example = "2026-03-01T12:00:00Z")]
    as_of: Option<AsOf>,
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
        (status = 200, description = "The command, as the log has it", body = wire::Command, headers(
            ("As-Of" = String, description = "With `as_of`: the position of the control log up to which the answer speaks, such as `1:42`"),
        )),
        (status = 404, description = "No such command, or no such log"),
    ),
)]
async fn read_command(
    door: May<CommandsRead, Command>,
    Query(when): Query<When>,
) -> Result<Dated<wire::Command>, Error> {
    Ok(read(&door, when).await?.map(|(command, _)| wire::Command::of(command, door.log())))
}

/// Returns every step of a command, with its actor and the state after it, read from the log itself.
#[utoipa::path(
    get, path = "/commands/{id}/history", tag = "commands", operation_id = "read_command_history",
    params(("id" = String, Path, description = "The command's id"), When),
    responses(
        (status = 200, description = "The command and its steps", body = History, headers(
            ("As-Of" = String, description = "With `as_of`: the position of the control log up to which the answer speaks, such as `1:42`"),
        )),
        (status = 404, description = "No such command, or no such log"),
    ),
)]
async fn read_command_history(
    door: May<CommandsRead, Command>,
    Query(when): Query<When>,
) -> Result<Dated<History>, Error> {
    let steps = |steps: Vec<Step>| steps.into_iter().map(Into::into).collect();
    let command = |command| wire::Command::of(command, door.log());
    let told = |(of, told): (Command, _)| History { command: command(of), steps: steps(told) };
    Ok(read(&door, when).await?.map(told))
}

async fn read(
    door: &May<CommandsRead, Command>,
    When { as_of }: When,
) -> Result<Dated<(Command, Vec<Step>)>, Error> {
    let snapshot = match as_of {
        Some(as_of) => Some(Snapshot::of(door.log(), as_of).await?),
        None => None,
    };
    let until = snapshot.map(|snapshot| snapshot.control());
    let found = commands::history(door.log(), door.id, until).await?;
    let found = found.ok_or_else(Error::missing::<Command>)?;
    let events = found.1.len();
    Ok(match snapshot {
        Some(snapshot) => Dated::then::<commands::Model>(&snapshot, found, events),
        None => Dated::now(found),
    })
}
