//! The metrics of this crate.

fleetlog_event_log::instruments! {
    /// HTTP requests answered, by method, route and status. `not_yet` in place of a status is a 503 to a read whose
    /// `min_position` has not been reached.
    REQUESTS: Counter, "fleetlog_http_requests_total", Count, ["method", "path", "status"];
    /// Seconds from an HTTP request to the start of its answer, by method and route.
    REQUEST_SECONDS: Histogram, "fleetlog_http_request_duration_seconds", Seconds, ["method", "path"];
    /// HTTP connections that are open.
    CONNECTIONS: Gauge, "fleetlog_http_connections", Count, [];
    /// HTTP connections that were closed to make room, because no other had been silent for longer.
    CONNECTIONS_DISPLACED: Counter, "fleetlog_http_connections_displaced_total", Count, [];
    /// HTTP connections that were refused because every connection had a request under way.
    CONNECTIONS_REFUSED: Counter, "fleetlog_http_connections_refused_total", Count, [];
    /// HTTP connections that were closed because their client did not read an answer.
    UNREAD: Counter, "fleetlog_http_unread_total", Count, [];
    /// HTTP requests refused because a tenant's requests, or the bytes of its unread answers, used up its share for 10 s.
    SHARES_EXCEEDED: Counter, "fleetlog_http_shares_exceeded_total", Count, ["of"];
    /// Streams refused because as many are open as may be, by whose bound it was: caller, address, tenant, node or strangers.
    STREAMS_REFUSED: Counter, "fleetlog_live_refused_total", Count, ["of"];
    /// HTTP requests refused because too many came, by whose limit it was: address or caller.
    RATE_LIMITED: Counter, "fleetlog_http_rate_limited_total", Count, ["by"];
}
