//! Answers as of a moment of the past, for REST and GraphQL: the parameter, how far the logs went at that moment, and the
//! cursors of such lists.
//!
//! The read models' own folds make these answers (`fleetlog_projections::{devices, commands}::as_of`). Who may see a device
//! now may see it as it was: the door and the policies decide by the labels that it has now.

use std::fmt;
use std::str::FromStr;

use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use fleetlog_aggregates::identity::Uid;
use fleetlog_event_log::as_of::Prefix;
use fleetlog_event_log::{Lane, Position, TenantLog};
use fleetlog_projections::Refolded;
use fleetlog_projections::commands;
use fleetlog_projections::devices::{self, Device};
use fleetlog_projections::paging::{self, BadCursor};
use fleetlog_projections::read_model::ReadModel;
use http::HeaderValue;
use serde::{Deserialize, Serialize};

use super::error::Error;
use super::extract::parse;
use super::headers::AS_OF;
use super::min_position;
use super::page::further;
use super::parameters::{AsOf, LogPosition};
use super::rate_limits::Further;
use super::telemetry::shown_since;
use crate::app::App;

/// A tenant's logs as of a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Snapshot {
    as_of: AsOf,
    prefix: Prefix,
}

/// What a cursor of a list as of a moment says: all pages of the list speak of the same positions.
#[derive(Serialize, Deserialize)]
struct Place {
    as_of: String,
    control: Position,
    telemetry: Position,
    after: String,
}

impl Snapshot {
    /// Returns how far the caller's logs went at a moment.
    pub async fn of(log: &TenantLog, as_of: AsOf) -> Result<Self, Error> {
        Ok(Self { as_of, prefix: log.prefix(as_of).await? })
    }

    /// Returns what a page of a list speaks of, and after which item it begins. `field` is the parameter that holds the cursor.
    pub async fn of_page<C: FromStr<Err = BadCursor>>(
        log: &TenantLog,
        as_of: Option<AsOf>,
        field: &'static str,
        cursor: Option<&str>,
    ) -> Result<(Option<Self>, Option<C>), Error> {
        let Some(as_of) = as_of else {
            if cursor.is_some_and(|cursor| paging::decode::<Place>(cursor).is_ok()) {
                return Err(Error::field(field, BadCursor::OtherMoment));
            }
            return Ok((None, parse(field, cursor)?));
        };
        let bad = |bad| Error::field(field, bad);
        let Some((place, after)) = Place::of::<C>(as_of, cursor).map_err(bad)? else {
            return Ok((Some(Self::of(log, as_of).await?), None));
        };
        let prefix = log.prefix_again(as_of, place.control, place.telemetry).await?;
        let prefix = prefix.ok_or(BadCursor::OtherPositions).map_err(bad)?;
        Ok((Some(Self { as_of, prefix }), Some(after)))
    }

    /// Returns what a page of a list speaks of that is part of this answer, and after which item it begins.
    pub async fn of_part<C: FromStr<Err = BadCursor>>(
        self,
        log: &TenantLog,
        field: &'static str,
        cursor: Option<&str>,
    ) -> Result<(Self, Option<C>), Error> {
        if cursor.is_none() {
            return Ok((self, None));
        }
        let (snapshot, after) = Self::of_page(log, Some(self.as_of), field, cursor).await?;
        Ok((snapshot.unwrap_or(self), after))
    }

    /// The moment, as the caller named it.
    #[must_use]
    pub fn moment(&self) -> AsOf {
        self.as_of
    }

    /// Returns the cursor of a place in a list.
    #[must_use]
    pub fn cursor(&self, place: &impl fmt::Display) -> String {
        let Prefix { control, telemetry, .. } = self.prefix;
        let as_of = self.as_of.to_string();
        paging::encode(&Place { as_of, control, telemetry, after: place.to_string() })
    }

    /// Returns the last position of the log in each of these lanes, as `<log>:<position>`.
    #[must_use]
    pub fn positions(&self, lanes: &[Lane]) -> Vec<String> {
        let Prefix { control_log, control, telemetry_log, telemetry, .. } = self.prefix;
        let position = |lane: &Lane| match lane {
            Lane::Control => LogPosition { log_id: control_log, position: control },
            Lane::Telemetry => LogPosition { log_id: telemetry_log, position: telemetry },
        };
        lanes.iter().map(position).map(|position| position.to_string()).collect()
    }

