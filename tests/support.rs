//! What every test starts from: its own database, in a Postgres that all tests share.

pub(crate) mod api;
mod authority;
pub(crate) mod browser;
mod database;
pub(crate) mod graphql_ws;
pub(crate) mod http;
pub(crate) mod mqtt;
mod node;
mod publisher;
pub(crate) mod receiver;
pub(crate) mod s3;
pub(crate) mod server;
mod stream;
mod waiting;
pub(crate) mod websocket;
pub(crate) mod witness;

pub(crate) use api::Api;
pub(crate) use authority::Authority;
pub(crate) use database::{Database, fill_the_disk, free_the_disk, log_of};
pub(crate) use node::Node;
pub(crate) use publisher::Publisher;
pub(crate) use receiver::Receiver;
pub(crate) use server::{Server, binary, tool, url};
pub(crate) use stream::{Stream, Told};
pub(crate) use waiting::{LIMIT, eventually, until};

use fleetlog_aggregates::device::{Command, Labels, Registration, Via};
use fleetlog_event_log::{EventLog, TenantLog};

/// The command that registers a device, regardless of the tenant's limit.
#[expect(clippy::disallowed_methods, reason = "these tests are not about the limit of devices")]
pub(crate) fn register_device(via: Via, name: Option<String>, labels: Labels) -> Command {
    Registration { via, name, labels }.admit()
}

/// The default tenant's log.
pub(crate) fn t0(log: &EventLog) -> TenantLog {
    log.for_tenant(&"t0".parse().expect("a tenant"))
}
