//! The rules of a tenant that hold, by what they are about.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use cqrs_es::Aggregate;
use fleetlog_aggregates::alarm_rule::{AlarmRule, Condition, Definition, Devices, Event, carries};
use fleetlog_aggregates::device::Labels;
use fleetlog_aggregates::identity::{RuleName, Uid};

/// A rule that holds.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) name: RuleName,
    pub(super) version: u32,
    /// The version with which it began to look at its devices for its condition.
    pub(super) epoch: u32,
    pub(super) definition: Definition,
    /// The devices that it names, if it names them one by one.
    uids: Option<HashSet<Uid>>,
}

impl Rule {
    pub(super) fn new(name: RuleName, version: u32, epoch: u32, definition: Definition) -> Self {
        let uids = match &definition.devices {
            Devices::Uids(uids) => Some(uids.iter().cloned().collect()),
            Devices::All | Devices::Labels(_) => None,
        };
        Self { name, version, epoch, definition, uids }
    }

    /// Whether the rule is about a device. `labels` are needed where the rule has some.
    pub(super) fn selects(&self, uid: &Uid, labels: Option<&Labels>) -> bool {
        match &self.definition.devices {
            Devices::All => true,
            Devices::Uids(_) => self.uids.as_ref().is_some_and(|uids| uids.contains(uid)),
            Devices::Labels(wanted) => labels.is_some_and(|labels| carries(labels, wanted)),
        }
    }
}

/// All rules of a tenant, as of a position of its control log.
#[derive(Default, Clone)]
pub(super) struct Rulebook {
    all: BTreeMap<RuleName, AlarmRule>,
    rules: Vec<Arc<Rule>>,
    by_metric: HashMap<String, Vec<Arc<Rule>>>,
    by_name: HashMap<String, Arc<Rule>>,
}

impl Rulebook {
    /// Takes in an event of a rule.
    pub(super) fn apply(&mut self, name: RuleName, event: Event) {
        self.all.entry(name).or_default().apply(event);
        let rule = |(name, rule): (&RuleName, &AlarmRule)| {
            let (version, definition) = rule.current()?;
            Some(Arc::new(Rule::new(name.clone(), version, rule.epoch(), definition.clone())))
        };
        self.rules = self.all.iter().filter_map(rule).collect();
        self.by_metric = HashMap::new();
        for rule in &self.rules {
            if let Some(metric) = rule.definition.condition.metric() {
                self.by_metric.entry(metric.to_owned()).or_default().push(Arc::clone(rule));
            }
        }
        let named = self.rules.iter().map(|rule| (rule.name.as_str().to_owned(), Arc::clone(rule)));
        self.by_name = named.collect();
    }

    /// The rule of this name that holds.
    pub(super) fn find(&self, name: &str) -> Option<&Arc<Rule>> {
        self.by_name.get(name)
    }

    /// All rules that hold.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Rule>> {
        self.rules.iter()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The rules about a metric.
    pub(super) fn about(&self, metric: &str) -> &[Arc<Rule>] {
        self.by_metric.get(metric).map_or(&[], Vec::as_slice)
    }

    /// Whether any rule is about a metric.
    pub(super) fn wants_metrics(&self) -> bool {
        !self.by_metric.is_empty()
    }

    /// The rules about silence.
    pub(super) fn about_silence(&self) -> impl Iterator<Item = &Arc<Rule>> {
        self.rules.iter().filter(|rule| rule.definition.condition.silence_s().is_some())
    }

    /// The rules about commands.
    pub(super) fn about_commands(&self) -> impl Iterator<Item = &Arc<Rule>> {
        self.rules.iter().filter(|rule| matches!(rule.definition.condition, Condition::CommandFailed { .. }))
    }

    /// Whether any rule is about readings or their absence.
    pub(super) fn wants_readings(&self) -> bool {
        self.wants_metrics() || self.about_silence().next().is_some()
    }

    /// Whether any rule chooses devices by their labels.
    pub(super) fn wants_labels(&self) -> bool {
        self.rules.iter().any(|rule| rule.definition.devices.labels().is_some())
    }
}
