//! Sources as people define them: checked against each other, on the record once. REST and GraphQL share this code.

use std::time::Duration;

use fleetlog_aggregates::identity::{SourceName, Tenant};
use fleetlog_aggregates::source::{self, Input, Source as Aggregate};
use fleetlog_event_log::control::{Committed, ExecuteError, Metadata};
use fleetlog_event_log::sources::Sources;
use fleetlog_event_log::{EventLog, TenantLog};
use fleetlog_sources::{Invalids, Pattern, Source, SourceSpec, overlaps};
use futures::future::BoxFuture;
use serde_json::{Map, Value};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The most sources of a tenant that take messages.
pub const MAX_SOURCES: usize = 64;
/// The topics of the contract, which no source takes.
const CONTRACT: [&str; 2] =
    ["+/devices/+/{channel:telemetry|status|commands|command_ack}", "+/devices/+/telemetry/{*suffix}"];
/// How often the sources are looked at again, if the control logs have grown.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How often they are looked at in any case.
const AT_LEAST_EVERY: Duration = Duration::from_mins(1);

/// Why a source was not changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The definition cannot be used.
    #[error("{0}")]
    Invalid(#[from] Invalids),
    /// The source would take a topic that is taken.
    #[error("{own} and {theirs} of {taker} match the same topics: narrow the levels of one")]
    Overlap {
        /// The new pattern.
        own: String,
        /// The pattern that is there.
        theirs: String,
        /// Whose it is.
        taker: String,
    },
    /// The tenant has as many sources as it may have.
    #[error("the tenant has {MAX_SOURCES} sources, which is the most")]
    TooMany,
    /// The source's aggregate refuses the change.
    #[error(transparent)]
    Source(#[from] source::Error),
    /// The append kept conflicting with others to the same stream.
    #[error("append to a stream that others keep changing")]
    Conflict,
    /// The database failed.
    #[error(transparent)]
    Log(#[from] fleetlog_event_log::Error),
}

impl From<ExecuteError<source::Error>> for Error {
    fn from(error: ExecuteError<source::Error>) -> Self {
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

/// A source, as a change has left it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Defined {
    /// Its version.
    pub version: u32,
    /// The place of the change; `None` if there was nothing to change.
    pub at: Option<Committed>,
}

/// A definition to put on the record.
#[derive(Debug, Clone)]
pub struct Definition {
    /// What the source says.
    pub definition: Map<String, Value>,
    /// The preset that it was made from, if it was.
    pub preset: Option<String>,
    /// The version that it replaces; 0 for a source that is not there. `None` replaces any.
    pub replaces: Option<u32>,
}

/// Reads a definition, and checks all of it.
pub fn compile(definition: &Map<String, Value>) -> Result<Source, Invalids> {
    // A map of texts and numbers is JSON.
    SourceSpec::from_json(&serde_json::to_string(definition).unwrap_or_default()).and_then(Source::try_from)
}

/// Defines a source, or changes its definition: what arrives from now on is taken in by it, and the metrics of all its readings
/// follow from it wherever they are folded from now on.
pub async fn define(
    log: &TenantLog,
    name: &SourceName,
    definition: Definition,
    metadata: Metadata,
) -> Result<Defined, Error> {
    let source = compile(&definition.definition)?;
    let Definition { definition, preset, replaces } = definition;
    let (log_of, tenant, name, stream) = (log.clone(), log.tenant().clone(), name.clone(), log.stream(name));
    log.record(move |recorder| -> BoxFuture<'_, _> {
        Box::pin(async move {
            // Over all nodes, the tenant's sources change one after the other.
            sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('fleetlog sources of ' || $1, 0))")
                .bind(tenant.as_str())
                .execute(recorder.connection())
                .await?;
            let sources = log_of.sources_over(&tenant, recorder.connection()).await?;
            check(&sources, &name, &source)?;
            let before = sources.named(name.as_str()).and_then(|known| known.source.latest());
            let version = before.map_or(0, |(version, _)| version);
            let input = Input::Define { definition, preset, replaces };
            let decision = recorder.decide::<Aggregate>(stream, input).await?;
            let version = version + u32::from(!decision.events().is_empty());
            let at = recorder.put(&decision, &metadata).await?;
            Ok(Defined { version, at })
        })
    })
    .await
}

/// Has a source take no more messages. What it has taken in keeps its meaning.
pub async fn retire(
    log: &TenantLog,
    name: &SourceName,
    metadata: Metadata,
) -> Result<Option<Committed>, Error> {
    Ok(log.execute::<Aggregate>(&log.stream(name), Input::Retire, metadata).await?)
}

/// Checks that a source and the others of its tenant take different topics.
fn check(sources: &Sources, name: &SourceName, source: &Source) -> Result<(), Error> {
    let own = || source.patterns().chain(source.answer_patterns());
    for contract in CONTRACT.iter().filter_map(|text| Pattern::parse(text).ok()) {
        if let Some(own) = own().find(|own| overlaps(own, &contract)) {
            let taker = "the topics of devices".to_owned();
            return Err(Error::Overlap { own: own.to_string(), theirs: contract.to_string(), taker });
        }
    }
    let others = || sources.in_use().filter(|(known, _)| known.name != *name);
    if others().count() >= MAX_SOURCES {
        return Err(Error::TooMany);
    }
    for (known, other) in others() {
        if let Some((own, theirs)) = source.overlap(other) {
            let (own, theirs, taker) =
                (own.to_string(), theirs.to_string(), format!("source {}", known.name));
            return Err(Error::Overlap { own, theirs, taker });
        }
    }
    Ok(())
}

/// Keeps a broker's subscriber told of the topic filters of a tenant's sources, until `shutdown`.
pub async fn tell_filters(
    log: EventLog,
    tenant: Tenant,
    filters: watch::Sender<Vec<String>>,
    shutdown: CancellationToken,
) {
    let mut looks = log.looks(AT_LEAST_EVERY);
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
        if !looks.is_due() {
            continue;
        }
        match log.sources_of(&tenant).await {
            Ok(sources) => {
                let mut fresh: Vec<String> =
                    sources.in_use().flat_map(|(_, source)| source.filters()).collect();
                fresh.sort_unstable();
                fresh.dedup();
                filters.send_if_modified(|known| {
                    let is_other = *known != fresh;
                    *known = fresh;
                    is_other
                });
            }
            Err(error) => {
                tracing::warn!(%error, %tenant, "failed to read the sources; trying again");
                looks.again();
            }
        }
    }
}
