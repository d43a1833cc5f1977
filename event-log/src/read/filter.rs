//! Which events of a log to read or to count, and how that is said in SQL.
//!
//! Types and streams have an index. Times need none: positions follow the server's clock, so a few steps through the log
//! find between which positions a span of time lies. Actors and correlation ids have none, because it would slow every
//! append: a page looks through [`SCANNED`] events for them at most, and the next page goes on behind those.

use std::sync::LazyLock;

use chrono::{DateTime, TimeDelta, Utc};
use cqrs_es::Aggregate;
use fleetlog_aggregates::acts;
use fleetlog_aggregates::alarm::Alarm;
use fleetlog_aggregates::alarm_rule::AlarmRule;
use fleetlog_aggregates::command::Command;
use fleetlog_aggregates::command_batch::CommandBatch;
use fleetlog_aggregates::command_type::CommandType;
use fleetlog_aggregates::device::Device;
use fleetlog_aggregates::source::Source;
use fleetlog_aggregates::telemetry::{AGGREGATE_TYPE, EVENT_TYPE, MAX_AHEAD};
use sqlx::{Postgres, QueryBuilder, Row};

use crate::page::{COUNTED, Total};
use crate::scope::Scope;
use crate::{Error, EventLog, Lane, Log, LogId, Position, Result};

/// How far a server clock may have been set back in all: events that it recorded before, this much too late, are
/// still found by their time.
const SET_BACK_CONTROL: TimeDelta = TimeDelta::hours(1);
/// The same for a telemetry log, where an hour may hold millions of readings.
const SET_BACK_TELEMETRY: TimeDelta = TimeDelta::minutes(5);

/// How many events a page or a total looks through at most for what no index finds: about a tenth of a second's work.
pub const SCANNED: Position = 100_000;

/// The types of the aggregates whose streams a control log holds. A stream is found by its type and its id.
static STREAM_TYPES: LazyLock<Vec<&str>> = LazyLock::new(|| {
    let decided = [
        Device::TYPE,
        Command::TYPE,
        CommandBatch::TYPE,
        CommandType::TYPE,
        AlarmRule::TYPE,
        Alarm::TYPE,
        Source::TYPE,
    ];
    acts::TYPES.iter().copied().chain(decided).collect()
});

/// Which events of a log to read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only events of streams of this type.
    pub aggregate_type: Option<String>,
    /// Only events of this stream.
    pub aggregate_id: Option<String>,
    /// Only events of this type.
    pub event_type: Option<String>,
    /// Only events that this actor caused. No reading has an actor.
    pub actor: Option<String>,
    /// Only events of what the requester has given this name. No reading has one.
    pub correlation_id: Option<String>,
    /// Only events that were recorded at this time or later.
    pub from: Option<DateTime<Utc>>,
    /// Only events that were recorded before this time.
    pub to: Option<DateTime<Utc>>,
    /// Only readings that occurred at this time or later. Control events are not restricted.
    pub since: Option<DateTime<Utc>>,
}

/// Where in a log a page of events begins, and which way it goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Start {
    /// Only events beyond this position, in the direction of the order.
    pub after: Option<Position>,
    /// The last event first.
    pub descending: bool,
}

/// The positions that can hold what a filter lets through: after the first, and up to the second.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    after: Position,
    until: Position,
}

impl Bounds {
    pub(super) const ALL: Self = Self { after: 0, until: Position::MAX };

    /// Only what comes beyond the start.
    pub(super) fn beyond(self, start: Start) -> Self {
        match (start.after, start.descending) {
            (None, _) => self,
            (Some(after), false) => Self { after: self.after.max(after), ..self },
            (Some(after), true) => Self { until: self.until.min(after.saturating_sub(1)), ..self },
        }
    }

    /// The positions that a page speaks of after which the next one begins at `next`: after the first, and up to the second.
    pub(super) fn covered(
        self,
        next: Option<Position>,
        descending: bool,
        head: Position,
    ) -> (Position, Position) {
        let Self { after, until } = self;
        match next {
            Some(next) if descending => (next - 1, until.min(head)),
            Some(next) => (after, next),
            None => (after, until.min(head)),
        }
    }

    /// Only the first [`SCANNED`] positions in the direction of the order, if the filter has no index. Also returns the
    /// last of them, from which a later page goes on, if there are more.
    pub(super) fn scanned(self, log: &Log, filter: &Filter, descending: bool) -> (Self, Option<Position>) {
        let Self { after, until } = self;
        let last = until.min(log.head);
        if log.lane == Lane::Telemetry || filter.has_index() || last - after <= SCANNED {
            return (self, None);
        }
        if descending {
            let first = last - SCANNED;
            (Self { after: first, until }, Some(first + 1))
        } else {
            let last = after + SCANNED;
            (Self { after, until: last }, Some(last))
        }
    }
}

impl Filter {
    /// Whether every event of a control log passes.
    #[must_use]
    pub fn is_open(&self) -> bool {
        *self == Self { since: self.since, ..Self::default() }
    }

    /// Whether an index finds the control events, or every event passes.
    fn has_index(&self) -> bool {
        let has_none = self.actor.is_some() || self.correlation_id.is_some();
        !has_none || self.aggregate_id.is_some()
    }

