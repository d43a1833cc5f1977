//! Pages: some rows of a list, bounded in number and in bytes.

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{FromRow, Postgres, Row, ValueRef};

use crate::scope::Scope;
use crate::{Error, EventLog, Result};

/// How many bytes of rows a page holds before it ends early: a thousand readings of 1 KiB.
pub const PAGE_BYTES: usize = 1 << 20;
/// How many bytes of rows one answer is made of at most, over all of its pages: a question in `GraphQL` has many.
pub const ANSWER_BYTES: usize = 4 << 20;

/// How many items of a list are counted at most. A request that asks for the total then reads no more rows than a hundred
/// of the largest pages do.
pub const COUNTED: i64 = 100_000;

/// How many items a list has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Total {
    /// The number of items, up to [`COUNTED`] of them if they had to be counted.
    pub count: i64,
    /// Whether there are more.
    pub is_lower_bound: bool,
}

/// Some items of a list, in the order of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The items of the page.
    pub items: Vec<T>,
    /// Whether more items follow the page.
    pub has_more: bool,
}

impl<T> Page<T> {
    /// Cuts a page from rows that hold one item more than `limit`, if there are that many.
    #[must_use]
    pub fn cut(mut items: Vec<T>, limit: usize) -> Self {
        let has_more = items.len() > limit;
        items.truncate(limit);
        Self { items, has_more }
    }
}

/// Reads an item from a row.
pub(crate) type FromPgRow<T> = fn(&PgRow) -> Result<T, sqlx::Error>;

/// A page that is being filled.
struct Filling<T> {
    page: Page<T>,
    limit: usize,
    bytes: usize,
}

/// Why a page takes no more rows.
enum End {
    Full,
    Failed(Error),
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl<T> Filling<T> {
    fn add(&mut self, row: &PgRow, item: FromPgRow<T>, scope: &impl Scope) -> Result<(), End> {
        if self.page.items.len() == self.limit || self.bytes >= PAGE_BYTES {
            self.page.has_more = true;
            return Err(End::Full);
        }
        let bytes = bytes(row);
        scope.spend(bytes)?;
        self.bytes += bytes;
        self.page.items.push(item(row).map_err(Error::from)?);
        Ok(())
    }
}

/// How many bytes a row's values have.
pub(crate) fn bytes(row: &PgRow) -> usize {
    let value = |at| row.try_get_raw(at).ok().filter(|value| !value.is_null())?.as_bytes().ok();
    (0..row.len()).filter_map(value).map(<[u8]>::len).sum()
}

impl<S: Scope> EventLog<S> {
    /// Runs one statement that only reads, and fills a page with its rows: at most `limit`, and none once they hold
    /// [`PAGE_BYTES`]. At least one if there is one. The statement itself must return `limit` + 1 rows at most.
    pub async fn fetch_page<T: for<'r> FromRow<'r, PgRow> + Send>(
        &self,
        statement: Query<'_, Postgres, PgArguments>,
        limit: usize,
    ) -> Result<Page<T>> {
        self.fill_page(statement, limit, |row| T::from_row(row)).await
    }

    /// Runs one statement that counts rows, at most [`COUNTED`] and one more.
    pub(crate) async fn fetch_total(&self, statement: Query<'_, Postgres, PgArguments>) -> Result<Total> {
        let rows = self.fetch(statement).await?;
        let found: i64 = rows.first().ok_or(sqlx::Error::RowNotFound)?.try_get(0)?;
        Ok(Total { count: found.min(COUNTED), is_lower_bound: found > COUNTED })
    }

    /// As [`EventLog::fetch_page`], with another way to read a row.
    pub(crate) async fn fill_page<T: Send>(
        &self,
        statement: Query<'_, Postgres, PgArguments>,
        limit: usize,
        item: FromPgRow<T>,
    ) -> Result<Page<T>> {
        let page = Page { items: Vec::new(), has_more: false };
        let mut filling = Filling { page, limit, bytes: 0 };
        // A page that ends early gives up its connection: reading the rest of the rows would take longer.
        match self.fetch_each(statement, |row| filling.add(&row, item, &self.scope)).await {
            Ok(()) | Err(End::Full) => Ok(filling.page),
            Err(End::Failed(error)) => Err(error),
        }
    }
}
