//! The proof of the logs: anyone can check that no event was changed, removed, added or moved. `docs/PROOF.md` is the
//! specification; whoever keeps a checkpoint needs to trust neither the database nor this code.
//!
//! - [`hash`]: the hashes of leaves and nodes
//! - [`tree`]: a Merkle tree in tiles, and proofs from it
//! - [`record`]: what the leaf of an event covers: every stored column
//! - [`mod@note`]: keys, checkpoints, signatures
//! - [`mod@bundle`]: what an auditor takes away
//! - [`custody`]: the key and the last checkpoints, outside the database
//! - [`store`]: trees, tiles and checkpoints in Postgres
//! - [`sequencer`]: grows the trees and signs their roots
//! - [`range`]: the proof that a log has a range of events, for who has only these
//! - [`read`]: what others ask: a checkpoint, a tile, a proof
//! - [`mod@verify`]: hashes a log again, and says what was changed
//! - [`mod@watch`]: elsewhere: whether a service's checkpoints go on from those that it showed before
//! - [`mod@witness`]: sends checkpoints to other parties, who keep or sign them
//! - [`durable`]: files that survive the machine
//! - [`instruments`]: what this crate counts

pub mod bundle;
pub mod custody;
mod durable;
pub mod hash;
pub mod instruments;
pub mod note;
pub mod range;
pub mod read;
pub mod record;
pub mod sequencer;
pub mod store;
pub mod tree;
pub mod verify;
pub mod watch;
pub mod witness;

use fleetlog_event_log::{LogId, Position};

pub use custody::Custody;
pub use sequencer::Sequencer;

/// Why a proof cannot be made, kept or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log has no event at a position, or two.
    #[error(
        "log {log_id} does not have exactly one event at position {position}, although its head is beyond it"
    )]
    Hole {
        /// The log.
        log_id: LogId,
        /// The position.
        position: Position,
    },
    /// The log ends before its tree does.
    #[error(
        "log {log_id} ends at position {head}, but {size} events were proved: the log was cut, or a backup restored"
    )]
    Shrunk {
        /// The log.
        log_id: LogId,
        /// The log's head.
        head: Position,
        /// The tree's size.
        size: Position,
    },
    /// The log is not the one that was signed.
    #[error(
        "log {log_id} is not the one of whose first {size} events this node keeps a signed checkpoint: its history was \
         changed, or a backup restored; `fleetlog audit verify` says where. To begin anew after a restored backup, see \
         `fleetlog audit new-key --help`"
    )]
    Changed {
        /// The log.
        log_id: LogId,
        /// The size of the checkpoint that is kept.
        size: u64,
    },
    /// The newest checkpoint is not by the installation's key.
    #[error("log {0} has a checkpoint that this node's key has not signed: {1}")]
    Foreign(LogId, #[source] note::Error),
    /// A size has another root already.
    #[error("log {0} has another root at this size already: its tiles were changed")]
    Settled(LogId),
    /// A tile is missing or too short.
    #[error("log {log_id}: {missing}")]
    Missing {
        /// The log.
        log_id: LogId,
        /// The tile.
        #[source]
        missing: tree::Missing,
    },
    /// The folder of the key is of no use.
    #[error(transparent)]
    Custody(#[from] custody::Error),
    /// A stored note is none.
    #[error("a stored checkpoint cannot be read: {0}")]
    Note(#[from] note::Error),
    /// The database's answer is of another form.
    #[error(transparent)]
    Malformed(#[from] record::Malformed),
    /// The log failed.
    #[error("failed to {0}")]
    Log(#[from] fleetlog_event_log::Error),
    /// The database failed.
    #[error("failed to reach the database: {0}")]
    Database(#[from] sqlx::Error),
}
