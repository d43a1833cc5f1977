//! What this crate counts about itself.

fleetlog_event_log::instruments! {
    /// Refusals that are not on the record, because too many different ones came at once.
    DENIALS_DROPPED: Counter, "fleetlog_denials_dropped_total", Count, [];
}
