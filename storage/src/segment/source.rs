//! An open segment file with its name: aligned reads and a sliding window over the headers.
//!
//! What it is        the only place that turns byte ranges into aligned direct reads.
//! What it is not    a cache; nothing is kept beyond the buffer of the reader.
//! Invariants        1. memory per reader is one window or one requested range. 2. a length found
//!                   in the file is compared with the segment's end before it is used.

use std::rc::Rc;

use bytes::Bytes;
use kafka_lite::record_batch::{BatchHeader, field};

use crate::aligned_buffer::AlignedBuffer;
use crate::buffer_pool;
use crate::disk::{Disk, DiskError};
use crate::error::Corrupt;
use crate::read_buffers::ReadBuffers;
use crate::segment::error::SegmentError;
use crate::segment::path::{FileKind, file_path};

/// A readable file of a segment.
pub(crate) struct Source<D: Disk> {
    pub(crate) disk: D,
    pub(crate) file: D::File,
    pub(crate) directory: Rc<str>,
    pub(crate) base_offset: i64,
    pub(crate) kind: FileKind,
}

impl<D: Disk> Clone for Source<D> {
    fn clone(&self) -> Self {
        Self {
            disk: self.disk.clone(),
            file: self.file.clone(),
            directory: Rc::clone(&self.directory),
            base_offset: self.base_offset,
            kind: self.kind,
        }
    }
}

impl<D: Disk> Source<D> {
    pub(crate) fn path(&self) -> String {
        file_path(&self.directory, self.base_offset, self.kind)
    }

    pub(crate) fn corrupt(&self, position: u32, expected: &str, got: String) -> SegmentError {
        SegmentError::Corrupt(Corrupt {
            file: self.path(),
            position: u64::from(position),
            expected: expected.to_owned(),
            got,
        })
    }

    /// Reads the bytes from `start` up to `end` (exclusive) with one aligned read.
    ///
    /// # Errors
    /// [`SegmentError::Disk`]; [`SegmentError::Corrupt`] when the file is shorter than `end`.
    pub(crate) async fn read_range(&self, start: u32, end: u32) -> Result<Bytes, SegmentError> {
        let block = u64::from(self.disk.alignment_bytes());
        let aligned_start = u64::from(start) & !(block - 1);
        let aligned_end = u64::from(end).next_multiple_of(block);
        let length = u32::try_from(aligned_end - aligned_start).unwrap_or(u32::MAX);
        let buffer = buffer_pool::take::<ReadBuffers>(length as usize);
        let (result, buffer) = self
            .disk
            .read(&self.file, aligned_start, buffer, length)
            .await;
        let got_end = aligned_start + u64::from(result?);
        if got_end < u64::from(end) {
            return Err(self.corrupt(
                start,
                "bytes up to the end of the segment",
                format!("end of file at {got_end}, needed {end}"),
            ));
        }
        let from = usize::try_from(u64::from(start) - aligned_start).unwrap_or(0);
        let to = from + (end.saturating_sub(start)) as usize;
        Ok(buffer_pool::freeze::<ReadBuffers>(buffer).slice(from..to))
    }

    /// A window of `capacity_bytes` that slides over the file.
    pub(crate) fn window(&self, capacity_bytes: u32) -> Window<D> {
        Window {
            source: self.clone(),
            buffer: AlignedBuffer::with_capacity(0),
            start: 0,
            end_of_file: false,
            capacity_bytes,
        }
    }
}

/// A bounded buffer that slides over a file.
pub(crate) struct Window<D: Disk> {
    source: Source<D>,
    buffer: AlignedBuffer,
    start: u64,
    end_of_file: bool,
    capacity_bytes: u32,
}

impl<D: Disk> Window<D> {
    /// Bytes of the file from `position`: at least `bytes_min` (at most half a window), fewer only
    /// at the end of the file.
    pub(crate) async fn at(&mut self, position: u64, bytes_min: usize) -> Result<&[u8], DiskError> {
        let end = self.start + self.buffer.len() as u64;
        let inside = position >= self.start && position <= end && !self.buffer.is_empty();
        let enough = inside && end - position >= bytes_min as u64;
        if !(enough || inside && self.end_of_file) {
            self.fill(position).await?;
        }
        let skip = usize::try_from(position - self.start).unwrap_or(usize::MAX);
        Ok(self.buffer.as_slice().get(skip..).unwrap_or_default())
    }

    async fn fill(&mut self, position: u64) -> Result<(), DiskError> {
        let block = u64::from(self.source.disk.alignment_bytes());
        let mut buffer = std::mem::replace(&mut self.buffer, AlignedBuffer::with_capacity(0));
        if buffer.capacity() == 0 {
            buffer = AlignedBuffer::with_capacity(self.capacity_bytes as usize);
        }
        self.start = position & !(block - 1);
        let (disk, file) = (&self.source.disk, &self.source.file);
        let (result, buffer) = disk
            .read(file, self.start, buffer, self.capacity_bytes)
            .await;
        self.buffer = buffer;
        match result {
            Ok(count) => {
                self.end_of_file = count < self.capacity_bytes;
                Ok(())
            }
            Err(error) => {
                self.buffer.clear();
                Err(error)
            }
        }
    }

    /// Header of the batch at `position` in a segment that ends at `end`; `None` at the end.
    ///
    /// # Errors
    /// [`SegmentError::Corrupt`] when there is no header or the batch passes the end.
    pub(crate) async fn header_at(
        &mut self,
        position: u32,
        end: u32,
    ) -> Result<Option<BatchHeader>, SegmentError> {
        if position >= end {
            return Ok(None);
        }
        let bytes = self.at(u64::from(position), field::HEADER_BYTES).await?;
        match BatchHeader::decode(bytes) {
            Ok(header) if header.size_bytes as u64 <= u64::from(end - position) => Ok(Some(header)),
            Ok(header) => Err(self.source.corrupt(
                position,
                "a batch that ends inside the segment",
                format!("{} bytes, the segment ends at {end}", header.size_bytes),
            )),
            Err(error) => {
                Err(self
                    .source
                    .corrupt(position, "a record batch header", error.to_string()))
            }
        }
    }
}

/// Position behind the batch at `position`, which ends inside the segment.
pub(crate) fn after(position: u32, header: &BatchHeader) -> u32 {
    u32::try_from(header.size_bytes).map_or(u32::MAX, |size| position.saturating_add(size))
}
