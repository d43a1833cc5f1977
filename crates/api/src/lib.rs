//! What people and programs call: REST and GraphQL, through the same functions. Holds no SQL.
//!
//! - [`rest`]: REST over HTTP, and what GraphQL shares with it
//! - [`graphql`]: GraphQL over HTTP
//! - [`instruments`]: what this crate counts

pub mod graphql;
pub mod instruments;
pub mod rest;
