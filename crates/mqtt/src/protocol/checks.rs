//! What a packet must not be, as far as mqtt-protocol-core does not look at it.

use mqtt_protocol_core::mqtt::packet::SubEntry;

use super::frame::body;
use super::{Reason, Version, Wanted};

const CONNECT: u8 = 1;
const PUBLISH: u8 = 3;
/// The type of a receipt.
pub(super) const PUBACK: u8 = 4;
const PUBREL: u8 = 6;
const PUBCOMP: u8 = 7;
const SUBSCRIBE: u8 = 8;
const UNSUBSCRIBE: u8 = 10;

/// The property that stands for a topic.
const TOPIC_ALIAS: u8 = 0x23;

/// Looks at a whole packet, before it is read.
pub(super) fn packet(version: Version, packet: &[u8]) -> Result<(), Reason> {
    let (kind, flags) = (packet[0] >> 4, packet[0] & 0x0f);
    let allowed = match kind {
        PUBLISH => flags & 0b0110 != 0b0110 && flags & 0b1110 != 0b1000,
        PUBREL | SUBSCRIBE | UNSUBSCRIBE => flags == 0b0010,
        _ => flags == 0,
    };
    if !allowed {
        return Err(Reason::MalformedPacket);
    }
    match kind {
        CONNECT => Err(Reason::ProtocolError),
        PUBLISH => publish(version, flags, body(packet)),
        PUBACK..=PUBCOMP | SUBSCRIBE | UNSUBSCRIBE if id(packet) == 0 => Err(Reason::ProtocolError),
        _ => Ok(()),
    }
}

/// The packet id that the packet's body begins with; 0, which none may have, if there is none.
pub(super) fn id(packet: &[u8]) -> u16 {
    body(packet).first_chunk().map_or(0, |id| u16::from_be_bytes(*id))
}

fn publish(version: Version, flags: u8, body: &[u8]) -> Result<(), Reason> {
    let (topic, mut rest) = text(body).ok_or(Reason::MalformedPacket)?;
    if flags & 0b0110 != 0 {
        let (id, after) = rest.split_first_chunk().ok_or(Reason::MalformedPacket)?;
        if u16::from_be_bytes(*id) == 0 {
            return Err(Reason::ProtocolError);
        }
        rest = after;
    }
    match (version, rest.split_first()) {
        // The length of the properties may be 0, but not absent.
        (Version::V5, None) => Err(Reason::MalformedPacket),
        // Without a topic there has to be an alias.
        (Version::V5, Some((0, _))) if topic.is_empty() => Err(Reason::ProtocolError),
        (Version::V5, Some((1..128, properties))) if has_alias_0(properties) => {
            Err(Reason::TopicAliasInvalid)
        }
        _ => Ok(()),
    }
}

/// Whether the properties that these bytes begin with have an alias of 0 before anything else is wrong with them.
fn has_alias_0(properties: &[u8]) -> bool {
    property(properties, TOPIC_ALIAS).is_some_and(|place| properties[place..].starts_with(&[0, 0]))
}

/// Where the value of a property begins, among properties that these bytes begin with.
pub(super) fn property(properties: &[u8], wanted: u8) -> Option<usize> {
    let mut place = 0;
    while let Some(id) = properties.get(place) {
        place += 1;
        if *id == wanted {
            return Some(place);
        }
        let value = &properties[place..];
        place += match id {
            0x01 | 0x17 | 0x19 => 1,
            0x21..=0x23 => 2,
            0x02 | 0x11 | 0x18 | 0x27 => 4,
            // Text, or data.
            0x03 | 0x08 | 0x09 | 0x15 | 0x16 => 2 + text(value)?.0.len(),
            // Two texts.
            0x26 => {
                let (name, rest) = text(value)?;
                4 + name.len() + text(rest)?.0.len()
            }
            _ => return None,
        };
    }
    None
}

/// The text or the data that these bytes begin with, and what follows it.
fn text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(u16::from_be_bytes(*length).into())
}

/// Looks at the topic of a publish.
pub(super) fn topic(topic: &str) -> Result<(), Reason> {
    let invalid = topic.is_empty() || topic.contains(['+', '#', '\0']);
    if invalid { Err(Reason::TopicNameInvalid) } else { Ok(()) }
}

/// Looks at one of the filters that a client asks for.
pub(super) fn wanted(entry: &SubEntry, number: Option<u32>) -> Result<Wanted, Reason> {
    let (filter, options) = (entry.topic_filter(), entry.sub_opts());
    if filter.is_empty() || filter.contains('\0') {
        return Err(Reason::ProtocolError);
    }
    if options.nl() && filter.starts_with("$share/") {
        return Err(Reason::ProtocolError);
    }
    Ok(Wanted { filter: filter.to_owned(), qos: options.qos() as u8, number })
}

impl Wanted {
    /// Whether it is a filter: a wildcard stands for whole levels, and `#` only for the last ones.
    #[must_use]
    pub fn is_filter(&self) -> bool {
        let levels = self.filter.split('/').count();
        let fits = |(place, level): (usize, &str)| match level {
            "+" => true,
            "#" => place + 1 == levels,
            level => !level.contains(['+', '#']),
        };
        self.filter.split('/').enumerate().all(fits)
    }
}
