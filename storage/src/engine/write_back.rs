//! Write-back: append buffers go to segments, then a checkpoint frees the oldest file of the ring.
//!
//! What it is        one worker that starts when the ring is half full, when append buffers are, or
//!                   at
//!                   the end; many logs together, then their syncs, then the checkpoint.
//! What it is not    on the way of any acknowledgement.
//! Invariants        1. a ring file is freed only after a durable checkpoint that does not need it.
//! Source            design §4 "Partition log"; docs/formats/checkpoint.md.

use std::rc::Rc;

use crate::checkpoint::{Checkpoint, LogCheckpoint};
use crate::disk::{Clock, Disk, DiskError};
use crate::engine::EngineState;
use crate::journal::format::JournalEntry;
use crate::journal::ring::Ring;
use crate::limits;
use crate::notify::run_all;
use crate::partition::producers::encode_producers;
use crate::partition::state::Log;
use crate::segment::Durability;

/// Logs that a stop writes between two looks at the clock.
const FINISH_LOGS: usize = 128;

impl<D: Disk, C: Clock> EngineState<D, C> {
    /// Runs write-back until the engine stops.
    pub(crate) async fn run_write_back(&self) {
        loop {
            let seen = self.write_back.seen();
            if self.stopped() {
                return;
            }
            let Some(commit) = self.write_back_goal() else {
                self.write_back.after(seen).await;
                continue;
            };
            let before = self.backlog();
            if let Err(error) = self.write_back_to(commit).await {
                if let DiskError::Full { shortage, .. } = error {
                    self.note_full(shortage);
                } else {
                    tracing::error!(%error, "write-back failed");
                }
            } else if !self.disk_full.get() && self.has_space_again() {
                if self.end_shortage() {
                    self.journal.ring_changed.notify();
                }
                // What a stopped log leaves in the ring is no reason to try for ever.
                if self.backlog() != before || self.write_back_goal().is_none() {
                    continue;
                }
            }
            self.pause_full().await;
        }
    }

    /// What write-back makes smaller: bytes in append buffers, and where the journal must start.
    fn backlog(&self) -> (usize, u64) {
        (self.buffered().0, self.replay_from.get())
    }

    /// Up to which commit logs are to be written back now; `None` when there is no need.
    pub(crate) fn write_back_goal(&self) -> Option<u64> {
        if self.options.store_nothing || self.closing.get() {
            return None;
        }
        let ring_goal = self.journal.with_ring(|ring| {
            let half_used = ring.is_half_used();
            ring.oldest_used_last_commit().filter(|_| half_used)
        });
        let (buffered, _) = self.buffered();
        let memory_short = buffered > self.options.append_buffer_bytes >> 1;
        let memory_goal = memory_short.then(|| {
            let acknowledged = self.journal.acknowledged();
            let oldest = self.dirty.borrow().first().map_or(0, |(commit, _)| *commit);
            // The older half of what is there.
            oldest + (acknowledged.saturating_sub(oldest) >> 1)
        });
        // A full disk is tried again even when nothing else asks for it, since appends wait for
        // that, and all logs are: what uses the reserve must not stay behind what cannot go.
        if self.shortages.is_any() {
            return Some(self.journal.acknowledged());
        }
        let full_log = self.full_log.get().then(|| self.journal.acknowledged());
        ring_goal.max(memory_goal).or(full_log)
    }

    /// Writes back every log whose oldest entry is in commit `commit` or before, and checkpoints.
    ///
    /// # Errors
    /// The failure of the checkpoint; failures of single logs stop those logs.
    pub(crate) async fn write_back_to(&self, commit: u64) -> Result<(), DiskError> {
        let _turn = self.write_back_gate.enter().await;
        self.full_log.set(false);
        let logs = self.dirty_logs(commit);
        for log in &logs {
            let mut state = log.state.borrow_mut();
            state.write_goal = state.log_end_offset;
        }
        self.set_disk_full(false);
        self.write_and_sync(&logs).await;
        let has_carried = self.carry_forward();
        if self.frees_something() {
            self.checkpoint(false).await?;
        }
        if !self.journal.with_ring(Ring::is_half_used) {
            self.free_after_carry_bytes.set(u64::MAX);
        } else if has_carried {
            let free_bytes = self.journal.with_ring(Ring::free_bytes);
            self.free_after_carry_bytes.set(free_bytes);
        }
        Ok(())
    }

