//! Turns a message's bytes into the telemetry event that is stored, or says why they cannot become one.
//!
//! Ingest calls [`decide`] for every message, whichever broker delivered it, and [`decide_will`] for a will. The payload
//! is stored byte for byte; [`Flags`] notes what there is to say about it.

mod header;
mod ts;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Serialize, Serializer};
use uuid::Uuid;

use self::header::Header;
use crate::device_status::{self, MAX_STATUS, Statement};
use crate::identity::{Tenant, Uid, aggregate_id};
use crate::metrics::{self, lenient};
use crate::topic::{Channel, Topic};
use crate::words;

/// The aggregate type of a telemetry stream. This and the event's type and version are constants, so no row stores
/// them.
pub const AGGREGATE_TYPE: &str = "Telemetry";
/// The type of the only event in a telemetry stream.
pub const EVENT_TYPE: &str = "TelemetryRecorded";
/// The version of the only event in a telemetry stream.
pub const EVENT_VERSION: &str = "1.0";

/// The largest payload that becomes an event, in bytes.
pub const MAX_PAYLOAD: usize = 256 * 1024;
/// The longest `msg_id`, in characters.
pub const MAX_MSG_ID: usize = 128;
/// How far a device's clock may be ahead of the server's. A time that is further ahead is wrong, and not taken.
pub const MAX_AHEAD: TimeDelta = TimeDelta::minutes(5);
/// How old a reading may be before it is flagged late.
pub const LATE_AFTER: TimeDelta = TimeDelta::hours(24);

/// Tells people which topics devices publish to.
pub const BAD_TOPIC: &str = "the topic is not {tenant}/devices/{uid}/telemetry or /status, with 1 to 64 of A-Z a-z 0-9 _ . - as tenant, and of these and : as uid";

/// A message as a broker delivered it.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// The message's topic.
    pub topic: &'a str,
    /// The message's payload.
    pub payload: &'a [u8],
    /// When the server received the message.
    pub received_at: DateTime<Utc>,
}

/// A telemetry event, ready to be appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The tenant that owns the device.
    pub tenant: Tenant,
    /// The device that sent the message.
    pub uid: Uid,
    /// The stream's id: `tenant/uid`.
    pub aggregate_id: String,
    /// The device's message id, or a generated one.
    pub msg_id: String,
    /// When the reading was taken: by the device's clock, at most [`MAX_AHEAD`] after the server received it, or when the
    /// server received it if the device gave no time that can be taken.
    pub occurred_at: DateTime<Utc>,
    /// The stored payload: the message's own text, or `{"raw": text}`.
    pub payload: String,
    /// What there is to say about the message.
    pub flags: Flags,
}

impl Recorded {
    /// The same message under an id made unique, for one whose own id is that of another message. The id follows from the
    /// content, so that the message is recognised when it comes again. The flag is for ids that the device has chosen.
    #[must_use]
    pub fn under_an_id_of_its_own(&self) -> Self {
        let content = Uuid::new_v5(&Uuid::NAMESPACE_OID, self.payload.as_bytes()).simple();
        let mut flags = self.flags;
        flags.set_if(self.has_own_msg_id(), Flags::ID_REUSED);
        Self { msg_id: format!("{}~{content}", self.msg_id), flags, ..self.clone() }
    }

    /// Whether the device has chosen the id.
    #[must_use]
    pub fn has_own_msg_id(&self) -> bool {
        !self.flags.contains(Flags::NO_MSG_ID) && !self.flags.contains(Flags::BAD_MSG_ID)
    }
}

/// A message that cannot become an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// The tenant, if the topic names one.
    pub tenant: Option<Tenant>,
    /// The reason, for programs.
    pub reason: Reason,
    /// The reason, for people.
    pub detail: String,
}

