//! Sends a tenant's events to its webhooks: at least once, in the order of each log, by position, signed.
//!
//! A webhook is a place in each log that it follows, as a stream is. A batch of events is noted before it is sent, and what became
//! of it together with the place: a crash at any step repeats the same batch, under the same id. One node sends for all tenants;
//! another takes over when it ends. The modules, in the order in which an event passes through them:
//!
//! - [`webhook`]: what a webhook is, and what it follows
//! - [`url`]: where one may be
//! - [`secret`]: what requests are signed with, and the signature
//! - [`store`]: webhooks in the database; each change is on the record
//! - [`deliverer`]: one node runs the webhooks of all tenants
//! - `line`: one log of one webhook: what is due, sent and noted
//! - `reader`: the next batch of a log's events, and what is missing in it
//! - `message`: a batch as a request
//! - `receiver`: sends a request, and says what came back
//! - [`schedule`]: what follows from an answer: the next batch, another attempt, the end
//! - `standing`: places and deliveries in the database
//! - [`deliveries`]: what was sent, for people
//! - [`service`]: tests and replays, which people ask for
//! - [`instruments`]: what this crate counts

pub mod deliverer;
pub mod deliveries;
mod error;
pub mod instruments;
mod line;
mod message;
mod reader;
mod receiver;
pub mod schedule;
pub mod secret;
pub mod service;
mod standing;
pub mod store;
pub mod url;
pub mod webhook;

pub use deliverer::Deliverer;
pub use deliveries::Delivery;
pub use error::{Error, Refused};
pub use service::{Options, Webhooks};
pub use webhook::{Filter, State, Webhook};
