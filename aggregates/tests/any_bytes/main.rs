//! Feeds the parsers random bytes, and payloads of real devices and brokers with random damage.

#![expect(clippy::expect_used, reason = "a test that cannot go on says why and fails")]

mod corpus;
mod invariants;

use proptest::prelude::*;

const ACK: &[u8] =
    br#"{"cmd_id":"019a0000-0000-7000-8000-000000000001","status":"failed","error":{"code":-1.5e3}}"#;

/// What real devices send, and an acknowledgement.
fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = corpus::corpus(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    seeds.push(ACK.to_vec());
    seeds
}

/// Pieces of JSON syntax, numbers and keys. Put into a seed, they reach further into the parsers than random bytes
/// do.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let pieces = [
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\\",
        "\\u0000",
        "\\ud800",
        "null",
        "true",
        "-0",
        "1e308",
        "1e-400",
        "9e99999",
        "18446744073709551616",
        "\"msg_id\":",
        "\"ts\":",
        "\"ts\":1e300,",
        "\"msg_id\":\"\",",
        "\u{feff}",
        "°",
    ];
    prop_oneof![
        prop::sample::select(pieces.to_vec()).prop_map(|piece| piece.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 1..4),
    ]
}

/// A seed with some of its bytes replaced.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    corpus::damaged(seeds(), pieces())
}

#[test]
fn what_real_devices_send_keeps_the_invariants() {
    let seeds = seeds();
    assert!(seeds.len() > 30, "the corpus is there");
    for seed in seeds {
        invariants::payload(&seed);
        invariants::acknowledgement(&seed);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_payload_keeps_the_invariants(bytes in damaged()) {
        invariants::payload(&bytes);
        invariants::acknowledgement(&bytes);
    }

    #[test]
    fn any_bytes_keep_the_invariants(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        invariants::payload(&bytes);
        invariants::acknowledgement(&bytes);
    }

    #[test]
    fn a_topic_can_be_put_together_again(
        segments in prop::collection::vec("[a-zA-Z0-9_.:+#$ é-]{0,6}|devices|telemetry|command_ack|commands", 0..6),
    ) {
        invariants::topic(&segments.join("/"));
    }
}
