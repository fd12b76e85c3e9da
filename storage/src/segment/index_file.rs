//! The index files of a segment: writing, reading, and rebuilding from the log.
//!
//! What it is        Kafka's `.index` and `.timeindex`, byte for byte.
//! What it is not    trusted: an entry is used only if it leads to a batch header that agrees.
//! Invariants        1. the time index is written before the offset index, so whoever has the
//!                   second has the first.
//!                   2. what the files do not cover is walked, so the result covers the log to its
//!                   end.
//! Source            docs/formats/index.md.

use crate::aligned_buffer::AlignedBuffer;
use crate::disk::{Disk, DiskError, OpenMode, Resize};
use crate::error::Corrupt;
use crate::index::{OffsetIndex, SegmentIndex, TimeIndex};
use crate::limits::{INDEX_ENTRIES_MAX, SCAN_WINDOW_BYTES};
use crate::segment::error::SegmentError;
use crate::segment::path::{FileKind, file_path};
use crate::segment::source::{Source, after};
use crate::segment::store::remove_if_there;

/// A complete index and what the walk to the end of the log found.
#[derive(Debug)]
pub(crate) struct LoadedIndex {
    pub(crate) index: SegmentIndex,
    /// Offset after the last batch.
    pub(crate) next_offset: i64,
    /// The files were missing or wrong; the whole log was walked.
    pub(crate) rebuilt: bool,
}

/// Loads the index of the log up to `end_position` from its files, walks the rest, or walks
/// everything.
pub(crate) async fn load_index<D: Disk>(
    source: &Source<D>,
    end_position: u32,
    interval_bytes: u32,
) -> Result<LoadedIndex, SegmentError> {
    let mut index = SegmentIndex::new(source.base_offset, interval_bytes);
    let offsets = read_file(source, FileKind::OffsetIndex).await?;
    let times = read_file(source, FileKind::TimeIndex).await?;
    let (Some(offsets), Some(times)) = (offsets, times) else {
        return rebuild(source, index, end_position).await;
    };
    index.offsets = OffsetIndex::decode(&offsets, end_position);
    index.times = TimeIndex::decode(&times);
    let last = index.offsets.last();
    index
        .times
        .truncate(last.map(|entry| entry.relative_offset));
    index.set_largest(index.times.last());
    if let Some(last) = last {
        let mut window = source.window(SCAN_WINDOW_BYTES);
        let agrees = match window.header_at(last.position, end_position).await {
            Ok(Some(header)) => index.relative(header.last_offset()) == Some(last.relative_offset),
            Ok(None) | Err(SegmentError::Corrupt(_)) => false,
            Err(error) => return Err(error),
        };
        if !agrees {
            let empty = SegmentIndex::new(source.base_offset, interval_bytes);
            return rebuild(source, empty, end_position).await;
        }
    }
    let from = last.map_or(0, |entry| entry.position);
    let next_offset = note_batches(source, &mut index, from, end_position).await?;
    Ok(LoadedIndex {
        index,
        next_offset,
        rebuilt: false,
    })
}

async fn rebuild<D: Disk>(
    source: &Source<D>,
    mut index: SegmentIndex,
    end_position: u32,
) -> Result<LoadedIndex, SegmentError> {
    let next_offset = note_batches(source, &mut index, 0, end_position).await?;
    Ok(LoadedIndex {
        index,
        next_offset,
        rebuilt: true,
    })
}

/// Walks the headers of the batches in `from..end` into `index`; returns the offset after the last
/// one.
pub(crate) async fn note_batches<D: Disk>(
    source: &Source<D>,
    index: &mut SegmentIndex,
    from: u32,
    end: u32,
) -> Result<i64, SegmentError> {
    let mut window = source.window(SCAN_WINDOW_BYTES);
    let (mut position, mut next_offset) = (from, source.base_offset);
    while let Some(header) = window.header_at(position, end).await? {
        if header.base_offset < next_offset || header.last_offset_delta < 0 {
            return Err(SegmentError::Corrupt(Corrupt {
                file: source.path(),
                position: u64::from(position),
                expected: format!("a batch at offset {next_offset} or later"),
                got: format!("base offset {}", header.base_offset),
            }));
        }
        index.note_batch(position, &header);
        next_offset = header.next_offset();
        position = after(position, &header);
    }
    Ok(next_offset)
}

/// Writes both index files durably.
pub(crate) async fn write_index_files<D: Disk>(
    disk: &D,
    directory: &str,
    index: &SegmentIndex,
) -> Result<(), DiskError> {
    let mut bytes = Vec::new();
    index.times.encode(&mut bytes);
    let path = file_path(directory, index.base_offset, FileKind::TimeIndex);
    write_file(disk, &path, &bytes).await?;
    bytes.clear();
    index.offsets.encode(&mut bytes);
    let path = file_path(directory, index.base_offset, FileKind::OffsetIndex);
    write_file(disk, &path, &bytes).await
}

/// Removes both index files durably, the offset index first.
pub(crate) async fn remove_index_files<D: Disk>(
    disk: &D,
    directory: &str,
    base_offset: i64,
) -> Result<(), DiskError> {
    for kind in [FileKind::OffsetIndex, FileKind::TimeIndex] {
        remove_if_there(disk, &file_path(directory, base_offset, kind)).await?;
    }
    Ok(())
}

async fn write_file<D: Disk>(disk: &D, path: &str, bytes: &[u8]) -> Result<(), DiskError> {
    let mode = OpenMode {
        create: true,
        write: true,
        durable: false,
        direct: false,
    };
    let file = disk.open(path, mode).await?;
    disk.resize(&file, Resize::SetLength(bytes.len() as u64))
        .await?;
    if !bytes.is_empty() {
        let mut buffer = AlignedBuffer::with_capacity(bytes.len());
        buffer.extend_from_slice(bytes);
        let (result, _) = disk.write(&file, 0, buffer).await;
        result?;
    }
    disk.sync(&file).await
}

/// Reads an index file, bounded by the largest index there may be; `None` when it does not exist.
async fn read_file<D: Disk>(
    source: &Source<D>,
    kind: FileKind,
) -> Result<Option<Vec<u8>>, DiskError> {
    let path = file_path(&source.directory, source.base_offset, kind);
    let mode = OpenMode {
        create: false,
        write: false,
        durable: false,
        direct: false,
    };
    let file = match source.disk.open(&path, mode).await {
        Ok(file) => file,
        Err(DiskError::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let bytes_max = INDEX_ENTRIES_MAX * 12;
    let mut content = Vec::new();
    let mut buffer = AlignedBuffer::with_capacity(READ_BYTES as usize);
    while content.len() < bytes_max {
        let position = content.len() as u64;
        let (result, returned) = source.disk.read(&file, position, buffer, READ_BYTES).await;
        buffer = returned;
        if result? == 0 {
            break;
        }
        content.extend_from_slice(buffer.as_slice());
    }
    Ok(Some(content))
}

/// Piece in which index files are read.
const READ_BYTES: u32 = 16 * 1024;
