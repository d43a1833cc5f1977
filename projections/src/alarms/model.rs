//! Writes changes to alarms and rules: one statement for each kind.

use fleetlog_aggregates::alarm::Status;
use fleetlog_event_log::sources::Sources;
use fleetlog_event_log::{Event, Lane, LogId, Result};
use sqlx::PgConnection;

use super::compared;
use super::draft::Draft;
use super::fold::{Fold, RuleDraft};
use crate::read_model::{Poison, ReadModel, Rows};

/// The read model `alarms`.
pub struct Model {
    alarms: String,
    rules: String,
}

impl ReadModel for Model {
    const NAME: &'static str = "alarms";
    const FORMAT: i32 = 1;
    const TABLES: &'static [&'static str] = &["alarms", "alarm_rules"];
    const LANES: &'static [Lane] = &[Lane::Control];
    const DIVISIBLE: bool = true;
    type Fold = Fold;

    fn new(version: i32) -> Self {
        Self { alarms: write_alarms(version), rules: write_rules(version) }
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
        if !fold.alarms.is_empty() {
            self.write_alarms(connection, &fold).await?;
        }
        if !fold.rules.is_empty() {
            self.write_rules(connection, &fold).await?;
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
    async fn write_alarms(&self, connection: &mut PgConnection, fold: &Fold) -> Result<()> {
        let (keys, rows) = (|| fold.alarms.keys(), || fold.alarms.values());
        let raised = || fold.alarms.values().map(|draft: &Draft| draft.raised.as_ref());
        let acknowledged = || fold.alarms.values().map(|draft: &Draft| draft.acknowledged.as_ref());
        let cleared = || fold.alarms.values().map(|draft: &Draft| draft.cleared.as_ref());
        sqlx::query(&self.alarms)
            .bind(column!(keys(), key => key.0.as_str()))
            .bind(column!(keys(), key => key.1))
            .bind(column!(raised(), row => row.map(|row| row.2)))
            .bind(column!(raised(), row => row.map(|row| row.0.about.rule.as_str())))
            .bind(column!(raised(), row => row.map(|row| row.0.rule_version as i32)))
            .bind(column!(raised(), row => row.map(|row| row.0.title.as_str())))
            .bind(column!(raised(), row => row.map(|row| row.0.about.severity.as_str())))
            .bind(column!(raised(), row => row.map(|row| row.0.about.device_uid.as_str())))
            .bind(column!(raised(), row => row.map(|row| row.0.condition.as_str())))
            .bind(column!(raised(), row => row.and_then(|row| row.0.metric.as_deref())))
            .bind(column!(raised(), row => row.and_then(|row| row.0.cmd.as_deref())))
            .bind(column!(raised(), row => row.and_then(|row| row.0.value)))
            .bind(column!(raised(), row => row.map(|row| row.0.since)))
            .bind(column!(raised(), row => row.map(|row| row.0.cause.as_str())))
            .bind(column!(raised(), row => row.map(|row| row.1)))
            .bind(column!(rows(), row => row.status.map(Status::as_str)))
            .bind(column!(acknowledged(), row => row.map(|row| row.at)))
            .bind(column!(acknowledged(), row => row.map(|row| row.by.as_str())))
            .bind(column!(acknowledged(), row => row.and_then(|row| row.note.as_deref())))
            .bind(column!(cleared(), row => row.map(|row| row.at)))
            .bind(column!(cleared(), row => row.map(|row| row.why.as_str())))
            .bind(column!(cleared(), row => row.and_then(|row| row.by.as_deref())))
            .bind(column!(cleared(), row => row.and_then(|row| row.note.as_deref())))
            .bind(column!(cleared(), row => row.and_then(|row| row.value)))
            .bind(column!(rows(), row => row.last_position))
            .execute(connection)
            .await?;
        Ok(())
    }

    async fn write_rules(&self, connection: &mut PgConnection, fold: &Fold) -> Result<()> {
        let (keys, rows) = (|| fold.rules.keys(), || fold.rules.values());
        let defined = || fold.rules.values().map(|draft: &RuleDraft| draft.defined.as_ref());
        // An array of arrays would have to be rectangular.
        let mail = column!(defined(), row => row.map(|row| format!("{{{}}}", row.definition.mail.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))));
        sqlx::query(&self.rules)
            .bind(column!(keys(), key => key.0.as_str()))
            .bind(column!(keys(), key => key.1.as_str()))
            .bind(column!(defined(), row => row.map(|row| row.version as i32)))
            .bind(column!(defined(), row => row.map(|row| row.definition.title.as_str())))
            .bind(column!(defined(), row => row.map(|row| row.definition.severity.as_str())))
            .bind(column!(defined(), row => row.map(|row| row.devices.as_str())))
            .bind(column!(defined(), row => row.map(|row| row.condition.as_str())))
            .bind(mail)
            .bind(column!(defined(), row => row.map(|row| row.at)))
            .bind(column!(rows(), row => row.removed_at))
            .bind(column!(rows(), row => row.last_position))
            .execute(connection)
            .await?;
        Ok(())
    }
}

