//! Finding the end of a segment after a crash.
//!
//! What it is        a streaming walk over the tail: header, CRC, offset and leader epoch of each
//!                   batch; stops at the first that does not fit and says why.
//! What it is not    a repair: nothing is cut here, the partition log decides with the journal.
//! Invariants        1. memory is one window, whatever a length field says. 2. a batch is reported
//!                   only if its CRC is right and it follows the one before. 3. the segment's end
//!                   is the end of the last batch reported.
//! Source            design §4 "Recovery"; KIP-101 for the leader epoch rule.

use kafka_lite::record_batch::{BatchHeader, field};

use crate::disk::{Disk, DiskError};
use crate::limits::{SCAN_WINDOW_BYTES, SEGMENT_BYTES_MAX};
use crate::segment::Segment;
use crate::segment::error::SegmentError;
use crate::segment::source::{Source, Window, after};

/// Why a tail scan stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TailStop {
    /// The file ends behind the last batch.
    EndOfFile,
    /// Zeros follow: the preallocated rest.
    Zeroes,
    /// A header that is none, or a batch that is longer than the file.
    Torn,
    /// A batch whose content is not what its CRC says.
    BadCrc,
    /// A sound batch with another offset than the next one.
    OffsetGap,
    /// A sound batch with a smaller leader epoch than the one before.
    EpochWentBack,
}

/// Where a tail scan starts and what it expects there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TailScanStart {
    /// First byte to look at; a batch starts here or nothing does.
    pub position: u32,
    /// Base offset of the batch there.
    pub expected_offset: i64,
    /// Smallest leader epoch of a batch there.
    pub leader_epoch_min: i32,
}

/// What a tail scan found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TailScan {
    /// Position after the last batch that fits.
    pub valid_end: u32,
    /// Offset after it.
    pub next_offset: i64,
    /// Leader epoch of the last batch that fits, or the one given at the start.
    pub leader_epoch: i32,
    /// Why it stopped.
    pub stop: TailStop,
}

impl<D: Disk> Segment<D> {
    /// Walks the batches behind the end that [`Segment::open`] was given and takes each that fits
    /// into the segment.
    ///
    /// `on_batch` gets position and header of each, in order. Afterwards the segment ends at
    /// [`TailScan::valid_end`]; the rest of the file is cut before the next append. To give up
    /// more, call [`Segment::truncate`].
    ///
    /// # Errors
    /// [`SegmentError::Disk`].
    pub async fn scan_tail(
        &self,
        leader_epoch_min: i32,
        mut on_batch: impl FnMut(u32, &BatchHeader),
    ) -> Result<TailScan, SegmentError> {
        let _turn = self.writing.acquire().await;
        self.check_usable()?;
        let start = TailScanStart {
            position: self.end_position(),
            expected_offset: self.next_offset(),
            leader_epoch_min,
        };
        let source = self.source().await?;
        let scan = scan_source(&source, start, |position, header| {
            self.index.borrow_mut().note_batch(position, header);
            let mut state = self.state.borrow_mut();
            state.note_batch(header);
            state.end_position = after(position, header);
            drop(state);
            on_batch(position, header);
        })
        .await?;
        let mut state = self.state.borrow_mut();
        state.tail = None;
        state.leftover = scan.stop != TailStop::EndOfFile;
        Ok(scan)
    }
}

/// The scan itself, over any file of batches.
pub(crate) async fn scan_source<D: Disk>(
    source: &Source<D>,
    start: TailScanStart,
    mut on_batch: impl FnMut(u32, &BatchHeader),
) -> Result<TailScan, DiskError> {
    let mut window = source.window(SCAN_WINDOW_BYTES);
    let mut scan = TailScan {
        valid_end: start.position,
        next_offset: start.expected_offset,
        leader_epoch: start.leader_epoch_min,
        stop: TailStop::EndOfFile,
    };
    loop {
        match next_batch(&mut window, &scan, source.base_offset).await? {
            Ok(header) => {
                on_batch(scan.valid_end, &header);
                scan.valid_end = after(scan.valid_end, &header);
                scan.next_offset = header.next_offset();
                scan.leader_epoch = header.partition_leader_epoch;
            }
            Err(stop) => {
                scan.stop = stop;
                return Ok(scan);
            }
        }
    }
}

async fn next_batch<D: Disk>(
    window: &mut Window<D>,
    scan: &TailScan,
    base_offset: i64,
) -> Result<Result<BatchHeader, TailStop>, DiskError> {
    let position = u64::from(scan.valid_end);
    let bytes = window.at(position, field::HEADER_BYTES).await?;
    let start = bytes.get(..field::HEADER_BYTES).unwrap_or(bytes);
    if start.iter().all(|byte| *byte == 0) {
        let stop = if start.is_empty() {
            TailStop::EndOfFile
        } else {
            TailStop::Zeroes
        };
        return Ok(Err(stop));
    }
    let Ok(header) = BatchHeader::decode(start) else {
        return Ok(Err(TailStop::Torn));
    };
    let end = position + header.size_bytes as u64;
    if end > u64::from(SEGMENT_BYTES_MAX) {
        return Ok(Err(TailStop::Torn));
    }
    match crc_of_range(window, position + field::CRC_START as u64, end).await? {
        None => return Ok(Err(TailStop::Torn)),
        Some(crc) if crc != header.crc => return Ok(Err(TailStop::BadCrc)),
        Some(_) => {}
    }
    Ok(check_order(&header, scan, base_offset).map(|()| header))
}

fn check_order(header: &BatchHeader, scan: &TailScan, base_offset: i64) -> Result<(), TailStop> {
    let fits_index = i32::try_from(header.last_offset().saturating_sub(base_offset)).is_ok();
    if header.base_offset != scan.next_offset || header.last_offset_delta < 0 || !fits_index {
        return Err(TailStop::OffsetGap);
    }
    if header.partition_leader_epoch < scan.leader_epoch {
        return Err(TailStop::EpochWentBack);
    }
    Ok(())
}

/// CRC-32C of a byte range, read through the window; `None` when the file ends first.
pub(crate) async fn crc_of_range<D: Disk>(
    window: &mut Window<D>,
    start: u64,
    end: u64,
) -> Result<Option<u32>, DiskError> {
    let (mut position, mut crc) = (start, 0_u32);
    while position < end {
        let bytes = window.at(position, 1).await?;
        let wanted = usize::try_from(end - position).unwrap_or(usize::MAX);
        let bytes = bytes.get(..wanted.min(bytes.len())).unwrap_or_default();
        if bytes.is_empty() {
            return Ok(None);
        }
        crc = crc32c::crc32c_append(crc, bytes);
        position += bytes.len() as u64;
    }
    Ok(Some(crc))
}
