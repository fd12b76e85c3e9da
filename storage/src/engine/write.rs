//! Writing append buffers into segments.
//!
//! What it is        the one path from memory to segments, for large appends (durable when written)
//!                   and for write-back (durable after a sync).
//! What it is not    a decision about when: `write_back.rs` and the append path set the goal.
//! Invariants        1. one writer per log (the log's gate). 2. no batch is written before the side
//!                   entries in front of it are durable in the journal. 3. batches go in offset
//!                   order.
//! Source            design §4 "Large appends skip the journal", "Partition log".

use std::rc::Rc;

use bytes::Bytes;

use crate::disk::{Clock, Disk, DiskError, Shortage};
use crate::engine::EngineState;
use crate::error::Corrupt;
use crate::errors::AppendError;
use crate::limits;
use crate::notify::run_first;
use crate::partition::state::{Log, LogState};
use crate::segment::{
    Durability, FileKind, Segment, SegmentError, SegmentOptions, parse_file_name,
};

/// What a writer does next.
enum Step {
    Done,
    WaitCommit(u64),
    Roll,
    Create(i64),
    Write { pieces: Vec<Bytes>, end_offset: i64 },
}

impl<D: Disk, C: Clock> EngineState<D, C> {
    /// Writes the log's batches up to its goal.
    ///
    /// # Errors
    /// [`SegmentError`]; what was not written stays in the append buffer.
    pub(crate) async fn write_log(
        &self,
        log: &Rc<Log<D>>,
        durability: Durability,
    ) -> Result<(), SegmentError> {
        let _turn = log.gate.enter().await;
        loop {
            let step = self.next_step(&log.state.borrow());
            match step {
                Step::Done => return Ok(()),
                Step::WaitCommit(number) => self.journal.wait_released(number).await?,
                Step::Roll => self.roll_active(log).await?,
                Step::Create(base_offset) => self.create_segment(log, base_offset).await?,
                Step::Write { pieces, end_offset } => {
                    let Some(segment) = active_of(log) else {
                        return Ok(());
                    };
                    segment.set_uses_reserve(log.uses_reserve());
                    segment.append(&pieces, durability).await?;
                    let synced = durability == Durability::OnWrite;
                    log.state.borrow_mut().written_end_offset = end_offset;
                    if synced {
                        self.note_synced(log, end_offset, segment.durable_position());
                    }
                }
            }
        }
    }

    fn next_step(&self, state: &LogState<D>) -> Step {
        let (written, goal) = (state.written_end_offset, state.write_goal);
        if state.failure.is_some() || written >= goal {
            return Step::Done;
        }
        if state.last_side_commit > self.journal.acknowledged() {
            return Step::WaitCommit(state.last_side_commit);
        }
        let Some(first_bytes) = state.buffer.first_batch_bytes(written) else {
            return Step::Done;
        };
        let Some(active) = &state.segments.active else {
            return Step::Create(written.max(state.buffer.start_offset().unwrap_or(written)));
        };
        let limit = self.segment_bytes(state) as usize;
        let used = active.end_position() as usize;
        if used > 0 && used + first_bytes > limit {
            return Step::Roll;
        }
        let room = limit.saturating_sub(used).min(limits::WRITE_BYTES_MAX);
        let (pieces, _bytes, end_offset) = state.buffer.collect((written, goal), room);
        if pieces.is_empty() {
            return Step::Done;
        }
        Step::Write { pieces, end_offset }
    }

    /// Bytes at which a log's segments are closed.
    fn segment_bytes(&self, state: &LogState<D>) -> u32 {
        let most = self.store.budget().segment_bytes_max();
        state.config.segment_bytes.min(most)
    }

    async fn create_segment(&self, log: &Rc<Log<D>>, base_offset: i64) -> Result<(), SegmentError> {
        let options = SegmentOptions {
            segment_bytes: self.segment_bytes(&log.state.borrow()),
        };
        let directory = log.directory();
        if log.state.borrow().is_fresh {
            self.check_no_segments(directory).await?;
            log.state.borrow_mut().is_fresh = false;
        }
        let segment = Segment::create(&self.store, directory, base_offset, options).await?;
        let mut state = log.state.borrow_mut();
        state.segments.active = Some(Rc::new(segment));
        state.segments_end_position = 0;
        Ok(())
    }

    /// A log that was created in this life has no segments: files in its directory are somebody's
    /// records, and are not taken over.
    async fn check_no_segments(&self, directory: &str) -> Result<(), SegmentError> {
        for entry in self.disk.list(directory).await? {
            let is_log = matches!(parse_file_name(&entry.name), Some((_, FileKind::Log)));
            if is_log && entry.length_bytes > 0 {
                return Err(SegmentError::Corrupt(Corrupt {
                    file: format!("{directory}/{}", entry.name),
                    position: 0,
                    expected: "no segment of a log that was just created".to_owned(),
                    got: format!("{} bytes that no checkpoint knows", entry.length_bytes),
                }));
            }
        }
        Ok(())
    }

