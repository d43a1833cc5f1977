//! In the fold: the metrics of a reading, from the bytes on the record. The same bytes and definition always give the same
//! metrics, so a corrected definition and a rebuild put history right.

mod names;
mod rule;

use serde::{Serialize, Serializer};

use crate::aliases::Aliases;
use crate::formats::{Document, Unreadable};
use crate::pattern::Levels;
use crate::readings::{Part, Reading, readings};
use crate::source::{Rule, Source};
use crate::template::Scope;
use crate::tree::Node;

pub(crate) use names::Sink;
pub(crate) use rule::MetricsRule;

/// The metrics of a reading.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metrics {
    /// Name and value of each: at most [`MAX_METRICS`](fleetlog_aggregates::metrics::MAX_METRICS), no name twice. What stands
    /// in lists comes last, and is left out first.
    pub values: Vec<(Box<str>, f64)>,
    /// What there is to say about them.
    pub remarks: Remarks,
}

/// What there is to say about a reading's metrics. Derived like these, and not stored: a corrected definition changes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Remark {
    /// The payload is not of the format, or a part of it is not.
    Unreadable,
    /// The reading has no metric.
    NoMetrics,
    /// Some numbers are no metrics: too many, too large, or with a name that cannot be stored.
    Partial,
    /// Some values are no numbers: NaN, or an infinity.
    NotFinite,
    /// Several values have one name. The last one counts.
    Repeated,
    /// A value has an alias that no Sparkplug birth has named.
    UnknownAlias,
}

fleetlog_aggregates::words! { Remark {
    Unreadable = "unreadable",
    NoMetrics = "no_metrics",
    Partial = "partial",
    NotFinite = "not_finite",
    Repeated = "repeated",
    UnknownAlias = "unknown_alias",
} }

/// A set of remarks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Remarks(u8);

impl Remarks {
    /// Whether a remark is among them.
    #[must_use]
    pub fn contains(self, remark: Remark) -> bool {
        self.0 & Self::bit(remark) != 0
    }

    /// The remarks, in the order of their declaration.
    pub fn iter(self) -> impl Iterator<Item = Remark> {
        Remark::ALL.into_iter().filter(move |remark| self.contains(*remark))
    }

    pub(crate) fn note_if(&mut self, condition: bool, remark: Remark) {
        if condition {
            self.0 |= Self::bit(remark);
        }
    }

    fn bit(remark: Remark) -> u8 {
        1 << remark as u8
    }
}

/// Serializes as the words of the remarks.
impl Serialize for Remarks {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(Remark::as_str))
    }
}

/// A message whose payload has been read once, for the metrics of all of its readings.
#[derive(Debug)]
pub struct Opened<'m> {
    found: Option<(&'m Rule, Levels<'m>)>,
    document: Option<Document<'m>>,
}

impl Source {
    /// The metrics of one reading of a message. `part` is what [`Source::identify`] said of it at ingest, and `aliases` what
    /// [`Source::learn`] made of the device's messages before.
    #[must_use]
    pub fn metrics(&self, topic: &str, payload: &[u8], part: Part, aliases: &Aliases) -> Metrics {
        self.open(topic, payload, aliases).metrics(part)
    }

    /// Reads a message's payload once, for the metrics of several of its readings.
    #[must_use]
    pub fn open<'m>(&'m self, topic: &'m str, payload: &'m [u8], aliases: &'m Aliases) -> Opened<'m> {
        let found = self.rule(topic);
        let rule = found.as_ref().map(|(rule, _)| *rule);
        // A payload beyond the bounds was refused at ingest; one that became so by another format has no metrics.
        let read = |rule: &'m Rule| rule.read(payload, aliases).map_err(|_: Unreadable| ()).ok();
        let document = rule.filter(|rule| rule.status.is_none()).and_then(read);
        Opened { found, document }
    }

    /// Takes what a message says about aliases over into `aliases`, and says whether it says anything. To be called for each
    /// message of a device, in the order of the log, after its metrics.
    pub fn learn(&self, topic: &str, payload: &[u8], aliases: &mut Aliases) -> bool {
        let takes_births = self.rule(topic).is_some_and(|(rule, _)| rule.format == crate::Format::SparkplugB);
        takes_births && aliases.learn(topic, payload)
    }
}

impl Opened<'_> {
    /// The metrics of one reading. One that was the only reading of its message when it was recorded has the metrics of all,
    /// if the definition takes the message apart since: of one name, the last value counts.
    #[must_use]
    pub fn metrics(&self, part: Part) -> Metrics {
        let readings = self.readings();
        if part.of == 1 {
            return self.measure(&readings);
        }
        self.measure(readings.get(part.nth as usize).map_or(&[], std::slice::from_ref))
    }

    /// The metrics of each reading, in the order of their places: for a message of many, in one go.
    #[must_use]
    pub fn all(&self) -> Vec<Metrics> {
        let readings = self.readings();
        if readings.is_empty() {
            return vec![self.measure(&[])];
        }
        readings.iter().map(|reading| self.measure(std::slice::from_ref(reading))).collect()
    }

    fn readings(&self) -> Vec<Reading<'_, '_>> {
        let Some(((rule, _), document)) = self.found.as_ref().zip(self.document.as_ref()) else {
            return Vec::new();
        };
        readings(rule.each.as_ref(), &document.root).unwrap_or_default()
    }

    /// The metrics of some readings together.
    fn measure(&self, readings: &[Reading<'_, '_>]) -> Metrics {
        let mut metrics = Metrics::default();
        let Some((rule, levels)) = &self.found else {
            metrics.remarks.note_if(true, Remark::NoMetrics);
            return metrics;
        };
        if rule.status.is_some() {
            return metrics;
        }
        let mut sink = Sink::default();
        if let Some(Document { root, seen }) = &self.document {
            metrics.remarks.note_if(seen.is_repeated, Remark::Repeated);
            metrics.remarks.note_if(seen.is_broken, Remark::Unreadable);
            metrics.remarks.note_if(seen.has_unknown_alias, Remark::UnknownAlias);
            for reading in readings {
                rule.measure(levels, *reading, root, &mut sink);
            }
        } else {
            metrics.remarks.note_if(true, Remark::Unreadable);
        }
        sink.finish(&mut metrics);
        let is_empty = metrics.values.is_empty();
        metrics.remarks.note_if(is_empty, Remark::NoMetrics);
        metrics
    }
}

impl Rule {
    fn measure(&self, levels: &Levels<'_>, reading: Reading<'_, '_>, root: &Node<'_>, sink: &mut Sink) {
        let Some(node) = reading.node else { return };
        let scope = Scope { levels, key: reading.key, login: None, reading: Some(node), message: Some(root) };
        let headers = self.headers().filter_map(|path| scope.find(path));
        let headers: Vec<*const ()> = headers.map(|(node, _)| node.address()).collect();
        for rule in &self.metrics {
            rule.measure(&scope, node, &headers, sink);
        }
    }
}
