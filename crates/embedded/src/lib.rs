//! The servers that `fleetlog up` and the tests start for themselves: a private Postgres, and a Mosquitto.
//!
//! Each is a direct child of this process, is reachable from this machine only, and dies with its owner. Nothing in
//! this crate knows fleetlog.
//!
//! - [`postgres`]: a cluster in its own folder
//! - [`mosquitto`]: a broker, for benchmarks and tests
//! - [`process`]: a child process that does not outlive this one

pub mod mosquitto;
pub mod postgres;
pub mod process;

/// Where `scripts/install-tools` puts a Postgres, relative to the project's folder.
pub const TOOLS: &str = ".tools/postgres";
