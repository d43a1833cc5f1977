//! The messages that devices publish: readings of four metrics. One in twenty is a repeat, as in a real fleet.

use std::collections::VecDeque;

use chrono::{DateTime, Utc};

/// The metrics in each message.
pub(super) const METRICS: [&str; 4] = ["temperature", "humidity", "battery", "rssi"];
/// One message in this many is a repeat: 5 %.
const REPEAT_EVERY: u64 = 20;
/// How many of the device's messages lie between a message and its delayed repeat.
const DELAYED_BY: usize = 10;
/// The devices' tenant.
pub(super) const TENANT: &str = "t0";

/// A device's uid.
pub(super) fn uid(device: u32) -> String {
    format!("bench-{device:05}")
}

/// The id of a device's stream.
pub(super) fn aggregate_id(device: u32) -> String {
    format!("{TENANT}/{}", uid(device))
}

/// The topic that a device publishes on.
pub(super) fn topic(device: u32) -> String {
    format!("{TENANT}/devices/{}/telemetry", uid(device))
}

/// The `msg_id` that a device gives a message.
pub(super) fn msg_id(device: u32, number: u64) -> String {
    format!("{device}-{number}")
}

/// A message of about 120 bytes with four metrics. The values are multiples of 1/4, so that sums are exact and can be
/// compared.
pub(super) fn payload(device: u32, number: u64, at: DateTime<Utc>) -> String {
    let wave = (u64::from(device) * 7 + number) % 80;
    format!(
        r#"{{"msg_id":"{}","ts":{},"temperature":{}.25,"humidity":{}.5,"battery":3.75,"rssi":-{}}}"#,
        msg_id(device, number),
        at.timestamp_millis(),
        10 + wave / 4,
        30 + wave / 2,
        50 + wave % 40
    )
}

/// One device's messages in the order in which it sends them.
pub(super) struct Messages {
    device: u32,
    /// How many different messages there have been.
    pub(super) different: u64,
    sent: u64,
    /// The last different messages, newest first.
    last: VecDeque<String>,
}

impl Messages {
    pub(super) fn of(device: u32) -> Self {
        // The count starts at the device's number, so that devices do not repeat at the same time.
        Self { device, different: 0, sent: u64::from(device), last: VecDeque::new() }
    }

    /// The next message. One in [`REPEAT_EVERY`] is a repeat: in turn of the last message, and of an older one.
    pub(super) fn next(&mut self, at: DateTime<Utc>) -> String {
        self.sent += 1;
        if self.sent.is_multiple_of(REPEAT_EVERY) && !self.last.is_empty() {
            let delayed = (self.sent / REPEAT_EVERY).is_multiple_of(2);
            let nth = if delayed { (DELAYED_BY - 1).min(self.last.len() - 1) } else { 0 };
            return self.last[nth].clone();
        }
        let message = payload(self.device, self.different, at);
        self.different += 1;
        self.last.truncate(DELAYED_BY - 1);
        self.last.push_front(message.clone());
        message
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn one_message_in_twenty_is_a_repeat_of_one_of_the_last_ten() {
        let mut messages = Messages::of(7);
        let sent: Vec<_> = (0..2000).map(|_| messages.next(DateTime::UNIX_EPOCH)).collect();
        let different: HashSet<_> = sent.iter().collect();
        assert_eq!((different.len(), messages.different), (1900, 1900));
        let adjacent = sent.windows(2).filter(|pair| pair[0] == pair[1]).count();
        assert_eq!(adjacent, 50);
    }
}
