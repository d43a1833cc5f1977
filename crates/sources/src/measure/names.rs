//! Collects metrics by their names, within the bounds of a message.

use std::collections::HashMap;

use fleetlog_aggregates::metrics::{MAX_MAGNITUDE, MAX_METRIC_NAME, MAX_METRICS};
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

use super::{Metrics, Remark};

/// The metrics that were met so far.
#[derive(Default)]
pub(crate) struct Sink {
    /// Those outside of lists, which stay when there are too many.
    plain: Named,
    listed: Named,
    is_partial: bool,
    is_not_finite: bool,
}

#[derive(Default)]
struct Named {
    values: Vec<(Box<str>, f64)>,
    /// Where each name is, once there are many.
    places: HashMap<Box<str>, usize>,
    is_repeated: bool,
}

impl Sink {
    pub(crate) fn add(&mut self, name: &str, value: f64, is_listed: bool) {
        if !value.is_finite() {
            self.is_not_finite = true;
            return;
        }
        if name.is_ascii() || is_nfc_quick(name.chars()) == IsNormalized::Yes {
            self.add_normal(name, value, is_listed);
        } else {
            self.add_normal(&name.nfc().collect::<String>(), value, is_listed);
        }
    }

    fn add_normal(&mut self, name: &str, value: f64, is_listed: bool) {
        let is_nameable = (1..=MAX_METRIC_NAME).contains(&name.len()) && !name.contains('\0');
        if !is_nameable || value.abs() > MAX_MAGNITUDE {
            self.is_partial = true;
            return;
        }
        let named = if is_listed { &mut self.listed } else { &mut self.plain };
        self.is_partial |= !named.add(name, value);
    }

    /// Notes a value that is no number.
    pub(crate) fn not_finite(&mut self) {
        self.is_not_finite = true;
    }

    /// Notes that something could not be named.
    pub(crate) fn unnamed(&mut self) {
        self.is_partial = true;
    }

    pub(crate) fn finish(self, metrics: &mut Metrics) {
        let Self { mut plain, listed, mut is_partial, is_not_finite } = self;
        let mut is_repeated = plain.is_repeated || listed.is_repeated;
        for (name, value) in listed.values {
            if let Some(at) = plain.find(&name) {
                plain.values[at].1 = value;
                is_repeated = true;
            } else if plain.values.len() < MAX_METRICS {
                plain.values.push((name, value));
            } else {
                is_partial = true;
            }
        }
        metrics.values = plain.values;
        metrics.remarks.note_if(is_partial, Remark::Partial);
        metrics.remarks.note_if(is_not_finite, Remark::NotFinite);
        metrics.remarks.note_if(is_repeated, Remark::Repeated);
    }
}

impl Named {
    /// Adds a value. `false` if there are too many.
    fn add(&mut self, name: &str, value: f64) -> bool {
        if let Some(at) = self.find(name) {
            self.values[at].1 = value;
            self.is_repeated = true;
            return true;
        }
        if self.values.len() >= MAX_METRICS {
            return false;
        }
        self.values.push((name.into(), value));
        if self.values.len() > FEW {
            self.index();
        }
        true
    }

    fn find(&self, name: &str) -> Option<usize> {
        if self.values.len() <= FEW {
            return self.values.iter().position(|(own, _)| **own == *name);
        }
        self.places.get(name).copied()
    }

    fn index(&mut self) {
        let from = self.places.len();
        for (at, (name, _)) in self.values.iter().enumerate().skip(from) {
            self.places.insert(name.clone(), at);
        }
    }
}

/// Up to this many names, comparing costs less than hashing.
const FEW: usize = 24;
