//! Rules as people define them: checked, counted, on the record once. REST and GraphQL share this code.

use cqrs_es::Aggregate;
use fleetlog_access::users;
use fleetlog_aggregates::alarm_rule::{self, AlarmRule, Definition, Input};
use fleetlog_aggregates::identity::RuleName;
use fleetlog_event_log::control::{Committed, ExecuteError, Metadata};
use fleetlog_event_log::record::Recorder;
use fleetlog_event_log::{Lane, LogId, TenantLog};
use futures::future::BoxFuture;

/// The most rules that a tenant may have.
pub const MAX_RULES: i64 = 200;

/// Why a rule was not changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The rule's aggregate refuses the change.
    #[error(transparent)]
    Rule(#[from] alarm_rule::Error),
    /// The tenant has as many rules as it may have.
    #[error("the tenant has {MAX_RULES} alarm rules, which is the most")]
    TooMany,
    /// One of the users to be told is none of the tenant's.
    #[error("mail: one of them is no user of the tenant")]
    UnknownUser,
    /// The append kept conflicting with others to the same stream.
    #[error("append to a stream that others keep changing")]
    Conflict,
    /// The database failed.
    #[error(transparent)]
    Log(#[from] fleetlog_event_log::Error),
}

impl From<ExecuteError<alarm_rule::Error>> for Error {
    fn from(error: ExecuteError<alarm_rule::Error>) -> Self {
        match error {
            ExecuteError::Refused(refusal) => refusal.into(),
            ExecuteError::Conflict => Self::Conflict,
            ExecuteError::Log(error) => Self::Log(error),
        }
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Log(error.into())
    }
}

impl From<fleetlog_access::Error> for Error {
    fn from(error: fleetlog_access::Error) -> Self {
        match error {
            fleetlog_access::Error::Database(error) => Self::Log(error),
            // Counting users uses no cryptography.
            fleetlog_access::Error::Crypto { .. } => Self::Conflict,
        }
    }
}

/// A rule, as a change has left it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Defined {
    /// Its version.
    pub version: u32,
    /// The place of the change; `None` if there was nothing to change.
    pub at: Option<Committed>,
}

/// A rule's version and what it says, from the log itself. `None` if there is no such rule.
pub async fn read(log: &TenantLog, name: &RuleName) -> Result<Option<(u32, Definition)>, Error> {
    let rule = log.load::<AlarmRule>(&log.stream(name)).await?;
    Ok(rule.current().map(|(version, definition)| (version, definition.clone())))
}

/// Defines a rule, or changes its definition. `replaces`: the version that this replaces, 0 for a rule that is not there.
pub async fn define(
    log: &TenantLog,
    name: &RuleName,
    mut definition: Definition,
    replaces: Option<u32>,
    metadata: Metadata,
) -> Result<Defined, Error> {
    let mut seen = std::collections::HashSet::new();
    definition.mail.retain(|user_id| seen.insert(*user_id));
    let control = log.log_in(Lane::Control).ok_or(fleetlog_event_log::Error::NoSuchLog(LogId(0)))?;
    let (tenant, stream, mail) = (log.tenant().clone(), log.stream(name), definition.mail.clone());
    let input = Input::Define { definition, replaces };
    log.record(move |recorder| -> BoxFuture<'_, _> {
        Box::pin(async move {
            // Over all nodes, the tenant's rules change one after the other.
            sqlx::query(
                "SELECT pg_advisory_xact_lock(hashtextextended('fleetlog alarm rules of ' || $1, 0))",
            )
            .bind(tenant.as_str())
            .execute(recorder.connection())
            .await?;
            let before = recorder.decide::<AlarmRule>(stream.clone(), input).await?;
            let others = others(recorder, control, &stream.to_string()).await?;
            if !before.events().is_empty() && others >= MAX_RULES {
                return Err(Error::TooMany);
            }
            if users::count(recorder.connection(), &tenant, &mail).await? < mail.len() {
                return Err(Error::UnknownUser);
            }
            let at = recorder.put(&before, &metadata).await?;
            let version = version(recorder, &stream).await?;
            Ok(Defined { version, at })
        })
    })
    .await
}

/// Removes a rule. Its open alarms are cleared soon after.
pub async fn remove(
    log: &TenantLog,
    name: &RuleName,
    metadata: Metadata,
) -> Result<Option<Committed>, Error> {
    Ok(log.execute::<AlarmRule>(&log.stream(name), Input::Remove, metadata).await?)
}

/// How many other rules there are.
async fn others(recorder: &mut Recorder, control: LogId, stream: &str) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT count(*) FROM (
             SELECT DISTINCT ON (aggregate_id) event_type FROM control_events
             WHERE log_id = $1 AND event_type IN ('AlarmRuleDefined', 'AlarmRuleRemoved') AND aggregate_id <> $2
             ORDER BY aggregate_id, position DESC) AS last
         WHERE event_type = 'AlarmRuleDefined'",
    )
    .bind(control)
    .bind(stream)
    .fetch_one(recorder.connection())
    .await
}

/// The version that a rule has now, in the transaction that has defined it.
async fn version(
    recorder: &mut Recorder,
    stream: &fleetlog_aggregates::identity::StreamId,
) -> Result<u32, sqlx::Error> {
    let defined: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM control_events
         WHERE aggregate_type = $1 AND aggregate_id = $2 AND event_type = 'AlarmRuleDefined'",
    )
    .bind(AlarmRule::TYPE)
    .bind(stream.to_string())
    .fetch_one(recorder.connection())
    .await?;
    Ok(u32::try_from(defined).unwrap_or(u32::MAX))
}
