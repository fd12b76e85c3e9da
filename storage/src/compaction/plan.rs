//! When a log is worth a round, and up to which offset.
//!
//! Source            Kafka 4.3 `LogCleanerManager.grabFilthiestCompactedLog`, `cleanableOffsets`.

use crate::retention::WallClock;
use crate::segment::ClosedSegment;

/// The part of a topic's configuration that compaction reads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CompactionRules {
    /// `min.cleanable.dirty.ratio`, 0 to 1: dirty bytes by all bytes that a round would read.
    pub min_cleanable_dirty_ratio: f64,
    /// `min.compaction.lag.ms`: younger segments stay as they are.
    pub min_compaction_lag_ms: u64,
    /// `max.compaction.lag.ms`: with older dirty data a round is due whatever the ratio.
    pub max_compaction_lag_ms: u64,
    /// `delete.retention.ms`: how long a tombstone stays after the round that made it the latest.
    pub delete_retention_ms: u64,
    /// `segment.bytes`: small neighbours are merged up to this size.
    pub segment_bytes: u32,
}

/// What is known of a log.
#[derive(Clone, Copy, Debug)]
pub struct CompactionFacts<'a> {
    /// Closed segments in the order of their base offsets.
    pub closed: &'a [ClosedSegment],
    /// Where the last round ended; its end offset, or the log start offset.
    pub first_dirty_offset: i64,
    /// First offset that is not committed and stable (high watermark, last stable offset).
    pub end_offset: i64,
    /// Timestamp of the first dirty batch if known; else the first dirty segment's largest counts.
    pub earliest_dirty_timestamp: Option<i64>,
}

/// A round that is due.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CompactionPlan {
    /// First offset whose keys go into the map.
    pub first_dirty_offset: i64,
    /// End of the round, exclusive, unless the map fills before.
    pub end_offset: i64,
    /// Dirty bytes by all bytes up to the end; the owner takes the dirtiest log first.
    pub dirty_ratio: f64,
}

/// Decides whether a round over this log is due.
///
/// Without a believable clock no lag can be measured: a log with `min.compaction.lag.ms` waits.
pub fn plan_compaction(
    facts: &CompactionFacts<'_>,
    rules: &CompactionRules,
    clock: WallClock,
) -> Option<CompactionPlan> {
    let cleanable = facts.closed.iter().take_while(|segment| {
        segment.next_offset <= facts.end_offset && is_old_enough(segment, rules, clock)
    });
    let (mut clean_bytes, mut dirty_bytes, mut end_offset) = (0_u64, 0_u64, i64::MIN);
    let mut first_dirty_timestamp = facts.earliest_dirty_timestamp;
    for segment in cleanable {
        if segment.next_offset <= facts.first_dirty_offset {
            clean_bytes += u64::from(segment.size_bytes);
        } else {
            dirty_bytes += u64::from(segment.size_bytes);
            first_dirty_timestamp = first_dirty_timestamp.or(segment.max_timestamp);
        }
        end_offset = segment.next_offset;
    }
    if dirty_bytes == 0 {
        return None;
    }
    let dirty_ratio = ratio(dirty_bytes, clean_bytes + dirty_bytes);
    let is_overdue = clock.is_synchronised
        && first_dirty_timestamp
            .is_some_and(|timestamp| age_ms(timestamp, clock) > rules.max_compaction_lag_ms);
    (is_overdue || dirty_ratio > rules.min_cleanable_dirty_ratio).then_some(CompactionPlan {
        first_dirty_offset: facts.first_dirty_offset,
        end_offset,
        dirty_ratio,
    })
}

fn is_old_enough(segment: &ClosedSegment, rules: &CompactionRules, clock: WallClock) -> bool {
    if rules.min_compaction_lag_ms == 0 {
        return true;
    }
    let age = segment
        .max_timestamp
        .map_or(u64::MAX, |timestamp| age_ms(timestamp, clock));
    clock.is_synchronised && age >= rules.min_compaction_lag_ms
}

fn age_ms(timestamp: i64, clock: WallClock) -> u64 {
    u64::try_from(clock.now_ms.saturating_sub(timestamp)).unwrap_or(0)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a ratio of file sizes needs no more than 52 bits"
)]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}
