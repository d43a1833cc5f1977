//! A large log: messages written by COPY and folded by the real projections, in a database as tidy as autovacuum keeps
//! it.

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use sqlx::{Executor, PgConnection};

use super::super::lab::{Lab, Mqtt, Server};
use super::super::load;
use super::super::progress::Progress;
use super::super::rows::Rows;

/// The longest span that the messages are spread over.
const SPAN: TimeDelta = TimeDelta::days(1);

/// The contents of the log.
#[derive(Debug, Clone, Copy)]
pub(super) struct Large {
    pub(super) events: u64,
    /// The messages. The first is in the first minute that is requested.
    pub(super) rows: Rows,
    /// The end of the last minute that is requested.
    pub(super) until: DateTime<Utc>,
}

impl Large {
    /// `events` messages: one of each device a minute, or more often where that would span more than a day.
    pub(super) fn new(devices: u32, events: u64) -> Self {
        let minutes = (events / u64::from(devices)).clamp(1, SPAN.num_minutes().unsigned_abs());
        Self::within(devices, events, TimeDelta::minutes(minutes as i64))
    }

    /// `events` messages, spread evenly over the last `span`.
    pub(super) fn within(devices: u32, events: u64, span: TimeDelta) -> Self {
        let now = Utc::now();
        let until = now.duration_trunc(TimeDelta::minutes(1)).unwrap_or(now);
        let every = TimeDelta::microseconds(span.num_microseconds().unwrap_or(0) / events as i64);
        Self { events, rows: Rows { devices, since: until - span, every }, until }
    }

    /// Fills an empty database with the log, and returns a server that has folded it and whose tenant has no rate
    /// limits.
    pub(super) async fn serve(&self, lab: &Lab) -> anyhow::Result<Server> {
        self.rows.fill(lab, self.events).await?;
        let mut owner = lab.owner().await?;
        self.register(&mut owner).await?;
        owner.execute(UNLIMITED).await?;
        owner.execute("VACUUM (ANALYZE)").await?;
        let server = lab.serve(Mqtt::Endpoint).await?;
        Progress::watch(lab.database()).await?.until_folded(self.events).await?;
        owner.execute("VACUUM (ANALYZE)").await?;
        owner.execute("CHECKPOINT").await?;
        Ok(server)
    }

    /// Appends the registration of each device, as its first message would have.
    async fn register(&self, owner: &mut PgConnection) -> anyhow::Result<()> {
        let devices: Vec<_> = (0..self.rows.devices).map(load::aggregate_id).collect();
        sqlx::query(REGISTERED).bind(devices).execute(owner).await?;
        Ok(())
    }
}

const REGISTERED: &str = r#"
    INSERT INTO control_events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
    SELECT 'Device', device, 1, 'DeviceRegistered', '1.0', '{"DeviceRegistered":{"via":"telemetry"}}', '{}'
    FROM unnest($1::text[]) AS device"#;

/// Gives the measured tenant a tier without limits.
const UNLIMITED: &str = "
    INSERT INTO tiers (tier) VALUES ('unlimited');
    UPDATE tenants SET tier = 'unlimited' WHERE tenant = 't0';
    DELETE FROM rate_limits WHERE tier = 'everyone'";
