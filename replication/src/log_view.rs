//! What the core knows of its log: positions, never payloads.
//!
//! What it is        the terms of a log as runs, its first and last index, and up to where it is
//!                   persisted.
//! What it is not    not the log: entries live with the owner.
//! Invariants        1. runs strictly rise in first index and in term. 2. the first run starts at
//!                   the first index; a log without entries has no runs. 3. no run has a term below
//!                   that of the entry before the log. 4. persisted index <= last index.
//! Source            Raft §5.3; persist acknowledgements: the asynchronous storage contract of
//!                   etcd-io/raft (its `append_aba_race` script is a script here).

use crate::limits::{APPEND_RUNS_MAX, TERM_RUNS_MAX};
use crate::{EntryId, EntryRuns, LogIndex, Term};

/// Consecutive entries of one term.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct TermRun {
    /// First index of the run, inclusive; it ends where the next run starts.
    pub first_index: LogIndex,
    /// The term of its entries.
    pub term: Term,
}

/// The log as the core sees it.
#[derive(Clone, Debug)]
pub struct LogView {
    runs: Vec<TermRun>,
    /// The entry before the first known one.
    before: EntryId,
    last_index: LogIndex,
    persisted_index: LogIndex,
    /// While writes that a truncation overtook may still be acknowledged: the highest index they
    /// reach. 0: there are none.
    doubtful_through: LogIndex,
    /// Acknowledgements from this term on cannot stem from before the truncation.
    doubtful_below: Term,
}

impl LogView {
    /// Takes a recovered log, all of it persisted. `before` is the entry before the first kept one.
    ///
    /// Returns `None` if the runs do not describe a log of these bounds.
    #[must_use]
    pub fn new(before: EntryId, runs: &[TermRun], last_index: LogIndex) -> Option<Self> {
        let mut log = Self {
            runs: Vec::with_capacity(runs.len()),
            before,
            last_index: before.index,
            persisted_index: before.index,
            doubtful_through: LogIndex::ZERO,
            doubtful_below: Term::ZERO,
        };
        for (place, run) in runs.iter().enumerate() {
            let starts_right = place > 0 || run.first_index == before.index.next();
            let rises = log.runs.last().is_none_or(|previous| {
                previous.first_index < run.first_index && previous.term < run.term
            });
            let in_bounds = run.first_index <= last_index && run.term >= before.term;
            if !(starts_right && rises && in_bounds && run.term > Term::ZERO) {
                return None;
            }
            log.runs.push(*run);
        }
        if runs.is_empty() != (last_index == before.index) || last_index < before.index {
            return None;
        }
        log.last_index = last_index;
        log.persisted_index = last_index;
        Some(log)
    }

    /// Returns the first index whose term is known; one after the last index if there is none.
    #[must_use]
    pub fn first_index(&self) -> LogIndex {
        self.before.index.next()
    }

    /// Returns the entry before the first known one.
    #[must_use]
    pub fn before(&self) -> EntryId {
        self.before
    }

    /// Returns the index of the last entry, inclusive.
    #[must_use]
    pub fn last_index(&self) -> LogIndex {
        self.last_index
    }

    /// Returns index and term of the last entry, or of the entry before the log if it is empty.
    #[must_use]
    pub fn last(&self) -> EntryId {
        let term = self.runs.last().map_or(self.before.term, |run| run.term);
        EntryId {
            index: self.last_index,
            term,
        }
    }

    /// Returns the index up to which, inclusive, the log is on stable storage.
    #[must_use]
    pub fn persisted_index(&self) -> LogIndex {
        self.persisted_index
    }

    /// Returns the term of the entry at `index`; also known for the entry just before the log.
    ///
    /// Cost: O(log runs).
    #[must_use]
    pub fn term_at(&self, index: LogIndex) -> Option<Term> {
        if index == self.before.index {
            return Some(self.before.term);
        }
        self.run_at(index).map(|run| run.term)
    }

    /// Returns the last entry at or before `index` whose term is at most `term`.
    ///
    /// Used on both sides to skip a whole term per rejected append (Raft §5.3, last paragraphs).
    #[must_use]
    pub fn last_entry_at_most(&self, index: LogIndex, term: Term) -> EntryId {
        let mut bound = index.min(self.last_index);
        for run in self.runs.iter().rev() {
            if run.first_index > bound {
                continue;
            }
            if run.term <= term {
                return EntryId {
                    index: bound,
                    term: run.term,
                };
            }
            bound = run.first_index.previous();
        }
        self.before
    }

    /// Returns the runs of `first..=last_index`, cut after [`APPEND_RUNS_MAX`] runs.
    pub(crate) fn entries(&self, first: LogIndex, last: LogIndex) -> EntryRuns {
        let mut entries = EntryRuns::empty_at(first);
        let start = self
            .runs
            .partition_point(|run| run.first_index <= first)
            .saturating_sub(1);
        for place in start..self.runs.len().min(start + APPEND_RUNS_MAX) {
            let Some(run) = self.runs.get(place) else {
                break;
            };
            if run.first_index > last {
                break;
            }
            let end = self.run_last(place).min(last);
            entries.push(run.first_index.max(first), run.term, end);
        }
        entries
    }

    /// Returns the first index of `entries` that this log does not hold with the same term.
    pub(crate) fn first_difference(&self, entries: &EntryRuns) -> Option<LogIndex> {
        for (run, run_last) in entries.iter() {
            let place = self.place_at(run.first_index);
            let same = place
                .and_then(|place| self.runs.get(place))
                .is_some_and(|ours| ours.term == run.term);
            if !same {
                return Some(run.first_index);
            }
            let ours_last = place.map_or(LogIndex::ZERO, |place| self.run_last(place));
            if ours_last < run_last {
                return Some(ours_last.next());
            }
        }
        None
    }

