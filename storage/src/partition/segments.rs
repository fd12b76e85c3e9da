//! The segments of one log, oldest first, the active one last.
//!
//! What it is        the list and the lookups over it.
//! What it is not    a writer (`engine/write.rs`) nor a remover.
//! Invariants        1. base offsets rise; each closed segment ends at or before the next begins.

use std::rc::Rc;

use crate::disk::Disk;
use crate::segment::{ClosedSegment, Segment};

/// The list.
pub(crate) struct SegmentList<D: Disk> {
    pub(crate) closed: Vec<ClosedSegment>,
    pub(crate) active: Option<Rc<Segment<D>>>,
}

impl<D: Disk> Default for SegmentList<D> {
    fn default() -> Self {
        Self {
            closed: Vec::new(),
            active: None,
        }
    }
}

/// A segment to read from.
pub(crate) enum Readable<D: Disk> {
    Closed(ClosedSegment),
    Active(Rc<Segment<D>>),
}

impl<D: Disk> SegmentList<D> {
    /// The segment that holds `offset`, or the first one behind it.
    pub(crate) fn find(&self, offset: i64) -> Option<Readable<D>> {
        let place = self
            .closed
            .partition_point(|closed| closed.next_offset <= offset);
        if let Some(closed) = self.closed.get(place) {
            return Some(Readable::Closed(*closed));
        }
        self.active
            .as_ref()
            .filter(|active| active.next_offset() > offset)
            .map(|active| Readable::Active(Rc::clone(active)))
    }

    /// Bytes of all segments.
    pub(crate) fn size_bytes(&self) -> u64 {
        let closed: u64 = self
            .closed
            .iter()
            .map(|closed| u64::from(closed.size_bytes))
            .sum();
        let active = self.active.as_ref();
        closed + active.map_or(0, |active| u64::from(active.end_position()))
    }

    /// Takes the closed segments that lie wholly below `offset` out of the list.
    pub(crate) fn take_below(&mut self, offset: i64) -> Vec<ClosedSegment> {
        let count = self
            .closed
            .partition_point(|closed| closed.next_offset <= offset);
        self.closed.drain(..count).collect()
    }
}

impl<D: Disk> Readable<D> {
    /// Offset after the last batch (exclusive).
    pub(crate) fn next_offset(&self) -> i64 {
        match self {
            Self::Closed(closed) => closed.next_offset,
            Self::Active(active) => active.next_offset(),
        }
    }

    /// Base offset of the segment.
    pub(crate) fn base_offset(&self) -> i64 {
        match self {
            Self::Closed(closed) => closed.base_offset,
            Self::Active(active) => active.base_offset(),
        }
    }

    /// Largest timestamp inside, ms since 1970.
    pub(crate) fn max_timestamp(&self) -> Option<i64> {
        match self {
            Self::Closed(closed) => closed.max_timestamp,
            Self::Active(active) => active.max_timestamp(),
        }
    }
}
