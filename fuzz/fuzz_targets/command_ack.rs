//! Bytes on a device's topic for acknowledgements.

#![no_main]

#[path = "../../aggregates/tests/any_bytes/invariants.rs"]
mod invariants;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| invariants::acknowledgement(bytes));
