//! The metrics of this crate.

fleetlog_event_log::instruments! {
    /// Followers of the logs: streams that clients have open.
    FOLLOWERS: Gauge, "fleetlog_live_followers", Count, [];
    /// Logs that are followed.
    TAILS: Gauge, "fleetlog_live_logs", Count, [];
    /// Events that followers have looked at, by where they came from: `memory`, or the `log` for followers that lag.
    EVENTS: Counter, "fleetlog_live_events_total", Count, ["from"];
}
