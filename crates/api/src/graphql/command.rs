//! Commands: the types, and the list of them.

use async_graphql::connection::{Connection, ConnectionNameType, Edge, EmptyFields};
use async_graphql::{Context, Enum, ID, InputObject, Object, OutputType, Result};
use chrono::{DateTime, Utc};
use fleetlog_access::Action;
use fleetlog_aggregates::command;
use fleetlog_event_log::Lane;
use fleetlog_projections::commands::{self, Cursor};
use fleetlog_projections::read_model::ReadModel;
use fleetlog_proof::read::{self, Inclusion};

use super::as_of::of_page;
use super::asker::Asker;
use super::loaders::{LifeOf, Loaders};
use super::log::EventPosition;
use super::query::{moment, page_size};
use super::scalars::{Json, Long};
use crate::door::guard;
use crate::resource::uuid;
use crate::rest::Error;
use crate::rest::as_of::Snapshot;
use crate::rest::logs::in_lane;
use crate::rest::parameters::{AsOf, check_span};

/// A command as the log left it, or as it was at a moment of the past.
pub(super) struct Command {
    row: commands::Command,
    snapshot: Option<Snapshot>,
    /// The command's steps, if they were read together with the command.
    steps: Option<Vec<commands::Step>>,
    /// Whether the caller is already known to be allowed to see the steps.
    seen: bool,
}

impl From<(commands::Command, Option<Snapshot>)> for Command {
    fn from((row, snapshot): (commands::Command, Option<Snapshot>)) -> Self {
        Self { row, snapshot, steps: None, seen: true }
    }
}

impl Command {
    /// A command that was read together with its steps.
    pub(super) fn with_steps(
        (row, steps): (commands::Command, Vec<commands::Step>),
        snapshot: Option<Snapshot>,
    ) -> Self {
        Self { row, snapshot, steps: Some(steps), seen: true }
    }

    /// A command that the caller has just written, and perhaps may not read.
    pub(super) fn written(command: (commands::Command, Vec<commands::Step>)) -> Self {
        Self { seen: false, ..Self::with_steps(command, None) }
    }
}

/// The state of a command.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(name = "CommandStatus", remote = "command::Status")]
pub(super) enum Status {
    /// The command is on the record, and no broker has it yet.
    Requested,
    /// A broker has accepted at least one attempt.
    Sent,
    /// The device carried the command out.
    Acked,
    /// The device reported that the command failed, or the command cannot be delivered to it.
    Failed,
    /// The device did not answer in time.
    TimedOut,
    /// A user or a program cancelled the command.
    Cancelled,
}

#[Object]
impl Command {
    /// The command's id: the same in the log, in REST, in the message to the device and in the device's ack.
    async fn id(&self) -> ID {
        self.row.cmd_id.into()
    }

    /// The uid of the device that the command is for.
    async fn device_uid(&self) -> &str {
        self.row.device_uid.as_str()
    }

    /// The name of the command: one of the tenant's command types.
    async fn cmd(&self) -> &str {
        &self.row.cmd
    }

    /// The command's parameters: JSON, at most 32 KiB.
    async fn params(&self) -> Json {
        Json(self.row.params.clone())
    }

    /// The command's state now, or at the moment of `asOf`.
    async fn status(&self) -> Status {
        self.row.status.into()
    }

    /// Who requested the command: a user's id, or `key:` and an API key's id.
    async fn requested_by(&self) -> &str {
        &self.row.requested_by
    }

    /// When the command was requested, by the server's clock.
    async fn requested_at(&self) -> DateTime<Utc> {
        self.row.requested_at
    }

    /// How long an attempt waits for the device, in seconds.
    async fn timeout_s(&self) -> i32 {
        self.row.timeout_s
    }

    /// The most attempts that the command may have.
    async fn max_attempts(&self) -> i32 {
        self.row.max_attempts
    }

    /// The moment after which the command is not sent any more.
    async fn expires_at(&self) -> DateTime<Utc> {
        self.row.expires_at
    }

    /// How many attempts a broker has accepted.
    async fn attempts(&self) -> i32 {
        self.row.attempts
    }

    /// When a broker accepted the last attempt.
    async fn sent_at(&self) -> Option<DateTime<Utc>> {
        self.row.sent_at
    }

    /// The deadline for the device's ack of the last attempt.
    async fn deadline(&self) -> Option<DateTime<Utc>> {
        self.row.deadline
    }

    /// When the command ended.
    async fn ended_at(&self) -> Option<DateTime<Utc>> {
        self.row.ended_at
    }

    /// The result that the device sent with its ack.
    async fn result(&self) -> Option<Json> {
        self.row.result.clone().map(Json)
    }