    /// Appends `count` indices of `term` and returns the first.
    pub(crate) fn append(&mut self, term: Term, count: u64) -> LogIndex {
        let first = self.last_index.next();
        let last_term = self.last().term;
        assert!(
            term >= last_term,
            "term {term} would follow term {last_term}"
        );
        if self.runs.last().is_none_or(|run| run.term < term) {
            if self.runs.is_empty() {
                self.runs.reserve_exact(1);
            }
            self.runs.push(TermRun {
                first_index: first,
                term,
            });
        }
        self.last_index = self.last_index.plus(count);
        first
    }

    /// Cuts the log from `first` on, by order of the leader of `term`.
    ///
    /// Writes of the cut entries may be under way and acknowledged later. The same index and term
    /// may by then stand in the log again while an overtaking write of other content is under way
    /// (the ABA race), so such acknowledgements are not believed.
    pub(crate) fn truncate_from(&mut self, first: LogIndex, term: Term) {
        if first > self.last_index {
            return;
        }
        if self.persisted_index < self.last_index {
            self.doubtful_through = self.doubtful_through.max(self.last_index);
            self.doubtful_below = term;
        }
        let kept = self.runs.partition_point(|run| run.first_index < first);
        self.runs.truncate(kept);
        self.last_index = first.previous();
        self.persisted_index = self.persisted_index.min(self.last_index);
    }

    /// Records that everything up to the entry `id` is persisted; true if that was news.
    ///
    /// Acknowledgements of entries that are no longer in the log, or that may stem from before a
    /// truncation, are ignored.
    pub(crate) fn handle_persisted(&mut self, id: EntryId) -> bool {
        let known = self.term_at(id.index) == Some(id.term);
        if !known || id.index <= self.persisted_index {
            return false;
        }
        if self.doubtful_through > LogIndex::ZERO {
            if id.index <= self.doubtful_through && id.term < self.doubtful_below {
                return false;
            }
            self.doubtful_through = LogIndex::ZERO;
        }
        self.persisted_index = id.index;
        true
    }

    /// Forgets everything before `before.index.next()`. No effect on what is already forgotten.
    pub(crate) fn trim(&mut self, before: EntryId) {
        if before.index <= self.before.index || before.index > self.last_index {
            return;
        }
        let first = before.index.next();
        let covering = self.runs.partition_point(|run| run.first_index <= first);
        self.runs.drain(..covering.saturating_sub(1));
        if before.index == self.last_index {
            self.runs.clear();
        }
        if let Some(run) = self.runs.first_mut() {
            run.first_index = run.first_index.max(first);
        }
        self.runs.shrink_to(1);
        self.before = before;
    }

    /// Starts anew, empty, after the entry `before`, by order of the leader of `term`.
    pub(crate) fn reset(&mut self, before: EntryId, term: Term) {
        self.doubtful_through = self.doubtful_through.max(self.last_index);
        self.doubtful_below = term;
        self.runs.clear();
        self.before = before;
        self.last_index = before.index;
        self.persisted_index = LogIndex::ZERO;
    }

    /// Records that the reset to `before` is on stable storage; true if that was news.
    pub(crate) fn handle_installed(&mut self, before: EntryId) -> bool {
        if before != self.before || self.persisted_index >= before.index {
            return false;
        }
        self.doubtful_through = LogIndex::ZERO;
        self.persisted_index = before.index;
        true
    }

    /// Returns the index up to which runs must be forgotten to stay within [`TERM_RUNS_MAX`].
    pub(crate) fn overflow(&self) -> Option<LogIndex> {
        let keep = TERM_RUNS_MAX >> 1;
        (self.runs.len() > TERM_RUNS_MAX)
            .then(|| {
                self.runs
                    .get(self.runs.len() - keep)
                    .map(|run| run.first_index.previous())
            })
            .flatten()
    }

    /// Returns the heap bytes behind the value.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.runs.capacity() * size_of::<TermRun>()
    }

    /// Asserts the invariants of the module.
    ///
    /// # Panics
    /// If one is broken: the fault is in this crate.
    pub fn check_invariants(&self) {
        for pair in self.runs.windows(2) {
            let [one, two] = pair else { continue };
            assert!(one.first_index < two.first_index, "1: {:?}", self.runs);
            assert!(one.term < two.term, "1: {:?}", self.runs);
        }
        let first = self.runs.first().map(|run| run.first_index);
        let expected = (self.last_index > self.before.index).then(|| self.first_index());
        assert!(first == expected, "2: first run {first:?}, log {self:?}");
        let first_term = self.runs.first().map_or(self.before.term, |run| run.term);
        assert!(first_term >= self.before.term, "3: {self:?}");
        assert!(self.persisted_index <= self.last_index, "4: {self:?}");
    }

    fn place_at(&self, index: LogIndex) -> Option<usize> {
        if index > self.last_index {
            return None;
        }
        self.runs
            .partition_point(|run| run.first_index <= index)
            .checked_sub(1)
    }

    fn run_at(&self, index: LogIndex) -> Option<&TermRun> {
        self.place_at(index).and_then(|place| self.runs.get(place))
    }

    fn run_last(&self, place: usize) -> LogIndex {
        self.runs
            .get(place + 1)
            .map_or(self.last_index, |next| next.first_index.previous())
    }
}
