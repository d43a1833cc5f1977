//! What fleetlog does with messages and commands, between a broker and the log. Names neither MQTT nor HTTP.
//!
//! - [`devices`]: registration, credentials, sessions, and which devices may write
//! - [`ingest`]: from a device's message to the log, once; acknowledged when committed
//! - [`commands`]: from a request to a command in the log: checked, appended once
//! - [`dispatch`]: sends commands to devices, and times them out
//! - [`alarms`]: evaluates alarm rules, and what people do with rules and alarms
//! - [`simulations`]: simulated devices that people start, for a time
//! - [`sources`]: what people do with sources
//! - [`quarantine`]: takes messages in again that are in quarantine
//! - [`replay`]: the story that the log tells, from its first event on
//! - [`instruments`]: what this crate counts

pub mod alarms;
pub mod commands;
pub mod devices;
pub mod dispatch;
pub mod ingest;
pub mod instruments;
pub mod quarantine;
pub mod replay;
pub mod simulations;
pub mod sources;
