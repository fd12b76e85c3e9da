//! Releasing commits: whoever waits is told in the order of the numbers, or of the failure.
//!
//! What it is        what follows a commit's write: counters, [`CommitSink`], who waits for a
//!                   number.
//! What it is not    it does not know what a release means (`engine` does).
//! Invariants        1. commits are released in the order of their numbers.
//!                   2. after a failed write nothing more is released (the journal is poisoned).

use std::time::Duration;

use super::{Journal, State};
use crate::aligned_buffer::AlignedBuffer;
use crate::disk::{Clock, Disk, DiskError};
use crate::limits;

/// What a finished commit completes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Release {
    /// The entries of a log in commit `commit`.
    Entries { slot: u32, commit: u64 },
    /// Raft's hard state of a log.
    HardState {
        slot: u32,
        term: u32,
        vote: Option<i32>,
    },
}

/// Who is told about finished commits.
pub(crate) trait CommitSink {
    /// The commit with these releases is on stable storage, and so are all before it.
    fn handle_released(&self, releases: &[Release]);
    /// The journal failed; nothing more will be released.
    fn handle_poisoned(&self, error: &DiskError);
}

/// A commit between its write and its release.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) number: u64,
    pub(super) done: bool,
    pub(super) releases: Vec<Release>,
}

impl<D: Disk, C: Clock> Journal<D, C> {
    /// Waits until commit `number` is on stable storage.
    ///
    /// # Errors
    /// The failure of the disk when the journal is poisoned.
    pub(crate) async fn wait_released(&self, number: u64) -> Result<(), DiskError> {
        if number >= self.open_number() {
            self.hurry();
        }
        loop {
            let seen = self.released.seen();
            if self.acknowledged() >= number {
                return Ok(());
            }
            if let Some(error) = self.poisoned() {
                return Err(error);
            }
            self.released.after(seen).await;
        }
    }

    /// Waits until everything added so far is on stable storage.
    ///
    /// # Errors
    /// The failure of the disk when the journal is poisoned.
    pub(crate) async fn flush(&self) -> Result<(), DiskError> {
        let number = {
            let state = self.state.borrow();
            if state.open.entries == 0 {
                state.open_number() - 1
            } else {
                state.open_number()
            }
        };
        self.wait_released(number).await
    }

    /// Takes the result of the write of commit `number`.
    pub(super) fn finish(
        &self,
        number: u64,
        buffer: AlignedBuffer,
        result: Result<(), DiskError>,
        took: Duration,
        sink: &impl CommitSink,
    ) {
        if let Err(error) = result {
            self.poison(error, sink);
            return;
        }
        self.note_finished(number, buffer, took);
        // One commit at a time: the sink may add entries, and a borrow must not be held then.
        loop {
            let Some(mut releases) = self.state.borrow_mut().pop_released() else {
                break;
            };
            sink.handle_released(&releases);
            releases.clear();
            self.state.borrow_mut().spare_releases.push(releases);
            self.released.notify();
        }
        self.ring_changed.notify();
    }

    fn note_finished(&self, number: u64, mut buffer: AlignedBuffer, took: Duration) {
        let mut state = self.state.borrow_mut();
        state.stats.commits += 1;
        state.stats.bytes += buffer.len() as u64;
        state.stats.commit_time += took;
        state.stats.commit_time_maximum = state.stats.commit_time_maximum.max(took);
        if let Some(entry) = state
            .in_flight
            .iter_mut()
            .find(|entry| entry.number == number)
        {
            entry.done = true;
        }
        if state.spare_buffers.len() < limits::COMMIT_BUFFERS_KEPT {
            buffer.clear();
            state.spare_buffers.push(buffer);
        }
        drop(state);
        if let Some(hook) = self.commit_hook.get() {
            hook(took);
        }
    }

    /// Stops everything after a failure of the disk.
    pub(crate) fn poison(&self, error: DiskError, sink: &impl CommitSink) {
        let first = {
            let mut state = self.state.borrow_mut();
            let first = state.poisoned.is_none();
            state.poisoned.get_or_insert_with(|| error.clone());
            first
        };
        self.released.notify();
        self.work.notify();
        self.ring_changed.notify();
        if first {
            sink.handle_poisoned(&error);
        }
    }
}

impl<F> State<F> {
    fn pop_released(&mut self) -> Option<Vec<Release>> {
        if self.poisoned.is_some() || !self.in_flight.front().is_some_and(|front| front.done) {
            return None;
        }
        let front = self.in_flight.pop_front()?;
        self.acknowledged = front.number;
        Some(front.releases)
    }
}
