//! Packets byte by byte, and what comes back for each: in both versions, before and after CONNECT.

use super::TOPIC;
use crate::support::Node;
use crate::support::mqtt::{self, Device, V4, V5};

const COMMANDS: &str = "t0/devices/dev-01/commands";

/// CONNACK of MQTT 5.
const WELCOME: &str = "20 14 00 00 11 21 01 00 22 00 08 25 00 28 00 2a 00 27 00 10 00 00";

/// What comes back.
#[derive(Debug, Clone, PartialEq)]
enum Answer {
    /// These packets, and the connection lasts.
    Lasts(&'static str),
    /// These packets, and the connection ends.
    Ends(&'static str),
}

use Answer::{Ends, Lasts};

/// Bytes as they are written down: pairs of digits.
fn bytes(hex: &str) -> Vec<u8> {
    hex.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).expect("a byte")).collect()
}

fn hex(packets: &[Vec<u8>]) -> String {
    let bytes = packets.iter().flatten().map(|byte| format!("{byte:02x}"));
    bytes.collect::<Vec<_>>().join(" ")
}

/// A CONNECT with these flags, properties (of MQTT 5 only) and whatever follows.
fn connect(version: u8, flags: u8, properties: &str, rest: &[u8]) -> Vec<u8> {
    let properties = bytes(properties);
    let properties =
        if version == V5 { [&[properties.len() as u8][..], &properties].concat() } else { vec![] };
    mqtt::packet(0x10, &[&b"\0\x04MQTT"[..], &[version, flags, 0, 60], &properties, rest].concat())
}

/// A PUBLISH of `QoS` 1 with the id 7 and these properties (of MQTT 5 only).
fn publish(version: u8, topic: &str, properties: &str) -> Vec<u8> {
    let properties = bytes(properties);
    let properties =
        if version == V5 { [&[properties.len() as u8][..], &properties].concat() } else { vec![] };
    let topic = [&(topic.len() as u16).to_be_bytes()[..], topic.as_bytes()].concat();
    mqtt::packet(0x32, &[&topic[..], &[0, 7], &properties, b"{}"].concat())
}

/// A request about filters, each with its options if it has any, with the id 9 and these properties (of MQTT 5 only).
fn request(version: u8, first: u8, properties: &str, filters: &[(&str, Option<u8>)]) -> Vec<u8> {
    let properties = bytes(properties);
    let mut body = vec![0, 9];
    if version == V5 {
        body.push(properties.len() as u8);
        body.extend(properties);
    }
    for (filter, options) in filters {
        body.extend((filter.len() as u16).to_be_bytes());
        body.extend(filter.as_bytes());
        body.extend(options);
    }
    mqtt::packet(first, &body)
}

