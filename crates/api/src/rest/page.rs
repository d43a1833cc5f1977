//! Lists: pages of items, and where the next one begins.

use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use fleetlog_event_log::page::Total;
use fleetlog_projections::paging;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::parameters::Limit;
use super::rate_limits::Further;

/// Selects a page of a list that has no other parameters.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct OnPage {
    /// The most items to return on a page.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000, default = 100)]
    pub(super) limit: Limit,
    /// The `next_cursor` of the page before.
    pub(super) cursor: Option<String>,
}

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct List<T> {
    /// The items of this page, in the order of the list.
    pub items: Vec<T>,
    /// The cursor to pass on to get the next page; null on the last page.
    pub next_cursor: Option<String>,
    /// Whether there is a next page.
    pub has_more: bool,
    /// The number of items on all pages, if the request asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<i64>,
    /// True if there may be more items than `total` says, because only so many are counted.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    pub total_is_lower_bound: bool,
}

impl<T> List<T> {
    /// Makes a page, with the cursor of its last item.
    pub fn page<U: Into<T>>(page: paging::Page<U>, cursor: impl FnOnce(&U) -> String) -> Self {
        let next_cursor = if page.has_more { page.items.last().map(cursor) } else { None };
        let items = page.items.into_iter().map(Into::into).collect();
        Self { items, next_cursor, has_more: page.has_more, total: None, total_is_lower_bound: false }
    }

    /// Makes a list that is always short enough for one page.
    #[must_use]
    pub fn whole<U: Into<T>>(items: Vec<U>) -> Self {
        let items = items.into_iter().map(Into::into).collect();
        Self { items, next_cursor: None, has_more: false, total: None, total_is_lower_bound: false }
    }

    /// Converts the items of the page.
    #[must_use]
    pub fn map<U>(self, convert: impl FnMut(T) -> U) -> List<U> {
        let items = self.items.into_iter().map(convert).collect();
        let Self { next_cursor, has_more, total, total_is_lower_bound, .. } = self;
        List { items, next_cursor, has_more, total, total_is_lower_bound }
    }

    /// Adds the number of items on all pages.
    #[must_use]
    pub fn with_total(self, total: Option<i64>) -> Self {
        Self { total, ..self }
    }

    /// Adds a number of items that was counted up to a bound. The request pays for the counting.
    #[must_use]
    pub fn counted(self, total: Option<Total>) -> Counted<Self> {
        let further = further(total.map_or(0, |total| usize::try_from(total.count).unwrap_or(0)));
        let total_is_lower_bound = total.is_some_and(|total| total.is_lower_bound);
        let answer = Self { total: total.map(|total| total.count), total_is_lower_bound, ..self };
        Counted { answer, further }
    }
}

/// What a request pays for rows that were read and are not in its answer.
pub(crate) fn further(rows: usize) -> Further {
    Further((rows / COUNTED_PER_REQUEST) as u64)
}

/// How many items are counted, or events folded, for one request's price. More count as a request more for each further so
/// many.
const COUNTED_PER_REQUEST: usize = 10_000;

/// A page of a list whose items may have been counted.
#[derive(Debug)]
pub struct Counted<A> {
    answer: A,
    further: Further,
}

impl<A> Counted<A> {
    /// Another answer, for which the request pays as much.
    pub(super) fn map<B>(self, to: impl FnOnce(A) -> B) -> Counted<B> {
        Counted { answer: to(self.answer), further: self.further }
    }
}

impl<A: Serialize> IntoResponse for Counted<A> {
    fn into_response(self) -> Response {
        (Extension(self.further), Json(self.answer)).into_response()
    }
}
