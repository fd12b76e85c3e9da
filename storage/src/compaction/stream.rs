//! Batches of a closed segment one after the other, each with its CRC checked.

use bytes::Bytes;
use kafka_lite::record_batch::BatchView;

use crate::disk::Disk;
use crate::limits::SCAN_WINDOW_BYTES;
use crate::segment::{SegmentError, SegmentReader};

/// Walks a segment in pieces of [`SCAN_WINDOW_BYTES`], or of one batch where that is larger.
#[derive(Debug)]
pub(crate) struct BatchStream<'a, D: Disk> {
    reader: &'a SegmentReader<D>,
    position: u32,
    /// Smallest base offset of the next batch.
    offset_min: i64,
    bytes: Bytes,
}

impl<'a, D: Disk> BatchStream<'a, D> {
    pub(crate) fn new(reader: &'a SegmentReader<D>, position: u32) -> Self {
        Self {
            reader,
            position,
            offset_min: i64::MIN,
            bytes: Bytes::new(),
        }
    }

    /// The next batch with its position; `None` at the end of the segment.
    ///
    /// # Errors
    /// [`SegmentError::Corrupt`] for a header, an offset or a CRC that is wrong.
    pub(crate) async fn next(&mut self) -> Result<Option<(u32, Bytes)>, SegmentError> {
        let mut wanted = SCAN_WINDOW_BYTES;
        loop {
            let size = match self.whole_batch() {
                Some(size) => size,
                None if self.position >= self.reader.end_position() => return Ok(None),
                None => {
                    let size = self.reader.batch_size_at(self.position).await?;
                    wanted = wanted.max(size);
                    self.bytes = self.reader.read(self.position, wanted).await?;
                    continue;
                }
            };
            let batch = self.bytes.split_to(size);
            let position = self.position;
            self.position += u32::try_from(size).unwrap_or(u32::MAX - position);
            let view = BatchView::new(&batch);
            let checked = view.and_then(|view| view.check_crc().map(|()| *view.header()));
            let header = checked.map_err(|error| {
                let expected = "a record batch with a right CRC";
                self.reader.corrupt(position, expected, error.to_string())
            })?;
            // Offsets lie outside the CRC: a wrong one must not be copied for ever.
            self.reader
                .check_offsets(position, &header, self.offset_min)?;
            self.offset_min = header.next_offset();
            return Ok(Some((position, batch)));
        }
    }

    fn whole_batch(&self) -> Option<usize> {
        BatchView::new(&self.bytes)
            .ok()
            .map(|view| view.bytes().len())
    }
}
