//! What housekeeping asks of one log: close a segment, settle an idle one, read it again.
//!
//! What it is not    the decision when (`retention`, the owner's timers).
//! Invariants        1. nothing here changes a record or an offset.

use std::rc::Rc;

use crate::disk::{Clock, Disk};
use crate::engine::EngineState;
use crate::errors::ChangeError;
use crate::partition::PartitionLog;
use crate::partition::state::Log;
use crate::scrub::{ScrubCursor, ScrubStep, scrub_step};
use crate::segment::{Durability, SegmentError};

impl<D: Disk, C: Clock> PartitionLog<D, C> {
    /// Writes the append buffer back and closes the active segment (`segment.ms`, retention of an
    /// idle log).
    ///
    /// # Errors
    /// [`ChangeError`]; the log stays as it is, or stops when its files are in doubt.
    pub async fn roll(&self) -> Result<(), ChangeError> {
        self.write_back().await?;
        let _turn = self.log.gate.enter().await;
        Ok(self.shared.roll_active(&self.log).await?)
    }

    /// Closes the active segment as it is; what is in the append buffer goes into the next one. It
    /// takes no space, so that it can be done when there is none.
    ///
    /// # Errors
    /// [`ChangeError`]; the log stays as it is, or stops when its files are in doubt.
    pub async fn close_segment(&self) -> Result<(), ChangeError> {
        let _turn = self.log.gate.enter().await;
        Ok(self.shared.roll_active(&self.log).await?)
    }

    /// Leaves the files of an idle log as other programs read them: everything is in segments, the
    /// preallocated rest is given back, the indexes are written. Returns whether there was anything
    /// to do. Appends may follow.
    ///
    /// # Errors
    /// [`ChangeError`]; a log whose files are in doubt has stopped.
    pub async fn settle(&self) -> Result<bool, ChangeError> {
        if !self.shared.is_unsettled(&self.log) {
            return Ok(false);
        }
        self.write_back().await?;
        self.shared.settle_log(&self.log).await?;
        Ok(true)
    }

    /// Writes the append buffer to segments, durably.
    ///
    /// # Errors
    /// [`ChangeError`]; what was not written stays in the buffer.
    pub async fn write_back(&self) -> Result<(), ChangeError> {
        let shared = &self.shared;
        {
            let mut state = self.log.state.borrow_mut();
            state.write_goal = state.log_end_offset;
        }
        shared.write_log(&self.log, Durability::OnSync).await?;
        Ok(shared.sync_log(&self.log).await?)
    }

    /// Reads the next bytes of a closed segment again; `None` when there is no such segment any
    /// more. Damage halts the log.
    ///
    /// # Errors
    /// [`ChangeError::Corrupt`], [`ChangeError::Disk`].
    pub async fn scrub_step(
        &self,
        base_offset: i64,
        cursor: ScrubCursor,
        bytes_max: u32,
    ) -> Result<Option<ScrubStep>, ChangeError> {
        let segment = {
            let state = self.log.state.borrow();
            let mut closed = state.segments.closed.iter();
            closed
                .find(|segment| segment.base_offset == base_offset)
                .copied()
        };
        let Some(segment) = segment else {
            return Ok(None);
        };
        let store = &self.shared.store;
        match scrub_step(store, self.log.directory(), &segment, cursor, bytes_max).await {
            Ok(step) => Ok(Some(step)),
            Err(SegmentError::Replaced) => Ok(None),
            Err(error) => {
                // What was removed or compacted while it was read is no damage.
                let is_listed = self.log.state.borrow().segments.closed.contains(&segment);
                if !is_listed {
                    return Ok(None);
                }
                if let SegmentError::Corrupt(damage) = &error {
                    self.shared.halt_log(&self.log, damage.clone());
                }
                Err(error.into())
            }
        }
    }
}

impl<D: Disk, C: Clock> EngineState<D, C> {
    /// Whether something was written to the log's files since they were last settled.
    pub(crate) fn is_unsettled(&self, log: &Log<D>) -> bool {
        let state = log.state.borrow();
        state.failure.is_none() && state.settled_end_offset != Some(state.log_end_offset)
    }

    /// Settles the active segment of a log whose append buffer is written back.
    ///
    /// # Errors
    /// The failure of the segment, which has stopped the log unless the disk is full.
    pub(crate) async fn settle_log(&self, log: &Rc<Log<D>>) -> Result<(), SegmentError> {
        let _turn = log.gate.enter().await;
        let (active, end_offset) = {
            let state = log.state.borrow();
            let active = state.segments.active.as_ref().map(Rc::clone);
            (active, state.written_end_offset)
        };
        if let Some(active) = active {
            active.settle().await?;
            active.rest();
        }
        log.state.borrow_mut().settled_end_offset = Some(end_offset);
        Ok(())
    }
}
