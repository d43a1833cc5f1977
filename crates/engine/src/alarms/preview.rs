//! What a rule would have raised over a span of the past: the same pure evaluation, over a bounded number of events. Nothing
//! is on the record.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use fleetlog_aggregates::alarm_rule::{self, Condition, Definition, Devices, Fact, Since, Standing, Verdict};
use fleetlog_aggregates::command::Status;
use fleetlog_aggregates::device::Labels;
use fleetlog_aggregates::identity::Uid;
use fleetlog_aggregates::telemetry::Flags;
use fleetlog_event_log::read::{Reading, Span};
use fleetlog_event_log::sources::Sources;
use fleetlog_event_log::{Lane, LogId, TenantLog};
use fleetlog_projections::{commands, devices};

use super::readings;

/// The longest span.
pub const MAX_SPAN: TimeDelta = TimeDelta::days(31);
/// The most devices that are looked at.
pub const MAX_DEVICES: usize = 100;
/// The most readings, or commands, that are looked at.
pub const MAX_EVENTS: usize = 50_000;
/// The most alarms that are shown.
pub const MAX_ALARMS: usize = 1000;
/// How many readings are read at once.
const PAGE: usize = 500;

/// What a rule would have done.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Preview {
    /// The alarms that it would have raised: device by device, in order.
    pub alarms: Vec<Previewed>,
    /// How many devices were looked at.
    pub devices: usize,
    /// How many readings, or commands, were looked at.
    pub events: usize,
    /// Whether all devices and all of their events in the span were looked at, and all alarms are shown.
    pub complete: bool,
}

/// An alarm that a rule would have raised.
#[derive(Debug, Clone, PartialEq)]
pub struct Previewed {
    /// The device.
    pub device_uid: Uid,
    /// The command type, if it is about one.
    pub cmd: Option<String>,
    /// The metric's value; of a rate, by how much it had changed.
    pub value: Option<f64>,
    /// When the condition began to hold.
    pub since: DateTime<Utc>,
    /// When it would have been raised, by the server's clock.
    pub raised_at: DateTime<Utc>,
    /// When it would have been cleared; `None` if not within the span.
    pub cleared_at: Option<DateTime<Utc>>,
}

