//! The journal: one durable write acknowledges every log of the shard.
//!
//! What it is        collects entries, forms commits (group commit), writes them into the ring and
//!                   releases their completions in order.
//! What it is not    it does not know what entries mean, nor when a file may be reused (`engine`
//!                   says so).
//! Invariants        1. commits are numbered without gaps and released in the order of their
//!                   numbers.
//!                   2. after a failed write nothing more is released (the journal is poisoned).
//!                   3. entries of one commit keep the order in which they were added.
//! Source            design §4 "Journal"; docs/formats/journal.md.
//! Reading order     `commit.rs` (forming), `writer.rs`, `release.rs`, `ring_keeper.rs`; then
//!                   `format.rs`, `ring.rs`, `scan.rs`.

mod commit;
pub(crate) mod format;
mod release;
pub(crate) mod ring;
mod ring_keeper;
pub(crate) mod scan;
mod writer;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::time::Duration;

pub(crate) use release::{CommitSink, Release};
pub(crate) use ring_keeper::{RING_MODE, create_ring_file, ring_path, zero_piece};

use crate::aligned_buffer::AlignedBuffer;
use crate::disk::{Clock, Disk, DiskError};
use crate::journal::commit::Commit;
use crate::journal::release::InFlight;
use crate::journal::ring::{ReplayPoint, Ring};
use crate::notify::Changes;

/// Where the journal stands after recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct JournalStart {
    pub(crate) next_number: u64,
    pub(crate) previous_crc: u32,
    pub(crate) incarnation: u64,
}

/// Fixed properties of a journal.
#[derive(Clone, Debug)]
pub(crate) struct JournalShape {
    pub(crate) shard: u32,
    pub(crate) directory: String,
    pub(crate) block_bytes: u32,
    pub(crate) commit_bytes: u32,
    pub(crate) commit_interval: Duration,
    pub(crate) ring_file_bytes: u64,
    pub(crate) store_nothing: bool,
}

/// Counters of the journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JournalStats {
    /// Durable writes finished.
    pub commits: u64,
    /// Bytes written by commits, padding included.
    pub bytes: u64,
    /// Bytes of entries inside them.
    pub entry_bytes: u64,
    /// Sum of the times from a commit's start to its end.
    pub commit_time: Duration,
    /// Longest of them.
    pub commit_time_maximum: Duration,
}

#[derive(Debug)]
struct State<F> {
    open: Commit,
    sealed: VecDeque<Commit>,
    in_flight: VecDeque<InFlight>,
    /// Number of the commit that is written next.
    next_number: u64,
    previous_crc: u32,
    /// Last commit released.
    acknowledged: u64,
    ring: Ring<F>,
    spare_buffers: Vec<AlignedBuffer>,
    spare_releases: Vec<Vec<Release>>,
    last_start: Option<Duration>,
    poisoned: Option<DiskError>,
    stopping: bool,
    stats: JournalStats,
}

/// The journal of one shard.
#[derive(Debug)]
pub(crate) struct Journal<D: Disk, C: Clock> {
    disk: D,
    clock: C,
    shape: JournalShape,
    incarnation: u64,
    state: RefCell<State<D::File>>,
    /// Something is there to write, or the journal stops.
    work: Changes,
    /// A commit was released, or the journal is poisoned.
    released: Changes,
    /// The ring has changed: zeros, files, or freed commits.
    pub(crate) ring_changed: Changes,
    commit_hook: Cell<Option<fn(Duration)>>,
    /// When it was told last that the ring cannot grow.
    growth_told_at: Cell<Option<Duration>>,
}

