//! Asks for rebuilds and rollbacks, and steers them. Each request is on the record.

use fleetlog_aggregates::acts::Platform;
use fleetlog_aggregates::identity::Tenant;
use fleetlog_aggregates::words;
use fleetlog_event_log::control::Metadata;
use fleetlog_event_log::record::Recorder;
use fleetlog_event_log::{EventLog, Lane, database};
use sqlx::{FromRow, Row};
use uuid::Uuid;

use super::status::last;
use super::{Facts, Kind, MAX_KEEP_S, Rebuild, Step, UnderWay};

/// What a rebuild is asked to do.
#[derive(Debug, Clone)]
pub struct Request {
    /// The version that its tables are made like, and that it is compared with. `None`: the live one.
    pub from_version: Option<i32>,
    /// How many seconds the version that was live before is kept: 0 to [`MAX_KEEP_S`].
    pub keep_s: i32,
    /// Whether the new version may go live although it differs.
    pub accept: bool,
    /// Who asks.
    pub requested_by: String,
}

/// How a rebuild is steered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Steer {
    /// It stops where it is.
    Pause,
    /// It goes on.
    Resume,
    /// It ends, and the new version is removed.
    Cancel,
    /// The new version may go live although it differs.
    Accept,
}

words! { Steer { Pause = "pause", Resume = "resume", Cancel = "cancel", Accept = "accept" } }

/// Why a request was refused. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// There is no such projection.
    #[error("there is no projection {0}")]
    UnknownProjection(String),
    /// The projection has never run.
    #[error("{0} has no live version yet; start the service once")]
    NotLive(String),
    /// A rebuild runs already.
    #[error("a {} of {projection} to version {version} is {now}", now.kind)]
    Runs {
        /// The projection.
        projection: String,
        /// The version that is to go live.
        version: i32,
        /// What it does now.
        now: UnderWay,
    },
    /// There is no such version.
    #[error("{projection} has no version {version}")]
    UnknownVersion {
        /// The projection.
        projection: String,
        /// The version asked for.
        version: i32,
    },
    /// The version's tables have another format than this program's.
    #[error(
        "version {version} of {projection} has format {format}, but this program writes format {known}; name a version of format {known}"
    )]
    ForeignFormat {
        /// The projection.
        projection: String,
        /// The version asked for.
        version: i32,
        /// Its format.
        format: i32,
        /// The program's format.
        known: i32,
    },
    /// The time is out of range.
    #[error("a version is kept for 0 to {MAX_KEEP_S} seconds")]
    Keep,
    /// No rebuild is under way.
    #[error("no rebuild of {0} is under way")]
    NoneRuns(String),
    /// The new version is about to go live or has been compared without difference.
    #[error("the rebuild of {projection} is {step}: {why}")]
    TooLate {
        /// The projection.
        projection: String,
        /// The step.
        step: Step,
        /// Why it cannot be done now.
        why: &'static str,
    },
    /// There is no version to go back to.
    #[error("no earlier version of {0} is kept; rebuild it instead")]
    NothingKept(String),
    /// The database's owner may not create tables.
    #[error("the owner of the database's schema may not create tables in it; grant it CREATE, and ask again")]
    MayNotCreate,
    /// Events that the new version is folded from cannot be read.
    #[error("{projection} cannot be folded from position 1: {why}")]
    Incomplete {
        /// The projection.
        projection: String,
        /// Which events, and what to do.
        why: String,
    },
    /// The disk is full.
    #[error("the database's disk is full; free some space, and ask again")]
    DiskFull,
    /// The database failed.
    #[error(transparent)]
    Database(#[from] database::Error),
}

impl From<sqlx::Error> for Refused {
    fn from(error: sqlx::Error) -> Self {
        match error.as_database_error().and_then(sqlx::error::DatabaseError::code).as_deref() {
            Some("42501") => Self::MayNotCreate,
            Some("53100") => Self::DiskFull,
            _ => Self::Database(error.into()),
        }
    }
}

