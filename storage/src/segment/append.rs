//! Appending whole batches with aligned writes.
//!
//! What it is        copy into a staging buffer behind the kept partial last block, write, publish
//!                   the new end.
//! What it is not    a decision about when to write: write-back and the large-append path of the
//!                   partition log decide.
//! Invariants        1. one write in flight per segment. 2. the end moves only after the last write
//!                   of an append.
//!                   3. what an append that failed may have left behind the end is cut before the
//!                   next write.
//!                   4. the last block is rewritten with the same bytes in front, never with fewer.
//! Source            design §4; prototype: copy into aligned staging with the tail block kept.

use bytes::Bytes;
use kafka_lite::record_batch::{BatchHeader, field};

use crate::aligned_buffer::AlignedBuffer;
use crate::disk::{Disk, DiskError, Resize};
use crate::limits::{PREALLOCATION_BYTES_MAX, PREALLOCATION_BYTES_MIN, SEGMENT_BYTES_MAX};
use crate::segment::error::SegmentError;
use crate::segment::{Durability, Segment};

/// Where an append went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Position of the first appended batch.
    pub start_position: u32,
    /// Position after the last one.
    pub end_position: u32,
}

impl<D: Disk> Segment<D> {
    /// Appends whole batches whose base offsets and leader epochs are already patched.
    ///
    /// The pieces, one after the other, form the batches: a batch may be split over pieces (a
    /// patched header and the body as it came) and a piece may hold many. The bytes are copied
    /// once. Waits for a write in flight on this segment and for a staging buffer.
    ///
    /// With [`Durability::OnWrite`] everything up to the returned end is on stable storage when
    /// this completes.
    ///
    /// # Errors
    /// [`SegmentError::Disk`] with [`DiskError::Full`]: nothing was appended, the segment stays
    /// usable. Any other disk error poisons the segment. [`SegmentError::NoRoom`] and
    /// [`SegmentError::Refused`] before anything is written.
    pub async fn append(
        &self,
        pieces: &[Bytes],
        durability: Durability,
    ) -> Result<Appended, SegmentError> {
        let _turn = self.writing.acquire().await;
        self.check_usable()?;
        let start = self.end_position();
        let end = self.check_batches(pieces, start)?;
        self.cut_leftover(start).await?;
        self.reserve(end).await?;
        let file = self.writer(durability).await?;
        let written = self.write_pieces(&file, start, pieces).await;
        if let Err(error) = written {
            self.note_failed_write(&error);
            return Err(error.into());
        }
        self.publish(pieces, start, end);
        match durability {
            Durability::OnWrite if self.state.borrow().durable_position == start => {
                self.state.borrow_mut().durable_position = end;
            }
            Durability::OnWrite => self.sync_writes().await?,
            Durability::OnSync => {}
        }
        Ok(Appended {
            start_position: start,
            end_position: end,
        })
    }

    /// Makes every finished append durable.
    ///
    /// # Errors
    /// [`SegmentError::Disk`]; the segment is then poisoned and never synced again.
    /// [`SegmentError::Poisoned`].
    pub async fn sync(&self) -> Result<(), SegmentError> {
        let _turn = self.writing.acquire().await;
        self.check_usable()?;
        if self.state.borrow().durable_position == self.end_position() {
            return Ok(());
        }
        self.sync_writes().await
    }

    pub(super) async fn sync_writes(&self) -> Result<(), SegmentError> {
        let end = self.end_position();
        let file = self.writer(Durability::OnSync).await?;
        if let Err(error) = self.store.disk().sync(&file).await {
            self.state.borrow_mut().poisoned = true;
            return Err(error.into());
        }
        self.state.borrow_mut().durable_position = end;
        Ok(())
    }

    /// Checks that the pieces are whole batches with rising offsets that fit; returns the end after
    /// them.
    fn check_batches(&self, pieces: &[Bytes], start: u32) -> Result<u32, SegmentError> {
        let mut cursor = PieceCursor::new(pieces);
        let mut next_offset = self.next_offset();
        let mut end = u64::from(start);
        while let Some(header) = cursor.next_batch() {
            let header = header.map_err(|got| self.refused("whole record batches", got))?;
            let fits =
                i32::try_from(header.last_offset().saturating_sub(self.base_offset())).is_ok();
            if header.base_offset < next_offset || header.last_offset_delta < 0 {
                let expected = format!("offset {next_offset} or later");
                return Err(self.refused(&expected, format!("offset {}", header.base_offset)));
            }
            end += header.size_bytes as u64;
            if !fits || end > u64::from(SEGMENT_BYTES_MAX) {
                return Err(SegmentError::NoRoom {
                    file: self.path(),
                    bytes: end - u64::from(start),
                });
            }
            next_offset = header.next_offset();
        }
        u32::try_from(end).map_err(|_| self.refused("a smaller append", end.to_string()))
    }

