//! Who is told of a rule's alarms, and how often: at most [`MAILS`] changes in an hour, and then one mail that says how many
//! more there were.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use fleetlog_access::mail::{Letters, Mail};
use fleetlog_access::{Error, users};
use fleetlog_aggregates::alarm::{Event, Raised, Why};
use fleetlog_aggregates::identity::Tenant;
use sqlx::{PgConnection, PgPool, Row};
use uuid::Uuid;

use super::rulebook::{Rule, Rulebook};

/// How many changes of a rule's alarms are told by a mail each, in an hour.
pub const MAILS: i32 = 10;
/// How long changes are counted.
const HOUR: TimeDelta = TimeDelta::hours(1);

/// A change of an alarm that a rule tells people of.
pub(super) struct Told {
    pub(super) rule: Arc<Rule>,
    pub(super) alarm_id: Uuid,
    pub(super) event: Event,
}

/// How many mails of a rule went out since a time, and how many changes were held back since.
struct Count {
    began_at: DateTime<Utc>,
    sent: i32,
    held_back: i32,
}

/// Writes the mails about changes.
pub(super) async fn tell(
    connection: &mut PgConnection,
    (tenant, letters): (&Tenant, &Letters),
    now: DateTime<Utc>,
    changes: Vec<Told>,
) -> Result<(), Error> {
    let mut by_rule: BTreeMap<String, Vec<Told>> = BTreeMap::new();
    for change in changes.into_iter().filter(|change| !change.rule.definition.mail.is_empty()) {
        by_rule.entry(change.rule.name.to_string()).or_default().push(change);
    }
    for (name, changes) in by_rule {
        let Some(rule) = changes.first().map(|change| Arc::clone(&change.rule)) else { continue };
        let addresses = users::addresses(connection, tenant, &rule.definition.mail).await?;
        let mut count = count(connection, tenant, &name, now).await?;
        if count.began_at + HOUR <= now {
            if count.held_back > 0 {
                post(connection, tenant, &addresses, |to| summary(letters, to, &rule, &count)).await?;
            }
            count = Count { began_at: now, sent: 0, held_back: 0 };
        }
        for change in &changes {
            if count.sent < MAILS {
                count.sent += 1;
                let is_last = count.sent == MAILS;
                post(connection, tenant, &addresses, |to| letter(letters, to, change, is_last)).await?;
            } else {
                count.held_back += 1;
            }
        }
        save(connection, tenant, &name, &count).await?;
    }
    Ok(())
}

/// When the next mail is due that says how many more changes there were.
pub(super) async fn next_summary(
    pool: &PgPool,
    tenant: &Tenant,
) -> fleetlog_event_log::Result<Option<DateTime<Utc>>> {
    let next =
        sqlx::query_scalar("SELECT min(began_at) FROM alarm_mails WHERE tenant = $1 AND held_back > 0");
    let next: Option<DateTime<Utc>> = next.bind(tenant.as_str()).fetch_one(pool).await?;
    Ok(next.map(|began_at| began_at + HOUR))
}

/// Writes the mails that say how many more changes there were, where the hour is over.
pub(super) async fn summaries(
    connection: &mut PgConnection,
    (tenant, letters): (&Tenant, &Letters),
    rulebook: &Rulebook,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let due: Vec<String> = sqlx::query_scalar(
        "SELECT rule FROM alarm_mails WHERE tenant = $1 AND held_back > 0 AND began_at <= $2 ORDER BY rule",
    )
    .bind(tenant.as_str())
    .bind(now - HOUR)
    .fetch_all(&mut *connection)
    .await?;
    for name in due {
        let count = count(connection, tenant, &name, now).await?;
        // Whom a rule that is gone told is not known any more.
        if let Some(rule) = rulebook.find(&name) {
            let addresses = users::addresses(connection, tenant, &rule.definition.mail).await?;
            post(connection, tenant, &addresses, |to| summary(letters, to, rule, &count)).await?;
        }
        save(connection, tenant, &name, &Count { began_at: now, sent: 1, held_back: 0 }).await?;
    }
    Ok(())
}

