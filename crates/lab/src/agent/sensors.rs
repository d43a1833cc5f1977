//! The readings of this machine's sensors. A sensor that the machine lacks is absent from the reading.

use std::time::Instant;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};
use sysinfo::{Component, Components, Disks, NetworkData, Networks, System};
use uuid::Uuid;

/// The sources of readings. Each is `None` where the machine, or the sandbox of the process, does not show it.
pub(super) struct Sensors {
    system: Option<System>,
    disks: Option<Disks>,
    networks: Option<Networks>,
    components: Option<Components>,
    /// When throughput was last read.
    at: Instant,
}

impl Sensors {
    pub(super) fn new() -> Self {
        let mut system = System::new().ok();
        system.iter_mut().for_each(System::refresh_cpu_usage);
        Self {
            system,
            disks: Disks::new_with_refreshed_list().ok(),
            networks: Networks::new_with_refreshed_list().ok(),
            components: Components::new_with_refreshed_list().ok(),
            at: Instant::now(),
        }
    }

    /// The next reading, as JSON to publish.
    pub(super) fn read(&mut self, now: DateTime<Utc>) -> Value {
        let mut reading = Map::new();
        let mut tell = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                reading.insert(name.to_owned(), value);
            }
        };
        tell("msg_id", Some(json!(Uuid::now_v7())));
        tell("ts", Some(json!(now.timestamp_millis())));
        if let Some(system) = &mut self.system {
            system.refresh_cpu_usage();
            system.refresh_memory();
            tell("cpu_percent", Some(json!(tenths(f64::from(system.global_cpu_usage())))));
            tell("memory", usage(system.total_memory(), system.used_memory()));
            tell("swap", usage(system.total_swap(), system.used_swap()));
        }
        let load = System::load_average().ok();
        tell("load", load.map(|load| json!({ "1m": load.one, "5m": load.five, "15m": load.fifteen })));
        tell("disk", self.disk());
        tell("network", self.throughput());
        tell("temperature", self.temperatures());
        tell("uptime_s", System::uptime().ok().map(Value::from));
        Value::Object(reading)
    }

    /// Usage of the disk that is mounted at `/`, or else of the first disk.
    fn disk(&mut self) -> Option<Value> {
        let disks = self.disks.as_mut()?;
        disks.refresh(true);
        let root = disks.iter().find(|disk| disk.mount_point() == "/");
        let disk = root.or_else(|| disks.first())?;
        usage(disk.total_space(), disk.total_space().saturating_sub(disk.available_space()))
    }

    /// Bytes a second over all interfaces but the loopback, since the last reading.
    fn throughput(&mut self) -> Option<Value> {
        let networks = self.networks.as_mut()?;
        networks.refresh(true);
        let seconds = std::mem::replace(&mut self.at, Instant::now()).elapsed().as_secs_f64();
        let interfaces = || networks.iter().filter(|(name, _)| *name != "lo").map(|(_, data)| data);
        interfaces().next()?;
        let rate = |bytes: u64| (bytes as f64 / seconds.max(0.001)).round();
        let received = rate(interfaces().map(NetworkData::received).sum());
        let sent = rate(interfaces().map(NetworkData::transmitted).sum());
        Some(json!({ "rx_bytes_per_s": received, "tx_bytes_per_s": sent }))
    }

    /// Temperatures in degrees Celsius, by sensor.
    fn temperatures(&mut self) -> Option<Value> {
        let components = self.components.as_mut()?;
        components.refresh(true);
        let name = |label: &str| label.replace(|c: char| !c.is_ascii_alphanumeric(), "_").to_lowercase();
        let known = |component: &Component| {
            let temperature = component.temperature().filter(|temperature| temperature.is_finite())?;
            Some((name(component.label()), json!(tenths(f64::from(temperature)))))
        };
        let known: Map<String, Value> = components.iter().filter_map(known).collect();
        (!known.is_empty()).then_some(Value::Object(known))
    }
}

fn usage(total: u64, used: u64) -> Option<Value> {
    (total > 0).then(|| {
        let percent = tenths(100.0 * used as f64 / total as f64);
        json!({ "total_bytes": total, "used_bytes": used, "used_percent": percent })
    })
}

fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_of_this_machine_is_plausible() {
        let mut sensors = Sensors::new();
        let reading = sensors.read(Utc::now());
        assert!(
            reading["cpu_percent"].as_f64().is_some_and(|percent| (0.0..=100.0).contains(&percent)),
            "{reading}"
        );
        assert!(reading["memory"]["used_percent"].as_f64().is_some_and(|percent| percent > 0.0), "{reading}");
        assert!(reading["uptime_s"].as_u64().is_some_and(|seconds| seconds > 0), "{reading}");
        assert!(reading["load"]["1m"].is_number(), "{reading}");
    }
}