    /// Closes the active segment; the next write creates a new one. The caller holds the gate.
    pub(crate) async fn roll_active(&self, log: &Rc<Log<D>>) -> Result<(), SegmentError> {
        let Some(segment) = active_of(log) else {
            return Ok(());
        };
        if segment.end_position() == 0 {
            return Ok(());
        }
        let end_offset = segment.next_offset();
        let closed = segment.roll().await?;
        self.note_synced(log, end_offset, closed.size_bytes);
        let mut state = log.state.borrow_mut();
        state.segments.closed.push(closed);
        state.segments.active = None;
        state.segments_end_position = 0;
        Ok(())
    }

    /// Makes what was written to the log's segments durable.
    ///
    /// # Errors
    /// [`SegmentError`]; the segment is poisoned then.
    pub(crate) async fn sync_log(&self, log: &Rc<Log<D>>) -> Result<(), SegmentError> {
        let _turn = log.gate.enter().await;
        let end_offset = {
            let state = log.state.borrow();
            if state.failure.is_some() || state.written_end_offset <= state.segments_end_offset {
                return Ok(());
            }
            state.written_end_offset
        };
        let Some(segment) = active_of(log) else {
            return Ok(());
        };
        segment.sync().await?;
        self.note_synced(log, end_offset, segment.durable_position());
        if log.state.borrow().buffer.bytes() == 0 {
            segment.rest();
        }
        Ok(())
    }

    /// Everything below `end_offset` is durable in segments: frees memory, releases, forgets.
    fn note_synced(&self, log: &Rc<Log<D>>, end_offset: i64, position: u32) {
        let released = {
            let mut state = log.state.borrow_mut();
            state.segments_end_offset = end_offset;
            state.segments_end_position = position;
            state.unsynced_since = None;
            state.marked_end_offset = state.marked_end_offset.max(end_offset);
            let freed = state.buffer.remove_below(end_offset);
            self.remove_buffered(freed);
            self.update_dirty(log.slot, &mut state);
            let last_index = state.last_index_below(end_offset);
            state.durable.handle_segment(last_index)
        };
        if let Some((last_index, term)) = released {
            self.events.handle_persisted(log.slot, last_index, term);
        }
    }

    /// Runs a segment writer: takes logs with large appends from the queue until the engine stops.
    pub(crate) async fn run_segment_writer(&self) {
        loop {
            let seen = self.write_queue_changed.seen();
            let next = self.write_queue.borrow_mut().pop_front();
            let Some(log) = next else {
                if self.stopped() {
                    return;
                }
                self.write_queue_changed.after(seen).await;
                continue;
            };
            log.state.borrow_mut().queued = false;
            self.write_until_done(&log).await;
        }
    }

    /// Writes a log's large appends; a full disk is tried again, any other failure stops the log.
    async fn write_until_done(&self, log: &Rc<Log<D>>) {
        loop {
            let result = self.write_log(log, Durability::OnWrite).await;
            match result {
                // What went into the reserve tells nothing of the room that is left for data.
                Ok(()) if log.uses_reserve() => return,
                Ok(()) => {
                    if self.has_space_again() {
                        self.end_shortage();
                    } else {
                        // Told when an append is refused for it.
                        let now = self.clock.now();
                        self.shortages.begin(Shortage::AboveReserve, now);
                    }
                    return self.set_disk_full(false);
                }
                Err(error) => {
                    if !self.survives(log, error) || self.stopped() {
                        return;
                    }
                    self.pause_full().await;
                }
            }
        }
    }

    /// Waits before a write that met a full disk is tried again, less when space was freed.
    pub(crate) async fn pause_full(&self) {
        let freed = self.space_freed.after(self.space_freed.seen());
        run_first(self.clock.sleep(limits::DISK_FULL_PAUSE), freed).await;
    }

    /// Whether the write may be tried again; otherwise the log is stopped.
    pub(crate) fn survives(&self, log: &Rc<Log<D>>, error: SegmentError) -> bool {
        let failure = match error {
            SegmentError::Disk(DiskError::Full { shortage, .. }) => {
                self.note_full(shortage);
                return true;
            }
            SegmentError::Disk(error) => AppendError::Poisoned(error),
            SegmentError::Corrupt(damage) => AppendError::Halted(damage),
            SegmentError::Replaced => return true,
            SegmentError::Poisoned { file }
            | SegmentError::NoRoom { file, .. }
            | SegmentError::Refused { file, .. } => AppendError::Poisoned(DiskError::Io {
                operation: "append",
                path: file,
                reason: "the segment refuses appends".to_owned(),
            }),
        };
        tracing::error!(topic = %log.name, partition = log.key.partition, %failure, "log stopped");
        self.fail_log(log, failure);
        false
    }

    /// Queues a log for the segment writers.
    pub(crate) fn queue_write(&self, log: &Rc<Log<D>>, state: &mut LogState<D>) {
        if !state.queued {
            state.queued = true;
            self.write_queue.borrow_mut().push_back(Rc::clone(log));
        }
        self.write_queue_changed.notify();
    }
}

fn active_of<D: Disk>(log: &Log<D>) -> Option<Rc<Segment<D>>> {
    log.state.borrow().segments.active.as_ref().map(Rc::clone)
}
