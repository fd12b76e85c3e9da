//! Durable up to: releases the entries of one log in index order over both paths.
//!
//! What it is        a queue of index ranges that wait for a journal commit or for a segment write.
//! Invariants        1. ranges are dense and rise. 2. what is released is a prefix. 3. a range that
//!                   is not early is released when it and everything before it is done.
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
    /// Released before it is done (`flush.messages` above 1).
    is_early: bool,
}

/// The queue of one log.
#[derive(Debug, Default)]
pub(crate) struct DurableUpTo {
    ranges: VecDeque<Range>,
    released_index: u64,
    /// Everything up to here is on stable storage, or its flush was asked for.
    flush_asked_index: u64,
}

impl DurableUpTo {
    /// Adds the entries up to `last_index` behind all others.
    pub(crate) fn push(&mut self, last_index: u64, term: u32, awaits: Awaits) {
        self.flush_asked_index = last_index;
        self.push_range(last_index, term, awaits, false);
    }

    /// Adds the entries up to `last_index` behind all others; they are released as soon as
    /// everything before them is.
    pub(crate) fn push_early(&mut self, last_index: u64, term: u32, awaits: Awaits) {
        self.push_range(last_index, term, awaits, true);
    }

    fn push_range(&mut self, last_index: u64, term: u32, awaits: Awaits, is_early: bool) {
        if let Some(last) = self.ranges.back_mut()
            && last.awaits == awaits
            && awaits != Awaits::Segment
            && last.is_early == is_early
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
            is_early,
        });
    }

    /// Everything up to `index` was durable before this start.
    pub(crate) fn set_released(&mut self, index: u64) {
        self.released_index = index;
        self.flush_asked_index = index;
    }

    /// Entries up to `last_index` whose flush nobody has asked for.
    pub(crate) fn unflushed_to(&self, last_index: u64) -> u64 {
        last_index.saturating_sub(self.flush_asked_index)
    }

    /// What may be released early now: the last such index and its term.
    pub(crate) fn release_early(&mut self) -> Option<(u64, u32)> {
        self.release()
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
        self.release()
    }

    /// Everything that awaits the segment up to `last_index` is durable.
    pub(crate) fn handle_segment(&mut self, last_index: u64) -> Option<(u64, u32)> {
        for range in &mut self.ranges {
            if range.last_index <= last_index && range.awaits == Awaits::Segment {
                range.done = true;
            }
        }
        self.release()
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
        let last = index.saturating_sub(1);
        self.released_index = self.released_index.min(last);
        self.flush_asked_index = self.flush_asked_index.min(last);
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
            is_early: false,
        });
    }

    fn release(&mut self) -> Option<(u64, u32)> {
        let mut reached = None;
        while let Some(front) = self.ranges.front()
            && front.done
        {
            reached = Some((front.last_index, front.term));
            self.flush_asked_index = self.flush_asked_index.max(front.last_index);
            self.ranges.pop_front();
        }
        for range in self.ranges.iter().take_while(|range| range.is_early) {
            reached = Some((range.last_index, range.term));
        }
        let released = reached.filter(|(last_index, _)| *last_index > self.released_index);
        if let Some((last_index, _)) = released {
            self.released_index = last_index;
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

    #[test]
    fn an_early_entry_waits_only_for_the_strict_one_before_it() {
        let mut durable = DurableUpTo::default();
        durable.push(1, 1, Awaits::Commit(1));
        durable.push_early(5, 1, Awaits::Commit(1));
        assert_eq!(durable.release_early(), None);
        assert_eq!(durable.unflushed_to(5), 4);
        assert_eq!(durable.handle_commit(1), Some((5, 1)));
        durable.push_early(9, 1, Awaits::Commit(2));
        assert_eq!(durable.release_early(), Some((9, 1)));
        assert_eq!(durable.release_early(), None, "once");
        assert_eq!(durable.unflushed_to(9), 4);
        assert_eq!(durable.handle_commit(2), None);
        assert_eq!(durable.unflushed_to(9), 0);
    }

    #[test]
    fn a_strict_entry_waits_for_the_early_ones_before_it() {
        let mut durable = DurableUpTo::default();
        durable.push_early(4, 1, Awaits::Segment);
        durable.push(6, 1, Awaits::Commit(3));
        durable.push_early(8, 1, Awaits::Commit(4));
        assert_eq!(durable.release_early(), Some((4, 1)));
        assert_eq!(
            durable.handle_commit(3),
            None,
            "the large one is not written"
        );
        assert_eq!(durable.handle_segment(4), Some((8, 1)));
    }
}
