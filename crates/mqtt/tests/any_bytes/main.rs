//! Any bytes: whatever a client sends, nothing panics, and what it is told is MQTT.

#![expect(clippy::expect_used, reason = "a test that cannot go on says why and fails")]

mod conversation;
mod invariants;

use fastrand::Rng;

/// How many connections are made up from the same numbers each time, and how many from new ones.
const CONNECTIONS: [u64; 2] = [20_000, 60_000];

/// The memory of this process, in bytes.
fn memory() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("statm");
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.expect("pages") * 4096
}

#[test]
fn whatever_a_client_sends_nothing_panics_and_what_it_is_told_is_mqtt_and_nothing_is_left_of_it() {
    let ([same, new], first) = (CONNECTIONS, fastrand::u64(..));
    let (mut taken, mut before) = (0, 0);
    for (nth, seed) in (0..same).chain((0..new).map(|nth| first.wrapping_add(nth))).enumerate() {
        let mut random = Rng::with_seed(seed);
        let bytes = conversation::some(&mut random);
        taken += std::panic::catch_unwind(|| invariants::connection(&bytes))
            .unwrap_or_else(|_| panic!("seed {seed}"));
        if nth == 1000 {
            before = memory();
        }
    }
    assert!(taken as u64 > 4 * (same + new), "most of it is read: {taken}");
    let grown = memory().saturating_sub(before);
    assert!(grown < 8 << 20, "{grown} bytes more, from seed {first} on");
}

#[test]
fn bytes_that_are_no_mqtt_at_all_do_not_panic_either() {
    for seed in 0..CONNECTIONS[0] {
        let mut random = Rng::with_seed(seed);
        let length = random.usize(..64);
        let bytes: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(length).collect();
        invariants::connection(&bytes);
        invariants::connection(&[b"\x10\x12\0\x04MQTT\x05\x02\0\x3c\0\0\x05dev-1", &bytes[..]].concat());
    }
}
