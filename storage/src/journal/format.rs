//! Bytes of the journal: commit headers and entries.
//!
//! What it is        encode into an aligned buffer, decode from a slice; both check every length.
//! What it is not    the ring's order of files (`ring.rs`) nor what entries mean (`engine`).
//! Layout            docs/formats/journal.md, which is normative; all numbers little-endian.
//! Invariants        1. a decoded commit has a correct CRC; 2. decoding never reads past the slice.

use crate::aligned_buffer::AlignedBuffer;
use crate::log_key::LogKey;
use crate::side_table::SideKind;

/// "SLJ1" in the file.
pub(crate) const COMMIT_MAGIC: u32 = u32::from_le_bytes(*b"SLJ1");
/// Bytes of a commit header.
pub(crate) const COMMIT_HEADER_BYTES: usize = 56;
/// Bytes in front of an entry's body.
pub(crate) const ENTRY_HEADER_BYTES: usize = 12;

/// Bytes in front of the batches of an Append.
const FIRST_INDEX_BYTES: usize = 8;
/// First byte that the CRC covers.
const CRC_START: usize = 8;

/// The header of a commit, without what is derived (length, CRC, magic).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CommitHeader {
    /// Commit number, from 1, without gaps over the whole life of the shard.
    pub(crate) number: u64,
    /// Last commit whose completion was released when this one was written.
    pub(crate) acknowledged: u64,
    /// Life of the engine that wrote it; rises with each start.
    pub(crate) incarnation: u64,
    /// CRC of the commit before; 0 for the first.
    pub(crate) previous_crc: u32,
    /// Shard that wrote it.
    pub(crate) shard: u32,
    /// Entries inside.
    pub(crate) entry_count: u32,
    /// Block that the commit is padded to, in bytes.
    pub(crate) block_bytes: u32,
}

/// A commit found in a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FoundCommit<'a> {
    pub(crate) header: CommitHeader,
    /// CRC of this commit, to be found in the next.
    pub(crate) crc: u32,
    /// Bytes it takes in the file, padding included.
    pub(crate) padded_bytes: u64,
    /// Its entries.
    pub(crate) body: &'a [u8],
}

/// Why bytes are not a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotCommit {
    /// No magic: never written, or padding.
    Absent,
    /// The slice ends before the commit does; this many bytes are needed.
    Short(u64),
    /// Magic but wrong CRC or senseless lengths.
    Damaged,
}

/// Fills in the header of `buffer`, whose first [`COMMIT_HEADER_BYTES`] are reserved, pads it and
/// returns the CRC.
pub(crate) fn seal_commit(buffer: &mut AlignedBuffer, header: &CommitHeader) -> u32 {
    let length = u32::try_from(buffer.len()).unwrap_or(u32::MAX);
    let mut bytes = [0_u8; COMMIT_HEADER_BYTES];
    let block_log2 = u16::try_from(header.block_bytes.trailing_zeros()).unwrap_or(0);
    put(&mut bytes, 8, &length.to_le_bytes());
    put(&mut bytes, 12, &1_u16.to_le_bytes());
    put(&mut bytes, 14, &block_log2.to_le_bytes());
    put(&mut bytes, 16, &header.number.to_le_bytes());
    put(&mut bytes, 24, &header.acknowledged.to_le_bytes());
    put(&mut bytes, 32, &header.incarnation.to_le_bytes());
    put(&mut bytes, 40, &header.previous_crc.to_le_bytes());
    put(&mut bytes, 44, &header.shard.to_le_bytes());
    put(&mut bytes, 48, &header.entry_count.to_le_bytes());
    put(&mut bytes, 0, &COMMIT_MAGIC.to_le_bytes());
    put(buffer.as_mut_slice(), 0, &bytes);
    let covered = buffer.as_slice().get(CRC_START..).unwrap_or_default();
    let crc = crc32c::crc32c(covered);
    put(buffer.as_mut_slice(), 4, &crc.to_le_bytes());
    buffer.pad_to(usize::try_from(header.block_bytes).unwrap_or(4096));
    crc
}

