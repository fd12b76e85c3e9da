//! Batch cache: recently appended and recently read ranges of the logs of a shard, in memory.
//!
//! What it is        where every read looks first; consumers at the tail and followers never touch
//!                   the disk.
//! What it is not    a promise: anything may be gone at any time. Not a copy: it holds the `Bytes`
//!                   that it is given.
//! Invariants        1. the sum of the ranges plus [`RANGE_OVERHEAD_BYTES`] each stays within the
//!                   limit. 2. a range is whole batches in the order of their offsets. 3. ranges of
//!                   one log do not overlap.
//! Source            design §3 "Memory": an explicit budget instead of a reclaimer.

use bytes::Bytes;

use crate::lru::Lru;
use crate::segment::WholeBatches;

/// Number of a log within its shard; the owner gives it and reuses it only after
/// [`BatchCache::remove_log`].
pub type LogSlot = u32;

/// Memory that a range costs beside its bytes.
pub const RANGE_OVERHEAD_BYTES: u64 = 160;

/// Figures of a cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheFigures {
    /// Bytes held now, with overhead.
    pub bytes: u64,
    /// Most bytes ever held.
    pub bytes_max: u64,
    /// Ranges held now.
    pub ranges: usize,
    /// Reads that found at least one batch.
    pub hits: u64,
    /// Reads that found none.
    pub misses: u64,
}

/// Batches found for a read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CachedBatches {
    /// Whole batches, contiguous over the parts.
    pub parts: Vec<Bytes>,
    /// Sum of the parts' lengths.
    pub length_bytes: usize,
    /// Base offset of the first batch.
    pub base_offset: i64,
    /// Offset after the last batch, exclusive.
    pub next_offset: i64,
}

/// The cache of one shard.
#[derive(Debug)]
pub struct BatchCache {
    ranges: Lru<(LogSlot, i64), Range>,
    hits: u64,
    misses: u64,
}

#[derive(Debug)]
struct Range {
    bytes: Bytes,
    next_offset: i64,
}

impl BatchCache {
    /// A cache that holds at most `limit_bytes`; 0 holds nothing.
    pub fn new(limit_bytes: u64) -> Self {
        Self {
            ranges: Lru::new(limit_bytes),
            hits: 0,
            misses: 0,
        }
    }

    /// Keeps whole batches that cover the offsets from `base_offset` up to `next_offset`
    /// (exclusive).
    ///
    /// Ranges of the log that overlap are replaced. A range larger than a quarter of the limit is
    /// not kept, so that one bulk load does not push everything else out. `bytes` should own little
    /// more memory than its length: a small slice of a large frame is to be copied by the caller.
    pub fn insert(&mut self, slot: LogSlot, base_offset: i64, next_offset: i64, bytes: Bytes) {
        let cost = bytes.len() as u64 + RANGE_OVERHEAD_BYTES;
        self.remove_overlapping(slot, base_offset, next_offset);
        if bytes.is_empty() || base_offset >= next_offset || cost > self.ranges.limit() >> 2 {
            return;
        }
        let range = Range { bytes, next_offset };
        self.ranges.insert((slot, base_offset), range, cost);
    }

    /// Whole batches from the one that holds `offset` on, as far as ranges follow each other
    /// without a gap.
    ///
    /// At most `bytes_max` bytes, but the first batch however large it is; no batch at or behind
    /// `end_offset` (exclusive). `None` when the batch that holds `offset` is not here.
    pub fn read(
        &mut self,
        slot: LogSlot,
        offset: i64,
        bytes_max: usize,
        end_offset: i64,
    ) -> Option<CachedBatches> {
        let mut found = CachedBatches::default();
        let mut next = offset;
        while next < end_offset {
            let Some(bytes) = self.range_from(slot, next) else {
                break;
            };
            let room = bytes_max.saturating_sub(found.length_bytes);
            let taken = WholeBatches::take(Some(&bytes), room, end_offset);
            let too_much = taken.length > room && !found.parts.is_empty();
            if taken.length == 0 || too_much {
                break;
            }
            if found.parts.is_empty() {
                found.base_offset = taken.base_offset;
            }
            let all = taken.length == bytes.len();
            found.length_bytes += taken.length;
            found.parts.push(bytes.slice(..taken.length));
            found.next_offset = taken.next_offset;
            next = taken.next_offset;
            if !all {
                break;
            }
        }
        if found.parts.is_empty() {
            self.misses += 1;
            return None;
        }
        self.hits += 1;
        Some(found)
    }

    /// Forgets what a log holds at `offset` and behind (truncation).
    pub fn truncate(&mut self, slot: LogSlot, offset: i64) {
        self.remove_overlapping(slot, offset, i64::MAX);
    }

    /// Forgets a log.
    pub fn remove_log(&mut self, slot: LogSlot) {
        self.ranges
            .remove_range((slot, i64::MIN)..=(slot, i64::MAX));
    }

    /// Changes the limit and forgets what no longer fits.
    pub fn set_limit(&mut self, limit_bytes: u64) {
        self.ranges.set_limit(limit_bytes);
    }

    /// The figures for metrics.
    pub fn figures(&self) -> CacheFigures {
        CacheFigures {
            bytes: self.ranges.cost(),
            bytes_max: self.ranges.cost_max(),
            ranges: self.ranges.len(),
            hits: self.hits,
            misses: self.misses,
        }
    }

