//! The caller of a question: what resolvers may read for whom.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use fleetlog_access::action::typed::GraphqlQuery;
use fleetlog_access::{self as access, Action, Forbidden, Principal, authorize};
use fleetlog_aggregates::device::Labels;
use fleetlog_aggregates::identity::Uid;
use fleetlog_event_log::TenantLog;
use fleetlog_event_log::control::Metadata;
use fleetlog_projections::devices::Device;
use parking_lot::{Mutex, RwLock};
use uuid::Uuid;

use super::folding::Folding;
use crate::door::guard::Refused;
use crate::door::{May, guard};
use crate::rest::{Error, RequestId};

/// The caller of a question. Resolvers find it in their context.
pub(super) struct Asker {
    pub(super) door: May<GraphqlQuery>,
    request: RequestId,
    /// Who asks. Whoever subscribes is asked for again from time to time.
    caller: RwLock<Principal>,
    /// The time of the question. `None`: it goes on.
    now: Option<DateTime<Utc>>,
    /// The actions that were refused so far. Each goes on the record once a question, however many of its fields are
    /// refused.
    refused: Mutex<BTreeSet<Action>>,
    /// What the question's answers as of moments of the past have folded.
    pub(super) folding: Folding,
}

impl Asker {
    /// Somebody with a question, which is answered as of one time.
    pub(super) fn once(door: May<GraphqlQuery>, request: RequestId, folding: Folding) -> Self {
        let now = door.app.now();
        Self { now: Some(now), ..Self::subscribing(door, request, folding) }
    }

    /// Somebody who subscribes.
    pub(super) fn subscribing(door: May<GraphqlQuery>, request: RequestId, folding: Folding) -> Self {
        let caller = RwLock::new(door.caller.clone());
        Self { door, request, caller, now: None, refused: Mutex::default(), folding }
    }

    /// Who asks.
    pub(super) fn caller(&self) -> Principal {
        self.caller.read().clone()
    }

    /// Who asks has been asked for again.
    pub(super) fn is_now(&self, caller: &Principal) {
        self.caller.write().clone_from(caller);
    }

    /// The current time, the same for the whole question.
    pub(super) fn now(&self) -> DateTime<Utc> {
        self.now.unwrap_or_else(|| self.door.app.now())
    }

    /// The log of the caller's tenant.
    pub(super) fn log(&self) -> &TenantLog {
        self.door.log()
    }

    /// Checks that the caller may do `action` to the tenant's things.
    pub(super) fn may(&self, action: Action) -> Result<(), Error> {
        self.noted(guard::tenant(&self.caller(), action, None).map_err(Refused::from))
    }

    /// Checks that the caller may do `action` to the platform.
    pub(super) fn may_platform(&self, action: Action) -> Result<(), Error> {
        let decided = authorize(&self.caller(), action, &access::Resource::Platform);
        self.noted(decided.map_err(Refused::from))
    }

    /// Checks that the caller may do `action` to one device of the tenant, whose labels are known.
    pub(super) fn may_device(&self, action: Action, device: &Device) -> Result<(), Error> {
        let decided = guard::known(&self.caller(), action, None, &device.uid, &device.labels);
        self.noted(decided.map_err(Refused::from))
    }

    /// Checks that the caller may do `action` to a device with the command `cmd`. `None`: no device can have the uid.
    pub(super) async fn may_named(
        &self,
        action: Action,
        cmd: Option<&str>,
        uid: Option<&Uid>,
    ) -> Result<(), Error> {
        match uid {
            Some(uid) => self.noted(guard::command(&self.caller(), self.log(), action, cmd, uid).await),
            // There are no labels to look up.
            None => self.may(action),
        }
    }

    /// Checks that the caller may write a device, as it is and with these labels. `None`: no device can have the uid.
    pub(super) async fn may_write(&self, uid: Option<&Uid>, labels: Option<&Labels>) -> Result<(), Error> {
        let action = Action::DevicesWrite;
        match uid {
            Some(uid) => self.noted(guard::written(&self.caller(), self.log(), action, uid, labels).await),
            None => self.may(action),
        }
    }

    /// Checks that the caller may do `action` to a command that is on the record. `None`: no command can have the id.
    pub(super) async fn may_recorded(&self, action: Action, cmd_id: Option<Uuid>) -> Result<(), Error> {
        match cmd_id {
            Some(cmd_id) => self.noted(guard::recorded(&self.caller(), self.log(), action, cmd_id).await),
            None => self.may(action),
        }
    }

    /// Checks that the caller may do `action` to an alarm that is on the record. `None`: no alarm can have the id.
    pub(super) async fn may_alarm(&self, action: Action, alarm_id: Option<Uuid>) -> Result<(), Error> {
        match alarm_id {
            Some(alarm_id) => self.noted(guard::alarm(&self.caller(), self.log(), action, alarm_id).await),
            None => self.may(action),
        }
    }

    fn noted(&self, decided: Result<(), Refused>) -> Result<(), Error> {
        decided.map_err(|refused| {
            let is_noted = |Forbidden(action): &Forbidden| !self.refused.lock().insert(*action);
            match refused {
                Refused::Forbidden(forbidden) if is_noted(&forbidden) => forbidden.into(),
                refused => refused.noted(&self.door.app, &self.caller()),
            }
        })
    }

    /// The metadata of the events that the caller writes.
    pub(super) fn metadata(&self) -> Metadata {
        self.request.metadata(&self.caller())
    }
}
