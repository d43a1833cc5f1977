//! File descriptors: each connection is one, and how many a process may have is limited.
//!
//! The limit that applies at first is often 1,024, whatever the machine can do. A process may raise it by itself, up to a
//! hard limit that only the system's administrator raises.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Why there are not enough.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The administrator does not allow it.
    #[error(
        "open {needed} files and connections: at most {most} are allowed. Raise the hard limit, for instance with \
         `ulimit -Hn {needed}` as root, systemd's `LimitNOFILE={needed}`, or Docker's `--ulimit nofile={needed}`"
    )]
    TooFew {
        /// How many are needed.
        needed: u64,
        /// How many there may be.
        most: u64,
    },
    /// The system says no.
    #[error("raise the number of open files and connections: {0}")]
    Raise(#[from] io::Error),
}

/// Makes sure that this process, and those that it starts from here on, may have so many open.
pub fn allow(needed: u64) -> Result<(), Error> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // `None` is no limit.
    if current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    if let Some(most) = maximum
        && most < needed
    {
        return Err(Error::TooFew { needed, most });
    }
    setrlimit(Resource::Nofile, Rlimit { current: Some(needed), maximum }).map_err(io::Error::from)?;
    Ok(())
}
