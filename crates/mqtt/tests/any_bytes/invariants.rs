//! What holds for a client's bytes, whatever they are. The property test and the fuzz target both ask this.

#![expect(clippy::expect_used, reason = "an invariant that does not hold ends the process")]

use fleetlog_mqtt::protocol::opening::{self, Granted, Unfit};
use fleetlog_mqtt::protocol::{
    Ack, Grant, Incoming, MAX_PACKET, Outcome, Outgoing, Protocol, Unsent, Version, frame,
};

/// Serves a client that sends these bytes, and nobody else. Returns how many of its packets were taken.
pub(crate) fn connection(bytes: &[u8]) -> usize {
    let Some((packet, mut rest)) = next(bytes) else { return 0 };
    if packet[0] != opening::CONNECT {
        return 0;
    }
    let (mut protocol, hello) = match opening::open(packet) {
        Ok(opened) => opened,
        Err(Unfit(answer)) => {
            assert!(answer.is_empty() || answer[0] == 0x20 && answer[3] != 0, "a refusal: {answer:02x?}");
            return 0;
        }
    };
    let mut out = Vec::new();
    let assigned = hello.client_id.is_empty().then_some("assigned");
    let session = hello.expiry_s.map(|expiry_s| Granted { is_present: !hello.starts_clean, expiry_s });
    protocol.accept(session, assigned, &mut out);
    if protocol.is_speechless() {
        return 1;
    }
    assert_eq!((out[0], out[3]), (0x20, 0), "accepted");
    let (mut taken, mut owed, mut unacknowledged) = (1, Vec::new(), 0);
    while let Some((packet, after)) = next(rest) {
        rest = after;
        let before = out.len();
        let incoming = match protocol.take(packet, &mut out) {
            Ok(incoming) => incoming,
            Err(violation) => {
                let last = packets(&out[before..]).last().copied();
                if protocol.version() == Version::V3 {
                    assert!(last.is_none_or(|last| last[0] != 0xe0), "MQTT 3.1.1 has no such word");
                } else {
                    let told = last.is_some_and(|last| last[0] == 0xe0 && last[2] == violation.0 as u8);
                    assert!(told || protocol.is_speechless(), "{violation:?}: {last:02x?}");
                }
                return taken;
            }
        };
        taken += 1;
        answer(&mut protocol, incoming, &mut owed, &mut unacknowledged, &mut out);
        packets(&out);
        if protocol.is_speechless() {
            return taken;
        }
        out.clear();
    }
    taken
}

/// Does what a packet asks for, as the server does: acknowledgements leave in order, and not at once.
fn answer(
    protocol: &mut Protocol,
    incoming: Option<Incoming>,
    owed: &mut Vec<Ack>,
    unacknowledged: &mut usize,
    out: &mut Vec<u8>,
) {
    match incoming {
        Some(Incoming::Publish { topic, ack, payload }) => {
            assert!(!topic.is_empty() && !topic.contains(['+', '#', '\0']), "{topic}");
            owed.extend(ack);
            let message = Outgoing {
                topic: &topic,
                payload: &payload,
                expires_in_s: 60,
                number: Some(1),
                acknowledged: payload.len() % 2 == 0,
            };
            let before = out.len();
            match protocol.send(message, out) {
                Ok(id) => {
                    assert_eq!(out.len() - before, frame::publish_len(protocol.version(), &message));
                    *unacknowledged += usize::from(id.is_some());
                }
                Err(Unsent::TooLarge | Unsent::NoRoom) => assert_eq!(out.len(), before),
            }
        }
        Some(Incoming::Subscribe { id, wanted }) => {
            let grants: Vec<_> = wanted
                .iter()
                .map(|wanted| if wanted.is_filter() { Grant::Granted(wanted.qos) } else { Grant::Invalid })
                .collect();
            protocol.grant(id, &grants, out);
        }
        Some(Incoming::Unsubscribe { id, filters }) => {
            protocol.end(id, &vec![true; filters.len()], out);
        }
        Some(Incoming::Acknowledged(_)) => {
            *unacknowledged = unacknowledged.checked_sub(1).expect("a receipt for what was sent");
        }
        Some(Incoming::Release(id)) => protocol.complete(id, out),
        Some(Incoming::Leave { .. }) | None => {}
    }
    if owed.len() > 3 {
        for (place, ack) in owed.drain(..).enumerate() {
            let outcome = [Outcome::Stored, Outcome::NotAuthorized, Outcome::OverQuota][place % 3];
            protocol.acknowledge(ack, outcome, out);
        }
    }
}

/// The packet that the bytes begin with, and what follows it.
fn next(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = frame::length(bytes, MAX_PACKET).ok()??;
    bytes.split_at_checked(length)
}

/// The packets that the bytes are made of, without a rest.
fn packets(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut packets = Vec::new();
    while !bytes.is_empty() {
        let (packet, rest) = next(bytes).expect("whole packets");
        packets.push(packet);
        bytes = rest;
    }
    packets
}