    /// The error that the device reported, or why the command cannot be delivered to it.
    async fn error(&self) -> Option<Json> {
        self.row.error.clone().map(Json)
    }

    /// Who cancelled the command: a user's id, or `key:` and an API key's id.
    async fn cancelled_by(&self) -> Option<&str> {
        self.row.cancelled_by.as_deref()
    }

    /// The reason that was given for the cancellation: 1 to 500 characters.
    async fn cancel_reason(&self) -> Option<&str> {
        self.row.cancel_reason.as_deref()
    }

    /// The ack that arrived after the command had timed out or was cancelled. It does not change the state.
    async fn late_ack(&self) -> Option<Json> {
        self.row.late_ack.clone().map(Json)
    }

    /// When the late ack arrived, by the server's clock.
    async fn late_ack_at(&self) -> Option<DateTime<Utc>> {
        self.row.late_ack_at
    }

    /// A link to the requester's own records: the id that the requester gave, or else the request's id.
    async fn correlation_id(&self) -> Option<&str> {
        self.row.correlation_id.as_deref()
    }

    /// The id of the batch that the command is part of.
    async fn batch_id(&self) -> Option<ID> {
        self.row.batch_id.map(ID::from)
    }

    /// The position in the control log at which the command was requested.
    async fn position(&self) -> Long {
        Long(self.row.position)
    }

    /// The command's last event. Null if it is not known.
    #[expect(clippy::unused_async, reason = "the library wants every resolver so")]
    async fn last_event(&self, context: &Context<'_>) -> Result<Option<EventPosition>> {
        EventPosition::of(context, Lane::Control, self.row.last_position)
    }

    /// With `asOf`: the position of the control log up to which the answer speaks, such as `1:42`. Null as of now.
    async fn as_of(&self) -> Option<Vec<String>> {
        Some(self.snapshot?.positions(commands::Model::LANES))
    }

    /// Every event of the command, in order, from the log itself: up to now, or to the moment of `asOf`.
    async fn history(&self, context: &Context<'_>) -> Result<Vec<Step>> {
        if !self.seen {
            let (asker, cmd_id) = (context.data::<Asker>()?, self.row.cmd_id);
            asker.may_recorded(Action::CommandsRead, Some(cmd_id)).await?;
        }
        let steps = if let Some(steps) = &self.steps {
            steps.clone()
        } else {
            let life =
                LifeOf { cmd_id: self.row.cmd_id, until: self.snapshot.map(|snapshot| snapshot.control()) };
            let life = context.data::<Loaders>()?.load_one(life).await?;
            life.map(|(_, steps)| steps).unwrap_or_default()
        };
        Ok(steps.into_iter().map(Step).collect())
    }
}

/// One event of a command, and the command's state after it.
pub(super) struct Step(commands::Step);

#[Object(name = "CommandStep")]
impl Step {
    /// The event's number in the command's stream: 1, 2, 3 …
    async fn sequence(&self) -> Long {
        Long(self.0.sequence)
    }

    /// Its position in the control log.
    async fn position(&self) -> Long {
        Long(self.0.position)
    }

    /// What happened: the name of the event, such as `CommandSent`.
    async fn event_type(&self) -> &str {
        &self.0.event_type
    }

    /// The event as it is stored, in JSON.
    async fn event(&self) -> Json {
        Json(self.0.event.clone())
    }

    /// The command's state after this event.
    async fn status(&self) -> Status {
        self.0.status.into()
    }

    /// The number of attempts up to this event.
    async fn attempts(&self) -> i32 {
        self.0.attempts
    }

    /// Who caused the event: a user's id, or `key:` and an API key's id.
    async fn actor(&self) -> Option<&str> {
        self.0.actor.as_deref()
    }

    /// The correlation id, which ties the event to other records.
    async fn correlation_id(&self) -> Option<&str> {
        self.0.correlation_id.as_deref()
    }

    /// The event that caused this one: its log and position, such as `1:42`.
    async fn causation_id(&self) -> Option<&str> {
        self.0.causation_id.as_deref()
    }

    /// When the event happened.
    async fn occurred_at(&self) -> DateTime<Utc> {
        self.0.occurred_at
    }

    /// When the event was recorded, by the database's clock.
    async fn recorded_at(&self) -> DateTime<Utc> {
        self.0.recorded_at
    }

    /// The proof that the log has the event, as the text of a C2SP tlog-proof. Null until a checkpoint proves it.
    async fn proof(&self, context: &Context<'_>) -> Result<Option<String>> {
        let asker = context.data::<Asker>()?;
        asker.may(Action::EventsRead)?;
        let log_id = in_lane(asker.log(), Lane::Control)?;
        let proof = read::inclusion(asker.log(), log_id, self.0.position).await.map_err(Error::from)?;
        Ok(match proof {
            Inclusion::Proof(text) => Some(text),
            Inclusion::NotYet(_) | Inclusion::None => None,
        })
    }
}

