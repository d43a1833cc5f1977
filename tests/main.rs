//! Whole-system tests, through the public interfaces, against a real Postgres and real brokers that they start
//! themselves. One binary: one link, one shared cluster.

#![expect(
    clippy::disallowed_methods,
    reason = "a test stands outside, as a device and a caller do, with its own clock"
)]
#![expect(clippy::expect_used, clippy::print_stderr, reason = "a test that cannot go on says why and fails")]

mod access;
mod accounts;
mod alarms;
mod archive;
mod audit;
mod bench;
mod clocks;
mod commands;
mod dashboard;
mod device_auth;
mod docs;
mod endpoint;
mod external;
mod faults;
mod graphql;
mod identity;
mod idle;
mod ingest;
mod instruments;
mod limits;
mod live;
mod log;
mod presence;
mod projections;
mod publishers;
mod quotas;
mod readiness;
mod replay;
mod rest;
mod sources;
mod spine;
mod support;
mod takeover;
mod tenants;
mod tls;
mod walls;
mod webhooks;
