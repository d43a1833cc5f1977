//! The topic of a message.

#![no_main]

#[path = "../../aggregates/tests/any_bytes/invariants.rs"]
mod invariants;

libfuzzer_sys::fuzz_target!(|text: &str| invariants::topic(text));
