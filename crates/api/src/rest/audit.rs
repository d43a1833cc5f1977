//! The proof of the logs: how far it is, the keys and the newest checkpoints, and what witnesses add to them.

use axum::Json;
use axum::http::header;
use axum::response::IntoResponse;
use chrono::{DateTime, Utc};
use fleetlog_access::action::typed::{AuditCosign, EventsRead};
use fleetlog_access::{Action, Resource, authorize};
use fleetlog_event_log::TenantLog;
use fleetlog_proof::note::VerifierKey;
use fleetlog_proof::read::{self, Cosigned, Progress};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;

use super::error::Error;
use super::extract::{Body, NoParameters, Query};
use super::logs::{self, Log};
use super::page::List;
use super::wire;
use crate::app::App;
use crate::door::May;
use crate::door::action::guarded;

pub(super) fn router() -> OpenApiRouter<App> {
    guarded!(list_proofs, read_audit_key, read_log_key, read_checkpoint, list_witnesses, add_cosignature)
}

/// How far the proof of a log is.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct LogProof {
    /// The number of the log.
    pub log_id: i32,
    /// `control`: devices, commands, users' acts. `telemetry`: readings.
    #[schema(example = "control")]
    pub lane: &'static str,
    /// The log's shard: its number within the lane, for tenants too large for one log.
    pub shard: i32,
    /// The position of the log's last event; 0 while the log is empty.
    pub head: i64,
    /// The number of events that the log's Merkle tree has.
    pub tree_size: i64,
    /// The number of events that the newest checkpoint proves; null before the first checkpoint.
    pub checkpoint_size: Option<i64>,
    /// When the newest checkpoint was signed, by the database's clock; null before the first checkpoint.
    pub checkpoint_at: Option<DateTime<Utc>>,
    /// The number of events that no checkpoint proves yet.
    pub unproved: i64,
}

/// Returns how far the proof of each of the tenant's logs is, for REST and GraphQL.
pub async fn of(tenant: &TenantLog) -> Result<Vec<LogProof>, Error> {
    let logs = logs::of(tenant);
    let progress = read::progress(tenant).await?;
    let proof = |log: Log| {
        let found = progress.iter().find(|progress| progress.log_id.0 == log.log_id);
        let newest = found.and_then(|Progress { newest, .. }| newest.as_ref());
        let checkpoint_size = newest.map(|newest| newest.note.checkpoint.size as i64);
        // The head was read before the proof.
        let head = log.head.max(found.map_or(0, |found| found.size));
        LogProof {
            log_id: log.log_id,
            lane: log.lane,
            shard: log.shard,
            head,
            tree_size: found.map_or(0, |found| found.size),
            checkpoint_size,
            checkpoint_at: newest.map(|newest| newest.signed_at),
            unproved: head - checkpoint_size.unwrap_or(0),
        }
    };
    Ok(logs.into_iter().map(proof).collect())
}

/// Lists the tenant's logs, with how far the proof of each is.
#[utoipa::path(
    get, path = "/audit", tag = "audit", operation_id = "list_proofs",
    responses((status = 200, description = "All of the logs", body = List<LogProof>)),
)]
async fn list_proofs(door: May<EventsRead>, _: Query<NoParameters>) -> Result<Json<List<LogProof>>, Error> {
    Ok(Json(List::whole(of(door.log()).await?)))
}

/// A key on a line.
fn line(key: &VerifierKey) -> impl IntoResponse + use<> {
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], format!("{key}\n"))
}

fn unsigned() -> Error {
    let detail = "nothing has been signed yet: a log has its first checkpoint within seconds of its first event, if the \
         service has a folder for the key (--audit-dir)";
    Error::new(StatusCode::NOT_FOUND, "no_checkpoint", detail)
}

/// Returns the installation's verifier key, which stands for the keys of all its logs: name, id and public key, as the
/// format of signed notes has them. Keep a copy where the operator of the service cannot change it.
#[utoipa::path(
    get, path = "/audit/key", tag = "audit", operation_id = "read_audit_key",
    responses(
        (status = 200, description = "The verifier key, on a line", content_type = "text/plain", body = String,
            example = json!("fleetlog-example+8505152f+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4\n")),
        (status = 404, description = "Nothing has been signed yet (`no_checkpoint`)"),
    ),
)]
async fn read_audit_key(door: May<EventsRead>, _: Query<NoParameters>) -> Result<impl IntoResponse, Error> {
    let key = read::key(door.log()).await?;
    Ok(line(&key.ok_or_else(unsigned)?))
}