/// Copies `bytes` to `position` of `target`; the caller knows that they fit.
pub(crate) fn put(target: &mut [u8], position: usize, bytes: &[u8]) {
    if let Some(place) = target.get_mut(position..position + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

/// Decodes the commit at the start of `bytes`; at most `length_maximum` bytes are believed.
pub(crate) fn decode_commit(
    bytes: &[u8],
    length_maximum: u64,
) -> Result<FoundCommit<'_>, NotCommit> {
    let mut reader = Reader::new(bytes);
    match reader.u32() {
        Some(COMMIT_MAGIC) => {}
        Some(_) => return Err(NotCommit::Absent),
        None => return Err(NotCommit::Short(COMMIT_HEADER_BYTES as u64)),
    }
    let header = decode_header(&mut reader).ok_or(NotCommit::Short(COMMIT_HEADER_BYTES as u64))?;
    let (crc, length, header) = header;
    let sensible = (COMMIT_HEADER_BYTES as u64..=length_maximum).contains(&u64::from(length))
        && (9..=16).contains(&header.block_bytes.trailing_zeros());
    if !sensible {
        return Err(NotCommit::Damaged);
    }
    let end = usize::try_from(length).map_err(|_| NotCommit::Damaged)?;
    let Some(whole) = bytes.get(..end) else {
        return Err(NotCommit::Short(u64::from(length)));
    };
    if crc32c::crc32c(whole.get(CRC_START..).unwrap_or_default()) != crc {
        return Err(NotCommit::Damaged);
    }
    Ok(FoundCommit {
        header,
        crc,
        padded_bytes: u64::from(length).next_multiple_of(u64::from(header.block_bytes)),
        body: whole.get(COMMIT_HEADER_BYTES..).unwrap_or_default(),
    })
}

fn decode_header(reader: &mut Reader<'_>) -> Option<(u32, u32, CommitHeader)> {
    let crc = reader.u32()?;
    let length = reader.u32()?;
    let version = reader.u16()?;
    let block_log2 = reader.u16()?;
    let header = CommitHeader {
        number: reader.u64()?,
        acknowledged: reader.u64()?,
        incarnation: reader.u64()?,
        previous_crc: reader.u32()?,
        shard: reader.u32()?,
        entry_count: reader.u32()?,
        block_bytes: if version == 1 && block_log2 <= 16 {
            1 << block_log2
        } else {
            1
        },
    };
    reader.u32()?;
    Some((crc, length, header))
}

/// What an entry says; the slot names the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JournalEntry<'a> {
    /// Whole record batches, the first record at `first_index`.
    Append { first_index: u64, batches: &'a [u8] },
    /// A side entry.
    Side {
        index: u64,
        offset: i64,
        term: u32,
        kind: SideKind,
        payload: &'a [u8],
    },
    /// Raft's term and vote.
    HardState { term: u32, vote: Option<i32> },
    /// Everything at `from_index` and above is cut.
    Truncate { from_index: u64, end_offset: i64 },
    /// The cut before has been carried out in the segments.
    TruncateDone { from_index: u64 },
    /// DeleteRecords or retention: the log starts at `offset`.
    LogStart { offset: i64 },
    /// The segments hold everything below `end_offset`, durably, outside the journal.
    Mark { end_offset: i64 },
    /// Compaction replaces closed segments that begin below `end_offset`: only files tell which.
    Compacted { end_offset: i64 },
    /// A named value of a later room.
    Cursor { key: &'a [u8], value: &'a [u8] },
    /// The slot stands for this log from here on.
    Created { key: LogKey, name: &'a str },
    /// The log is gone with its files.
    Deleted,
}

impl JournalEntry<'_> {
    /// Bytes that the entry of a batch takes, its header included: for who asks before there is
    /// one.
    pub(crate) const fn append_bytes(batch_bytes: usize) -> usize {
        ENTRY_HEADER_BYTES + FIRST_INDEX_BYTES + batch_bytes
    }

    /// Bytes that the entry takes, its header included.
    pub(crate) fn encoded_bytes(&self) -> usize {
        ENTRY_HEADER_BYTES
            + match self {
                Self::Append { batches, .. } => return Self::append_bytes(batches.len()),
                Self::Side { payload, .. } => 24 + payload.len(),
                Self::HardState { .. } => 9,
                Self::Truncate { .. } => 16,
                Self::TruncateDone { .. }
                | Self::LogStart { .. }
                | Self::Mark { .. }
                | Self::Compacted { .. } => 8,
                Self::Cursor { key, value } => 4 + key.len() + value.len(),
                Self::Created { name, .. } => 20 + name.len(),
                Self::Deleted => 0,
            }
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Append { .. } => 1,
            Self::Side { .. } => 2,
            Self::HardState { .. } => 3,
            Self::Truncate { .. } => 4,
            Self::TruncateDone { .. } => 5,
            Self::LogStart { .. } => 6,
            Self::Mark { .. } => 7,
            Self::Cursor { .. } => 8,
            Self::Created { .. } => 9,
            Self::Deleted => 10,
            Self::Compacted { .. } => 11,
        }
    }

    /// Appends the entry to `buffer`, which has room for [`JournalEntry::encoded_bytes`].
    pub(crate) fn encode(&self, slot: u32, buffer: &mut AlignedBuffer) {
        let body = self.encoded_bytes() - ENTRY_HEADER_BYTES;
        buffer.extend_from_slice(&[self.kind(), 0, 0, 0]);
        buffer.extend_from_slice(&slot.to_le_bytes());
        buffer.extend_from_slice(&u32::try_from(body).unwrap_or(u32::MAX).to_le_bytes());
        match self {
            Self::Append {
                first_index,
                batches,
            } => {
                buffer.extend_from_slice(&first_index.to_le_bytes());
                buffer.extend_from_slice(batches);
            }
            Self::Side {
                index,
                offset,
                term,
                kind,
                payload,
            } => {
                buffer.extend_from_slice(&index.to_le_bytes());
                buffer.extend_from_slice(&offset.to_le_bytes());
                buffer.extend_from_slice(&term.to_le_bytes());
                buffer.extend_from_slice(&encode_side_kind(*kind).to_le_bytes());
                buffer.extend_from_slice(payload);
            }
            Self::HardState { term, vote } => {
                buffer.extend_from_slice(&term.to_le_bytes());
                buffer.extend_from_slice(&[u8::from(vote.is_some())]);
                buffer.extend_from_slice(&vote.unwrap_or(-1).to_le_bytes());
            }
            Self::Truncate {
                from_index,
                end_offset,
            } => {
                buffer.extend_from_slice(&from_index.to_le_bytes());
                buffer.extend_from_slice(&end_offset.to_le_bytes());
            }
            Self::TruncateDone { from_index } => {
                buffer.extend_from_slice(&from_index.to_le_bytes());
            }
            Self::LogStart { offset } => buffer.extend_from_slice(&offset.to_le_bytes()),
            Self::Mark { end_offset } | Self::Compacted { end_offset } => {
                buffer.extend_from_slice(&end_offset.to_le_bytes());
            }
            Self::Cursor { key, value } => {
                let key_bytes = u32::try_from(key.len()).unwrap_or(u32::MAX);
                buffer.extend_from_slice(&key_bytes.to_le_bytes());
                buffer.extend_from_slice(key);
                buffer.extend_from_slice(value);
            }
            Self::Created { key, name } => {
                buffer.extend_from_slice(&key.topic_id);
                buffer.extend_from_slice(&key.partition.to_le_bytes());
                buffer.extend_from_slice(name.as_bytes());
            }
            Self::Deleted => {}
        }
    }
}