    /// Adds the conditions for the events of a log within some bounds, after a `SELECT` without any.
    pub(super) fn push<'f>(&'f self, sql: &mut QueryBuilder<'f, Postgres>, log: &Log, bounds: Bounds) {
        sql.push(" WHERE log_id = ").push_bind(log.log_id);
        sql.push(" AND position > ").push_bind(bounds.after);
        if bounds.until < Position::MAX {
            sql.push(" AND position <= ").push_bind(bounds.until);
        }
        match log.lane {
            Lane::Control => self.push_control(sql),
            Lane::Telemetry => self.push_telemetry(sql),
        }
        if let Some(from) = self.from {
            sql.push(" AND recorded_at >= ").push_bind(from);
        }
        if let Some(to) = self.to {
            sql.push(" AND recorded_at < ").push_bind(to);
        }
    }

    fn push_control<'f>(&'f self, sql: &mut QueryBuilder<'f, Postgres>) {
        let words = [
            (" AND aggregate_type = ", &self.aggregate_type),
            (" AND aggregate_id = ", &self.aggregate_id),
            (" AND event_type = ", &self.event_type),
            (" AND metadata ->> 'actor' = ", &self.actor),
            (" AND metadata ->> 'correlation_id' = ", &self.correlation_id),
        ];
        for (condition, word) in words {
            if let Some(word) = word {
                sql.push(condition).push_bind(word);
            }
        }
        if self.aggregate_id.is_some() && self.aggregate_type.is_none() {
            // The index of streams begins with the type.
            sql.push(" AND aggregate_type = ANY(").push_bind(STREAM_TYPES.as_slice()).push(")");
        }
    }

    fn push_telemetry<'f>(&'f self, sql: &mut QueryBuilder<'f, Postgres>) {
        let other = |word: &Option<String>, of_all: &str| word.as_ref().is_some_and(|word| word != of_all);
        if other(&self.aggregate_type, AGGREGATE_TYPE)
            || other(&self.event_type, EVENT_TYPE)
            || self.actor.is_some()
            || self.correlation_id.is_some()
        {
            sql.push(" AND false");
        }
        if let Some(aggregate_id) = &self.aggregate_id {
            sql.push(" AND aggregate_id = ").push_bind(aggregate_id);
        }
        if let Some(since) = self.since {
            sql.push(" AND occurred_at >= ").push_bind(since);
            // A reading is recorded at most `MAX_AHEAD` before it occurred, so older partitions are skipped.
            sql.push(" AND recorded_at >= ").push_bind(since - MAX_AHEAD);
        }
    }
}

impl<S: Scope> EventLog<S> {
    /// How many events of a log pass a filter.
    pub async fn events_total(&self, log_id: LogId, filter: &Filter) -> Result<Total> {
        let log = self.heads().log(log_id).ok_or(Error::NoSuchLog(log_id))?;
        if log.lane == Lane::Control && filter.is_open() {
            return Ok(Total { count: log.head, is_lower_bound: false });
        }
        let (bounds, cut) = self.bounds(&log, filter).await?.scanned(&log, filter, false);
        let mut sql = QueryBuilder::new("SELECT count(*) FROM (SELECT FROM ");
        sql.push(log.lane.table());
        filter.push(&mut sql, &log, bounds);
        sql.push(" LIMIT ").push_bind(COUNTED + 1).push(") AS counted");
        match self.fetch_total(sql.build().persistent(false)).await {
            Err(error) => Err(self.explained_somewhere(log_id, error).await),
            Ok(total) => Ok(Total { is_lower_bound: total.is_lower_bound || cut.is_some(), ..total }),
        }
    }

    /// The positions between which the filter's times lie.
    pub(super) async fn bounds(&self, log: &Log, filter: &Filter) -> Result<Bounds> {
        let set_back = match log.lane {
            Lane::Control => SET_BACK_CONTROL,
            Lane::Telemetry => SET_BACK_TELEMETRY,
        };
        let mut bounds = Bounds::ALL;
        if let Some(from) = filter.from {
            bounds.after = self.last_before(log, from - set_back).await?;
        }
        if let Some(to) = filter.to {
            let last = self.last_before(log, to + set_back).await?;
            // Events that come meanwhile are not earlier than the last one, as far as is known.
            bounds.until = if last < log.head { last } else { Position::MAX };
        }
        Ok(bounds)
    }

    /// A position whose event was recorded before a time, while the next one's was not: 0 at least, and the head at
    /// most.
    pub(crate) async fn last_before(&self, log: &Log, time: DateTime<Utc>) -> Result<Position> {
        let sql = match log.lane {
            Lane::Control => LAST_BEFORE_CONTROL,
            Lane::Telemetry => LAST_BEFORE_TELEMETRY,
        };
        let search = sqlx::query(sql).bind(log.log_id).bind(log.head).bind(time);
        match self.fetch(search).await {
            Ok(rows) => Ok(rows.first().ok_or(sqlx::Error::RowNotFound)?.try_get("low")?),
            Err(error) => Err(self.explained_somewhere(log.log_id, error).await),
        }
    }
}

/// Halves the log until two neighbours are left. Of an event that was removed only its range's times are known.
macro_rules! last_before_sql {
    ($table:literal) => {
        concat!(
            "WITH RECURSIVE search (low, high) AS (
                 SELECT 0::bigint, $2::bigint + 1
                 UNION ALL
                 SELECT CASE WHEN earlier THEN middle ELSE low END, CASE WHEN earlier THEN high ELSE middle END
                 FROM (SELECT low, high, (low + high) / 2 AS middle FROM search WHERE high - low > 1) AS halved
                 CROSS JOIN LATERAL (
                     SELECT coalesce(
                         (SELECT recorded_at < $3 FROM ",
            $table,
            " WHERE log_id = $1 AND position = middle),
                         (SELECT first_recorded_at < $3 FROM archived_ranges
                          WHERE log_id = $1 AND first_position <= middle AND last_position >= middle),
                         true) AS earlier) AS looked
             )
             SELECT low FROM search ORDER BY high - low LIMIT 1"
        )
    };
}
const LAST_BEFORE_CONTROL: &str = last_before_sql!("control_events");
const LAST_BEFORE_TELEMETRY: &str = last_before_sql!("telemetry_events");
