//! Compaction of one log: the round runs beside appends and reads, each switch has its turn.
//!
//! What it is        the owner of the list of segments, as `compaction` needs it.
//! What it is not    the decision that a round is due (`plan_compaction`, asked by the owner).
//! Invariants        1. before a switch the journal says that files may differ from the checkpoint.
//!                   2. no checkpoint is taken between that entry and the new list.
//!                   3. a switch that stops halfway stops the log; the next start finishes it.

use std::cell::Cell;
use std::collections::BTreeMap;

use kafka_lite::producer::ProducerTable;

use crate::compaction::{
    AbortedTransaction, CompactionFigures, CompactionJob, CompactionPlan, CompactionRules, Pace,
    SegmentSwitch, compact_log,
};
use crate::disk::{Clock, Disk, DiskError};
use crate::errors::{AppendError, ChangeError};
use crate::journal::format::JournalEntry;
use crate::notify::GateGuard;
use crate::partition::PartitionLog;
use crate::retention::WallClock;
use crate::segment::{ClosedSegment, SegmentError};

/// What a round needs beside the log.
#[derive(Debug)]
pub struct CompactionRequest<'a> {
    /// From `plan_compaction` over [`PartitionLog::segments`].
    pub plan: CompactionPlan,
    /// The topic's configuration.
    pub rules: CompactionRules,
    /// The time of the round.
    pub clock: WallClock,
    /// Memory for the key map in bytes.
    pub map_bytes: usize,
    /// Aborted transactions that overlap the log.
    pub aborted: &'a [AbortedTransaction],
}

impl<D: Disk, C: Clock> PartitionLog<D, C> {
    /// Runs one round of compaction over the closed segments. One round of a log at a time.
    ///
    /// Appends, reads and retention go on meanwhile; a round that retention overtakes stops early.
    ///
    /// # Errors
    /// [`ChangeError::Disk`]: what was switched stays, the rest is for a later round;
    /// [`ChangeError::Corrupt`] halts the log.
    pub async fn compact(
        &self,
        request: CompactionRequest<'_>,
        pace: &mut Pace<C>,
    ) -> Result<CompactionFigures, ChangeError> {
        let active_producers = self.checkpoint_producers().await?;
        let closed = self.segments().closed;
        let job = CompactionJob {
            closed: &closed,
            plan: request.plan,
            rules: request.rules,
            clock: request.clock,
            map_bytes: request.map_bytes,
            uses_reserve: self.log.uses_reserve(),
            active_producers: &active_producers,
            aborted: request.aborted,
        };
        let turns = Turns {
            log: self,
            is_halfway: Cell::new(false),
        };
        let store = &self.shared.store;
        let result = compact_log(store, self.log.directory(), &job, pace, &turns).await;
        let error = match result {
            Ok(figures) => return Ok(figures),
            Err(error) => error,
        };
        if let SegmentError::Corrupt(damage) = &error {
            self.shared.halt_log(&self.log, damage.clone());
        } else if turns.is_halfway.get() {
            self.shared.fail_log(&self.log, halfway(&error));
        }
        Err(error.into())
    }
}

impl<D: Disk, C: Clock> PartitionLog<D, C> {
    /// The last offset of each producer. A rewritten segment no longer has every batch of a
    /// producer's window, so the window must stand in a checkpoint before.
    async fn checkpoint_producers(&self) -> Result<BTreeMap<i64, i64>, ChangeError> {
        let last_offsets = self.with_producers(|table| table.last_offsets().collect());
        if self.with_producers(ProducerTable::is_empty) {
            return Ok(last_offsets);
        }
        let _turn = self.shared.write_back_gate.enter().await;
        self.shared.checkpoint(false).await?;
        Ok(last_offsets)
    }
}

fn halfway(error: &SegmentError) -> AppendError {
    AppendError::Poisoned(DiskError::Io {
        operation: "replace segments",
        path: "by compacted ones".to_owned(),
        reason: error.to_string(),
    })
}

/// Gives each switch its turn.
struct Turns<'a, D: Disk, C: Clock> {
    log: &'a PartitionLog<D, C>,
    is_halfway: Cell<bool>,
}

impl<D: Disk, C: Clock> SegmentSwitch for Turns<'_, D, C> {
    type Turn = (GateGuard, GateGuard);

    async fn begin(
        &self,
        sources: &[ClosedSegment],
        end_offset: i64,
    ) -> Result<Option<Self::Turn>, SegmentError> {
        let checkpoints = self.log.shared.write_back_gate.enter().await;
        let segments = self.log.log.gate.enter().await;
        let is_listed = {
            let state = self.log.log.state.borrow();
            sources
                .iter()
                .all(|source| state.segments.closed.contains(source))
        };
        if !is_listed {
            return Ok(None);
        }
        let journal = &self.log.shared.journal;
        let entry = JournalEntry::Compacted { end_offset };
        let number = match journal.add(self.log.log.slot, &entry, None, true) {
            Ok(number) => number,
            Err(_) => journal.open_number(),
        };
        journal.wait_released(number).await?;
        self.is_halfway.set(true);
        Ok(Some((checkpoints, segments)))
    }

    fn finish(&self, turn: Self::Turn, sources: &[ClosedSegment], output: ClosedSegment) {
        let mut state = self.log.log.state.borrow_mut();
        let closed = &mut state.segments.closed;
        let first = sources.first().map(|source| source.base_offset);
        if let Some(at) = closed
            .iter()
            .position(|listed| Some(listed.base_offset) == first)
        {
            let end = (at + sources.len()).min(closed.len());
            closed.splice(at..end, [output]).for_each(drop);
        }
        self.is_halfway.set(false);
        drop(state);
        // Readers shall see what is on the disk now.
        self.log
            .shared
            .cache
            .borrow_mut()
            .remove_log(self.log.log.slot);
        let shared = &self.log.shared;
        shared.read_points.borrow_mut().forget(self.log.log.slot);
        drop(turn);
    }
}
