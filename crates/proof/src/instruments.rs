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
    /// Checkpoints that a witness took from this node.
    WITNESSED: Counter, "fleetlog_witness_checkpoints_total", Count, ["witness"];
    /// Failures to give a witness what it lacks.
    WITNESS_FAILURES: Counter, "fleetlog_witness_failures_total", Count, ["witness"];
    /// How long the oldest checkpoint has been signed that a witness lacks; 0 if it has the newest one of each log. The
    /// node that sends to the witness measures it.
    WITNESS_BEHIND: Gauge, "fleetlog_witness_behind_seconds", Seconds, ["witness"];
    /// Logs of which a witness has another history than this service, or a longer one; else 0. Raise an alarm.
    WITNESS_DISPUTES: Gauge, "fleetlog_witness_disputes", Count, ["witness"];
}
