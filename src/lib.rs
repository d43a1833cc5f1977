//! The edges and the wiring.

pub mod embedded;
pub mod graphql;
pub mod http;
pub mod identity;
