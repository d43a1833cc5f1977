//! The edges and the wiring: everything between the world and the log.
//!
//! In the order in which a reading passes through:
//!
//! - [`endpoint`], [`external`]: from devices that connect to us, or to a broker of their own
//! - [`ingest`]: to the log, once, acknowledged when committed
//! - [`http`], [`graphql`]: to whoever asks; [`identity`] says who that is and what they may,
//!   [`limits`] how often
//!
//! and a command, the other way: [`commands`] puts it on the record, [`dispatcher`] sends it and gives it up in time.
//!
//! [`registration`] puts devices on the record, for ingest and for people alike.
//!
//! and around it: [`service`] starts and stops all of it, [`cli`] is what a person types, [`embedded`] the servers that
//! `up` brings along, [`replay`] tells the log again, [`simulate`] and [`agent`] devices to try it with, [`mod@bench`] its
//! figures, [`memory`] what the allocator is told.

pub mod agent;
pub mod backoff;
pub mod bench;
pub mod broker;
pub mod cli;
pub mod commands;
mod crash;
mod descriptors;
mod device;
pub mod dispatcher;
pub mod embedded;
pub mod endpoint;
pub mod external;
pub mod graphql;
pub mod http;
pub mod identity;
pub mod ingest;
pub mod limits;
pub mod memory;
pub mod registration;
pub mod replay;
pub mod service;
pub mod shutdown;
pub mod simulate;
