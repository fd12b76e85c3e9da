//! Reading a segment, active or closed: ranges, batches from an offset, lookups by offset.
//!
//! What it is        one direct read for the usual fetch: index, read, walk to the batch in memory.
//! What it is not    a checker of CRCs (the consumer does, and `scrub`), nor a cache; lookups by
//!                   timestamp stand in `timestamps.rs`.
//! Invariants        1. a batch returned is whole. 2. nothing behind the end given at creation is
//!                   read. 3. offsets rise and stay inside the segment: they lie outside the CRC,
//!                   so a header that breaks this is damage, not a reason to return nothing.
//! Source            Kafka 4.3 `LogSegment.read`.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;
use kafka_lite::record_batch::{BatchHeader, DecompressLimits};

use crate::disk::Disk;
use crate::index::{OffsetEntry, SegmentIndex};
use crate::limits::{
    DECOMPRESSED_BATCH_BYTES_MAX, READ_EXACT_BYTES_MIN, READ_OWNED_BYTES_MAX, SEARCH_WINDOW_BYTES,
};
use crate::segment::error::SegmentError;
use crate::segment::index_file::note_batches;
use crate::segment::source::{Source, Window, after};

/// Whole batches from a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadBatches {
    /// The batches, verbatim. The memory is a little larger than the length (alignment). Empty only
    /// when the first one does not fit and need not come.
    pub bytes: Bytes,
    /// Position of the first batch in the file.
    pub position: u32,
    /// Base offset of the first batch; at most the offset asked for, unless compaction removed
    /// that.
    pub base_offset: i64,
    /// Offset after the last batch returned, exclusive: where the next read starts.
    pub next_offset: i64,
    /// Size of the batch that follows, in bytes; 0 when it was not seen.
    pub next_batch_bytes: u32,
}

/// What to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchWish {
    /// A record of the first batch.
    pub offset: i64,
    /// No batch at or behind it (exclusive: high watermark or last stable offset).
    pub end_offset: i64,
    /// Bound of the result in bytes.
    pub bytes_max: u32,
    /// The first batch comes however large it is (Kafka's "at least one message").
    pub at_least_one: bool,
    /// Where the batch of `offset` begins, when an earlier read has told; must be right.
    pub position: Option<u32>,
}

impl BatchWish {
    /// At least one batch from the one that holds `offset`, below `end_offset` (exclusive).
    pub fn new(offset: i64, bytes_max: u32, end_offset: i64) -> Self {
        Self {
            offset,
            end_offset,
            bytes_max,
            at_least_one: true,
            position: None,
        }
    }
}

/// A view of a segment up to the end that it had when the view was made.
pub struct SegmentReader<D: Disk> {
    pub(super) source: Source<D>,
    pub(super) end_position: u32,
    /// Offset after the last batch before `end_position`.
    next_offset: i64,
    pub(super) index: Rc<RefCell<SegmentIndex>>,
}