impl<D: Disk, C: Clock> Journal<D, C> {
    /// A journal that goes on where recovery (or nothing) left it.
    pub(crate) fn new(
        disk: D,
        clock: C,
        shape: JournalShape,
        start: JournalStart,
        ring: Ring<D::File>,
    ) -> Self {
        let capacity = commit_capacity(&shape);
        Self {
            disk,
            clock,
            incarnation: start.incarnation,
            state: RefCell::new(State {
                open: Commit::new(AlignedBuffer::with_capacity(capacity), Vec::new()),
                sealed: VecDeque::new(),
                in_flight: VecDeque::new(),
                next_number: start.next_number,
                previous_crc: start.previous_crc,
                acknowledged: start.next_number.saturating_sub(1),
                ring,
                spare_buffers: Vec::new(),
                spare_releases: Vec::new(),
                last_start: None,
                poisoned: None,
                stopping: false,
                stats: JournalStats::default(),
            }),
            shape,
            work: Changes::default(),
            released: Changes::default(),
            ring_changed: Changes::default(),
            commit_hook: Cell::new(None),
            growth_told_at: Cell::new(None),
        }
    }

    /// Number that an entry added now would get; everything up to it counts for
    /// [`Journal::wait_released`].
    pub(crate) fn open_number(&self) -> u64 {
        self.state.borrow().open_number()
    }

    /// Last commit that is released.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.state.borrow().acknowledged
    }

    /// The failure that stopped the journal.
    pub(crate) fn poisoned(&self) -> Option<DiskError> {
        self.state.borrow().poisoned.clone()
    }

    /// Lets the writers end once everything added so far is written.
    pub(crate) fn stop(&self) {
        self.state.borrow_mut().stopping = true;
        self.work.notify();
        self.ring_changed.notify();
    }

    /// Calls `read` with the ring.
    pub(crate) fn with_ring<T>(&self, read: impl FnOnce(&Ring<D::File>) -> T) -> T {
        read(&self.state.borrow().ring)
    }

    /// Forgets the commits below `number`: a checkpoint covers them.
    pub(crate) fn free_below(&self, number: u64) {
        self.state.borrow_mut().ring.free_below(number);
        self.ring_changed.notify();
    }

    /// Where a replay begins that must meet commit `number` and everything not yet released;
    /// exactly
    /// at the next commit when `clean` and nothing is in flight.
    pub(crate) fn replay_point(&self, number: u64, clean: bool) -> Option<ReplayPoint> {
        let state = self.state.borrow();
        let idle = state.in_flight.is_empty() && state.sealed.is_empty();
        if clean && idle && number > state.acknowledged {
            let (file_index, position) = state.ring.position();
            return Some(ReplayPoint {
                number: state.next_number,
                previous_crc: state.previous_crc,
                file_index,
                position,
            });
        }
        state.ring.replay_point(number.min(state.acknowledged + 1))
    }

    /// Life of the engine that writes.
    pub(crate) fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// Counters since the start.
    pub(crate) fn stats(&self) -> JournalStats {
        self.state.borrow().stats
    }

    /// Commits that wait or are in flight.
    pub(crate) fn depth(&self) -> usize {
        let state = self.state.borrow();
        state.sealed.len() + state.in_flight.len() + usize::from(state.open.entries > 0)
    }

    /// Bytes of memory that the journal holds.
    pub(crate) fn memory_bytes(&self) -> usize {
        let state = self.state.borrow();
        let buffers = 1 + state.sealed.len() + state.in_flight.len() + state.spare_buffers.len();
        buffers * commit_capacity(&self.shape)
    }

    /// Sets a function that is told the duration of each commit.
    pub(crate) fn set_commit_hook(&self, hook: fn(Duration)) {
        self.commit_hook.set(Some(hook));
    }

    /// Whether the journal stops.
    pub(crate) fn is_stopping(&self) -> bool {
        let state = self.state.borrow();
        state.stopping || state.poisoned.is_some()
    }
}

impl<F> State<F> {
    fn open_number(&self) -> u64 {
        self.next_number + self.sealed.len() as u64
    }
}

/// Bytes of the longest commit with its padding.
pub(crate) fn commit_capacity(shape: &JournalShape) -> usize {
    // The padding of the last block must fit behind the longest commit.
    (shape.commit_bytes + shape.block_bytes) as usize
}
