//! What fleetlog does with messages and commands, between a broker and the log. Names neither MQTT nor HTTP.
//!
//! - [`devices`]: which devices there are, what they log in with, and which may write
//! - [`ingest`]: from a device's message to the log, once, acknowledged when committed
//! - [`commands`]: a command as it is asked for: checked, put on the record once
//! - [`dispatch`]: sends what the log says is to be sent, and gives it up in time
//! - [`replay`]: the log told again, from its first event on

pub mod commands;
pub mod devices;
pub mod dispatch;
pub mod ingest;
pub mod replay;
