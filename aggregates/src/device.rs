//! The `Device` aggregate, stream `tenant/uid`: one device, from registration to decommissioning.
//!
//! Telemetry does not pass through this aggregate; it has a lane of its own. Read top to bottom: commands, events,
//! errors, state, `decide`, `apply`, tests.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, DomainEvent};
use serde::{Deserialize, Deserializer, Serialize};
use uuid::Uuid;

use crate::gateway::{Behind, MAX_DEVICES};
use crate::words;

/// The longest display name, in characters.
pub const MAX_DISPLAY_NAME: usize = 200;
/// The most labels a device may carry.
pub const MAX_LABELS: usize = 64;
/// The longest label key or value, in characters.
pub const MAX_LABEL: usize = 128;
/// The longest time without a sign of life after which a device may count as offline, in seconds: 7 days. Battery devices
/// report once a day, or once a week.
pub const MAX_ONLINE_WITHIN_S: u32 = 7 * 86_400;
/// The most valid credentials a device may have at a time.
pub const MAX_CREDENTIALS: usize = 5;
/// The longest subject of a certificate, in characters.
pub const MAX_SUBJECT: usize = 1000;

/// Key and value pairs by which people and policies find devices.
pub type Labels = BTreeMap<String, String>;

/// What the `Device` aggregate decides on.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Register the device.
    Register(Admitted),
    /// Change what people have said about the device.
    Update(Change),
    /// Take the device out of service: its telemetry is quarantined from then on, and its history stays.
    Decommission,
    /// Issue a credential for the device to connect with. The secret is kept elsewhere.
    IssueCredential {
        /// The credential's id.
        credential_id: Uuid,
        /// The certificate that it stands for. `None`: it has a secret.
        certificate: Option<Certificate>,
        /// When the credential expires. `None` means never.
        expires_at: Option<DateTime<Utc>>,
        /// From when on the device's other credentials are no longer valid. `None` leaves them as they are.
        revoke_others: Option<DateTime<Utc>>,
        /// The devices that it speaks for besides this one, which is a gateway then.
        behind: Option<Behind>,
        /// The current time.
        at: DateTime<Utc>,
    },
    /// Revoke one of the device's credentials.
    RevokeCredential {
        /// The credential's id.
        credential_id: Uuid,
        /// The current time.
        at: DateTime<Utc>,
    },
}

/// The client certificate that a device logs in with, instead of a password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Certificate {
    /// This one, whoever has signed it: its fingerprint, which is the SHA-256 of its DER in 64 hexadecimal digits.
    Sha256(String),
    /// Each that the operator's authority has signed for this subject, as RFC 4514 writes one: `CN=dev-01,O=Example`.
    Subject(String),
}

impl Certificate {
    /// The same certificate, as it is stored: fingerprints in lower case, and without the colons that openssl writes.
    #[must_use]
    pub fn normal(self) -> Self {
        match self {
            Self::Sha256(digits) => Self::Sha256(digits.replace(':', "").to_ascii_lowercase()),
            subject @ Self::Subject(_) => subject,
        }
    }

    fn check(&self) -> Result<(), Error> {
        match self {
            Self::Sha256(digits) if digits.len() != 64 || !digits.bytes().all(is_lower_hex) => Err(
                Error::BadCertificate("a certificate's fingerprint is its SHA-256, in 64 hexadecimal digits"),
            ),
            Self::Subject(subject) if !is_text(subject, MAX_SUBJECT) || !is_rfc_4514(subject) => {
                Err(Error::BadCertificate(
                    "a certificate's subject is written like CN=dev-01,O=Example, without blanks around the signs: as \
                     `openssl x509 -noout -subject -nameopt RFC2253` shows it after subject=",
                ))
            }
            Self::Sha256(_) | Self::Subject(_) => Ok(()),
        }
    }
}

/// Whether a subject is written as RFC 4514 writes one. Another form, such as openssl's own `/O=Example/CN=dev-01` or
/// `O = Example, CN = dev-01`, would be no certificate's.
fn is_rfc_4514(subject: &str) -> bool {
    let mut is_escaped = false;
    let parts = subject.split(|sign| {
        let ends = !is_escaped && matches!(sign, ',' | '+');
        is_escaped = !is_escaped && sign == '\\';
        ends
    });
    let is_part = |part: &str| {
        let Some((key, value)) = part.split_once('=') else { return false };
        let is_key =
            !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte));
        is_key && !key.eq_ignore_ascii_case("subject") && !value.starts_with(' ')
    };
    parts.into_iter().all(is_part)
}

