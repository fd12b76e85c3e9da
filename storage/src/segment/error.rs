//! What can go wrong with a segment, by who is to blame.

use thiserror::Error;

use crate::disk::DiskError;
use crate::error::Corrupt;

/// Why an operation on a segment failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SegmentError {
    /// The machine failed. [`DiskError::Full`] leaves the segment usable: the same append may be
    /// tried again later.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Stored bytes are wrong: halt the log, keep the bytes.
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
    /// An earlier write or sync failed, so what is on the disk is not known; only opening it again
    /// (recovery) helps.
    #[error("segment {file} refuses after a failed write or sync; recovery decides what it holds")]
    Poisoned {
        /// File, relative to the data directory.
        file: String,
    },
    /// Compaction replaced the closed segment while a reader was being made: look it up again.
    #[error("the segment was replaced by a compacted one; look it up again")]
    Replaced,
    /// The batches do not fit behind the segment's end; roll, then append to the next segment.
    #[error("segment {file} has no room for {bytes} bytes more")]
    NoRoom {
        /// File, relative to the data directory.
        file: String,
        /// Bytes that were to be appended.
        bytes: u64,
    },
    /// The pieces are not whole batches with rising offsets, or the segment is closed: the caller
    /// is wrong.
    #[error("segment {file} refuses an append: expected {expected}, got {got}")]
    Refused {
        /// File, relative to the data directory.
        file: String,
        /// What the append must be.
        expected: String,
        /// What it was.
        got: String,
    },
}
