//! Reading a log: batches from an offset, offsets by timestamp.
//!
//! What it is        append buffer first, then cache, then segments.
//! What it is not    a bound by the high watermark: the caller brings it.
//! Invariants        1. what is returned is whole batches without gap, but for what compaction
//!                   removed.
//! Source            Kafka Fetch, ListOffsets.

use bytes::Bytes;
use kafka_lite::record_batch::{BatchView, TimestampedOffset, first_record_at_or_after};

use crate::disk::{Clock, Disk, DiskError};
use crate::errors::ReadError;
use crate::limits;
use crate::partition::PartitionLog;
use crate::partition::segments::Readable;
use crate::read_points::ReadPoint;
use crate::segment::{BatchWish, ReadBatches, SegmentError, SegmentReader, decompress_limits};

impl<D: Disk, C: Clock> PartitionLog<D, C> {
    /// Reads whole batches from the one that holds `offset`, below `end_offset` (exclusive), up to
    /// `max_bytes`; the first one whatever its size if `at_least_one`. The pieces, one after the
    /// other, are the batches.
    ///
    /// # Errors
    /// [`ReadError::OutOfRange`] when `offset` is below the log start offset or above the log end
    /// offset; [`ReadError::Disk`]; [`ReadError::Corrupt`] halts the log.
    pub async fn read(
        &self,
        offset: i64,
        end_offset: i64,
        max_bytes: usize,
        at_least_one: bool,
    ) -> Result<Vec<Bytes>, ReadError> {
        let mut pieces = Vec::new();
        let (mut next, mut left, mut forced) = (offset, max_bytes, at_least_one);
        self.check_range(offset)?;
        while next < end_offset && (left > 0 || forced) {
            let buffered = {
                let state = self.log.state.borrow();
                let in_buffer = state
                    .buffer
                    .start_offset()
                    .is_some_and(|start| next >= start);
                if in_buffer {
                    state
                        .buffer
                        .read((next, end_offset), left, forced, &mut pieces);
                }
                in_buffer || next >= state.log_end_offset
            };
            if buffered {
                break;
            }
            let Some((bytes, after)) = self.read_segment(next, end_offset, left, forced).await?
            else {
                break;
            };
            if bytes.is_empty() || bytes.len() > left && !forced {
                break;
            }
            left = left.saturating_sub(bytes.len());
            forced = false;
            next = after;
            pieces.push(bytes);
        }
        Ok(pieces)
    }

    fn check_range(&self, offset: i64) -> Result<(), ReadError> {
        let state = self.log.state.borrow();
        if offset < state.log_start_offset || offset > state.log_end_offset {
            return Err(ReadError::OutOfRange {
                offset,
                start: state.log_start_offset,
                end: state.log_end_offset,
            });
        }
        Ok(())
    }

    /// Batches of one segment or of the cache, and the offset after them; empty when the first one
    /// is too large.
    async fn read_segment(
        &self,
        offset: i64,
        end_offset: i64,
        max_bytes: usize,
        at_least_one: bool,
    ) -> Result<Option<(Bytes, i64)>, ReadError> {
        if let Some(found) = self.read_cache(offset, end_offset, max_bytes) {
            return Ok(Some(found));
        }
        let bytes_max = u32::try_from(max_bytes.max(1)).unwrap_or(u32::MAX);
        let bytes_max = bytes_max.min(limits::READ_BYTES_MAX);
        let mut wish = BatchWish {
            at_least_one,
            ..BatchWish::new(offset, bytes_max, end_offset)
        };
        loop {
            let found = self.log.state.borrow().segments.find(wish.offset);
            let Some(readable) = found else {
                return Ok(None);
            };
            if self.starts_with_too_much(&readable, &mut wish) {
                return Ok(Some((Bytes::new(), wish.offset)));
            }
            let changes = self.shared.read_points.borrow().changes();
            let Some(reader) = self.reader(&readable).await? else {
                continue;
            };
            let read = reader.read_batches(wish).await;
            if let Some(batches) = self.checked(read)? {
                self.remember(&readable, &batches, changes);
                return Ok(Some((batches.bytes, batches.next_offset)));
            }
            // Nothing at or behind the offset in this segment: compaction emptied its end.
            let after = readable.next_offset();
            if after <= wish.offset || after >= end_offset {
                return Ok(None);
            }
            wish.offset = after;
            wish.position = None;
        }
    }

    /// Looks up where an earlier read ended; whether the batch there is known to be too large.
    fn starts_with_too_much(&self, readable: &Readable<D>, wish: &mut BatchWish) -> bool {
        let mut points = self.shared.read_points.borrow_mut();
        let point = points.find(self.log.slot, wish.offset);
        let base_offset = readable.base_offset();
        let Some(point) = point.filter(|point| point.segment_base_offset == base_offset) else {
            return false;
        };
        wish.position = Some(point.position);
        let is_too_much = point.batch_bytes > wish.bytes_max;
        if is_too_much && wish.at_least_one {
            // One read instead of two.
            wish.bytes_max = point.batch_bytes;
        }
        is_too_much && !wish.at_least_one
    }