/// Takes the next entry and its slot from `body`; `None` when the bytes make no entry.
pub(crate) fn decode_entry<'a>(body: &mut &'a [u8]) -> Option<(u32, JournalEntry<'a>)> {
    let mut reader = Reader::new(body);
    let kind = reader.u8()?;
    reader.take(3)?;
    let slot = reader.u32()?;
    let length = usize::try_from(reader.u32()?).ok()?;
    let mut inner = Reader::new(reader.take(length)?);
    let entry = match kind {
        1 => JournalEntry::Append {
            first_index: inner.u64()?,
            batches: inner.rest(),
        },
        2 => JournalEntry::Side {
            index: inner.u64()?,
            offset: inner.i64()?,
            term: inner.u32()?,
            kind: decode_side_kind(inner.u32()?)?,
            payload: inner.rest(),
        },
        3 => {
            let term = inner.u32()?;
            let voted = inner.u8()? == 1;
            let vote = inner.i32()?;
            JournalEntry::HardState {
                term,
                vote: voted.then_some(vote),
            }
        }
        4 => JournalEntry::Truncate {
            from_index: inner.u64()?,
            end_offset: inner.i64()?,
        },
        5 => JournalEntry::TruncateDone {
            from_index: inner.u64()?,
        },
        6 => JournalEntry::LogStart {
            offset: inner.i64()?,
        },
        7 => JournalEntry::Mark {
            end_offset: inner.i64()?,
        },
        8 => {
            let key_bytes = usize::try_from(inner.u32()?).ok()?;
            JournalEntry::Cursor {
                key: inner.take(key_bytes)?,
                value: inner.rest(),
            }
        }
        9 => {
            let topic_id = inner.array::<16>()?;
            let partition = inner.i32()?;
            JournalEntry::Created {
                key: LogKey {
                    topic_id,
                    partition,
                },
                name: std::str::from_utf8(inner.rest()).ok()?,
            }
        }
        10 => JournalEntry::Deleted,
        11 => JournalEntry::Compacted {
            end_offset: inner.i64()?,
        },
        _ => return None,
    };
    *body = reader.rest();
    Some((slot, entry))
}

