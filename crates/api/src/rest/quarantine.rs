//! The quarantine: messages that were acknowledged but could not become events, each with the reason.

use chrono::{DateTime, Utc};
use fleetlog_access::action::typed::QuarantineRead;
use fleetlog_access::{Action, Resource, authorize};
use fleetlog_event_log::quarantine::{self, Listing};
use fleetlog_projections::paging::{self, BadCursor};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;

use super::error::Error;
use super::extract::Query;
use super::page::{Counted, List};
use super::parameters::{Limit, Moment, Order, check_span};
use crate::app::App;
use crate::door::May;
use crate::door::action::guarded;

pub(super) fn router() -> OpenApiRouter<App> {
    guarded!(list_quarantine)
}

/// Selects the messages of a page.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Which {
    /// The most items to return on a page.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000, default = 100)]
    limit: Limit,
    /// Only messages that reached the server at this moment or later.
    #[param(value_type = Option<DateTime<Utc>>)]
    from: Option<Moment>,
    /// Only messages that reached the server before this moment.
    #[param(value_type = Option<DateTime<Utc>>)]
    to: Option<Moment>,
    /// The order: oldest (`asc`) or newest (`desc`) first. Without it: newest first.
    #[serde(default)]
    #[param(inline)]
    order: Order,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
    /// Whether to count the items of all pages, up to 100,000. If there are more, `total_is_lower_bound` is true. Each 10,000
    /// items that are counted cost as much as a further request.
    #[serde(default)]
    count: bool,
}

/// A message in quarantine.
#[derive(Serialize, ToSchema)]
struct Quarantined {
    /// The message's number, in the order of arrival.
    quarantine_id: i64,
    /// The topic that the message was published to.
    topic: String,
    /// The size of the message's payload, in bytes.
    bytes: i64,
    /// The payload's first 256 bytes as text; bytes that are not UTF-8 appear as U+FFFD.
    excerpt: String,
    /// The reason for the quarantine, for programs.
    #[schema(example = "bad_topic")]
    reason: String,
    /// The reason for the quarantine, for people.
    detail: String,
    /// When the message reached the server.
    received_at: DateTime<Utc>,
}

impl From<quarantine::Quarantined> for Quarantined {
    fn from(message: quarantine::Quarantined) -> Self {
        Self {
            quarantine_id: message.quarantine_id,
            topic: message.topic,
            bytes: message.bytes,
            excerpt: message.excerpt.0,
            reason: message.reason,
            detail: message.detail,
            received_at: message.received_at,
        }
    }
}

/// Lists the tenant's quarantined messages, newest first unless `order` says otherwise. An admin of the platform also sees
/// messages that name no tenant.
#[utoipa::path(
    get, path = "/quarantine", tag = "log", operation_id = "list_quarantine", params(Which),
    responses((status = 200, description = "A page of messages", body = List<Quarantined>)),
)]
async fn list_quarantine(
    door: May<QuarantineRead>,
    Query(which): Query<Which>,
) -> Result<Counted<List<Quarantined>>, Error> {
    check_span(which.from, which.to).map_err(|error| Error::field("from", error))?;
    let beyond = which.cursor.as_deref().map(paging::decode::<i64>).transpose();
    let listing = Listing {
        everyones: authorize(&door.caller, Action::QuarantineRead, &Resource::Platform).is_ok(),
        from: which.from.map(|from| from.0),
        to: which.to.map(|to| to.0),
        ascending: which.order == Order::Asc,
        beyond: beyond.map_err(|bad: BadCursor| Error::field("cursor", bad))?,
    };
    let messages = door.log().quarantined(&listing, which.limit.0).await?;
    let total = if which.count { Some(door.log().quarantined_total(&listing).await?) } else { None };
    Ok(List::page(messages, |message| paging::encode(&message.quarantine_id)).counted(total))
}
