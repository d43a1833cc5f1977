//! Folds a new version: first what the live one holds at the beginning, slice by slice, then what it has folded since.

use std::collections::BTreeMap;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use fleetlog_event_log::read::Slice;
use fleetlog_event_log::{EventLog, LogId, Position, crash};
use sqlx::{PgConnection, Row};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Step;
use super::work::{Context, Stopped, Task};
use crate::read_model::ReadModel;
use crate::runner::{Applier, BuiltSlice, Checkpoints, Options};

/// The most slices of a log. Each reads all rows of the log and folds its own.
const MAX_SLICES: i64 = 8;
/// How many events a slice has at least: below that, a further slice costs more than it brings.
const SLICE: i64 = 200_000;
/// A new version has caught up when it takes at most this long to reach the live one.
const CLOSE: Duration = Duration::from_secs(2);
/// How often a version is brought close to the live one before that is held.
const APPROACHES: usize = 3;
/// How many events of a rebuild are folded before they are written. The more, the fewer times a row is written.
const BATCH: i64 = 500_000;

/// A slice that is not finished.
struct Part {
    log_id: LogId,
    position: Position,
    slice: Slice,
}

/// Folds what the live version held when the building began, and goes to the next step.
pub(super) async fn build<M: ReadModel>(context: &Context, task: &Task) -> Result<(), Stopped> {
    divide::<M>(&context.log, task).await?;
    let mut parts = unfinished(&context.log, task).await?;
    // A slice reads over one connection and writes over another, and half of the connections are the others'.
    let connections = context.log.pool().options().get_max_connections() as usize / 4;
    let at_once = (slices().min(MAX_SLICES) as usize).min(connections).max(1);
    let mut tasks: JoinSet<Result<(), Stopped>> = JoinSet::new();
    // The others end when one has failed.
    let failed = CancellationToken::new();
    let mut ended = Ok(());
    loop {
        while tasks.len() < at_once
            && ended.is_ok()
            && let Some(part) = parts.pop()
        {
            let builder = Builder::<M> {
                log: context.log.clone(),
                options: Options { batch: BATCH, ..context.options.clone() },
                version: task.version,
                model: M::new(task.version),
                slice: Some(BuiltSlice { rebuild_id: task.rebuild_id, slice: part.slice }),
            };
            let (context, task, failed) = (context.clone(), task.clone(), failed.clone());
            tasks.spawn(async move { part.build(builder, &context, &task, &failed).await });
        }
        let Some(next) = tasks.join_next().await else { break };
        if let Err(error) = next? {
            failed.cancel();
            ended = ended.and(Err(error));
        }
    }
    ended?;
    if unfinished(&context.log, task).await?.is_empty() {
        crash::point("rebuild.built");
        finish::<M>(&context.log, task).await?;
    }
    Ok(())
}

impl Part {
    async fn build<M: ReadModel>(
        self,
        mut builder: Builder<M>,
        context: &Context,
        task: &Task,
        failed: &CancellationToken,
    ) -> Result<(), Stopped> {
        let mut position = self.position;
        while position < self.slice.until && !failed.is_cancelled() && context.goes_on(task).await? {
            let (heads, began) = (context.log.heads().total(), Instant::now());
            let (to, events) = builder.apply(self.log_id, position, self.slice).await?;
            position = to;
            crash::point("rebuild.part");
            context.folded(M::NAME, events);
            // Ingest has precedence: while events come in, a slice rests for as long as it has worked.
            if context.log.heads().total() > heads {
                let rest = began.elapsed().min(Duration::from_secs(2));
                context.stop.run_until_cancelled(tokio::time::sleep(rest)).await;
            }
        }
        Ok(())
    }
}

/// Catches up with the live version, and goes to the next step once it is close.
pub(super) async fn catch_up<M: ReadModel>(context: &Context, task: &Task) -> Result<(), Stopped> {
    let began = Instant::now();
    follow::<M>(context, task).await?;
    if began.elapsed() <= CLOSE {
        crash::point("rebuild.caught_up");
        context
            .step(
                task,
                match task.kind {
                    super::Kind::Rebuild => Step::Comparing,
                    super::Kind::Rollback => Step::Swapping,
                },
            )
            .await?;
    }
    Ok(())
}

