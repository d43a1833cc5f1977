//! Rebuilds of projections, for the people of the platform's tenant: a read model belongs to all tenants. Who may list the
//! projections may look; rows, and whatever changes something, are for administrators and analysts.

use axum::Json;
use fleetlog_access::action::typed::{ProjectionsRead, ProjectionsWrite};
use fleetlog_access::{self as access, Principal};
use fleetlog_projections::paging::{self, BadCursor, Page};
use fleetlog_projections::rebuild::{KEEP_S, Rebuild, Refused, Request, Steer, Step, StoredDifference};
use fleetlog_projections::status::ProjectionStatus;
use http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use uuid::Uuid;

use super::error::Error;
use super::extract::{OptionalBody, Query};
use super::page::{List, OnPage};
use super::{RequestId, wire};
use crate::app::App;
use crate::door::May;
use crate::door::action::guarded;
use crate::resource::Resource;

pub(super) fn router() -> OpenApiRouter<App> {
    guarded!(
        rebuild_projection,
        read_rebuild,
        list_rebuild_differences,
        pause_rebuild,
        resume_rebuild,
        cancel_rebuild,
        accept_rebuild,
        roll_back_projection
    )
}

impl Resource for ProjectionStatus {
    type Id = String;
    const MISSING: &'static str = "there is no such projection";

    fn id(name: &str) -> Option<String> {
        Some(name.to_owned())
    }

    fn all(_: &Principal) -> access::Resource<'_> {
        access::Resource::Platform
    }
}

impl Resource for Rebuild {
    type Id = String;
    const MISSING: &'static str = "the projection has not been rebuilt yet";

    fn id(name: &str) -> Option<String> {
        Some(name.to_owned())
    }
}

/// What a rebuild is to do.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewRebuild)]
struct NewRebuild {
    /// The version that the new tables are made like, and that they are compared with. Without it: the live one.
    #[schema(example = 1)]
    from_version: Option<i32>,
    /// How many seconds the version that was live before is kept for a rollback: 0 to 31,536,000, by default a day.
    #[schema(example = 86400)]
    keep_s: Option<i32>,
    /// Whether the new version goes live even if it differs. By default it waits until the differences are accepted.
    #[schema(example = false)]
    accept: Option<bool>,
}

/// The door to a projection of the platform.
type Door = May<ProjectionsWrite, ProjectionStatus>;

/// Begins to fold a projection anew from position 1, into tables of its own. Readers see the live version meanwhile. The
/// new version is then compared with the live one. If no row differs, it takes the live one's place.
#[utoipa::path(
    post, path = "/projections/{projection}/rebuild", tag = "projections", operation_id = "rebuild_projection",
    request_body(content = Option<NewRebuild>),
    params(("projection" = String, Path, description = "The projection's name")),
    responses(
        (status = 202, description = "The rebuild has begun", body = wire::Rebuild),
        (status = 404, description = "No such projection"),
        (status = 409, description = "A rebuild is under way (`rebuild_runs`), or tables cannot be made (`cannot_rebuild`)"),
    ),
)]
async fn rebuild_projection(
    door: Door,
    request: RequestId,
    OptionalBody(new): OptionalBody<NewRebuild>,
) -> Result<(StatusCode, Json<wire::Rebuild>), Error> {
    let asked = Request {
        from_version: new.from_version,
        keep_s: new.keep_s.unwrap_or(KEEP_S),
        accept: new.accept.unwrap_or(false),
        requested_by: door.caller.actor().to_string(),
    };
    let begun = door.app.projections.rebuild(&door.id, asked, request.metadata(&door.caller)).await?;
    Ok((StatusCode::ACCEPTED, shown(&door, begun).await?))
}

/// Returns the last rebuild or rollback of a projection, with its progress and what its comparison found.
#[utoipa::path(
    get, path = "/projections/{projection}/rebuild", tag = "projections", operation_id = "read_rebuild",
    params(("projection" = String, Path, description = "The projection's name")),
    responses(
        (status = 200, description = "The last rebuild or rollback", body = wire::Rebuild),
        (status = 404, description = "No such projection, or it has never been rebuilt"),
    ),
)]
async fn read_rebuild(door: May<ProjectionsRead, ProjectionStatus>) -> Result<Json<wire::Rebuild>, Error> {
    let last = last(&door).await?;
    shown(&door, last).await
}

/// Lists the rows that differ between the live version and the new one of a projection's last rebuild. At most 10,000 are
/// listed; `differences` of the rebuild counts all of them.
#[utoipa::path(
    get, path = "/projections/{projection}/rebuild/differences", tag = "projections",
    operation_id = "list_rebuild_differences",
    params(("projection" = String, Path, description = "The projection's name"), OnPage),
    responses(
        (status = 200, description = "A page of rows", body = List<wire::Difference>),
        (status = 404, description = "No such projection, or it has never been rebuilt"),
    ),
)]
async fn list_rebuild_differences(
    door: Door,
    Query(page): Query<OnPage>,
) -> Result<Json<List<wire::Difference>>, Error> {
    let (Rebuild { rebuild_id, .. }, limit) = (last(&door).await?, page.limit.0);
    let after = after(rebuild_id, page.cursor.as_deref()).map_err(|bad| Error::field("cursor", bad))?;
    let rows = door.app.projections.differences(rebuild_id, after, limit as i64 + 1).await?;
    let cursor = |row: &StoredDifference| paging::encode(&(rebuild_id, row.nth));
    Ok(Json(List::page(Page::cut(rows, limit), cursor)))
}

