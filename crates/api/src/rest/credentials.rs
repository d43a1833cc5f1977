//! Devices' credentials: list, issue, rotate, revoke. A secret appears in the answer that issues it, and nowhere else.

use axum::Json;
use axum::response::IntoResponse;
use chrono::TimeDelta;
use fleetlog_access::Action;
use fleetlog_access::action::ActionType;
use fleetlog_access::action::typed::{CredentialsRead, CredentialsWrite};
use fleetlog_aggregates::device;
use fleetlog_aggregates::gateway::Behind;
use fleetlog_engine::devices::credentials::Device as Owner;
use fleetlog_engine::devices::credentials::fleet::{self, DeviceCredential};
use fleetlog_engine::devices::credentials::issue::{self, Credential};
use fleetlog_event_log::control::ExecuteError;
use fleetlog_projections::devices::Device;
use fleetlog_projections::paging::{self, BadCursor};
use http::{StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use uuid::Uuid;

use super::error::Error;
use super::extract::{Body, Named, Query};
use super::json::Object;
use super::page::List;
use super::parameters::{Limit, LogPosition, Moment};
use super::{PREFIX, RequestId, wire};
use crate::app::App;
use crate::door::action::guarded;
use crate::door::{May, guard};
use crate::resource::{Resource, uuid};

/// The longest overlap of a rotation, in seconds: 365 days.
const MAX_OVERLAP: u32 = 31_536_000;

pub(super) fn router() -> OpenApiRouter<App> {
    guarded!(list_credentials, list_device_credentials, issue_device_credential, revoke_device_credential)
}

impl Resource for Credential {
    type Id = Uuid;
    const MISSING: &'static str = "there is no such credential";

    fn id(name: &str) -> Option<Uuid> {
        uuid(name)
    }
}

/// Selects the credentials of a page.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Which {
    /// Part of the device's uid, in any case.
    q: Option<String>,
    /// Only credentials that are valid now, or only the others.
    active: Option<bool>,
    /// The most items to return on a page.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000, default = 100)]
    limit: Limit,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Lists the credentials of all of the tenant's devices, without their secrets: by device, and of each device the oldest
/// first.
#[utoipa::path(
    get, path = "/credentials", tag = "devices", operation_id = "list_credentials", params(Which),
    responses((status = 200, description = "A page of credentials", body = List<wire::DeviceCredential>)),
)]
async fn list_credentials(
    door: May<CredentialsRead>,
    Query(Which { q, active, limit, cursor }): Query<Which>,
) -> Result<Json<List<wire::DeviceCredential>>, Error> {
    let after = cursor.as_deref().map(paging::decode).transpose();
    let after = after.map_err(|bad: BadCursor| Error::field("cursor", bad))?;
    let page = fleet::list(door.log(), &fleet::Query { q, active, after, limit: limit.0 }).await?;
    let mut list: List<DeviceCredential> =
        List::page(page, |credential| paging::encode(&fleet::Cursor::from(credential)));
    let action = Action::CredentialsRead;
    guard::retain_by_device(&door.caller, door.log(), action, &mut list.items, |item| &item.uid).await?;
    Ok(Json(list.map(Into::into)))
}

/// Lists a device's credentials, newest first, without their secrets.
#[utoipa::path(
    get, path = "/devices/{uid}/credentials", tag = "devices", operation_id = "list_device_credentials",
    params(("uid" = String, Path, description = "The device's uid")),
    responses(
        (status = 200, description = "The newest thousand", body = List<wire::Credential>),
        (status = 404, description = "No such device"),
    ),
)]
async fn list_device_credentials(
    door: May<CredentialsRead, Device>,
) -> Result<Json<List<wire::Credential>>, Error> {
    let listed = issue::list(door.log(), &named(&door)).await?;
    listed.map(|listed| Json(List::whole(listed))).ok_or_else(Error::missing::<Device>)
}

/// A client certificate that a device logs in with over TLS: one of the two.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", try_from = "OneOf")]
enum Certificate {
    /// This certificate, whoever has signed it: its fingerprint, which is the SHA-256 of its DER in hexadecimal digits.
    /// Colons are passed over.
    #[schema(example = json!({"sha256": "d0b1e4f0c1cb5fbd4ad15a9f4a8b4d2b5f3c1a7e0f9d8c7b6a5948372615f4e3"}))]
    Sha256(String),
    /// Each certificate that an authority of `--mqtt-client-ca` has signed for this subject, as RFC 4514 writes one.
    #[schema(example = json!({"subject": "CN=dev-01,O=Example"}))]
    Subject(String),
}

/// A certificate by the names of its fields.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OneOf {
    sha256: Option<String>,
    subject: Option<String>,
}

impl TryFrom<OneOf> for Certificate {
    type Error = &'static str;

    fn try_from(named: OneOf) -> Result<Self, Self::Error> {
        match (named.sha256, named.subject) {
            (Some(digits), None) => Ok(Self::Sha256(digits)),
            (None, Some(subject)) => Ok(Self::Subject(subject)),
            (None, None) | (Some(_), Some(_)) => Err("expected one of sha256 and subject"),
        }
    }
}

impl From<Certificate> for device::Certificate {
    fn from(certificate: Certificate) -> Self {
        match certificate {
            Certificate::Sha256(digits) => Self::Sha256(digits),
            Certificate::Subject(subject) => Self::Subject(subject),
        }
    }
}

