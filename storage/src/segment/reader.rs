//! Reading a segment, active or closed: ranges, batches from an offset, lookups by offset and
//! timestamp.
//!
//! What it is        one direct read for the usual fetch: index, read, walk to the batch in memory.
//! What it is not    a checker of CRCs (the consumer does, and `scrub`), nor a cache.
//! Invariants        1. a batch returned is whole. 2. nothing behind the end given at creation is
//!                   read.
//! Source            Kafka 4.3 `LogSegment.read`, `FileRecords.searchForTimestamp`.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;
use kafka_lite::record_batch::{
    BatchHeader, BatchReadError, BatchView, DecompressLimits, TimestampedOffset,
    first_record_at_or_after, max_timestamp_record,
};

use crate::disk::Disk;
use crate::index::SegmentIndex;
use crate::limits::{DECOMPRESSED_BATCH_BYTES_MAX, SEARCH_WINDOW_BYTES};
use crate::segment::error::SegmentError;
use crate::segment::source::{Source, Window, after};

/// Whole batches from a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadBatches {
    /// The batches, verbatim, at least one. The memory is a little larger than the length
    /// (alignment).
    pub bytes: Bytes,
    /// Position of the first batch in the file.
    pub position: u32,
    /// Base offset of the first batch; at most the offset asked for, unless compaction removed
    /// that.
    pub base_offset: i64,
    /// Offset after the last batch returned, exclusive: where the next read starts.
    pub next_offset: i64,
}

/// A view of a segment up to the end that it had when the view was made.
pub struct SegmentReader<D: Disk> {
    source: Source<D>,
    end_position: u32,
    index: Rc<RefCell<SegmentIndex>>,
}

impl<D: Disk> SegmentReader<D> {
    pub(crate) fn new(
        source: Source<D>,
        end_position: u32,
        index: Rc<RefCell<SegmentIndex>>,
    ) -> Self {
        Self {
            source,
            end_position,
            index,
        }
    }

    /// Bytes of the segment that can be read.
    pub fn end_position(&self) -> u32 {
        self.end_position
    }

    /// Reads up to `bytes_max` bytes from `position`, whatever they are; fewer only at the end.
    ///
    /// # Errors
    /// [`SegmentError::Disk`]; [`SegmentError::Corrupt`] when the file is shorter than the segment.
    pub async fn read(&self, position: u32, bytes_max: u32) -> Result<Bytes, SegmentError> {
        let start = position.min(self.end_position);
        let end = start.saturating_add(bytes_max).min(self.end_position);
        if start == end {
            return Ok(Bytes::new());
        }
        self.source.read_range(start, end).await
    }

    /// Reads whole batches from the one that holds `offset` (or the first behind a compaction gap).
    ///
    /// `bytes_max` bounds the result, but the first batch comes however large it is (Kafka's "at
    /// least one message"). No batch at or behind `end_offset` (exclusive: high watermark or last
    /// stable offset) is returned. `None` when no such batch is in this segment: go on with the
    /// next one.
    ///
    /// # Errors
    /// [`SegmentError::Disk`]; [`SegmentError::Corrupt`] when headers do not parse.
    pub async fn read_batches(
        &self,
        offset: i64,
        bytes_max: u32,
        end_offset: i64,
    ) -> Result<Option<ReadBatches>, SegmentError> {
        let mut from = self.index.borrow().lookup(offset);
        while from < self.end_position {
            let bytes = self
                .read(from, bytes_max.saturating_add(SEARCH_WINDOW_BYTES))
                .await?;
            match self.skip_to(&bytes, from, offset)? {
                Skipped::Found(start, header) => {
                    if header.base_offset >= end_offset {
                        return Ok(None);
                    }
                    return self
                        .take_batches(bytes, from, start, bytes_max, end_offset)
                        .await;
                }
                Skipped::Beyond(position) => from = position,
            }
        }
        Ok(None)
    }