/// Why a message is in quarantine. The words are public and stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Devices do not publish to the topic.
    BadTopic,
    /// The topic names a tenant that does not exist.
    UnknownTenant,
    /// The device is not registered, and its tenant registers devices by hand.
    UnknownDevice,
    /// The device is not registered, and its tenant has reached its device limit.
    DeviceLimit,
    /// The tenant is suspended.
    TenantSuspended,
    /// The device is out of service.
    Decommissioned,
    /// The login is another device's, which does not speak for this one.
    OtherDevice,
    /// The acknowledgement is for a command that was never sent to this device.
    UnknownCommand,
    /// The acknowledgement does not have the contract's form.
    BadAck,
    /// The acknowledgement contradicts the one on the record.
    OtherAnswer,
    /// The payload exceeds [`MAX_PAYLOAD`], the acknowledgement [`MAX_ACK`](crate::command_ack::MAX_ACK), or the status
    /// [`MAX_STATUS`].
    TooLarge,
    /// The payload is not UTF-8.
    NotUtf8,
    /// The payload is nested deeper than [`metrics::MAX_DEPTH`].
    TooDeep,
    /// The message has more values or readings than one message may have.
    TooMany,
    /// The source that takes the topic does not find out which device the message is from.
    NoUid,
    /// `msg_id` cannot be read. Version 0.1.0 refused such a message; see [`Flags::BAD_MSG_ID`].
    BadMsgId,
    /// `ts` cannot be read. Version 0.1.0 refused such a message; see [`Flags::BAD_TS`].
    BadTs,
    /// The status is neither online nor offline.
    BadStatus,
    /// The database cannot store the message.
    Unstorable,
}

words! { Reason {
    BadTopic = "bad_topic",
    UnknownTenant = "unknown_tenant",
    UnknownDevice = "unknown_device",
    DeviceLimit = "device_limit",
    TenantSuspended = "tenant_suspended",
    Decommissioned = "decommissioned",
    OtherDevice = "other_device",
    UnknownCommand = "unknown_command",
    BadAck = "bad_ack",
    OtherAnswer = "other_answer",
    TooLarge = "too_large",
    NotUtf8 = "not_utf8",
    TooDeep = "too_deep",
    TooMany = "too_many",
    NoUid = "no_uid",
    BadMsgId = "bad_msg_id",
    BadTs = "bad_ts",
    BadStatus = "bad_status",
    Unstorable = "unstorable",
} }

/// What there is to say about a stored message, as the bits of `telemetry_events.flags`. Stored for ever: only add bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Flags(i16);

impl Flags {
    /// The payload is not a JSON object; it is stored as `{"raw": text}`. It has the metrics that [`metrics::of_text`] finds.
    pub const RAW: Self = Self(1);
    /// The reading was older than [`LATE_AFTER`] when the server received it.
    pub const LATE: Self = Self(1 << 1);
    /// The device's clock was more than [`MAX_AHEAD`] ahead; `occurred_at` is the time of receipt. Version 0.1.0
    /// stored [`MAX_AHEAD`] after it.
    pub const CLOCK_AHEAD: Self = Self(1 << 2);
    /// The message came without `msg_id`, and is never taken for a duplicate.
    pub const NO_MSG_ID: Self = Self(1 << 3);
    /// The message came without `ts`; `occurred_at` is the time of receipt.
    pub const NO_TS: Self = Self(1 << 4);
    /// Some numbers of the message are not metrics: too many, too large, or with a name that cannot be stored.
    pub const PARTIAL: Self = Self(1 << 5);

    /// The device says that it is online.
    pub const ONLINE: Self = Self(1 << 6);
    /// The device says that it is offline. That is no sign of life: it may be a will.
    pub const OFFLINE: Self = Self(1 << 7);
    /// The message is a will: the device left it when it connected, and its connection has ended.
    pub const WILL: Self = Self(1 << 8);

