//! Commands as they were: what the read model showed once it had folded the log up to a position.
//!
//! What a request says of a command never changes, so the read model's own rows find the commands. The state that each was
//! in comes from the log, by the read model's own fold.

use std::collections::HashMap;

use fleetlog_aggregates::command::Command as Aggregate;
use fleetlog_aggregates::identity::Uid;
use fleetlog_event_log::page::PAGE_BYTES;
use fleetlog_event_log::{Event, Position, TenantLog};
use sqlx::postgres::PgRow;
use sqlx::{QueryBuilder, Row};
use uuid::Uuid;

use super::queries::{self, can_match, push_filter};
use super::{Command, Cursor, Error, Model, Query};
use crate::refold::{Refold, Refolded};

/// How many commands' events are read at once. With the largest of parameters and results they are within what one answer
/// may be made of.
const AT_ONCE: usize = 20;

/// A page of commands as they were, and where the next page begins.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed {
    /// The commands of the page, newest first.
    pub items: Vec<Command>,
    /// The place after which the next page begins, if there is one.
    pub next: Option<Cursor>,
}

/// A tenant's commands as of a position, newest first. A page ends early once
/// [`PAGE_BYTES`] of events were looked through. If it `may_be_empty`, it may then have no commands although others follow.
/// The read model must have reached that position.
pub async fn list(
    log: &TenantLog,
    query: &Query,
    until: Position,
    may_be_empty: bool,
) -> Result<Refolded<Listed>, Error> {
    let empty = Refold::of(log).await?;
    let mut listed = Listed { items: vec![], next: None };
    let (mut after, mut bytes, mut events) = (query.after, 0, 0);
    let requested = Query { status: None, until: Some(until), ..query.clone() };
    while can_match(query) {
        let some = some_requested(log, &requested, after).await?;
        let cmd_ids: Vec<Uuid> = some.iter().map(|(cmd_id, _)| *cmd_id).collect();
        let mut folded = Folded::of(log, empty.another(), &cmd_ids, until).await?;
        events += folded.events;
        bytes += folded.bytes;
        for (cmd_id, position) in &some {
            let command = folded.commands.remove(cmd_id);
            let is_wanted = |command: &Command| query.status.is_none_or(|status| command.status == status);
            if let Some(command) = command.filter(is_wanted) {
                if listed.items.len() == query.limit {
                    listed.next = listed.items.last().map(Cursor::of);
                    return Ok(Refolded { found: listed, events });
                }
                listed.items.push(command);
            }
            after = Some(Cursor::at(*position));
        }
        if some.len() < at_once(query) {
            break;
        }
        if bytes >= PAGE_BYTES && (may_be_empty || !listed.items.is_empty()) {
            listed.next = after;
            break;
        }
    }
    Ok(Refolded { found: listed, events })
}

/// The commands of some of a tenant's devices as of a position, newest first, at most `limit` of each device, device by
/// device.
pub async fn of_devices(
    log: &TenantLog,
    device_uids: &[Uid],
    after: Option<Cursor>,
    limit: usize,
    until: Position,
) -> Result<Refolded<Vec<Command>>, Error> {
    let before = after.map_or(Position::MAX, Cursor::position).min(until.saturating_add(1));
    let known = queries::of_devices(log, device_uids, Some(Cursor::at(before)), limit).await?;
    let cmd_ids: Vec<Uuid> = known.iter().map(|command| command.cmd_id).collect();
    let (mut found, mut events) = (Vec::with_capacity(cmd_ids.len()), 0);
    let empty = Refold::of(log).await?;
    for some in cmd_ids.chunks(AT_ONCE) {
        let mut folded = Folded::of(log, empty.another(), some, until).await?;
        events += folded.events;
        found.extend(some.iter().filter_map(|cmd_id| folded.commands.remove(cmd_id)));
    }
    Ok(Refolded { found, events })
}

/// Commands that were folded from their streams.
struct Folded {
    commands: HashMap<Uuid, Command>,
    events: usize,
    bytes: usize,
}

impl Folded {
    async fn of(
        log: &TenantLog,
        mut refold: Refold<Model>,
        cmd_ids: &[Uuid],
        until: Position,
    ) -> Result<Self, Error> {
        let streams: Vec<_> = cmd_ids.iter().map(|cmd_id| log.stream(cmd_id)).collect();
        let read = log.streams_until::<Aggregate>(&streams, until).await?;
        for event in &read {
            refold.add(event);
        }
        let bytes = read.iter().map(size).sum();
        let drafts = refold.fold.commands.into_iter();
        let command = |((_, cmd_id), draft): ((String, Uuid), super::draft::Draft)| {
            Some((cmd_id, draft.into_command(cmd_id)?))
        };
        Ok(Self { commands: drafts.filter_map(command).collect(), events: refold.events, bytes })
    }
}

/// About how many bytes were read of an event.
fn size(event: &Event) -> usize {
    /// The bytes of an event's names, ids, times and metadata.
    const REST: usize = 300;
    event.payload.0.len() + REST
}

/// How many commands are looked at together for a page.
fn at_once(query: &Query) -> usize {
    query.limit.saturating_add(1).clamp(AT_ONCE / 4, AT_ONCE)
}

/// The next commands that were requested as the query wants them, whatever state they were in, each with the position of its
/// request.
async fn some_requested(
    log: &TenantLog,
    query: &Query,
    after: Option<Cursor>,
) -> Result<Vec<(Uuid, Position)>, Error> {
    let mut sql = QueryBuilder::new("SELECT cmd_id, position FROM commands");
    push_filter(&mut sql, log.tenant(), query);
    if let Some(after) = after {
        sql.push(" AND position < ").push_bind(after.position());
    }
    sql.push(" ORDER BY position DESC LIMIT ").push_bind(at_once(query) as i64);
    let rows = log.fetch(sql.build()).await?;
    let place = |row: &PgRow| Ok((row.try_get("cmd_id")?, row.try_get("position")?));
    Ok(rows.iter().map(place).collect::<Result<_, sqlx::Error>>()?)
}
