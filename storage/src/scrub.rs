//! Scrub: closed segments are read again to find damage before a reader does.
//!
//! What it is        one bounded step at a time: CRC and offset order of each batch, and that the
//!                   batches end exactly where the segment does.
//! What it is not    a repair (peers) nor a scheduler: the owner calls it at its own pace.
//! Invariants        1. a step reads little more than it was told. 2. damage is reported with file
//!                   and position. 3. a segment that compaction replaced is begun again.
//! Source            design §4 "Scrub".

use std::rc::Rc;

use kafka_lite::record_batch::field;

use crate::disk::Disk;
use crate::limits::SCAN_WINDOW_BYTES;
use crate::segment::{ClosedSegment, SegmentError, SegmentStore, crc_of_range};

/// How far a segment has been read. Start with the default; keep it between steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScrubCursor {
    position: u32,
    next_offset: i64,
    switch_count: u64,
}

impl ScrubCursor {
    /// Bytes of the segment that were found sound.
    pub fn position(&self) -> u32 {
        self.position
    }
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScrubStep {
    /// Where the next step goes on.
    pub cursor: ScrubCursor,
    /// Bytes read and found sound.
    pub bytes: u64,
    /// Batches found sound.
    pub batches: u64,
    /// The whole segment is sound.
    pub is_finished: bool,
}

/// Reads about `bytes_max` further bytes of a closed segment, at least one batch.
///
/// # Errors
/// [`SegmentError::Corrupt`]: the log halts or repairs. [`SegmentError::Replaced`]: take the
/// segment out of the list again. [`SegmentError::Disk`].
pub async fn scrub_step<D: Disk>(
    store: &SegmentStore<D>,
    directory: &Rc<str>,
    segment: &ClosedSegment,
    cursor: ScrubCursor,
    bytes_max: u32,
) -> Result<ScrubStep, SegmentError> {
    let switch_count = store.switch_count();
    let mut cursor = cursor;
    if cursor.switch_count != switch_count {
        cursor = ScrubCursor {
            switch_count,
            ..ScrubCursor::default()
        };
    }
    let reader = store.reader(directory, segment).await?;
    let mut window = reader.window(SCAN_WINDOW_BYTES);
    let start = cursor.position;
    let mut batches = 0;
    while cursor.position < segment.size_bytes
        && (batches == 0 || cursor.position - start < bytes_max)
    {
        let position = cursor.position;
        let Some(header) = window.header_at(position, segment.size_bytes).await? else {
            break;
        };
        let offsets_min = cursor.next_offset.max(segment.base_offset);
        let is_ordered = header.base_offset >= offsets_min
            && header.last_offset_delta >= 0
            && header.next_offset() <= segment.next_offset;
        if !is_ordered {
            let expected = format!("offsets from {offsets_min} below {}", segment.next_offset);
            let got = format!("offsets {} to {}", header.base_offset, header.last_offset());
            return Err(reader.corrupt(position, &expected, got));
        }
        let end = u64::from(position) + header.size_bytes as u64;
        let crc_start = u64::from(position) + field::CRC_START as u64;
        let crc = crc_of_range(&mut window, crc_start, end).await?;
        if crc != Some(header.crc) {
            let got = format!("{crc:08x?} (none is the end of the file)");
            return Err(reader.corrupt(position, &format!("CRC {:#010x}", header.crc), got));
        }
        batches += 1;
        cursor.position = u32::try_from(end).unwrap_or(u32::MAX);
        cursor.next_offset = header.next_offset();
    }
    Ok(ScrubStep {
        cursor,
        bytes: u64::from(cursor.position - start),
        batches,
        is_finished: cursor.position >= segment.size_bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::{ScrubCursor, scrub_step};
    use crate::disk_budget::DiskBudget;
    use crate::segment::{
        ClosedSegment, Durability, Segment, SegmentError, SegmentOptions, SegmentStore,
        StoreOptions,
    };
    use crate::testing::batches::{headers, plain_batch};
    use crate::testing::{MemoryDisk, block_on};
    use std::rc::Rc;

    const LOG: &str = "logs/t-0/00000000000000000100.log";

    fn written() -> (MemoryDisk, SegmentStore<MemoryDisk>, Rc<str>, ClosedSegment) {
        let disk = MemoryDisk::new();
        let options = StoreOptions::default();
        let store = SegmentStore::new(disk.clone(), DiskBudget::new(None), options);
        let directory: Rc<str> = Rc::from("logs/t-0");
        let options = SegmentOptions {
            segment_bytes: 1 << 20,
        };
        let segment = block_on(Segment::create(&store, &directory, 100, options)).unwrap();
        for number in 0..50 {
            let batch = plain_batch(100 + number * 2, 2, 5000, 1);
            block_on(segment.append(&[batch], Durability::OnSync)).unwrap();
        }
        let closed = block_on(segment.roll()).unwrap();
        (disk, store, directory, closed)
    }

    fn scrub_all(
        store: &SegmentStore<MemoryDisk>,
        directory: &Rc<str>,
        closed: &ClosedSegment,
    ) -> Result<(u64, u64), SegmentError> {
        let mut cursor = ScrubCursor::default();
        let (mut steps, mut batches) = (0, 0);
        loop {
            let step = block_on(scrub_step(store, directory, closed, cursor, 30_000))?;
            assert!(step.bytes > 0 && step.bytes < 60_000);
            cursor = step.cursor;
            steps += 1;
            batches += step.batches;
            if step.is_finished {
                return Ok((steps, batches));
            }
        }
    }

    #[test]
    fn a_sound_segment_is_read_in_bounded_steps() {
        let (_, store, directory, closed) = written();
        let (steps, batches) = scrub_all(&store, &directory, &closed).unwrap();
        assert_eq!(batches, 50);
        assert!(steps > 10);
    }

    #[test]
    fn every_flipped_bit_is_found_and_named() {
        let (disk, store, directory, closed) = written();
        let sound = disk.content(LOG).unwrap();
        let batches = headers(&sound);
        for at in (0..sound.len()).step_by(4999) {
            let mut bytes = sound.clone();
            bytes[at] ^= 0x10;
            disk.set_content(LOG, &bytes);
            store.forget(&directory, 100);
            let error = scrub_all(&store, &directory, &closed).unwrap_err();
            let SegmentError::Corrupt(corrupt) = error else {
                panic!("{error:?}");
            };
            let damaged = batches
                .iter()
                .rev()
                .find(|(start, _)| *start as usize <= at)
                .unwrap();
            assert_eq!(corrupt.file, LOG);
            assert!(
                corrupt.position >= u64::from(damaged.0),
                "{corrupt} at {at}"
            );
        }
    }
}
