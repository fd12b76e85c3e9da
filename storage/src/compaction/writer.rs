//! The output of a group: a new log file under a name that nobody reads yet.
//!
//! What it is        buffered aligned writes, an index fed on the way, an exact length at the end.
//! Invariants        after [`CleanedWriter::finish`] the file is complete and durable under
//!                   `.log.cleaned`.

use std::rc::Rc;

use kafka_lite::record_batch::BatchHeader;

use crate::aligned_buffer::AlignedBuffer;
use crate::disk::{Disk, DiskError, OpenMode, Resize};
use crate::index::SegmentIndex;
use crate::limits::SCAN_WINDOW_BYTES;
use crate::segment::{FileKind, SegmentStore, file_path};

/// Writes one `.log.cleaned` file.
pub(crate) struct CleanedWriter<D: Disk> {
    disk: D,
    file: D::File,
    buffer: AlignedBuffer,
    written: u64,
    size_bytes: u32,
    index: SegmentIndex,
    next_offset: i64,
}

/// A complete output that is not visible yet.
#[derive(Debug)]
pub(crate) struct Cleaned {
    pub(crate) index: SegmentIndex,
    pub(crate) size_bytes: u32,
}

impl<D: Disk> CleanedWriter<D> {
    /// Starts the output with that base offset; a leftover of the same name is emptied.
    pub(crate) async fn create(
        store: &SegmentStore<D>,
        directory: &Rc<str>,
        base_offset: i64,
    ) -> Result<Self, DiskError> {
        let disk = store.disk().clone();
        let mode = OpenMode {
            create: true,
            write: true,
            durable: false,
            direct: true,
        };
        let path = file_path(directory, base_offset, FileKind::Cleaned);
        let file = disk.open(&path, mode).await?;
        disk.resize(&file, Resize::SetLength(0)).await?;
        Ok(Self {
            disk,
            file,
            buffer: AlignedBuffer::with_capacity(SCAN_WINDOW_BYTES as usize),
            written: 0,
            size_bytes: 0,
            index: SegmentIndex::new(base_offset, store.index_interval_bytes()),
            next_offset: base_offset,
        })
    }

    /// Appends one whole batch.
    pub(crate) async fn append(
        &mut self,
        header: &BatchHeader,
        bytes: &[u8],
    ) -> Result<(), DiskError> {
        assert!(
            header.base_offset >= self.next_offset,
            "batches come in the order of the log"
        );
        self.index.note_batch(self.size_bytes, header);
        self.next_offset = header.next_offset();
        self.size_bytes += u32::try_from(bytes.len()).unwrap_or(u32::MAX - self.size_bytes);
        let mut rest = bytes;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(self.buffer.remaining()));
            self.buffer.extend_from_slice(now);
            rest = later;
            if self.buffer.remaining() == 0 {
                self.flush().await?;
            }
        }
        Ok(())
    }

    /// Writes the rest, cuts the padding and syncs.
    pub(crate) async fn finish(mut self) -> Result<Cleaned, DiskError> {
        self.buffer.pad_to(self.disk.alignment_bytes() as usize);
        self.flush().await?;
        let length = Resize::SetLength(u64::from(self.size_bytes));
        self.disk.resize(&self.file, length).await?;
        self.disk.sync(&self.file).await?;
        self.index.note_largest_timestamp();
        Ok(Cleaned {
            index: self.index,
            size_bytes: self.size_bytes,
        })
    }

    async fn flush(&mut self) -> Result<(), DiskError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let buffer = std::mem::replace(&mut self.buffer, AlignedBuffer::with_capacity(0));
        let length = buffer.len() as u64;
        let (result, mut buffer) = self.disk.write(&self.file, self.written, buffer).await;
        buffer.clear();
        self.buffer = buffer;
        self.written += length;
        result
    }
}
