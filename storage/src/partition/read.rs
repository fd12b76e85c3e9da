//! Reading a log: batches from an offset, offsets by timestamp.
//!
//! What it is        append buffer first, then cache, then segments.
//! What it is not    a bound by the high watermark: the caller brings it.
//! Invariants        1. what is returned is whole batches without gap, but for what compaction
//!                   removed. 2. an offset below the log's end gives a record or an error.
//! Source            Kafka Fetch, ListOffsets.

use bytes::Bytes;
use kafka_lite::record_batch::{BatchView, TimestampedOffset, first_record_at_or_after};

use crate::disk::{Clock, Disk, DiskError};
use crate::error::Corrupt;
use crate::errors::{AppendError, ReadError};
use crate::limits;
use crate::partition::segments::Readable;
use crate::partition::{LogRead, PartitionLog};
use crate::read_points::ReadPoint;
use crate::segment::{BatchWish, ReadBatches, SegmentError, SegmentReader, decompress_limits};

/// Where a record is.
enum Place<D: Disk> {
    Buffer,
    Segment(Readable<D>),
    End,
}

/// What a segment gave.
enum Segmented {
    Found(Bytes, i64),
    /// Nothing at or behind the offset.
    Nothing,
    /// The first batch is larger than what was asked for.
    TooLarge,
    /// Compaction has put another segment in its place.
    Replaced,
}

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
        let read = self.read_on(offset, end_offset, max_bytes, at_least_one);
        Ok(read.await?.pieces)
    }

    /// As [`PartitionLog::read`], and tells where to go on.
    ///
    /// # Errors
    /// Those of [`PartitionLog::read`].
    pub async fn read_on(
        &self,
        offset: i64,
        end_offset: i64,
        max_bytes: usize,
        at_least_one: bool,
    ) -> Result<LogRead, ReadError> {
        let mut found = LogRead::default();
        let (mut next, mut left, mut forced) = (offset, max_bytes, at_least_one);
        self.check_range(offset)?;
        while next < end_offset && (left > 0 || forced) {
            let readable = match self.place_of(next)? {
                Place::Buffer => {
                    let state = self.log.state.borrow();
                    let range = (next, end_offset);
                    state.buffer.read(range, left, forced, &mut found.pieces);
                    found.next_offset = None;
                    break;
                }
                Place::End => break,
                Place::Segment(readable) => readable,
            };
            let read = self.read_segment(&readable, (next, end_offset), left, forced);
            let (bytes, after) = match read.await? {
                Segmented::Found(bytes, after) => (bytes, after),
                Segmented::TooLarge => break,
                Segmented::Replaced => continue,
                // Nothing at or behind the offset in this segment: compaction emptied its end.
                Segmented::Nothing => {
                    self.check_emptied(&readable, next, end_offset)?;
                    next = readable.next_offset().max(next);
                    continue;
                }
            };
            if bytes.len() > left && !forced {
                break;
            }
            left = left.saturating_sub(bytes.len());
            forced = false;
            next = after;
            found.next_offset = Some(after);
            found.pieces.push(bytes);
        }
        Ok(found)
    }

    /// Where the record at `offset` is. Offsets below the end that neither a segment nor the buffer
    /// has are gone: whoever waits for them must be told.
    fn place_of(&self, offset: i64) -> Result<Place<D>, ReadError> {
        self.check_range(offset)?;
        let missing = {
            let state = self.log.state.borrow();
            let is_buffered = state.buffer.start_offset().is_some_and(|at| offset >= at);
            if is_buffered {
                return Ok(Place::Buffer);
            }
            if offset >= state.log_end_offset {
                return Ok(Place::End);
            }
            if let Some(readable) = state.segments.find(offset) {
                return Ok(Place::Segment(readable));
            }
            match &state.failure {
                Some(AppendError::Closed) => return Ok(Place::End),
                Some(AppendError::Poisoned(error)) => return Err(error.clone().into()),
                Some(AppendError::Halted(damage)) => return Err(damage.clone().into()),
                Some(AppendError::NoRoom | AppendError::DiskFull | AppendError::Malformed(_))
                | None => Corrupt {
                    file: self.log.directory().to_string(),
                    position: 0,
                    expected: format!("records up to offset {}", state.log_end_offset),
                    got: format!("no segment with offset {offset}"),
                },
            }
        };
        self.shared.halt_log(&self.log, missing.clone());
        Err(missing.into())
    }

    /// Compaction keeps the last batch of what it rewrites: a segment that claims the end of the
    /// log and has nothing from `offset` on is damaged; whoever reads there would wait for ever.
    fn check_emptied(
        &self,
        readable: &Readable<D>,
        offset: i64,
        end_offset: i64,
    ) -> Result<(), ReadError> {
        let (after, log_end) = (readable.next_offset(), self.log_end_offset());
        if after < log_end || end_offset < log_end {
            return Ok(());
        }
        let missing = Corrupt {
            file: self.log.directory().to_string(),
            position: 0,
            expected: format!("records up to offset {log_end}"),
            got: format!("a segment that has none from offset {offset} on"),
        };
        self.shared.halt_log(&self.log, missing.clone());
        Err(missing.into())
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

    /// Batches of one segment or of the cache, and the offset after them.
    async fn read_segment(
        &self,
        readable: &Readable<D>,
        (offset, end_offset): (i64, i64),
        max_bytes: usize,
        at_least_one: bool,
    ) -> Result<Segmented, ReadError> {
        if let Some((bytes, after)) = self.read_cache(offset, end_offset, max_bytes) {
            return Ok(Segmented::Found(bytes, after));
        }
        let bytes_max = u32::try_from(max_bytes.max(1)).unwrap_or(u32::MAX);
        let bytes_max = bytes_max.min(limits::READ_BYTES_MAX);
        let mut wish = BatchWish {
            at_least_one,
            ..BatchWish::new(offset, bytes_max, end_offset)
        };
        if self.starts_with_too_much(readable, &mut wish) {
            return Ok(Segmented::TooLarge);
        }
        let changes = self.shared.read_points.borrow().changes();
        let Some(reader) = self.reader(readable).await? else {
            return Ok(Segmented::Replaced);
        };
        let read = reader.read_batches(wish).await;
        let Some(batches) = self.checked(read)? else {
            return Ok(Segmented::Nothing);
        };
        self.remember(readable, &batches, changes);
        if batches.bytes.is_empty() {
            return Ok(Segmented::TooLarge);
        }
        Ok(Segmented::Found(batches.bytes, batches.next_offset))
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
