//! Time index: the largest timestamp so far and the batch that has it.
//!
//! Layout            12 bytes per entry, big endian: timestamp in ms since 1970 (i64), last offset
//!                   of the batch less the segment's base offset (i32). As Kafka's `.timeindex`.
//! Invariants        entries strictly rise in timestamp, and never fall in offset.

use super::offset_index::big_endian;
use crate::limits::INDEX_ENTRIES_MAX;

/// Size of an entry in the file.
pub(crate) const TIME_ENTRY_BYTES: usize = 12;

/// No batch up to the one that ends with this offset has a larger timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeEntry {
    /// Largest timestamp so far, ms since 1970.
    pub(crate) timestamp: i64,
    /// Last offset of the first batch that has it, less the segment's base offset.
    pub(crate) relative_offset: u32,
}

/// The sorted entries.
#[derive(Clone, Debug, Default)]
pub(crate) struct TimeIndex {
    timestamps: Vec<i64>,
    offsets: Vec<u32>,
}

impl TimeIndex {
    /// Adds an entry unless the timestamp is not larger than the last one.
    pub(crate) fn push(&mut self, entry: TimeEntry) {
        let rises = self.last().is_none_or(|last| {
            entry.timestamp > last.timestamp && entry.relative_offset >= last.relative_offset
        });
        if rises {
            self.timestamps.push(entry.timestamp);
            self.offsets.push(entry.relative_offset);
        }
    }

    /// Keeps entries whose offset is at most `last_offset`; `None` keeps nothing.
    pub(crate) fn truncate(&mut self, last_offset: Option<u32>) {
        let keep = match last_offset {
            Some(last) => self.offsets.partition_point(|offset| *offset <= last),
            None => 0,
        };
        self.timestamps.truncate(keep);
        self.offsets.truncate(keep);
    }

    /// Forgets entries before `relative_offset`; `None` forgets all.
    pub(crate) fn keep_behind(&mut self, relative_offset: Option<u32>) {
        let first = relative_offset.unwrap_or(u32::MAX);
        let skip = self.offsets.partition_point(|offset| *offset < first);
        self.offsets.drain(..skip);
        self.timestamps.drain(..skip.min(self.timestamps.len()));
    }

    /// The last entry whose timestamp is at most `timestamp`; no batch before it holds a record
    /// with a larger one.
    pub(crate) fn lookup(&self, timestamp: i64) -> Option<TimeEntry> {
        let after = self.timestamps.partition_point(|entry| *entry <= timestamp);
        self.entry(after.checked_sub(1)?)
    }

    pub(crate) fn last(&self) -> Option<TimeEntry> {
        self.entry(self.timestamps.len().checked_sub(1)?)
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = TimeEntry> {
        let pairs = self.timestamps.iter().zip(&self.offsets);
        pairs.map(|(timestamp, offset)| TimeEntry {
            timestamp: *timestamp,
            relative_offset: *offset,
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.timestamps.len()
    }

    /// Drops every second entry.
    pub(crate) fn thin(&mut self) {
        let keep = |number: &mut usize| {
            *number += 1;
            *number % 2 == 1
        };
        let (mut first, mut second) = (0, 0);
        self.timestamps.retain(|_| keep(&mut first));
        self.offsets.retain(|_| keep(&mut second));
    }

    pub(crate) fn encode(&self, target: &mut Vec<u8>) {
        for (timestamp, offset) in self.timestamps.iter().zip(&self.offsets) {
            target.extend_from_slice(&timestamp.to_be_bytes());
            target.extend_from_slice(&offset.to_be_bytes());
        }
    }

    /// Reads entries up to the first that does not rise; never fails.
    pub(crate) fn decode(bytes: &[u8]) -> Self {
        let mut index = Self::default();
        for entry in bytes.chunks_exact(TIME_ENTRY_BYTES) {
            let Some((timestamp, offset)) = entry.split_first_chunk::<8>() else {
                break;
            };
            let entry = TimeEntry {
                timestamp: i64::from_be_bytes(*timestamp),
                relative_offset: big_endian(offset),
            };
            let before = index.len();
            index.push(entry);
            if index.len() == before || index.len() == INDEX_ENTRIES_MAX {
                break;
            }
        }
        index
    }

    fn entry(&self, number: usize) -> Option<TimeEntry> {
        Some(TimeEntry {
            timestamp: *self.timestamps.get(number)?,
            relative_offset: *self.offsets.get(number)?,
        })
    }
}