/// Why there is no preview.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The rule is out of bounds.
    #[error(transparent)]
    Rule(#[from] alarm_rule::Error),
    /// The span is longer than [`MAX_SPAN`], or ends before it begins.
    #[error("from: expected a span of at most 31 days")]
    Span,
    /// The database failed.
    #[error(transparent)]
    Log(#[from] fleetlog_event_log::Error),
}

impl From<commands::Error> for Error {
    fn from(error: commands::Error) -> Self {
        match error {
            commands::Error::Database(error) => Self::Log(error),
            commands::Error::Corrupt(why) => Self::Log(sqlx::Error::Decode(why.into()).into()),
        }
    }
}

/// The devices that a preview looks at: at most [`MAX_DEVICES`], and whether these are all.
pub async fn choose(log: &TenantLog, which: &Devices) -> Result<(Vec<Uid>, bool), Error> {
    let most = MAX_DEVICES + 1;
    let mut uids = match which {
        Devices::All => devices::with_labels(log, &Labels::new(), most).await?,
        Devices::Labels(labels) => devices::with_labels(log, labels, most).await?,
        Devices::Uids(uids) => uids.iter().take(most).cloned().collect(),
    };
    let complete = uids.len() <= MAX_DEVICES;
    uids.truncate(MAX_DEVICES);
    Ok((uids, complete))
}

/// Evaluates a rule over what these devices did from one time to another.
pub async fn run(
    log: &TenantLog,
    definition: &Definition,
    uids: &[Uid],
    (from, to): (DateTime<Utc>, DateTime<Utc>),
) -> Result<Preview, Error> {
    alarm_rule::check(definition)?;
    if from > to || to - from > MAX_SPAN {
        return Err(Error::Span);
    }
    let until = to.min(log.now());
    let mut preview = Preview { devices: uids.len(), complete: true, ..Preview::default() };
    if matches!(definition.condition, Condition::CommandFailed { .. }) {
        of_commands(log, &definition.condition, uids, (from, to), &mut preview).await?;
        return Ok(preview);
    }
    let telemetry = log.log_in(Lane::Telemetry).ok_or(fleetlog_event_log::Error::NoSuchLog(LogId(0)))?;
    let sources = log.sources_of(log.tenant()).await?;
    for uid in uids {
        let asked = (uid, &definition.condition, &*sources);
        let facts = facts(log, telemetry, asked, (from, to), &mut preview).await?;
        evaluate(&definition.condition, (uid, None), facts, Some(until), &mut preview);
        if preview.events >= MAX_EVENTS || preview.alarms.len() >= MAX_ALARMS {
            preview.complete = false;
            break;
        }
    }
    preview.alarms.truncate(MAX_ALARMS);
    Ok(preview)
}

/// The facts in a device's readings, in the order in which they were recorded.
async fn facts(
    log: &TenantLog,
    telemetry: LogId,
    (uid, condition, sources): (&Uid, &Condition, &Sources),
    (from, to): (DateTime<Utc>, DateTime<Utc>),
    preview: &mut Preview,
) -> Result<Vec<Fact>, Error> {
    let (mut facts, mut beyond) = (vec![], None);
    while preview.events < MAX_EVENTS {
        log.begin_answer();
        let span = Span { from: Some(from), to: Some(to), ascending: true, beyond };
        let page = log.readings_page(telemetry, uid, span, PAGE).await?;
        preview.events += page.items.len();
        beyond = page.items.last().map(|last| (last.occurred_at, last.position));
        facts.extend(page.items.iter().filter_map(|reading| fact(condition, sources, reading)));
        if !page.has_more {
            break;
        }
    }
    facts.sort_unstable_by_key(|fact| place(fact).map(|since| since.position));
    Ok(facts)
}

fn fact(condition: &Condition, sources: &Sources, reading: &Reading) -> Option<Fact> {
    let Reading { occurred_at, recorded_at, position, flags, .. } = *reading;
    let event = Since { at: readings::taken_at(occurred_at, recorded_at, flags), recorded_at, position };
    let Some(metric) = condition.metric() else {
        return (!flags.contains(Flags::OFFLINE)).then_some(Fact::Heard(event));
    };
    let mut found = None;
    let _ = sources.metrics(flags, &reading.payload.0, |name, value| {
        if name == metric {
            found = Some(value);
        }
    });
    found.map(|value| Fact::Reading { value, event })
}

fn place(fact: &Fact) -> Option<Since> {
    match fact {
        Fact::Reading { event, .. } | Fact::Heard(event) | Fact::Command { event, .. } => Some(*event),
        Fact::Clock(_) => None,
    }
}

/// Takes in facts, and asks the clock whenever something is due before the next one.
fn evaluate(
    condition: &Condition,
    (uid, cmd): (&Uid, Option<&str>),
    facts: Vec<Fact>,
    until: Option<DateTime<Utc>>,
    preview: &mut Preview,
) {
    let mut standing = Standing::default();
    let mut take =
        |standing: &mut Standing, fact: Fact, now: DateTime<Utc>| match standing.take(condition, fact) {
            Some(Verdict::Raise { since, value }) => preview.alarms.push(Previewed {
                device_uid: uid.clone(),
                cmd: cmd.map(str::to_owned),
                value,
                since: if condition.silence_s().is_some() { since.recorded_at } else { since.at },
                raised_at: now,
                cleared_at: None,
            }),
            Some(Verdict::Clear { .. }) => {
                if let Some(open) = preview.alarms.last_mut() {
                    open.cleared_at = Some(now);
                }
            }
            None => {}
        };
    for fact in facts {
        let Some(Since { recorded_at, .. }) = place(&fact) else { continue };
        if let Some(due) = standing.due(condition).filter(|due| *due <= recorded_at) {
            take(&mut standing, Fact::Clock(due), due);
        }
        take(&mut standing, fact, recorded_at);
    }
    if let (Some(due), Some(until)) = (standing.due(condition), until)
        && due <= until
    {
        take(&mut standing, Fact::Clock(due), due);
    }
}

/// Evaluates a rule about commands over those that were requested within the span.
async fn of_commands(
    log: &TenantLog,
    condition: &Condition,
    uids: &[Uid],
    (from, to): (DateTime<Utc>, DateTime<Utc>),
    preview: &mut Preview,
) -> Result<(), Error> {
    let mut query =
        commands::Query { from: Some(from), to: Some(to), limit: PAGE, ..commands::Query::default() };
    let mut ended: HashMap<(Uid, String), Vec<Fact>> = HashMap::new();
    loop {
        log.begin_answer();
        let page = commands::list(log, &query).await?;
        preview.events += page.items.len();
        query.after = page.items.last().map(commands::Cursor::of);
        for command in page.items {
            let succeeded = match command.status {
                Status::Acked => true,
                Status::Failed | Status::TimedOut => false,
                Status::Requested | Status::Sent | Status::Cancelled => continue,
            };
            let Some(at) = command.ended_at else { continue };
            if condition.is_about(&command.cmd) && uids.contains(&command.device_uid) {
                let event = Since { at, recorded_at: at, position: command.position };
                let fact = Fact::Command { succeeded, event };
                ended.entry((command.device_uid, command.cmd)).or_default().push(fact);
            }
        }
        if !page.has_more {
            break;
        }
        if preview.events >= MAX_EVENTS {
            preview.complete = false;
            break;
        }
    }
    let mut ended: Vec<_> = ended.into_iter().collect();
    ended.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    for ((uid, cmd), mut facts) in ended {
        facts.sort_unstable_by_key(|fact| place(fact).map(|since| since.recorded_at));
        evaluate(condition, (&uid, Some(&cmd)), facts, None, preview);
    }
    preview.complete &= preview.alarms.len() <= MAX_ALARMS;
    preview.alarms.truncate(MAX_ALARMS);
    Ok(())
}