    /// Position and header of the batch that holds `offset`, or of the first one behind it; `None`
    /// behind the last batch.
    ///
    /// # Errors
    /// [`SegmentError::Disk`]; [`SegmentError::Corrupt`].
    pub async fn lookup(&self, offset: i64) -> Result<Option<(u32, BatchHeader)>, SegmentError> {
        let mut position = self.index.borrow().lookup(offset);
        let mut window = self.source.window(SEARCH_WINDOW_BYTES);
        while let Some(header) = window.header_at(position, self.end_position).await? {
            if header.last_offset() >= offset {
                return Ok(Some((position, header)));
            }
            position = after(position, &header);
        }
        Ok(None)
    }

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
        let mut position = {
            let index = self.index.borrow();
            index
                .lookup_timestamp(timestamp)
                .max(index.lookup(offset_min))
        };
        let mut window = self.source.window(SEARCH_WINDOW_BYTES);
        let mut scratch = Vec::new();
        while let Some(header) = window.header_at(position, self.end_position).await? {
            let end = after(position, &header);
            if header.max_timestamp >= timestamp && header.last_offset() >= offset_min {
                let bytes = self.source.read_range(position, end).await?;
                let limits = decompress_limits();
                let found = BatchView::new(&bytes)
                    .map_err(BatchReadError::Batch)
                    .and_then(|batch| {
                        first_record_at_or_after(
                            &batch,
                            timestamp,
                            offset_min,
                            &limits,
                            &mut scratch,
                        )
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

    /// The record with the largest timestamp of the segment, the first one if several have it;
    /// `None` without records.
    ///
    /// # Errors
    /// [`SegmentError::Disk`]; [`SegmentError::Corrupt`].
    pub async fn lookup_max_timestamp(&self) -> Result<Option<TimestampedOffset>, SegmentError> {
        let largest = {
            let index = self.index.borrow();
            index
                .largest()
                .map(|entry| index.base_offset + i64::from(entry.relative_offset))
        };
        let Some(offset) = largest else {
            return Ok(None);
        };
        let Some((position, header)) = self.lookup(offset).await? else {
            return Ok(None);
        };
        let bytes = self
            .source
            .read_range(position, after(position, &header))
            .await?;
        let found = BatchView::new(&bytes)
            .map_err(BatchReadError::Batch)
            .and_then(|batch| max_timestamp_record(&batch, &decompress_limits(), &mut Vec::new()));
        Ok(found.unwrap_or_else(|_| Some(whole_batch(&header, header.base_offset))))
    }

    /// Size of the batch at `position`, which lies inside the segment.
    pub(crate) async fn batch_size_at(&self, position: u32) -> Result<u32, SegmentError> {
        let mut window = self.source.window(SEARCH_WINDOW_BYTES);
        let header = window.header_at(position, self.end_position).await?;
        let size = header.map_or(0, |header| header.size_bytes);
        Ok(u32::try_from(size).unwrap_or(u32::MAX))
    }

    pub(crate) fn corrupt(&self, position: u32, expected: &str, got: String) -> SegmentError {
        self.source.corrupt(position, expected, got)
    }

    /// A window that slides over the file of this segment.
    pub(crate) fn window(&self, capacity_bytes: u32) -> Window<D> {
        self.source.window(capacity_bytes)
    }

    fn skip_to(&self, bytes: &Bytes, from: u32, offset: i64) -> Result<Skipped, SegmentError> {
        let mut at = 0_usize;
        loop {
            let position = offset_position(from, at);
            let rest = bytes.get(at..).unwrap_or_default();
            let header = match BatchHeader::decode(rest) {
                Ok(header) => header,
                Err(_) if at > 0 && position < self.end_position && is_cut(rest) => {
                    return Ok(Skipped::Beyond(position));
                }
                Err(_) if rest.is_empty() => return Ok(Skipped::Beyond(position)),
                Err(error) => {
                    let expected = "a record batch header";
                    return Err(self.source.corrupt(position, expected, error.to_string()));
                }
            };
            if after(position, &header) > self.end_position {
                let expected = "a batch that ends inside the segment";
                let got = format!("{} bytes", header.size_bytes);
                return Err(self.source.corrupt(position, expected, got));
            }
            if header.last_offset() >= offset {
                return Ok(Skipped::Found(at, header));
            }
            at += header.size_bytes;
        }
    }

    async fn take_batches(
        &self,
        bytes: Bytes,
        from: u32,
        start: usize,
        bytes_max: u32,
        end_offset: i64,
    ) -> Result<Option<ReadBatches>, SegmentError> {
        let position = offset_position(from, start);
        let mut taken = WholeBatches::take(bytes.get(start..), bytes_max as usize, end_offset);
        if taken.length > 0 {
            let bytes = bytes.slice(start..start + taken.length);
            return Ok(Some(taken.into_read(bytes, position)));
        }
        let end = position
            .saturating_add(taken.first_size_bytes)
            .min(self.end_position);
        let bytes = self.source.read_range(position, end).await?;
        taken = WholeBatches::take(Some(&bytes), 0, end_offset);
        Ok((taken.length > 0).then(|| taken.into_read(bytes, position)))
    }
}

impl<D: Disk> std::fmt::Debug for SegmentReader<D> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut debug = formatter.debug_struct("SegmentReader");
        debug
            .field("path", &self.source.path())
            .field("end_position", &self.end_position)
            .finish()
    }
}

enum Skipped {
    /// Index into the bytes of the batch that was looked for.
    Found(usize, BatchHeader),
    /// The bytes ended first; the next batch starts at this position.
    Beyond(u32),
}

/// How many whole batches a slice starts with, under two bounds.
#[derive(Debug, Default)]
pub(crate) struct WholeBatches {
    /// Bytes of the whole batches.
    pub(crate) length: usize,
    /// Size of the first batch, whole or not.
    pub(crate) first_size_bytes: u32,
    pub(crate) base_offset: i64,
    pub(crate) next_offset: i64,
}

impl WholeBatches {
    /// Counts batches below `end_offset` whose sum stays within `bytes_max`; the first may be
    /// larger.
    pub(crate) fn take(bytes: Option<&[u8]>, bytes_max: usize, end_offset: i64) -> Self {
        let bytes = bytes.unwrap_or_default();
        let mut taken = Self::default();
        while let Ok(header) = BatchHeader::decode(bytes.get(taken.length..).unwrap_or_default()) {
            if taken.first_size_bytes == 0 {
                taken.first_size_bytes = u32::try_from(header.size_bytes).unwrap_or(u32::MAX);
                taken.base_offset = header.base_offset;
            }
            let length = taken.length.saturating_add(header.size_bytes);
            let too_much = length > bytes_max && taken.length > 0;
            if length > bytes.len() || too_much || header.base_offset >= end_offset {
                break;
            }
            taken.length = length;
            taken.next_offset = header.next_offset();
        }
        taken
    }

    /// Bytes of the batches in front of the one that holds `offset`.
    pub(crate) fn before(bytes: &[u8], offset: i64) -> usize {
        let mut length = 0_usize;
        while let Ok(header) = BatchHeader::decode(bytes.get(length..).unwrap_or_default()) {
            if header.last_offset() >= offset {
                break;
            }
            length = length.saturating_add(header.size_bytes);
        }
        length.min(bytes.len())
    }

    fn into_read(self, bytes: Bytes, position: u32) -> ReadBatches {
        ReadBatches {
            bytes,
            position,
            base_offset: self.base_offset,
            next_offset: self.next_offset,
        }
    }
}

/// Bound of decompression for lookups and compaction.
pub(crate) fn decompress_limits() -> DecompressLimits {
    DecompressLimits {
        output_bytes_max: DECOMPRESSED_BATCH_BYTES_MAX,
        ..DecompressLimits::default()
    }
}

fn whole_batch(header: &BatchHeader, offset_min: i64) -> TimestampedOffset {
    TimestampedOffset {
        offset: header.base_offset.max(offset_min),
        timestamp: header.max_timestamp,
    }
}

fn offset_position(from: u32, at: usize) -> u32 {
    u32::try_from(at).map_or(u32::MAX, |at| from.saturating_add(at))
}

fn is_cut(rest: &[u8]) -> bool {
    rest.len() < kafka_lite::record_batch::field::HEADER_BYTES
}