/// Folds what the live version has and this one lacks.
pub(super) async fn follow<M: ReadModel>(context: &Context, task: &Task) -> Result<(), Stopped> {
    let live = live_positions(&mut *context.log.pool().acquire().await?, M::NAME, false).await?;
    let mut level = Level::<M>::new(&context.log, &context.options, task.version).await?;
    for (&log_id, &until) in &live {
        while level.position(log_id) < until && context.goes_on(task).await? {
            let events = level.apply(log_id, until).await?;
            context.folded(M::NAME, events);
        }
    }
    Ok(())
}

/// Brings a version to the positions of another.
pub(super) struct Level<M> {
    builder: Builder<M>,
    positions: BTreeMap<LogId, Position>,
}

impl<M: ReadModel> Level<M> {
    pub(super) async fn new(log: &EventLog, options: &Options, version: i32) -> Result<Self, Stopped> {
        let checkpoints = Checkpoints { projection: M::NAME, version, slice: None };
        let positions = checkpoints.positions(log.pool()).await?;
        let (log, options) = (log.clone(), options.clone());
        Ok(Self {
            builder: Builder { log, options, version, model: M::new(version), slice: None },
            positions,
        })
    }

    fn position(&self, log_id: LogId) -> Position {
        self.positions.get(&log_id).copied().unwrap_or(0)
    }

    async fn apply(&mut self, log_id: LogId, until: Position) -> Result<u64, Stopped> {
        let slice = Slice { nth: 0, of: 1, until };
        let (to, events) = self.builder.apply(log_id, self.position(log_id), slice).await?;
        self.positions.insert(log_id, to);
        Ok(events)
    }

    /// Applies what the live version has, without holding it. What is left is little, and the read model remembers what
    /// it needs for it, so that the live version is held for milliseconds afterwards.
    pub(super) async fn approach(&mut self) -> Result<(), Stopped> {
        for _ in 0..APPROACHES {
            let live = live_positions(&mut *self.builder.log.pool().acquire().await?, M::NAME, false).await?;
            self.reach(&live).await?;
        }
        Ok(())
    }

    /// Applies everything up to exactly these positions.
    pub(super) async fn reach(&mut self, live: &BTreeMap<LogId, Position>) -> Result<(), Stopped> {
        for (&log_id, &until) in live {
            while self.position(log_id) < until {
                self.apply(log_id, until).await?;
            }
        }
        Ok(())
    }
}

/// Writes one version of a read model.
struct Builder<M> {
    log: EventLog,
    options: Options,
    version: i32,
    model: M,
    slice: Option<BuiltSlice>,
}

impl<M: ReadModel> Builder<M> {
    /// Applies some events of a slice after a position. Returns how far it got, and how many events that were.
    async fn apply(
        &mut self,
        log_id: LogId,
        after: Position,
        slice: Slice,
    ) -> Result<(Position, u64), Stopped> {
        let checkpoints = Checkpoints { projection: M::NAME, version: self.version, slice: self.slice };
        let parked = checkpoints.parked(self.log.pool()).await?.remove(&log_id).unwrap_or_default();
        let mut connection = self.log.pool().acquire().await?;
        let turn = Applier {
            log: &self.log,
            leader: &mut connection,
            options: &self.options,
            checkpoints,
            model: &mut self.model,
            log_id,
            parked: &parked,
            slice: Some(slice),
        };
        let applied = turn.apply(after, slice.until).await?;
        for stream in &applied.parked {
            let (projection, stream_id, position) = (M::NAME, &stream.aggregate_id, stream.position);
            tracing::error!(
                projection,
                version = self.version,
                stream_id,
                position,
                error = stream.error,
                "parked a stream"
            );
        }
        Ok((applied.to, applied.events))
    }
}

/// How many slices are built at once: one for each processor.
fn slices() -> i64 {
    available_parallelism().map_or(1, |processors| processors.get() as i64)
}

