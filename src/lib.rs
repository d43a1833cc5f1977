//! The edges and the wiring.

pub mod embedded;
