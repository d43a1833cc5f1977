//! Writes changes to commands, batches and types: one statement for each kind.

use fleetlog_aggregates::command::Status;
use fleetlog_aggregates::command_batch;
use fleetlog_event_log::sources::Sources;
use fleetlog_event_log::{Event, Lane, LogId, Result};
use sqlx::PgConnection;

use super::compared;
use super::draft::Draft;
use super::fold::{BatchDraft, Fold, TypeDraft};
use crate::read_model::{Poison, ReadModel, Rows};

/// The read model `commands`.
pub struct Model {
    commands: String,
    batches: String,
    types: String,
}

impl ReadModel for Model {
    const NAME: &'static str = "commands";
    const FORMAT: i32 = 1;
    const TABLES: &'static [&'static str] = &["commands", "command_batches", "command_types"];
    const LANES: &'static [Lane] = &[Lane::Control];
    const DIVISIBLE: bool = false;
    type Fold = Fold;

    fn new(version: i32) -> Self {
        Self {
            commands: write_commands(version),
            batches: write_batches(version),
            types: write_types(version),
        }
    }

    fn compared() -> Vec<Rows> {
        compared::rows()
    }

    fn fold(fold: &mut Fold, event: &Event, _: &Sources) -> Result<(), Poison> {
        fold.add(event)
    }

    fn size(fold: &Fold) -> usize {
        fold.size()
    }

    async fn write(&mut self, connection: &mut PgConnection, _log_id: LogId, fold: Fold) -> Result<()> {
        if !fold.commands.is_empty() {
            self.write_commands(connection, &fold).await?;
        }
        if !fold.batches.is_empty() {
            self.write_batches(connection, &fold).await?;
        }
        if !fold.types.is_empty() {
            self.write_types(connection, &fold).await?;
        }
        Ok(())
    }
}

/// Collects one column of the rows that are written.
macro_rules! column {
    ($rows:expr, $row:ident => $value:expr) => {
        $rows.map(|$row| $value).collect::<Vec<_>>()
    };
}

impl Model {
    async fn write_commands(&self, connection: &mut PgConnection, fold: &Fold) -> Result<()> {
        let (keys, rows) = (|| fold.commands.keys(), || fold.commands.values());
        let requested = || fold.commands.values().map(|draft: &Draft| draft.requested.as_ref());
        sqlx::query(&self.commands)
            .bind(column!(keys(), key => key.0.as_str()))
            .bind(column!(keys(), key => key.1))
            .bind(column!(requested(), row => row.map(|row| row.position)))
            .bind(column!(requested(), row => row.map(|row| row.request.device_uid.as_str())))
            .bind(column!(requested(), row => row.map(|row| row.request.cmd.as_str())))
            .bind(column!(requested(), row => row.map(|row| row.params.as_str())))
            .bind(column!(requested(), row => row.map(|row| row.request.requested_by.as_str())))
            .bind(column!(requested(), row => row.map(|row| row.at)))
            .bind(column!(requested(), row => row.map(|row| row.request.timeout_s as i32)))
            .bind(column!(requested(), row => row.map(|row| row.request.max_attempts as i32)))
            .bind(column!(requested(), row => row.map(|row| row.request.expires_at)))
            .bind(column!(requested(), row => row.and_then(|row| row.batch_id)))
            .bind(column!(requested(), row => row.and_then(|row| row.correlation_id.as_deref())))
            .bind(column!(rows(), row => row.status.map(Status::as_str)))
            .bind(column!(rows(), row => row.attempts))
            .bind(column!(rows(), row => row.sent_at))
            .bind(column!(rows(), row => row.deadline))
            .bind(column!(rows(), row => row.ended_at))
            .bind(column!(rows(), row => row.result.as_deref()))
            .bind(column!(rows(), row => row.error.as_deref()))
            .bind(column!(rows(), row => row.cancelled_by.as_deref()))
            .bind(column!(rows(), row => row.cancel_reason.as_deref()))
            .bind(column!(rows(), row => row.late_ack.as_deref()))
            .bind(column!(rows(), row => row.late_ack_at))
            .bind(column!(rows(), row => row.last_position))
            .execute(connection)
            .await?;
        Ok(())
    }

