//! Bytes that come on a topic of a source, under definitions of each format.

#![no_main]

#[path = "../../crates/sources/tests/any_bytes/invariants.rs"]
mod invariants;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    invariants::payload(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        invariants::definition(text);
    }
});
