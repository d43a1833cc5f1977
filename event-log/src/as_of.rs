//! Moments of the past: how far a tenant's logs went then. What was known at a moment is what the logs up to there say.

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use sqlx::Row;

use crate::archived::Archived;
use crate::event::Lane;
use crate::heads;
use crate::{Error, Log, LogId, Position, Result, TenantLog};

/// A moment of the past, as a caller names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AsOf {
    /// What had been recorded at this time, by the database's clock.
    Time(DateTime<Utc>),
    /// A log up to and including this position, and the tenant's other log up to the time at which that event was recorded.
    Position(LogId, Position),
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
        let ([control, telemetry], now) = self.heads_now().await?;
        let until = match as_of {
            AsOf::Time(time) if time > now => return Err(NoPrefix::InFuture),
            AsOf::Time(time) => Until { time: Some(time), exact: None },
            AsOf::Position(log_id, position) => {
                let log = [&control, &telemetry].into_iter().find(|log| log.log_id == log_id);
                let log = log.ok_or(NoPrefix::NoSuchLog)?;
                if position > log.head {
                    return Err(NoPrefix::BeyondHead { head: log.head });
                }
                Until { time: self.recorded_at(log, position).await?, exact: Some((log_id, position)) }
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

    /// The last position in the tenant's telemetry log that was recorded before a time.
    pub async fn telemetry_before(&self, time: DateTime<Utc>) -> Result<Position> {
        let ([_, telemetry], _) = self.heads_now().await?;
        self.last_before(&telemetry, time).await
    }

    /// The tenant's control log and its telemetry log with their heads, and the time. Everything that was visible at that
    /// time is within the heads.
    async fn heads_now(&self) -> Result<([Log; 2], DateTime<Utc>)> {
        let sql = "SELECT log_id, tenant, lane, shard, head, archived_until, now() AS now FROM logs
             WHERE tenant = $1 AND shard = 0 ORDER BY lane";
        let rows = self.fetch(sqlx::query(sql).bind(self.tenant().as_str())).await?;
        let [control, telemetry] = rows.as_slice() else { return Err(sqlx::Error::RowNotFound.into()) };
        Ok(([heads::log(control)?, heads::log(telemetry)?], control.try_get("now")?))
    }

    /// When the event at a position was recorded. `None` at position 0, which is before all events.
    async fn recorded_at(&self, log: &Log, position: Position) -> Result<Option<DateTime<Utc>>, NoPrefix> {
        if position == 0 {
            return Ok(None);
        }
        let sql = match log.lane {
            Lane::Control => "SELECT recorded_at FROM control_events WHERE log_id = $1 AND position = $2",
            Lane::Telemetry => "SELECT recorded_at FROM telemetry_events WHERE log_id = $1 AND position = $2",
        };
        let row = self.fetch(sqlx::query(sql).bind(log.log_id).bind(position)).await;
        match row.map_err(NoPrefix::Log)?.first() {
            Some(row) => Ok(row.try_get("recorded_at").map_err(Error::from)?),
            None => match self.hole_at(log.log_id, position).await? {
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
