//! Where a packet ends, and how long one would be.

use super::{Outgoing, Reason, Version, Violation};

/// The longest header, in bytes: the type, and a length of four bytes.
const HEADER: usize = 5;

/// The length of the packet that the bytes begin with, its header included. `None` if its header is not there yet.
///
/// A packet of more than `most` bytes is a violation, known before any of it has to be kept.
pub fn length(bytes: &[u8], most: usize) -> Result<Option<usize>, Violation> {
    let mut length = 0;
    for (place, byte) in bytes.iter().take(HEADER).enumerate().skip(1) {
        length |= usize::from(byte & 0x7f) << (7 * (place - 1));
        if byte & 0x80 == 0 {
            let length = place + 1 + length;
            return if length > most { Err(Violation(Reason::PacketTooLarge)) } else { Ok(Some(length)) };
        }
    }
    if bytes.len() < HEADER { Ok(None) } else { Err(Violation(Reason::MalformedPacket)) }
}

/// The packet without its header, if all of it is there.
pub(super) fn body(packet: &[u8]) -> &[u8] {
    let header = packet.iter().skip(1).take_while(|byte| **byte & 0x80 != 0).count() + 2;
    packet.get(header..).unwrap_or_default()
}

/// The length of a message as a packet.
#[must_use]
pub fn publish_len(version: Version, message: &Outgoing<'_>) -> usize {
    let id = if message.acknowledged { 2 } else { 0 };
    let properties = match (version, message.number) {
        (Version::V3, _) => 0,
        // Their length, and the time of expiry: a byte that says so, and four of time.
        (Version::V5, None) => 1 + 5,
        (Version::V5, Some(number)) => 1 + 5 + 1 + number_len(number as usize),
    };
    let rest = 2 + message.topic.len() + id + properties + message.payload.len();
    1 + number_len(rest) + rest
}

/// How many bytes a number of variable length takes.
fn number_len(number: usize) -> usize {
    match number {
        ..128 => 1,
        128..16_384 => 2,
        16_384..2_097_152 => 3,
        _ => 4,
    }
}
