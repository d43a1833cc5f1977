//! The metrics of this crate.

fleetlog_event_log::instruments! {
    /// Requests to webhooks, by what came of them: `delivered`, or `failed`.
    REQUESTS: Counter, "fleetlog_webhook_requests_total", Count, ["outcome"];
    /// Events that webhooks took.
    EVENTS: Counter, "fleetlog_webhook_events_total", Count, [];
    /// Events between the end of a log and the place of the webhook that is furthest behind, on the node that sends.
    LAG: Gauge, "fleetlog_webhook_lag_events", Count, [];
    /// Webhooks that were suspended because they took nothing, on the node that sends.
    SUSPENDED: Gauge, "fleetlog_webhooks_suspended", Count, [];
}