fn is_lower_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

/// What changes of a device; `None` leaves a field as it is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Change {
    /// The new name.
    pub name: Option<String>,
    /// The new labels, which replace all the old ones.
    pub labels: Option<Labels>,
    /// After how long without a sign of life the device counts as offline.
    pub online_within: Option<OnlineWithin>,
}

/// After how long without a sign of life a device counts as offline. As JSON: a number of seconds, or null.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Option<u32>", into = "Option<u32>")]
pub enum OnlineWithin {
    /// As long as the service's setting says.
    Usual,
    /// So many seconds: 1 to [`MAX_ONLINE_WITHIN_S`].
    Seconds(u32),
}

/// What is expected of a threshold, for people.
pub const EXPECTED_ONLINE_WITHIN: &str = "expected 1 to 604800 seconds, which is a week, or null";

impl TryFrom<i64> for OnlineWithin {
    type Error = &'static str;

    fn try_from(seconds: i64) -> Result<Self, Self::Error> {
        let within =
            u32::try_from(seconds).ok().filter(|seconds| (1..=MAX_ONLINE_WITHIN_S).contains(seconds));
        within.map(Self::Seconds).ok_or(EXPECTED_ONLINE_WITHIN)
    }
}

impl From<Option<u32>> for OnlineWithin {
    fn from(seconds: Option<u32>) -> Self {
        seconds.map_or(Self::Usual, Self::Seconds)
    }
}

impl From<OnlineWithin> for Option<u32> {
    fn from(within: OnlineWithin) -> Self {
        match within {
            OnlineWithin::Usual => None,
            OnlineWithin::Seconds(seconds) => Some(seconds),
        }
    }
}

impl OnlineWithin {
    /// Reads a field that is there: null is [`OnlineWithin::Usual`], and not an absent field.
    ///
    /// # Errors
    ///
    /// If it is neither null nor a number from 0 to 2^32 - 1.
    pub fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Self>, D::Error> {
        Self::deserialize(deserializer).map(Some)
    }
}

/// A device that is to be registered.
#[derive(Debug, Clone, PartialEq)]
pub struct Registration {
    /// What the registration came through.
    pub via: Via,
    /// A display name, for people.
    pub name: Option<String>,
    /// The device's first labels.
    pub labels: Labels,
}

/// A registration that fits within the tenant's device limit.
#[derive(Debug, Clone, PartialEq)]
pub struct Admitted(Registration);

impl Registration {
    /// The command that registers the device. Only for a caller that has counted the tenant's devices: this aggregate
    /// does not know the tenant's limit. `clippy.toml` holds all other code to
    /// `fleetlog_engine::devices::registration`.
    #[must_use]
    pub fn admit(self) -> Command {
        Command::Register(Admitted(self))
    }
}

/// What a registration came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    /// The device's own first message.
    Telemetry,
    /// A request to the API.
    Api,
}

words! { Via { Telemetry = "telemetry", Api = "api" } }

/// What has happened to a device. Stored for ever: only add to this.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// The device is registered from this event on.
    DeviceRegistered {
        /// What the registration came through.
        via: Via,
        /// A display name, for people.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// The device's labels.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        labels: Labels,
    },
    /// What people have said about the device changed; an absent field stayed as it was.
    DeviceUpdated {
        /// The new name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// The new labels, which replace all the old ones.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        labels: Option<Labels>,
        /// After how long without a sign of life the device counts as offline.
        #[serde(
            default,
            rename = "online_within_s",
            skip_serializing_if = "Option::is_none",
            deserialize_with = "OnlineWithin::present"
        )]
        online_within: Option<OnlineWithin>,
    },
    /// The device is out of service, and none of its credentials is valid any more.
    DeviceDecommissioned {},
    /// The device may connect with this credential from this event on.
    DeviceCredentialIssued {
        /// The credential's id.
        credential_id: Uuid,
        /// When the credential expires. `None` means never.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires_at: Option<DateTime<Utc>>,
        /// The certificate that it stands for. `None`: it has a secret.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        certificate: Option<Certificate>,
        /// The devices that it speaks for besides this one, which is a gateway then.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        behind: Option<Behind>,
    },
    /// A credential is no longer valid.
    DeviceCredentialRevoked {
        /// The credential's id.
        credential_id: Uuid,
        /// From when on the credential is no longer valid. `None` means at once.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<DateTime<Utc>>,
    },
}

