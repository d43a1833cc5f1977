//! What a stream's caller may see: each event asks for the action that reads it, of its device where it is about one.

use std::collections::HashMap;
use std::sync::Arc;

use fleetlog_access::watches::Watch;
use fleetlog_access::{Action, Principal};
use fleetlog_aggregates::device::Labels;
use fleetlog_aggregates::identity::Uid;
use fleetlog_event_log::{self as event_log, TenantLog};
use fleetlog_live::Entry;
use fleetlog_live::entry::About;
use fleetlog_projections::devices;

use crate::door::guard;

/// How many devices' labels, and decisions about them, a stream remembers until its caller is asked for again.
const REMEMBERED: usize = 10_000;

/// What the caller of a stream may see, as of the last time that the database was asked.
pub struct Rights {
    watch: Watch,
    caller: Principal,
    /// What devices' labels were. An unknown device has none.
    labels: HashMap<Uid, Labels>,
    /// Of which devices the caller may do what.
    decided: HashMap<(Action, Uid), bool>,
}

/// The caller may not follow any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// The token, the session or the key is good no more.
    Credential,
    /// The caller may not follow streams.
    Forbidden,
}

impl Rights {
    /// `None`: the credential is good no more.
    pub(super) fn new(watch: Watch) -> Option<Self> {
        let caller = watch.caller()?;
        Some(Self { watch, caller, labels: HashMap::new(), decided: HashMap::new() })
    }

    /// Takes in what the database said since this was last called.
    pub(super) fn renew(&mut self) -> Result<(), Lost> {
        if !self.watch.was_asked() {
            return Ok(());
        }
        self.caller = self.watch.caller().ok_or(Lost::Credential)?;
        self.labels.clear();
        self.decided.clear();
        guard::tenant(&self.caller, Action::StreamsFollow, None).map_err(|_| Lost::Forbidden)
    }

    /// Whether any event of a kind may be seen.
    pub(super) fn may(&self, action: Action) -> bool {
        // With policies of its own, a tenant may allow for some device what it allows for none in general.
        self.caller.is_ruled(action) || guard::tenant(&self.caller, action, None).is_ok()
    }

    /// Who follows.
    pub(super) fn caller(&self) -> &Principal {
        &self.caller
    }

    /// The events that the caller may see, and whose device carries these labels, if there are any.
    pub(super) async fn shown(
        &mut self,
        log: &TenantLog,
        wanted: Option<&Labels>,
        entries: &[Arc<Entry>],
    ) -> event_log::Result<Vec<Arc<Entry>>> {
        self.learn(log, wanted.is_some(), entries).await?;
        let shown = entries.iter().filter(|entry| self.shows(entry));
        let shown = shown.filter(|entry| wanted.is_none_or(|wanted| self.carries(entry, wanted)));
        Ok(shown.cloned().collect())
    }

    fn shows(&self, entry: &Entry) -> bool {
        let action = action(entry);
        match entry.device() {
            Some(uid) if self.caller.is_ruled(action) => {
                self.decided.get(&(action, uid.clone())).copied().unwrap_or(false)
            }
            // Which devices a batch is for is not known here. Who may read every event may read that.
            None if matches!(entry.about, About::Batch(_)) && self.caller.is_ruled(action) => {
                guard::tenant(&self.caller, Action::EventsRead, None).is_ok()
            }
            _ => guard::tenant(&self.caller, action, None).is_ok(),
        }
    }

    fn carries(&self, entry: &Entry, wanted: &Labels) -> bool {
        let labels = entry.device().and_then(|uid| self.labels.get(uid));
        labels.is_some_and(|labels| wanted.iter().all(|(key, value)| labels.get(key) == Some(value)))
    }

    /// Reads what is not known yet and matters for these events.
    async fn learn(
        &mut self,
        log: &TenantLog,
        wants_labels: bool,
        entries: &[Arc<Entry>],
    ) -> event_log::Result<()> {
        if self.labels.len() > REMEMBERED || self.decided.len() > REMEMBERED {
            self.labels.clear();
            self.decided.clear();
        }
        let mut undecided: Vec<(Action, Uid)> = vec![];
        let mut unknown: Vec<Uid> = vec![];
        for entry in entries {
            let (action, Some(uid)) = (action(entry), entry.device()) else { continue };
            let is_ruled = self.caller.is_ruled(action);
            if is_ruled && !self.decided.contains_key(&(action, uid.clone())) {
                undecided.push((action, uid.clone()));
            }
            if (is_ruled || wants_labels) && !self.labels.contains_key(uid) {
                unknown.push(uid.clone());
            }
        }
        unknown.sort_unstable();
        unknown.dedup();
        if !unknown.is_empty() {
            let mut found = devices::labels(log, &unknown).await?;
            let labels = unknown.into_iter().map(|uid| (found.remove(&uid).unwrap_or_default(), uid));
            self.labels.extend(labels.map(|(labels, uid)| (uid, labels)));
        }
        undecided.sort_unstable();
        undecided.dedup();
        for some in undecided.chunk_by(|(one, _), (other, _)| one == other) {
            let action = some[0].0;
            let labelled =
                some.iter().map(|(_, uid)| (uid.clone(), self.labels.get(uid).cloned().unwrap_or_default()));
            let permitted = self.caller.permitted(action, None, labelled.collect()).await?;
            self.decided.extend(some.iter().cloned().map(|of| (of, false)));
            self.decided.extend(permitted.into_iter().map(|uid| ((action, uid), true)));
        }
        Ok(())
    }
}

/// What a caller must be allowed to do to see an event.
fn action(entry: &Entry) -> Action {
    match entry.about {
        About::Reading(_) => Action::TelemetryRead,
        About::Device(_) => Action::DevicesRead,
        About::Command(_) | About::Batch(_) => Action::CommandsRead,
        About::CommandType => Action::CommandTypesRead,
        About::Alarm(_) => Action::AlarmsRead,
        About::AlarmRule => Action::AlarmRulesRead,
        About::Other => Action::EventsRead,
    }
}
