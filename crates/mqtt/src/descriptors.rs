//! File descriptors: each connection needs one, and a process has a limit.
//!
//! The initial limit is often 1,024, whatever the machine can do. A process may raise it up to a hard limit, which only
//! the system's administrator can raise.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Why the limit is too low.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The hard limit is too low.
    #[error(
        "open {needed} files and connections: at most {most} are allowed. Raise the hard limit, for instance with \
         `ulimit -Hn {needed}` as root, systemd's `LimitNOFILE={needed}`, or Docker's `--ulimit nofile={needed}`"
    )]
    TooFew {
        /// The number of descriptors needed.
        needed: u64,
        /// The hard limit.
        most: u64,
    },
    /// The system refused to raise the limit.
    #[error("raise the number of open files and connections: {0}")]
    Raise(#[from] io::Error),
}

/// Makes sure that this process, and those that it starts after this call, may have `needed` descriptors open.
pub fn allow(needed: u64) -> Result<(), Error> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // `None` means no limit.
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
