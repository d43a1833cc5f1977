//! Which devices count as online, at a moment: now, or one of the past.
//!
//! A device is online for as long as its threshold after its last sign of life. Its messages are signs of life, and so is a
//! connection to the endpoint for as long as it stands: its client is heard of, or it would have been ended. A device that
//! has said that it is offline is so until the next sign: a message, or a connection that began later.
//!
//! Messages are on the record. Connections are rows of `device_connections`, which are kept for
//! [`KEPT`] after their end: as of moments before that, only messages count.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use fleetlog_aggregates::device::MAX_ONLINE_WITHIN_S;
use fleetlog_aggregates::identity::Uid;
use fleetlog_event_log::database::parsed;
use fleetlog_event_log::{Error, TenantLog};
use sqlx::postgres::PgRow;
use sqlx::{Postgres, QueryBuilder, Row};

/// How long it is known that a device was connected. No threshold is longer.
pub const KEPT: Duration = Duration::from_secs(MAX_ONLINE_WITHIN_S as u64);
/// A node that was not seen for so long has ended, and its connections with it.
pub const MISSED: Duration = Duration::from_secs(35);

/// Who counts as online.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// At this moment.
    pub at: DateTime<Utc>,
    /// For how long after the last sign of life, unless the device has a threshold of its own.
    pub within: Duration,
}

/// When a device was connected, as far as it is known at the moment of a rule.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Connected {
    /// Since when it is connected.
    pub(super) since: Option<DateTime<Utc>>,
    /// When the last connection began, whether it has ended or not.
    pub(super) last_began: Option<DateTime<Utc>>,
    /// When the device was last heard of over any of them.
    pub(super) heard_at: Option<DateTime<Utc>>,
}

/// What there is of signs of life, and what the device has said last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Signs {
    pub(super) last_seen_at: Option<DateTime<Utc>>,
    /// When the device said that it is offline, if that was its last message.
    pub(super) offline_at: Option<DateTime<Utc>>,
    pub(super) connected: Connected,
    pub(super) online_within_s: Option<u32>,
}

impl Rule {
    /// The moment since which a device with this threshold must have been heard of.
    pub(super) fn since(&self, online_within_s: Option<u32>) -> DateTime<Utc> {
        let within = online_within_s.map_or(self.within, |seconds| Duration::from_secs(seconds.into()));
        TimeDelta::from_std(within)
            .ok()
            .and_then(|within| self.at.checked_sub_signed(within))
            .unwrap_or_default()
    }

    /// Whether a device with these signs of life is online. The same as [`push_is_online`].
    pub(super) fn is_online(&self, signs: &Signs) -> bool {
        let Signs { last_seen_at, offline_at, connected, online_within_s } = *signs;
        let since = self.since(online_within_s);
        let is_heard = connected.heard_at >= Some(since);
        match offline_at.filter(|offline_at| last_seen_at.is_none_or(|seen_at| *offline_at >= seen_at)) {
            Some(offline_at) => is_heard && connected.last_began > Some(offline_at),
            None => is_heard || last_seen_at >= Some(since),
        }
    }
}

/// Adds the condition that a `device` is online, with its `connection`, which [`push_connection`] joins. It is never null.
pub(super) fn push_is_online(sql: &mut QueryBuilder<'_, Postgres>, rule: Rule) {
    let since = |sql: &mut QueryBuilder<'_, Postgres>| {
        sql.push(" >= ")
            .push_bind(rule.at)
            .push(" - make_interval(secs => coalesce(nullif(device.online_within_s, 0), ");
        sql.push_bind(rule.within.as_secs_f64()).push("))");
    };
    sql.push(
        "coalesce(CASE WHEN device.offline_position = device.telemetry_position
                        AND device.offline_at >= coalesce(device.last_seen_at, '-infinity')
                  THEN connection.last_began > device.offline_at AND connection.heard_at",
    );
    since(sql);
    sql.push(" ELSE greatest(device.last_seen_at, connection.heard_at)");
    since(sql);
    sql.push(" END, false)");
}

