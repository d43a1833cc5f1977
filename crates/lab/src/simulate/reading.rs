//! Readings that look real: a temperature with a daily cycle and noise, humidity that moves against it, a battery that
//! empties, a radio signal that wavers.

use std::f64::consts::TAU;
use std::fmt::Write;

use chrono::{DateTime, Utc};

/// The state of one device's sensors. Devices differ a little.
pub(super) struct Source {
    /// Different in every run, so that the messages of two runs of one device are not duplicates.
    run: u32,
    count: u64,
    warmth: f64,
    phase: f64,
    battery: f64,
    signal: f64,
}

impl Source {
    pub(super) fn new(number: u32) -> Self {
        // The golden ratio spreads neighbouring numbers far apart, in the same way each time.
        let spread = (f64::from(number) * 0.618_034).fract();
        Self {
            run: rand::random(),
            count: 0,
            warmth: 16.0 + 8.0 * spread,
            phase: spread / 24.0,
            battery: 60.0 + 40.0 * spread,
            signal: -85.0 + 35.0 * spread,
        }
    }

    /// The next message, about 110 bytes of JSON.
    pub(super) fn next(&mut self, now: DateTime<Utc>) -> String {
        self.count += 1;
        self.battery = (self.battery - 0.000_5).max(3.0);
        let noise = || rand::random_range(-1.0..=1.0);
        let ts = now.timestamp_millis();
        // The coldest time is about four in the morning, the warmest in the afternoon.
        let day = (TAU * ((ts as f64 / 86_400_000.0 + self.phase).fract() - 0.42)).sin();
        let temperature = self.warmth + 4.0 * day + 0.15 * noise();
        let humidity = (55.0 - 12.0 * day + 0.8 * noise()).clamp(0.0, 100.0);
        let signal = self.signal + 3.0 * noise();
        let mut payload = String::with_capacity(128);
        // Writing to a String cannot fail.
        let _ = write!(
            payload,
            r#"{{"msg_id":"{:08x}-{}","ts":{ts},"temperature":{temperature:.2},"humidity":{humidity:.1},"battery":{:.1},"rssi":{signal:.0}}}"#,
            self.run, self.count, self.battery,
        );
        payload
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_reading_is_json_of_four_metrics_with_an_id_of_its_own() {
        let mut source = Source::new(7);
        let mut ids = HashSet::new();
        for hour in 0..48 {
            let now = DateTime::from_timestamp(1_772_366_400 + hour * 3600, 0).expect("a time");
            let payload = source.next(now);
            assert!((80..140).contains(&payload.len()), "{payload}");
            let reading: serde_json::Value = serde_json::from_str(&payload).expect("JSON");
            assert_eq!(reading["ts"], now.timestamp_millis());
            assert!(ids.insert(reading["msg_id"].to_string()));
            for (metric, plausible) in [
                ("temperature", 5.0..35.0),
                ("humidity", 0.0..100.1),
                ("battery", 3.0..100.1),
                ("rssi", -100.0..-40.0),
            ] {
                let value = reading[metric].as_f64().expect("a number");
                assert!(plausible.contains(&value), "{metric}: {value}");
            }
        }
    }
}
