//! What an answer passes over because it was removed: which positions and times, and where they are kept.

use chrono::{DateTime, Utc};
use fleetlog_access::{Action, Principal, Resource, authorize};
use fleetlog_event_log::archived::Archived;
use fleetlog_event_log::archived::holes::Holes;
use fleetlog_event_log::page::Total;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::error::Error;
use super::page::{Counted, List};

/// Readings that were removed from the database because nobody keeps them any more: positions without a gap.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ArchivedRange {
    /// The number of the log.
    pub log_id: i32,
    /// The first position.
    #[schema(example = 1)]
    pub first_position: i64,
    /// The last position.
    #[schema(example = 1042)]
    pub last_position: i64,
    /// When the earliest of the readings was recorded, by the database's clock.
    pub recorded_from: DateTime<Utc>,
    /// When the latest of the readings was recorded, by the database's clock.
    pub recorded_to: DateTime<Utc>,
    /// When the readings were removed.
    pub removed_at: DateTime<Utc>,
    /// `archived`: they are in `file`, and whoever operates the service can bring them back. `removed`: no copy was kept.
    #[schema(example = "archived")]
    pub state: &'static str,
    /// The file's name in the archive; null if no copy was kept.
    #[schema(example = "log-2/2026w02-1.parquet")]
    pub file: Option<String>,
    /// Where the file lies. Only administrators of the platform are told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
}

impl ArchivedRange {
    fn of(range: Archived, tells_location: bool) -> Self {
        Self {
            log_id: range.log_id.0,
            first_position: range.first,
            last_position: range.last,
            recorded_from: range.first_recorded_at,
            recorded_to: range.last_recorded_at,
            removed_at: range.removed_at,
            state: state(&range),
            file: range.copy.as_ref().map(|copy| copy.file().to_owned()),
            location: range.copy.map(|copy| copy.location).filter(|_| tells_location),
        }
    }

    /// The ranges as a caller may know them, for REST and GraphQL.
    #[must_use]
    pub fn shown_to(caller: &Principal, ranges: Vec<Archived>) -> Vec<Self> {
        let tells_location = authorize(caller, Action::TenantsRead, &Resource::Platform).is_ok();
        ranges.into_iter().map(|range| Self::of(range, tells_location)).collect()
    }
}

/// What became of the events of a range that was removed.
fn state(range: &Archived) -> &'static str {
    if range.copy.is_some() { "archived" } else { "removed" }
}

/// Why an event is not there any more, for people: where it is, and how it comes back.
fn explain(range: &Archived) -> String {
    let Archived { log_id, first, last, removed_at, copy, .. } = range;
    let removed = format!(
        "events {first} to {last} of log {log_id} were removed on {}, because they were kept long enough",
        removed_at.date_naive()
    );
    match copy {
        None => format!("{removed}; no copy was kept"),
        Some(copy) => format!(
            "{removed}; they are in the archive's file {}, and whoever operates the service brings them back with \
             `fleetlog archive restore --log-id {log_id} --from {first} --to {last}`",
            copy.file()
        ),
    }
}

/// 410: an event is asked for that was removed.
pub(super) fn gone(range: &Archived) -> Error {
    Error::new(StatusCode::GONE, state(range), explain(range))
}

/// A page of what is on the record, and what of it was removed.
#[derive(Debug, Serialize, ToSchema)]
pub struct OnRecord<T> {
    /// The page of the list.
    #[serde(flatten)]
    list: List<T>,
    /// The ranges between the items of this page, before the first or behind the last, that may have held what was asked
    /// for and were removed, in the order of the page: at most 100. Left out if there is none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    archived: Vec<ArchivedRange>,
    /// True if this page passes over more ranges than `archived` lists.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    archived_has_more: bool,
}

impl<T> OnRecord<T> {
    /// Adds to a page what it passes over, and how many items there are on all pages.
    pub(super) fn counted(
        list: List<T>,
        holes: Holes,
        caller: &Principal,
        total: Option<Total>,
    ) -> Counted<Self> {
        let archived = ArchivedRange::shown_to(caller, holes.ranges);
        list.counted(total).map(|list| Self { list, archived, archived_has_more: holes.has_more })
    }
}
