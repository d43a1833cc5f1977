//! What this crate counts about itself.

fleetlog_event_log::instruments! {
    /// Messages received from devices: readings, acknowledgements, and messages that are refused.
    RECEIVED: Counter, "fleetlog_ingest_received_total", Count, [];
    /// Messages received that are neither stored nor refused yet.
    IN_FLIGHT: Gauge, "fleetlog_ingest_in_flight", Count, [];
    /// Readings stored as new events.
    RECORDED: Counter, "fleetlog_ingest_recorded_total", Count, [];
    /// Readings that were stored before, and are acknowledged again.
    DUPLICATES: Counter, "fleetlog_ingest_duplicates_total", Count, [];
    /// Readings stored although their device has used their `msg_id` for another message: they have other content.
    ID_REUSED: Counter, "fleetlog_ingest_id_reused_total", Count, [];
    /// Readings stored whose payload is not a JSON object.
    RAW: Counter, "fleetlog_ingest_raw_total", Count, [];
    /// Readings stored that were more than 24 hours old when they arrived.
    LATE: Counter, "fleetlog_ingest_late_total", Count, [];
    /// Readings stored from a device whose clock was more than 5 minutes ahead.
    CLOCK_AHEAD: Counter, "fleetlog_ingest_clock_ahead_total", Count, [];
    /// Readings stored without a `msg_id`, which cannot be recognised when they come again.
    NO_MSG_ID: Counter, "fleetlog_ingest_no_msg_id_total", Count, [];
    /// Readings stored whose `ts` cannot be read: they count from their receipt.
    BAD_TS: Counter, "fleetlog_ingest_bad_ts_total", Count, [];
    /// Readings stored whose `msg_id` cannot be read; they cannot be recognised when they come again.
    BAD_MSG_ID: Counter, "fleetlog_ingest_bad_msg_id_total", Count, [];
    /// Readings stored in which a metric occurs more than once.
    REPEATED_KEY: Counter, "fleetlog_ingest_repeated_key_total", Count, [];
    /// Readings stored that have no metric.
    NO_METRICS: Counter, "fleetlog_ingest_no_metrics_total", Count, [];
    /// Messages put into quarantine, by the reason.
    QUARANTINED: Counter, "fleetlog_ingest_quarantined_total", Count, ["reason"];
    /// Messages that were over a quota, by the bound that they met (tenant, connection, strangers or new_devices) and by
    /// their outcome: waited, refused, or dropped without an answer.
    OVER_QUOTA: Counter, "fleetlog_ingest_over_quota_total", Count, ["bound", "outcome"];
    /// Messages acknowledged and not kept, because quarantine had no room for them.
    QUARANTINE_DROPPED: Counter, "fleetlog_quarantine_dropped_total", Count, [];
    /// Messages removed from quarantine because of their age.
    QUARANTINE_EXPIRED: Counter, "fleetlog_quarantine_expired_total", Count, [];
    /// Messages on topics of no tenant that quarantine counts in a row with others and does not keep.
    STRANGERS_AGGREGATED: Counter, "fleetlog_ingest_strangers_aggregated_total", Count, [];
    /// Batches of readings that were stored together.
    BATCHES: Counter, "fleetlog_ingest_batches_total", Count, [];
    /// Readings in a batch, before duplicates and refusals are taken out.
    BATCH_SIZE: Histogram, "fleetlog_ingest_batch_size", Count, [];
    /// Seconds that it takes to store a batch of readings, with the wait for its turn.
    APPEND_SECONDS: Histogram, "fleetlog_ingest_append_seconds", Seconds, [];
    /// Attempts at the database that failed and are made again, by what was attempted.
    RETRIES: Counter, "fleetlog_ingest_retries_total", Count, ["step"];
    /// Acknowledgements of commands, by their outcome: recorded, duplicate or quarantined.
    COMMAND_ACKS: Counter, "fleetlog_command_acks_total", Count, ["outcome"];
    /// Commands sent to devices; a command that is sent again counts again.
    COMMANDS_PUBLISHED: Counter, "fleetlog_commands_published_total", Count, [];
    /// Commands handed over to another node, at which their devices listen.
    COMMANDS_HANDED_OVER: Counter, "fleetlog_commands_handed_over_total", Count, [];
    /// Wrong passwords of devices that were refused without a look-up, because there had been too many for the device.
    GUESSES_NOT_LOOKED_UP: Counter, "fleetlog_device_guesses_not_looked_up_total", Count, [];
    /// Commands of a tenant that have not ended.
    COMMANDS_OPEN: Gauge, "fleetlog_commands_open", Count, ["tenant"];
    /// Alarms raised, by severity.
    ALARMS_RAISED: Counter, "fleetlog_alarms_raised_total", Count, ["severity"];
    /// Alarms cleared, by severity.
    ALARMS_CLEARED: Counter, "fleetlog_alarms_cleared_total", Count, ["severity"];
    /// Alarms not raised because the tenant has as many open alarms as it may have.
    ALARMS_NOT_RAISED: Counter, "fleetlog_alarms_not_raised_total", Count, [];
    /// Events of a log that alarm rules have not been evaluated on yet, of tenants that have rules.
    ALARMS_LAG: Gauge, "fleetlog_alarms_lag", Count, ["log"];
}
