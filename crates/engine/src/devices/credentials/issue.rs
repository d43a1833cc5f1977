//! Issues, rotates, revokes and lists the credentials of a tenant's devices.

use chrono::{DateTime, TimeDelta, Utc};
use fleetlog_aggregates::device::{
    self, Certificate, Command, Device as Aggregate, Event, EventType, Status,
};
use fleetlog_aggregates::gateway::Behind;
use fleetlog_event_log::TenantLog;
use fleetlog_event_log::control::{Actor, Committed, ExecuteError, Metadata};
use fleetlog_event_log::record::{Decision, Recorder};
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{FromRow, Row};
use uuid::Uuid;

use super::Device;
use super::known::certificate;
use super::secret::{Hash, Secret};

/// How often a change is decided again after a conflict with another change to the device.
const MAX_CONFLICTS: u32 = 5;
/// The most credentials in a list; the newest are listed.
const LISTED: i64 = 1000;

/// Why a change failed.
pub type Error = ExecuteError<device::Error>;

/// Options of a new credential.
#[derive(Debug, Clone, Default)]
pub struct Wish {
    /// The certificate that the credential stands for. `None`: it has a secret.
    pub certificate: Option<Certificate>,
    /// When the credential expires; `None` means never.
    pub expires_at: Option<DateTime<Utc>>,
    /// How long from now the device's other credentials stay valid; `None` leaves them as they are.
    pub revoke_others_in: Option<TimeDelta>,
    /// The devices that it speaks for besides its own, which is a gateway then.
    pub behind: Option<Behind>,
}

/// A new credential. Its secret, if it has one, is known only now.
#[derive(Debug)]
pub struct Issued {
    /// The credential's id.
    pub credential_id: Uuid,
    /// The secret: the password of the device's user. `None`: the device shows a certificate instead.
    pub secret: Option<Secret>,
    /// The position of the event.
    pub position: Option<Committed>,
}

/// A device's credential, without its secret.
#[derive(Debug)]
pub struct Credential {
    /// The credential's id.
    pub credential_id: Uuid,
    /// The certificate that it stands for; `None`: it has a secret.
    pub certificate: Option<Certificate>,
    /// Whether the credential is valid now.
    pub active: bool,
    /// The devices that it speaks for besides its own, which is a gateway then.
    pub behind: Option<Behind>,
    /// When the credential was issued.
    pub created_at: DateTime<Utc>,
    /// Who issued the credential: the id of a user or of an API key.
    pub created_by: String,
    /// When the credential expires; null if never.
    pub expires_at: Option<DateTime<Utc>>,
    /// When the credential was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
    /// When the device last logged in with the credential, exact to a minute.
    pub last_used_at: Option<DateTime<Utc>>,
}

impl FromRow<'_, PgRow> for Credential {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            credential_id: row.try_get("credential_id")?,
            certificate: certificate(row)?,
            active: row.try_get("active")?,
            behind: row.try_get::<Option<Json<_>>, _>("behind")?.map(|Json(behind)| behind),
            created_at: row.try_get("created_at")?,
            created_by: row.try_get("created_by")?,
            expires_at: row.try_get("expires_at")?,
            revoked_at: row.try_get("revoked_at")?,
            last_used_at: row.try_get("last_used_at")?,
        })
    }
}

/// Issues a credential to a device.
pub async fn issue(
    log: &TenantLog,
    device: &Device,
    wish: Wish,
    metadata: Metadata,
) -> Result<Issued, Error> {
    let (credential_id, secret) = (Uuid::now_v7(), Secret::random());
    let hash = secret.hash();
    let certificate = wish.certificate.map(Certificate::normal);
    let has_secret = certificate.is_none();
    let position = change(
        log,
        device,
        metadata,
        move |at| Command::IssueCredential {
            credential_id,
            certificate: certificate.clone(),
            expires_at: wish.expires_at,
            revoke_others: wish.revoke_others_in.map(|overlap| at + overlap),
            behind: wish.behind.clone(),
            at,
        },
        Some(hash),
    )
    .await?;
    // Beside a certificate the row has the hash of a secret that nobody has: a node that knows no certificates wants one.
    Ok(Issued { credential_id, secret: has_secret.then_some(secret), position })
}

/// Revokes a credential of a device.
pub async fn revoke(
    log: &TenantLog,
    device: &Device,
    credential_id: Uuid,
    metadata: Metadata,
) -> Result<Option<Committed>, Error> {
    change(log, device, metadata, move |at| Command::RevokeCredential { credential_id, at }, None).await
}