    /// Whether a checkpoint would let the journal start later than the last one; on a full disk
    /// it is not written for less.
    fn frees_something(&self) -> bool {
        let oldest = self.dirty.borrow().first().map(|(commit, _)| *commit);
        let point = self.journal.replay_point(oldest.unwrap_or(u64::MAX), false);
        !self.shortages.is_any() || point.is_some_and(|point| point.number > self.replay_from.get())
    }

    fn dirty_logs(&self, commit: u64) -> Vec<Rc<Log<D>>> {
        let dirty = self.dirty.borrow();
        let slots = dirty.range(..=(commit, u32::MAX)).map(|(_, slot)| *slot);
        slots.filter_map(|slot| self.log(slot)).collect()
    }

    /// Writes many logs, then syncs them, so that one transaction of the file system serves all; as
    /// many at once as descriptors are left.
    async fn write_and_sync(&self, logs: &[Rc<Log<D>>]) {
        let at_once = usize::try_from(self.options.open_files).unwrap_or(usize::MAX);
        for some in logs.chunks(at_once.max(16)) {
            self.write_and_sync_some(some).await;
        }
    }

    /// The same, as far as the time of a stop permits: what is left is in the journal.
    async fn write_and_sync_in_time(&self, logs: &[Rc<Log<D>>]) {
        let deadline = self.clock.now() + limits::FINISH_TIME_MAX;
        for some in logs.chunks(FINISH_LOGS) {
            if self.clock.now() >= deadline {
                return;
            }
            self.write_and_sync_some(some).await;
        }
    }

    async fn write_and_sync_some(&self, logs: &[Rc<Log<D>>]) {
        let width = self.options.segment_writers;
        let writes = logs.iter().map(|log| async move {
            if let Err(error) = self.write_log(log, Durability::OnSync).await {
                let _again_later = self.survives(log, error);
            }
        });
        run_all(writes, width).await;
        let syncs = logs.iter().map(|log| async move {
            if let Err(error) = self.sync_log(log).await {
                let _again_later = self.survives(log, error);
            }
        });
        run_all(syncs, width).await;
    }

    /// Journals again what cannot be written back (a full disk, a stopped log), so that the ring's
    /// oldest file becomes free all the same and no acknowledged record is lost. Whether it did.
    ///
    /// Once a sixteenth of the ring was written since the last time, and not before: on a full
    /// disk the same records would go round the ring without end.
    fn carry_forward(&self) -> bool {
        let oldest = self.journal.with_ring(|ring| {
            let grain_bytes = ring.total_bytes() >> 4;
            let is_used = ring.free_bytes() + grain_bytes <= self.free_after_carry_bytes.get();
            let oldest = ring.oldest_used_last_commit();
            oldest.filter(|_| ring.is_half_used() && is_used)
        });
        let Some(commit) = oldest.filter(|commit| self.can_carry(*commit)) else {
            return false;
        };
        for log in self.dirty_logs(commit) {
            let mut state = log.state.borrow_mut();
            let state = &mut *state;
            for batch in state
                .buffer
                .iter_mut()
                .filter(|batch| batch.commit <= commit)
            {
                let entry = JournalEntry::Append {
                    first_index: state.side.index_of_offset(batch.base_offset),
                    batches: &batch.bytes,
                };
                self.journal.end_append();
                if let Ok(number) = self.journal.add(log.slot, &entry, None, true) {
                    batch.commit = number;
                }
            }
            self.update_dirty(log.slot, state);
        }
        true
    }

    /// Whether an eighth of the ring is left when everything up to `commit` has been carried
    /// forward.
    fn can_carry(&self, commit: u64) -> bool {
        let logs = self.dirty_logs(commit);
        let bytes: usize = logs
            .iter()
            .map(|log| log.state.borrow().buffer.bytes_up_to(commit))
            .sum();
        self.journal.with_ring(|ring| {
            let reserve = ring.total_bytes() >> 3;
            ring.free_bytes() >= reserve + bytes as u64 + (bytes as u64 >> 3)
        })
    }