/// After which of a rebuild's rows a page begins. All pages are of one rebuild.
fn after(rebuild_id: Uuid, cursor: Option<&str>) -> Result<i64, BadCursor> {
    match cursor.map(paging::decode::<(Uuid, i64)>).transpose()? {
        None => Ok(0),
        Some((of, nth)) if of == rebuild_id && nth > 0 => Ok(nth),
        Some((of, _)) if of == rebuild_id => Err(BadCursor::Malformed),
        Some(_) => Err(BadCursor::OtherRebuild),
    }
}

/// Pauses the rebuild of a projection.
#[utoipa::path(
    post, path = "/projections/{projection}/rebuild/pause", tag = "projections", operation_id = "pause_rebuild",
    params(("projection" = String, Path, description = "The projection's name")),
    responses(
        (status = 200, description = "The rebuild rests", body = wire::Rebuild),
        (status = 404, description = "No such projection"),
        (status = 409, description = "No rebuild is under way (`no_rebuild`)"),
    ),
)]
async fn pause_rebuild(door: Door, request: RequestId) -> Result<Json<wire::Rebuild>, Error> {
    steered(&door, &request, Steer::Pause).await
}

/// Lets a paused rebuild of a projection go on.
#[utoipa::path(
    post, path = "/projections/{projection}/rebuild/resume", tag = "projections", operation_id = "resume_rebuild",
    params(("projection" = String, Path, description = "The projection's name")),
    responses(
        (status = 200, description = "The rebuild goes on", body = wire::Rebuild),
        (status = 404, description = "No such projection"),
        (status = 409, description = "No rebuild is under way (`no_rebuild`)"),
    ),
)]
async fn resume_rebuild(door: Door, request: RequestId) -> Result<Json<wire::Rebuild>, Error> {
    steered(&door, &request, Steer::Resume).await
}

/// Cancels the rebuild of a projection, and removes the new version.
#[utoipa::path(
    post, path = "/projections/{projection}/rebuild/cancel", tag = "projections", operation_id = "cancel_rebuild",
    params(("projection" = String, Path, description = "The projection's name")),
    responses(
        (status = 200, description = "The rebuild is cancelled", body = wire::Rebuild),
        (status = 404, description = "No such projection"),
        (status = 409, description = "No rebuild is under way (`no_rebuild`)"),
    ),
)]
async fn cancel_rebuild(door: Door, request: RequestId) -> Result<Json<wire::Rebuild>, Error> {
    steered(&door, &request, Steer::Cancel).await
}

/// Lets the new version of a projection go live although it differs from the live one.
#[utoipa::path(
    post, path = "/projections/{projection}/rebuild/accept", tag = "projections", operation_id = "accept_rebuild",
    params(("projection" = String, Path, description = "The projection's name")),
    responses(
        (status = 200, description = "The differences are accepted", body = wire::Rebuild),
        (status = 404, description = "No such projection"),
        (status = 409, description = "No rebuild is under way (`no_rebuild`), or there is nothing to accept (`too_late`)"),
    ),
)]
async fn accept_rebuild(door: Door, request: RequestId) -> Result<Json<wire::Rebuild>, Error> {
    steered(&door, &request, Steer::Accept).await
}

/// Brings the version of a projection back that was live before the present one, up to date.
#[utoipa::path(
    post, path = "/projections/{projection}/rollback", tag = "projections", operation_id = "roll_back_projection",
    params(("projection" = String, Path, description = "The projection's name")),
    responses(
        (status = 202, description = "The rollback has begun", body = wire::Rebuild),
        (status = 404, description = "No such projection"),
        (status = 409, description = "A rebuild is under way (`rebuild_runs`), or no version is kept (`nothing_kept`)"),
    ),
)]
async fn roll_back_projection(
    door: Door,
    request: RequestId,
) -> Result<(StatusCode, Json<wire::Rebuild>), Error> {
    let (by, metadata) = (door.caller.actor().to_string(), request.metadata(&door.caller));
    let begun = door.app.projections.roll_back(&door.id, by, metadata).await?;
    Ok((StatusCode::ACCEPTED, shown(&door, begun).await?))
}

async fn steered(door: &Door, request: &RequestId, how: Steer) -> Result<Json<wire::Rebuild>, Error> {
    let steered = door.app.projections.steer(&door.id, how, request.metadata(&door.caller)).await?;
    shown(door, steered).await
}

async fn last<A>(door: &May<A, ProjectionStatus>) -> Result<Rebuild, Error> {
    let last: Result<Option<Rebuild>, Refused> = door.app.projections.last_rebuild(&door.id).await;
    last?.ok_or_else(Error::missing::<Rebuild>)
}

/// A rebuild with what its comparison found, once it has begun.
async fn shown<A>(door: &May<A, ProjectionStatus>, rebuild: Rebuild) -> Result<Json<wire::Rebuild>, Error> {
    let compared = match rebuild.step {
        Step::Building | Step::CatchingUp => vec![],
        _ => door.app.projections.compared_ranges(rebuild.rebuild_id).await?,
    };
    Ok(Json(wire::Rebuild::new(rebuild, compared)))
}
