//! Moments of the past: how far a tenant's logs went then. What was known at a moment is what the logs up to there say.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, SecondsFormat, SubsecRound, TimeDelta, Utc};
use fleetlog_aggregates::identity::Tenant;
use serde::{Deserialize, Serialize, Serializer};
use sqlx::Row;

use crate::archived::Archived;
use crate::event::Lane;
use crate::place::LogPosition;
use crate::scope::Scope;
use crate::{Error, EventLog, Log, LogId, Position, Result, TenantLog, heads, moment};

/// How long after the time at which it was recorded an event may become visible, so that a list as of that time has begun without
/// it. An append takes milliseconds. A list that began during a slower one has to begin again.
const VISIBLE_WITHIN: TimeDelta = TimeDelta::seconds(10);

/// A moment of the past, as a caller names it: a time in RFC 3339, or a position as `<log>:<position>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub enum AsOf {
    /// What had been recorded at this time, by the database's clock, to the microsecond.
    Time(DateTime<Utc>),
    /// A log up to and including this position, and the tenant's other log up to the time at which that event was recorded.
    Position(LogPosition),
}

/// The text names no moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadMoment {
    /// It is neither a time nor a position.
    #[error("expected a time such as 2026-03-01T12:00:00Z, or a position such as 1:42")]
    Text,
    /// The time is outside of the calendar.
    #[error("expected a time from 0000-01-02 to 9999-12-30")]
    Calendar,
}

impl AsOf {
    /// The moment of a time. What was recorded between two microseconds is not known, so this is the one before.
    pub fn time(at: DateTime<Utc>) -> Result<Self, BadMoment> {
        if moment::is_in_calendar(at) {
            Ok(Self::Time(at.trunc_subsecs(6)))
        } else {
            Err(BadMoment::Calendar)
        }
    }
}

impl FromStr for AsOf {
    type Err = BadMoment;

    fn from_str(text: &str) -> Result<Self, BadMoment> {
        if let Ok(position) = text.parse() {
            return Ok(Self::Position(position));
        }
        Self::time(text.parse().map_err(|_| BadMoment::Text)?)
    }
}

impl TryFrom<String> for AsOf {
    type Error = BadMoment;

    fn try_from(text: String) -> Result<Self, BadMoment> {
        text.parse()
    }
}

impl fmt::Display for AsOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time(time) => f.write_str(&time.to_rfc3339_opts(SecondsFormat::AutoSi, true)),
            Self::Position(position) => position.fmt(f),
        }
    }
}

impl Serialize for AsOf {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The beginning of both of a tenant's logs, up to a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Prefix {
    /// The tenant's control log.
    pub control_log: LogId,
    /// The last position of the control log; 0 if it was empty.
    pub control: Position,
    /// The tenant's telemetry log.
    pub telemetry_log: LogId,
    /// The last position of the telemetry log; 0 if it was empty.
    pub telemetry: Position,
    /// The first position from which on the telemetry log still holds everything: 1, unless readings were removed.
    pub telemetry_begins: Position,
    /// The time of the moment, by the database's clock.
    pub at: DateTime<Utc>,
}

/// Why there is no answer as of a moment.
#[derive(Debug, thiserror::Error)]
pub enum NoPrefix {
    /// The tenant has no log with this id.
    #[error("there is no such log")]
    NoSuchLog,
    /// The log does not go that far.
    #[error("expected a position up to {head}, where the log ends now")]
    BeyondHead {
        /// The last position of the log.
        head: Position,
    },
    /// The time has not come.
    #[error("expected a time that has passed: what comes until then is not known")]
    InFuture,
    /// The event at this position was removed: it is one of these.
    #[error("read {0}")]
    Removed(Box<Archived>),
    /// The log failed.
    #[error(transparent)]
    Log(#[from] Error),
}

impl TenantLog {
    /// How far the tenant's logs went at a moment.
    ///
    /// Positions follow the server's clock, so a time lies between two positions. Where that clock was set back, a time may
    /// lie at several places, and one of them is taken. What is just being stored at a moment that has only just passed may be
    /// missing.
    pub async fn prefix(&self, as_of: AsOf) -> Result<Prefix, NoPrefix> {
        self.prefix_in(self.tenant(), as_of).await
    }