/// The first packets of a connection: what is sent, and what comes back over MQTT 3.1.1 and over MQTT 5.
fn first(version: u8) -> Vec<(&'static str, Vec<u8>, Answer, Answer)> {
    let id = b"\0\x06dev-01";
    let will = |topic: &[u8]| {
        let properties: &[u8] = if version == V5 { &[0] } else { &[] };
        [properties, &(topic.len() as u16).to_be_bytes(), topic, b"\0\x01w"].concat()
    };
    let login = |flags: u8, rest: &[u8]| connect(version, flags, "", &[&id[..], rest].concat());
    let accepted = (Lasts("20 02 00 00"), Lasts(WELCOME));
    let malformed = (Ends(""), Ends("20 03 00 81 00"));
    let error = (Ends(""), Ends("20 03 00 82 00"));
    let silent = (Ends(""), Ends(""));
    let cases = vec![
        ("CONNECT", connect(version, 2, "", id), accepted.clone()),
        ("a keep alive of 0", connect(version, 2, "", id), accepted.clone()),
        ("no clean start", connect(version, 0, "", id), accepted.clone()),
        ("an id of none but /", connect(version, 2, "", b"\0\x03///"), accepted.clone()),
        ("an id with +, # and $", connect(version, 2, "", b"\0\x03+#$"), accepted.clone()),
        ("a will that is retained", login(0b10_1110, &will(b"a/b")), accepted.clone()),
        ("a reserved flag", connect(version, 3, "", id), malformed.clone()),
        ("a will of QoS 3", login(0b1_1110, &will(b"a/b")), malformed.clone()),
        ("a QoS of no will", login(0b0_1010, &[]), malformed.clone()),
        ("no will that is retained", login(0b10_0010, &[]), malformed.clone()),
        ("a will for +", login(0b110, &will(b"a/+")), (Ends(""), Ends("20 03 00 90 00"))),
        ("a will for #", login(0b110, &will(b"#")), (Ends(""), Ends("20 03 00 90 00"))),
        ("a will for no topic", login(0b110, &will(b"")), (Ends(""), Ends("20 03 00 90 00"))),
        ("a will that is missing", login(0b110, &[]), malformed.clone()),
        ("a password without a user", login(0b100_0010, b"\0\x01p"), error.clone()),
        ("a user that is missing", login(0b1000_0010, &[]), malformed.clone()),
        ("bytes behind the end", login(2, b"x"), malformed.clone()),
        (
            "an id that is not UTF-8",
            connect(version, 2, "", b"\0\x01\xff"),
            (Ends("20 02 00 02"), Ends("20 03 00 85 00")),
        ),
        ("an id with a NUL", connect(version, 2, "", b"\0\x01\0"), malformed.clone()),
        (
            "an id longer than its packet",
            connect(version, 2, "", b"\xff\xffa"),
            (Ends("20 02 00 02"), Ends("20 03 00 85 00")),
        ),
        (
            "CONNECT that ends after its flags",
            mqtt::packet(0x10, &[&b"\0\x04MQTT"[..], &[version, 2]].concat()),
            malformed,
        ),
        ("CONNECT with flags in its header", mqtt::packet(0x11, id), silent.clone()),
        ("CONNECT of a megabyte", bytes("10 ff ff 3f"), silent.clone()),
        ("PINGREQ", bytes("c0 00"), silent.clone()),
        ("PUBLISH", publish(version, TOPIC, ""), silent.clone()),
        ("another protocol", mqtt::packet(0x10, b"\0\x04MQTX\x04\x02\0\x3c\0\x01a"), silent),
        (
            "MQTT 3.1",
            mqtt::packet(0x10, b"\0\x06MQIsdp\x03\x02\0\x3c\0\x01a"),
            (Ends("20 02 00 01"), Ends("20 02 00 01")),
        ),
        ("level 3", connect(3, 2, "", id), (Ends("20 02 00 01"), Ends("20 02 00 01"))),
        ("level 6", connect(6, 2, "", id), (Ends("20 03 00 84 00"), Ends("20 03 00 84 00"))),
    ];
    cases.into_iter().map(|(what, sent, (v4, v5))| (what, sent, v4, v5)).collect()
}

/// The first packets of a connection that only one version knows.
fn first_of_one() -> Vec<(&'static str, u8, Vec<u8>, Answer)> {
    let with = |properties: &str| connect(V5, 2, properties, b"\0\x06dev-01");
    vec![
        ("no id, and no clean session", V4, connect(V4, 0, "", b"\0\0"), Ends("20 02 00 02")),
        ("no id", V4, connect(V4, 2, "", b"\0\0"), Lasts("20 02 00 00")),
        ("a receive maximum of 0", V5, with("21 00 00"), Ends("20 03 00 82 00")),
        ("a maximum packet size of 0", V5, with("27 00 00 00 00"), Ends("20 03 00 82 00")),
        ("a maximum packet size below CONNACK's", V5, with("27 00 00 00 08"), Ends("")),
        ("no topic alias", V5, with("22 00 00"), Lasts(WELCOME)),
        ("a topic alias", V5, with("23 00 01"), Ends("20 03 00 82 00")),
        ("a property twice", V5, with("21 00 01 21 00 01"), Ends("20 03 00 82 00")),
        ("an unknown property", V5, with("7f 00"), Ends("20 03 00 81 00")),
        ("a request for 2", V5, with("17 02"), Ends("20 03 00 82 00")),
        ("a method of authentication", V5, with("15 00 01 6d"), Ends("20 03 00 8c 00")),
        ("data of no method", V5, with("16 00 01 6d"), Ends("20 03 00 82 00")),
        (
            "a session of an hour",
            V5,
            with("11 00 00 0e 10"),
            Lasts("20 19 00 00 16 21 01 00 22 00 08 25 00 28 00 2a 00 11 00 00 0e 10 27 00 10 00 00"),
        ),
    ]
}