    /// `ts` is neither RFC 3339 nor a time of the epoch from 2001 to 2100, or there are several; `occurred_at` is the
    /// time of receipt.
    pub const BAD_TS: Self = Self(1 << 9);
    /// `msg_id` is not a string or integer of 1 to [`MAX_MSG_ID`] characters, or there are several. The message is never
    /// taken for a duplicate.
    pub const BAD_MSG_ID: Self = Self(1 << 10);
    /// The device has used the `msg_id` for another message; this one is stored under an id made unique.
    pub const ID_REUSED: Self = Self(1 << 11);
    /// A metric occurs more than once in the message. The last value counts.
    pub const REPEATED_KEY: Self = Self(1 << 12);
    /// The reading has no metric.
    pub const NO_METRICS: Self = Self(1 << 13);
    /// A source of the tenant has said which device the message is from. Topic and payload are stored as they came, and the
    /// source says what the metrics are.
    pub const SOURCED: Self = Self(1 << 14);

    const NAMES: [(Self, &'static str); 15] = [
        (Self::RAW, "raw"),
        (Self::LATE, "late"),
        (Self::CLOCK_AHEAD, "clock_ahead"),
        (Self::NO_MSG_ID, "no_msg_id"),
        (Self::NO_TS, "no_ts"),
        (Self::PARTIAL, "partial"),
        (Self::ONLINE, "online"),
        (Self::OFFLINE, "offline"),
        (Self::WILL, "will"),
        (Self::BAD_TS, "bad_ts"),
        (Self::BAD_MSG_ID, "bad_msg_id"),
        (Self::ID_REUSED, "id_reused"),
        (Self::REPEATED_KEY, "repeated_key"),
        (Self::NO_METRICS, "no_metrics"),
        (Self::SOURCED, "sourced"),
    ];

    /// The bits as they are stored.
    #[must_use]
    pub fn bits(self) -> i16 {
        self.0
    }

    /// Makes flags from stored bits. Unknown bits are kept.
    #[must_use]
    pub fn from_bits(bits: i16) -> Self {
        Self(bits)
    }

    /// Whether all of `other`'s bits are set.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// These flags and those of `other`.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the message says something about the device itself, and is no reading.
    #[must_use]
    pub fn is_status(self) -> bool {
        self.0 & (Self::ONLINE.0 | Self::OFFLINE.0) != 0
    }

    /// The names of the flags that are set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().filter(move |(flag, _)| self.contains(*flag)).map(|(_, name)| name)
    }

    fn set_if(&mut self, condition: bool, flag: Self) {
        if condition {
            self.0 |= flag.0;
        }
    }
}

/// Serializes as the names of the flags that are set.
impl Serialize for Flags {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.names())
    }
}

/// Decides whether a message becomes an event. Pure; `make_id` is called only for a message without a `msg_id` that can be read.
pub fn decide(message: Message<'_>, make_id: impl FnOnce() -> String) -> Result<Recorded, Rejected> {
    decide_as(message, false, make_id)
}

/// Decides whether a will becomes an event: one that says that the device is offline. Its payload was written when the device
/// connected, so neither a `msg_id` nor a `ts` in it is the will's; `received_at` is when the device was last heard.
pub fn decide_will(message: Message<'_>, make_id: impl FnOnce() -> String) -> Result<Recorded, Rejected> {
    decide_as(message, true, make_id)
}

fn decide_as(
    message: Message<'_>,
    is_will: bool,
    make_id: impl FnOnce() -> String,
) -> Result<Recorded, Rejected> {
    let Some(Topic { tenant, uid, channel }) = Topic::parse(message.topic) else {
        return Err(Rejected { tenant: None, reason: Reason::BadTopic, detail: BAD_TOPIC.to_owned() });
    };
    let read = match channel {
        Channel::Telemetry if !is_will => read(message.payload, message.received_at, make_id),
        Channel::Telemetry => {
            let detail = "a will is a status, and no telemetry".into();
            return Err(Rejected { tenant: Some(tenant), reason: Reason::BadTopic, detail });
        }
        Channel::Status => read_status(message, is_will, make_id),
        Channel::CommandAck => {
            let detail = "an answer to a command is no telemetry".into();
            return Err(Rejected { tenant: Some(tenant), reason: Reason::BadTopic, detail });
        }
        Channel::Commands => {
            let detail = "commands are sent over HTTP; devices only receive on this topic".into();
            return Err(Rejected { tenant: Some(tenant), reason: Reason::BadTopic, detail });
        }
    };
    match read {
        Ok(Reading { msg_id, occurred_at, payload, mut flags, metrics }) => {
            flags.set_if(metrics == 0 && !flags.is_status(), Flags::NO_METRICS);
            let aggregate_id = aggregate_id(&tenant, &uid);
            Ok(Recorded { tenant, uid, aggregate_id, msg_id, occurred_at, payload, flags })
        }
        Err((reason, detail)) => Err(Rejected { tenant: Some(tenant), reason, detail }),
    }
}

