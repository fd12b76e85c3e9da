//! Checkpoint: the state of all logs of a shard at one commit of the journal.
//!
//! What it is        one file per shard, replaced by write to a temporary name, sync and rename.
//! What it is not    a list of records: it names positions in segments and commits.
//! Layout            docs/formats/checkpoint.md: 24 bytes of header, then postcard.
//! Invariants        1. everything below `replay_from` is in segments, durably, or in the
//!                   checkpoint itself.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::aligned_buffer::AlignedBuffer;
use crate::disk::{Disk, DiskError, OpenMode};
use crate::error::Corrupt;
use crate::journal::format::Reader;
use crate::limits;
use crate::log_key::LogKey;
use crate::segment::ClosedSegment;
use crate::side_table::SideTable;

const MAGIC: [u8; 8] = *b"SLCHKPT1";
const HEADER_BYTES: usize = 24;
/// Piece in which a checkpoint is read.
const READ_BYTES: u32 = 128 * 1024;

/// State of one log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogCheckpoint {
    pub(crate) slot: u32,
    pub(crate) key: LogKey,
    pub(crate) name: String,
    /// Shard that created the log: it belongs to shard `home % shards`.
    pub(crate) home: u32,
    pub(crate) term: u32,
    pub(crate) vote: Option<i32>,
    pub(crate) side: SideTable,
    pub(crate) log_start_offset: i64,
    /// Everything below is in segments, durably (exclusive).
    pub(crate) segments_end_offset: i64,
    /// Segments were seen to hold everything below; less is damage.
    pub(crate) marked_end_offset: i64,
    /// Closed segments, oldest first.
    pub(crate) closed: Vec<ClosedCheckpoint>,
    /// Active segment: base offset, position that `segments_end_offset` stands for, and the largest
    /// timestamp before it (ms since 1970).
    pub(crate) active: Option<(i64, u32, Option<i64>)>,
    /// The log had stopped: its segments are looked at again.
    pub(crate) halted: bool,
    /// `ProducerSnapshot` of every batch that was in the log, durable or not; empty for no
    /// producer.
    pub(crate) producers: Vec<u8>,
}

impl LogCheckpoint {
    /// Whether its parts can belong to one log.
    pub(crate) fn is_sound(&self) -> bool {
        let segments = self.closed.iter();
        let follow = segments.is_sorted_by(|one, next| one.next_offset <= next.base_offset);
        let rise = |one: &ClosedCheckpoint| one.base_offset <= one.next_offset;
        self.side.is_sound()
            && follow
            && self.closed.iter().all(rise)
            && self.log_start_offset >= 0
            && self.segments_end_offset >= 0
    }
}

/// A closed segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClosedCheckpoint {
    pub(crate) base_offset: i64,
    pub(crate) next_offset: i64,
    pub(crate) max_timestamp: Option<i64>,
    pub(crate) size_bytes: u32,
}

impl From<&ClosedSegment> for ClosedCheckpoint {
    fn from(segment: &ClosedSegment) -> Self {
        Self {
            base_offset: segment.base_offset,
            next_offset: segment.next_offset,
            max_timestamp: segment.max_timestamp,
            size_bytes: segment.size_bytes,
        }
    }
}

impl From<ClosedCheckpoint> for ClosedSegment {
    fn from(segment: ClosedCheckpoint) -> Self {
        Self {
            base_offset: segment.base_offset,
            next_offset: segment.next_offset,
            max_timestamp: segment.max_timestamp,
            size_bytes: segment.size_bytes,
        }
    }
}

/// State of a shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Checkpoint {
    pub(crate) shard: u32,
    pub(crate) incarnation: u64,
    /// First commit that recovery replays.
    pub(crate) replay_from: u64,
    /// CRC of the commit before it.
    pub(crate) previous_crc: u32,
    /// File of the ring and position where that commit begins or will begin.
    pub(crate) file_index: u32,
    pub(crate) position: u64,
    /// Last commit acknowledged when this was written.
    pub(crate) acknowledged: u64,
    pub(crate) next_slot: u32,
    /// Time of the producers' clock, ms; it stands still while the broker is down.
    pub(crate) producer_time_ms: i64,
    /// Written by an orderly stop.
    pub(crate) clean: bool,
    pub(crate) logs: Vec<LogCheckpoint>,
    pub(crate) cursors: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Why a checkpoint cannot be used.
#[derive(Debug)]
pub(crate) enum CheckpointError {
    Disk(DiskError),
    Damaged(Corrupt),
}