/// Packets of a client that has been let in: what is sent, and what comes back over MQTT 3.1.1 and over MQTT 5.
fn later(version: u8) -> Vec<(&'static str, Vec<u8>, Answer, Answer)> {
    let malformed = (Ends(""), Ends("e0 01 81"));
    let error = (Ends(""), Ends("e0 01 82"));
    let topic = (Ends(""), Ends("e0 01 90"));
    let raw = |first: u8, qos: u8, id: u16| {
        let packet = mqtt::publish(version, qos, id, TOPIC.as_bytes(), b"{}");
        [&[first][..], &packet[1..]].concat()
    };
    let cases = vec![
        ("PINGREQ", bytes("c0 00"), (Lasts("d0 00"), Lasts("d0 00"))),
        ("PINGREQ with a body", bytes("c0 01 00"), malformed.clone()),
        ("PINGREQ with flags", bytes("c1 00"), malformed.clone()),
        ("CONNECT again", mqtt::connect(version, "dev-01", None), error.clone()),
        ("CONNACK", bytes("20 02 00 00"), error.clone()),
        ("SUBACK", bytes("90 03 00 09 00"), error.clone()),
        ("UNSUBACK", bytes("b0 02 00 09"), error.clone()),
        ("PINGRESP", bytes("d0 00"), error.clone()),
        ("type 0", bytes("00 00"), malformed.clone()),
        ("AUTH", bytes("f0 00"), error.clone()),
        ("a length of five bytes", bytes("30 ff ff ff ff 01"), malformed.clone()),
        ("a length of 256 MB", bytes("32 ff ff ff 7f"), (Ends(""), Ends("e0 01 95"))),
        ("QoS 3", raw(0x36, 1, 7), malformed.clone()),
        ("QoS 0 sent again", raw(0x38, 0, 0), malformed.clone()),
        ("QoS 0", raw(0x30, 0, 0), (Lasts(""), Lasts(""))),
        ("QoS 1", raw(0x32, 1, 7), (Lasts("40 02 00 07"), Lasts("40 02 00 07"))),
        ("QoS 1, retained", raw(0x33, 1, 7), (Lasts("40 02 00 07"), Lasts("40 02 00 07"))),
        ("QoS 1, sent again", raw(0x3a, 1, 7), (Lasts("40 02 00 07"), Lasts("40 02 00 07"))),
        ("QoS 2", raw(0x34, 2, 7), (Lasts("50 02 00 07"), Lasts("50 02 00 07"))),
        ("QoS 1 with the id 0", raw(0x32, 1, 0), error.clone()),
        ("QoS 2 with the id 0", raw(0x34, 2, 0), error.clone()),
        ("no id", bytes("32 03 00 01 74"), malformed.clone()),
        ("a topic longer than its packet", bytes("32 03 ff ff 74"), malformed.clone()),
        ("PUBLISH without a body", bytes("30 00"), malformed.clone()),
        ("no topic", publish(version, "", ""), (Ends(""), Ends("e0 01 82"))),
        ("a NUL in the topic", publish(version, "t0/\0", ""), topic.clone()),
        ("+ in the topic", publish(version, "t0/+", ""), topic.clone()),
        ("# in the topic", publish(version, "t0/#", ""), topic),
        ("a topic that is not UTF-8", mqtt::publish(version, 1, 1, b"\xff", b"{}"), malformed.clone()),
        ("PUBACK of nothing", bytes("40 02 00 07"), (Lasts(""), Lasts(""))),
        ("PUBACK with the id 0", bytes("40 02 00 00"), error.clone()),
        ("PUBACK without an id", bytes("40 00"), error.clone()),
        ("PUBREC of nothing", bytes("50 02 00 07"), error.clone()),
        ("PUBCOMP of nothing", bytes("70 02 00 07"), error.clone()),
        ("PUBREL of nothing", bytes("62 02 00 07"), (Lasts("70 02 00 07"), Lasts("70 02 00 07"))),
        ("PUBREL with the wrong flags", bytes("60 02 00 07"), malformed.clone()),
        ("PUBREL with the id 0", bytes("62 02 00 00"), error.clone()),
        ("DISCONNECT", bytes("e0 00"), (Ends(""), Ends(""))),
        ("DISCONNECT with flags", bytes("e1 00"), malformed),
        ("PINGREQ behind DISCONNECT", bytes("e0 00 c0 00"), (Ends(""), Ends(""))),
    ];
    cases.into_iter().map(|(what, sent, (v4, v5))| (what, sent, v4, v5)).collect()
}