    fn refused(&self, expected: &str, got: String) -> SegmentError {
        SegmentError::Refused {
            file: self.path(),
            expected: expected.to_owned(),
            got,
        }
    }

    /// Cuts what a failed append or a torn tail left behind `end`, so that no old batch can ever
    /// follow a new one.
    async fn cut_leftover(&self, end: u32) -> Result<(), SegmentError> {
        if !self.state.borrow().leftover {
            return Ok(());
        }
        self.set_length(end).await?;
        self.state.borrow_mut().leftover = false;
        Ok(())
    }

    /// Sets the length of the file and gives the preallocated rest back to the budget.
    pub(super) async fn set_length(&self, length: u32) -> Result<(), SegmentError> {
        let file = self.writer(Durability::OnSync).await?;
        let resize = Resize::SetLength(u64::from(length));
        if let Err(error) = self.store.disk().resize(&file, resize).await {
            self.state.borrow_mut().poisoned = true;
            return Err(error.into());
        }
        let mut state = self.state.borrow_mut();
        let given_back = state.reserved_bytes.saturating_sub(u64::from(length));
        self.store.budget().give_back(given_back);
        state.reserved_bytes -= given_back;
        Ok(())
    }

    /// Sees to it that blocks up to `end` are reserved: doubling steps, or exactly what is needed
    /// when space is short and when it comes out of the reserve.
    async fn reserve(&self, end: u32) -> Result<(), SegmentError> {
        let block = u64::from(self.store.disk().alignment_bytes());
        let needed = u64::from(end).next_multiple_of(block);
        let reserved = self.state.borrow().reserved_bytes;
        if needed <= reserved {
            return Ok(());
        }
        let step = reserved.clamp(
            u64::from(PREALLOCATION_BYTES_MIN),
            u64::from(PREALLOCATION_BYTES_MAX),
        );
        let limit = u64::from(self.options.segment_bytes).next_multiple_of(block);
        let wanted = (reserved + step).min(limit).max(needed);
        let mut result = self.reserve_exactly(reserved, wanted, false).await;
        if matches!(result, Err(DiskError::Full { .. })) && wanted > needed {
            result = self.reserve_exactly(reserved, needed, false).await;
        }
        if matches!(result, Err(DiskError::Full { .. })) && self.uses_reserve.get() {
            result = self.reserve_exactly(reserved, needed, true).await;
        }
        Ok(result?)
    }

    async fn reserve_exactly(
        &self,
        reserved: u64,
        wanted: u64,
        from_reserve: bool,
    ) -> Result<(), DiskError> {
        let (budget, bytes) = (self.store.budget(), wanted - reserved);
        let is_taken = budget.take(bytes) || from_reserve && budget.take_from_reserve(bytes);
        if !is_taken {
            return Err(DiskError::Full {
                shortage: budget.shortage(bytes),
                operation: "reserve",
                path: self.path(),
            });
        }
        let result = match self.writer(Durability::OnSync).await {
            Ok(file) => {
                self.store
                    .disk()
                    .resize(&file, Resize::Reserve(wanted))
                    .await
            }
            Err(error) => Err(error),
        };
        match result {
            Ok(()) => self.state.borrow_mut().reserved_bytes = wanted,
            Err(_) => self.store.budget().give_back(wanted - reserved),
        }
        result
    }

    async fn write_pieces(
        &self,
        file: &D::File,
        start: u32,
        pieces: &[Bytes],
    ) -> Result<(), DiskError> {
        let block = self.store.disk().alignment_bytes();
        let tail = self.tail_block(start).await?;
        let (mut buffer, permit) = self.store.staging().take().await;
        buffer.extend_from_slice(&tail);
        let mut position = u64::from(start & !(block - 1));
        for piece in pieces {
            let mut rest: &[u8] = piece;
            while !rest.is_empty() {
                let (now, later) = rest.split_at(rest.len().min(buffer.remaining()));
                buffer.extend_from_slice(now);
                rest = later;
                if buffer.remaining() == 0 {
                    let written = buffer.len() as u64;
                    buffer = self.write(file, position, buffer).await?;
                    buffer.clear();
                    position += written;
                }
            }
        }
        let tail_bytes = buffer.len() & (block as usize - 1);
        let tail_start = buffer.len() - tail_bytes;
        let tail = buffer
            .as_slice()
            .get(tail_start..)
            .unwrap_or_default()
            .to_vec();
        if !buffer.is_empty() {
            buffer.pad_to(block as usize);
            buffer = self.write(file, position, buffer).await?;
        }
        self.store.staging().give_back(buffer, permit);
        self.state.borrow_mut().tail = Some(tail);
        Ok(())
    }

