//! What can go wrong at each boundary of the engine.

use thiserror::Error;

use crate::disk::{DiskError, Shortage};
use crate::error::Corrupt;

/// Why an engine does not open.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum OpenError {
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The journal or the checkpoint does not hold what was acknowledged. Nothing was changed.
    #[error("{0}; the shard does not start, nothing was changed")]
    Damaged(Corrupt),
    /// The ring goes on from a checkpoint that is missing.
    #[error("{file} is missing although the journal begins at commit {first_commit}")]
    CheckpointMissing {
        /// The file that should be there.
        file: String,
        /// First commit in the ring.
        first_commit: u64,
    },
    /// Records are there, and the journal that knows which were acknowledged is not. Nothing
    /// was changed.
    #[error(
        "{directory} is missing or empty although {found} holds records: without their journal \
         nobody knows which of them were acknowledged; bring {directory} back, restore the whole \
         data directory from a backup, or begin anew in an empty one; nothing was changed"
    )]
    JournalMissing {
        /// The directory that should hold a journal.
        directory: String,
        /// A segment that is there.
        found: String,
    },
    /// The number of shards has changed, but a log cannot be written back now (a full disk,
    /// damage).
    #[error("{log} of shard {shard} cannot move; start with the old number of shards")]
    Unmovable {
        /// Shard that has the log.
        shard: u32,
        /// Topic and partition.
        log: String,
    },
    /// The checkpoint belongs to another shard.
    #[error("{file} belongs to shard {got}, not {expected}")]
    ForeignShard {
        /// The checkpoint.
        file: String,
        /// The shard that opens.
        expected: u32,
        /// The shard that wrote it.
        got: u32,
    },
}

impl OpenError {
    /// Whether another start fails as well until somebody brings files back or raises a limit: the
    /// disk is not at fault.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Disk(DiskError::Full { shortage, .. }) => *shortage == Shortage::FileSize,
            Self::CheckpointMissing { .. }
            | Self::JournalMissing { .. }
            | Self::ForeignShard { .. } => true,
            Self::Disk(_) | Self::Damaged(_) | Self::Unmovable { .. } => false,
        }
    }
}

/// Why an entry was not appended. Nothing of it was kept.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AppendError {
    /// Buffers or the journal are full: wait with `PartitionLog::wait_room` and try again.
    #[error("the append buffers are full")]
    NoRoom,
    /// The device or its budget is full; acknowledged records are safe.
    #[error("the disk is full")]
    DiskFull,
    /// The journal or this log stopped after a failure of the disk.
    #[error("the log is stopped: {0}")]
    Poisoned(DiskError),
    /// The log halted on damage.
    #[error("the log is halted: {0}")]
    Halted(Corrupt),
    /// The log was deleted, or the engine stops.
    #[error("the log is closed")]
    Closed,
    /// The entry is no whole record batch, or too long.
    #[error("the entry is malformed: {0}")]
    Malformed(&'static str),
}

/// Why a read gives nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ReadError {
    /// The offset is below the log's start or above its end.
    #[error("offset {offset} is outside {start}..{end}")]
    OutOfRange {
        /// Offset asked for.
        offset: i64,
        /// Log start offset.
        start: i64,
        /// Log end offset (exclusive).
        end: i64,
    },
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Stored bytes are wrong.
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
}

/// Why a change of a log (truncation, deletion) failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ChangeError {
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Stored bytes are wrong.
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
    /// The log was deleted.
    #[error("the log is closed")]
    Closed,
}
