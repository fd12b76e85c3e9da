//! Read points: where in a segment's file a reader that goes on finds its next batch.
//!
//! What it is        the position behind each recent read, by log and offset, and the size of the
//!                   batch there if it was seen. Without it each read begins at an index entry,
//!                   which names the batch before the one that is wanted.
//! What it is not    a promise: a point may be gone at any time, then the index is asked.
//! Invariants        1. a point is forgotten before positions of its log change (truncation,
//!                   compaction, removal). 2. at most [`READ_POINTS_MAX`] points.

use crate::cache::LogSlot;
use crate::limits::READ_POINTS_MAX;
use crate::lru::Lru;

/// A batch boundary in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReadPoint {
    /// Base offset of the segment.
    pub(crate) segment_base_offset: i64,
    /// Where the next batch begins in it.
    pub(crate) position: u32,
    /// Size of that batch in bytes; 0 when it is not known.
    pub(crate) batch_bytes: u32,
}

/// The points of a shard.
#[derive(Debug)]
pub(crate) struct ReadPoints {
    points: Lru<(LogSlot, i64), ReadPoint>,
    changes: u64,
}

impl Default for ReadPoints {
    fn default() -> Self {
        Self {
            points: Lru::new(READ_POINTS_MAX),
            changes: 0,
        }
    }
}

impl ReadPoints {
    /// Notes where the batch that follows `offset` (exclusive end of a read) begins.
    pub(crate) fn note(&mut self, slot: LogSlot, offset: i64, point: ReadPoint) {
        self.points.insert((slot, offset), point, 1);
    }

    /// Where a read from `offset` begins.
    pub(crate) fn find(&mut self, slot: LogSlot, offset: i64) -> Option<ReadPoint> {
        self.points.get(&(slot, offset)).copied()
    }

    /// How often points were forgotten: what a read found counts only if that has not changed since
    /// it began.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// Forgets a log's points.
    pub(crate) fn forget(&mut self, slot: LogSlot) {
        self.changes += 1;
        self.points
            .remove_range((slot, i64::MIN)..=(slot, i64::MAX));
    }
}
