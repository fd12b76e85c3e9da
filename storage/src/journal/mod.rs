//! The journal: one durable write acknowledges every log of the shard.
//!
//! What it is        collects entries, forms commits (group commit), writes them into the ring and
//!                   releases
//!                   their completions in order.
//! What it is not    it does not know what entries mean, nor when a file may be reused (`engine`
//!                   says so).
//! Invariants        1. commits are numbered without gaps and released in the order of their
//!                   numbers.
//!                   2. after a failed write nothing more is released (the journal is poisoned).
//!                   3. entries of one commit keep the order in which they were added.
//! Source            design §4 "Journal"; docs/formats/journal.md.
//! Reading order     [`Journal::add`], [`Journal::run_writer`], then `format.rs`, `ring.rs`,
//!                   `scan.rs`.

pub(crate) mod format;
pub(crate) mod ring;
pub(crate) mod scan;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::time::Duration;

use crate::aligned_buffer::AlignedBuffer;
use crate::disk::{Clock, Disk, DiskError, OpenMode, Resize};
use crate::journal::format::{
    COMMIT_HEADER_BYTES, CommitHeader, ENTRY_HEADER_BYTES, JournalEntry, put, seal_commit,
};
use crate::journal::ring::{ReplayPoint, Ring, RingFile};
use crate::limits;
use crate::notify::Changes;

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
struct Commit {
    buffer: AlignedBuffer,
    releases: Vec<Release>,
    entries: u32,
    /// Somebody waits for it; a commit that only carries appends whose topic does not ask for a
    /// flush stays open until then.
    is_urgent: bool,
    /// Slot and position of the last entry when it is an Append that may grow.
    last_append: Option<(u32, usize)>,
}

#[derive(Debug)]
struct InFlight {
    number: u64,
    done: bool,
    releases: Vec<Release>,
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
}

/// The entry found no room: the writers are too far behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct JournalBusy;