    async fn write_batches(&self, connection: &mut PgConnection, fold: &Fold) -> Result<()> {
        let (keys, rows) = (|| fold.batches.keys(), || fold.batches.values());
        let requested = || fold.batches.values().map(|draft: &BatchDraft| draft.requested.as_ref());
        sqlx::query(&self.batches)
            .bind(column!(keys(), key => key.0.as_str()))
            .bind(column!(keys(), key => key.1))
            .bind(column!(requested(), row => row.map(|row| row.position)))
            .bind(column!(requested(), row => row.map(|row| row.selector.as_str())))
            .bind(column!(requested(), row => row.map(|row| row.request.cmd.as_str())))
            .bind(column!(requested(), row => row.map(|row| row.params.as_str())))
            .bind(column!(requested(), row => row.map(|row| row.request.requested_by.as_str())))
            .bind(column!(requested(), row => row.map(|row| row.at)))
            .bind(column!(requested(), row => row.map(|row| row.request.expires_at)))
            .bind(column!(requested(), row => row.map(|row| row.request.rate_per_s as i32)))
            .bind(column!(requested(), row => row.and_then(|row| row.request.abort_after_failures.map(|n| n as i32))))
            .bind(column!(rows(), row => row.devices))
            .bind(column!(rows(), row => row.status.map(command_batch::Status::as_str)))
            .bind(column!(rows(), row => row.ended_at))
            .bind(column!(rows(), row => row.cancelled_by.as_deref()))
            .bind(column!(rows(), row => row.cancel_reason.as_deref()))
            .bind(column!(rows(), row => row.last_position))
            .execute(connection)
            .await?;
        Ok(())
    }

    async fn write_types(&self, connection: &mut PgConnection, fold: &Fold) -> Result<()> {
        let (keys, rows) = (|| fold.types.keys(), || fold.types.values());
        let defined = || fold.types.values().map(|draft: &TypeDraft| draft.defined.as_ref());
        sqlx::query(&self.types)
            .bind(column!(keys(), key => key.0.as_str()))
            .bind(column!(keys(), key => key.1.as_str()))
            .bind(column!(defined(), row => row.and_then(|row| row.description.as_deref())))
            .bind(column!(defined(), row => row.map(|row| row.params.as_str())))
            .bind(column!(defined(), row => row.map(|row| row.at)))
            .bind(column!(rows(), row => row.removed_at))
            .bind(column!(rows(), row => row.last_position))
            .bind(column!(defined(), row => row.and_then(|row| row.max_attempts)))
            .execute(connection)
            .await?;
        Ok(())
    }
}

/// A command whose request is in the page is inserted. For other commands only what the page mentions changes.
fn write_commands(version: i32) -> String {
    format!(
        "WITH change AS (
             SELECT * FROM unnest(
                 $1::text[], $2::uuid[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::timestamptz[],
                 $9::int[], $10::int[], $11::timestamptz[], $12::uuid[], $13::text[], $14::text[], $15::int[],
                 $16::timestamptz[], $17::timestamptz[], $18::timestamptz[], $19::text[], $20::text[], $21::text[],
                 $22::text[], $23::text[], $24::timestamptz[], $25::bigint[])
             AS t (tenant, cmd_id, position, device_uid, cmd, params, requested_by, requested_at, timeout_s,
                   max_attempts, expires_at, batch_id, correlation_id, status, attempts, sent_at, deadline, ended_at,
                   result, error, cancelled_by, cancel_reason, late_ack, late_ack_at, last_position)
         ), inserted AS (
             INSERT INTO commands_v{version}
                 (tenant, cmd_id, position, device_uid, cmd, params, requested_by, requested_at, timeout_s,
                  max_attempts, expires_at, batch_id, correlation_id, status, attempts, sent_at, deadline, ended_at,
                  result, error, cancelled_by, cancel_reason, late_ack, late_ack_at, last_position)
             SELECT tenant, cmd_id, position, device_uid, cmd, params::json, requested_by, requested_at, timeout_s,
                    max_attempts, expires_at, batch_id, correlation_id, status, attempts, sent_at, deadline, ended_at,
                    result::json, error::json, cancelled_by, cancel_reason, late_ack::json, late_ack_at,
                    last_position
             FROM change WHERE position IS NOT NULL
         )
         UPDATE commands_v{version} AS known SET
             status = coalesce(change.status, known.status),
             attempts = coalesce(change.attempts, known.attempts),
             sent_at = coalesce(change.sent_at, known.sent_at),
             deadline = coalesce(change.deadline, known.deadline),
             ended_at = coalesce(change.ended_at, known.ended_at),
             result = coalesce(change.result::json, known.result),
             error = coalesce(change.error::json, known.error),
             cancelled_by = coalesce(change.cancelled_by, known.cancelled_by),
             cancel_reason = coalesce(change.cancel_reason, known.cancel_reason),
             late_ack = coalesce(change.late_ack::json, known.late_ack),
             late_ack_at = coalesce(change.late_ack_at, known.late_ack_at),
             last_position = greatest(known.last_position, change.last_position)
         FROM change
         WHERE change.position IS NULL AND known.tenant = change.tenant AND known.cmd_id = change.cmd_id"
    )
}