impl<D: Disk> SegmentReader<D> {
    /// A view of the bytes before `end_position`, whose offsets are below `next_offset`.
    pub(crate) fn new(
        source: Source<D>,
        (end_position, next_offset): (u32, i64),
        index: Rc<RefCell<SegmentIndex>>,
    ) -> Self {
        Self {
            source,
            end_position,
            next_offset,
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

    /// Reads whole batches from the one that holds the offset (or the first behind a compaction
    /// gap).
    ///
    /// `None` when no such batch is in this segment: go on with the next one.
    ///
    /// # Errors
    /// [`SegmentError::Disk`]; [`SegmentError::Corrupt`] when headers do not parse.
    pub async fn read_batches(&self, wish: BatchWish) -> Result<Option<ReadBatches>, SegmentError> {
        loop {
            match self.try_read_batches(wish).await {
                Err(WalkError::BadIndex) => self.rebuild_index().await?,
                Err(WalkError::Segment(error)) => return Err(error),
                Ok(found) => return Ok(found),
            }
        }
    }

    /// Position and header of the batch that holds `offset`, or of the first one behind it; `None`
    /// behind the last batch.
    ///
    /// # Errors
    /// [`SegmentError::Disk`]; [`SegmentError::Corrupt`].
    pub async fn lookup(&self, offset: i64) -> Result<Option<(u32, BatchHeader)>, SegmentError> {
        loop {
            match self.try_lookup(offset).await {
                Err(WalkError::BadIndex) => self.rebuild_index().await?,
                Err(WalkError::Segment(error)) => return Err(error),
                Ok(found) => return Ok(found),
            }
        }
    }

    async fn try_read_batches(&self, wish: BatchWish) -> Result<Option<ReadBatches>, WalkError> {
        if let Some(position) = wish.position {
            return Ok(self.read_exactly(position, wish).await?);
        }
        if wish.bytes_max >= READ_EXACT_BYTES_MIN {
            let Some((position, _header)) = self.try_lookup(wish.offset).await? else {
                return Ok(None);
            };
            return Ok(self.read_exactly(position, wish).await?);
        }
        let entry = self.index.borrow().lookup(wish.offset);
        let mut from = entry.map_or(0, |entry| entry.position);
        let read_max = wish.bytes_max.saturating_add(SEARCH_WINDOW_BYTES);
        while from < self.end_position {
            let bytes = self.read(from, read_max).await?;
            if let Some(entry) = entry.filter(|entry| entry.position == from) {
                self.check_entry(entry, BatchHeader::decode(&bytes).ok())?;
            }
            match self.skip_to(&bytes, from, (wish.offset, self.source.base_offset))? {
                Skipped::Found(start) => {
                    return Ok(self.take_batches(bytes, from, start, wish).await?);
                }
                Skipped::Beyond(position) => from = position,
            }
        }
        Ok(None)
    }

    /// Reads from a position where a batch begins.
    async fn read_exactly(
        &self,
        position: u32,
        wish: BatchWish,
    ) -> Result<Option<ReadBatches>, SegmentError> {
        if position >= self.end_position {
            return Ok(None);
        }
        let bytes_max = wish.bytes_max.max(SEARCH_WINDOW_BYTES);
        let bytes = self.read(position, bytes_max).await?;
        // Where an earlier read ended nothing older can stand.
        let known = wish.position.map(|_| wish.offset);
        let offset_min = known.unwrap_or(self.source.base_offset);
        match self.skip_to(&bytes, position, (wish.offset, offset_min))? {
            Skipped::Found(start) => self.take_batches(bytes, position, start, wish).await,
            Skipped::Beyond(_) => Ok(None),
        }
    }

    async fn try_lookup(&self, offset: i64) -> Result<Option<(u32, BatchHeader)>, WalkError> {
        let entry = self.index.borrow().lookup(offset);
        let mut window = self.source.window(SEARCH_WINDOW_BYTES);
        let mut position = self.start_at(&mut window, entry).await?;
        let mut offset_min = self.source.base_offset;
        while let Some(header) = window.header_at(position, self.end_position).await? {
            self.check_offsets(position, &header, offset_min)?;
            if header.last_offset() >= offset {
                return Ok(Some((position, header)));
            }
            offset_min = header.next_offset();
            position = after(position, &header);
        }
        Ok(None)
    }

    /// Position of an index entry's batch, once the batch there agrees; the start without an entry.
    pub(super) async fn start_at(
        &self,
        window: &mut Window<D>,
        entry: Option<OffsetEntry>,
    ) -> Result<u32, WalkError> {
        let Some(entry) = entry else {
            return Ok(0);
        };
        if entry.position >= self.end_position {
            // Appended after this reader was made.
            return Ok(self.end_position);
        }
        match window.header_at(entry.position, self.end_position).await {
            Ok(header) => self.check_entry(entry, header)?,
            Err(SegmentError::Corrupt(_)) => return Err(WalkError::BadIndex),
            Err(error) => return Err(error.into()),
        }
        Ok(entry.position)
    }

    /// The index files have no checksum: an entry counts only if its batch ends with its offset.
    fn check_entry(
        &self,
        entry: OffsetEntry,
        header: Option<BatchHeader>,
    ) -> Result<(), WalkError> {
        let expected = self.source.base_offset + i64::from(entry.relative_offset);
        match header {
            Some(header) if header.last_offset() == expected => Ok(()),
            _ => Err(WalkError::BadIndex),
        }
    }

    /// Walks the whole log for a new index; a log whose headers do not lead to its end is damaged.
    pub(super) async fn rebuild_index(&self) -> Result<(), SegmentError> {
        tracing::warn!(
            segment = self.source.path(),
            "the index is wrong and is rebuilt"
        );
        let rebuilt = self.walk_index().await?;
        self.index
            .borrow_mut()
            .replace_before(self.end_position, rebuilt);
        Ok(())
    }

    pub(super) async fn walk_index(&self) -> Result<SegmentIndex, SegmentError> {
        let interval = self.index.borrow().interval_bytes();
        let mut walked = SegmentIndex::new(self.source.base_offset, interval);
        note_batches(&self.source, &mut walked, 0, self.end_position).await?;
        Ok(walked)
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

    /// Offsets must rise and stay inside the segment; compaction leaves gaps, so more cannot be
    /// asked.
    pub(crate) fn check_offsets(
        &self,
        position: u32,
        header: &BatchHeader,
        offset_min: i64,
    ) -> Result<(), SegmentError> {
        let is_sound = header.base_offset >= offset_min
            && header.last_offset_delta >= 0
            && header.last_offset() < self.next_offset;
        if is_sound {
            return Ok(());
        }
        let expected = format!("offsets from {offset_min} below {}", self.next_offset);
        let got = format!("offsets {} to {}", header.base_offset, header.last_offset());
        Err(self.source.corrupt(position, &expected, got))
    }

    fn skip_to(
        &self,
        bytes: &Bytes,
        from: u32,
        (offset, mut offset_min): (i64, i64),
    ) -> Result<Skipped, SegmentError> {
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
            self.check_offsets(position, &header, offset_min)?;
            if header.last_offset() >= offset {
                return Ok(Skipped::Found(at));
            }
            offset_min = header.next_offset();
            at += header.size_bytes;
        }
    }

    async fn take_batches(
        &self,
        bytes: Bytes,
        from: u32,
        start: usize,
        wish: BatchWish,
    ) -> Result<Option<ReadBatches>, SegmentError> {
        let position = offset_position(from, start);
        let found = bytes.get(start..);
        let end_offset = wish.end_offset.min(self.next_offset);
        let taken = WholeBatches::take(found, wish.bytes_max as usize, end_offset);
        if taken.base_offset >= wish.end_offset {
            return Ok(None);
        }
        let fits = taken.length > 0 && taken.length <= wish.bytes_max as usize;
        if fits || taken.length > 0 && wish.at_least_one {
            let bytes = owned(bytes.slice(start..start + taken.length));
            return Ok(Some(taken.into_read(bytes, position)));
        }
        if !wish.at_least_one {
            return Ok(Some(taken.into_nothing(position)));
        }
        let end = position
            .saturating_add(taken.first_size_bytes)
            .min(self.end_position);
        let bytes = self.source.read_range(position, end).await?;
        let taken = WholeBatches::take(Some(&bytes), 0, wish.end_offset);
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

/// Why a walk stopped before it found anything.
pub(super) enum WalkError {
    /// An index entry does not agree with the log: rebuild the index and walk again.
    BadIndex,
    Segment(SegmentError),
}

impl From<SegmentError> for WalkError {
    fn from(error: SegmentError) -> Self {
        Self::Segment(error)
    }
}

enum Skipped {
    /// Index into the bytes of the batch that was looked for.
    Found(usize),
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
    /// Size of the batch behind them, 0 when its header is not there.
    next_batch_bytes: u32,
}

impl WholeBatches {
    /// Counts batches below `end_offset` whose offsets rise and whose sum stays within `bytes_max`;
    /// the first may be larger.
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
            // Only damage goes back; whoever asks for the next offset is told of it.
            let goes_back = header.base_offset < taken.next_offset && taken.length > 0;
            let is_beyond = header.base_offset >= end_offset;
            if length > bytes.len() || too_much || is_beyond || goes_back {
                taken.next_batch_bytes = u32::try_from(header.size_bytes).unwrap_or(u32::MAX);
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
            next_batch_bytes: self.next_batch_bytes,
        }
    }

    /// The first batch is too large to come.
    fn into_nothing(self, position: u32) -> ReadBatches {
        ReadBatches {
            bytes: Bytes::new(),
            position,
            base_offset: self.base_offset,
            next_offset: self.base_offset,
            next_batch_bytes: self.first_size_bytes,
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

/// A short piece gets memory of its own: what it was cut from is aligned and some KiB longer, and a
/// fetch of thousands of partitions holds thousands of pieces.
fn owned(piece: Bytes) -> Bytes {
    if piece.len() < READ_OWNED_BYTES_MAX {
        return Bytes::copy_from_slice(&piece);
    }
    piece
}

fn offset_position(from: u32, at: usize) -> u32 {
    u32::try_from(at).map_or(u32::MAX, |at| from.saturating_add(at))
}

fn is_cut(rest: &[u8]) -> bool {
    rest.len() < kafka_lite::record_batch::field::HEADER_BYTES
}