/// The types of a device's events, by the names that they are stored under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventType {
    /// See [`Event::DeviceRegistered`].
    DeviceRegistered,
    /// See [`Event::DeviceUpdated`].
    DeviceUpdated,
    /// See [`Event::DeviceDecommissioned`].
    DeviceDecommissioned,
    /// See [`Event::DeviceCredentialIssued`].
    DeviceCredentialIssued,
    /// See [`Event::DeviceCredentialRevoked`].
    DeviceCredentialRevoked,
}

words! { EventType {
    DeviceRegistered = "DeviceRegistered",
    DeviceUpdated = "DeviceUpdated",
    DeviceDecommissioned = "DeviceDecommissioned",
    DeviceCredentialIssued = "DeviceCredentialIssued",
    DeviceCredentialRevoked = "DeviceCredentialRevoked",
} }

impl EventType {
    /// The status that an event of this type leaves a device in; `None` if the status stays as it was.
    #[must_use]
    pub fn status_after(self) -> Option<Status> {
        match self {
            Self::DeviceRegistered => Some(Status::Registered),
            Self::DeviceDecommissioned => Some(Status::Decommissioned),
            Self::DeviceUpdated | Self::DeviceCredentialIssued | Self::DeviceCredentialRevoked => None,
        }
    }

    /// The names of the event types that change a device's status.
    #[must_use]
    pub fn that_change_status() -> Vec<&'static str> {
        Self::names(|event| event.status_after().is_some())
    }

    /// The names of the event types that put a device into service.
    #[must_use]
    pub fn that_begin_service() -> Vec<&'static str> {
        Self::names(|event| event.status_after().is_some_and(Status::is_in_service))
    }

    /// The names of the event types that take a device out of service. Credentials issued earlier are no longer
    /// valid.
    #[must_use]
    pub fn that_end_service() -> Vec<&'static str> {
        Self::names(|event| event.status_after().is_some_and(|status| !status.is_in_service()))
    }

    /// The names of the event types that change what is shown of a device: all but those of its credentials.
    #[must_use]
    pub fn that_are_shown() -> Vec<&'static str> {
        Self::names(|event| match event {
            Self::DeviceRegistered | Self::DeviceUpdated | Self::DeviceDecommissioned => true,
            Self::DeviceCredentialIssued | Self::DeviceCredentialRevoked => false,
        })
    }

    fn names(which: impl Fn(Self) -> bool) -> Vec<&'static str> {
        Self::ALL.into_iter().filter(|event| which(*event)).map(Self::as_str).collect()
    }
}

impl Event {
    /// The event's type.
    #[must_use]
    pub fn kind(&self) -> EventType {
        match self {
            Self::DeviceRegistered { .. } => EventType::DeviceRegistered,
            Self::DeviceUpdated { .. } => EventType::DeviceUpdated,
            Self::DeviceDecommissioned {} => EventType::DeviceDecommissioned,
            Self::DeviceCredentialIssued { .. } => EventType::DeviceCredentialIssued,
            Self::DeviceCredentialRevoked { .. } => EventType::DeviceCredentialRevoked,
        }
    }
}

impl DomainEvent for Event {
    fn event_type(&self) -> String {
        self.kind().as_str().to_owned()
    }

    fn event_version(&self) -> String {
        "1.0".to_owned()
    }
}