    async fn write(
        &self,
        file: &D::File,
        position: u64,
        buffer: AlignedBuffer,
    ) -> Result<AlignedBuffer, DiskError> {
        let (result, buffer) = self.store.disk().write(file, position, buffer).await;
        result.map(|()| buffer)
    }

    /// Bytes of the last, partly filled block before `end`: kept, or read back after an open or a
    /// rest.
    async fn tail_block(&self, end: u32) -> Result<Vec<u8>, DiskError> {
        let block = self.store.disk().alignment_bytes();
        let length = (end & (block - 1)) as usize;
        if length == 0 {
            return Ok(Vec::new());
        }
        if let Some(tail) = self.state.borrow_mut().tail.take()
            && tail.len() == length
        {
            return Ok(tail);
        }
        let file = self.writer(Durability::OnSync).await?;
        let buffer = AlignedBuffer::with_capacity(block as usize);
        let start = u64::from(end & !(block - 1));
        let (result, buffer) = self.store.disk().read(&file, start, buffer, block).await;
        let got = result?;
        buffer
            .as_slice()
            .get(..length)
            .map(<[u8]>::to_vec)
            .ok_or_else(|| DiskError::Io {
                operation: "read the last block of",
                path: self.path(),
                reason: format!("{got} bytes where {length} were written"),
            })
    }

    fn note_failed_write(&self, error: &DiskError) {
        let mut state = self.state.borrow_mut();
        state.leftover = true;
        state.tail = None;
        state.poisoned |= !matches!(error, DiskError::Full { .. });
    }

    fn publish(&self, pieces: &[Bytes], start: u32, end: u32) {
        let mut state = self.state.borrow_mut();
        let mut index = self.index.borrow_mut();
        let mut cursor = PieceCursor::new(pieces);
        let mut position = start;
        while let Some(Ok(header)) = cursor.next_batch() {
            index.note_batch(position, &header);
            state.note_batch(&header);
            position = super::source::after(position, &header);
        }
        assert!(
            position == end,
            "the batches written are the batches checked"
        );
        state.end_position = end;
    }
}

/// Walks batches over a list of pieces without joining them.
struct PieceCursor<'a> {
    pieces: &'a [Bytes],
    within: usize,
}

impl<'a> PieceCursor<'a> {
    fn new(pieces: &'a [Bytes]) -> Self {
        let mut cursor = Self { pieces, within: 0 };
        cursor.advance(0);
        cursor
    }

    /// Header of the next batch; `None` at the end; an error in words when the bytes are not whole
    /// batches.
    fn next_batch(&mut self) -> Option<Result<BatchHeader, String>> {
        if self.pieces.is_empty() {
            return None;
        }
        let mut bytes = [0_u8; field::HEADER_BYTES];
        let mut filled = 0_usize;
        let mut within = self.within;
        for piece in self.pieces {
            let rest = piece.get(within..).unwrap_or_default();
            let count = rest.len().min(bytes.len() - filled);
            if let (Some(target), Some(source)) =
                (bytes.get_mut(filled..filled + count), rest.get(..count))
            {
                target.copy_from_slice(source);
            }
            filled += count;
            within = 0;
            if filled == bytes.len() {
                break;
            }
        }
        let header = BatchHeader::decode(bytes.get(..filled).unwrap_or_default());
        Some(match header {
            Ok(header) if self.advance(header.size_bytes) => Ok(header),
            Ok(header) => Err(format!(
                "a batch of {} bytes that is cut",
                header.size_bytes
            )),
            Err(error) => Err(error.to_string()),
        })
    }

    /// Skips `bytes` and any empty pieces; false when there are not as many.
    fn advance(&mut self, bytes: usize) -> bool {
        let Some(mut within) = self.within.checked_add(bytes) else {
            return false;
        };
        while let Some((first, rest)) = self.pieces.split_first() {
            if within < first.len() {
                break;
            }
            within -= first.len();
            self.pieces = rest;
        }
        self.within = within;
        within == 0 || !self.pieces.is_empty()
    }
}
