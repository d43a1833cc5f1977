//! Lists: pages of items, and where the next one begins.

use fleetlog_projections::paging;
use serde::Serialize;
use utoipa::ToSchema;

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
}

impl<T> List<T> {
    /// Makes a page, with the cursor of its last item.
    pub fn page<U: Into<T>>(page: paging::Page<U>, cursor: impl FnOnce(&U) -> String) -> Self {
        let next_cursor = if page.has_more { page.items.last().map(cursor) } else { None };
        let items = page.items.into_iter().map(Into::into).collect();
        Self { items, next_cursor, has_more: page.has_more, total: None }
    }

    /// Makes a list that is always short enough for one page.
    #[must_use]
    pub fn whole<U: Into<T>>(items: Vec<U>) -> Self {
        let items = items.into_iter().map(Into::into).collect();
        Self { items, next_cursor: None, has_more: false, total: None }
    }

    /// Converts the items of the page to `U`.
    #[must_use]
    pub fn into_items<U: From<T>>(self) -> List<U> {
        let items = self.items.into_iter().map(U::from).collect();
        List { items, next_cursor: self.next_cursor, has_more: self.has_more, total: self.total }
    }

    /// Adds the number of items on all pages.
    #[must_use]
    pub fn with_total(self, total: Option<i64>) -> Self {
        Self { total, ..self }
    }
}