/// A device's credentials, newest first; `None` if there is no such device.
pub async fn list(log: &TenantLog, device: &Device) -> Result<Option<Vec<Credential>>, Error> {
    if log.load::<Aggregate>(&device.stream()).await?.status() == Status::Unknown {
        return Ok(None);
    }
    let sql = format!("SELECT {COLUMNS} {OF_A_DEVICE}");
    let listed = sqlx::query_as(&sql)
        .bind(EventType::that_end_service())
        .bind(device.tenant.as_str())
        .bind(device.uid.as_str())
        .bind(LISTED)
        .fetch_all(&mut *log.connection().await?)
        .await;
    Ok(Some(listed.map_err(fleetlog_event_log::Error::from)?))
}

/// Decides on a command, and writes the rows and the events in one transaction. `hash` belongs to the new credential,
/// if there is one.
async fn change(
    log: &TenantLog,
    device: &Device,
    metadata: Metadata,
    command: impl Fn(DateTime<Utc>) -> Command + Clone + Send + 'static,
    hash: Option<Hash>,
) -> Result<Option<Committed>, Error> {
    for _ in 0..MAX_CONFLICTS {
        let (device, metadata, command) = (device.clone(), metadata.clone(), command.clone());
        let changed = log.record(move |recorder| {
            Box::pin(async move {
                let at = now(recorder).await?;
                let decision = recorder.decide::<Aggregate>(device.stream(), command(at)).await?;
                write(recorder, &device, &decision, hash, &metadata.actor).await?;
                recorder.put(&decision, &metadata).await
            })
        });
        match changed.await {
            Err(ExecuteError::Conflict) => {}
            changed => return changed,
        }
    }
    Err(ExecuteError::Conflict)
}

/// The time by the database's clock, which also decides on every login.
async fn now(recorder: &mut Recorder) -> Result<DateTime<Utc>, fleetlog_event_log::Error> {
    Ok(sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(recorder.connection()).await?)
}

async fn write(
    recorder: &mut Recorder,
    device: &Device,
    decision: &Decision<Aggregate>,
    hash: Option<Hash>,
    actor: &Actor,
) -> Result<(), fleetlog_event_log::Error> {
    for event in decision.events() {
        let query = match (event, hash) {
            (
                Event::DeviceCredentialIssued { credential_id, expires_at, certificate, behind },
                Some(hash),
            ) => {
                let (sha256, subject) = match certificate {
                    Some(Certificate::Sha256(digits)) => (Some(digits), None),
                    Some(Certificate::Subject(subject)) => (None, Some(subject)),
                    None => (None, None),
                };
                sqlx::query(INSERT)
                    .bind(credential_id)
                    .bind(expires_at)
                    .bind(hash.as_bytes().to_vec())
                    .bind(decision.sequence())
                    .bind(actor.to_string())
                    .bind(sha256)
                    .bind(subject)
                    .bind(behind.as_ref().map(Json))
            }
            (Event::DeviceCredentialRevoked { credential_id, from: None }, _) => {
                sqlx::query(REVOKE).bind(credential_id)
            }
            (Event::DeviceCredentialRevoked { credential_id, from }, _) => {
                sqlx::query(EXPIRE).bind(credential_id).bind(from)
            }
            (Event::DeviceCredentialIssued { .. }, None)
            | (
                Event::DeviceRegistered { .. } | Event::DeviceUpdated { .. } | Event::DeviceDecommissioned {},
                _,
            ) => {
                continue;
            }
        };
        query.bind(device.tenant.as_str()).bind(device.uid.as_str()).execute(recorder.connection()).await?;
    }
    Ok(())
}

const INSERT: &str = "
    INSERT INTO device_credentials (credential_id, expires_at, secret_hash, sequence, created_by,
        certificate_sha256, certificate_subject, behind, tenant, uid)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";

const REVOKE: &str = "
    UPDATE device_credentials SET revoked_at = clock_timestamp()
    WHERE credential_id = $1 AND tenant = $2 AND uid = $3";

const EXPIRE: &str = "
    UPDATE device_credentials SET expires_at = $2 WHERE credential_id = $1 AND tenant = $3 AND uid = $4";

/// What a list shows of a credential. `$1`: the types of the events that take a device out of service.
pub(super) const COLUMNS: &str = "
    credential_id, certificate_sha256, certificate_subject, behind, created_at, created_by, expires_at, revoked_at,
    last_used_at, EXISTS (
        SELECT FROM good_device_credentials($1) AS good
        WHERE good.credential_id = credential.credential_id) AS active";

const OF_A_DEVICE: &str = "
    FROM device_credentials AS credential
    WHERE tenant = $2 AND uid = $3
    ORDER BY created_at DESC, credential_id
    LIMIT $4";
