//! Offset index: which batch starts where, about every 4 KiB.
//!
//! Layout            8 bytes per entry, big endian: last offset of the batch less the segment's
//!                   base offset (i32), position of the batch in the file (i32). As Kafka's
//!                   `.index`.
//! Invariants        entries strictly rise in offset and position.

use crate::limits::INDEX_ENTRIES_MAX;

/// Size of an entry in the file.
pub(crate) const OFFSET_ENTRY_BYTES: usize = 8;

/// A batch: its last offset and where it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct OffsetEntry {
    /// Last offset of the batch less the segment's base offset.
    pub(crate) relative_offset: u32,
    /// First byte of the batch in the file.
    pub(crate) position: u32,
}

/// The sorted entries.
#[derive(Clone, Debug, Default)]
pub(crate) struct OffsetIndex {
    entries: Vec<OffsetEntry>,
}

impl OffsetIndex {
    /// Adds an entry; one that does not rise is left out, which only makes the index sparser.
    pub(crate) fn push(&mut self, entry: OffsetEntry) {
        let rises = self.entries.last().is_none_or(|last| {
            entry.relative_offset > last.relative_offset && entry.position > last.position
        });
        if rises {
            self.entries.push(entry);
        }
    }

    pub(crate) fn truncate(&mut self, position: u32) {
        let keep = self
            .entries
            .partition_point(|entry| entry.position < position);
        self.entries.truncate(keep);
    }

    /// The last entry whose offset is at most `relative_offset`.
    pub(crate) fn lookup(&self, relative_offset: u32) -> Option<OffsetEntry> {
        let entries = &self.entries;
        let after = entries.partition_point(|entry| entry.relative_offset <= relative_offset);
        entries.get(after.checked_sub(1)?).copied()
    }

    /// Forgets entries before `position`; returns the first one left.
    pub(crate) fn keep_from(&mut self, position: u32) -> Option<OffsetEntry> {
        self.entries.retain(|entry| entry.position >= position);
        self.entries.first().copied()
    }

    pub(crate) fn last(&self) -> Option<OffsetEntry> {
        self.entries.last().copied()
    }

    pub(crate) fn entries(&self) -> &[OffsetEntry] {
        &self.entries
    }

    /// Drops every second entry.
    pub(crate) fn thin(&mut self) {
        let mut number = 0_usize;
        self.entries.retain(|_| {
            number += 1;
            number % 2 == 1
        });
    }

    pub(crate) fn encode(&self, target: &mut Vec<u8>) {
        for entry in &self.entries {
            target.extend_from_slice(&entry.relative_offset.to_be_bytes());
            target.extend_from_slice(&entry.position.to_be_bytes());
        }
    }

    /// Reads entries up to the first that does not rise (zeros of a preallocated index, damage) or
    /// that lies at or behind `end_position`, at most [`INDEX_ENTRIES_MAX`]. Never fails: fewer
    /// entries mean a longer walk.
    pub(crate) fn decode(bytes: &[u8], end_position: u32) -> Self {
        let mut index = Self::default();
        for entry in bytes.chunks_exact(OFFSET_ENTRY_BYTES) {
            let Some((offset, position)) = entry.split_at_checked(4) else {
                break;
            };
            let entry = OffsetEntry {
                relative_offset: big_endian(offset),
                position: big_endian(position),
            };
            let before = index.entries.len();
            if entry.position < end_position && entry.position > 0 {
                index.push(entry);
            }
            if index.entries.len() == before || index.entries.len() == INDEX_ENTRIES_MAX {
                break;
            }
        }
        index
    }
}

/// Four bytes as a number; anything shorter is 0.
pub(crate) fn big_endian(bytes: &[u8]) -> u32 {
    bytes
        .first_chunk::<4>()
        .map_or(0, |bytes| u32::from_be_bytes(*bytes))
}
