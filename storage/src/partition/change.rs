//! Changes of a log other than appends: cut its end, move its start, delete it.
//!
//! Invariants        1. a cut is durable in the journal before the segments are cut, and its
//!                   execution
//!                   is durable before anything is appended again. 2. the log start is durable
//!                   before
//!                   files go. 3. only files that are ours are removed.
//! Source            Raft §5.3 (conflicts), Kafka DeleteRecords, DeleteTopics;
//!                   docs/formats/journal.md.

use std::rc::Rc;

use crate::disk::{Clock, Disk, DiskError};
use crate::errors::ChangeError;
use crate::journal::format::JournalEntry;
use crate::partition::PartitionLog;
use crate::partition::segments::Readable;
use crate::segment::{ClosedSegment, Segment, SegmentError, SegmentOptions, parse_file_name};

/// The segments of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentFacts {
    /// Closed segments, oldest first.
    pub closed: Vec<ClosedSegment>,
    /// The segment that is written to, as if it were closed now.
    pub active: Option<ClosedSegment>,
    /// Bytes in the append buffer.
    pub buffered_bytes: u64,
    /// Largest timestamp in the append buffer, ms since 1970.
    pub buffered_max_timestamp: Option<i64>,
}

impl SegmentFacts {
    /// Bytes that are stored from `offset` (inclusive) on, of a log that ends at `end_offset`
    /// (exclusive). Inside a segment by the share of its offsets.
    pub fn bytes_from(&self, offset: i64, end_offset: i64) -> u64 {
        let segments = || self.closed.iter().chain(&self.active);
        let buffer_start = segments().last().map_or(offset, |last| last.next_offset);
        let parts = segments()
            .map(|one| (one.base_offset, one.next_offset, u64::from(one.size_bytes)))
            .chain([(buffer_start, end_offset, self.buffered_bytes)]);
        let of_part = |(start, end, bytes): (i64, i64, u64)| {
            let all = u64::try_from(end.saturating_sub(start)).unwrap_or(0);
            let wanted = u64::try_from(end.saturating_sub(offset.max(start))).unwrap_or(0);
            let share = u128::from(bytes) * u128::from(wanted);
            let share = share.checked_div(u128::from(all)).unwrap_or(0);
            u64::try_from(share).unwrap_or(u64::MAX)
        };
        parts.map(of_part).sum()
    }
}

impl From<SegmentError> for ChangeError {
    fn from(error: SegmentError) -> Self {
        match error {
            SegmentError::Disk(error) => Self::Disk(error),
            SegmentError::Corrupt(damage) => Self::Corrupt(damage),
            SegmentError::Poisoned { .. }
            | SegmentError::Replaced
            | SegmentError::NoRoom { .. }
            | SegmentError::Refused { .. } => Self::Closed,
        }
    }
}

impl<D: Disk, C: Clock> PartitionLog<D, C> {
    /// Removes the entries at `from_index` and above; durable when it returns. Nothing is appended
    /// meanwhile (the caller's duty). A batch that `from_index` lies inside goes as a whole.
    ///
    /// # Errors
    /// [`ChangeError`]; the log is then stopped, recovery finishes the cut.
    pub async fn truncate_from(&self, from_index: u64) -> Result<(), ChangeError> {
        // No checkpoint sees a log that is half cut.
        let _no_checkpoint = self.shared.write_back_gate.enter().await;
        let _turn = self.log.gate.enter().await;
        if from_index >= self.next_index() {
            return Ok(());
        }
        let end_offset = self.boundary(from_index).await?;
        let from_index = {
            let mut state = self.log.state.borrow_mut();
            let first_record = state.side.index_of_offset(end_offset);
            let from_index = from_index.min(first_record);
            let freed = state.buffer.truncate_from(end_offset);
            state.side.truncate_from(from_index);
            state.durable.truncate_from(from_index);
            state.log_end_offset = state.log_end_offset.min(end_offset);
            state.segments_end_offset = state.segments_end_offset.min(end_offset);
            state.marked_end_offset = state.marked_end_offset.min(end_offset);
            state.written_end_offset = state.written_end_offset.min(end_offset);
            state.write_goal = state.write_goal.min(end_offset);
            self.shared.remove_buffered(freed);
            self.shared.update_dirty(self.log.slot, &mut state);
            self.truncate_producers(&mut state, end_offset);
            from_index
        };
        self.shared
            .cache
            .borrow_mut()
            .truncate(self.log.slot, end_offset);
        self.shared.read_points.borrow_mut().forget(self.log.slot);
        self.journal_and_wait(&JournalEntry::Truncate {
            from_index,
            end_offset,
        })
        .await?;
        self.cut_segments(end_offset).await?;
        self.journal_and_wait(&JournalEntry::TruncateDone { from_index })
            .await?;
        Ok(())
    }