/// Why a command was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The device is registered already.
    #[error("the device is registered already")]
    AlreadyRegistered,
    /// There is no such device.
    #[error("the device is not registered")]
    NotRegistered,
    /// The device has been taken out of service.
    #[error("the device is decommissioned")]
    Decommissioned,
    /// The device has as many valid credentials as it may have.
    #[error("a device has at most 5 credentials that are good; revoke one first")]
    TooManyCredentials,
    /// The device has no such credential, or the credential is no longer valid.
    #[error("the device has no such credential")]
    UnknownCredential,
    /// The credential's expiry is not in the future.
    #[error("a credential's end lies in the future")]
    AlreadyExpired,
    /// A certificate's fingerprint or subject is none.
    #[error("{0}")]
    BadCertificate(&'static str),
    /// A name or label is too long, empty, or holds a control character.
    #[error("{0}")]
    Invalid(&'static str),
}

/// A device's state, folded from its events.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Device {
    status: Status,
    name: Option<String>,
    labels: Labels,
    /// The device's own threshold, in seconds.
    #[serde(default)]
    online_within_s: Option<u32>,
    /// The credentials that have not been revoked yet, each with the time until which it is valid.
    #[serde(default)]
    credentials: BTreeMap<Uuid, Option<DateTime<Utc>>>,
}

/// A device's status.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// The device is not on the record.
    #[default]
    Unknown,
    /// The device is in service.
    Registered,
    /// The device is out of service.
    Decommissioned,
}

words! { Status { Unknown = "unknown", Registered = "registered", Decommissioned = "decommissioned" } }

impl Status {
    /// Whether the device may connect and counts among its tenant's devices.
    #[must_use]
    pub fn is_in_service(self) -> bool {
        match self {
            Self::Registered => true,
            Self::Unknown | Self::Decommissioned => false,
        }
    }
}

impl Device {
    /// The device's status.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status
    }

    /// The labels by which policies find the device.
    #[must_use]
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// The events that follow from a command. Pure: the same state and command always give the same answer.
    pub fn decide(&self, command: Command) -> Result<Vec<Event>, Error> {
        match (command, self.status) {
            (Command::Register(_), Status::Registered) => Err(Error::AlreadyRegistered),
            // A forgotten transmitter must not bring its device back into service; a person may.
            (
                Command::Register(Admitted(Registration { via: Via::Telemetry, .. }))
                | Command::Update(_)
                | Command::Decommission
                | Command::IssueCredential { .. }
                | Command::RevokeCredential { .. },
                Status::Decommissioned,
            ) => Err(Error::Decommissioned),
            (
                Command::Register(Admitted(Registration { via, name, labels })),
                Status::Unknown | Status::Decommissioned,
            ) => {
                check_name(name.as_deref())?;
                check_labels(&labels)?;
                Ok(vec![Event::DeviceRegistered { via, name, labels }])
            }
            (Command::Update(change), Status::Registered) => self.update(change),
            (Command::Decommission, Status::Registered) => Ok(vec![Event::DeviceDecommissioned {}]),
            (
                Command::IssueCredential {
                    credential_id,
                    certificate,
                    expires_at,
                    revoke_others,
                    behind,
                    at,
                },
                Status::Registered,
            ) => {
                certificate.as_ref().map_or(Ok(()), Certificate::check)?;
                check_behind(behind.as_ref())?;
                let mut events = self.revoke_others(expires_at, revoke_others, at)?;
                events.push(Event::DeviceCredentialIssued { credential_id, expires_at, certificate, behind });
                Ok(events)
            }
            (Command::RevokeCredential { credential_id, at }, Status::Registered) => {
                let good = self.good(at).any(|(id, _)| id == credential_id);
                let revoked = Event::DeviceCredentialRevoked { credential_id, from: None };
                good.then(|| vec![revoked]).ok_or(Error::UnknownCredential)
            }
            (
                Command::Update(_)
                | Command::Decommission
                | Command::IssueCredential { .. }
                | Command::RevokeCredential { .. },
                Status::Unknown,
            ) => Err(Error::NotRegistered),
        }
    }

    fn update(&self, Change { name, labels, online_within }: Change) -> Result<Vec<Event>, Error> {
        check_name(name.as_deref())?;
        labels.as_ref().map_or(Ok(()), check_labels)?;
        online_within.map_or(Ok(()), check_online_within)?;
        let name = name.filter(|name| self.name.as_ref() != Some(name));
        let labels = labels.filter(|labels| self.labels != *labels);
        let online_within = online_within.filter(|within| self.online_within_s != (*within).into());
        let changes = name.is_some() || labels.is_some() || online_within.is_some();
        Ok(changes.then_some(Event::DeviceUpdated { name, labels, online_within }).into_iter().collect())
    }

    /// The credentials that are valid at a time, each with the time until which it is valid.
    fn good(&self, at: DateTime<Utc>) -> impl Iterator<Item = (Uuid, Option<DateTime<Utc>>)> {
        let credentials = self.credentials.iter().map(|(id, until)| (*id, *until));
        credentials.filter(move |(_, until)| until.is_none_or(|until| until > at))
    }

    /// Makes room for a credential that expires then.
    fn revoke_others(
        &self,
        expires_at: Option<DateTime<Utc>>,
        revoke_others: Option<DateTime<Utc>>,
        at: DateTime<Utc>,
    ) -> Result<Vec<Event>, Error> {
        if expires_at.is_some_and(|expires_at| expires_at <= at) {
            return Err(Error::AlreadyExpired);
        }
        let at_once = revoke_others.is_some_and(|from| from <= at);
        if !at_once && self.good(at).count() >= MAX_CREDENTIALS {
            return Err(Error::TooManyCredentials);
        }
        let revoked = revoke_others.into_iter().flat_map(|from| {
            let others = self.good(at).filter(move |(_, until)| until.is_none_or(|until| until > from));
            others.map(move |(credential_id, _)| Event::DeviceCredentialRevoked {
                credential_id,
                from: Some(from).filter(|_| !at_once),
            })
        });
        Ok(revoked.collect())
    }
}

