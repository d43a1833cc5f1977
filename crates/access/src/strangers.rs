//! Refused logins to accounts that do not exist. Each is counted in the database, and so takes as long as the failure of
//! a login that is put on the record at once; a minute's are put on the record together. So strangers cannot fill the
//! log, which is kept for ever.

use std::net::IpAddr;

use fleetlog_aggregates::acts::Denial;
use fleetlog_event_log::EventLog;
use fleetlog_event_log::control::{Actor, Metadata};
use fleetlog_event_log::record::Recorder;
use sqlx::Row;
use uuid::Uuid;

use super::error::Error;
use super::quota::key::{Key, network};
use fleetlog_aggregates::identity::Tenant;

/// The most events of refused logins a minute, on all nodes together. Addresses are told apart by their hash modulo this.
pub const EVENTS_A_MINUTE: u8 = 10;
/// How many events are written in one transaction.
const AT_ONCE: i64 = 100;

/// Counts a refusal.
pub(super) async fn count(recorder: &mut Recorder, address: Option<IpAddr>) -> Result<(), Error> {
    let key = address.map(|address| Key::hash(&format!("refused {}", network(address))));
    let slot = key.map_or(0, |key| key.as_bytes().first().map_or(0, |byte| byte % EVENTS_A_MINUTE));
    sqlx::query(
        "INSERT INTO refused_logins AS counted (minute, slot, times)
         VALUES (date_trunc('minute', clock_timestamp()), $1, 1)
         ON CONFLICT (minute, slot) DO UPDATE SET times = counted.times + 1",
    )
    .bind(i16::from(slot))
    .execute(recorder.connection())
    .await?;
    Ok(())
}

/// Puts the refusals of the minutes that are over on the record, in the platform's log. Of several nodes one does.
pub async fn tell(log: &EventLog) -> Result<(), Error> {
    loop {
        let told = log.record(|recorder| {
            Box::pin(async move {
                let over = sqlx::query(
                    "DELETE FROM refused_logins WHERE (minute, slot) IN (
                         SELECT minute, slot FROM refused_logins
                         WHERE minute <> date_trunc('minute', clock_timestamp())
                         ORDER BY minute, slot LIMIT $1 FOR UPDATE SKIP LOCKED)
                     RETURNING times",
                )
                .bind(AT_ONCE)
                .fetch_all(recorder.connection())
                .await?;
                for row in &over {
                    let refused = Denial::LoginRefused { times: row.try_get::<i64, _>("times")? as u64 };
                    let id = Uuid::now_v7().to_string();
                    recorder.tell(&Tenant::platform(), &id, &refused, &Metadata::by(Actor::Nobody)).await?;
                }
                Ok::<_, Error>(over.len() as i64)
            })
        });
        if told.await? < AT_ONCE {
            return Ok(());
        }
    }
}
