//! Messages a second of each preset: `cargo bench -p fleetlog-sources`. `ingest` is what a message costs before it is stored,
//! `fold` what it costs in a projection, and `both` the two together.

#![expect(clippy::expect_used, reason = "a benchmark that cannot go on says why and fails")]

use std::path::Path;

use chrono::DateTime;
use divan::Bencher;
use divan::counter::ItemsCount;
use fleetlog_sources::presets::Preset;
use fleetlog_sources::{Aliases, Message, Metrics, Source};

fn main() {
    divan::main();
}

/// A preset, a topic, and the payload of a real device.
const MESSAGES: [(&str, &str, &str); 13] = [
    ("zigbee2mqtt", "zigbee2mqtt/0x00158d0001a2b3c4", "real-z2m-climate.json"),
    ("tasmota", "tele/plug/SENSOR", "real-tasmota-sensor-energy.json"),
    ("tasmota", "tele/plug/SENSOR", "real-tasmota-sensor-nan.json"),
    ("shelly_gen1", "shellies/shelly1/relay/0/power", "real-shelly1-power.txt"),
    ("shelly_gen2", "shelly1/status/switch:0", "real-shelly2-status-switch.json"),
    ("ttn_v3", "v3/app1/devices/dev1/up", "real-ttn-v3-uplink.json"),
    ("chirpstack_v4", "application/a1/device/0101010101010101/event/up", "real-chirpstack-v4-up.json"),
    ("owntracks", "owntracks/jane/phone", "real-owntracks-location.json"),
    ("rtl_433", "rtl_433/pi/events", "real-rtl433.json"),
    ("sparkplug_b", "spBv1.0/plant/NBIRTH/pump", "real-sparkplug-nbirth.bin"),
    ("senml", "senml/gw", "real-senml-pack.json"),
    ("thingsboard_gateway", "v1/gateway/telemetry", "real-thingsboard-gateway.json"),
    ("cayenne_lpp", "lpp/node", "real-cayenne-lpp.bin"),
];

struct Prepared {
    source: Source,
    topic: &'static str,
    payload: Vec<u8>,
    aliases: Aliases,
}

impl Prepared {
    fn new((preset, topic, payload): (&str, &'static str, &str)) -> Self {
        let spec = Preset::named(preset).expect("the preset").spec(None).expect("a definition");
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/payload");
        let payload = std::fs::read(folder.join(payload)).expect("the payload");
        let source = Source::try_from(spec).expect("a source");
        let prepared = Self { source, topic, payload, aliases: Aliases::default() };
        assert!(prepared.ingest() > 0, "{preset}");
        prepared
    }

    /// Who, when and under which id; says how many readings there are.
    fn ingest(&self) -> usize {
        let received_at = DateTime::from_timestamp(1_795_876_200, 0).expect("a time");
        let message = Message { topic: self.topic, payload: &self.payload, received_at, login: None };
        self.source.identify(divan::black_box(message)).map_or(0, |readings| readings.len())
    }

    /// The metrics of all readings.
    fn fold(&self) -> Metrics {
        let opened = self.source.open(self.topic, divan::black_box(&self.payload), &self.aliases);
        opened.metrics(fleetlog_sources::Part::WHOLE)
    }
}

fn names() -> impl Iterator<Item = &'static str> {
    MESSAGES.iter().map(|(_, _, payload)| *payload)
}

fn prepared(payload: &str) -> Prepared {
    Prepared::new(*MESSAGES.iter().find(|message| message.2 == payload).expect("a message"))
}

#[divan::bench(args = names())]
fn ingest(bencher: Bencher<'_, '_>, payload: &str) {
    let prepared = prepared(payload);
    bencher.counter(ItemsCount::new(1_usize)).bench(|| prepared.ingest());
}

#[divan::bench(args = names())]
fn fold(bencher: Bencher<'_, '_>, payload: &str) {
    let prepared = prepared(payload);
    bencher.counter(ItemsCount::new(1_usize)).bench(|| prepared.fold());
}

#[divan::bench(args = names())]
fn both(bencher: Bencher<'_, '_>, payload: &str) {
    let prepared = prepared(payload);
    bencher.counter(ItemsCount::new(1_usize)).bench(|| (prepared.ingest(), prepared.fold()));
}