    /// The rest of a range from the batch that holds `offset`.
    fn range_from(&mut self, slot: LogSlot, offset: i64) -> Option<Bytes> {
        let (key, range) = self.ranges.last_in((slot, i64::MIN)..=(slot, offset))?;
        if range.next_offset <= offset {
            return None;
        }
        let key = *key;
        let range = self.ranges.get(&key)?;
        let before = WholeBatches::before(&range.bytes, offset);
        Some(range.bytes.slice(before..))
    }

    fn remove_overlapping(&mut self, slot: LogSlot, base_offset: i64, next_offset: i64) {
        let before = self.ranges.last_in((slot, i64::MIN)..(slot, base_offset));
        let overlapping = before.filter(|(_, range)| range.next_offset > base_offset);
        if let Some(key) = overlapping.map(|(key, _)| *key) {
            self.ranges.remove(&key);
        }
        self.ranges
            .remove_range((slot, base_offset)..(slot, next_offset));
    }
}

#[cfg(test)]
mod tests {
    use super::{BatchCache, RANGE_OVERHEAD_BYTES};
    use crate::testing::Random;
    use crate::testing::batches::{headers, plain_batch};
    use bytes::Bytes;

    /// Three ranges of two batches of two records each, from offset 0.
    fn filled() -> (BatchCache, Vec<u8>) {
        let mut cache = BatchCache::new(100_000);
        let mut all = Vec::new();
        for range in 0..3 {
            let base = range * 4;
            let mut bytes = plain_batch(base, 2, 50, 1).to_vec();
            bytes.extend_from_slice(&plain_batch(base + 2, 2, 50, 1));
            all.extend_from_slice(&bytes);
            cache.insert(7, base, base + 4, Bytes::from(bytes));
        }
        (cache, all)
    }

    #[test]
    fn reads_start_at_the_batch_and_run_over_ranges() {
        let (mut cache, all) = filled();
        let size = headers(&all)[0].1.size_bytes;
        let found = cache.read(7, 3, usize::MAX, i64::MAX).unwrap();
        assert_eq!((found.base_offset, found.next_offset), (2, 12));
        assert_eq!(found.parts.concat(), all[size..]);
        let found = cache.read(7, 0, 1, i64::MAX).unwrap();
        assert_eq!((found.length_bytes, found.next_offset), (size, 2));
        let found = cache.read(7, 2, 2 * size, i64::MAX).unwrap();
        assert_eq!((found.length_bytes, found.next_offset), (2 * size, 6));
        let found = cache.read(7, 2, 2 * size - 1, i64::MAX).unwrap();
        assert_eq!(found.next_offset, 4);
        let found = cache.read(7, 0, usize::MAX, 6).unwrap();
        assert_eq!(found.next_offset, 6);
        assert_eq!(cache.read(7, 12, usize::MAX, i64::MAX), None);
        assert_eq!(cache.read(7, 5, usize::MAX, 5), None);
        assert_eq!(cache.read(8, 0, usize::MAX, i64::MAX), None);
        assert_eq!((cache.figures().hits, cache.figures().misses), (5, 3));
    }

    #[test]
    fn truncation_and_removal_leave_nothing_behind_the_cut() {
        let (mut cache, _) = filled();
        cache.truncate(7, 6);
        assert_eq!(
            cache.read(7, 0, usize::MAX, i64::MAX).unwrap().next_offset,
            4
        );
        assert_eq!(cache.read(7, 4, usize::MAX, i64::MAX), None);
        cache.insert(8, 0, 2, plain_batch(0, 2, 1, 1));
        cache.remove_log(7);
        assert_eq!(cache.figures().ranges, 1);
        cache.remove_log(8);
        assert_eq!(cache.figures().bytes, 0);
    }

    #[test]
    fn the_limit_holds_whatever_is_inserted() {
        let mut random = Random::new(5);
        let mut cache = BatchCache::new(50_000);
        for _ in 0..2000 {
            let slot = u32::try_from(random.below(5)).unwrap();
            let base = i64::try_from(random.below(300)).unwrap();
            let count = 1 + i64::try_from(random.below(9)).unwrap();
            let bytes = plain_batch(base, count, random.below(2000), 1);
            cache.insert(slot, base, base + count, bytes);
            let figures = cache.figures();
            assert!(figures.bytes <= 50_000);
            assert!(figures.bytes >= figures.ranges as u64 * RANGE_OVERHEAD_BYTES);
            let offset = i64::try_from(random.below(310)).unwrap();
            if let Some(found) = cache.read(slot, offset, 5000, i64::MAX) {
                let joined = found.parts.concat();
                let batches = headers(&joined);
                assert!(batches[0].1.last_offset() >= offset);
                assert!(batches[0].1.base_offset <= offset);
                let mut next = found.base_offset;
                for (_, header) in batches {
                    assert_eq!(header.base_offset, next);
                    next = header.next_offset();
                }
                assert_eq!(next, found.next_offset);
            }
        }
        assert!(cache.figures().bytes_max <= 50_000);
        cache.set_limit(0);
        assert_eq!(cache.figures().bytes, 0);
    }
}
