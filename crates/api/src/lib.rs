//! What people and programs call: REST and GraphQL, through the same functions. Holds no SQL.
//!
//! - [`rest`]: REST over HTTP, and what GraphQL shares with it
//! - [`graphql`]: GraphQL over HTTP

pub mod graphql;
pub mod rest;