fn is_text(text: &str, max: usize) -> bool {
    !text.is_empty() && text.chars().count() <= max && !text.chars().any(char::is_control)
}

fn check_name(name: Option<&str>) -> Result<(), Error> {
    match name {
        Some(name) if !is_text(name, MAX_DISPLAY_NAME) => {
            Err(Error::Invalid("a name is 1 to 200 characters without control characters"))
        }
        _ => Ok(()),
    }
}

fn check_behind(behind: Option<&Behind>) -> Result<(), Error> {
    match behind {
        Some(Behind::Devices(devices)) if !(1..=MAX_DEVICES).contains(&devices.len()) => {
            Err(Error::Invalid("a gateway's credential names 1 to 1000 devices, or a prefix"))
        }
        _ => Ok(()),
    }
}

fn check_online_within(within: OnlineWithin) -> Result<(), Error> {
    match within {
        OnlineWithin::Seconds(seconds) if !(1..=MAX_ONLINE_WITHIN_S).contains(&seconds) => {
            Err(Error::Invalid("a device counts as online within 1 to 604800 seconds, which is a week"))
        }
        _ => Ok(()),
    }
}

fn check_labels(labels: &Labels) -> Result<(), Error> {
    if labels.len() > MAX_LABELS {
        return Err(Error::Invalid("a device carries at most 64 labels"));
    }
    if labels.iter().any(|(key, value)| !is_text(key, MAX_LABEL) || !is_text(value, MAX_LABEL)) {
        return Err(Error::Invalid(
            "a label's key and value are 1 to 128 characters without control characters",
        ));
    }
    Ok(())
}

impl Aggregate for Device {
    const TYPE: &'static str = "Device";
    type Command = Command;
    type Event = Event;
    type Error = Error;
    type Services = ();

    async fn handle(&mut self, command: Command, (): &(), sink: &EventSink<Self>) -> Result<(), Error> {
        for event in self.decide(command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: Event) {
        self.status = event.kind().status_after().unwrap_or(self.status);
        match event {
            Event::DeviceRegistered { name, labels, .. } => {
                *self = Self { status: self.status, name, labels, ..Self::default() };
            }
            Event::DeviceUpdated { name, labels, online_within } => {
                self.name = name.or_else(|| self.name.take());
                if let Some(labels) = labels {
                    self.labels = labels;
                }
                if let Some(within) = online_within {
                    self.online_within_s = within.into();
                }
            }
            Event::DeviceDecommissioned {} => self.credentials.clear(),
            Event::DeviceCredentialIssued { credential_id, expires_at, .. } => {
                self.credentials.insert(credential_id, expires_at);
            }
            Event::DeviceCredentialRevoked { credential_id, from: None } => {
                self.credentials.remove(&credential_id);
            }
            Event::DeviceCredentialRevoked { credential_id, from } => {
                self.credentials.insert(credential_id, from);
            }
        }
    }
}

#[cfg(test)]
mod tests;
