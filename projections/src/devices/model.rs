//! Writes changes to devices: one upsert for each lane, which writes the columns of that lane only.

use fleetlog_aggregates::device::OnlineWithin;
use fleetlog_aggregates::identity::split_aggregate_id;
use fleetlog_event_log::sources::Sources;
use fleetlog_event_log::{Event, Lane, LogId, Result};
use sqlx::PgConnection;
use sqlx::types::Json;

use super::compared;
use super::fold::{Fold, Life, Readings};
use crate::read_model::{Poison, ReadModel, Rows};

/// The read model `devices`.
pub struct Model {
    upsert_lives: String,
    upsert_readings: String,
}

impl ReadModel for Model {
    const NAME: &'static str = "devices";
    const FORMAT: i32 = 1;
    const TABLES: &'static [&'static str] = &["devices"];
    const LANES: &'static [Lane] = &[Lane::Control, Lane::Telemetry];
    const DIVISIBLE: bool = true;
    type Fold = Fold;

    fn new(version: i32) -> Self {
        Self { upsert_lives: upsert_lives(version), upsert_readings: upsert_readings(version) }
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

    async fn write(&mut self, connection: &mut PgConnection, log_id: LogId, fold: Fold) -> Result<()> {
        if !fold.lives.is_empty() {
            self.write_lives(connection, &fold).await?;
        }
        if !fold.readings.is_empty() {
            self.write_readings(connection, log_id, &fold).await?;
        }
        Ok(())
    }
}

impl Model {
    async fn write_lives(&self, connection: &mut PgConnection, fold: &Fold) -> Result<()> {
        let (tenants, uids) = names(fold.lives.keys());
        let column = || fold.lives.values();
        sqlx::query(&self.upsert_lives)
            .bind(tenants)
            .bind(uids)
            .bind(column().map(|life| life.name.as_deref()).collect::<Vec<_>>())
            .bind(column().map(|life| life.labels.as_ref().map(Json)).collect::<Vec<_>>())
            .bind(column().map(|life| life.registered.map(|(at, _)| at)).collect::<Vec<_>>())
            .bind(column().map(|life| life.registered.map(|(_, via)| via.as_str())).collect::<Vec<_>>())
            .bind(column().map(|life: &Life| life.decommissioned_at).collect::<Vec<_>>())
            .bind(column().map(|life| life.position).collect::<Vec<_>>())
            .bind(column().map(|life| life.online_within.map(seconds)).collect::<Vec<_>>())
            .bind(column().map(|life| life.answered_at).collect::<Vec<_>>())
            .execute(connection)
            .await?;
        Ok(())
    }

    async fn write_readings(&self, connection: &mut PgConnection, log_id: LogId, fold: &Fold) -> Result<()> {
        let (tenants, uids) = names(fold.readings.keys());
        let column = || fold.readings.values();
        let last = || column().map(|readings: &Readings| readings.last.as_ref());
        sqlx::query(&self.upsert_readings)
            .bind(log_id)
            .bind(tenants)
            .bind(uids)
            .bind(column().map(|readings| readings.messages).collect::<Vec<_>>())
            .bind(column().map(|readings| readings.last_seen_at).collect::<Vec<_>>())
            .bind(last().map(|last| last.map(|last| last.at)).collect::<Vec<_>>())
            .bind(last().map(|last| last.map(|last| last.position)).collect::<Vec<_>>())
            .bind(last().map(|last| last.map(|last| last.payload.as_str())).collect::<Vec<_>>())
            .bind(column().map(|readings| readings.position).collect::<Vec<_>>())
            .bind(column().map(|readings| readings.offline.map(|(position, _)| position)).collect::<Vec<_>>())
            .bind(column().map(|readings| readings.offline.map(|(_, at)| at)).collect::<Vec<_>>())
            .execute(connection)
            .await?;
        Ok(())
    }
}

/// A threshold as it is stored: 0 is the usual one, which differs from none that was ever said.
fn seconds(within: OnlineWithin) -> i32 {
    let seconds: Option<u32> = within.into();
    seconds.map_or(0, |seconds| i32::try_from(seconds).unwrap_or(i32::MAX))
}

/// Splits `tenant/uid` keys into a column of tenants and one of uids. The fold lets no other keys through.
fn names<'f>(keys: impl Iterator<Item = &'f String>) -> (Vec<&'f str>, Vec<&'f str>) {
    keys.filter_map(|key| split_aggregate_id(key)).unzip()
}

/// A registration replaces what was said of the device; an update changes only what it names. When a device was last seen
/// comes from both lanes, in any order.
fn upsert_lives(version: i32) -> String {
    format!(
        "INSERT INTO devices_v{version} AS known
             (tenant, uid, name, labels, registered_at, registered_via, decommissioned_at, control_position,
              online_within_s, last_seen_at)
         SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::jsonb[], $5::timestamptz[], $6::text[],
                              $7::timestamptz[], $8::bigint[], $9::int[], $10::timestamptz[])
         ON CONFLICT (tenant, uid) DO UPDATE SET
             name = CASE WHEN excluded.registered_at IS NULL THEN coalesce(excluded.name, known.name)
                         ELSE excluded.name END,
             labels = coalesce(excluded.labels, known.labels),
             registered_at = coalesce(excluded.registered_at, known.registered_at),
             registered_via = coalesce(excluded.registered_via, known.registered_via),
             decommissioned_at = CASE WHEN excluded.registered_at IS NULL
                                      THEN coalesce(excluded.decommissioned_at, known.decommissioned_at)
                                      ELSE excluded.decommissioned_at END,
             control_position = greatest(known.control_position, excluded.control_position),
             online_within_s = CASE WHEN excluded.registered_at IS NULL
                                    THEN coalesce(excluded.online_within_s, known.online_within_s)
                                    ELSE excluded.online_within_s END,
             last_seen_at = greatest(known.last_seen_at, excluded.last_seen_at)"
    )
}

/// The last reading is the latest by its own time. Of two at the same time it is the one at the later position,
/// because pages come in order.
fn upsert_readings(version: i32) -> String {
    let newer = "excluded.last_reading_at >= coalesce(known.last_reading_at, '-infinity')";
    format!(
        "INSERT INTO devices_v{version} AS known
             (tenant, uid, telemetry_log_id, messages, last_seen_at,
              last_reading_at, last_reading_position, last_reading, telemetry_position,
              offline_position, offline_at)
         SELECT tenant, uid, $1, messages, seen_at, read_at, read_position, payload::json, position,
                offline_position, offline_at
         FROM unnest($2::text[], $3::text[], $4::bigint[], $5::timestamptz[], $6::timestamptz[], $7::bigint[],
                     $8::text[], $9::bigint[], $10::bigint[], $11::timestamptz[])
              AS page (tenant, uid, messages, seen_at, read_at, read_position, payload, position,
                       offline_position, offline_at)
         ON CONFLICT (tenant, uid) DO UPDATE SET
             telemetry_log_id = excluded.telemetry_log_id,
             messages = known.messages + excluded.messages,
             last_seen_at = greatest(known.last_seen_at, excluded.last_seen_at),
             last_reading_at = greatest(known.last_reading_at, excluded.last_reading_at),
             last_reading_position = CASE WHEN {newer} THEN excluded.last_reading_position
                                          ELSE known.last_reading_position END,
             last_reading = CASE WHEN {newer} THEN excluded.last_reading ELSE known.last_reading END,
             telemetry_position = greatest(known.telemetry_position, excluded.telemetry_position),
             offline_position = greatest(known.offline_position, excluded.offline_position),
             offline_at = greatest(known.offline_at, excluded.offline_at)"
    )
}
