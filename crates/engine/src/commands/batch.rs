//! Batches: chooses the devices of a command for many, checks the request and appends it. The
//! [`dispatcher`](crate::dispatch) then requests the commands.

use chrono::{DateTime, Utc};
use fleetlog_aggregates::command_batch::{self, CommandBatch, Input, Request};
use fleetlog_aggregates::device::Labels;
use fleetlog_aggregates::identity::Uid;
use fleetlog_event_log::TenantLog;
use fleetlog_event_log::control::{ExecuteError, Metadata};
use fleetlog_projections::devices;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::idempotency::{self, Key, NAMESPACE};
use super::{Accepted, Commands, Error, LIFE, TIMEOUT_S};

/// The types of the events that a request appends to a batch's stream.
const REQUEST: &[&str] = &["CommandBatchRequested", "CommandBatchTargeted"];

/// The devices of a batch, chosen in exactly one of these ways.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Selector {
    /// The devices with these uids.
    Devices(Vec<Uid>),
    /// All devices in service that carry all of these labels; at least one label is needed.
    Labels(Labels),
}

/// A requested batch. An absent field has the default of a single command.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NewBatch {
    /// The devices of the batch.
    pub selector: Selector,
    /// The command type.
    pub cmd: String,
    /// The parameters; `None` means `{}`.
    pub params: Option<Value>,
    /// How many commands are requested a second: 1 to 1,000.
    pub rate_per_s: u32,
    /// This many failed or timed-out commands end the batch. `None`: no failure ends it.
    pub abort_after_failures: Option<u32>,
    /// See [`NewCommand`](super::NewCommand).
    pub timeout_s: Option<u32>,
    /// See [`NewCommand`](super::NewCommand).
    pub max_attempts: Option<u32>,
    /// See [`NewCommand`](super::NewCommand).
    pub expires_at: Option<DateTime<Utc>>,
}

/// The id of a device's command in a batch.
#[must_use]
pub fn cmd_id(batch_id: Uuid, device: &Uid) -> Uuid {
    Uuid::new_v5(&NAMESPACE, format!("batch\n{batch_id}\n{device}").as_bytes())
}

impl Commands {
    /// Appends the request for a batch, if `allow` accepts the chosen devices. When this returns, the request is
    /// committed and the dispatcher will request the commands.
    pub async fn send_batch<A: Future<Output = Result<Vec<Uid>, Error>>>(
        &self,
        log: &TenantLog,
        batch: NewBatch,
        key: Option<&Key>,
        metadata: Metadata,
        allow: impl FnOnce(Vec<Uid>) -> A,
    ) -> Result<Accepted, Error> {
        let actor = metadata.actor.to_string();
        let id = key.map_or_else(Uuid::now_v7, |key| key.id(log.tenant(), &actor, "batch"));
        let digest = key.map(|_| idempotency::digest(&batch));
        let _guard = key.map(|_| self.in_flight.enter(id)).transpose()?;
        let stream = log.stream(id);
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
        let (params, attempts) = self.check(log, &batch.cmd, batch.params, None).await?;
        let devices = allow(self.choose(log, &batch.selector).await?).await?;
        let now = log.now();
        let request = Request {
            selector: serde_json::to_value(&batch.selector).unwrap_or_default(),
            cmd: batch.cmd,
            params,
            requested_by: actor,
            timeout_s: batch.timeout_s.unwrap_or(TIMEOUT_S),
            max_attempts: batch.max_attempts.unwrap_or(attempts),
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

    /// Pauses a batch: the dispatcher requests no more of its commands until it goes on. Those that were requested run to
    /// their end.
    pub async fn pause_batch(
        &self,
        log: &TenantLog,
        batch_id: Uuid,
        metadata: Metadata,
    ) -> Result<Accepted, Error> {
        self.steer(log, batch_id, |by| Input::Pause { by }, metadata).await
    }

    /// Goes on with a paused batch.
    pub async fn resume_batch(
        &self,
        log: &TenantLog,
        batch_id: Uuid,
        metadata: Metadata,
    ) -> Result<Accepted, Error> {
        self.steer(log, batch_id, |by| Input::Resume { by }, metadata).await
    }

    /// Cancels a batch: the dispatcher requests no more of its commands, and cancels those that no broker has taken.
    /// Those that were sent run to their end.
    pub async fn cancel_batch(
        &self,
        log: &TenantLog,
        batch_id: Uuid,
        reason: Option<String>,
        metadata: Metadata,
    ) -> Result<Accepted, Error> {
        self.steer(log, batch_id, |by| Input::Cancel { by, reason }, metadata).await
    }

    async fn steer(
        &self,
        log: &TenantLog,
        batch_id: Uuid,
        input: impl FnOnce(String) -> Input,
        metadata: Metadata,
    ) -> Result<Accepted, Error> {
        let input = input(metadata.actor.to_string());
        let at = log.execute::<CommandBatch>(&log.stream(batch_id), input, metadata).await?;
        Ok(Accepted { id: batch_id, at: at.ok_or(Error::Conflict)?, repeated: false })
    }

    /// The chosen devices, each once.
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
                let known: std::collections::HashSet<Uid> = known.into_iter().collect();
                if let Some(missing) = uids.iter().find(|uid| !known.contains(uid)) {
                    return Err(Error::Selector(format!("there is no device {missing} in service")));
                }
                uids
            }
            Selector::Labels(labels) if labels.is_empty() => {
                // No label at all would choose every device, which is most likely a mistake.
                return Err(Error::Selector("expected at least one label".to_owned()));
            }
            Selector::Labels(labels) => devices::with_labels(log, labels, limit).await?,
        };
        if chosen.is_empty() {
            return Err(Error::Selector("it chooses no device in service".to_owned()));
        }
        Ok(chosen)
    }
}
