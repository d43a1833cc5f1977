//! Proofs from a log's Merkle tree: its tiles, that it only grew, and that it has an event.

use std::time::Duration;

use axum::Json;
use axum::response::IntoResponse;
use fleetlog_access::action::typed::EventsRead;
use fleetlog_proof::read::{self, Inclusion};
use fleetlog_proof::sequencer::SIGN_EVERY;
use fleetlog_proof::tree::TileId;
use http::header;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;

use super::error::Error;
use super::events::Recorded;
use super::extract::{AtPosition, Named, NoParameters, Query};
use super::logs::Log;
use super::parameters::Size;
use crate::app::App;
use crate::door::May;
use crate::door::action::guarded;
use crate::resource::Resource;

/// How many events a second a proof takes in that is behind, at the least: a third of what was measured.
const CAUGHT_UP_A_SECOND: u64 = 100_000;

pub(super) fn router() -> OpenApiRouter<App> {
    guarded!(read_tile, read_consistency, read_proof)
}

/// A tile of a log's tree, or its beginning.
struct Tile;

impl Resource for Tile {
    type Id = (TileId, usize);
    const MISSING: &'static str = "the log's newest checkpoint has no such tile, or this is not how a tile is named: its level, \
         its number in groups of three digits, and .p/ and a width below 256 if it is not full, such as 0/x001/234.p/56";

    fn id(name: &str) -> Option<Self::Id> {
        TileId::parse(name)
    }
}

/// Returns a tile of a log's Merkle tree: up to 256 hashes of 32 bytes, one after the other. Paths are those of C2SP
/// tlog-tiles: `0/000` is the first full tile of the leaves' hashes, `1/x001/234.p/56` the first 56 hashes of a tile of
/// the level above. What a path has once answered never changes.
#[utoipa::path(
    get, path = "/audit/{log}/tile/{*tile}", tag = "audit", operation_id = "read_tile",
    params(
        ("log" = String, Path, description = "The log's number"),
        ("tile" = String, Path, description = "The tile's level, number and width, with slashes between them",
            example = "0/x001/234.p/56"),
    ),
    responses(
        (status = 200, description = "The tile's hashes", content_type = "application/octet-stream"),
        (status = 404, description = "No such log, or its newest checkpoint has no such tile"),
    ),
)]
async fn read_tile(
    door: May<EventsRead, Log>,
    Named((tile, width)): Named<Tile>,
    _: Query<NoParameters>,
) -> Result<impl IntoResponse, Error> {
    let bytes = read::tile(door.log(), door.id, tile, width).await?.ok_or_else(Error::missing::<Tile>)?;
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream"),
        // It needs a login, so no cache that others share keeps it.
        (header::CACHE_CONTROL, "private, max-age=31536000, immutable"),
        (header::VARY, "authorization, cookie"),
    ];
    Ok((headers, bytes))
}

/// Selects two sizes of a log.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Sizes {
    /// The smaller size: that of the checkpoint that you have kept.
    #[param(value_type = u64, minimum = 0, example = "0")]
    old: Size,
    /// The larger size. Without it: the size of the newest checkpoint.
    #[param(value_type = Option<u64>, minimum = 0)]
    size: Option<Size>,
}

/// The proof that a log of one size is the beginning of the log of another.
#[derive(Serialize, ToSchema)]
#[schema(as = ConsistencyProof)]
struct Consistency {
    /// The smaller size.
    #[schema(example = 2)]
    old: u64,
    /// The larger size.
    #[schema(example = 3)]
    size: u64,
    /// The root of the tree of the larger size, in base64.
    #[schema(example = "veJSUyBrslDP5mg59n5Em4eLdapb3lCoXC8yxLRWRqg=")]
    root: String,
    /// The hashes of the proof, in base64, as RFC 6962, section 2.1.2, orders them. Empty if the sizes are equal or the
    /// smaller one is 0.
    hashes: Vec<String>,
}

/// Proves that a log of one size is the beginning of the log of another: nothing was changed in between.
#[utoipa::path(
    get, path = "/audit/{log}/consistency", tag = "audit", operation_id = "read_consistency",
    params(("log" = String, Path, description = "The log's number"), Sizes),
    responses(
        (status = 200, description = "The consistency proof", body = Consistency),
        (status = 404, description = "No such log"),
    ),
)]
async fn read_consistency(
    door: May<EventsRead, Log>,
    Query(Sizes { old: Size(old), size }): Query<Sizes>,
) -> Result<Json<Consistency>, Error> {
    let size = size.map(|Size(size)| size);
    let Some(proof) = read::consistency(door.log(), door.id, old, size).await? else {
        let newest = read::checkpoint(door.log(), door.id).await?;
        let newest = newest.map_or(0, |newest| newest.note.checkpoint.size);
        return Err(match size {
            Some(size) if size > newest => {
                Error::field("size", format!("the newest checkpoint has {newest} events"))
            }
            Some(size) => Error::field("old", format!("expected at most the size, {size}")),
            None => Error::field("old", format!("the newest checkpoint has {newest} events")),
        });
    };
    Ok(Json(Consistency {
        old: proof.old,
        size: proof.size,
        root: proof.root.to_string(),
        hashes: proof.hashes.iter().map(ToString::to_string).collect(),
    }))
}

/// Proves that a log has an event: the hashes that lead from the event to the root of a checkpoint, and the checkpoint. The
/// form is that of C2SP tlog-proof, version 1. The event's own hash follows from its columns.
#[utoipa::path(
    get, path = "/events/{log}/{position}/proof", tag = "audit", operation_id = "read_proof",
    params(
        ("log" = String, Path, description = "The log's number"),
        ("position" = String, Path, description = "The event's position in its log"),
    ),
    responses(
        (status = 200, description = "The inclusion proof", content_type = "text/plain", body = String),
        (status = 404, description = "No such log, or it has no event at this position"),
        (status = 503, description = "The event is not proved yet (`not_yet`); `Retry-After` says when it will be"),
    ),
)]
async fn read_proof(
    door: May<EventsRead, Log>,
    AtPosition(position): AtPosition,
    _: Query<NoParameters>,
) -> Result<String, Error> {
    match read::inclusion(door.log(), door.id, position).await? {
        Inclusion::Proof(text) => Ok(text),
        Inclusion::NotYet(proved) => Err(Error::not_proved_yet(proved, wait(position as u64 - proved))),
        Inclusion::None => Err(Error::missing::<Recorded>()),
    }
}

/// How long it takes until an event is proved that so many events separate from the newest checkpoint.
fn wait(behind: u64) -> Duration {
    SIGN_EVERY + Duration::from_secs(behind / CAUGHT_UP_A_SECOND)
}
