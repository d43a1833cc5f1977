//! Feeds sources random bytes, and payloads of real devices with random damage.

#![expect(clippy::expect_used, reason = "a test that cannot go on says why and fails")]

#[path = "../../../../aggregates/tests/any_bytes/corpus.rs"]
mod corpus;
mod invariants;

use proptest::prelude::*;

/// What real devices send.
fn seeds() -> Vec<Vec<u8>> {
    corpus::corpus(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Pieces of JSON, CBOR, MessagePack and Protocol Buffers. Put into a payload, they reach further than random bytes.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let texts = [
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\\u0000",
        "\\ud800",
        "NaN",
        "-",
        ".",
        "1e308",
        "1e400",
        "9e99999",
        "18446744073709551616",
        "\"t\":",
        "\u{feff}",
        "\0",
        "\n",
        "°",
    ];
    let bytes: [&[u8]; 9] = [
        b"\x9f",
        b"\xbf",
        b"\xff",
        b"\xc1",
        b"\x1b\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\x12\x02\x0a\x00",
        b"\xd8\x01",
        b"\xfb\x7f\xf8\0\0\0\0\0\0",
    ];
    let known: Vec<Vec<u8>> =
        texts.iter().map(|text| text.as_bytes().to_vec()).chain(bytes.map(<[u8]>::to_vec)).collect();
    prop_oneof![prop::sample::select(known), prop::collection::vec(any::<u8>(), 1..4)]
}

/// A payload with some of its bytes replaced.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    corpus::damaged(seeds(), pieces())
}

#[test]
fn what_real_devices_send_keeps_the_invariants_under_every_definition() {
    let payloads = seeds();
    assert!(payloads.len() > 30, "the corpus is there");
    for payload in payloads {
        invariants::payload(&payload);
    }
}

#[test]
fn payloads_at_the_bounds_keep_the_invariants() {
    let most = 256 * 1024;
    let repeated = |piece: &[u8]| piece.repeat(most / piece.len());
    for piece in [
        &b"["[..],
        b"{\"a\":",
        b"[1,",
        b"1,",
        b"\"",
        b"a\n",
        b"\x81",
        b"\x91",
        b"\xc1",
        b"\x9f",
        b"\x12\x00",
        b"\xa1",
        b"\x12\x02\x10\x01",
        b"\xff",
        b"\0",
    ] {
        invariants::payload(&repeated(piece));
    }
    let wide = format!("[{}1]", "{\"n\":\"v\",\"t\":1795876066,\"v\":1},".repeat(900));
    invariants::payload(wide.as_bytes());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_payload_keeps_the_invariants(bytes in damaged()) {
        invariants::payload(&bytes);
    }

    #[test]
    fn any_bytes_keep_the_invariants(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        invariants::payload(&bytes);
    }

    #[test]
    fn any_text_is_a_definition_or_refused(text in "\\PC{0,40}", pieces in prop::collection::vec(
        prop::sample::select(vec!["{", "}", "*", "uid", "$", ".", "[", "]", "'", "?", "@", "(", ":", "|", "/", "+", "#", "..", "0", " "]), 0..30,
    )) {
        invariants::definition(&text);
        invariants::definition(&pieces.concat());
    }
}
