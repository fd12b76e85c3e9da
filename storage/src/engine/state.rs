//! The state of one engine: what its handles and workers share.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use crate::cache::BatchCache;
use crate::disk::{Clock, Disk, DiskError, Shortage};
use crate::disk_budget::DiskBudget;
use crate::engine::early::Early;
use crate::engine::shortage::Shortages;
use crate::error::Corrupt;
use crate::errors::AppendError;
use crate::events::LogEvents;
use crate::journal::{CommitSink, Journal, Release};
use crate::limits;
use crate::log_key::LogKey;
use crate::notify::{Changes, Gate};
use crate::options::Options;
use crate::partition::append_buffer::{Freed, SharedBlock};
use crate::partition::producers::ProducerBudget;
use crate::partition::state::{Log, LogState};
use crate::read_points::ReadPoints;
use crate::segment::SegmentStore;

/// What one engine holds: logs, journal, segments, caches and how much of each is in use.
pub(crate) struct EngineState<D: Disk, C: Clock> {
    pub(crate) disk: D,
    pub(crate) options: Options,
    pub(crate) events: Rc<dyn LogEvents>,
    pub(crate) clock: C,
    pub(crate) journal: Journal<D, C>,
    pub(crate) store: SegmentStore<D>,
    pub(crate) cache: RefCell<BatchCache>,
    pub(crate) read_points: RefCell<ReadPoints>,
    pub(crate) logs: RefCell<BTreeMap<u32, Rc<Log<D>>>>,
    pub(crate) slots: RefCell<BTreeMap<LogKey, u32>>,
    pub(crate) next_slot: Cell<u32>,
    pub(crate) block: RefCell<SharedBlock>,
    pub(crate) producers: ProducerBudget,
    pub(crate) early: Early,
    pub(crate) cursors: RefCell<BTreeMap<Vec<u8>, Vec<u8>>>,
    /// Logs with entries that only the journal has: (oldest commit, slot).
    pub(crate) dirty: RefCell<BTreeSet<(u64, u32)>>,
    buffered_bytes: Cell<usize>,
    buffered_bytes_maximum: Cell<usize>,
    pub(crate) closing: Cell<bool>,
    /// Bytes of large appends that wait or are in flight.
    bulk_bytes: Cell<usize>,
    /// Logs with large appends.
    pub(crate) write_queue: RefCell<VecDeque<Rc<Log<D>>>>,
    pub(crate) write_queue_changed: Changes,
    /// The write-back worker has something to look at.
    pub(crate) write_back: Changes,
    /// Held while logs are written back.
    pub(crate) write_back_gate: Rc<Gate>,
    /// A log's append buffer has reached its size.
    pub(crate) full_log: Cell<bool>,
    pub(crate) disk_full: Cell<bool>,
    /// Writes that met a full disk are tried again at once.
    pub(crate) space_freed: Changes,
    /// A write found no room, and none has succeeded since: what operators are told, since
    /// `disk_full` pauses for each new attempt.
    pub(crate) shortages: Shortages,
    /// Free bytes of the ring when records were last carried forward.
    pub(crate) free_after_carry_bytes: Cell<u64>,
    /// First commit that a recovery replays now.
    pub(crate) replay_from: Cell<u64>,
    pub(crate) checkpoint_bytes: Cell<u64>,
    stopped: Cell<bool>,
}

impl<D: Disk, C: Clock> EngineState<D, C> {
    pub(crate) fn new(
        disk: D,
        clock: C,
        options: Options,
        events: Rc<dyn LogEvents>,
        journal: Journal<D, C>,
    ) -> Self {
        let producers = ProducerBudget::new(&options, clock.now());
        let budget = DiskBudget::new(options.disk_limit_bytes);
        let store = SegmentStore::new(disk.clone(), budget, options.store_options());
        Self {
            cache: RefCell::new(BatchCache::new(options.cache_bytes)),
            read_points: RefCell::default(),
            disk,
            clock,
            options,
            events,
            journal,
            store,
            logs: RefCell::default(),
            slots: RefCell::default(),
            next_slot: Cell::new(0),
            block: RefCell::default(),
            producers,
            early: Early::default(),
            cursors: RefCell::default(),
            dirty: RefCell::default(),
            buffered_bytes: Cell::new(0),
            buffered_bytes_maximum: Cell::new(0),
            closing: Cell::new(false),
            bulk_bytes: Cell::new(0),
            write_queue: RefCell::default(),
            write_queue_changed: Changes::default(),
            write_back: Changes::default(),
            write_back_gate: Rc::new(Gate::default()),
            full_log: Cell::new(false),
            disk_full: Cell::new(false),
            space_freed: Changes::default(),
            shortages: Shortages::default(),
            free_after_carry_bytes: Cell::new(u64::MAX),
            replay_from: Cell::new(1),
            checkpoint_bytes: Cell::new(0),
            stopped: Cell::new(false),
        }
    }