enum Step<F> {
    Idle,
    Pause(Duration),
    RingFull,
    Stop,
    Write {
        file: F,
        position: u64,
        buffer: AlignedBuffer,
        number: u64,
    },
    Nothing {
        number: u64,
        buffer: AlignedBuffer,
    },
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
        }
    }

    /// Whether an entry of `bytes` finds room now. Entries of Raft and cursors do not ask.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        let state = self.state.borrow();
        let collected = state.open.buffer.len() + bytes + ENTRY_HEADER_BYTES;
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

    /// Lets the writers end once everything added so far is written.
    pub(crate) fn stop(&self) {
        self.state.borrow_mut().stopping = true;
        self.work.notify();
        self.ring_changed.notify();
    }

    /// Notes whether the disk has room for another file of the ring.
    pub(crate) fn set_growth_refused(&self, refused: bool) {
        self.state.borrow_mut().ring.set_growth_refused(refused);
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

    /// Writes commits until the journal stops or fails; as many of these futures as commits in
    /// flight.
    pub(crate) async fn run_writer(&self, sink: &impl CommitSink) {
        loop {
            let (work_seen, ring_seen) = (self.work.seen(), self.ring_changed.seen());
            match self.next_step() {
                Step::Idle => self.work.after(work_seen).await,
                Step::Pause(pause) => self.clock.sleep(pause).await,
                Step::RingFull => self.ring_changed.after(ring_seen).await,
                Step::Stop => return,
                Step::Nothing { number, buffer } => {
                    self.finish(number, buffer, Ok(()), Duration::ZERO, sink);
                }
                Step::Write {
                    file,
                    position,
                    buffer,
                    number,
                } => {
                    let started = self.clock.now();
                    let (result, buffer) = self.disk.write(&file, position, buffer).await;
                    let took = self.clock.now().saturating_sub(started);
                    self.finish(number, buffer, result, took, sink);
                }
            }
        }
    }

    fn next_step(&self) -> Step<D::File> {
        let mut state = self.state.borrow_mut();
        if state.poisoned.is_some() {
            return Step::Stop;
        }
        if state.sealed.is_empty() {
            if state.open.entries == 0 {
                return if state.stopping {
                    Step::Stop
                } else {
                    Step::Idle
                };
            }
            let is_due = state.open.is_urgent || state.stopping || self.shape.store_nothing;
            if !is_due {
                return Step::Idle;
            }
            if let Some(pause) = self.pause_before_commit(&state) {
                return Step::Pause(pause);
            }
        }
        if self.shape.store_nothing {
            return state.take_nothing();
        }
        self.take_commit(&mut state)
    }

    fn pause_before_commit(&self, state: &State<D::File>) -> Option<Duration> {
        let interval = self.shape.commit_interval;
        if interval.is_zero() || state.stopping {
            return None;
        }
        let due = state.last_start? + interval;
        let pause = due.saturating_sub(self.clock.now());
        (!pause.is_zero()).then_some(pause)
    }

    fn take_commit(&self, state: &mut State<D::File>) -> Step<D::File> {
        let number = state.next_number;
        let length = state
            .sealed
            .front()
            .map_or(state.open.buffer.len(), |commit| commit.buffer.len());
        let padded = length.next_multiple_of(self.shape.block_bytes as usize);
        let chain = (number, state.previous_crc);
        let Some(place) = state.ring.place(chain, padded as u64) else {
            return Step::RingFull;
        };
        if state.sealed.is_empty() {
            state.seal_open(commit_capacity(&self.shape));
        }
        let Some(mut commit) = state.sealed.pop_front() else {
            return Step::Idle;
        };
        let entry_bytes = commit.buffer.len() - COMMIT_HEADER_BYTES;
        let header = CommitHeader {
            number,
            acknowledged: state.acknowledged,
            incarnation: self.incarnation,
            previous_crc: state.previous_crc,
            shard: self.shape.shard,
            entry_count: commit.entries,
            block_bytes: self.shape.block_bytes,
        };
        state.previous_crc = seal_commit(&mut commit.buffer, &header);
        state.next_number += 1;
        state.stats.entry_bytes += entry_bytes as u64;
        state.last_start = Some(self.clock.now());
        state.in_flight.push_back(InFlight {
            number,
            done: false,
            releases: commit.releases,
        });
        Step::Write {
            file: place.file,
            position: place.position,
            buffer: commit.buffer,
            number,
        }
    }

    fn finish(
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

    /// Fills and creates the ring's files ahead of the commits, until the journal stops.
    pub(crate) async fn run_ring_keeper(&self, sink: &impl CommitSink) {
        loop {
            let seen = self.ring_changed.seen();
            if self.poisoned().is_some() || (self.is_stopping() && self.depth() == 0) {
                return;
            }
            match self.keep_ring().await {
                Ok(true) => {}
                Ok(false) => self.ring_changed.after(seen).await,
                Err(error @ DiskError::Full { .. }) => {
                    tracing::warn!(%error, "the journal's ring cannot grow");
                    self.set_growth_refused(true);
                    self.ring_changed.after(seen).await;
                }
                Err(error) => {
                    self.poison(error, sink);
                    return;
                }
            }
        }
    }

    async fn keep_ring(&self) -> Result<bool, DiskError> {
        if self.shape.store_nothing {
            return Ok(false);
        }
        if let Some((file, from, end, index)) = self.with_ring(Ring::wants_zeros) {
            let to = zero_piece(&self.disk, &file, from, end).await?;
            self.state.borrow_mut().ring.set_zeroed(index, to);
            self.ring_changed.notify();
            return Ok(true);
        }
        if let Some(index) = self.with_ring(Ring::wants_file) {
            let file = create_ring_file(&self.disk, &self.shape, index).await?;
            self.state.borrow_mut().ring.add_file(file);
            self.ring_changed.notify();
            return Ok(true);
        }
        Ok(false)
    }
}

impl Commit {
    fn new(mut buffer: AlignedBuffer, releases: Vec<Release>) -> Self {
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
    fn open_number(&self) -> u64 {
        self.next_number + self.sealed.len() as u64
    }

    fn seal_open(&mut self, capacity: usize) {
        let buffer = self
            .spare_buffers
            .pop()
            .unwrap_or_else(|| AlignedBuffer::with_capacity(capacity));
        let releases = self.spare_releases.pop().unwrap_or_default();
        let full = std::mem::replace(&mut self.open, Commit::new(buffer, releases));
        self.sealed.push_back(full);
    }

    fn take_nothing(&mut self) -> Step<F> {
        let number = self.next_number;
        self.next_number += 1;
        self.open.entries = 0;
        self.open.is_urgent = false;
        let releases = std::mem::replace(
            &mut self.open.releases,
            self.spare_releases.pop().unwrap_or_default(),
        );
        self.in_flight.push_back(InFlight {
            number,
            done: false,
            releases,
        });
        Step::Nothing {
            number,
            buffer: AlignedBuffer::with_capacity(0),
        }
    }

    fn pop_released(&mut self) -> Option<Vec<Release>> {
        if self.poisoned.is_some() || !self.in_flight.front().is_some_and(|front| front.done) {
            return None;
        }
        let front = self.in_flight.pop_front()?;
        self.acknowledged = front.number;
        Some(front.releases)
    }
}

/// Bytes of the longest commit with its padding.
pub(crate) fn commit_capacity(shape: &JournalShape) -> usize {
    // The padding of the last block must fit behind the longest commit.
    (shape.commit_bytes + shape.block_bytes) as usize
}

/// Path of a file of the ring.
pub(crate) fn ring_path(directory: &str, index: u32) -> String {
    format!("{directory}/ring-{index:04}.journal")
}

/// How the ring's files are opened.
pub(crate) const RING_MODE: OpenMode = OpenMode {
    create: false,
    write: true,
    durable: true,
    direct: true,
};

/// Creates a file of the ring and reserves its space; the zeros follow in pieces.
pub(crate) async fn create_ring_file<D: Disk>(
    disk: &D,
    shape: &JournalShape,
    index: u32,
) -> Result<RingFile<D::File>, DiskError> {
    let mode = OpenMode {
        create: true,
        ..RING_MODE
    };
    let path = ring_path(&shape.directory, index);
    let file = disk.open(&path, mode).await?;
    disk.resize(&file, Resize::Reserve(shape.ring_file_bytes))
        .await?;
    disk.sync(&file).await?;
    Ok(RingFile {
        index,
        file,
        bytes: shape.ring_file_bytes,
        zeroed_end: 0,
        first_commit: (0, 0),
        first_position: 0,
        last_commit: 0,
    })
}

/// Writes zeros from `from`, at most one piece; returns the new end.
pub(crate) async fn zero_piece<D: Disk>(
    disk: &D,
    file: &D::File,
    from: u64,
    end: u64,
) -> Result<u64, DiskError> {
    let length = (end - from).min(u64::from(limits::ZERO_CHUNK_BYTES));
    let length = usize::try_from(length).unwrap_or(limits::ZERO_CHUNK_BYTES as usize);
    let mut buffer = AlignedBuffer::with_capacity(length);
    buffer.set_len(length);
    let (result, _buffer) = disk.write(file, from, buffer).await;
    result.map(|()| from + length as u64)
}