/// Divides the logs into slices, unless that was done. They end where the live version is, which may be behind the head:
/// a version that was ahead of it could not be compared with it. A live version of another format is not compared, and
/// this program does not keep it up to date: then the slices end at the head.
async fn divide<M: ReadModel>(log: &EventLog, task: &Task) -> Result<(), Stopped> {
    let lanes: Vec<&str> = M::LANES.iter().map(|lane| lane.as_str()).collect();
    let most = if M::DIVISIBLE { slices().min(MAX_SLICES) } else { 1 };
    let divided = sqlx::query(
        "INSERT INTO projection_rebuild_parts (rebuild_id, log_id, part, parts, target)
         SELECT $1, log_id, part, parts, target
         FROM logs CROSS JOIN projections AS live
         LEFT JOIN projection_checkpoints AS checkpoint USING (projection, version, log_id)
         CROSS JOIN LATERAL (
             SELECT CASE coalesce(live.format, live.version) WHEN $6 THEN coalesce(position, 0) ELSE head END AS target
         ) AS reached
         CROSS JOIN LATERAL (SELECT least($3, greatest(1, target / $4))::int AS parts) AS divided
         CROSS JOIN LATERAL generate_series(0, parts - 1) AS part
         WHERE projection = $5 AND live AND lane = ANY($2) AND target > 0
           AND NOT EXISTS (SELECT FROM projection_rebuild_parts WHERE rebuild_id = $1)",
    );
    divided
        .bind(task.rebuild_id)
        .bind(lanes)
        .bind(most)
        .bind(SLICE)
        .bind(M::NAME)
        .bind(M::FORMAT)
        .execute(log.pool())
        .await?;
    Ok(())
}

/// The slices that are not finished, the largest last.
async fn unfinished(log: &EventLog, task: &Task) -> Result<Vec<Part>, Stopped> {
    let rows = sqlx::query(
        "SELECT log_id, part, parts, position, target FROM projection_rebuild_parts
         WHERE rebuild_id = $1 AND position < target ORDER BY (target - position) / parts",
    );
    let rows = rows.bind(task.rebuild_id).fetch_all(log.pool()).await?;
    let parts = rows.iter().map(|row| {
        let slice =
            Slice { nth: row.try_get("part")?, of: row.try_get("parts")?, until: row.try_get("target")? };
        Ok(Part { log_id: row.try_get("log_id")?, position: row.try_get("position")?, slice })
    });
    Ok(parts.collect::<sqlx::Result<_>>()?)
}

/// Makes the checkpoints of the slices those of the version, and goes to the next step: both or neither.
async fn finish<M: ReadModel>(log: &EventLog, task: &Task) -> Result<(), Stopped> {
    let mut transaction = log.pool().begin().await?;
    let moved: Option<Uuid> = sqlx::query_scalar(
        "UPDATE projection_rebuilds SET step = 'catching_up', step_since = clock_timestamp(), error = NULL
         WHERE rebuild_id = $1 AND step = 'building' AND NOT paused RETURNING rebuild_id",
    )
    .bind(task.rebuild_id)
    .fetch_optional(&mut *transaction)
    .await?;
    if moved.is_none() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO projection_checkpoints (projection, version, log_id, position)
         SELECT DISTINCT $2, $3::int, log_id, target FROM projection_rebuild_parts WHERE rebuild_id = $1",
    )
    .bind(task.rebuild_id)
    .bind(M::NAME)
    .bind(task.version)
    .execute(&mut *transaction)
    .await?;
    sqlx::query("DELETE FROM projection_rebuild_parts WHERE rebuild_id = $1")
        .bind(task.rebuild_id)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(())
}

/// The checkpoints of the live version. With `hold`, nobody moves them until the transaction ends.
pub(super) async fn live_positions(
    connection: &mut PgConnection,
    projection: &str,
    hold: bool,
) -> Result<BTreeMap<LogId, Position>, sqlx::Error> {
    let hold = if hold { "FOR UPDATE OF checkpoint" } else { "" };
    let sql = format!(
        "SELECT log_id, position FROM projection_checkpoints AS checkpoint
         JOIN projections USING (projection, version)
         WHERE projection = $1 AND live ORDER BY log_id {hold}"
    );
    Ok(sqlx::query_as(&sql).bind(projection).fetch_all(connection).await?.into_iter().collect())
}