fn write_batches(version: i32) -> String {
    format!(
        "WITH change AS (
             SELECT * FROM unnest(
                 $1::text[], $2::uuid[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::timestamptz[],
                 $9::timestamptz[], $10::int[], $11::int[], $12::int[], $13::text[], $14::timestamptz[], $15::text[],
                 $16::text[], $17::bigint[])
             AS t (tenant, batch_id, position, selector, cmd, params, requested_by, requested_at, expires_at,
                   rate_per_s, abort_after_failures, devices, status, ended_at, cancelled_by, cancel_reason,
                   last_position)
         ), inserted AS (
             INSERT INTO command_batches_v{version}
                 (tenant, batch_id, position, selector, cmd, params, requested_by, requested_at, expires_at,
                  rate_per_s, abort_after_failures, devices, status, ended_at, cancelled_by, cancel_reason,
                  last_position)
             SELECT tenant, batch_id, position, selector::json, cmd, params::json, requested_by, requested_at,
                    expires_at, rate_per_s, abort_after_failures, devices, status, ended_at, cancelled_by,
                    cancel_reason, last_position
             FROM change WHERE position IS NOT NULL
         )
         UPDATE command_batches_v{version} AS known SET
             devices = known.devices + change.devices,
             status = coalesce(change.status, known.status),
             ended_at = coalesce(change.ended_at, known.ended_at),
             cancelled_by = coalesce(change.cancelled_by, known.cancelled_by),
             cancel_reason = coalesce(change.cancel_reason, known.cancel_reason),
             last_position = greatest(known.last_position, change.last_position)
         FROM change
         WHERE change.position IS NULL AND known.tenant = change.tenant AND known.batch_id = change.batch_id"
    )
}

/// A definition replaces the type's row; a removal only marks the type as removed.
fn write_types(version: i32) -> String {
    format!(
        "WITH change AS (
             SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::timestamptz[],
                                  $7::bigint[], $8::int[])
             AS t (tenant, name, description, params, defined_at, removed_at, last_position, max_attempts)
         ), removed AS (
             UPDATE command_types_v{version} AS known SET
                 removed_at = change.removed_at,
                 last_position = greatest(known.last_position, change.last_position)
             FROM change
             WHERE change.defined_at IS NULL AND known.tenant = change.tenant AND known.name = change.name
         )
         INSERT INTO command_types_v{version} AS known
             (tenant, name, description, params, defined_at, removed_at, last_position, max_attempts)
         SELECT tenant, name, description, params::json, defined_at, removed_at, last_position, max_attempts
         FROM change WHERE defined_at IS NOT NULL
         ON CONFLICT (tenant, name) DO UPDATE SET
             description = excluded.description, params = excluded.params, defined_at = excluded.defined_at,
             removed_at = excluded.removed_at, max_attempts = excluded.max_attempts,
             last_position = greatest(known.last_position, excluded.last_position)"
    )
}
