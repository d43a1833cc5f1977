//! The leaves of one message until all of it has been read: each name once, and no more than a message may have.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use unicode_normalization::{UnicodeNormalization, is_nfc};

use super::{MAX_MAGNITUDE, MAX_METRIC_NAME, MAX_METRICS, Scan};

/// Up to this many names are compared one by one.
const FEW: usize = 32;

#[derive(Default)]
pub(super) struct Leaves {
    /// The names, one behind the other.
    names: String,
    found: Vec<Leaf>,
    /// How many of them are not in an array.
    scalars: usize,
    /// The leaves by the hash of their names, where there are more than [`FEW`].
    index: Option<(RandomState, HashMap<u64, usize>)>,
    skipped: usize,
    repeated: usize,
}

struct Leaf {
    /// Where the name begins; it ends where the next one begins.
    name: usize,
    value: f64,
    in_array: bool,
}

impl Leaves {
    pub(super) fn add(&mut self, name: &str, value: f64, in_array: bool) {
        if !name.is_ascii() && !is_nfc(name) {
            return self.add_composed(&name.nfc().collect::<String>(), value, in_array);
        }
        self.add_composed(name, value, in_array);
    }

    fn add_composed(&mut self, name: &str, value: f64, in_array: bool) {
        let nameable = (1..=MAX_METRIC_NAME).contains(&name.len()) && !name.contains('\0');
        if !nameable || value.abs() > MAX_MAGNITUDE {
            self.skipped += 1;
            return;
        }
        if let Some(at) = self.find(name) {
            self.found[at].value = value;
            self.repeated += 1;
            return;
        }
        let like_it = if in_array { self.found.len() - self.scalars } else { self.scalars };
        if like_it == MAX_METRICS {
            self.skipped += 1;
            return;
        }
        if let Some((hasher, places)) = &mut self.index {
            places.insert(hasher.hash_one(name), self.found.len());
        }
        self.scalars += usize::from(!in_array);
        self.found.push(Leaf { name: self.names.len(), value, in_array });
        self.names.push_str(name);
    }

    /// Calls `each` with every leaf, in the order in which their names came first. Those that are in no array go before
    /// others where there are too many.
    pub(super) fn pass(&self, mut each: impl FnMut(&str, f64)) -> Scan {
        let (mut metrics, mut room) = (0, MAX_METRICS - self.scalars);
        for (at, leaf) in self.found.iter().enumerate() {
            if leaf.in_array {
                let Some(left) = room.checked_sub(1) else { continue };
                room = left;
            }
            metrics += 1;
            each(self.name(at), leaf.value);
        }
        let skipped = self.skipped + self.found.len() - metrics;
        Scan { metrics, skipped, repeated: self.repeated }
    }

    fn name(&self, at: usize) -> &str {
        let end = self.found.get(at + 1).map_or(self.names.len(), |next| next.name);
        &self.names[self.found[at].name..end]
    }

    fn find(&mut self, name: &str) -> Option<usize> {
        if self.found.len() <= FEW {
            return (0..self.found.len()).find(|&at| self.name(at) == name);
        }
        if self.index.is_none() {
            let hasher = RandomState::new();
            let places = (0..self.found.len()).map(|at| (hasher.hash_one(self.name(at)), at)).collect();
            self.index = Some((hasher, places));
        }
        let (hasher, places) = self.index.as_ref()?;
        // Two names of one hash are improbable; the later one would then not be found again.
        places.get(&hasher.hash_one(name)).copied().filter(|&at| self.name(at) == name)
    }
}