/// An alarm that the page raises is inserted. Of other alarms only what the page mentions changes.
fn write_alarms(version: i32) -> String {
    format!(
        "WITH change AS (
             SELECT * FROM unnest(
                 $1::text[], $2::uuid[], $3::bigint[], $4::text[], $5::int[], $6::text[], $7::text[], $8::text[],
                 $9::text[], $10::text[], $11::text[], $12::float8[], $13::timestamptz[], $14::text[],
                 $15::timestamptz[], $16::text[], $17::timestamptz[], $18::text[], $19::text[], $20::timestamptz[],
                 $21::text[], $22::text[], $23::text[], $24::float8[], $25::bigint[])
             AS t (tenant, alarm_id, position, rule, rule_version, title, severity, device_uid, condition, metric, cmd,
                   value, since, cause, raised_at, status, acknowledged_at, acknowledged_by, acknowledge_note,
                   cleared_at, cleared_because, cleared_by, clear_note, clear_value, last_position)
         ), inserted AS (
             INSERT INTO alarms_v{version}
                 (tenant, alarm_id, position, rule, rule_version, title, severity, device_uid, condition, metric, cmd,
                  value, since, cause, raised_at, status, acknowledged_at, acknowledged_by, acknowledge_note,
                  cleared_at, cleared_because, cleared_by, clear_note, clear_value, last_position)
             SELECT * FROM change WHERE position IS NOT NULL
         )
         UPDATE alarms_v{version} AS known SET
             status = coalesce(change.status, known.status),
             acknowledged_at = coalesce(change.acknowledged_at, known.acknowledged_at),
             acknowledged_by = coalesce(change.acknowledged_by, known.acknowledged_by),
             acknowledge_note = coalesce(change.acknowledge_note, known.acknowledge_note),
             cleared_at = coalesce(change.cleared_at, known.cleared_at),
             cleared_because = coalesce(change.cleared_because, known.cleared_because),
             cleared_by = coalesce(change.cleared_by, known.cleared_by),
             clear_note = coalesce(change.clear_note, known.clear_note),
             clear_value = coalesce(change.clear_value, known.clear_value),
             last_position = greatest(known.last_position, change.last_position)
         FROM change
         WHERE change.position IS NULL AND known.tenant = change.tenant AND known.alarm_id = change.alarm_id"
    )
}

/// A page that defines a rule says all of it; one that only removes it changes that alone.
fn write_rules(version: i32) -> String {
    format!(
        "WITH change AS (
             SELECT * FROM unnest(
                 $1::text[], $2::text[], $3::int[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
                 $9::timestamptz[], $10::timestamptz[], $11::bigint[])
             AS t (tenant, name, version, title, severity, devices, condition, mail, defined_at, removed_at,
                   last_position)
         ), defined AS (
             INSERT INTO alarm_rules_v{version} AS known
                 (tenant, name, version, title, severity, devices, condition, mail, defined_at, removed_at,
                  last_position)
             SELECT tenant, name, version, title, severity, devices::json, condition::json, mail::uuid[], defined_at,
                    removed_at, last_position
             FROM change WHERE defined_at IS NOT NULL
             ON CONFLICT (tenant, name) DO UPDATE SET
                 version = excluded.version, title = excluded.title, severity = excluded.severity,
                 devices = excluded.devices, condition = excluded.condition, mail = excluded.mail,
                 defined_at = excluded.defined_at, removed_at = excluded.removed_at,
                 last_position = excluded.last_position
         )
         UPDATE alarm_rules_v{version} AS known
         SET removed_at = change.removed_at, last_position = change.last_position
         FROM change
         WHERE change.defined_at IS NULL AND known.tenant = change.tenant AND known.name = change.name"
    )
}
