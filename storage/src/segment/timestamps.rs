//! Lookups by timestamp in a segment, exact to the record.
//!
//! What it is        the first record at or after a timestamp, and the one with the largest: the
//!                   time index says where the walk begins, the batches decide.
//! What it is not    a guess for wrong indexes: an entry that does not agree with its batch has the
//!                   index rebuilt.
//! Source            Kafka 4.3 `FileRecords.searchForTimestamp`.

use kafka_lite::record_batch::{
    BatchHeader, BatchReadError, BatchView, TimestampedOffset, first_record_at_or_after,
    max_timestamp_record,
};

use crate::disk::Disk;
use crate::index::TimeEntry;
use crate::limits::SEARCH_WINDOW_BYTES;
use crate::segment::error::SegmentError;
use crate::segment::reader::{SegmentReader, WalkError, decompress_limits};
use crate::segment::source::after;

impl<D: Disk> SegmentReader<D> {
    /// First record with at least `timestamp` (ms since 1970) and at least `offset_min`; exact to
    /// the record.
    ///
    /// A batch whose records cannot be read answers with its base offset and its max timestamp.
    ///
    /// # Errors
    /// [`SegmentError::Disk`]; [`SegmentError::Corrupt`].
    pub async fn lookup_timestamp(
        &self,
        timestamp: i64,
        offset_min: i64,
    ) -> Result<Option<TimestampedOffset>, SegmentError> {
        loop {
            match self.try_lookup_timestamp(timestamp, offset_min).await {
                Err(WalkError::BadIndex) => self.rebuild_index().await?,
                Err(WalkError::Segment(error)) => return Err(error),
                Ok(found) => return Ok(found),
            }
        }
    }

    /// The record with the largest timestamp of the segment, the first one if several have it;
    /// `None` without records.
    ///
    /// # Errors
    /// [`SegmentError::Disk`]; [`SegmentError::Corrupt`].
    pub async fn lookup_max_timestamp(&self) -> Result<Option<TimestampedOffset>, SegmentError> {
        let known = self.index.borrow().largest();
        let found = match self.batch_with(known).await? {
            Some(found) => Some(found),
            // The index is wrong, or the largest timestamp is behind this reader's end.
            None => {
                let rebuilt = self.walk_index().await?;
                self.batch_with(rebuilt.largest()).await?
            }
        };
        let Some((position, header)) = found else {
            return Ok(None);
        };
        let end = after(position, &header);
        let bytes = self.source.read_range(position, end).await?;
        let batch = BatchView::new(&bytes).map_err(BatchReadError::Batch);
        let found = batch
            .and_then(|batch| max_timestamp_record(&batch, &decompress_limits(), &mut Vec::new()));
        Ok(found.unwrap_or_else(|_| Some(whole_batch(&header, header.base_offset))))
    }

    /// The batch that a time entry names, if it has that timestamp.
    async fn batch_with(
        &self,
        time: Option<TimeEntry>,
    ) -> Result<Option<(u32, BatchHeader)>, SegmentError> {
        let Some(time) = time else {
            return Ok(None);
        };
        let offset = self.source.base_offset + i64::from(time.relative_offset);
        let found = self.lookup(offset).await?;
        Ok(found.filter(|(_, header)| {
            header.last_offset() == offset && header.max_timestamp == time.timestamp
        }))
    }

    async fn try_lookup_timestamp(
        &self,
        timestamp: i64,
        offset_min: i64,
    ) -> Result<Option<TimestampedOffset>, WalkError> {
        let (time, entry) = {
            let index = self.index.borrow();
            let time = index.lookup_timestamp(timestamp);
            let by_time = time.and_then(|time| index.offsets.lookup(time.relative_offset));
            (time, by_time.max(index.lookup(offset_min)))
        };
        let mut window = self.source.window(SEARCH_WINDOW_BYTES);
        let mut position = self.start_at(&mut window, entry).await?;
        let mut scratch = Vec::new();
        let mut next_min = self.source.base_offset;
        while let Some(header) = window.header_at(position, self.end_position).await? {
            self.check_offsets(position, &header, next_min)?;
            next_min = header.next_offset();
            self.check_time(time, &header)?;
            let end = after(position, &header);
            if header.max_timestamp >= timestamp && header.last_offset() >= offset_min {
                let bytes = self.source.read_range(position, end).await?;
                let limits = decompress_limits();
                let found = BatchView::new(&bytes).map_err(BatchReadError::Batch);
                let found = found.and_then(|batch| {
                    first_record_at_or_after(&batch, timestamp, offset_min, &limits, &mut scratch)
                });
                match found {
                    Ok(Some(found)) => return Ok(Some(found)),
                    Ok(None) => {}
                    Err(_) => return Ok(Some(whole_batch(&header, offset_min))),
                }
            }
            position = end;
        }
        Ok(None)
    }

    /// A time entry counts only if the batch it names has its timestamp.
    fn check_time(&self, time: Option<TimeEntry>, header: &BatchHeader) -> Result<(), WalkError> {
        let Some(time) = time else {
            return Ok(());
        };
        let offset = self.source.base_offset + i64::from(time.relative_offset);
        let is_it = (header.base_offset..=header.last_offset()).contains(&offset);
        let agrees = header.last_offset() == offset && header.max_timestamp == time.timestamp;
        if is_it && !agrees {
            Err(WalkError::BadIndex)
        } else {
            Ok(())
        }
    }
}

fn whole_batch(header: &BatchHeader, offset_min: i64) -> TimestampedOffset {
    TimestampedOffset {
        offset: header.base_offset.max(offset_min),
        timestamp: header.max_timestamp,
    }
}
