//! One command for many devices: which devices, checked and put on the record. The
//! [`dispatcher`](crate::dispatch) goes on with it from there.

use chrono::{DateTime, Utc};
use fleetlog_aggregates::command_batch::{self, CommandBatch, Input, Request};
use fleetlog_aggregates::device::Labels;
use fleetlog_aggregates::identity::Uid;
use fleetlog_event_log::TenantLog;
use fleetlog_event_log::control::{ExecuteError, Metadata};
use fleetlog_projections::devices;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::idempotency::{self, Key, NAMESPACE};
use super::{Accepted, Commands, Error, LIFE, MAX_ATTEMPTS, TIMEOUT_S};

/// The events that a request puts on a batch's record.
const REQUEST: &[&str] = &["CommandBatchRequested", "CommandBatchTargeted"];

/// Which devices: exactly one of these.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case", try_from = "Said")]
pub enum Selector {
    /// These.
    #[schema(value_type = Vec<String>)]
    Devices(Vec<Uid>),
    /// All in service that carry all of these labels, at least one.
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    Labels(Labels),
}

/// What a requester says about devices. Read field by field, so that a refusal names the one that is wrong.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    devices: Option<Vec<Uid>>,
    labels: Option<Labels>,
}

impl TryFrom<Said> for Selector {
    type Error = &'static str;

    fn try_from(said: Said) -> Result<Self, &'static str> {
        match (said.devices, said.labels) {
            (Some(devices), None) => Ok(Self::Devices(devices)),
            (None, Some(labels)) => Ok(Self::Labels(labels)),
            _ => Err("expected either devices or labels"),
        }
    }
}

/// A batch as it is asked for; what is absent has a command's default.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NewBatch {
    /// For which devices.
    pub selector: Selector,
    /// What to do.
    pub cmd: String,
    /// With what; nothing is `{}`.
    pub params: Option<Value>,
    /// How many commands are requested a second: 1 to 1,000.
    pub rate_per_s: u32,
    /// So many commands that failed or timed out end the batch. `None`: it goes on whatever fails.
    pub abort_after_failures: Option<u32>,
    /// See [`NewCommand`](super::NewCommand).
    pub timeout_s: Option<u32>,
    /// See [`NewCommand`](super::NewCommand).
    pub max_attempts: Option<u32>,
    /// See [`NewCommand`](super::NewCommand).
    pub expires_at: Option<DateTime<Utc>>,
}

/// The id of the command that a device gets as part of a batch.
#[must_use]
pub fn cmd_id(batch_id: Uuid, device: &Uid) -> Uuid {
    Uuid::new_v5(&NAMESPACE, format!("batch\n{batch_id}\n{device}").as_bytes())
}

impl Commands {
    /// Puts a batch on the record, if `allow` lets the devices through that it has chosen. It is committed when this
    /// returns, and will be sent.
    pub async fn send_batch<A: Future<Output = Result<Vec<Uid>, Error>>>(
        &self,
        log: &TenantLog,
        batch: NewBatch,
        key: Option<&Key>,
        metadata: Metadata,
        allow: impl FnOnce(Vec<Uid>) -> A,
    ) -> Result<Accepted, Error> {
        let actor = metadata.get("actor").cloned().unwrap_or_default();
        let id = key.map_or_else(Uuid::now_v7, |key| key.id(log.tenant(), &actor, "batch"));
        let digest = key.map(|_| idempotency::digest(&batch));
        let _guard = key.map(|_| self.in_flight.enter(id)).transpose()?;
        let stream = format!("{}/{id}", log.tenant());
        if let Some(digest) = &digest
            && let Some(first) = log.load::<CommandBatch>(&stream).await?.request()
        {
            return self
                .repeated::<CommandBatch>(
                    log,
                    id,
                    &stream,
                    REQUEST,
                    first.request_digest.as_ref() == Some(digest),
                )
                .await;
        }
        let params = self.check(log, &batch.cmd, batch.params, None).await?;
        let devices = allow(self.choose(log, &batch.selector).await?).await?;
        let now = Utc::now();
        let request = Request {
            selector: serde_json::to_value(&batch.selector).unwrap_or_default(),
            cmd: batch.cmd,
            params,
            requested_by: actor,
            timeout_s: batch.timeout_s.unwrap_or(TIMEOUT_S),
            max_attempts: batch.max_attempts.unwrap_or(MAX_ATTEMPTS),
            expires_at: batch.expires_at.unwrap_or(now + LIFE),
            rate_per_s: batch.rate_per_s,
            abort_after_failures: batch.abort_after_failures,
            request_digest: digest,
        };
        let input = Input::Request(request, devices, now);
        match log.execute::<CommandBatch>(&stream, input, metadata).await {
            Ok(Some(at)) => Ok(Accepted { id, at, repeated: false }),
            Err(ExecuteError::Refused(command_batch::Error::AlreadyRequested)) => {
                self.repeated::<CommandBatch>(log, id, &stream, REQUEST, true).await
            }
            Err(ExecuteError::Refused(command_batch::Error::OtherRequest)) => Err(Error::KeyReused),
            Ok(None) => Err(Error::Conflict),
            Err(error) => Err(error.into()),
        }
    }

    /// Requests no more of a batch's commands, and cancels those that no broker has taken over. Those that were sent
    /// run to their end.
    pub async fn cancel_batch(
        &self,
        log: &TenantLog,
        batch_id: Uuid,
        reason: Option<String>,
        metadata: Metadata,
    ) -> Result<Accepted, Error> {
        let by = metadata.get("actor").cloned().unwrap_or_default();
        let input = Input::Cancel { by, reason };
        let at =
            log.execute::<CommandBatch>(&format!("{}/{batch_id}", log.tenant()), input, metadata).await?;
        Ok(Accepted { id: batch_id, at: at.ok_or(Error::Conflict)?, repeated: false })
    }

    /// The devices that are meant, each once.
    async fn choose(&self, log: &TenantLog, selector: &Selector) -> Result<Vec<Uid>, Error> {
        let limit = command_batch::MAX_DEVICES + 1;
        let chosen = match selector {
            Selector::Devices(uids) => {
                if uids.len() > command_batch::MAX_DEVICES {
                    return Err(Error::Selector("expected to choose 1 to 100000 devices".to_owned()));
                }
                let mut uids = uids.clone();
                let mut seen = std::collections::HashSet::new();
                uids.retain(|uid| seen.insert(uid.clone()));
                let known = devices::in_service(log, &uids).await?;
                let known: std::collections::HashSet<&str> = known.iter().map(String::as_str).collect();
                if let Some(missing) = uids.iter().find(|uid| !known.contains(uid.as_str())) {
                    return Err(Error::Selector(format!("there is no device {missing} in service")));
                }
                uids
            }
            Selector::Labels(labels) if labels.is_empty() => {
                // Every device there is, most likely by mistake.
                return Err(Error::Selector("expected at least one label".to_owned()));
            }
            Selector::Labels(labels) => {
                let uids = devices::with_labels(log, labels, limit).await?;
                uids.into_iter().filter_map(|uid| uid.parse().ok()).collect()
            }
        };
        if chosen.is_empty() {
            return Err(Error::Selector("it chooses no device in service".to_owned()));
        }
        Ok(chosen)
    }
}
