//! What every test starts from: a database of its own in a Postgres that all share.

pub(crate) mod api;
mod database;
pub(crate) mod mqtt;
mod node;
mod publisher;
pub(crate) mod server;

pub(crate) use api::Api;
pub(crate) use database::{Database, log_of};
pub(crate) use node::Node;
pub(crate) use publisher::Publisher;
pub(crate) use server::{Server, binary, tool, url};

use fleetlog_aggregates::device::{Command, Labels, Registration, Via};

/// The command that registers a device, whatever room its tenant has.
#[expect(clippy::disallowed_methods, reason = "these tests are about devices, and not about their number")]
pub(crate) fn register_device(via: Via, name: Option<String>, labels: Labels) -> Command {
    Registration { via, name, labels }.admit()
}
