//! The command types that come with fleetlog: a new tenant gets them with its creation, and those that a version adds or
//! changes at the next start.

use std::collections::HashMap;

use cqrs_es::Aggregate;
use fleetlog_aggregates::command_type::{self, CommandType, Definition};
use fleetlog_aggregates::identity::{StreamId, Tenant};
use fleetlog_event_log::EventLog;
use fleetlog_event_log::control::{Actor, Committed, ExecuteError, Metadata};
use fleetlog_event_log::database::parsed;
use fleetlog_event_log::record::Recorder;
use sqlx::Row;
use sqlx::postgres::PgRow;

/// Puts them on the list of a tenant that is being created. Returns where the last of them is.
pub(crate) async fn give_to(
    recorder: &mut Recorder,
    tenant: &Tenant,
) -> Result<Option<Committed>, fleetlog_event_log::Error> {
    let (mut at, kind) = (None, <CommandType as Aggregate>::TYPE);
    for (name, definition) in command_type::shipped() {
        let defined = command_type::Event::CommandTypeDefined(definition);
        at = Some(recorder.append(kind, &StreamId::new(tenant, name), &defined, &by_fleetlog()).await?);
    }
    Ok(at)
}

/// Puts them on every tenant's list as they are now, except those that the tenant has changed or removed.
pub async fn give_to_all(log: &EventLog) -> Result<(), ExecuteError<command_type::Error>> {
    let shipped: HashMap<_, _> = command_type::shipped().into_iter().collect();
    let event = |definition: &Definition| {
        serde_json::to_string(&command_type::Event::CommandTypeDefined(definition.clone()))
            .unwrap_or_default()
    };
    let missing: Vec<StreamId> = sqlx::query(
        "SELECT tenant, name FROM tenants CROSS JOIN unnest($1::text[], $2::text[]) AS shipped (name, event)
         WHERE NOT EXISTS (SELECT FROM control_events
             WHERE aggregate_type = $3 AND aggregate_id = tenant || '/' || name
               AND (payload::text = event OR metadata ->> 'actor' IS DISTINCT FROM $4))
         ORDER BY tenant, name",
    )
    .bind(shipped.keys().copied().collect::<Vec<_>>())
    .bind(shipped.values().map(event).collect::<Vec<_>>())
    .bind(<CommandType as Aggregate>::TYPE)
    .bind(Actor::Fleetlog.to_string())
    .try_map(|row: PgRow| Ok(StreamId { tenant: parsed(&row, "tenant")?, id: row.try_get("name")? }))
    .fetch_all(log.pool())
    .await
    .map_err(fleetlog_event_log::Error::from)?;
    for stream in missing {
        if let Some(definition) = shipped.get(stream.id.as_str()) {
            let input = command_type::Input::Define(definition.clone());
            log.execute::<CommandType>(&stream, input, by_fleetlog()).await?;
        }
    }
    Ok(())
}

fn by_fleetlog() -> Metadata {
    Metadata::by(Actor::Fleetlog)
}
