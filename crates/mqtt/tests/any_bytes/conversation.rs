//! What a client may say over one connection, made up from random numbers. The tests of the protocol and of the server use it.

use fastrand::Rng;

/// A CONNECT and some packets, most of them well formed, here and there with bytes changed.
pub(crate) fn some(random: &mut Rng) -> Vec<u8> {
    let version = random.choice([4, 5]).expect("one of two");
    let properties = if version == 5 { some_properties(random, &CONNECT) } else { vec![] };
    let flags = if random.u8(..8) == 0 { random.u8(..) } else { 2 };
    let mut all =
        packet(0x10, &[b"\0\x04MQTT", &[version, flags, 0, 60][..], &properties, b"\0\x02id"].concat());
    damage(random, &mut all, 16);
    for _ in 0..random.usize(..40) {
        let mut next = some_packet(random, version);
        damage(random, &mut next, 32);
        all.extend(next);
    }
    all
}

/// Changes a byte, adds one or takes one away, in one case of so many.
fn damage(random: &mut Rng, bytes: &mut Vec<u8>, one_in: u32) {
    if random.u32(..one_in) > 0 {
        return;
    }
    let place = random.usize(..bytes.len());
    match random.u8(..3) {
        0 => bytes[place] = random.u8(..),
        1 => bytes.insert(place, random.u8(..)),
        _ => drop(bytes.remove(place)),
    }
}

/// The properties, by their ids, that CONNECT may have.
const CONNECT: [u8; 7] = [0x11, 0x17, 0x19, 0x21, 0x22, 0x26, 0x27];
const PUBLISH: [u8; 7] = [0x01, 0x02, 0x03, 0x08, 0x09, 0x23, 0x26];
const SUBSCRIBE: [u8; 2] = [0x0b, 0x26];
const DISCONNECT: [u8; 3] = [0x11, 0x1f, 0x26];

fn some_properties(random: &mut Rng, allowed: &[u8]) -> Vec<u8> {
    let mut properties = Vec::new();
    for _ in 0..random.usize(..3) {
        let id = if random.u8(..32) == 0 { random.u8(..) } else { *random.choice(allowed).expect("some") };
        properties.push(id);
        match id {
            0x01 | 0x17 | 0x19 => properties.push(random.u8(..2)),
            0x0b => properties.push(random.u8(..128)),
            0x02 | 0x11 | 0x27 => properties.extend(random.u32(..2000).to_be_bytes()),
            0x21..=0x23 => properties.extend(random.u16(..10).to_be_bytes()),
            0x26 => properties.extend(b"\0\x01k\0\x01v"),
            _ => properties.extend(b"\0\x01x"),
        }
    }
    [&[properties.len() as u8][..], &properties].concat()
}

fn some_packet(random: &mut Rng, version: u8) -> Vec<u8> {
    // Few ids, so that they meet again.
    let id = if random.u8(..32) == 0 { 0 } else { random.u16(1..6) }.to_be_bytes();
    let properties = |random: &mut Rng, allowed: &[u8]| {
        if version == 5 { some_properties(random, allowed) } else { vec![] }
    };
    let topic = match random.u8(..16) {
        0 => &b"\0\0"[..],
        1..8 => b"\0\x01t",
        _ => b"\0\x1bt0/devices/dev-01/telemetry",
    };
    let options = [random.u8(..3)];
    match random.u8(..32) {
        0..16 => {
            let qos = random.u8(..3);
            let first = 0x30 | qos << 1 | random.u8(..2) | if qos > 0 { random.u8(..2) << 3 } else { 0 };
            let id = if qos > 0 { &id[..] } else { &[] };
            let payload = vec![b'x'; random.usize(..300)];
            packet(first, &[topic, id, &properties(random, &PUBLISH), &payload].concat())
        }
        16..20 => packet(0x40, &id),
        20..23 => packet(0x62, &id),
        23..26 => packet(0x82, &[&id[..], &properties(random, &SUBSCRIBE), topic, &options].concat()),
        26 | 27 => packet(0xa2, &[&id[..], &properties(random, &[0x26]), topic].concat()),
        28 | 29 => packet(0xc0, &[]),
        30 => packet(random.choice([0x50, 0x70, 0x90, 0xb0, 0xf0]).expect("some"), &id),
        _ if version == 5 => {
            packet(0xe0, &[&[random.u8(..6)][..], &properties(random, &DISCONNECT)].concat())
        }
        _ => packet(0xe0, &[]),
    }
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    if body.len() < 128 {
        packet.push(body.len() as u8);
    } else {
        packet.extend([body.len() as u8 | 0x80, (body.len() >> 7) as u8]);
    }
    packet.extend_from_slice(body);
    packet
}
