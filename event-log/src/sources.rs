//! The tenants' sources, in memory: which of them takes a topic, and what the metrics of a reading are.
//!
//! A source is events on its tenant's control log, and nothing else. This process reads the events that it does not know yet
//! whenever somebody asks and the log has grown.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use fleetlog_aggregates::identity::{SourceName, Tenant};
use fleetlog_aggregates::metrics;
use fleetlog_aggregates::source;
use fleetlog_aggregates::telemetry::Flags;
use fleetlog_sources::{Aliases, Kept, Source, SourceSpec};
use parking_lot::RwLock;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use crate::event::decode;
use crate::scope::Scope;
use crate::{Error, Event, EventLog, Lane, LogId, Position, Result};

/// The sources of a tenant, as of a position of its control log.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    read_to: Position,
    by_name: BTreeMap<String, Known>,
}

/// A source, as its latest event leaves it.
#[derive(Debug, Clone)]
pub struct Known {
    /// Its name.
    pub name: SourceName,
    /// What it says, in which version, and whether it takes messages.
    pub source: source::Source,
    /// Its definition, ready to be used. `None` if this program cannot use it.
    pub compiled: Option<Arc<Source>>,
    /// When it was defined or retired last.
    pub changed_at: DateTime<Utc>,
    /// Who defined or retired it last.
    pub changed_by: String,
    /// The position of that on the control log.
    pub position: Position,
}

/// What this process knows of all tenants' sources.
#[derive(Default)]
pub(crate) struct AllSources(RwLock<HashMap<Tenant, Arc<Sources>>>);

const CHANGES: &str = "
    SELECT aggregate_id, event_type, payload::text AS payload, position, recorded_at, metadata ->> 'actor' AS actor
    FROM control_events
    WHERE log_id = $1 AND event_type IN ('SourceDefined', 'SourceRetired') AND position > $2
    ORDER BY position";

impl<S: Scope> EventLog<S> {
    /// A tenant's sources, as far as this process knows its control log. Asks the database only if that has grown.
    pub async fn sources_of(&self, tenant: &Tenant) -> Result<Arc<Sources>> {
        let (log_id, known) = (self.control_log_of(tenant)?, self.known_sources(tenant));
        let head = self.heads().log(log_id).map_or(0, |log| log.head);
        if head <= known.read_to { Ok(known) } else { self.sources_now(tenant).await }
    }

    /// A tenant's sources, with all that is on its control log in the database now.
    pub async fn sources_now(&self, tenant: &Tenant) -> Result<Arc<Sources>> {
        self.sources_over(tenant, &mut *self.connection().await?).await
    }

    /// The sources that say what the metrics of a log's readings are, if any of these needs one.
    pub async fn sources_of_readings(&self, log_id: LogId, readings: &[Event]) -> Result<Arc<Sources>> {
        if !readings.iter().any(|reading| reading.flags().contains(Flags::SOURCED)) {
            return Ok(Arc::default());
        }
        let log = self.heads().log(log_id).ok_or(Error::NoSuchLog(log_id))?;
        let tenant = log.tenant.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
        // A reading may have been taken in by what another node has defined a moment ago.
        self.sources_now(&tenant).await
    }

    /// A tenant's sources like [`EventLog::sources_now`], over a connection that is there: one that holds a lock, for example.
    pub async fn sources_over(&self, tenant: &Tenant, connection: &mut PgConnection) -> Result<Arc<Sources>> {
        let (log_id, known) = (self.control_log_of(tenant)?, self.known_sources(tenant));
        // Positions are committed in their order, so what follows is read up to this head at least.
        let head = self.heads().log(log_id).map_or(0, |log| log.head);
        let rows = sqlx::query(CHANGES).bind(log_id).bind(known.read_to).fetch_all(connection).await?;
        let mut sources = (*known).clone();
        for row in &rows {
            sources.apply(row)?;
        }
        sources.read_to = sources.read_to.max(head);
        let sources = Arc::new(sources);
        let mut all = self.inner.sources.0.write();
        let latest = all.entry(tenant.clone()).or_default();
        if latest.read_to <= sources.read_to {
            *latest = Arc::clone(&sources);
        }
        Ok(sources)
    }

    fn control_log_of(&self, tenant: &Tenant) -> Result<LogId> {
        self.heads().of(tenant.as_str(), Lane::Control).ok_or(Error::NoSuchLog(LogId(0)))
    }

    fn known_sources(&self, tenant: &Tenant) -> Arc<Sources> {
        self.inner.sources.0.read().get(tenant).cloned().unwrap_or_default()
    }
}

impl Sources {
    fn apply(&mut self, row: &PgRow) -> Result<()> {
        let (stream, event_type): (&str, &str) = (row.try_get("aggregate_id")?, row.try_get("event_type")?);
        let event: source::Event = decode(source::Source::TYPE, event_type, row.try_get("payload")?)?;
        let name = stream.split_once('/').map_or(stream, |(_, name)| name);
        let before = self.by_name.remove(name);
        let mut known = Known {
            name: name.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))?,
            source: before.map(|before| before.source).unwrap_or_default(),
            compiled: None,
            changed_at: row.try_get("recorded_at")?,
            changed_by: row.try_get("actor")?,
            position: row.try_get("position")?,
        };
        known.source.apply(event);
        known.compiled = known.compile();
        self.read_to = self.read_to.max(known.position);
        self.by_name.insert(name.to_owned(), known);
        Ok(())
    }

    /// All of them by name, the retired ones too.
    pub fn all(&self) -> impl Iterator<Item = &Known> {
        self.by_name.values()
    }

    /// The source of a name, even if it is retired.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Known> {
        self.by_name.get(name)
    }

    /// Those that take messages.
    pub fn in_use(&self) -> impl Iterator<Item = (&Known, &Arc<Source>)> {
        let in_use = self.by_name.values().filter(|known| known.source.is_in_use());
        in_use.filter_map(|known| Some((known, known.compiled.as_ref()?)))
    }

    /// The source that takes messages on a topic.
    #[must_use]
    pub fn taking(&self, topic: &str) -> Option<(&Known, &Arc<Source>)> {
        self.in_use().find(|(_, source)| source.takes(topic))
    }

    /// Calls `each` with the name and value of every metric of a stored reading: those that its source finds in it today, if it
    /// is flagged [`Flags::SOURCED`], and else as [`metrics::of_reading`] does.
    pub fn metrics(
        &self,
        flags: Flags,
        payload: &str,
        mut each: impl FnMut(&str, f64),
    ) -> Result<(), metrics::Error> {
        if !flags.contains(Flags::SOURCED) {
            return metrics::of_reading(flags, payload, each).map(drop);
        }
        let kept = Kept::read(payload).map_err(|error| metrics::Error::NotAnObject(error.to_string()))?;
        let source = self.named(&kept.source).and_then(|known| known.compiled.as_ref());
        let Some(source) = source else { return Ok(()) };
        let found = source.metrics(&kept.topic, &kept.payload, kept.part, &Aliases::default());
        found.values.iter().for_each(|(name, value)| each(name, *value));
        Ok(())
    }
}

impl Known {
    fn compile(&self) -> Option<Arc<Source>> {
        let (version, definition) = self.source.latest()?;
        let spec = serde_json::to_string(definition).unwrap_or_default();
        let compiled = SourceSpec::from_json(&spec).and_then(Source::try_from);
        let unusable = |error: &dyn std::fmt::Display| {
            tracing::warn!(source = %self.name, version, %error, "this program cannot use a source; it takes no messages, and its readings have no metrics");
        };
        compiled.inspect_err(|error| unusable(error)).ok().map(Arc::new)
    }
}