/// Begins a rebuild.
pub(super) async fn rebuild(
    log: &EventLog,
    facts: Facts,
    request: Request,
    metadata: Metadata,
) -> Result<Rebuild, Refused> {
    if !(0..=MAX_KEEP_S).contains(&request.keep_s) {
        return Err(Refused::Keep);
    }
    let reader = log.clone();
    let begun = log.record(move |recorder| {
        Box::pin(async move {
            let live = lock(recorder, facts.name).await?;
            let from_version = request.from_version.unwrap_or(live);
            check_format(recorder, facts, from_version).await?;
            let version: i32 = sqlx::query_scalar("SELECT add_projection_version($1, $2, $3)")
                .bind(facts.name)
                .bind(from_version)
                .bind(facts.tables)
                .fetch_one(recorder.connection())
                .await?;
            let rebuild_id = Uuid::now_v7();
            sqlx::query(INSERT)
                .bind(rebuild_id)
                .bind(facts.name)
                .bind(Kind::Rebuild.as_str())
                .bind(version)
                .bind(from_version)
                .bind(&request.requested_by)
                .bind(Step::Building.as_str())
                .bind(request.accept)
                .bind(request.keep_s)
                .execute(recorder.connection())
                .await?;
            readable(recorder, &reader, facts.name, request.accept).await?;
            let act = Platform::RebuildRequested {
                projection: facts.name.into(),
                rebuild_id,
                version,
                from_version,
                accept: request.accept,
            };
            tell(recorder, facts.name, &act, &metadata).await
        })
    });
    begun.await?;
    found(log, facts.name).await
}

/// Brings the version back that was live before the present one.
pub(super) async fn roll_back(
    log: &EventLog,
    facts: Facts,
    requested_by: String,
    metadata: Metadata,
) -> Result<Rebuild, Refused> {
    let begun = log.record(move |recorder| {
        Box::pin(async move {
            let live = lock(recorder, facts.name).await?;
            let kept = sqlx::query(
                "UPDATE projection_rebuilds AS before SET kept_version = NULL, kept_until = NULL
                 FROM (SELECT rebuild_id, kept_version, keep_s FROM projection_rebuilds
                       WHERE projection = $1 AND kept_version IS NOT NULL AND kept_until > clock_timestamp()
                       ORDER BY ended_at DESC LIMIT 1) AS kept
                 WHERE before.rebuild_id = kept.rebuild_id RETURNING kept.kept_version, kept.keep_s",
            );
            let kept = kept.bind(facts.name).fetch_optional(recorder.connection()).await?;
            let Some(kept) = kept else { return Err(Refused::NothingKept(facts.name.into())) };
            let version: i32 = kept.try_get("kept_version")?;
            check_format(recorder, facts, version).await?;
            let rebuild_id = Uuid::now_v7();
            sqlx::query(INSERT)
                .bind(rebuild_id)
                .bind(facts.name)
                .bind(Kind::Rollback.as_str())
                .bind(version)
                .bind(live)
                .bind(&requested_by)
                .bind(Step::CatchingUp.as_str())
                .bind(true)
                .bind(kept.try_get::<i32, _>("keep_s")?)
                .execute(recorder.connection())
                .await?;
            open_again(recorder, facts.name, version).await?;
            let act = Platform::RollbackRequested { projection: facts.name.into(), rebuild_id, version };
            tell(recorder, facts.name, &act, &metadata).await
        })
    });
    begun.await?;
    found(log, facts.name).await
}

/// Steers the rebuild that is under way. What it does already changes nothing, and is not put on the record.
pub(super) async fn steer(
    log: &EventLog,
    facts: Facts,
    how: Steer,
    metadata: Metadata,
) -> Result<Rebuild, Refused> {
    let steered = log.record(move |recorder| {
        Box::pin(async move {
            let under_way = sqlx::query(
                "SELECT rebuild_id, step, paused, accepted FROM projection_rebuilds
                 WHERE projection = $1 AND ended_at IS NULL FOR UPDATE",
            );
            let row = under_way.bind(facts.name).fetch_optional(recorder.connection()).await?;
            let Some(row) = row else { return Err(Refused::NoneRuns(facts.name.into())) };
            let (rebuild_id, step): (Uuid, Step) =
                (row.try_get("rebuild_id")?, database::parsed(&row, "step")?);
            let too_late = |why| Err(Refused::TooLate { projection: facts.name.into(), step, why });
            let (paused, accepted): (bool, bool) = (row.try_get("paused")?, row.try_get("accepted")?);
            let is_done = match how {
                Steer::Cancel => step == Step::Cancelled,
                _ if step == Step::Cancelled => false,
                Steer::Pause => paused,
                Steer::Resume => !paused,
                Steer::Accept => accepted && step != Step::Waiting,
            };
            if is_done {
                return Ok(());
            }
            if step == Step::Cancelled {
                return too_late("its version is being removed");
            }
            let sql = match how {
                Steer::Pause => "UPDATE projection_rebuilds SET paused = true WHERE rebuild_id = $1",
                Steer::Resume => "UPDATE projection_rebuilds SET paused = false, error = NULL WHERE rebuild_id = $1",
                Steer::Cancel => {
                    "UPDATE projection_rebuilds SET step = 'cancelled', step_since = clock_timestamp(), paused = false
                     WHERE rebuild_id = $1"
                }
                Steer::Accept if matches!(step, Step::Swapping) => return too_late("there is nothing to accept"),
                Steer::Accept => {
                    "UPDATE projection_rebuilds SET accepted = true,
                         step = CASE step WHEN 'waiting' THEN 'swapping' ELSE step END,
                         step_since = CASE step WHEN 'waiting' THEN clock_timestamp() ELSE step_since END
                     WHERE rebuild_id = $1"
                }
            };
            sqlx::query(sql).bind(rebuild_id).execute(recorder.connection()).await?;
            let act =
                Platform::RebuildSteered { projection: facts.name.into(), rebuild_id, how: how.as_str().into() };
            tell(recorder, facts.name, &act, &metadata).await
        })
    });
    steered.await?;
    found(log, facts.name).await
}