    /// Whether workers end.
    pub(crate) fn stopped(&self) -> bool {
        self.stopped.get() || self.journal.poisoned().is_some()
    }

    /// Lets all workers end.
    pub(crate) fn stop(&self) {
        self.stopped.set(true);
        self.journal.stop();
        self.early.wake();
        self.write_queue_changed.notify();
        self.write_back.notify();
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

    /// Whether an append of `bytes` finds room in the buffers, the journal's queue and its ring;
    /// of all three a part is left to logs that use the reserve, as of the disk.
    pub(crate) fn has_room(&self, bytes: usize, uses_reserve: bool) -> bool {
        if !uses_reserve && (self.disk_full.get() || !self.has_space(bytes)) {
            return false;
        }
        if self.is_direct(bytes) {
            let bulk = self.bulk_bytes.get();
            return (bulk == 0 || bulk + bytes <= self.options.bulk_bytes)
                && self.journal.has_room(0);
        }
        let buffered = self.buffered_bytes.get();
        let fits = buffered == 0 || buffered + bytes <= self.buffer_limit(uses_reserve);
        fits && self.ring_has_room(uses_reserve) && self.journal.has_room(bytes)
    }

    /// Whether the device has room for `bytes` and for all that waits in append buffers: nothing
    /// is taken that can only stay in the ring.
    fn has_space(&self, bytes: usize) -> bool {
        let waiting = self.buffered_bytes.get() + self.bulk_bytes.get();
        let has_space = (waiting + bytes) as u64 <= self.store.budget().device_bytes();
        if !has_space && self.begin_shortage(Shortage::AboveReserve) {
            self.write_back.notify();
        }
        has_space
    }

    /// Whether enough is free again to say that the disk is not full.
    pub(crate) fn has_space_again(&self) -> bool {
        self.store.budget().device_bytes() >= u64::from(limits::PREALLOCATION_BYTES_MIN)
    }

    /// Bytes that append buffers may hold. What a full disk keeps from being written stays below
    /// a half, so that the buffers of those who use the reserve turn over beside it.
    fn buffer_limit(&self, uses_reserve: bool) -> usize {
        let limit = self.options.append_buffer_bytes;
        match (uses_reserve, self.shortages.is_any()) {
            (true, _) => limit,
            (false, true) => limit >> 1,
            (false, false) => limit - (limit >> 4),
        }
    }

    /// Whether a batch of `bytes` goes straight into its segment.
    pub(crate) fn is_direct(&self, bytes: usize) -> bool {
        bytes >= self.options.direct_bytes && !self.options.store_nothing
    }

    /// Why an append that has no room is refused.
    pub(crate) fn no_room(&self) -> AppendError {
        if self.disk_full.get() || self.shortages.is_any() {
            AppendError::DiskFull
        } else {
            AppendError::NoRoom
        }
    }

    /// A write found no room; the operator is told if that lasts. Returns whether it is the first.
    fn begin_shortage(&self, shortage: Shortage) -> bool {
        let now = self.clock.now();
        let is_new = self.shortages.begin(shortage, now);
        if self.shortages.take_telling(now) {
            tracing::warn!("{shortage}; appends are refused until there is room");
        }
        is_new
    }

    /// There is room again. Returns whether there was none.
    pub(crate) fn end_shortage(&self) -> bool {
        let (had, was_told) = self.shortages.end();
        if was_told {
            tracing::info!("there is room again; appends are taken");
        }
        had
    }

    /// A write or a checkpoint found no room: nothing is tried for a moment.
    pub(crate) fn note_full(&self, shortage: Shortage) {
        self.begin_shortage(shortage);
        self.set_disk_full(true);
    }

    pub(crate) fn set_disk_full(&self, full: bool) {
        if self.disk_full.replace(full) != full {
            if !full {
                self.journal.set_growth_refused(false);
            }
            self.journal.ring_changed.notify();
        }
    }

    /// A part of the ring stays free for Raft and cursors, whatever the producers do: a sixteenth,
    /// another one for the logs that use the reserve, and on a full disk the half that carrying
    /// forward needs.
    fn ring_has_room(&self, uses_reserve: bool) -> bool {
        let shift = match (uses_reserve, self.shortages.is_any()) {
            (true, _) => 4,
            (false, true) => 1,
            (false, false) => 3,
        };
        self.options.store_nothing
            || self
                .journal
                .with_ring(|ring| ring.free_bytes() >= ring.total_bytes() >> shift)
    }

    pub(crate) fn add_buffered(&self, bytes: usize) {
        let now = self.buffered_bytes.get() + bytes;
        self.buffered_bytes.set(now);
        self.buffered_bytes_maximum
            .set(self.buffered_bytes_maximum.get().max(now));
    }

    /// A log's append buffer has reached its size.
    pub(crate) fn note_full_log(&self) {
        if !self.full_log.replace(true) {
            self.write_back.notify();
        }
    }

    pub(crate) fn add_bulk(&self, bytes: usize) {
        self.bulk_bytes.set(self.bulk_bytes.get() + bytes);
    }

    /// Whether large appends of `bytes` more would hold so much memory that they are acknowledged
    /// only when they are written: until then their frames count as requests.
    pub(crate) fn holds_much_bulk(&self, bytes: usize) -> bool {
        self.bulk_bytes.get() + bytes > self.options.bulk_bytes >> 2
    }

    /// Bytes of large appends that wait or are in flight.
    pub(crate) fn bulk_bytes(&self) -> usize {
        self.bulk_bytes.get()
    }

    pub(crate) fn remove_buffered(&self, freed: Freed) {
        let buffered = self.buffered_bytes.get();
        self.buffered_bytes
            .set(buffered.saturating_sub(freed.journal_bytes));
        let bulk = self.bulk_bytes.get();
        self.bulk_bytes.set(bulk.saturating_sub(freed.direct_bytes));
        self.journal.ring_changed.notify();
    }

    /// Bytes in append buffers now, and the most there ever were.
    pub(crate) fn buffered(&self) -> (usize, usize) {
        (self.buffered_bytes.get(), self.buffered_bytes_maximum.get())
    }

    /// Keeps the list of dirty logs true after the log's buffer changed.
    pub(crate) fn update_dirty(&self, slot: u32, state: &mut LogState<D>) {
        let (buffered, unsynced) = (state.buffer.oldest_commit(), state.unsynced_since);
        let oldest = buffered.into_iter().chain(unsynced).min();
        if oldest == state.dirty_commit {
            return;
        }
        let mut dirty = self.dirty.borrow_mut();
        if let Some(before) = state.dirty_commit {
            dirty.remove(&(before, slot));
        }
        if let Some(commit) = oldest {
            dirty.insert((commit, slot));
        }
        state.dirty_commit = oldest;
    }

    pub(crate) fn log(&self, slot: u32) -> Option<Rc<Log<D>>> {
        self.logs.borrow().get(&slot).map(Rc::clone)
    }

    pub(crate) fn add_log(&self, log: Rc<Log<D>>) {
        self.producers.add(log.state.borrow().producers.len());
        self.slots.borrow_mut().insert(log.key, log.slot);
        self.logs.borrow_mut().insert(log.slot, log);
    }

    /// Stops one log and tells its owner.
    pub(crate) fn fail_log(&self, log: &Log<D>, error: AppendError) {
        let first = {
            let mut state = log.state.borrow_mut();
            let first = state.failure.is_none();
            state.failure.get_or_insert_with(|| error.clone());
            // What waits behind a large append will never be acknowledged: its memory is free.
            if let Some(offset) = state.buffer.first_direct_offset() {
                let freed = state.buffer.truncate_from(offset);
                self.remove_buffered(freed);
                self.update_dirty(log.slot, &mut state);
            }
            first
        };
        if first {
            self.events.handle_failed(log.slot, &error);
        }
    }

    /// Refuses further appends of a log that goes away, and drops what it has in memory.
    pub(crate) fn close_log(&self, log: &Log<D>) {
        let mut state = log.state.borrow_mut();
        state.failure = Some(AppendError::Closed);
        let freed = state.buffer.truncate_from(i64::MIN);
        self.remove_buffered(freed);
        self.update_dirty(log.slot, &mut state);
    }

    /// Takes a deleted log out of the lists.
    pub(crate) fn forget_log(&self, log: &Log<D>) {
        if self.logs.borrow_mut().remove(&log.slot).is_some() {
            self.producers.remove(log.state.borrow().producers.len());
        }
        self.slots.borrow_mut().remove(&log.key);
        self.cache.borrow_mut().remove_log(log.slot);
        self.read_points.borrow_mut().forget(log.slot);
    }

    /// Stops a log on damage: what is good stays readable.
    pub(crate) fn halt_log(&self, log: &Log<D>, damage: Corrupt) {
        if log.state.borrow().failure.is_none() {
            tracing::error!(topic = %log.name, partition = log.key.partition, %damage, "log halted");
        }
        self.fail_log(log, AppendError::Halted(damage));
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

impl<D: Disk, C: Clock> CommitSink for EngineState<D, C> {
    fn handle_released(&self, releases: &[Release]) {
        for release in releases {
            self.release(*release);
        }
        if self.write_back_goal().is_some() {
            self.write_back.notify();
        }
    }

    fn handle_poisoned(&self, error: &DiskError) {
        tracing::error!(%error, "the journal failed; nothing more is acknowledged");
        self.early.wake();
        self.write_queue_changed.notify();
        self.write_back.notify();
        let logs: Vec<Rc<Log<D>>> = self.logs.borrow().values().map(Rc::clone).collect();
        for log in logs {
            self.fail_log(&log, AppendError::Poisoned(error.clone()));
        }
    }
}