/// Adds the join of each `device` with its `connection`. One that stands is heard of for as long as its node is seen, if
/// its client would otherwise be missed.
pub(super) fn push_connection(sql: &mut QueryBuilder<'_, Postgres>, rule: Rule) {
    sql.push(" LEFT JOIN LATERAL (");
    push_connected(sql, rule);
    sql.push(" WHERE link.tenant = device.tenant AND link.uid = device.uid AND link.connected_at <= ");
    sql.push_bind(rule.at).push(") AS connection ON true");
}

/// Adds the beginning of a query of [`Connected`], up to its conditions.
pub(super) fn push_connected(sql: &mut QueryBuilder<'_, Postgres>, rule: Rule) {
    let at = rule.at;
    sql.push("SELECT min(connected_at) FILTER (WHERE stands) AS since, max(connected_at) AS last_began, max(CASE WHEN stands AND watched THEN ");
    sql.push_bind(at).push("::timestamptz ELSE least(heard_at, ").push_bind(at);
    sql.push(
        ") END) AS heard_at
         FROM device_connections AS link LEFT JOIN device_nodes AS node USING (node)
         CROSS JOIN LATERAL (SELECT coalesce(ended_at > ",
    );
    sql.push_bind(at).push(", seen_at + make_interval(secs => ").push_bind(MISSED.as_secs_f64());
    sql.push(") > ").push_bind(at).push(", false) AS stands) AS state");
}

/// When some devices were connected, by uid. Devices that never were are absent.
pub(super) async fn connected(
    log: &TenantLog,
    uids: &[Uid],
    rule: Rule,
) -> Result<HashMap<Uid, Connected>, Error> {
    let mut sql = QueryBuilder::new(
        "SELECT device.uid, connection.since, connection.last_began, connection.heard_at FROM (SELECT ",
    );
    sql.push_bind(log.tenant().as_str()).push("::text AS tenant, unnest(");
    sql.push_bind(uids.iter().map(Uid::as_str).collect::<Vec<_>>())
        .push("::text[]) COLLATE \"C\" AS uid) AS device");
    push_connection(&mut sql, rule);
    sql.push(" WHERE connection.last_began IS NOT NULL");
    let of = |row: &PgRow| {
        let connected = Connected {
            since: row.try_get("since")?,
            last_began: row.try_get("last_began")?,
            heard_at: row.try_get("heard_at")?,
        };
        Ok((parsed(row, "uid")?, connected))
    };
    let rows = log.fetch(sql.build()).await?;
    Ok(rows.iter().map(of).collect::<Result<_, sqlx::Error>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_000_000 + seconds, 0).expect("in range")
    }

    /// At second 0, with a threshold of 60 s.
    fn is_online(
        seen: Option<i64>,
        offline: Option<i64>,
        connected: Option<(i64, i64)>,
        own: Option<u32>,
    ) -> bool {
        let connected = Connected {
            since: None,
            last_began: connected.map(|(began, _)| at(began)),
            heard_at: connected.map(|(_, heard)| at(heard)),
        };
        let (last_seen_at, offline_at) = (seen.map(at), offline.map(at));
        let rule = Rule { at: at(0), within: Duration::from_mins(1) };
        rule.is_online(&Signs { last_seen_at, offline_at, connected, online_within_s: own })
    }

    #[test]
    fn a_device_is_online_within_its_threshold_of_its_last_sign_of_life() {
        assert!(!is_online(None, None, None, None));
        assert!(is_online(Some(-60), None, None, None));
        assert!(!is_online(Some(-61), None, None, None));
        assert!(is_online(Some(-61), None, None, Some(61)), "its own");
        assert!(!is_online(Some(-2), None, None, Some(1)), "its own");
        assert!(is_online(Some(-900), None, Some((-900, 0)), None), "connected");
        assert!(!is_online(None, None, Some((-900, -61)), None), "was connected");
    }

    #[test]
    fn a_device_that_has_said_goodbye_is_offline_until_its_next_sign_of_life() {
        assert!(!is_online(Some(-2), Some(-1), None, None));
        assert!(!is_online(Some(-1), Some(-1), None, None), "of two at one moment");
        assert!(is_online(Some(0), Some(-1), None, None), "it has answered a command since");
        assert!(!is_online(Some(-9), Some(-1), Some((-9, 0)), None), "it is still connected");
        assert!(is_online(Some(-9), Some(-5), Some((-4, 0)), None), "it is connected again");
    }
}
