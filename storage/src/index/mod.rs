//! Sparse indexes of one segment: from an offset or a timestamp to a place in the file.
//!
//! What it is        two sorted lists with one entry about every 4 KiB of log, the same in memory,
//!                   in the files and for active and closed segments; entries are Kafka's.
//! What it is not    exact: a lookup gives the place from which to walk the batch headers forward.
//! Layout            docs/formats/index.md.
//! Invariants        1. entries strictly rise in offset and position (time: timestamp, and offset
//!                   never falls).
//!                   2. a time entry's offset is that of an indexed or later batch.
//!                   3. at most [`INDEX_ENTRIES_MAX`] entries each; at the bound the interval
//!                   doubles.
//! Source            Kafka 4.3 `OffsetIndex`, `TimeIndex`, `LogSegment.append`.

mod offset_index;
mod time_index;

pub(crate) use offset_index::{OffsetEntry, OffsetIndex};
pub(crate) use time_index::{TimeEntry, TimeIndex};

use kafka_lite::record_batch::BatchHeader;

use crate::limits::INDEX_ENTRIES_MAX;

/// Both indexes of one segment and the rule that feeds them.
#[derive(Clone, Debug)]
pub(crate) struct SegmentIndex {
    pub(crate) base_offset: i64,
    pub(crate) offsets: OffsetIndex,
    pub(crate) times: TimeIndex,
    interval_bytes: u32,
    bytes_since_entry: u64,
    /// Largest timestamp of all batches noted so far with the last offset of the first batch that
    /// has it.
    largest: Option<TimeEntry>,
}

impl SegmentIndex {
    /// An empty index; `interval_bytes` is Kafka's `index.interval.bytes`.
    pub(crate) fn new(base_offset: i64, interval_bytes: u32) -> Self {
        Self {
            base_offset,
            offsets: OffsetIndex::default(),
            times: TimeIndex::default(),
            interval_bytes: interval_bytes.max(1),
            bytes_since_entry: 0,
            largest: None,
        }
    }

    /// Notes the batch at `position`; batches come in the order of the file.
    pub(crate) fn note_batch(&mut self, position: u32, header: &BatchHeader) {
        let Some(last_offset) = self.relative(header.last_offset()) else {
            return;
        };
        if header.max_timestamp >= 0
            && self
                .largest
                .is_none_or(|largest| header.max_timestamp > largest.timestamp)
        {
            self.largest = Some(TimeEntry {
                timestamp: header.max_timestamp,
                relative_offset: last_offset,
            });
        }
        if self.bytes_since_entry > u64::from(self.interval_bytes) {
            self.offsets.push(OffsetEntry {
                relative_offset: last_offset,
                position,
            });
            self.note_largest_timestamp();
            self.bytes_since_entry = 0;
            self.thin();
        }
        self.bytes_since_entry += header.size_bytes as u64;
    }

    /// Adds the time entry that Kafka adds when a segment closes: the largest timestamp of all.
    pub(crate) fn note_largest_timestamp(&mut self) {
        if let Some(largest) = self.largest {
            self.times.push(largest);
        }
    }

    /// Forgets everything at `position` and behind.
    ///
    /// The largest timestamp falls back to the last entry that is left, so the owner notes the
    /// batches after that entry again.
    pub(crate) fn truncate(&mut self, position: u32) {
        self.offsets.truncate(position);
        let last_offset = self.offsets.last().map(|entry| entry.relative_offset);
        self.times.truncate(last_offset);
        self.largest = self.times.last();
        self.bytes_since_entry = 0;
    }

    /// Takes the entries of an index that covers the bytes behind this one's.
    pub(crate) fn extend(&mut self, later: &Self) {
        for entry in later.offsets.entries() {
            self.offsets.push(*entry);
        }
        for entry in later.times.entries() {
            self.times.push(entry);
        }
        if let Some(largest) = later.largest
            && self
                .largest
                .is_none_or(|own| largest.timestamp > own.timestamp)
        {
            self.largest = Some(largest);
        }
        self.bytes_since_entry = self
            .bytes_since_entry
            .saturating_add(later.bytes_since_entry);
        self.thin();
    }

    /// Entry from whose batch to walk headers forward to find `offset`; `None`: from the start.
    pub(crate) fn lookup(&self, offset: i64) -> Option<OffsetEntry> {
        match self.relative(offset) {
            Some(relative) => self.offsets.lookup(relative),
            None if offset < self.base_offset => None,
            None => self.offsets.last(),
        }
    }

    /// Entry before whose batch no record has at least `timestamp` unless the entry's is as large.
    pub(crate) fn lookup_timestamp(&self, timestamp: i64) -> Option<TimeEntry> {
        self.times.lookup(timestamp)
    }

    /// Takes over a rebuilt index of the bytes before `end_position`; entries behind stay.
    pub(crate) fn replace_before(&mut self, end_position: u32, mut rebuilt: Self) {
        let mut later = self.clone();
        let first_kept = later.offsets.keep_from(end_position);
        later
            .times
            .keep_behind(first_kept.map(|entry| entry.relative_offset));
        later.bytes_since_entry = 0;
        if first_kept.is_none() {
            later.largest = None;
        }
        rebuilt.extend(&later);
        *self = rebuilt;
    }

    /// Largest timestamp noted, ms since 1970.
    pub(crate) fn max_timestamp(&self) -> Option<i64> {
        self.largest.map(|largest| largest.timestamp)
    }

    /// Takes a largest timestamp known from elsewhere (checkpoint).
    pub(crate) fn set_largest(&mut self, largest: Option<TimeEntry>) {
        self.largest = largest;
    }

    pub(crate) fn largest(&self) -> Option<TimeEntry> {
        self.largest
    }

    pub(crate) fn interval_bytes(&self) -> u32 {
        self.interval_bytes
    }

    /// Memory in bytes, for the cache's account.
    pub(crate) fn memory_bytes(&self) -> u64 {
        (self.offsets.entries().len() * 8 + self.times.len() * 12 + 128) as u64
    }

    /// Offset relative to the base offset, as the files hold it; `None` outside 0 to 2^31 - 1.
    pub(crate) fn relative(&self, offset: i64) -> Option<u32> {
        let relative = i32::try_from(offset.checked_sub(self.base_offset)?).ok()?;
        u32::try_from(relative).ok()
    }

    fn thin(&mut self) {
        if self.offsets.entries().len() >= INDEX_ENTRIES_MAX {
            self.offsets.thin();
            self.times.thin();
            self.interval_bytes = self.interval_bytes.saturating_mul(2);
        }
    }
}

#[cfg(test)]
mod tests;