struct Reading {
    msg_id: String,
    occurred_at: DateTime<Utc>,
    payload: String,
    flags: Flags,
    metrics: usize,
}

/// Reads a status. One that is a word is stored as the object that means the same.
fn read_status(
    message: Message<'_>,
    is_will: bool,
    make_id: impl FnOnce() -> String,
) -> Result<Reading, (Reason, String)> {
    let Message { payload, received_at, .. } = message;
    let text = text(payload, MAX_STATUS)?;
    let is_said = Statement::read(text).filter(|said| !is_will || *said == Statement::Offline);
    let said = is_said.ok_or_else(|| {
        (
            Reason::BadStatus,
            r#"a status is online or offline, or an object such as {"status": "online"}"#.to_owned(),
        )
    })?;
    let is_object = device_status::is_object(text);
    let word = format!(r#"{{"status":"{}"}}"#, said.as_str());
    let mut reading = match (is_object, is_will) {
        (true, false) => read(payload, received_at, make_id)?,
        (true, true) => Reading { payload: text.to_owned(), ..read(word.as_bytes(), received_at, make_id)? },
        (false, _) => read(word.as_bytes(), received_at, make_id)?,
    };
    reading.flags.set_if(said == Statement::Online, Flags::ONLINE);
    reading.flags.set_if(said == Statement::Offline, Flags::OFFLINE);
    reading.flags.set_if(is_will, Flags::WILL);
    Ok(reading)
}

fn text(payload: &[u8], most: usize) -> Result<&str, (Reason, String)> {
    if payload.len() > most {
        return Err((Reason::TooLarge, format!("{} bytes; at most {most} are stored", payload.len())));
    }
    std::str::from_utf8(payload).map_err(|error| (Reason::NotUtf8, error.to_string()))
}

fn read(
    payload: &[u8],
    received_at: DateTime<Utc>,
    make_id: impl FnOnce() -> String,
) -> Result<Reading, (Reason, String)> {
    let text = text(payload, MAX_PAYLOAD)?;
    let mut flags = Flags::default();
    let (scan, Header { msg_id, ts }, payload) = match metrics::for_each(text, |_, _| ()) {
        Ok(scan) => (scan, Header::of(text), text.to_owned()),
        Err(metrics::Error::NotAnObject(_)) => {
            flags.set_if(true, Flags::RAW);
            let header = lenient::object(text).map(|object| Header::of(&object)).unwrap_or_default();
            (metrics::of_text(text, |_, _| ()), header, serde_json::json!({ "raw": text }).to_string())
        }
        Err(error @ metrics::Error::TooDeep) => return Err((Reason::TooDeep, error.to_string())),
    };
    flags.set_if(scan.skipped > 0, Flags::PARTIAL);
    flags.set_if(scan.repeated > 0, Flags::REPEATED_KEY);
    flags.set_if(msg_id.is_nothing(), Flags::NO_MSG_ID);
    flags.set_if(msg_id.is_unreadable(), Flags::BAD_MSG_ID);
    flags.set_if(ts.is_nothing(), Flags::NO_TS);
    flags.set_if(ts.is_unreadable(), Flags::BAD_TS);
    let ts = ts.value().unwrap_or(received_at);
    let is_ahead = ts > received_at + MAX_AHEAD;
    flags.set_if(is_ahead, Flags::CLOCK_AHEAD);
    flags.set_if(ts < received_at - LATE_AFTER, Flags::LATE);
    let occurred_at = if is_ahead { received_at } else { ts };
    let msg_id = msg_id.value().unwrap_or_else(make_id);
    Ok(Reading { msg_id, occurred_at, payload, flags, metrics: scan.metrics })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> DateTime<Utc> {
        "2026-03-01T12:00:00Z".parse().expect("a time")
    }

    fn receive(payload: impl AsRef<[u8]>) -> Result<Recorded, Rejected> {
        let payload = payload.as_ref();
        decide(Message { topic: "t0/devices/dev-01/telemetry", payload, received_at: now() }, || {
            "made".into()
        })
    }

    fn recorded(payload: &str) -> Recorded {
        receive(payload).unwrap_or_else(|rejected| panic!("{payload}: {rejected:?}"))
    }

    fn reason(payload: impl AsRef<[u8]>) -> Reason {
        receive(payload).expect_err("rejected").reason
    }

    #[test]
    fn a_message_is_stored_byte_for_byte_under_its_own_id_and_time() {
        let payload = r#"{ "msg_id":"m1", "ts":"2026-03-01T11:59:00+07:00","t":21.50 }"#;
        let event = recorded(payload);
        assert_eq!(event.payload, payload);
        assert_eq!((event.aggregate_id.as_str(), event.msg_id.as_str()), ("t0/dev-01", "m1"));
        assert_eq!(event.occurred_at.to_rfc3339(), "2026-03-01T04:59:00+00:00");
        assert_eq!(event.flags, Flags::default());
    }

    #[test]
    fn a_message_without_id_or_time_gets_both() {
        for payload in [r#"{"t":1}"#, r#"{"t":1,"msg_id":null,"ts":null}"#] {
            let event = recorded(payload);
            assert_eq!((event.msg_id.as_str(), event.occurred_at), ("made", now()));
            assert_eq!(event.flags.names().collect::<Vec<_>>(), ["no_msg_id", "no_ts"]);
        }
    }

    #[test]
    fn text_that_is_not_a_json_object_is_kept_as_raw() {
        for text in [
            "",
            "21.5",
            "t=21.5",
            "[1,2]",
            r#"{"t":NaN}"#,
            r#"{"t":1e400}"#,
            r#"{"s":"\ud800"}"#,
            "{\"a\":1",
            "a\0b",
        ] {
            let event = recorded(text);
            let stored: serde_json::Value = serde_json::from_str(&event.payload).expect("JSON");
            assert_eq!(stored, serde_json::json!({ "raw": text }));
            assert!(event.flags.contains(Flags::RAW), "{text}");
        }
    }

    #[test]
    fn text_that_is_meant_to_be_an_object_has_its_id_and_time() {
        let event =
            recorded("\u{feff}{\"msg_id\":\"m1\",\"ts\":\"2026-03-01T11:00:00Z\",\"t\":NaN,\"h\":40}\0");
        assert_eq!((event.msg_id.as_str(), event.occurred_at), ("m1", now() - TimeDelta::hours(1)));
        assert_eq!(event.flags.names().collect::<Vec<_>>(), ["raw"]);
        let flags = |text| recorded(text).flags.names().skip(3).collect::<Vec<_>>();
        assert_eq!(flags("21.5"), Vec::<&str>::new(), "besides raw, no_msg_id and no_ts");
        assert_eq!(flags("on"), Vec::<&str>::new());
        assert_eq!(flags("hello"), ["no_metrics"]);
        assert_eq!(flags(r#"{"t":NaN}"#), ["no_metrics"]);
    }

    #[test]
    fn a_reading_without_metrics_and_one_with_a_repeated_key_are_flagged() {
        let flags = |payload| recorded(payload).flags.names().skip(2).collect::<Vec<_>>();
        assert_eq!(flags(r#"{"SG":"1.0260","Temp":"74.0"}"#), ["no_metrics"]);
        assert_eq!(flags(r#"{"t":1,"t":2}"#), ["repeated_key"]);
        assert_eq!(flags(r#"{"t":1,"u":2}"#), Vec::<&str>::new(), "besides no_msg_id and no_ts");
    }

    #[test]
    fn a_clock_that_is_too_far_ahead_is_not_believed() {
        let event = recorded(r#"{"ts":"2026-03-01T12:05:00Z"}"#);
        assert_eq!(event.occurred_at, now() + MAX_AHEAD);
        assert!(!event.flags.contains(Flags::CLOCK_AHEAD));
        for ts in
            [r#""2026-03-01T12:05:00.001Z""#, r#""9999-12-31T23:59:59Z""#, "4102444800000", "4102444800"]
        {
            let event = recorded(&format!(r#"{{"ts":{ts}}}"#));
            assert_eq!(event.occurred_at, now(), "{ts}");
            assert!(event.flags.contains(Flags::CLOCK_AHEAD));
        }
    }

    #[test]
    fn a_reading_older_than_a_day_is_kept_and_flagged_late() {
        assert!(!recorded(r#"{"ts":"2026-02-28T12:00:00Z"}"#).flags.contains(Flags::LATE));
        for ts in [r#""2026-02-28T11:59:59Z""#, r#""0000-01-01T00:00:00Z""#, "1000000000", "1000000000000"] {
            let event = recorded(&format!(r#"{{"ts":{ts}}}"#));
            assert!(event.flags.contains(Flags::LATE), "{ts}");
        }
    }

    #[test]
    fn a_reading_whose_time_cannot_be_read_counts_from_its_receipt() {
        for ts in [
            r#""yesterday""#,
            r#""-0001-01-01T00:00:00Z""#,
            "23.5",
            "0",
            "1e300",
            "true",
            "[]",
            r#"1,"ts":2"#,
        ] {
            let payload = format!(r#"{{"msg_id":"m","t":1,"ts":{ts}}}"#);
            let event = recorded(&payload);
            assert_eq!((event.occurred_at, event.payload.as_str()), (now(), payload.as_str()));
            assert_eq!(event.flags.names().collect::<Vec<_>>(), ["bad_ts"], "{ts}");
        }
    }

    #[test]
    fn a_message_with_the_id_of_another_gets_one_that_follows_from_its_content() {
        let [one, other] = [1, 2].map(|t| recorded(&format!(r#"{{"msg_id":"m1","t":{t}}}"#)));
        let renamed = one.under_an_id_of_its_own();
        assert_eq!(renamed.msg_id, "m1~8fd68f3a3f9058269e18835025637171");
        assert_eq!(renamed, one.under_an_id_of_its_own());
        assert_ne!(renamed.msg_id, other.under_an_id_of_its_own().msg_id);
        assert_eq!(renamed.flags.names().collect::<Vec<_>>(), ["no_ts", "id_reused"]);
        let made = recorded(r#"{"t":1}"#).under_an_id_of_its_own();
        assert_eq!(made.flags.names().collect::<Vec<_>>(), ["no_msg_id", "no_ts"]);
    }

    #[test]
    fn a_msg_id_is_a_string_or_an_integer_of_1_to_128_characters() {
        let long = |n| format!("{:?}", "é".repeat(n));
        for (json, id) in [
            ("17", "17"),
            ("-1", "-1"),
            ("18446744073709551616", "18446744073709551616"),
            (r#""é""#, "é"),
            (&long(128), &"é".repeat(128)),
        ] {
            assert_eq!(recorded(&format!(r#"{{"msg_id":{json}}}"#)).msg_id, id);
        }
    }

    #[test]
    fn a_reading_whose_msg_id_cannot_be_read_gets_one() {
        let long = format!("{:?}", "x".repeat(129));
        for id in [r#""""#, &long, "1.5", "1e3", "true", "{}", "[1]", r#""a\u0000""#, r#""a","msg_id":"b""#] {
            let payload = format!(r#"{{"ts":"2026-03-01T12:00:00Z","t":1,"msg_id":{id}}}"#);
            let event = recorded(&payload);
            assert_eq!((event.msg_id.as_str(), event.payload.as_str()), ("made", payload.as_str()));
            assert_eq!(event.flags.names().collect::<Vec<_>>(), ["bad_msg_id"], "{id}");
        }
    }

    fn status(payload: &str) -> Result<Recorded, Reason> {
        let (topic, payload) = ("t0/devices/dev-01/status", payload.as_bytes());
        let message = Message { topic, payload, received_at: now() };
        decide(message, || "made".into()).map_err(|rejected| rejected.reason)
    }

    fn will(topic: &str, payload: &str) -> Result<Recorded, Reason> {
        let message = Message { topic, payload: payload.as_bytes(), received_at: now() };
        decide_will(message, || "made".into()).map_err(|rejected| rejected.reason)
    }

    #[test]
    fn a_status_is_stored_with_what_it_says() {
        for (payload, stored, flags) in [
            ("Online", r#"{"status":"online"}"#, &["no_msg_id", "no_ts", "online"][..]),
            ("0", r#"{"status":"offline"}"#, &["no_msg_id", "no_ts", "offline"]),
            (
                r#"{"status":"Offline","msg_id":"s1","ts":1000000000}"#,
                r#"{"status":"Offline","msg_id":"s1","ts":1000000000}"#,
                &["late", "offline"],
            ),
            (
                r#"{"status":"online","msg_id":[],"ts":"yesterday"}"#,
                r#"{"status":"online","msg_id":[],"ts":"yesterday"}"#,
                &["online", "bad_ts", "bad_msg_id"],
            ),
        ] {
            let event = status(payload).expect(payload);
            assert_eq!(event.payload, stored);
            assert_eq!(event.flags.names().collect::<Vec<_>>(), flags, "{payload}");
            assert!(event.flags.is_status());
        }
        assert!(!recorded(r#"{"status":"online"}"#).flags.is_status(), "telemetry");
        assert_eq!(status("away"), Err(Reason::BadStatus));
        assert_eq!(status(""), Err(Reason::BadStatus));
        assert_eq!(status(&" ".repeat(MAX_STATUS + 1)), Err(Reason::TooLarge));
    }

    #[test]
    fn a_will_says_that_a_device_is_offline_and_nothing_else() {
        const STATUS: &str = "t0/devices/dev-01/status";
        let payload = r#"{"status":"offline","msg_id":"w","ts":0}"#;
        let event = will(STATUS, payload).expect("recorded");
        assert_eq!(
            (event.payload.as_str(), event.msg_id.as_str(), event.occurred_at),
            (payload, "made", now())
        );
        assert_eq!(event.flags.names().collect::<Vec<_>>(), ["no_msg_id", "no_ts", "offline", "will"]);
        assert_eq!(will(STATUS, "Offline").expect("recorded").payload, r#"{"status":"offline"}"#);
        assert_eq!(will(STATUS, "online"), Err(Reason::BadStatus));
        assert_eq!(will("t0/devices/dev-01/telemetry", "offline"), Err(Reason::BadTopic));
    }

    #[test]
    fn what_cannot_be_stored_says_why() {
        assert_eq!(reason(vec![b' '; MAX_PAYLOAD + 1]), Reason::TooLarge);
        assert_eq!(reason([0xff, 0xfe]), Reason::NotUtf8);
        assert_eq!(reason(format!("{}1{}", r#"{"a":"#.repeat(65), "}".repeat(65))), Reason::TooDeep);
        for (topic, expected) in [
            ("nonsense", Reason::BadTopic),
            ("t0/devices/dev-01/commands", Reason::BadTopic),
            ("t0/devices/dev-01/command_ack", Reason::BadTopic),
        ] {
            let rejected = decide(Message { topic, payload: b"{}", received_at: now() }, String::new);
            assert_eq!(rejected.expect_err(topic).reason, expected);
        }
    }
}
