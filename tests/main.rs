//! Whole-system tests, through the public interfaces, against a real Postgres and real brokers that they start
//! themselves. One binary: one link, one shared cluster.

mod endpoint;
mod external;
mod faults;
mod graphql;
mod identity;
mod ingest;
mod log;
mod projections;
mod publishers;
mod rest;
mod support;