/// Filters for a list of commands; without any, all commands are listed.
#[derive(Default, InputObject)]
pub(super) struct CommandFilter {
    /// Only commands for this device.
    device_uid: Option<String>,
    /// Only commands in this state.
    status: Option<Status>,
    /// Only commands that this user requested.
    actor: Option<String>,
    /// Only commands of this command type.
    cmd: Option<String>,
    /// Only commands of the request with this id.
    correlation_id: Option<String>,
    /// Only commands of this batch.
    batch_id: Option<ID>,
    /// Only commands requested at this moment or later.
    from: Option<DateTime<Utc>>,
    /// Only commands requested before this moment.
    to: Option<DateTime<Utc>>,
}

impl CommandFilter {
    fn query(self, limit: usize) -> Result<commands::Query, Error> {
        let (from, to) = (moment("from", self.from)?, moment("to", self.to)?);
        check_span(from, to).map_err(|bad| Error::field("from", bad))?;
        let batch_id = self.batch_id.map(|id| uuid(&id).ok_or(id));
        Ok(commands::Query {
            device_uid: self.device_uid,
            status: self.status.map(command::Status::from),
            requested_by: self.actor,
            cmd: self.cmd,
            correlation_id: self.correlation_id,
            batch_id: batch_id.transpose().map_err(|_| Error::field("batch_id", "expected an id"))?,
            from: from.map(|from| from.0),
            to: to.map(|to| to.0),
            until: None,
            after: None,
            limit,
        })
    }
}

/// A page of the tenant's commands, newest first.
pub(super) async fn list(
    asker: &Asker,
    filter: CommandFilter,
    first: Option<i32>,
    after: Option<&str>,
    as_of: Option<AsOf>,
) -> Result<Connection<String, Command, CommandTotal>, Error> {
    let mut query = filter.query(page_size(first)?)?;
    let snapshot;
    (snapshot, query.after) = of_page(asker, as_of, after).await?;
    let has_previous = query.after.is_some();
    let (items, has_next) = match snapshot {
        None => {
            let page = commands::list(asker.log(), &query).await?;
            (page.items, page.has_more)
        }
        Some(then) => {
            query.until = Some(then.control());
            then.wait_for_commands(&asker.door.app, asker.log()).await?;
            let folded = commands::as_of::list(asker.log(), &query, then.control(), false);
            let listed = asker.folding.fold(then.moment(), async { Ok(folded.await?) }).await?;
            (listed.items, listed.next.is_some())
        }
    };
    let total = CommandTotal { query, snapshot };
    let mut connection = Connection::with_additional_fields(has_previous, has_next, total);
    connection.edges.extend(items.into_iter().map(|command| edge((command, snapshot).into())));
    let (action, edges) = (Action::CommandsRead, &mut connection.edges);
    let caller = &asker.caller();
    guard::retain_by_device(caller, asker.log(), action, edges, |edge| &edge.node.row.device_uid).await?;
    Ok(connection)
}

type CommandEdge = Edge<String, Command, EmptyFields>;

/// A command in a connection.
pub(super) fn edge(command: Command) -> CommandEdge {
    let place = Cursor::of(&command.row);
    let cursor = match &command.snapshot {
        None => place.to_string(),
        Some(snapshot) => snapshot.cursor(&place),
    };
    Edge::new(cursor, command)
}

/// Counts the commands, only when `totalCount` is asked for.
pub(super) struct CommandTotal {
    query: commands::Query,
    snapshot: Option<Snapshot>,
}

#[Object]
impl CommandTotal {
    /// With `asOf`: the position of the control log up to which the answer speaks, such as `1:42`. Null as of now.
    async fn as_of(&self) -> Option<Vec<String>> {
        Some(self.snapshot?.positions(commands::Model::LANES))
    }

    /// The number of items on all pages. Null if policies hide some items from the caller.
    async fn total_count(&self, context: &Context<'_>) -> Result<Option<Long>> {
        let asker = context.data::<Asker>()?;
        if asker.caller().is_ruled(Action::CommandsRead) {
            return Ok(None);
        }
        if self.snapshot.is_some() && self.query.status.is_some() {
            let why = "as of an earlier moment, the commands of one status are not counted";
            return Err(Error::field("total_count", why).into());
        }
        let count = commands::count(asker.log(), &self.query).await;
        Ok(Some(Long(count.map_err(Error::from)?)))
    }
}

/// Names the connection of one device's commands, which has no `totalCount`.
pub(super) struct OfDevice;

impl ConnectionNameType for OfDevice {
    fn type_name<T: OutputType>() -> String {
        "DeviceCommandConnection".to_owned()
    }
}
