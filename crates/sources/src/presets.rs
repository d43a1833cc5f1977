//! Definitions for families of devices whose topics and payloads are known. Each is a file that can be read, copied and
//! changed: `crates/sources/presets/`.

use chrono_tz::Tz;
use serde_json::{Map, Value};

use crate::invalid::Invalids;
use crate::spec::{SourceSpec, Unit};

/// A definition for a family of devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preset {
    /// Its name, such as `tasmota`.
    pub name: &'static str,
    /// Its definition, as JSON.
    pub json: &'static str,
}

macro_rules! presets {
    ($($name:literal),+ $(,)?) => {
        /// Every preset, by name.
        pub const PRESETS: &[Preset] = &[
            $(Preset { name: $name, json: include_str!(concat!("../presets/", $name, ".json")) },)+
        ];
    };
}

presets![
    "aws_shadow",
    "cayenne_lpp",
    "chirpstack_v4",
    "esphome",
    "homie",
    "owntracks",
    "rtl_433",
    "senml",
    "shelly_gen1",
    "shelly_gen2",
    "sparkplug_b",
    "tasmota",
    "thingsboard_device",
    "thingsboard_gateway",
    "ttn_v3",
    "victron",
    "zigbee2mqtt",
];

impl Preset {
    /// The preset of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        PRESETS.iter().find(|preset| preset.name == name)
    }

    /// The definition. `zone` is where those of its devices are that write local times: without it such a time cannot be read,
    /// and the arrival stands for it.
    ///
    /// # Errors
    ///
    /// [`Invalids`], which no preset has: a test reads them all.
    pub fn spec(&self, zone: Option<Tz>) -> Result<SourceSpec, Invalids> {
        let mut spec = SourceSpec::from_json(self.json)?;
        let Some(zone) = zone else { return Ok(spec) };
        let times = spec.topics.iter_mut().filter_map(|topic| topic.time.as_mut());
        for time in times.filter(|time| matches!(time.unit, Unit::Auto | Unit::Rfc3339)) {
            time.zone.get_or_insert_with(|| zone.name().to_owned());
        }
        Ok(spec)
    }

    /// The definition as JSON, for devices in a zone that is named.
    ///
    /// # Errors
    ///
    /// [`NoZone`], if there is no such zone.
    pub fn definition(&self, zone: Option<&str>) -> Result<Map<String, Value>, NoZone> {
        let zone = zone.map(|name| name.parse::<Tz>().map_err(|_| NoZone(name.to_owned()))).transpose()?;
        // A test reads all presets; they are objects.
        let spec = self.spec(zone).ok().and_then(|spec| serde_json::to_value(spec).ok());
        Ok(spec.and_then(|spec| spec.as_object().cloned()).unwrap_or_default())
    }
}

/// A name that no time zone has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no time zone {0}")]
pub struct NoZone(String);