/// A credential to issue.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewCredential {
    /// When the credential expires; never if absent.
    #[schema(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    expires_at: Option<Moment>,
    /// For a rotation: for how many seconds from now the device's other credentials stay good. At 0 they end at once, and
    /// their connections within seconds. Where absent they stay as they are.
    #[schema(maximum = 31_536_000)]
    revoke_others_in_s: Option<u32>,
    /// The certificate that the device shows instead of a password. Where absent it is given a password.
    #[schema(value_type = Option<Certificate>)]
    certificate: Option<Object<Certificate>>,
    /// For a gateway: the devices of the tenant that it speaks for besides itself. With the credential it publishes for them and
    /// hears their commands.
    #[schema(value_type = Option<wire::Behind>)]
    behind: Option<Object<Behind>>,
}

/// The credential that was issued.
#[derive(Serialize, ToSchema)]
struct IssuedCredential {
    /// The credential's id, to revoke it by.
    credential_id: Uuid,
    /// The MQTT user name.
    #[schema(example = "t0/dev-01")]
    username: String,
    /// The MQTT password. It is shown only in this answer, and is not stored. Absent if the device shows a certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<String>,
    /// The position of this write on the record.
    #[schema(example = "1:42")]
    position: Option<String>,
}

/// Issues a credential to a device. Its secret appears in this answer, and nowhere else.
#[utoipa::path(
    post, path = "/devices/{uid}/credentials", tag = "devices", operation_id = "issue_device_credential",
    request_body = NewCredential,
    params(("uid" = String, Path, description = "The device's uid")),
    responses(
        (status = 201, description = "The credential, with its secret", body = IssuedCredential, headers(("Location" = String))),
        (status = 404, description = "No such device"),
        (status = 409, description = "Out of service, or it has five already"),
    ),
)]
async fn issue_device_credential(
    door: May<CredentialsWrite, Device>,
    request: RequestId,
    Body(NewCredential { expires_at, revoke_others_in_s, certificate, behind }): Body<NewCredential>,
) -> Result<impl IntoResponse, Error> {
    if revoke_others_in_s.is_some_and(|overlap| overlap > MAX_OVERLAP) {
        return Err(Error::field("revoke_others_in_s", "expected at most 31536000, which is a year"));
    }
    let behind = behind.map(|Object(behind)| behind);
    may_speak_for(&door, behind.as_ref()).await?;
    let wish = issue::Wish {
        certificate: certificate.map(|Object(certificate)| certificate.into()),
        expires_at: expires_at.map(|Moment(at)| at),
        revoke_others_in: revoke_others_in_s.map(|overlap| TimeDelta::seconds(overlap.into())),
        behind,
    };
    let metadata = request.metadata(&door.caller);
    let device = named(&door);
    let issued = issue::issue(door.log(), &device, wish, metadata).await.map_err(|error| match error {
        ExecuteError::Refused(refused @ device::Error::AlreadyExpired) => Error::field("expires_at", refused),
        ExecuteError::Refused(refused @ device::Error::BadCertificate(_)) => {
            Error::field("certificate", refused)
        }
        other => other.into(),
    })?;
    door.app.devices.has_new_secret(&device);
    let location = format!("{PREFIX}/devices/{}/credentials/{}", device.uid, issued.credential_id);
    let body = IssuedCredential {
        credential_id: issued.credential_id,
        username: device.to_string(),
        password: issued.secret.map(|secret| secret.reveal().to_owned()),
        position: issued.position.map(|at| LogPosition::from(at).to_string()),
    };
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(body)))
}

/// Refuses a credential that speaks for a device to which its caller may not issue one. Policies decide by the labels of a device,
/// which nobody knows of the devices that a prefix will stand for.
async fn may_speak_for(door: &May<CredentialsWrite, Device>, behind: Option<&Behind>) -> Result<(), Error> {
    let (caller, action) = (&door.caller, Action::CredentialsWrite);
    match behind {
        Some(Behind::Prefix(_)) if caller.is_ruled(action) => Err(Error::field(
            "behind",
            "expected the devices by name, because your tenant's policies decide about each device",
        )),
        Some(Behind::Devices(uids)) if caller.is_ruled(action) => {
            for uid in uids {
                let decided = guard::device(caller, door.log(), action, uid).await;
                decided.map_err(|refused| refused.noted(&door.app, caller))?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// The result of a write.
#[derive(Serialize, ToSchema)]
struct Revoked {
    /// The id of the credential.
    credential_id: Uuid,
    /// The position of this write on the record.
    #[schema(example = "1:42")]
    position: Option<String>,
}

/// Revokes a device's credential. A connection that was made with it ends within seconds.
#[utoipa::path(
    delete, path = "/devices/{uid}/credentials/{id}", tag = "devices", operation_id = "revoke_device_credential",
    params(
        ("uid" = String, Path, description = "The device's uid"),
        ("id" = Uuid, Path, description = "The credential's id"),
    ),
    responses(
        (status = 200, description = "The credential is revoked", body = Revoked),
        (status = 404, description = "No such device, or no such credential that is good"),
        (status = 409, description = "Out of service"),
    ),
)]
async fn revoke_device_credential(
    door: May<CredentialsWrite, Device>,
    request: RequestId,
    Named(credential_id): Named<Credential>,
) -> Result<Json<Revoked>, Error> {
    let metadata = request.metadata(&door.caller);
    let position = issue::revoke(door.log(), &named(&door), credential_id, metadata).await?;
    let position = position.map(|at| LogPosition::from(at).to_string());
    Ok(Json(Revoked { credential_id, position }))
}

/// Returns the door's device as the owner of credentials.
fn named<A: ActionType>(door: &May<A, Device>) -> Owner {
    Owner { tenant: door.caller.tenant.clone(), uid: door.id.clone() }
}