    /// How far the tenant's logs went at a moment, for an answer that goes on with these positions of its control and its
    /// telemetry log. `None`: no answer as of that moment can have begun with them.
    pub async fn prefix_again(
        &self,
        as_of: AsOf,
        control: Position,
        telemetry: Position,
    ) -> Result<Option<Prefix>, NoPrefix> {
        let now = self.prefix(as_of).await?;
        let logs = [
            (Lane::Control, now.control_log, control, now.control),
            (Lane::Telemetry, now.telemetry_log, telemetry, now.telemetry),
        ];
        for (lane, log_id, then, now_at) in logs {
            let is_named = matches!(as_of, AsOf::Position(named) if named.log_id == log_id);
            let is_possible = then == now_at
                || (!is_named
                    && (0..now_at).contains(&then)
                    && self.may_have_been_invisible(lane, log_id, then + 1, now.at).await?);
            if !is_possible {
                return Ok(None);
            }
        }
        Ok(Some(Prefix { control, telemetry, ..now }))
    }

    /// Whether an event that was recorded before a time may have become visible after it.
    async fn may_have_been_invisible(
        &self,
        lane: Lane,
        log_id: LogId,
        position: Position,
        time: DateTime<Utc>,
    ) -> Result<bool, NoPrefix> {
        match self.recorded_at(lane, log_id, position).await {
            Ok(recorded_at) => Ok(recorded_at.is_some_and(|recorded_at| recorded_at > time - VISIBLE_WITHIN)),
            // It is older than that.
            Err(NoPrefix::Removed(_)) => Ok(false),
            Err(failed) => Err(failed),
        }
    }

    /// The last position in the tenant's telemetry log that was recorded before a time.
    pub async fn telemetry_before(&self, time: DateTime<Utc>) -> Result<Position> {
        let ([_, telemetry], _) = self.heads_now(self.tenant()).await?;
        self.last_before(&telemetry, time).await
    }

    /// The last position in the tenant's control log that was recorded before a time.
    pub async fn control_before(&self, time: DateTime<Utc>) -> Result<Position> {
        let ([control, _], _) = self.heads_now(self.tenant()).await?;
        self.last_before(&control, time).await
    }
}

impl EventLog {
    /// How far a tenant's logs went at a moment, like [`TenantLog::prefix`].
    pub async fn prefix_of(&self, tenant: &Tenant, as_of: AsOf) -> Result<Prefix, NoPrefix> {
        self.prefix_in(tenant, as_of).await
    }
}

impl<S: Scope> EventLog<S> {
    async fn prefix_in(&self, tenant: &Tenant, as_of: AsOf) -> Result<Prefix, NoPrefix> {
        let ([control, telemetry], now) = self.heads_now(tenant).await?;
        let until = match as_of {
            AsOf::Time(time) if time > now => return Err(NoPrefix::InFuture),
            AsOf::Time(time) => Until { time: Some(time), exact: None },
            AsOf::Position(LogPosition { log_id, position }) => {
                let log = [&control, &telemetry].into_iter().find(|log| log.log_id == log_id);
                let log = log.ok_or(NoPrefix::NoSuchLog)?;
                if position > log.head {
                    return Err(NoPrefix::BeyondHead { head: log.head });
                }
                let time = self.recorded_at(log.lane, log_id, position).await?;
                Until { time, exact: Some((log_id, position)) }
            }
        };
        Ok(Prefix {
            control_log: control.log_id,
            control: self.last_until(&control, until).await?,
            telemetry_log: telemetry.log_id,
            telemetry: self.last_until(&telemetry, until).await?,
            telemetry_begins: self.begins(&telemetry).await?,
            at: until.time.unwrap_or(DateTime::UNIX_EPOCH),
        })
    }

