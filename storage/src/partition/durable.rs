//! Durable up to: releases the entries of one log in index order over both paths.
//!
//! What it is        a queue of index ranges that wait for a journal commit or for a segment write.
//! Invariants        1. ranges are dense and rise. 2. what is released is a prefix.
//! Source            design §4 "durable up to"; Raft's persist acknowledgement carries the term.

use std::collections::VecDeque;

/// What a range waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Awaits {
    /// A commit of the journal.
    Commit(u64),
    /// A write and sync of the segment.
    Segment,
}

#[derive(Clone, Copy, Debug)]
struct Range {
    last_index: u64,
    term: u32,
    awaits: Awaits,
    done: bool,
}

/// The queue of one log.
#[derive(Debug, Default)]
pub(crate) struct DurableUpTo {
    ranges: VecDeque<Range>,
    released_index: u64,
}

impl DurableUpTo {
    /// Adds the entries up to `last_index` behind all others.
    pub(crate) fn push(&mut self, last_index: u64, term: u32, awaits: Awaits) {
        if let Some(last) = self.ranges.back_mut()
            && last.awaits == awaits
            && awaits != Awaits::Segment
            && !last.done
        {
            last.last_index = last_index;
            last.term = term;
            return;
        }
        self.ranges.push_back(Range {
            last_index,
            term,
            awaits,
            done: false,
        });
    }

    /// Everything up to `index` was durable before this start.
    pub(crate) fn set_released(&mut self, index: u64) {
        self.released_index = index;
    }

    /// Commit `number` is released; returns the new last durable index and its term if it moved.
    pub(crate) fn handle_commit(&mut self, number: u64) -> Option<(u64, u32)> {
        for range in &mut self.ranges {
            match range.awaits {
                Awaits::Commit(commit) if commit <= number => range.done = true,
                Awaits::Commit(_) => break,
                Awaits::Segment => {}
            }
        }
        self.pop_done()
    }

    /// Everything that awaits the segment up to `last_index` is durable.
    pub(crate) fn handle_segment(&mut self, last_index: u64) -> Option<(u64, u32)> {
        for range in &mut self.ranges {
            if range.last_index <= last_index && range.awaits == Awaits::Segment {
                range.done = true;
            }
        }
        self.pop_done()
    }

    /// Forgets ranges at `index` and above.
    pub(crate) fn truncate_from(&mut self, index: u64) {
        while self
            .ranges
            .back()
            .is_some_and(|last| last.last_index >= index)
        {
            self.ranges.pop_back();
        }
        self.released_index = self.released_index.min(index.saturating_sub(1));
    }

    /// Holds everything that is added later until commit `number` is released.
    pub(crate) fn push_barrier(&mut self, number: u64) {
        let (last_index, term) = self.ranges.back().map_or((self.released_index, 0), |last| {
            (last.last_index, last.term)
        });
        self.ranges.push_back(Range {
            last_index,
            term,
            awaits: Awaits::Commit(number),
            done: false,
        });
    }

    fn pop_done(&mut self) -> Option<(u64, u32)> {
        let mut released = None;
        while let Some(front) = self.ranges.front()
            && front.done
        {
            if front.last_index > self.released_index {
                self.released_index = front.last_index;
                released = Some((front.last_index, front.term));
            }
            self.ranges.pop_front();
        }
        if released.is_some() && self.ranges.is_empty() && self.ranges.capacity() > 64 {
            self.ranges = VecDeque::new();
        }
        released
    }
}

#[cfg(test)]
mod tests {
    use super::{Awaits, DurableUpTo};

    #[test]
    fn a_small_entry_waits_for_the_large_one_before_it() {
        let mut durable = DurableUpTo::default();
        durable.push(3, 1, Awaits::Commit(1));
        durable.push(10, 1, Awaits::Segment);
        durable.push(11, 1, Awaits::Commit(2));
        assert_eq!(durable.handle_commit(1), Some((3, 1)));
        assert_eq!(durable.handle_commit(2), None);
        assert_eq!(durable.handle_segment(10), Some((11, 1)));
        assert_eq!(durable.handle_commit(9), None);
    }

    #[test]
    fn a_large_entry_waits_for_the_small_one_before_it() {
        let mut durable = DurableUpTo::default();
        durable.push(3, 1, Awaits::Commit(7));
        durable.push(10, 2, Awaits::Segment);
        assert_eq!(durable.handle_segment(10), None);
        assert_eq!(durable.handle_commit(7), Some((10, 2)));
    }
}