    /// Keeps what was read for others, and where the next read begins, unless positions have
    /// changed since the read began.
    fn remember(&self, readable: &Readable<D>, batches: &ReadBatches, changes: u64) {
        let mut points = self.shared.read_points.borrow_mut();
        if points.changes() != changes {
            return;
        }
        let length = u32::try_from(batches.bytes.len()).unwrap_or(u32::MAX);
        let point = ReadPoint {
            segment_base_offset: readable.base_offset(),
            position: batches.position.saturating_add(length),
            batch_bytes: batches.next_batch_bytes,
        };
        let (slot, after) = (self.log.slot, batches.next_offset);
        points.note(slot, after, point);
        let bytes = batches.bytes.clone();
        let mut cache = self.shared.cache.borrow_mut();
        cache.insert(slot, batches.base_offset, after, bytes);
    }

    fn read_cache(&self, offset: i64, end_offset: i64, max_bytes: usize) -> Option<(Bytes, i64)> {
        let mut cache = self.shared.cache.borrow_mut();
        let found = cache.read(self.log.slot, offset, max_bytes.max(1), end_offset)?;
        // One part at a time: the caller's loop asks for the next.
        let first = found.parts.into_iter().next()?;
        let mut rest: &[u8] = &first;
        let mut after = found.base_offset;
        while let Ok(header) = kafka_lite::record_batch::BatchHeader::decode(rest) {
            after = header.next_offset();
            rest = rest.get(header.size_bytes..).unwrap_or_default();
        }
        (after > offset).then_some((first, after))
    }

    /// A reader; `None` when compaction has replaced the segment meanwhile.
    async fn reader(&self, readable: &Readable<D>) -> Result<Option<SegmentReader<D>>, ReadError> {
        let made = match readable {
            Readable::Closed(closed) => {
                let store = &self.shared.store;
                store.reader(self.log.directory(), closed).await
            }
            Readable::Active(active) => active.reader().await,
        };
        match made {
            Err(SegmentError::Replaced) => Ok(None),
            other => self.checked(other).map(Some),
        }
    }

    /// Turns a segment's error into the caller's; damage halts the log.
    fn checked<T>(&self, result: Result<T, SegmentError>) -> Result<T, ReadError> {
        result.map_err(|error| match error {
            SegmentError::Corrupt(damage) => {
                self.shared.halt_log(&self.log, damage.clone());
                ReadError::Corrupt(damage)
            }
            SegmentError::Disk(error) => ReadError::Disk(error),
            SegmentError::Replaced => ReadError::Disk(refused(String::new())),
            SegmentError::Poisoned { file }
            | SegmentError::NoRoom { file, .. }
            | SegmentError::Refused { file, .. } => ReadError::Disk(refused(file)),
        })
    }

    /// First record with at least `timestamp` (ms since 1970) below `end_offset` (exclusive): the
    /// answer of ListOffsets.
    ///
    /// # Errors
    /// [`ReadError::Disk`]; [`ReadError::Corrupt`] halts the log.
    pub async fn offset_for_timestamp(
        &self,
        timestamp: i64,
        end_offset: i64,
    ) -> Result<Option<TimestampedOffset>, ReadError> {
        let start = self.log_start_offset();
        let mut next = start;
        loop {
            let found = self.log.state.borrow().segments.find(next);
            let Some(segment) = found else { break };
            let too_old = segment.max_timestamp().is_some_and(|max| max < timestamp);
            if too_old {
                next = segment.next_offset();
                continue;
            }
            let Some(reader) = self.reader(&segment).await? else {
                continue;
            };
            let found = self.checked(reader.lookup_timestamp(timestamp, start).await)?;
            if let Some(found) = found {
                return Ok((found.offset < end_offset).then_some(found));
            }
            next = segment.next_offset();
        }
        let found = self.buffered_at_or_after(timestamp, start);
        Ok(found.filter(|found| found.offset < end_offset))
    }

    fn buffered_at_or_after(&self, timestamp: i64, start: i64) -> Option<TimestampedOffset> {
        let state = self.log.state.borrow();
        let mut scratch = Vec::new();
        for batch in state.buffer.iter() {
            if batch.max_timestamp < timestamp || batch.last_offset < start {
                continue;
            }
            let whole = batch.contiguous();
            let Ok(view) = BatchView::new(&whole) else {
                continue;
            };
            let limits = decompress_limits();
            match first_record_at_or_after(&view, timestamp, start, &limits, &mut scratch) {
                Ok(Some(found)) => return Some(found),
                Ok(None) => {}
                // Records that cannot be read answer for the whole batch.
                Err(_) => {
                    return Some(TimestampedOffset {
                        offset: batch.base_offset.max(start),
                        timestamp: batch.max_timestamp,
                    });
                }
            }
        }
        None
    }
}

fn refused(path: String) -> DiskError {
    DiskError::Io {
        operation: "read",
        path,
        reason: "the segment refuses".to_owned(),
    }
}