async fn count(
    connection: &mut PgConnection,
    tenant: &Tenant,
    rule: &str,
    now: DateTime<Utc>,
) -> Result<Count, Error> {
    let row =
        sqlx::query("SELECT began_at, sent, held_back FROM alarm_mails WHERE tenant = $1 AND rule = $2");
    let row = row.bind(tenant.as_str()).bind(rule).fetch_optional(connection).await?;
    let Some(row) = row else { return Ok(Count { began_at: now, sent: 0, held_back: 0 }) };
    Ok(Count {
        began_at: row.try_get("began_at")?,
        sent: row.try_get("sent")?,
        held_back: row.try_get("held_back")?,
    })
}

async fn save(
    connection: &mut PgConnection,
    tenant: &Tenant,
    rule: &str,
    count: &Count,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO alarm_mails (tenant, rule, began_at, sent, held_back) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT ON CONSTRAINT alarm_mails_key DO UPDATE
         SET began_at = excluded.began_at, sent = excluded.sent, held_back = excluded.held_back",
    )
    .bind(tenant.as_str())
    .bind(rule)
    .bind(count.began_at)
    .bind(count.sent)
    .bind(count.held_back)
    .execute(connection)
    .await?;
    Ok(())
}

async fn post(
    connection: &mut PgConnection,
    tenant: &Tenant,
    addresses: &[String],
    mail: impl Fn(&str) -> Mail,
) -> Result<(), Error> {
    for address in addresses {
        mail(address).post(connection, tenant).await?;
    }
    Ok(())
}

fn letter(letters: &Letters, to: &str, told: &Told, is_last: bool) -> Mail {
    let about = told.event.about();
    let (title, device, severity) = (&told.rule.definition.title, &about.device_uid, about.severity);
    let (word, mut says) = match &told.event {
        Event::AlarmRaised(raised) => (severity.as_str(), raised_text(raised)),
        Event::AlarmCleared { why, value, .. } => {
            let because = match why {
                Why::Condition => "what the rule looks for is over",
                Why::Person => "somebody cleared it",
                Why::RuleChanged => "the rule has changed",
                Why::RuleRemoved => "the rule is gone",
                Why::LabelsChanged => "the rule is no longer about the device",
                Why::DeviceDecommissioned => "the device is out of service",
            };
            let value = value.map_or_else(String::new, |value| format!(" The value is {value}."));
            ("cleared", format!("the alarm is cleared: {because}.{value}"))
        }
        Event::AlarmAcknowledged { .. } => ("acknowledged", "somebody has seen the alarm.".to_owned()),
    };
    // Writing to a String cannot fail.
    let _ = write!(says, "\n\nRule: {} ({title})\nSeverity: {severity}\nDevice: {device}", about.rule);
    if is_last {
        says.push_str(
            "\n\nThere were many changes of this rule's alarms. What else happens within the hour is told together.",
        );
    }
    let subject = format!("[{word}] {title}: {device}");
    letters.alarm(to, &subject, &says, &format!("/alarms/{}/history", told.alarm_id))
}

fn raised_text(raised: &Raised) -> String {
    let Raised { condition, metric, cmd, value, since, .. } = raised;
    let since = since.to_rfc3339_opts(SecondsFormat::Secs, true);
    let (metric, cmd) = (metric.as_deref().unwrap_or("a metric"), cmd.as_deref().unwrap_or("a command"));
    match (condition.as_str(), value) {
        ("silent", _) => format!("the device is silent: its last message came at {since}."),
        ("command_failed", _) => format!("the command {cmd} failed at {since}."),
        ("rate", Some(change)) => format!("{metric} has changed by {change}, at {since}."),
        (_, Some(value)) => format!("{metric} is {value}, beyond its limit since {since}."),
        (_, None) => format!("an alarm is raised, since {since}."),
    }
}

fn summary(letters: &Letters, to: &str, rule: &Rule, count: &Count) -> Mail {
    let (title, held_back) = (&rule.definition.title, count.held_back);
    let since = count.began_at.to_rfc3339_opts(SecondsFormat::Secs, true);
    let says = format!(
        "within the hour after {since}, {held_back} more alarms were raised or cleared by the rule {} ({title}).",
        rule.name
    );
    let subject = format!("[{held_back} more] {title}");
    letters.alarm(to, &subject, &says, &format!("/alarms?rule={}", rule.name))
}
