//! Forming commits: entries are collected in the open commit until a writer takes it.
//!
//! What it is        [`Journal::add`] and what it fills: the open commit, and the sealed ones that
//!                   wait for a writer.
//! What it is not    it writes nothing (`writer.rs`).
//! Invariants        entries of one commit keep the order in which they were added.

use super::format::{COMMIT_HEADER_BYTES, ENTRY_HEADER_BYTES, JournalEntry, put};
use super::release::Release;
use super::{Journal, State, commit_capacity};
use crate::aligned_buffer::AlignedBuffer;
use crate::disk::{Clock, Disk};
use crate::limits;

/// The entry found no room: the writers are too far behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct JournalBusy;

/// Entries that are written together, and what their end releases.
#[derive(Debug)]
pub(super) struct Commit {
    pub(super) buffer: AlignedBuffer,
    pub(super) releases: Vec<Release>,
    pub(super) entries: u32,
    /// Somebody waits for it; a commit that only carries appends whose topic does not ask for a
    /// flush stays open until then.
    pub(super) is_urgent: bool,
    /// Slot and position of the last entry when it is an Append that may grow.
    last_append: Option<(u32, usize)>,
}

impl<D: Disk, C: Clock> Journal<D, C> {
    /// Whether the entry of a batch of `bytes` finds room now; 0 stands for a large one's mark.
    /// What is answered here must hold in [`Journal::add`] to the byte: Raft has the entry by then.
    /// Entries of Raft and cursors do not ask.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        let state = self.state.borrow();
        let collected = state.open.buffer.len() + JournalEntry::append_bytes(bytes);
        collected <= self.shape.commit_bytes as usize
            || state.sealed.len() < limits::COMMITS_SEALED_MAXIMUM
    }

    /// Adds an entry and what it releases; returns the number of its commit.
    ///
    /// # Errors
    /// [`JournalBusy`] when too many commits wait; entries smaller than a quarter of a commit that
    /// must
    /// not be refused pass `must_fit`.
    pub(crate) fn add(
        &self,
        slot: u32,
        entry: &JournalEntry<'_>,
        release: Option<Release>,
        must_fit: bool,
    ) -> Result<u64, JournalBusy> {
        let number = self.collect(slot, entry, release, must_fit)?;
        self.hurry();
        Ok(number)
    }

    /// Adds an entry that nobody waits for: it is written with the next one that somebody does
    /// wait for, when its commit is full, or after [`Journal::hurry`].
    ///
    /// # Errors
    /// [`JournalBusy`] when too many commits wait.
    pub(crate) fn add_unhurried(
        &self,
        slot: u32,
        entry: &JournalEntry<'_>,
        release: Option<Release>,
    ) -> Result<u64, JournalBusy> {
        let number = self.collect(slot, entry, release, false)?;
        if self.shape.store_nothing || !self.state.borrow().sealed.is_empty() {
            self.work.notify();
        }
        Ok(number)
    }

    /// Lets the open commit be written without waiting for more.
    pub(crate) fn hurry(&self) {
        let mut state = self.state.borrow_mut();
        if state.open.entries > 0 {
            state.open.is_urgent = true;
            drop(state);
            self.work.notify();
        }
    }

    fn collect(
        &self,
        slot: u32,
        entry: &JournalEntry<'_>,
        release: Option<Release>,
        must_fit: bool,
    ) -> Result<u64, JournalBusy> {
        let mut state = self.state.borrow_mut();
        if self.shape.store_nothing {
            let number = state.open_number();
            state.open.entries += 1;
            state.open.note(release, number);
            return Ok(number);
        }
        let bytes = entry.encoded_bytes();
        if state.open.buffer.len() + bytes > self.shape.commit_bytes as usize {
            if !must_fit && state.sealed.len() >= limits::COMMITS_SEALED_MAXIMUM {
                return Err(JournalBusy);
            }
            state.seal_open(commit_capacity(&self.shape));
        }
        let number = state.open_number();
        state.open.push(slot, entry);
        state.open.note(release, number);
        Ok(number)
    }

    /// The next Append gets a header of its own: its log has an entry in between that is not in the
    /// journal.
    pub(crate) fn end_append(&self) {
        self.state.borrow_mut().open.last_append = None;
    }
}

impl Commit {
    pub(super) fn new(mut buffer: AlignedBuffer, releases: Vec<Release>) -> Self {
        buffer.set_len(COMMIT_HEADER_BYTES);
        Self {
            buffer,
            releases,
            entries: 0,
            is_urgent: false,
            last_append: None,
        }
    }

    fn push(&mut self, slot: u32, entry: &JournalEntry<'_>) {
        let JournalEntry::Append { batches, .. } = entry else {
            self.last_append = None;
            entry.encode(slot, &mut self.buffer);
            self.entries += 1;
            return;
        };
        if let Some((last_slot, position)) = self.last_append
            && last_slot == slot
        {
            // The log's next batch joins the entry before: one header for both.
            self.buffer.extend_from_slice(batches);
            let body = self.buffer.len() - position - ENTRY_HEADER_BYTES;
            let body = u32::try_from(body).unwrap_or(u32::MAX);
            put(
                self.buffer.as_mut_slice(),
                position + 8,
                &body.to_le_bytes(),
            );
            return;
        }
        self.last_append = Some((slot, self.buffer.len()));
        entry.encode(slot, &mut self.buffer);
        self.entries += 1;
    }

    fn note(&mut self, release: Option<Release>, number: u64) {
        match release {
            Some(Release::Entries { slot, .. }) => {
                let note = Release::Entries {
                    slot,
                    commit: number,
                };
                // A log's entries mostly come together; a double note costs nothing but a look.
                if self.releases.last() != Some(&note) {
                    self.releases.push(note);
                }
            }
            Some(other @ Release::HardState { .. }) => self.releases.push(other),
            None => {}
        }
    }
}

impl<F> State<F> {
    /// The open commit waits for a writer; a new one is open.
    pub(super) fn seal_open(&mut self, capacity: usize) {
        let buffer = self
            .spare_buffers
            .pop()
            .unwrap_or_else(|| AlignedBuffer::with_capacity(capacity));
        let releases = self.spare_releases.pop().unwrap_or_default();
        let full = std::mem::replace(&mut self.open, Commit::new(buffer, releases));
        self.sealed.push_back(full);
    }
}
