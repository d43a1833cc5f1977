//! The process's metrics: counters, gauges and histograms, each declared once.
//!
//! A crate that counts has a file `instruments.rs`, which declares them with [`instruments!`](crate::instruments!). A
//! declaration's doc comment is also its help text: `/metrics` serves it, and docs/METRICS.md lists it. No other crate
//! names the `metrics` crate to count, so nothing is counted that is not declared.

use metrics::{KeyName, Label, Recorder, SharedString};

/// How an instrument behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only rises, from 0 at the start of the process.
    Counter,
    /// Rises and falls.
    Gauge,
    /// The distribution of many values.
    Histogram,
}

/// What the value of an instrument counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Things, which the help text names.
    Count,
    /// Seconds, with fractions.
    Seconds,
}

/// One instrument as it is declared.
#[derive(Debug, Clone, Copy)]
pub struct Instrument {
    /// The name in `/metrics`, which begins with `fleetlog_`.
    pub name: &'static str,
    /// How the instrument behaves.
    pub kind: Kind,
    /// What the instrument's value counts.
    pub unit: Unit,
    /// The names of the labels, in the order in which code gives their values.
    pub labels: &'static [&'static str],
    help: &'static str,
}

impl Instrument {
    /// An instrument as [`instruments!`](crate::instruments!) declares it. `help` is a doc comment.
    #[must_use]
    pub const fn declared(
        name: &'static str,
        kind: Kind,
        unit: Unit,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self { name, kind, unit, labels, help }
    }

    /// The help text, in plain English.
    #[must_use]
    pub const fn help(&self) -> &'static str {
        // A doc comment begins with a space.
        self.help.trim_ascii()
    }

    /// Registers the help text with a recorder, which serves it.
    pub fn describe(&self, recorder: &dyn Recorder) {
        let name = KeyName::from_const_str(self.name);
        let unit = Some(match self.unit {
            Unit::Count => metrics::Unit::Count,
            Unit::Seconds => metrics::Unit::Seconds,
        });
        let help = SharedString::const_str(self.help());
        match self.kind {
            Kind::Counter => recorder.describe_counter(name, unit, help),
            Kind::Gauge => recorder.describe_gauge(name, unit, help),
            Kind::Histogram => recorder.describe_histogram(name, unit, help),
        }
    }
}

/// A counter with `LABELS` labels.
#[derive(Debug, Clone, Copy)]
pub struct Counter<const LABELS: usize>(Name<LABELS>);

/// A gauge with `LABELS` labels.
#[derive(Debug, Clone, Copy)]
pub struct Gauge<const LABELS: usize>(Name<LABELS>);

/// A histogram with `LABELS` labels.
#[derive(Debug, Clone, Copy)]
pub struct Histogram<const LABELS: usize>(Name<LABELS>);

impl<const LABELS: usize> Counter<LABELS> {
    /// A counter as [`instruments!`](crate::instruments!) declares it.
    #[must_use]
    pub const fn declared(name: &'static str, labels: [&'static str; LABELS]) -> Self {
        Self(Name { name, labels })
    }

    /// The counter with these values of its labels, in the declared order.
    pub fn with(&self, values: [SharedString; LABELS]) -> metrics::Counter {
        metrics::counter!(self.0.name, self.0.labels(values))
    }
}

impl Counter<0> {
    /// Adds to the counter.
    pub fn increment(&self, by: u64) {
        self.with([]).increment(by);
    }
}

impl<const LABELS: usize> Gauge<LABELS> {
    /// A gauge as [`instruments!`](crate::instruments!) declares it.
    #[must_use]
    pub const fn declared(name: &'static str, labels: [&'static str; LABELS]) -> Self {
        Self(Name { name, labels })
    }

    /// The gauge with these values of its labels, in the declared order.
    pub fn with(&self, values: [SharedString; LABELS]) -> metrics::Gauge {
        metrics::gauge!(self.0.name, self.0.labels(values))
    }
}

impl Gauge<0> {
    /// Adds to the gauge.
    pub fn increment(&self, by: f64) {
        self.with([]).increment(by);
    }

    /// Subtracts from the gauge.
    pub fn decrement(&self, by: f64) {
        self.with([]).decrement(by);
    }
}

impl<const LABELS: usize> Histogram<LABELS> {
    /// A histogram as [`instruments!`](crate::instruments!) declares it.
    #[must_use]
    pub const fn declared(name: &'static str, labels: [&'static str; LABELS]) -> Self {
        Self(Name { name, labels })
    }

    /// The histogram with these values of its labels, in the declared order.
    pub fn with(&self, values: [SharedString; LABELS]) -> metrics::Histogram {
        metrics::histogram!(self.0.name, self.0.labels(values))
    }
}

impl Histogram<0> {
    /// Adds a value to the distribution.
    pub fn record(&self, value: f64) {
        self.with([]).record(value);
    }
}

#[derive(Debug, Clone, Copy)]
struct Name<const LABELS: usize> {
    name: &'static str,
    labels: [&'static str; LABELS],
}

impl<const LABELS: usize> Name<LABELS> {
    fn labels(&self, values: [SharedString; LABELS]) -> Vec<Label> {
        self.labels.into_iter().zip(values).map(|(name, value)| Label::new(name, value)).collect()
    }
}

/// The number of labels.
#[must_use]
pub const fn count(labels: &[&str]) -> usize {
    labels.len()
}

/// Declares a crate's instruments, each as a constant, and all of them as `INSTRUMENTS`.
///
/// ```ignore
/// instruments! {
///     /// Acknowledgements of commands, by what became of them: recorded, duplicate or quarantined.
///     COMMAND_ACKS: Counter, "fleetlog_command_acks_total", Count, ["outcome"];
/// }
/// COMMAND_ACKS.with(["recorded".into()]).increment(1);
/// ```
#[macro_export]
macro_rules! instruments {
    ($($(#[doc = $help:literal])+ $constant:ident: $kind:ident, $name:literal, $unit:ident, [$($label:literal),*];)+) => {
        $(
            $(#[doc = $help])+
            pub(crate) const $constant: $crate::instrument::$kind<{ $crate::instrument::count(&[$($label),*]) }> =
                $crate::instrument::$kind::declared($name, [$($label),*]);
        )+

        /// All instruments that this crate declares.
        pub const INSTRUMENTS: &[$crate::instrument::Instrument] = &[
            $($crate::instrument::Instrument::declared(
                $name,
                $crate::instrument::Kind::$kind,
                $crate::instrument::Unit::$unit,
                &[$($label),*],
                concat!($($help),+),
            ),)+
        ];
    };
}
