//! The servers that `fleetlog up` and the tests start for themselves: a private Postgres, a Mosquitto.
//!
//! Each is a direct child of this process, reachable from this machine only, and dies with its owner. Nothing here knows
//! fleetlog.
//!
//! - [`postgres`]: a cluster in a folder of its own
//! - [`mosquitto`]: a broker, for benchmarks and tests
//! - [`process`]: a child process that does not outlive this one

pub mod mosquitto;
pub mod postgres;
pub mod process;

/// Where `scripts/install-tools` puts a Postgres, seen from the project's folder.
pub const TOOLS: &str = ".tools/postgres";