impl From<DiskError> for CheckpointError {
    fn from(error: DiskError) -> Self {
        Self::Disk(error)
    }
}

/// Path of the checkpoint in a shard's journal directory.
pub(crate) fn checkpoint_path(directory: &str) -> String {
    format!("{directory}/checkpoint")
}

impl Checkpoint {
    /// Replaces the shard's checkpoint; durable when it returns.
    pub(crate) async fn write<D: Disk>(&self, disk: &D, directory: &str) -> Result<u64, DiskError> {
        write_framed(disk, &checkpoint_path(directory), MAGIC, self).await
    }

    /// Reads the shard's checkpoint; `None` when there is none.
    pub(crate) async fn read<D: Disk>(
        disk: &D,
        directory: &str,
    ) -> Result<Option<Self>, CheckpointError> {
        read_framed(disk, &checkpoint_path(directory), MAGIC).await
    }
}

/// Replaces a small file: header, then `value` in postcard; durable when it returns. Returns its
/// bytes.
pub(crate) async fn write_framed<D: Disk>(
    disk: &D,
    path: &str,
    magic: [u8; 8],
    value: &impl Serialize,
) -> Result<u64, DiskError> {
    let temporary = format!("{path}.tmp");
    let body = postcard::to_allocvec(value).map_err(|error| DiskError::Io {
        operation: "encode",
        path: path.to_owned(),
        reason: error.to_string(),
    })?;
    match disk.remove(&temporary).await {
        Ok(()) | Err(DiskError::NotFound { .. }) => {}
        Err(error) => return Err(error),
    }
    let mode = OpenMode {
        create: true,
        write: true,
        durable: false,
        direct: false,
    };
    let mut buffer = AlignedBuffer::with_capacity(HEADER_BYTES + body.len());
    buffer.extend_from_slice(&magic);
    buffer.extend_from_slice(&1_u32.to_le_bytes());
    buffer.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
    buffer.extend_from_slice(&(body.len() as u64).to_le_bytes());
    buffer.extend_from_slice(&body);
    let bytes = buffer.len() as u64;
    let file = disk.open(&temporary, mode).await?;
    disk.write(&file, 0, buffer).await.0?;
    disk.sync(&file).await?;
    disk.rename(&temporary, path).await?;
    Ok(bytes)
}

/// Reads what [`write_framed`] wrote; `None` when there is no such file.
pub(crate) async fn read_framed<D: Disk, T: DeserializeOwned>(
    disk: &D,
    path: &str,
    magic: [u8; 8],
) -> Result<Option<T>, CheckpointError> {
    let mode = OpenMode {
        create: false,
        write: false,
        durable: false,
        direct: false,
    };
    let file = match disk.open(path, mode).await {
        Ok(file) => file,
        Err(DiskError::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut bytes = Vec::new();
    let mut buffer = AlignedBuffer::with_capacity(READ_BYTES as usize);
    loop {
        let position = bytes.len() as u64;
        let (result, returned) = disk.read(&file, position, buffer, READ_BYTES).await;
        let count = result?;
        buffer = returned;
        bytes.extend_from_slice(buffer.as_slice());
        if count < READ_BYTES || bytes.len() as u64 > limits::CHECKPOINT_BYTES_MAXIMUM {
            break;
        }
    }
    let value = decode_framed(&bytes, magic).map_err(|(position, expected)| {
        CheckpointError::Damaged(Corrupt {
            file: path.to_owned(),
            position,
            expected: expected.to_owned(),
            got: format!("{} bytes that are none", bytes.len()),
        })
    });
    value.map(Some)
}

fn decode_framed<T: DeserializeOwned>(
    bytes: &[u8],
    magic: [u8; 8],
) -> Result<T, (u64, &'static str)> {
    let mut reader = Reader::new(bytes);
    if reader.array() != Some(magic) || reader.u32() != Some(1) {
        return Err((0, "a file of this kind and of version 1"));
    }
    let crc = reader.u32().ok_or((12, "a CRC"))?;
    let length = reader.u64().ok_or((16, "a length"))?;
    let body = reader.rest();
    if body.len() as u64 != length {
        return Err((16, "as many bytes as the header says"));
    }
    if crc32c::crc32c(body) != crc {
        return Err((12, "the CRC of the body"));
    }
    postcard::from_bytes(body).map_err(|_| (HEADER_BYTES as u64, "a body that decodes"))
}