    /// Writes a checkpoint and frees what it covers.
    ///
    /// # Errors
    /// The failure of the disk; the old checkpoint stays.
    pub(crate) async fn checkpoint(&self, clean: bool) -> Result<(), DiskError> {
        // Entries carried forward, and side entries that only memory has, must be durable first.
        self.journal.flush().await?;
        let Some(checkpoint) = self.build_checkpoint(clean) else {
            return Ok(());
        };
        let directory = self.options.journal_directory();
        let bytes = checkpoint.write(&self.disk, &directory).await?;
        self.checkpoint_bytes
            .set(self.checkpoint_bytes.get() + bytes);
        self.replay_from.set(checkpoint.replay_from);
        self.journal.free_below(checkpoint.replay_from);
        Ok(())
    }

    fn build_checkpoint(&self, clean: bool) -> Option<Checkpoint> {
        let oldest = self.dirty.borrow().first().map(|(commit, _)| *commit);
        let point = self
            .journal
            .replay_point(oldest.unwrap_or(u64::MAX), clean && oldest.is_none())?;
        let logs = self.logs.borrow();
        Some(Checkpoint {
            shard: self.options.shard,
            incarnation: self.journal.incarnation(),
            replay_from: point.number,
            previous_crc: point.previous_crc,
            file_index: point.file_index,
            position: point.position,
            acknowledged: self.journal.acknowledged(),
            next_slot: self.next_slot.get(),
            producer_time_ms: self.producers.now_ms(self.clock.now()),
            clean,
            logs: logs.values().map(|log| log_checkpoint(log)).collect(),
            cursors: self
                .cursors
                .borrow()
                .iter()
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
        })
    }

    /// Makes everything durable in segments and in a last checkpoint.
    ///
    /// # Errors
    /// The failure of the disk; what was acknowledged is in the journal.
    pub(crate) async fn finish(&self) -> Result<(), DiskError> {
        let _turn = self.write_back_gate.enter().await;
        self.journal.flush().await?;
        if self.options.store_nothing {
            return Ok(());
        }
        let all: Vec<Rc<Log<D>>> = self.logs.borrow().values().map(Rc::clone).collect();
        for log in &all {
            let mut state = log.state.borrow_mut();
            state.write_goal = state.log_end_offset;
        }
        self.write_and_sync_in_time(&all).await;
        self.checkpoint(true).await?;
        self.settle_all(&all).await;
        Ok(())
    }

    /// Leaves the files as other programs read them, as far as time permits: nothing depends on it.
    async fn settle_all(&self, logs: &[Rc<Log<D>>]) {
        let deadline = self.clock.now() + limits::SETTLE_TIME_MAX;
        let unsettled = logs.iter().filter(|log| self.is_unsettled(log));
        let settles = unsettled.map(|log| async move {
            if self.clock.now() >= deadline {
                return;
            }
            if let Err(error) = self.settle_log(log).await {
                tracing::warn!(topic = %log.name, %error, "a segment keeps its preallocated rest");
            }
        });
        run_all(settles, self.options.segment_writers).await;
    }
}

fn log_checkpoint<D: Disk>(log: &Log<D>) -> LogCheckpoint {
    let state = log.state.borrow();
    let segments = &state.segments;
    LogCheckpoint {
        slot: log.slot,
        key: log.key,
        name: log.name.to_string(),
        home: state.home,
        term: state.term,
        vote: state.vote,
        side: state.side.clone(),
        log_start_offset: state.log_start_offset,
        segments_end_offset: state.segments_end_offset,
        marked_end_offset: state.marked_end_offset,
        closed: segments.closed.iter().map(Into::into).collect(),
        active: segments.active.as_ref().map(|active| {
            let tail = (state.segments_end_position, active.max_timestamp());
            (active.base_offset(), tail.0, tail.1)
        }),
        halted: state.failure.is_some(),
        producers: encode_producers(&state.producers, state.log_end_offset),
    }
}
