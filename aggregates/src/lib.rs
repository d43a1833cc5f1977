//! The pure domain of fleetlog: what may happen, and what an event is.
//!
//! No I/O, no clock, no database, no web framework. Time arrives in the command. The modules, in the order in which
//! data flows through them:
//!
//! - [`identity`]: tenants and device uids, and the stream id that is made of them
//! - [`topic`]: the device and the channel that an MQTT topic names
//! - [`telemetry`]: from a message's bytes to the event that is stored, or the reason why it is not stored
//! - [`device_status`]: what a device says about itself on its status topic
//! - [`metrics`]: the numbers in a telemetry payload
//! - [`device`]: the `Device` aggregate
//! - [`gateway`]: the devices that a gateway speaks for
//! - [`command_type`]: the `CommandType` aggregate: which commands a tenant's devices may be sent
//! - [`command`]: the `Command` aggregate: one command, from the request to its outcome
//! - [`command_ack`]: from a device's acknowledgement to its answer
//! - [`json_text`]: JSON as its text
//! - [`command_batch`]: the `CommandBatch` aggregate: one command for many devices
//! - [`alarm_rule`]: the `AlarmRule` aggregate, and what its condition makes of readings, commands and time
//! - [`alarm`]: the `Alarm` aggregate: one alarm, from the event that raised it to the one that cleared it
//! - [`source`]: the `Source` aggregate: what foreign topics and payloads mean, version by version
//! - [`acts`]: what people and administrators do, as audit events
//! - [`mod@words`]: enums whose cases are stored and sent as words

pub mod acts;
pub mod alarm;
pub mod alarm_rule;
pub mod command;
pub mod command_ack;
pub mod command_batch;
pub mod command_type;
pub mod device;
pub mod device_status;
pub mod gateway;
pub mod identity;
pub mod json_text;
pub mod metrics;
pub mod source;
pub mod telemetry;
pub mod topic;
pub mod words;
