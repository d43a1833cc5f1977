//! All that a client sends over one connection.

#![no_main]

#[path = "../../crates/mqtt/tests/any_bytes/invariants.rs"]
mod invariants;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = invariants::connection(bytes);
});
