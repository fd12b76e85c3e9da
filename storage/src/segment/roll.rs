//! The end of a segment's active life: roll, truncate, remove.
//!
//! What it is        the operations that change the length or the set of files.
//! Invariants        1. a closed log file ends exactly after its last batch. 2. index files never
//!                   describe bytes that were cut.
//!                   3. removal deletes the log last.

use crate::disk::Disk;
use crate::segment::error::SegmentError;
use crate::segment::index_file::{note_batches, remove_index_files, write_index_files};
use crate::segment::store::remove_log_files;
use crate::segment::{ClosedSegment, Segment};

impl<D: Disk> Segment<D> {
    /// Closes the segment: cuts the preallocated rest, syncs, and writes both index files durably.
    ///
    /// Appends are refused afterwards; readers made before go on. Rolling a segment that is already
    /// closed answers again.
    ///
    /// # Errors
    /// [`SegmentError::Disk`]: the segment is poisoned when length or sync failed; when only an
    /// index file failed, call again.
    pub async fn roll(&self) -> Result<ClosedSegment, SegmentError> {
        self.ensure_index().await?;
        let _turn = self.writing.acquire().await;
        self.check_not_poisoned()?;
        if !self.state.borrow().closed {
            self.set_length(self.end_position()).await?;
            self.sync_writes().await?;
        }
        self.index.borrow_mut().note_largest_timestamp();
        let index = self.index.borrow().clone();
        write_index_files(self.store.disk(), &self.directory, &index).await?;
        let mut state = self.state.borrow_mut();
        state.closed = true;
        state.release_memory();
        drop(state);
        Ok(self.closed_facts())
    }

    /// Leaves the files as a closed segment's would be, and the segment active: the preallocated
    /// rest is cut and goes back to the budget, everything is synced, both index files are written.
    ///
    /// For a clean stop, so that the next start need not walk the segment and other programs can
    /// read it, and for partitions that have been idle for long. Appends may follow.
    ///
    /// # Errors
    /// [`SegmentError::Disk`]: the segment is poisoned when length or sync failed; a missing index
    /// file is harmless, it is rebuilt.
    pub async fn settle(&self) -> Result<(), SegmentError> {
        self.ensure_index().await?;
        let _turn = self.writing.acquire().await;
        self.check_usable()?;
        self.set_length(self.end_position()).await?;
        self.state.borrow_mut().leftover = false;
        self.sync_writes().await?;
        let index = self.index.borrow().clone();
        Ok(write_index_files(self.store.disk(), &self.directory, &index).await?)
    }

    /// Cuts the segment at `position`, which must be the start of a batch or the end; `next_offset`
    /// is the offset there.
    ///
    /// Durable when it completes. A position behind the end changes nothing.
    ///
    /// # Errors
    /// [`SegmentError::Disk`], which poisons the segment; [`SegmentError::Corrupt`] when the rest
    /// has no sound headers.
    pub async fn truncate(&self, position: u32, next_offset: i64) -> Result<(), SegmentError> {
        let _turn = self.writing.acquire().await;
        self.check_usable()?;
        if position >= self.end_position() {
            return Ok(());
        }
        remove_index_files(self.store.disk(), &self.directory, self.base_offset()).await?;
        self.set_length(position).await?;
        self.forget_behind(position, next_offset);
        self.sync_writes().await?;
        let mut index = self.index.borrow().clone();
        let known_from = self.state.borrow().indexed_from;
        let from = index
            .offsets
            .last()
            .map_or(known_from, |entry| entry.position);
        let source = self.source().await?;
        note_batches(&source, &mut index, from, position).await?;
        *self.index.borrow_mut() = index;
        Ok(())
    }

    /// Removes the files of the segment durably and gives its space back. Open readers keep
    /// reading.
    ///
    /// # Errors
    /// [`SegmentError::Disk`]; the removal may be tried again.
    pub async fn remove(&self) -> Result<(), SegmentError> {
        let _turn = self.writing.acquire().await;
        self.store.forget(&self.directory, self.base_offset());
        remove_log_files(self.store.disk(), &self.directory, self.base_offset()).await?;
        let mut state = self.state.borrow_mut();
        state.closed = true;
        state.release_memory();
        self.store.budget().give_back(state.reserved_bytes);
        state.reserved_bytes = 0;
        Ok(())
    }

    fn forget_behind(&self, position: u32, next_offset: i64) {
        let mut state = self.state.borrow_mut();
        state.end_position = position;
        state.next_offset = next_offset;
        state.durable_position = state.durable_position.min(position);
        state.indexed_from = state.indexed_from.min(position);
        state.known_max_timestamp = None;
        state.leftover = false;
        state.tail = None;
        self.index.borrow_mut().truncate(position);
    }
}