    /// Returns the last position of the control log.
    #[must_use]
    pub fn control(&self) -> Position {
        self.prefix.control
    }

    /// Returns the devices with these uids, as they were.
    pub async fn devices(
        &self,
        app: &App,
        log: &TenantLog,
        uids: &[Uid],
    ) -> Result<Refolded<Vec<Device>>, Error> {
        self.wait_for_commands(app, log).await?;
        let within = app.settings.online_within;
        let mut then = devices::as_of::get(log, uids, &self.prefix, within).await?;
        then.found = shown(log, then.found);
        Ok(then)
    }

    /// Returns a page of the devices, as they were.
    pub async fn list_devices(
        &self,
        app: &App,
        log: &TenantLog,
        query: &devices::Query,
    ) -> Result<Refolded<devices::as_of::Listed>, Error> {
        self.wait_for_commands(app, log).await?;
        let within = app.settings.online_within;
        let mut then = devices::as_of::list(log, query, &self.prefix, within).await?;
        then.found.page.items = shown(log, then.found.page.items);
        Ok(then)
    }

    /// Waits until the read model of commands can find those of this moment.
    pub async fn wait_for_commands(&self, app: &App, log: &TenantLog) -> Result<(), Error> {
        let at = LogPosition { log_id: self.prefix.control_log, position: self.prefix.control };
        min_position::of_projection::<commands::Model>(app, log, Some(at)).await
    }
}

impl Place {
    /// Reads a cursor of a list as of this moment.
    fn of<C: FromStr<Err = BadCursor>>(
        as_of: AsOf,
        cursor: Option<&str>,
    ) -> Result<Option<(Self, C)>, BadCursor> {
        let Some(cursor) = cursor else { return Ok(None) };
        let place = match paging::decode::<Self>(cursor) {
            Ok(place) if place.as_of == as_of.to_string() => place,
            Ok(_) => return Err(BadCursor::OtherMoment),
            Err(_) if cursor.parse::<C>().is_ok() => return Err(BadCursor::OtherMoment),
            Err(bad) => return Err(bad),
        };
        let after = place.after.parse()?;
        Ok(Some((place, after)))
    }
}

/// Leaves out the readings that the tenant's tier no longer shows.
fn shown(log: &TenantLog, devices: Vec<Device>) -> Vec<Device> {
    let since = shown_since(log);
    devices.into_iter().map(|device| device.shown_since(since)).collect()
}

/// An answer in JSON that may be as of a moment of the past. Then its header `As-Of` says of which positions it speaks, and
/// the request pays for the events that were read.
#[derive(Debug)]
pub(super) struct Dated<T> {
    answer: T,
    /// What it speaks of; `None` as of now.
    then: Option<(Snapshot, &'static [Lane])>,
    further: Further,
}

impl<T> Dated<T> {
    /// An answer as of now.
    pub(super) fn now(answer: T) -> Self {
        Self { answer, then: None, further: Further(0) }
    }

    /// An answer as of a moment, from a read model, for which `events` were read.
    pub(super) fn then<M: ReadModel>(snapshot: &Snapshot, answer: T, events: usize) -> Self {
        Self { answer, then: Some((*snapshot, M::LANES)), further: further(events) }
    }

    pub(super) fn answer(&self) -> &T {
        &self.answer
    }

    pub(super) fn answer_mut(&mut self) -> &mut T {
        &mut self.answer
    }

    /// The last position of the control log that the answer speaks of. `None` if it is as of now.
    pub(super) fn control(&self) -> Option<Position> {
        self.then.map(|(snapshot, _)| snapshot.control())
    }

    /// Converts the answer.
    pub(super) fn map<U>(self, convert: impl FnOnce(T) -> U) -> Dated<U> {
        let Self { answer, then, further } = self;
        Dated { answer: convert(answer), then, further }
    }
}

impl<T: Serialize> IntoResponse for Dated<T> {
    fn into_response(self) -> Response {
        let mut response = (Extension(self.further), Json(self.answer)).into_response();
        let positions = self.then.map(|(snapshot, lanes)| snapshot.positions(lanes).join(", "));
        if let Some(Ok(positions)) = positions.map(HeaderValue::try_from) {
            response.headers_mut().insert(AS_OF, positions);
        }
        response
    }
}