const INSERT: &str = "
    INSERT INTO projection_rebuilds
        (rebuild_id, projection, kind, version, from_version, requested_by, step, accepted, keep_s)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";

/// Keeps other requests for the projection off until the transaction ends. Returns the live version.
async fn lock(recorder: &mut Recorder, projection: &str) -> Result<i32, Refused> {
    let lock = "SELECT pg_advisory_xact_lock(hashtextextended('fleetlog rebuilds of ' || $1, 0))";
    sqlx::query(lock).bind(projection).execute(recorder.connection()).await?;
    let under_way = sqlx::query(
        "SELECT kind, version, step, paused FROM projection_rebuilds WHERE projection = $1 AND ended_at IS NULL",
    );
    if let Some(row) = under_way.bind(projection).fetch_optional(recorder.connection()).await? {
        return Err(Refused::Runs {
            projection: projection.into(),
            version: row.try_get("version")?,
            now: UnderWay::from_row(&row)?,
        });
    }
    let live = sqlx::query_scalar("SELECT version FROM projections WHERE projection = $1 AND live");
    let live = live.bind(projection).fetch_optional(recorder.connection()).await?;
    live.ok_or_else(|| Refused::NotLive(projection.into()))
}

async fn check_format(recorder: &mut Recorder, facts: Facts, version: i32) -> Result<(), Refused> {
    let format = sqlx::query_scalar(
        "SELECT coalesce(format, version) FROM projections
         WHERE projection = $1 AND version = $2 AND state <> 'building'",
    );
    let format: Option<i32> =
        format.bind(facts.name).bind(version).fetch_optional(recorder.connection()).await?;
    let projection = || facts.name.to_owned();
    match format {
        None => Err(Refused::UnknownVersion { projection: projection(), version }),
        Some(format) if format != facts.format => {
            Err(Refused::ForeignFormat { projection: projection(), version, format, known: facts.format })
        }
        Some(_) => Ok(()),
    }
}

/// Checks that events that were removed can be read from their copies. Those without a copy are left out, if the new version
/// may differ.
async fn readable(
    recorder: &mut Recorder,
    log: &EventLog,
    projection: &str,
    may_differ: bool,
) -> Result<(), Refused> {
    let lanes = sqlx::query_scalar("SELECT DISTINCT unnest(lanes) FROM projections WHERE projection = $1");
    let lanes: Vec<String> = lanes.bind(projection).fetch_all(recorder.connection()).await?;
    if !lanes.iter().any(|lane| lane == Lane::Telemetry.as_str()) {
        return Ok(());
    }
    for range in log.all_archived().await?.iter().filter(|range| range.kept_until.is_none()) {
        let why = match log.check_copy(range).await {
            Ok(()) => continue,
            Err(_) if range.copy.is_none() && may_differ => continue,
            Err(_) if range.copy.is_none() => {
                format!("it would lack {range}; say that it may differ (`accept`), to fold what is left")
            }
            Err(why) => why,
        };
        return Err(Refused::Incomplete { projection: projection.into(), why });
    }
    Ok(())
}

/// Lets a version that was taken out of service be written again.
async fn open_again(recorder: &mut Recorder, projection: &str, version: i32) -> Result<(), Refused> {
    for sql in [
        "UPDATE projections SET state = 'building', updated_at = clock_timestamp()
         WHERE projection = $1 AND version = $2",
        "UPDATE projection_checkpoints SET sealed = false WHERE projection = $1 AND version = $2",
    ] {
        sqlx::query(sql).bind(projection).bind(version).execute(recorder.connection()).await?;
    }
    Ok(())
}

async fn tell(
    recorder: &mut Recorder,
    projection: &str,
    act: &Platform,
    metadata: &Metadata,
) -> Result<(), Refused> {
    recorder.tell(&Tenant::platform(), projection, act, metadata).await?;
    Ok(())
}

async fn found(log: &EventLog, projection: &str) -> Result<Rebuild, Refused> {
    last(log, projection).await?.ok_or_else(|| Refused::NoneRuns(projection.into()))
}
