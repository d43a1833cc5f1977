//! Sources: what topics and payloads of other systems mean.

use async_graphql::Object;
use chrono::{DateTime, Utc};
use fleetlog_event_log::event::Json as StoredJson;
use fleetlog_event_log::sources::Known;
use fleetlog_sources::Pattern;

use super::scalars::Json;

/// What topics and payloads of other systems mean.
pub(super) struct Source(pub(super) Known);

#[Object]
impl Source {
    /// The name of the source.
    async fn name(&self) -> &str {
        self.0.name.as_str()
    }

    /// How often the source was defined.
    async fn version(&self) -> u32 {
        self.0.source.latest().map_or(0, |(version, _)| version)
    }

    /// Whether messages are taken in by it. What a retired source has taken in keeps its meaning.
    async fn in_use(&self) -> bool {
        self.0.source.is_in_use()
    }

    /// The preset that its definition was made from, if it was.
    async fn preset(&self) -> Option<&str> {
        self.0.source.preset()
    }

    /// The topics that it takes.
    async fn topics(&self) -> Vec<String> {
        self.0.compiled.iter().flat_map(|source| source.patterns()).map(Pattern::to_string).collect()
    }

    /// What it says: see docs/SOURCES.md.
    async fn definition(&self) -> Json {
        let definition = self.0.source.latest().map(|(_, definition)| definition);
        // A map of texts and numbers is JSON.
        let json = definition.and_then(|definition| serde_json::to_string(definition).ok());
        Json(StoredJson(json.unwrap_or_else(|| "{}".to_owned())))
    }

    /// When it was defined or retired last.
    async fn changed_at(&self) -> DateTime<Utc> {
        self.0.changed_at
    }

    /// Who did that.
    async fn changed_by(&self) -> &str {
        &self.0.changed_by
    }
}
