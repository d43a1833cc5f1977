//! The recent messages that this process knows to be on the record: a hint at which messages of a batch may be
//! repeats.
//!
//! It is only a hint. A message that is taken for a repeat is looked up. A repeat that is not recognised here is
//! refused by the partition's unique index, and then the whole batch is looked up. A mistake here costs time and
//! nothing else, so some bits of a message's name are enough.

use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::mem;

use fleetlog_aggregates::telemetry::Recorded;
use parking_lot::{Mutex, MutexGuard};

/// At least this many messages are remembered, and at most twice as many: half a minute at 30,000 messages/s. Each of
/// the two sets then takes 5 MiB.
const REMEMBERED: usize = 900_000;
/// How many batches are looked up in full after an unexpected repeat. More repeats follow it: a broker delivers again
/// what another process has stored, or this one before it was restarted.
const WARY: u32 = 64;

/// The remembered messages of all logs: a stream's id begins with its tenant.
pub(crate) struct Recent(Mutex<Memory>);

#[derive(Default)]
struct Memory {
    hasher: RandomState,
    newer: HashSet<u32>,
    older: HashSet<u32>,
    /// How many more batches are looked up in full.
    wary: u32,
}

impl Recent {
    /// A memory that knows nothing yet: any message may be a repeat.
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Memory { wary: WARY, ..Memory::default() }))
    }

    /// Whether to expect repeats that this memory does not know of.
    pub(super) fn is_wary(&self) -> bool {
        self.memory().wary > 0
    }

    /// Which of these messages are known.
    pub(super) fn knows(&self, events: &[&Recorded]) -> Vec<bool> {
        let memory = self.memory();
        events.iter().map(|event| memory.knows(memory.bits(event))).collect()
    }

    /// Remembers the messages of a committed batch. `surprised` says whether the batch held a repeat that was not
    /// known.
    pub(super) fn committed(&self, events: &[&Recorded], surprised: bool) {
        let mut memory = self.memory();
        memory.wary = if surprised { WARY } else { memory.wary.saturating_sub(1) };
        for event in events {
            let bits = memory.bits(event);
            memory.add(bits);
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.lock()
    }
}

impl Memory {
    fn bits(&self, event: &Recorded) -> u32 {
        self.hasher.hash_one((&event.aggregate_id, &event.msg_id)) as u32
    }

    fn knows(&self, bits: u32) -> bool {
        self.newer.contains(&bits) || self.older.contains(&bits)
    }

    fn add(&mut self, bits: u32) {
        if self.newer.len() >= REMEMBERED {
            mem::swap(&mut self.newer, &mut self.older);
            self.newer.clear();
        }
        self.newer.insert(bits);
    }
}
