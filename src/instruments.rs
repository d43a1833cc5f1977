//! What a process counts about itself: the instruments of every crate.

use fleetlog_event_log::instrument::Instrument;

/// A crate's instruments, under what they are about, in the order in which data flows.
pub const AREAS: [(&str, &[Instrument]); 9] = [
    ("MQTT", fleetlog_mqtt::instruments::INSTRUMENTS),
    ("Ingest and commands", fleetlog_engine::instruments::INSTRUMENTS),
    ("Proof", fleetlog_proof::instruments::INSTRUMENTS),
    ("Projections", fleetlog_projections::instruments::INSTRUMENTS),
    ("Archive", fleetlog_archive::instruments::INSTRUMENTS),
    ("Access", fleetlog_access::instruments::INSTRUMENTS),
    ("Live", fleetlog_live::instruments::INSTRUMENTS),
    ("Webhooks", fleetlog_webhooks::instruments::INSTRUMENTS),
    ("HTTP", fleetlog_api::instruments::INSTRUMENTS),
];

/// All of them.
pub fn all() -> impl Iterator<Item = &'static Instrument> {
    AREAS.into_iter().flat_map(|(_, instruments)| instruments)
}