fn encode_side_kind(kind: SideKind) -> u32 {
    match kind {
        SideKind::TermStart => 0,
        SideKind::VoterSet => 1,
    }
}

fn decode_side_kind(number: u32) -> Option<SideKind> {
    match number {
        0 => Some(SideKind::TermStart),
        1 => Some(SideKind::VoterSet),
        _ => None,
    }
}

/// A cursor over bytes whose every step is checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub(crate) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.bytes.split_at_checked(length)?;
        self.bytes = tail;
        Some(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(crate) fn rest(self) -> &'a [u8] {
        self.bytes
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn i32(&mut self) -> Option<i32> {
        self.array().map(i32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        COMMIT_HEADER_BYTES, CommitHeader, JournalEntry, NotCommit, decode_commit, decode_entry,
        seal_commit,
    };
    use crate::aligned_buffer::AlignedBuffer;
    use crate::log_key::LogKey;
    use crate::side_table::SideKind;

    fn entries() -> Vec<JournalEntry<'static>> {
        vec![
            JournalEntry::Append {
                first_index: 7,
                batches: b"batch bytes",
            },
            JournalEntry::Side {
                index: 8,
                offset: 5,
                term: 3,
                kind: SideKind::VoterSet,
                payload: b"voters",
            },
            JournalEntry::HardState {
                term: 3,
                vote: Some(2),
            },
            JournalEntry::HardState {
                term: 4,
                vote: None,
            },
            JournalEntry::Truncate {
                from_index: 9,
                end_offset: 6,
            },
            JournalEntry::TruncateDone { from_index: 9 },
            JournalEntry::LogStart { offset: 4 },
            JournalEntry::Mark { end_offset: 6 },
            JournalEntry::Compacted { end_offset: 66 },
            JournalEntry::Cursor {
                key: b"k",
                value: b"value",
            },
            JournalEntry::Created {
                key: LogKey {
                    topic_id: [9; 16],
                    partition: 3,
                },
                name: "orders",
            },
            JournalEntry::Deleted,
        ]
    }

    fn sealed() -> AlignedBuffer {
        let mut buffer = AlignedBuffer::with_capacity(4096);
        buffer.set_len(COMMIT_HEADER_BYTES);
        for entry in entries() {
            let before = buffer.len();
            entry.encode(11, &mut buffer);
            assert_eq!(buffer.len() - before, entry.encoded_bytes());
        }
        seal_commit(
            &mut buffer,
            &CommitHeader {
                number: 5,
                acknowledged: 4,
                incarnation: 2,
                previous_crc: 77,
                shard: 1,
                entry_count: 11,
                block_bytes: 512,
            },
        );
        buffer
    }

    #[test]
    fn every_entry_kind_survives_the_round_trip() {
        let buffer = sealed();
        let commit = decode_commit(buffer.as_slice(), 4096).unwrap();
        assert_eq!(commit.header.number, 5);
        assert_eq!(commit.header.previous_crc, 77);
        let mut body = commit.body;
        for expected in entries() {
            assert_eq!(decode_entry(&mut body), Some((11, expected)));
        }
        assert!(body.is_empty());
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        let buffer = sealed();
        let length = u32::from_le_bytes(buffer.as_slice()[8..12].try_into().unwrap()) as usize;
        for position in 0..length * 8 {
            let mut bytes = buffer.as_slice().to_vec();
            bytes[position >> 3] ^= 1 << (position & 7);
            assert!(decode_commit(&bytes, 4096).is_err(), "bit {position}");
        }
        assert_eq!(
            decode_commit(&[0; 512], 4096).unwrap_err(),
            NotCommit::Absent
        );
    }
}