    /// The offset where a cut at `index` falls: the start of the batch that holds it.
    async fn boundary(&self, index: u64) -> Result<i64, ChangeError> {
        let found = {
            let state = self.log.state.borrow();
            let offset = state.side.offset_of_index(index);
            if let Some(base) = state.buffer.base_of(offset) {
                return Ok(base);
            }
            (offset, state.segments.find(offset))
        };
        let (offset, Some(readable)) = found else {
            return Ok(found.0);
        };
        let reader = match &readable {
            Readable::Closed(closed) => {
                let store = &self.shared.store;
                store.reader(self.log.directory(), closed).await?
            }
            Readable::Active(active) => active.reader().await?,
        };
        let batch = reader.lookup(offset).await?;
        Ok(batch.map_or(offset, |(_, header)| header.base_offset.min(offset)))
    }

    async fn journal_and_wait(&self, entry: &JournalEntry<'_>) -> Result<(), ChangeError> {
        let journal = &self.shared.journal;
        let number = match journal.add(self.log.slot, entry, None, true) {
            Ok(number) => number,
            Err(_) => journal.open_number(),
        };
        Ok(journal.wait_released(number).await?)
    }

    /// Cuts the segments at a batch boundary. The caller holds the gate.
    pub(crate) async fn cut_segments(&self, end_offset: i64) -> Result<(), ChangeError> {
        loop {
            let last = self
                .log
                .state
                .borrow()
                .segments
                .active
                .as_ref()
                .map(Rc::clone);
            let Some(active) = last else {
                if !self.reopen_last(end_offset) {
                    return Ok(());
                }
                continue;
            };
            if active.base_offset() >= end_offset && active.end_position() > 0 {
                active.remove().await?;
                self.log.state.borrow_mut().segments.active = None;
                continue;
            }
            let reader = active.reader().await?;
            if let Some((position, header)) = reader.lookup(end_offset).await? {
                active.truncate(position, header.base_offset).await?;
            }
            let mut state = self.log.state.borrow_mut();
            state.segments_end_position = active.end_position();
            return Ok(());
        }
    }

    /// Makes the last closed segment the active one again if the cut reaches into it.
    fn reopen_last(&self, end_offset: i64) -> bool {
        let mut state = self.log.state.borrow_mut();
        let reaches = state
            .segments
            .closed
            .last()
            .is_some_and(|last| last.next_offset > end_offset);
        let Some(closed) = state.segments.closed.pop_if(|_| reaches) else {
            return false;
        };
        let options = SegmentOptions {
            segment_bytes: state.config.segment_bytes,
        };
        let segment = Segment::reopen(&self.shared.store, self.log.directory(), &closed, options);
        state.segments.active = Some(Rc::new(segment));
        true
    }

    /// Moves the log start offset up to `offset` (DeleteRecords, retention); durable when it
    /// returns.
    /// Segments that lie wholly below it are removed.
    ///
    /// # Errors
    /// [`ChangeError`]; a removal that failed is done by a later call or the next start.
    pub async fn set_log_start_offset(&self, offset: i64) -> Result<(), ChangeError> {
        let moved = {
            let mut state = self.log.state.borrow_mut();
            let offset = offset.min(state.log_end_offset);
            let moved = offset > state.log_start_offset;
            state.log_start_offset = state.log_start_offset.max(offset);
            moved
        };
        if moved {
            let offset = self.log_start_offset();
            self.journal_and_wait(&JournalEntry::LogStart { offset })
                .await?;
            self.log.state.borrow_mut().side.prune_below(offset);
        }
        self.remove_below_start().await
    }

