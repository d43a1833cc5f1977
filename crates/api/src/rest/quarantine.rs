//! The quarantine: messages that were acknowledged but could not become events, each with the reason, and the way out.

use axum::Json;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use fleetlog_access::action::typed::{QuarantineRead, QuarantineWrite};
use fleetlog_access::{Action, Principal, Resource, authorize};
use fleetlog_engine::quarantine::{MAX_AT_ONCE, Reprocessed, reprocess};
use fleetlog_event_log::quarantine::{self, Listing, Wanted};
use fleetlog_projections::paging::{self, BadCursor};
use http::header;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;

use super::RequestId;
use super::error::Error;
use super::extract::{Body, NoParameters, Query};
use super::page::{Counted, List};
use super::parameters::{Limit, LogPosition, Moment, Order, check_span};
use crate::app::App;
use crate::door::May;
use crate::door::action::guarded;
use crate::resource;

pub(super) fn router() -> OpenApiRouter<App> {
    guarded!(list_quarantine, read_quarantined_payload, reprocess_quarantine)
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
    /// Only messages that are there for this reason, such as `bad_topic`.
    reason: Option<String>,
    /// Only messages whose topic begins with this text.
    topic: Option<String>,
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

impl resource::Resource for Quarantined {
    type Id = i64;
    const MISSING: &'static str = "there is no such message in quarantine";

    fn id(name: &str) -> Option<i64> {
        name.parse().ok()
    }
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
        everyones: sees_everyones(&door.caller),
        from: which.from.map(|from| from.0),
        to: which.to.map(|to| to.0),
        ascending: which.order == Order::Asc,
        beyond: beyond.map_err(|bad: BadCursor| Error::field("cursor", bad))?,
        reason: which.reason,
        topic_prefix: which.topic,
    };
    let messages = door.log().quarantined(&listing, which.limit.0).await?;
    let total = if which.count { Some(door.log().quarantined_total(&listing).await?) } else { None };
    Ok(List::page(messages, |message| paging::encode(&message.quarantine_id)).counted(total))
}

/// Whether the caller also sees messages that name no tenant.
fn sees_everyones(caller: &Principal) -> bool {
    authorize(caller, Action::QuarantineRead, &Resource::Platform).is_ok()
}

/// Returns the bytes of a quarantined message, as they came. Of a payload above 256 KiB only the beginning was kept.
#[utoipa::path(
    get, path = "/quarantine/{id}/payload", tag = "log", operation_id = "read_quarantined_payload",
    params(("id" = i64, Path, description = "The message's number in quarantine")),
    responses(
        (status = 200, description = "The bytes of the payload", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 404, description = "There is no such message in quarantine"),
    ),
)]
async fn read_quarantined_payload(
    door: May<QuarantineRead, Quarantined>,
    _: Query<NoParameters>,
) -> Result<Response, Error> {
    let id = door.id;
    let found = door.log().quarantined_payload(id, sees_everyones(&door.caller)).await?;
    let message = found.ok_or_else(Error::missing::<Quarantined>)?;
    let name = format!("attachment; filename=\"quarantined-{id}.bin\"");
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_DISPOSITION, name),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    Ok((headers, message.payload).into_response())
}

/// Which messages to take in again.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ReprocessRequest)]
struct Again {
    /// Their numbers, at most 1000. Without it: all of the tenant's messages, the earliest first, at most 1000 at a time.
    #[schema(example = json!([]))]
    ids: Option<Vec<i64>>,
    /// The `next` of the answer before: goes on behind it.
    #[schema(example = json!(null))]
    after: Option<i64>,
}

/// What became of messages that were taken in again.
#[derive(Serialize, ToSchema)]
#[schema(as = ReprocessAnswer)]
struct Done {
    /// How many became events, and left quarantine.
    #[schema(example = 3)]
    recorded: u64,
    /// How many were on the record already, and left quarantine.
    #[schema(example = 0)]
    duplicates: u64,
    /// The messages that are refused again, and stay.
    refused: Vec<RefusedAgain>,
    /// The numbers of messages of which only the beginning was kept. They stay.
    #[schema(example = json!([]))]
    cut: Vec<i64>,
    /// Where to go on; null if there are no more.
    #[schema(example = json!(null))]
    next: Option<i64>,
    /// The position of this act on the record; null if no message has left.
    #[schema(example = "1:42")]
    position: Option<String>,
}

/// A message that is refused again.
#[derive(Serialize, ToSchema)]
struct RefusedAgain {
    /// The message's number in quarantine.
    quarantine_id: i64,
    /// The reason of today.
    #[schema(example = "bad_topic")]
    reason: &'static str,
}

/// Takes messages of the quarantine in again: after a source was defined that takes their topic, say. Each keeps the time at which
/// it reached the server. What is refused again stays.
#[utoipa::path(
    post, path = "/quarantine/reprocess", tag = "log", operation_id = "reprocess_quarantine", request_body = Again,
    responses((status = 200, description = "What became of the messages", body = Done)),
)]
async fn reprocess_quarantine(
    door: May<QuarantineWrite>,
    request: RequestId,
    Body(again): Body<Again>,
) -> Result<Json<Done>, Error> {
    if again.ids.as_ref().is_some_and(|ids| ids.len() > MAX_AT_ONCE) {
        return Err(Error::field("ids", format_args!("expected at most {MAX_AT_ONCE}")));
    }
    let wanted = Wanted { ids: again.ids, after: again.after.unwrap_or(0), limit: MAX_AT_ONCE as i64 };
    let metadata = request.metadata(&door.caller);
    let tenant = door.log().tenant();
    let Reprocessed { recorded, duplicates, refused, cut, next, at } =
        reprocess(&door.app.ingest, tenant, wanted, metadata).await?;
    let refused = refused.into_iter();
    let refused =
        refused.map(|(quarantine_id, reason)| RefusedAgain { quarantine_id, reason: reason.as_str() });
    let position = at.map(|at| LogPosition::from(at).to_string());
    Ok(Json(Done { recorded, duplicates, refused: refused.collect(), cut, next, position }))
}
