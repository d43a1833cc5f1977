//! Puts a new version in the place of the live one, keeps that for a rollback, and removes what is no longer needed.

use fleetlog_aggregates::acts::Platform;
use fleetlog_aggregates::identity::Tenant;
use fleetlog_event_log::control::{Actor, Metadata};
use fleetlog_event_log::{EventLog, crash};
use sqlx::{Executor, Row};

use super::Kind;
use super::build::{Level, live_positions};
use super::work::{Context, Stopped, Task};
use crate::read_model::ReadModel;

/// Folds what the new version still lacks while nobody moves the live checkpoints, and points the views at the new
/// tables: all in one transaction. A reader sees the one version or the other, at the same position or later.
pub(super) async fn swap<M: ReadModel>(context: &Context, task: &Task) -> Result<(), Stopped> {
    let mut level = Level::<M>::new(&context.log, &context.options, task.version).await?;
    level.approach().await?;
    let task = task.clone();
    let swapped = context.log.record(move |recorder| {
        Box::pin(async move {
            let connection = recorder.connection();
            // It is idle while the last events are folded. A reader that does not end must not hold up all others.
            connection
                .execute("SET LOCAL idle_in_transaction_session_timeout = '60s'; SET LOCAL lock_timeout = '2s'")
                .await?;
            let step = sqlx::query(
                "SELECT FROM projection_rebuilds WHERE rebuild_id = $1 AND step = 'swapping' AND NOT paused FOR UPDATE",
            );
            if step.bind(task.rebuild_id).fetch_optional(&mut *connection).await?.is_none() {
                return Ok(());
            }
            let live = live_positions(connection, M::NAME, true).await?;
            level.reach(&live).await?;
            let instead_of: i32 =
                sqlx::query_scalar("SELECT version FROM projections WHERE projection = $1 AND live")
                    .bind(M::NAME)
                    .fetch_one(&mut *connection)
                    .await?;
            sqlx::query("SELECT swap_projection_version($1, $2, $3)")
                .bind(M::NAME)
                .bind(task.version)
                .bind(M::TABLES)
                .execute(&mut *connection)
                .await?;
            // One earlier version is kept, the last one.
            sqlx::query(
                "UPDATE projection_rebuilds SET kept_until = clock_timestamp()
                 WHERE projection = $1 AND kept_version IS NOT NULL",
            )
            .bind(M::NAME)
            .execute(&mut *connection)
            .await?;
            sqlx::query(
                "UPDATE projection_rebuilds SET step = 'swapped', step_since = clock_timestamp(), error = NULL,
                     rate = NULL, ended_at = clock_timestamp(), kept_version = $2,
                     kept_until = clock_timestamp() + make_interval(secs => keep_s)
                 WHERE rebuild_id = $1",
            )
            .bind(task.rebuild_id)
            .bind(instead_of)
            .execute(&mut *connection)
            .await?;
            crash::point("rebuild.swapping");
            let act = Platform::VersionSwapped {
                projection: M::NAME.into(),
                rebuild_id: task.rebuild_id,
                version: task.version,
                instead_of,
                differences: task.differences,
            };
            recorder.tell(&Tenant::platform(), M::NAME, &act, &Metadata::by(Actor::Fleetlog)).await?;
            tracing::info!(projection = M::NAME, version = task.version, instead_of, "another version is live");
            Ok::<_, Stopped>(())
        })
    });
    swapped.await?;
    crash::point("rebuild.swapped");
    Ok(())
}

/// Removes the new version of a cancelled rebuild. A cancelled rollback leaves its version kept.
pub(super) async fn undo<M: ReadModel>(context: &Context, task: &Task) -> Result<(), Stopped> {
    let mut transaction = context.log.pool().begin().await?;
    match task.kind {
        Kind::Rebuild => {
            drop_version::<M>(&mut transaction, task.version).await?;
            sqlx::query("DELETE FROM projection_rebuild_parts WHERE rebuild_id = $1")
                .bind(task.rebuild_id)
                .execute(&mut *transaction)
                .await?;
        }
        Kind::Rollback => {
            for sql in [
                "UPDATE projections SET state = 'kept', updated_at = clock_timestamp()
                 WHERE projection = $1 AND version = $2",
                "UPDATE projection_checkpoints SET sealed = true WHERE projection = $1 AND version = $2",
            ] {
                sqlx::query(sql).bind(M::NAME).bind(task.version).execute(&mut *transaction).await?;
            }
            sqlx::query(
                "UPDATE projection_rebuilds SET kept_version = version,
                     kept_until = clock_timestamp() + make_interval(secs => keep_s)
                 WHERE rebuild_id = $1",
            )
            .bind(task.rebuild_id)
            .execute(&mut *transaction)
            .await?;
        }
    }
    sqlx::query(
        "UPDATE projection_rebuilds SET ended_at = clock_timestamp(), rate = NULL WHERE rebuild_id = $1",
    )
    .bind(task.rebuild_id)
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(())
}

/// Removes the versions that are kept no longer.
pub(super) async fn remove_overdue<M: ReadModel>(log: &EventLog) -> Result<(), Stopped> {
    let mut transaction = log.pool().begin().await?;
    let overdue = sqlx::query(
        "SELECT rebuild_id, kept_version FROM projection_rebuilds
         WHERE projection = $1 AND kept_version IS NOT NULL AND kept_until < clock_timestamp() FOR UPDATE",
    );
    for row in overdue.bind(M::NAME).fetch_all(&mut *transaction).await? {
        drop_version::<M>(&mut transaction, row.try_get("kept_version")?).await?;
        let rebuild_id: uuid::Uuid = row.try_get("rebuild_id")?;
        sqlx::query(
            "UPDATE projection_rebuilds SET kept_version = NULL, kept_until = NULL WHERE rebuild_id = $1",
        )
        .bind(rebuild_id)
        .execute(&mut *transaction)
        .await?;
    }
    transaction.commit().await?;
    Ok(())
}

async fn drop_version<M: ReadModel>(
    connection: &mut sqlx::PgConnection,
    version: i32,
) -> Result<(), Stopped> {
    sqlx::query("SELECT drop_projection_version($1, $2, $3)")
        .bind(M::NAME)
        .bind(version)
        .bind(M::TABLES)
        .execute(connection)
        .await?;
    Ok(())
}