    async fn remove_below_start(&self) -> Result<(), ChangeError> {
        let _turn = self.log.gate.enter().await;
        let gone = {
            let mut state = self.log.state.borrow_mut();
            let start = state.log_start_offset;
            state.segments.take_below(start)
        };
        for segment in gone {
            let store = &self.shared.store;
            store.remove_closed(self.log.directory(), &segment).await?;
        }
        Ok(())
    }

    /// The segments as they are now: what retention and compaction decide from.
    pub fn segments(&self) -> SegmentFacts {
        let state = self.log.state.borrow();
        SegmentFacts {
            closed: state.segments.closed.clone(),
            active: state.segments.active.as_ref().map(|active| ClosedSegment {
                base_offset: active.base_offset(),
                next_offset: active.next_offset(),
                max_timestamp: active.max_timestamp(),
                size_bytes: active.end_position(),
            }),
            buffered_bytes: state.buffer.bytes() as u64,
            buffered_max_timestamp: state.buffer.max_timestamp(),
        }
    }

    /// Removes all files of the log. The caller has made the deletion durable and holds the gate.
    pub(crate) async fn remove_files(&self) -> Result<(), DiskError> {
        let directory = self.log.directory();
        let active = self.log.state.borrow_mut().segments.active.take();
        if let Some(active) = active {
            // Gives back what it had reserved, too.
            if let Err(SegmentError::Disk(error)) = active.remove().await {
                return Err(error);
            }
        }
        let closed = std::mem::take(&mut self.log.state.borrow_mut().segments.closed);
        for segment in &closed {
            let store = &self.shared.store;
            store.forget(directory, segment.base_offset);
            store.budget().give_back(u64::from(segment.size_bytes));
        }
        remove_log_files(&self.shared.disk, directory).await
    }
}

/// Removes the files of a deleted log and its directory; what is not ours stays, and the directory
/// with
/// it.
pub(crate) async fn remove_log_files<D: Disk>(disk: &D, directory: &str) -> Result<(), DiskError> {
    let mut foreign = 0_usize;
    for entry in disk.list(directory).await? {
        if parse_file_name(&entry.name).is_none() || entry.is_directory {
            tracing::warn!(directory, name = %entry.name, "a file that is not ours stays");
            foreign += 1;
            continue;
        }
        ignore_missing(disk.remove(&format!("{directory}/{}", entry.name)).await)?;
    }
    if foreign == 0 {
        ignore_missing(disk.remove(directory).await)?;
    }
    Ok(())
}

fn ignore_missing(result: Result<(), DiskError>) -> Result<(), DiskError> {
    match result {
        Err(DiskError::NotFound { .. }) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::SegmentFacts;
    use crate::segment::ClosedSegment;

    #[test]
    fn bytes_behind_an_offset_are_told_by_segments_and_shares() {
        let segment = |base_offset, next_offset, size_bytes| ClosedSegment {
            base_offset,
            next_offset,
            max_timestamp: None,
            size_bytes,
        };
        let facts = SegmentFacts {
            closed: vec![segment(10, 20, 1000), segment(20, 30, 500)],
            active: Some(segment(30, 40, 200)),
            buffered_bytes: 90,
            buffered_max_timestamp: None,
        };
        for (offset, expected) in [
            (0, 1790),
            (10, 1790),
            (15, 1290),
            (20, 790),
            (29, 340),
            (40, 90),
            (42, 70),
            (49, 0),
            (60, 0),
        ] {
            assert_eq!(facts.bytes_from(offset, 49), expected, "{offset}");
        }
        let none = SegmentFacts {
            closed: Vec::new(),
            active: None,
            ..facts
        };
        assert_eq!((none.bytes_from(5, 8), none.bytes_from(8, 8)), (90, 0));
    }
}
