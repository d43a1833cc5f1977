//! The metrics of this crate.

fleetlog_event_log::instruments! {
    /// Events that a projection has applied.
    EVENTS: Counter, "fleetlog_projection_events_total", Count, ["projection"];
    /// Events of a log that a projection has not applied yet, measured after each batch.
    LAG: Gauge, "fleetlog_projection_lag", Count, ["projection", "log"];
    /// Seconds that a projection takes to read a batch of events and commit what it changes.
    BATCH_SECONDS: Histogram, "fleetlog_projection_batch_seconds", Seconds, ["projection"];
    /// Batches that the database refused. The projection tries them again.
    FAILURES: Counter, "fleetlog_projection_failures_total", Count, ["projection"];
    /// Streams that a projection leaves out because it cannot apply one of their events.
    PARKED_STREAMS: Gauge, "fleetlog_projection_parked_streams", Count, ["projection"];
    /// Events that rebuilds have folded.
    REBUILD_EVENTS: Counter, "fleetlog_rebuild_events_total", Count, ["projection"];
    /// Rows of a rebuilt version that differ from the live one's.
    REBUILD_DIFFERENCES: Gauge, "fleetlog_rebuild_differences", Count, ["projection"];
    /// Values of metrics that have no windows, because their device has too many metrics.
    VALUES_LEFT_OUT: Counter, "fleetlog_windows_values_left_out_total", Count, [];
}
