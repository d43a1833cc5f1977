//! What to follow, and from where, as clients ask for it.

use std::collections::BTreeSet;
use std::str::FromStr;

use chrono::{DateTime, TimeDelta, Utc};
use fleetlog_aggregates::device::Labels;
use fleetlog_aggregates::identity::Uid;
use fleetlog_aggregates::telemetry::{AGGREGATE_TYPE, EVENT_TYPE};
use fleetlog_event_log::as_of::AsOf;
use fleetlog_event_log::place::LogPosition;
use fleetlog_event_log::{Lane, LogId, TenantLog};
use fleetlog_live::{Places, Selection};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::rest::Error;
use crate::rest::logs::in_lane;

/// The most items of a list: devices, labels, types or metrics.
pub const MAX_LIST: usize = 100;

/// A list of words with commas between them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Words(BTreeSet<String>);

impl TryFrom<String> for Words {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let words: Vec<_> = text.split(',').map(|word| word.trim().to_owned()).collect();
        Self::try_from(words).map_err(|_| "expected 1 to 100 words with commas between them")
    }
}

impl TryFrom<Vec<String>> for Words {
    type Error = &'static str;

    fn try_from(words: Vec<String>) -> Result<Self, Self::Error> {
        let words: BTreeSet<_> = words.into_iter().collect();
        let is_list = (1..=MAX_LIST).contains(&words.len()) && !words.contains("");
        is_list.then_some(Self(words)).ok_or("expected 1 to 100 words")
    }
}

impl Words {
    /// The labels that these words name, such as `site=hanoi`. The words are those of the parameter `label`.
    pub fn labels(&self) -> Result<Labels, Error> {
        let pair =
            |word: &String| word.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
        let labels = self.0.iter().map(pair).collect::<Option<Labels>>();
        labels.ok_or_else(|| Error::field("label", "expected labels such as site=hanoi"))
    }
}

/// Selects what to follow. Several filters select what all of them let through; without any, all that the caller may see.
#[derive(Debug, Clone, Default, Deserialize, IntoParams, ToSchema)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Follow {
    /// Only what is about these devices: `dev-01`, or several with commas between them.
    #[schema(value_type = Option<String>, example = "dev-01,dev-02")]
    #[param(value_type = Option<String>, example = "dev-01,dev-02")]
    pub device: Option<Words>,
    /// Only what is about devices with all of these labels, as they are now: `site=hanoi`, or several with commas between them.
    #[schema(value_type = Option<String>, example = "site=hanoi")]
    #[param(value_type = Option<String>, example = "site=hanoi")]
    pub label: Option<Words>,
    /// Only readings that have one of these metrics. Other events are not restricted.
    #[schema(value_type = Option<String>, example = "temperature")]
    #[param(value_type = Option<String>, example = "temperature")]
    pub metric: Option<Words>,
    /// Only events of these types, such as `CommandAcknowledged`.
    #[schema(value_type = Option<String>, example = "CommandAcknowledged,CommandFailed")]
    #[param(value_type = Option<String>, example = "CommandAcknowledged,CommandFailed")]
    pub r#type: Option<Words>,
    /// Only events of streams of these types, such as `Device` or `Command`.
    #[schema(value_type = Option<String>, example = "Command")]
    #[param(value_type = Option<String>, example = "Command")]
    pub aggregate_type: Option<Words>,
    /// Only one of the two logs: `control` or `telemetry`. Without it: both.
    #[schema(example = "telemetry")]
    #[param(example = "telemetry")]
    pub log: Option<String>,
    /// Only events that this actor caused, and those of the commands that it requested.
    pub actor: Option<String>,
    /// Only events of this command.
    pub cmd_id: Option<Uuid>,
    /// Only events of this batch, and of its commands.
    pub batch_id: Option<Uuid>,
    /// At most so many readings of a device in a second, 0.001 to 1000, by the times at which they were recorded. How many were
    /// left out is told. Other events are never left out.
    #[schema(value_type = Option<f64>, example = 1)]
    #[param(value_type = Option<f64>, example = 1)]
    pub max_rate: Option<MaxRate>,
    /// Instead of readings, the minutes that they change, as `GET /telemetry/{uid}/windows` has them: each once its readings are
    /// counted, and again with each change, at most once a second. The last message of a minute is the one that holds.
    #[schema(value_type = Option<String>, example = "1m")]
    #[param(value_type = Option<String>, example = "1m")]
    pub windows: Option<Windows>,
    /// Go on after this position of each log that is followed: the `id` of the last message. A `Last-Event-ID` counts before it.
    #[schema(value_type = Option<String>, example = "1:42,2:977")]
    #[param(value_type = Option<String>, example = "1:42,2:977")]
    pub after: Option<String>,
    /// Where to begin, without `after`: `now`, `start`, or a time of the past in RFC 3339, by the database's clock.
    #[schema(value_type = Option<String>, example = "now", default = "now")]
    #[param(value_type = Option<String>, example = "now", default = "now")]
    pub from: Option<From>,
    /// A ticket from `POST /stream/tickets`, for clients that send no headers.
    pub ticket: Option<String>,
}

/// At most so many readings of a device in a second.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(try_from = "f64")]
pub struct MaxRate(f64);

impl TryFrom<f64> for MaxRate {
    type Error = &'static str;

    fn try_from(rate: f64) -> Result<Self, Self::Error> {
        if (0.001..=1000.0).contains(&rate) { Ok(Self(rate)) } else { Err("expected 0.001 to 1000") }
    }
}