/// Returns the verifier key of a log.
#[utoipa::path(
    get, path = "/audit/{log}/key", tag = "audit", operation_id = "read_log_key",
    params(("log" = String, Path, description = "The log's number")),
    responses(
        (status = 200, description = "The verifier key, on a line", content_type = "text/plain", body = String,
            example = json!("fleetlog-example/2+315ec596+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4\n")),
        (status = 404, description = "No such log, or nothing has been signed yet (`no_checkpoint`)"),
    ),
)]
async fn read_log_key(
    door: May<EventsRead, Log>,
    _: Query<NoParameters>,
) -> Result<impl IntoResponse, Error> {
    let key = read::key(door.log()).await?;
    Ok(line(&read::key_of(&key.ok_or_else(unsigned)?, door.id)))
}

/// Returns the newest checkpoint of a log: its size and root, signed by the log's key, and by witnesses. Its form is that
/// of C2SP tlog-checkpoint.
#[utoipa::path(
    get, path = "/audit/{log}/checkpoint", tag = "audit", operation_id = "read_checkpoint",
    params(("log" = String, Path, description = "The log's number")),
    responses(
        (status = 200, description = "The checkpoint, as a signed note", content_type = "text/plain", body = String,
            example = json!("fleetlog-example/2\n3\nveJSUyBrslDP5mg59n5Em4eLdapb3lCoXC8yxLRWRqg=\n\n\u{2014} \
                fleetlog-example/2 MV7FlreZySwiINAT1nrX55L91o3c798PhWfJaSVo3lRxt67JvXKn0KHX8NqrmKaZXkVyI7n8l3ikqRDy2kFFx3Ufygk=\n")),
        (status = 404, description = "No such log, or it has no checkpoint yet (`no_checkpoint`)"),
    ),
)]
async fn read_checkpoint(door: May<EventsRead, Log>, _: Query<NoParameters>) -> Result<String, Error> {
    let newest = read::checkpoint(door.log(), door.id).await?;
    Ok(newest.ok_or_else(unsigned)?.note.text().to_owned())
}

/// Lists the witnesses that the service sends a log's checkpoints to, with what each took last. Whoever cosigns by itself, with
/// `POST /audit/{log}/cosignatures`, is not among them: its line is under the checkpoint.
#[utoipa::path(
    get, path = "/audit/{log}/witnesses", tag = "audit", operation_id = "list_witnesses",
    params(("log" = String, Path, description = "The log's number")),
    responses(
        (status = 200, description = "All of the witnesses", body = List<wire::Witness>),
        (status = 404, description = "No such log"),
    ),
)]
async fn list_witnesses(
    door: May<EventsRead, Log>,
    _: Query<NoParameters>,
) -> Result<Json<List<wire::Witness>>, Error> {
    let standings = read::witnesses(door.log(), door.id).await?;
    let to_platform = authorize(&door.caller, Action::EventsRead, &Resource::Platform).is_ok();
    let shown = standings.into_iter().map(|standing| wire::Witness::shown(standing, to_platform));
    Ok(Json(List::whole(shown.collect::<Vec<_>>())))
}

/// A witness's signature under a checkpoint.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewCosignature)]
struct New {
    /// The size of the checkpoint that the witness has signed.
    #[schema(minimum = 0, example = 3)]
    size: u64,
    /// The signature's line, as C2SP tlog-cosignature has it, at most 4,096 bytes: an em dash, the witness's name, and in
    /// base64 the key's id, the time and the signature.
    #[schema(
        max_length = 4096,
        example = "\u{2014} witness.example/w1 AAECAwAAAABlU/EAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=="
    )]
    line: String,
}

/// Adds a witness's signature to a checkpoint of a log. Each key has one line on a checkpoint: the first one stays, and
/// whoever sends it again gets the same answer. The signature is not checked: readers of the checkpoint check those of
/// the witnesses that they trust.
#[utoipa::path(
    post, path = "/audit/{log}/cosignatures", tag = "audit", operation_id = "add_cosignature",
    params(("log" = String, Path, description = "The log's number")),
    request_body = New,
    responses(
        (status = 204, description = "The checkpoint has the line"),
        (status = 404, description = "No such log, or it has no checkpoint of this size, or none any more (`no_checkpoint`)"),
        (status = 409, description = "The checkpoint has 32 signatures already (`full`)"),
    ),
)]
async fn add_cosignature(door: May<AuditCosign, Log>, Body(new): Body<New>) -> Result<StatusCode, Error> {
    match read::cosign(door.log(), door.id, new.size, &new.line).await? {
        Cosigned::Added => Ok(StatusCode::NO_CONTENT),
        Cosigned::NoCheckpoint => {
            let detail = "the log has no checkpoint of this size, or none any more; sign its newest one";
            Err(Error::new(StatusCode::NOT_FOUND, "no_checkpoint", detail))
        }
        Cosigned::Full => {
            Err(Error::conflict("full", "the checkpoint has 32 signatures already; sign a newer one"))
        }
        Cosigned::Malformed => Err(Error::field(
            "line",
            "expected an em dash, a witness's name other than the log's, and a cosignature in base64, at most 4096 bytes",
        )),
    }
}
