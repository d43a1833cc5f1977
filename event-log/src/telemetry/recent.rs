//! Which messages this process knows to be on the record, of the latest: a hint at which of a batch may be repeats.
//!
//! Only a hint. Who is taken for a repeat is looked up; who is not and is one after all is met by the partition's
//! unique index, and then the whole batch is looked up. What is wrong here costs time and nothing else, so some bits
//! of a message's name are enough.

use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use fleetlog_aggregates::telemetry::Recorded;

/// At least so many messages are remembered, and at most twice as many: half a minute at 30,000 messages/s. Each of
/// the two sets takes 5 MiB then.
const REMEMBERED: usize = 900_000;
/// For how many batches everything is looked up once there was a repeat that this did not expect. More of them follow:
/// a broker delivers again what another process has stored, or this one before it was started anew.
const WARY: u32 = 64;

/// What is remembered, of all logs: a stream's id begins with its tenant.
pub(crate) struct Recent(Mutex<Memory>);

#[derive(Default)]
struct Memory {
    hasher: RandomState,
    newer: HashSet<u32>,
    older: HashSet<u32>,
    /// For how many more batches everything is looked up.
    wary: u32,
}

impl Recent {
    /// Nothing is known yet, and so anything may be a repeat.
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Memory { wary: WARY, ..Memory::default() }))
    }

    /// Whether repeats are to be expected that this does not know of.
    pub(super) fn is_wary(&self) -> bool {
        self.memory().wary > 0
    }

    /// Which of these are known.
    pub(super) fn knows(&self, events: &[&Recorded]) -> Vec<bool> {
        let memory = self.memory();
        events.iter().map(|event| memory.knows(memory.bits(event))).collect()
    }

    /// A batch was committed, and with it these are on the record. In it was a repeat that this did not know, or not.
    pub(super) fn committed(&self, events: &[&Recorded], surprised: bool) {
        let mut memory = self.memory();
        memory.wary = if surprised { WARY } else { memory.wary.saturating_sub(1) };
        for event in events {
            let bits = memory.bits(event);
            memory.add(bits);
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
