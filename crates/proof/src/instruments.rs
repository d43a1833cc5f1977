//! The metrics of this crate.

fleetlog_event_log::instruments! {
    /// Events that were added to the Merkle trees.
    LEAVES: Counter, "fleetlog_proof_events_total", Count, [];
    /// Events of a log that its Merkle tree does not have yet, measured after each batch.
    BEHIND: Gauge, "fleetlog_proof_behind", Count, ["log"];
    /// Checkpoints that this node has signed.
    SIGNED: Counter, "fleetlog_proof_checkpoints_total", Count, [];
    /// 1 while a log's proof stands still, because an event is missing or its history was changed; else 0.
    BROKEN: Gauge, "fleetlog_proof_broken", Count, ["log"];
}
