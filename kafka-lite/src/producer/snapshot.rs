//! Snapshot of a [`ProducerTable`], written at segment rolls and checkpoints.
//!
//! What it is        encode and decode; the owner decides where the bytes live.
//! Layout            docs/formats/producer-snapshot.md (normative).
//! Invariants        1. decoding allocates no more than the bytes at hand justify.
//! Source            our format; Kafka's keeps only the last batch, which loses the window.

use thiserror::Error;

use super::table::{Batch, Entry, ProducerTable, ProducerTableOptions};
use crate::limits;

/// First bytes of a snapshot.
const MAGIC: [u8; 4] = *b"SLPS";
const VERSION: u16 = 1;
/// Magic, version, reserved, CRC.
const PREFIX_BYTES: usize = 12;

/// A table and the offset up to which it knows the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerSnapshot {
    /// Every batch below this offset is in the table; exclusive end.
    pub next_offset: i64,
    /// The table.
    pub table: ProducerTable,
}

/// Why snapshot bytes are not taken; the table can be rebuilt from the log then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SnapshotError {
    /// Another kind of file.
    #[error("not a producer snapshot: wrong magic")]
    Magic,
    /// Written by a later release.
    #[error("producer snapshot has version {got}, this release reads {VERSION}")]
    Version {
        /// Version found.
        got: u16,
    },
    /// The bytes are not those that were written.
    #[error("producer snapshot CRC is {got:#010x}, it says {expected:#010x}")]
    Crc {
        /// CRC stored.
        expected: u32,
        /// CRC of the bytes.
        got: u32,
    },
    /// The CRC is right but the content is not a snapshot.
    #[error("producer snapshot is malformed at {field}")]
    Malformed {
        /// Field that does not fit.
        field: &'static str,
    },
}

impl ProducerSnapshot {
    /// Encodes the table, which knows every batch below `next_offset`.
    #[must_use]
    pub fn encode(table: &ProducerTable, next_offset: i64) -> Vec<u8> {
        let mut out = Vec::with_capacity(PREFIX_BYTES + 12 + table.len() * 144);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_be_bytes());
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&next_offset.to_be_bytes());
        let count = u32::try_from(table.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&count.to_be_bytes());
        for (producer_id, entry) in &table.entries {
            out.extend_from_slice(&producer_id.to_be_bytes());
            encode_entry(entry, &mut out);
        }
        let crc = crc32c::crc32c(out.get(PREFIX_BYTES..).unwrap_or_default());
        if let Some(target) = out.get_mut(PREFIX_BYTES - 4..PREFIX_BYTES) {
            target.copy_from_slice(&crc.to_be_bytes());
        }
        out
    }

    /// Decodes a snapshot; entries beyond `options.producers_max` are dropped, oldest first.
    ///
    /// # Errors
    /// [`SnapshotError`]; nothing is taken from damaged bytes.
    pub fn decode(bytes: &[u8], options: ProducerTableOptions) -> Result<Self, SnapshotError> {
        let mut rest = bytes;
        if take::<4>(&mut rest, "magic")? != MAGIC {
            return Err(SnapshotError::Magic);
        }
        let got = u16::from_be_bytes(take(&mut rest, "version")?);
        if got != VERSION {
            return Err(SnapshotError::Version { got });
        }
        take::<2>(&mut rest, "reserved")?;
        let expected = u32::from_be_bytes(take(&mut rest, "crc")?);
        let got = crc32c::crc32c(rest);
        if got != expected {
            return Err(SnapshotError::Crc { expected, got });
        }
        let next_offset = i64::from_be_bytes(take(&mut rest, "next offset")?);
        let count = u32::from_be_bytes(take(&mut rest, "count")?);
        let mut table = ProducerTable::new(options);
        for _ in 0..count {
            let producer_id = i64::from_be_bytes(take(&mut rest, "producer id")?);
            let entry = decode_entry(&mut rest)?;
            if producer_id < 0 || table.entries.insert(producer_id, Box::new(entry)).is_some() {
                return Err(SnapshotError::Malformed {
                    field: "producer id",
                });
            }
        }
        if !rest.is_empty() {
            return Err(SnapshotError::Malformed { field: "end" });
        }
        while table.len() > options.producers_max.max(1) {
            table.evict_oldest();
        }
        table.check_invariants();
        Ok(Self { next_offset, table })
    }
}

fn encode_entry(entry: &Entry, out: &mut Vec<u8>) {
    out.extend_from_slice(&entry.epoch.to_be_bytes());
    out.extend_from_slice(&entry.last_append_ms.to_be_bytes());
    out.push(u8::try_from(entry.batches().len()).unwrap_or(0));
    for batch in entry.batches() {
        out.extend_from_slice(&batch.base_offset.to_be_bytes());
        out.extend_from_slice(&batch.last_offset_delta.to_be_bytes());
        out.extend_from_slice(&batch.last_sequence.to_be_bytes());
        out.extend_from_slice(&batch.log_append_time.to_be_bytes());
    }
}

fn decode_entry(rest: &mut &[u8]) -> Result<Entry, SnapshotError> {
    let epoch = i16::from_be_bytes(take(rest, "producer epoch")?);
    let last_append_ms = i64::from_be_bytes(take(rest, "last append")?);
    let [count] = take::<1>(rest, "batch count")?;
    if usize::from(count) > limits::PRODUCER_BATCHES {
        return Err(SnapshotError::Malformed {
            field: "batch count",
        });
    }
    let mut entry = Entry::new(epoch, last_append_ms);
    for _ in 0..count {
        let batch = Batch {
            base_offset: i64::from_be_bytes(take(rest, "base offset")?),
            last_offset_delta: i32::from_be_bytes(take(rest, "last offset delta")?),
            last_sequence: i32::from_be_bytes(take(rest, "last sequence")?),
            log_append_time: i64::from_be_bytes(take(rest, "append time")?),
        };
        if entry
            .batches()
            .last()
            .is_some_and(|last| last.base_offset >= batch.base_offset)
        {
            return Err(SnapshotError::Malformed {
                field: "base offset",
            });
        }
        entry.push(batch);
    }
    Ok(entry)
}

fn take<const N: usize>(rest: &mut &[u8], field: &'static str) -> Result<[u8; N], SnapshotError> {
    let (first, after) = rest
        .split_first_chunk::<N>()
        .ok_or(SnapshotError::Malformed { field })?;
    *rest = after;
    Ok(*first)
}
