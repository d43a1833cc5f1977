//! The arguments `asOf` and `asOfPosition`: the moment of the past that they give, and errors that name the one of them that
//! the caller wrote.

use std::str::FromStr;

use chrono::{DateTime, Utc};
use fleetlog_projections::paging::BadCursor;

use super::asker::Asker;
use crate::rest::Error;
use crate::rest::as_of::Snapshot;
use crate::rest::extract::parse;
use crate::rest::parameters::{AsOf, LogPosition};

/// What REST calls a moment of the past, in either form.
const TIME: &str = "as_of";
const POSITION: &str = "as_of_position";

/// The argument that gives a moment.
pub(super) fn argument(moment: AsOf) -> &'static str {
    match moment {
        AsOf::Time(_) => TIME,
        AsOf::Position(_) => POSITION,
    }
}

/// Makes an error about a moment name the argument that gives it.
pub(super) fn blamed(moment: AsOf) -> impl Fn(Error) -> Error {
    move |error| error.renamed(TIME, argument(moment))
}

/// Reads the moment that the two arguments may give.
pub(super) fn moment_of(time: Option<DateTime<Utc>>, position: Option<&str>) -> Result<Option<AsOf>, Error> {
    let position: Option<LogPosition> = parse(POSITION, position)?;
    let time = time.map(AsOf::time).transpose().map_err(|bad| Error::field(TIME, bad))?;
    match (time, position) {
        (Some(_), Some(_)) => Err(Error::field(POSITION, "expected a time or a position, not both of them")),
        (time, position) => Ok(time.or(position.map(AsOf::Position))),
    }
}

/// How far the tenant's logs went at the moment that the two arguments may give.
pub(super) async fn snapshot(
    asker: &Asker,
    time: Option<DateTime<Utc>>,
    position: Option<&str>,
) -> Result<Option<Snapshot>, Error> {
    match moment_of(time, position)? {
        Some(moment) => Snapshot::of(asker.log(), moment).await.map(Some).map_err(blamed(moment)),
        None => Ok(None),
    }
}

/// What a page of a list speaks of, and after which item it begins.
pub(super) async fn of_page<C: FromStr<Err = BadCursor>>(
    asker: &Asker,
    moment: Option<AsOf>,
    after: Option<&str>,
) -> Result<(Option<Snapshot>, Option<C>), Error> {
    let page = Snapshot::of_page(asker.log(), moment, "after", after).await;
    page.map_err(|error| match moment {
        Some(moment) => blamed(moment)(error),
        None => error,
    })
}
