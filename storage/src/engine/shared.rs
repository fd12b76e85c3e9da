//! What the handles and workers of one engine share.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::disk::{Clock, Disk, DiskError};
use crate::errors::AppendError;
use crate::events::LogEvents;
use crate::journal::{CommitSink, Journal, Release};
use crate::log_key::LogKey;
use crate::notify::Changes;
use crate::options::Options;
use crate::partition::append_buffer::SharedBlock;
use crate::partition::state::Log;

/// State of an engine.
pub(crate) struct Shared<D: Disk, C: Clock> {
    pub(crate) disk: D,
    pub(crate) options: Options,
    pub(crate) events: Rc<dyn LogEvents>,
    pub(crate) journal: Journal<D, C>,
    pub(crate) logs: RefCell<BTreeMap<u32, Rc<Log>>>,
    pub(crate) slots: RefCell<BTreeMap<LogKey, u32>>,
    pub(crate) next_slot: Cell<u32>,
    pub(crate) block: RefCell<SharedBlock>,
    pub(crate) cursors: RefCell<BTreeMap<Vec<u8>, Vec<u8>>>,
    /// Logs with entries that only the journal has: (oldest commit, slot).
    pub(crate) dirty: RefCell<BTreeSet<(u64, u32)>>,
    buffered_bytes: Cell<usize>,
    buffered_bytes_maximum: Cell<usize>,
    pub(crate) closing: Cell<bool>,
    /// The write-back worker has something to look at.
    pub(crate) write_back: Changes,
}

impl<D: Disk, C: Clock> Shared<D, C> {
    pub(crate) fn new(
        disk: D,
        options: Options,
        events: Rc<dyn LogEvents>,
        journal: Journal<D, C>,
    ) -> Self {
        Self {
            disk,
            options,
            events,
            journal,
            logs: RefCell::default(),
            slots: RefCell::default(),
            next_slot: Cell::new(0),
            block: RefCell::default(),
            cursors: RefCell::default(),
            dirty: RefCell::default(),
            buffered_bytes: Cell::new(0),
            buffered_bytes_maximum: Cell::new(0),
            closing: Cell::new(false),
            write_back: Changes::default(),
        }
    }

    /// Refuses what comes after a stop or a failure of the journal.
    pub(crate) fn check_open(&self) -> Result<(), AppendError> {
        if self.closing.get() {
            return Err(AppendError::Closed);
        }
        match self.journal.poisoned() {
            Some(error) => Err(AppendError::Poisoned(error)),
            None => Ok(()),
        }
    }

    /// Whether an append of `bytes` finds room in the buffers, the journal's queue and its ring.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        let buffered = self.buffered_bytes.get();
        let fits = buffered == 0 || buffered + bytes <= self.options.append_buffer_bytes;
        fits && self.ring_has_room() && self.journal.has_room(bytes)
    }

    /// An eighth of the ring stays free for Raft and cursors, whatever the producers do.
    fn ring_has_room(&self) -> bool {
        self.options.store_nothing
            || self
                .journal
                .with_ring(|ring| ring.free_bytes() >= ring.total_bytes() >> 3)
    }

    pub(crate) fn add_buffered(&self, bytes: usize) {
        let now = self.buffered_bytes.get() + bytes;
        self.buffered_bytes.set(now);
        self.buffered_bytes_maximum
            .set(self.buffered_bytes_maximum.get().max(now));
    }

    pub(crate) fn remove_buffered(&self, bytes: usize) {
        self.buffered_bytes
            .set(self.buffered_bytes.get().saturating_sub(bytes));
        self.journal.ring_changed.notify();
    }

    /// Bytes in append buffers now, and the most there ever were.
    pub(crate) fn buffered(&self) -> (usize, usize) {
        (self.buffered_bytes.get(), self.buffered_bytes_maximum.get())
    }

    pub(crate) fn note_dirty(&self, commit: u64, slot: u32) {
        self.dirty.borrow_mut().insert((commit, slot));
    }

    pub(crate) fn log(&self, slot: u32) -> Option<Rc<Log>> {
        self.logs.borrow().get(&slot).map(Rc::clone)
    }

    pub(crate) fn add_log(&self, log: Rc<Log>) {
        self.slots.borrow_mut().insert(log.key, log.slot);
        self.logs.borrow_mut().insert(log.slot, log);
    }

    /// Stops one log and tells its owner.
    pub(crate) fn fail_log(&self, log: &Log, error: AppendError) {
        let first = {
            let mut state = log.state.borrow_mut();
            let first = state.failure.is_none();
            state.failure.get_or_insert_with(|| error.clone());
            first
        };
        if first {
            self.events.handle_failed(log.slot, &error);
        }
    }

    fn release(&self, release: Release) {
        match release {
            Release::Entries { slot, commit } => {
                let Some(log) = self.log(slot) else { return };
                let moved = log.state.borrow_mut().durable.handle_commit(commit);
                if let Some((last_index, term)) = moved {
                    self.events.handle_persisted(slot, last_index, term);
                }
            }
            Release::HardState { slot, term, vote } => {
                self.events.handle_hard_state_persisted(slot, term, vote);
            }
        }
    }
}

impl<D: Disk, C: Clock> CommitSink for Shared<D, C> {
    fn handle_released(&self, releases: &[Release]) {
        for release in releases {
            self.release(*release);
        }
    }

    fn handle_poisoned(&self, error: &DiskError) {
        tracing::error!(%error, "the journal failed; nothing more is acknowledged");
        let logs: Vec<Rc<Log>> = self.logs.borrow().values().map(Rc::clone).collect();
        for log in logs {
            self.fail_log(&log, AppendError::Poisoned(error.clone()));
        }
    }
}
