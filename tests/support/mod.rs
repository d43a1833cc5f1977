//! What every test starts from: a database of its own in a Postgres that all share.

mod database;

pub(crate) use database::{Database, log_of};