/// Requests about what a client wants to hear, likewise.
fn filters(version: u8) -> Vec<(&'static str, Vec<u8>, Answer, Answer)> {
    let subscribe = |filters: &[(&str, Option<u8>)]| request(version, 0x82, "", filters);
    let unsubscribe = |filters: &[(&str, Option<u8>)]| request(version, 0xa2, "", filters);
    let malformed = (Ends(""), Ends("e0 01 81"));
    let error = (Ends(""), Ends("e0 01 82"));
    let wide = (0..9).map(|_| ("t0/devices/dev-09/commands", Some(1))).collect::<Vec<_>>();
    let cases = vec![
        (
            "SUBSCRIBE",
            subscribe(&[(COMMANDS, Some(1))]),
            (Lasts("90 03 00 09 01"), Lasts("90 04 00 09 00 01")),
        ),
        (
            "SUBSCRIBE with QoS 0",
            subscribe(&[(COMMANDS, Some(0))]),
            (Lasts("90 03 00 09 00"), Lasts("90 04 00 09 00 00")),
        ),
        (
            "SUBSCRIBE with QoS 2",
            subscribe(&[(COMMANDS, Some(2))]),
            (Lasts("90 03 00 09 02"), Lasts("90 04 00 09 00 02")),
        ),
        (
            "SUBSCRIBE to one, and to what it may not",
            subscribe(&[(COMMANDS, Some(1)), ("#", Some(1))]),
            (Lasts("90 04 00 09 01 80"), Lasts("90 05 00 09 00 01 87")),
        ),
        (
            "SUBSCRIBE to the same nine times",
            subscribe(&wide),
            (
                Lasts("90 0b 00 09 01 01 01 01 01 01 01 01 01"),
                Lasts("90 0c 00 09 00 01 01 01 01 01 01 01 01 01"),
            ),
        ),
        (
            "SUBSCRIBE to what is no filter",
            subscribe(&[("t0/#/commands", Some(1))]),
            (Lasts("90 03 00 09 80"), Lasts("90 04 00 09 00 8f")),
        ),
        ("SUBSCRIBE with QoS 3", subscribe(&[(COMMANDS, Some(3))]), malformed.clone()),
        ("SUBSCRIBE with reserved options", subscribe(&[(COMMANDS, Some(0x41))]), malformed.clone()),
        ("SUBSCRIBE without options", subscribe(&[(COMMANDS, None)]), malformed.clone()),
        ("SUBSCRIBE to nothing", subscribe(&[]), error.clone()),
        ("SUBSCRIBE to an empty filter", subscribe(&[("", Some(1))]), error.clone()),
        ("SUBSCRIBE to a NUL", subscribe(&[("a\0", Some(1))]), error.clone()),
        ("SUBSCRIBE with the id 0", bytes("82 06 00 00 00 01 61 01"), error.clone()),
        (
            "SUBSCRIBE with the wrong flags",
            request(version, 0x80, "", &[(COMMANDS, Some(1))]),
            malformed.clone(),
        ),
        ("UNSUBSCRIBE from nothing", unsubscribe(&[]), error.clone()),
        (
            "UNSUBSCRIBE from what it never heard",
            unsubscribe(&[(COMMANDS, None)]),
            (Lasts("b0 02 00 09"), Lasts("b0 04 00 09 00 11")),
        ),
        (
            "UNSUBSCRIBE with the wrong flags",
            request(version, 0xa0, "", &[(COMMANDS, None)]),
            malformed.clone(),
        ),
        ("UNSUBSCRIBE with the id 0", bytes("a2 05 00 00 00 01 61"), error),
        (
            "SUBSCRIBE and UNSUBSCRIBE",
            [subscribe(&[(COMMANDS, Some(1))]), unsubscribe(&[(COMMANDS, None)])].concat(),
            (Lasts("90 03 00 09 01 b0 02 00 09"), Lasts("90 04 00 09 00 01 b0 04 00 09 00 00")),
        ),
    ];
    cases.into_iter().map(|(what, sent, (v4, v5))| (what, sent, v4, v5)).collect()
}

