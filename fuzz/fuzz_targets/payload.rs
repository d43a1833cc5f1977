//! Bytes on a device's telemetry topic.

#![no_main]

#[path = "../../aggregates/tests/invariants/mod.rs"]
mod invariants;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| invariants::payload(bytes));
