//! The archive: weeks of readings that every tenant keeps no longer leave the database, after they were written to files.
//! The modules, in the order in which data flows through them:
//!
//! - [`place`]: where the files lie
//! - [`bucket`]: the same, in an object store that speaks S3
//! - [`file`](mod@file): what a file is: readings of one log and one week, as Parquet
//! - [`archiver`]: writes, verifies and removes the weeks that are over
//! - [`copies`]: reads events that were removed, for whoever folds a log from its beginning
//! - [`check`]: verifies files again, later
//! - [`restore`](mod@restore): brings readings back into the database
//! - [`instruments`]: the metrics of this crate
//!
//! What is removed when, and what is known of it, is the log's business: `fleetlog_event_log::archived`. Nothing here holds
//! SQL, and only this crate names Parquet and the object store.

pub mod archiver;
pub mod bucket;
pub mod check;
pub mod copies;
pub mod file;
pub mod instruments;
pub mod place;
pub mod restore;

pub use archiver::Archiver;
pub use bucket::Bucket;
pub use copies::Copies;
pub use place::Place;