/// Packets that only MQTT 5 knows.
fn later_of_5() -> Vec<(&'static str, Vec<u8>, Answer)> {
    let aliased =
        |alias: u16, topic: &str| publish(V5, topic, &format!("23 {:02x} {:02x}", alias >> 8, alias & 0xff));
    let shared = request(V5, 0x82, "", &[("$share/g/a", Some(0b101))]);
    vec![
        ("an alias", [aliased(8, TOPIC), aliased(8, "")].concat(), Lasts("40 02 00 07 40 02 00 07")),
        ("an alias that was never set", aliased(1, ""), Ends("e0 01 94")),
        ("the alias 0", aliased(0, TOPIC), Ends("e0 01 94")),
        ("an alias beyond the maximum", aliased(9, TOPIC), Ends("e0 01 94")),
        ("an unknown property", publish(V5, TOPIC, "7f 00"), Ends("e0 01 81")),
        ("a property twice", publish(V5, TOPIC, "01 01 01 01"), Ends("e0 01 82")),
        ("a payload format of 2", publish(V5, TOPIC, "01 02"), Ends("e0 01 82")),
        ("a subscription's number", publish(V5, TOPIC, "0b 01"), Ends("e0 01 82")),
        ("properties longer than their packet", bytes("32 06 00 01 74 00 07 7f"), Ends("e0 01 81")),
        ("no properties, not even their length", bytes("32 05 00 01 74 00 07"), Ends("e0 01 81")),
        ("a number of 0", request(V5, 0x82, "0b 00", &[(COMMANDS, Some(1))]), Ends("e0 01 82")),
        ("nothing of its own, of a shared topic", shared, Ends("e0 01 82")),
        ("a session that is kept after all", bytes("e0 07 00 05 11 00 00 00 01"), Ends("e0 01 82")),
        ("DISCONNECT with the will", bytes("e0 01 04"), Ends("")),
        ("DISCONNECT for an unknown reason", bytes("e0 01 55"), Ends("e0 01 81")),
    ]
}

#[test]
fn there_are_many_cases() {
    let of_one = first_of_one().len() + later_of_5().len();
    let count = 2 * (first(V4).len() + later(V4).len() + filters(V4).len()) + of_one;
    assert!(count > 190, "{count}");
}

#[tokio::test]
async fn every_packet_has_its_answer() {
    let node = Node::start().await;
    let mut wrong = Vec::new();
    let mut see = async |what: String, version: u8, connected: bool, sent: Vec<u8>, expected: Answer| {
        if let Err(seen) = exchange(&node, version, connected, &sent, &expected).await {
            wrong.push(format!("{what}, version {version}: expected {expected:?}, came {seen}"));
        }
    };
    for version in [V4, V5] {
        for (connected, cases) in [(false, first(version)), (true, later(version)), (true, filters(version))]
        {
            for (what, sent, v4, v5) in cases {
                let expected = if version == V5 { v5 } else { v4 };
                see(what.to_owned(), version, connected, sent, expected).await;
            }
        }
    }
    for (what, version, sent, expected) in first_of_one() {
        see(what.to_owned(), version, false, sent, expected).await;
    }
    for (what, sent, expected) in later_of_5() {
        see(what.to_owned(), V5, true, sent, expected).await;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Sends the bytes over a connection of their own, and says what came back if it is not what was expected.
async fn exchange(
    node: &Node,
    version: u8,
    connected: bool,
    sent: &[u8],
    expected: &Answer,
) -> Result<(), String> {
    let mut device = if connected {
        Device::connect(node.address, version, "dev-01").await
    } else {
        Device::dial(node.address, version).await
    };
    device.send(sent).await;
    let (Lasts(words) | Ends(words)) = expected;
    let mut seen = Vec::new();
    if let Lasts(_) = expected {
        // The answer to this is the proof. It may overtake an acknowledgement, which waits for the commit.
        device.send(&[0xc0, 0]).await;
        let answers = bytes(words).len() + 2;
        while seen.iter().map(Vec::len).sum::<usize>() < answers {
            seen.push(device.packet().await.ok_or_else(|| format!("{}, and the end", hex(&seen)))?);
        }
        let proof = seen.iter().rposition(|packet| packet[..] == [0xd0, 0]).ok_or("no PINGRESP")?;
        seen.remove(proof);
    } else {
        seen = device.last_words().await;
    }
    if hex(&seen) == *words { Ok(()) } else { Err(hex(&seen)) }
}
