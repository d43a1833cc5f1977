//! The metrics of this crate.

fleetlog_event_log::instruments! {
    /// Readings that were removed from the database because they are over age.
    REMOVED: Counter, "fleetlog_archive_removed_total", Count, [];
    /// Bytes of the files that were written and verified.
    BYTES: Counter, "fleetlog_archive_bytes_total", Count, [];
    /// Attempts to remove the weeks that are over age that failed. They are made again.
    FAILURES: Counter, "fleetlog_archive_failures_total", Count, [];
}