    /// A tenant's control log and its telemetry log with their heads, and the time. Everything that was visible at that
    /// time is within the heads.
    async fn heads_now(&self, tenant: &Tenant) -> Result<([Log; 2], DateTime<Utc>)> {
        let sql = "SELECT log_id, tenant, lane, shard, head, archived_until, now() AS now FROM logs
             WHERE tenant = $1 AND shard = 0 ORDER BY lane";
        let rows = self.fetch(sqlx::query(sql).bind(tenant.as_str())).await?;
        let [control, telemetry] = rows.as_slice() else { return Err(sqlx::Error::RowNotFound.into()) };
        Ok(([heads::log(control)?, heads::log(telemetry)?], control.try_get("now")?))
    }

    /// When the event at a position was recorded. `None` at position 0, which is before all events.
    async fn recorded_at(
        &self,
        lane: Lane,
        log_id: LogId,
        position: Position,
    ) -> Result<Option<DateTime<Utc>>, NoPrefix> {
        if position == 0 {
            return Ok(None);
        }
        let sql = match lane {
            Lane::Control => "SELECT recorded_at FROM control_events WHERE log_id = $1 AND position = $2",
            Lane::Telemetry => "SELECT recorded_at FROM telemetry_events WHERE log_id = $1 AND position = $2",
        };
        let row = self.fetch(sqlx::query(sql).bind(log_id).bind(position)).await;
        match row.map_err(NoPrefix::Log)?.first() {
            Some(row) => Ok(row.try_get("recorded_at").map_err(Error::from)?),
            None => match self.hole_at(log_id, position).await? {
                Some(range) => Err(NoPrefix::Removed(Box::new(range))),
                // A reading that is not there and was not removed either, or was restored meanwhile.
                None => Err(Error::from(sqlx::Error::RowNotFound).into()),
            },
        }
    }

    async fn last_until(&self, log: &Log, until: Until) -> Result<Position> {
        match until {
            Until { exact: Some((log_id, position)), .. } if log_id == log.log_id => Ok(position),
            // The database's times have microseconds, so this is the same as "at this time or earlier".
            Until { time: Some(time), .. } => {
                self.last_before(log, time.trunc_subsecs(6) + TimeDelta::microseconds(1)).await
            }
            Until { time: None, .. } => Ok(0),
        }
    }

    /// The first position from which on a log still holds everything.
    async fn begins(&self, log: &Log) -> Result<Position> {
        Ok(self.missing_until(log.log_id, log.archived_until).await? + 1)
    }
}

/// Up to where the logs go.
#[derive(Debug, Clone, Copy)]
struct Until {
    /// `None`: before all events.
    time: Option<DateTime<Utc>>,
    /// One log, and its last position.
    exact: Option<(LogId, Position)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_time_or_a_position() {
        for (text, written) in [
            ("1:42", "1:42"),
            ("1:0", "1:0"),
            ("2026-03-01T12:00:00Z", "2026-03-01T12:00:00Z"),
            ("2026-03-01T12:00:00+07:00", "2026-03-01T05:00:00Z"),
            ("2026-03-01T12:00:00.1234567Z", "2026-03-01T12:00:00.123456Z"),
        ] {
            let as_of: AsOf = text.parse().unwrap_or_else(|bad| panic!("{text}: {bad}"));
            assert_eq!(as_of.to_string(), written);
            assert_eq!(written.parse(), Ok(as_of), "{text}");
        }
        for bad in ["", "now", "42", "1:-1", "1:x", "+1:5", "1:05", "2026-03-01", "+10000-01-01T00:00:00Z"] {
            assert!(bad.parse::<AsOf>().is_err(), "{bad}");
        }
    }
}
