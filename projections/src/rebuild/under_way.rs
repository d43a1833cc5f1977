//! A rebuild that is under way, in words: what it does now, and what may be told to it next.

use std::fmt;

use chrono::{DateTime, Utc};
use fleetlog_event_log::Result;
use fleetlog_event_log::database::parsed;
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgConnection, Row};

use super::{Kind, Steer, Step};

/// What a rebuild does now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnderWay {
    /// What is done.
    pub kind: Kind,
    /// What it does now, or went on with if it were not paused.
    pub step: Step,
    /// Whether it was told to pause.
    pub paused: bool,
}

impl UnderWay {
    /// What may be told to it next, the most useful first.
    #[must_use]
    pub fn next(self) -> &'static [Steer] {
        match (self.step, self.paused) {
            (Step::Swapped | Step::Cancelled, _) => &[],
            (_, true) => &[Steer::Resume, Steer::Cancel],
            (Step::Waiting, false) => &[Steer::Accept, Steer::Cancel],
            (_, false) => &[Steer::Pause, Steer::Cancel],
        }
    }
}

impl fmt::Display for UnderWay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let doing = match self.step {
            Step::Building => "building",
            Step::CatchingUp => "catching up",
            Step::Comparing => "comparing",
            Step::Waiting => "waiting until the rows that differ are accepted",
            Step::Swapping => "going live",
            Step::Swapped => return f.write_str("live"),
            Step::Cancelled => return f.write_str("cancelled, and ends in a moment: ask again then"),
        };
        match (self.step, self.paused) {
            (_, true) => write!(f, "paused while {doing}: `resume` lets it go on, `cancel` ends it"),
            (Step::Waiting, false) => {
                write!(f, "{doing}: `accept` lets the new version go live, `cancel` ends it")
            }
            (_, false) => write!(f, "{doing}: wait until it has ended, or `cancel` it"),
        }
    }
}

/// A version that is being brought up to date, or has just gone live.
pub(crate) struct Moving {
    pub(crate) projection: String,
    pub(crate) version: i32,
    /// Since when it is in this step.
    pub(crate) since: DateTime<Utc>,
    /// `None`: it has just gone live.
    pub(crate) under_way: Option<UnderWay>,
}

/// The versions that are being brought up to date, and those that went live so lately that their runner may not have begun yet.
pub(crate) async fn moving(connection: &mut PgConnection) -> Result<Vec<Moving>> {
    let moving = sqlx::query_as(
        "SELECT projection, version, kind, step, step_since, paused, ended_at FROM projection_rebuilds
         WHERE ended_at IS NULL OR (step = 'swapped' AND ended_at > clock_timestamp() - interval '10 seconds')",
    );
    Ok(moving.fetch_all(connection).await?)
}

impl FromRow<'_, PgRow> for UnderWay {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self { kind: parsed(row, "kind")?, step: parsed(row, "step")?, paused: row.try_get("paused")? })
    }
}

impl FromRow<'_, PgRow> for Moving {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        let ended_at: Option<DateTime<Utc>> = row.try_get("ended_at")?;
        Ok(Self {
            projection: row.try_get("projection")?,
            version: row.try_get("version")?,
            since: row.try_get("step_since")?,
            under_way: if ended_at.is_none() { Some(UnderWay::from_row(row)?) } else { None },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_is_named_with_what_may_be_told_next() {
        let steps = [
            (Step::Building, "building"),
            (Step::CatchingUp, "catching up"),
            (Step::Comparing, "comparing"),
            (Step::Waiting, "waiting until the rows that differ are accepted"),
            (Step::Swapping, "going live"),
        ];
        for (step, doing) in steps {
            for paused in [false, true] {
                let now = UnderWay { kind: Kind::Rebuild, step, paused };
                let told = now.to_string();
                assert!(told.contains(doing) && told.contains("paused") == paused, "{told}");
                assert!(told.contains("`cancel`") && now.next().contains(&Steer::Cancel), "{told}");
                assert_eq!(told.contains("`resume`"), now.next().contains(&Steer::Resume), "{told}");
                assert_eq!(told.contains("`accept`"), now.next().contains(&Steer::Accept), "{told}");
            }
        }
        assert_eq!(UnderWay { kind: Kind::Rebuild, step: Step::Cancelled, paused: false }.next(), []);
    }
}
