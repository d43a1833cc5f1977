//! What this crate counts about itself.

fleetlog_event_log::instruments! {
    /// Devices and other clients that are connected to the built-in endpoint.
    CONNECTIONS: Gauge, "fleetlog_mqtt_connections", Count, [];
    /// Connections that the built-in endpoint closed at once because it has no room for more.
    CONNECTIONS_REFUSED: Counter, "fleetlog_mqtt_connections_refused_total", Count, [];
    /// Connections to the built-in endpoint whose login was refused.
    LOGINS_REFUSED: Counter, "fleetlog_mqtt_logins_refused_total", Count, [];
    /// Messages to the built-in endpoint on a topic that their sender may not publish to.
    PUBLISHES_REFUSED: Counter, "fleetlog_mqtt_publishes_refused_total", Count, [];
    /// Connections that the built-in endpoint ended without acknowledging a message, because it could not be stored in
    /// time. The device sends the message again.
    UNACKNOWLEDGED: Counter, "fleetlog_mqtt_unacknowledged_total", Count, [];
    /// Packets to the built-in endpoint that were not received to their end, because there was no room for them or because
    /// they took too long. Their connections were ended.
    UNFINISHED_REFUSED: Counter, "fleetlog_mqtt_unfinished_refused_total", Count, [];
    /// Connections to the built-in endpoint that were ended because their client publishes at QoS 2, does not release what it
    /// has published, and there was no room for more.
    UNRELEASED_REFUSED: Counter, "fleetlog_mqtt_unreleased_refused_total", Count, [];
    /// Wills that clients of the built-in endpoint left and that are not said: on another topic than a status, or without the
    /// word offline.
    WILLS_DROPPED: Counter, "fleetlog_mqtt_wills_dropped_total", Count, [];
    /// Connections to the built-in endpoint that a fault in the program ended.
    PANICS: Counter, "fleetlog_mqtt_panics_total", Count, [];
    /// Times that the connection to the external broker was lost.
    BROKER_CONNECTIONS_LOST: Counter, "fleetlog_mqtt_connections_lost_total", Count, [];
}
