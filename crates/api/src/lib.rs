//! What people and programs call: REST and GraphQL, through the same functions. Holds no SQL.
//!
//! - [`app`]: what every handler shares
//! - [`door`]: who may do what, and the only way to a tenant's log
//! - [`resource`]: what paths name
//! - [`rest`]: REST over HTTP, and what GraphQL shares with it
//! - [`graphql`]: GraphQL over HTTP
//! - [`live`]: what happens, for as long as a client listens; REST and GraphQL say it each in their own form
//! - [`instruments`]: what this crate counts

pub mod app;
pub mod door;
pub mod graphql;
pub mod instruments;
pub mod live;
pub mod resource;
pub mod rest;
pub mod server;

pub use app::{App, Settings};