impl MaxRate {
    /// The least time between two readings of a device.
    #[must_use]
    pub fn apart(self) -> TimeDelta {
        #[expect(clippy::cast_possible_truncation, reason = "1,000 to 1,000,000,000")]
        TimeDelta::microseconds((1e6 / self.0) as i64)
    }
}

/// The windows that are followed in place of readings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Windows {
    /// Minutes.
    Minute,
}

impl TryFrom<String> for Windows {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text == "1m" {
            Ok(Self::Minute)
        } else {
            Err("expected 1m: minutes are the windows that are followed")
        }
    }
}

/// Where to begin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum From {
    /// With what happens from now on.
    #[default]
    Now,
    /// With the first event.
    Start,
    /// With what was recorded after this time.
    Time(DateTime<Utc>),
}

impl TryFrom<String> for From {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match (&*text, AsOf::from_str(&text)) {
            ("now", _) => Ok(Self::Now),
            ("start", _) => Ok(Self::Start),
            (_, Ok(AsOf::Time(time))) => Ok(Self::Time(time)),
            _ => Err("expected now, start, or a time such as 2026-03-01T12:00:00Z"),
        }
    }
}

impl Follow {
    /// The logs that can hold what is followed, in the order of their numbers.
    pub fn logs(&self, log: &TenantLog) -> Result<Vec<LogId>, Error> {
        let asked = self.log.as_deref().map(str::parse::<Lane>).transpose();
        let asked = asked.map_err(|_| Error::field("log", "expected control or telemetry"))?;
        let of_types = |words: &Option<Words>, of_readings: &str, lane| {
            let Some(Words(words)) = words else { return true };
            let has_readings = words.contains(of_readings);
            match lane {
                Lane::Telemetry => has_readings,
                Lane::Control => words.len() > usize::from(has_readings),
            }
        };
        let is_control = |asks: bool, lane| !asks || lane == Lane::Control;
        let mut lanes = vec![Lane::Control, Lane::Telemetry];
        let filters: [(&str, &dyn Fn(Lane) -> bool); 7] = [
            ("log", &|lane| asked.is_none_or(|asked| asked == lane)),
            ("windows", &|lane| self.windows.is_none() || lane == Lane::Telemetry),
            ("aggregate_type", &|lane| of_types(&self.aggregate_type, AGGREGATE_TYPE, lane)),
            ("type", &|lane| of_types(&self.r#type, EVENT_TYPE, lane)),
            ("actor", &|lane| is_control(self.actor.is_some(), lane)),
            ("cmd_id", &|lane| is_control(self.cmd_id.is_some(), lane)),
            ("batch_id", &|lane| is_control(self.batch_id.is_some(), lane)),
        ];
        for (field, takes) in filters {
            lanes.retain(|lane| takes(*lane));
            if lanes.is_empty() {
                return Err(Error::field(field, "no event of this log passes all of these filters"));
            }
        }
        let mut logs = lanes.into_iter().map(|lane| in_lane(log, lane)).collect::<Result<Vec<_>, _>>()?;
        logs.sort_unstable();
        Ok(logs)
    }

    /// Which events of those logs.
    pub fn selection(&self) -> Result<Selection, Error> {
        let set = |words: &Option<Words>| words.as_ref().map(|Words(words)| words.clone());
        let uids = |Words(words): &Words| words.iter().map(|word| word.parse::<Uid>()).collect();
        let devices = self.device.as_ref().map(uids).transpose();
        Ok(Selection {
            devices: devices.map_err(|error: <Uid as FromStr>::Err| Error::field("device", error))?,
            aggregate_types: set(&self.aggregate_type),
            event_types: set(&self.r#type),
            metrics: set(&self.metric),
            actor: self.actor.clone(),
            cmd_id: self.cmd_id,
            batch_id: self.batch_id,
        })
    }

    /// The labels that devices must carry.
    pub fn labels(&self) -> Result<Option<Labels>, Error> {
        self.label.as_ref().map(Words::labels).transpose()
    }

    /// Where to begin in these logs. `last`: the `Last-Event-ID` of a client that comes back, which counts before `after`.
    pub async fn places(&self, log: &TenantLog, logs: &[LogId], last: Option<&str>) -> Result<Places, Error> {
        let asked = last.map(|last| ("Last-Event-ID", last));
        let asked = asked.or_else(|| self.after.as_deref().map(|after| ("after", after)));
        if let Some((field, text)) = asked {
            let places: Places = text.parse().map_err(|bad| Error::field(field, bad))?;
            if places.check(log, logs).is_err() {
                // Another node may have moved a head.
                log.heads().refresh(&mut *log.connection().await?).await?;
            }
            places.check(log, logs).map_err(|bad| Error::field(field, bad))?;
            return Ok(places);
        }
        let places: Vec<LogPosition> = match self.from.unwrap_or_default() {
            From::Start => logs.iter().map(|log_id| LogPosition { log_id: *log_id, position: 0 }).collect(),
            From::Now => {
                log.heads().refresh(&mut *log.connection().await?).await?;
                let head = |log_id| log.heads().log(log_id).map_or(0, |log| log.head);
                logs.iter().map(|log_id| LogPosition { log_id: *log_id, position: head(*log_id) }).collect()
            }
            From::Time(time) => {
                let prefix = log.prefix(AsOf::Time(time)).await;
                let prefix = prefix.map_err(|error| Error::from(error).renamed("as_of", "from"))?;
                let then = [(prefix.control_log, prefix.control), (prefix.telemetry_log, prefix.telemetry)];
                let then = then.into_iter().filter(|(log_id, _)| logs.contains(log_id));
                then.map(|(log_id, position)| LogPosition { log_id, position }).collect()
            }
        };
        Places::new(places).ok_or_else(|| Error::internal("the logs of a tenant have no places"))
    }
}
