//! Whole-system tests, through the public interfaces, against a real Postgres and real brokers that they start
//! themselves. One binary: one link, one shared cluster.

mod log;
mod support;
