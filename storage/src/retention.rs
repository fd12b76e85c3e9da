//! Retention: which closed segments of a log may go, as pure rules over facts.
//!
//! What it is        `retention.ms`, `retention.bytes`, DeleteRecords; and when an active segment
//!                   rolls.
//! What it is not    the byte budget over all logs (`room`), nor the deleter: the partition log
//!                   records the new log start offset first, then removes the files. No clock and
//!                   no files here.
//! Invariants        1. segments go oldest first, without a gap. 2. nothing at or behind the high
//!                   watermark goes. 3. nothing goes by time while the clock is not synchronised.
//!                   4. held data (not yet mirrored) does not go. 5. a clock that is set makes
//!                   nothing old: what was written before goes with what is written after.
//! Source            Kafka 4.3 `UnifiedLog.deleteOldSegments`, `LogSegment.shouldRoll`; design §4.

use kafka_lite::wall_clock::elapsed_ms;

use crate::segment::ClosedSegment;

/// The part of a topic's configuration that retention reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetentionRules {
    /// `cleanup.policy` contains `delete`; without it only DeleteRecords removes segments.
    pub delete: bool,
    /// `retention.ms`; `None` is unlimited (-1).
    pub retention_ms: Option<u64>,
    /// `retention.bytes`, closed and active segments together; `None` is unlimited (-1).
    pub retention_bytes: Option<u64>,
}

/// What the clock says and whether it can be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WallClock {
    /// Milliseconds since 1970.
    pub now_ms: i64,
    /// Time synchronisation has been seen since boot, or the device has a battery-backed clock.
    pub is_synchronised: bool,
}

/// What retention needs to know about a log.
#[derive(Clone, Copy, Debug)]
pub struct LogFacts<'a> {
    /// Closed segments in the order of their base offsets.
    pub closed: &'a [ClosedSegment],
    /// Base offset of the active segment (of the append buffer when there is none).
    pub active_base_offset: i64,
    /// Bytes of the active segment and of the append buffer behind it.
    pub active_size_bytes: u64,
    /// The active segment alone, as if it were closed now; `None` when there is none.
    pub active: Option<ClosedSegment>,
    /// Largest timestamp in the active segment and the append buffer, ms since 1970.
    pub active_max_timestamp: Option<i64>,
    /// First offset still served, inclusive (DeleteRecords moves it ahead of the files).
    pub log_start_offset: i64,
    /// First offset that is not known to be committed, exclusive end.
    pub high_watermark: i64,
    /// First offset that must stay (not mirrored yet); `None` holds nothing.
    pub hold_from: Option<i64>,
}

/// What is to be done with a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetentionPlan {
    /// Base offsets of the segments to remove, oldest first.
    pub remove: Vec<i64>,
    /// Log start offset afterwards; never below the one before.
    pub log_start_offset: i64,
    /// The active segment has expired too: roll it, and the next round removes it.
    pub roll_active: bool,
}

/// Decides for one log.
pub fn plan_retention(
    facts: &LogFacts<'_>,
    rules: &RetentionRules,
    clock: WallClock,
) -> RetentionPlan {
    let below_start = count_below_start(facts);
    let mut count = below_start;
    if rules.delete {
        let deletable = count_deletable(facts, facts.hold_from);
        count = count.max(count_expired(facts, rules, clock).min(deletable));
        count = count.max(count_too_many_bytes(facts, rules).min(deletable));
    }
    let remove = facts
        .closed
        .iter()
        .take(count)
        .map(|segment| segment.base_offset)
        .collect();
    RetentionPlan {
        remove,
        log_start_offset: log_start_after(facts, count),
        roll_active: count == facts.closed.len() && is_active_expired(facts, rules, clock),
    }
}

/// Log start offset once the first `count` closed segments are gone.
pub(crate) fn log_start_after(facts: &LogFacts<'_>, count: usize) -> i64 {
    let next = facts
        .closed
        .get(count)
        .map_or(facts.active_base_offset, |next| next.base_offset);
    let first_left = if count == 0 {
        facts.log_start_offset
    } else {
        next
    };
    facts.log_start_offset.max(first_left)
}

/// Segments that lie wholly below the log start offset: DeleteRecords has given them up.
fn count_below_start(facts: &LogFacts<'_>) -> usize {
    let is_below = |segment: &&ClosedSegment| segment.next_offset <= facts.log_start_offset;
    facts.closed.iter().take_while(is_below).count()
}

/// Segments that are committed and not held.
pub(crate) fn count_deletable(facts: &LogFacts<'_>, hold_from: Option<i64>) -> usize {
    let end = hold_from.unwrap_or(i64::MAX).min(facts.high_watermark);
    facts
        .closed
        .iter()
        .take_while(|segment| segment.next_offset <= end)
        .count()
}

/// A timestamp of before the clock was set is of no known age.
fn is_expired(timestamp: i64, rules: &RetentionRules, clock: WallClock) -> bool {
    let age = elapsed_ms(timestamp, clock.now_ms).and_then(|age| u64::try_from(age).ok());
    let is_over = |retention| age.is_some_and(|age| age > retention);
    clock.is_synchronised && rules.retention_ms.is_some_and(is_over)
}

/// Oldest segments whose records are all older than `retention.ms`. A segment without timestamps,
/// or with such of before the clock was set, goes only with the expired one behind it.
fn count_expired(facts: &LogFacts<'_>, rules: &RetentionRules, clock: WallClock) -> usize {
    let mut count = 0;
    for (number, segment) in facts.closed.iter().enumerate() {
        match segment.max_timestamp {
            Some(timestamp) if is_expired(timestamp, rules, clock) => count = number + 1,
            Some(timestamp) if elapsed_ms(timestamp, clock.now_ms).is_some() => break,
            Some(_) => {}
            None => {}
        }
    }
    count
}

/// Oldest segments that can go while `retention.bytes` stay.
fn count_too_many_bytes(facts: &LogFacts<'_>, rules: &RetentionRules) -> usize {
    let Some(retention_bytes) = rules.retention_bytes else {
        return 0;
    };
    let closed: u64 = facts
        .closed
        .iter()
        .map(|segment| u64::from(segment.size_bytes))
        .sum();
    let mut surplus = (closed + facts.active_size_bytes).saturating_sub(retention_bytes);
    let fits = |segment: &&ClosedSegment| match surplus.checked_sub(u64::from(segment.size_bytes)) {
        Some(left) => {
            surplus = left;
            true
        }
        None => false,
    };
    facts.closed.iter().take_while(fits).count()
}

fn is_active_expired(facts: &LogFacts<'_>, rules: &RetentionRules, clock: WallClock) -> bool {
    let is_held = facts
        .hold_from
        .is_some_and(|hold| hold < facts.high_watermark);
    rules.delete
        && !is_held
        && facts.active_size_bytes > 0
        && facts
            .active_max_timestamp
            .is_some_and(|timestamp| is_expired(timestamp, rules, clock))
}

/// When an active segment is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RollRules {
    /// `segment.bytes`.
    pub segment_bytes: u32,
    /// `segment.ms`, measured from the first append to the segment on the broker's monotonic clock.
    pub segment_ms: u64,
}

/// Whether the active segment is closed before `append_bytes` more come (0: housekeeping asks).
///
/// An empty segment never rolls. `age_ms` is the time since its first append.
pub fn is_roll_due(rules: &RollRules, size_bytes: u32, age_ms: u64, append_bytes: u64) -> bool {
    let too_large = u64::from(size_bytes) + append_bytes > u64::from(rules.segment_bytes);
    let full = if append_bytes == 0 {
        size_bytes >= rules.segment_bytes
    } else {
        too_large
    };
    size_bytes > 0 && (full || age_ms >= rules.segment_ms)
}

#[cfg(test)]
mod tests {
    use super::{
        LogFacts, RetentionPlan, RetentionRules, RollRules, WallClock, is_roll_due, plan_retention,
    };
    use crate::segment::ClosedSegment;

    /// Four closed segments of ten offsets and 100 bytes each; the active one starts at 40.
    fn closed(timestamps: [Option<i64>; 4]) -> Vec<ClosedSegment> {
        let segment = |(number, max_timestamp): (i64, Option<i64>)| ClosedSegment {
            base_offset: number * 10,
            next_offset: number * 10 + 10,
            max_timestamp,
            size_bytes: 100,
        };
        (0..).zip(timestamps).map(segment).collect()
    }

    fn facts(closed: &[ClosedSegment]) -> LogFacts<'_> {
        LogFacts {
            closed,
            active_base_offset: 40,
            active_size_bytes: 50,
            active: None,
            active_max_timestamp: Some(5000),
            log_start_offset: 0,
            high_watermark: 45,
            hold_from: None,
        }
    }

    const KEEP: RetentionRules = RetentionRules {
        delete: true,
        retention_ms: None,
        retention_bytes: None,
    };

    const NOW: WallClock = WallClock {
        now_ms: 10_000,
        is_synchronised: true,
    };

    fn removed(plan: &RetentionPlan) -> (usize, i64, bool) {
        (plan.remove.len(), plan.log_start_offset, plan.roll_active)
    }

    const RISING: [Option<i64>; 4] = [Some(1000), Some(2000), Some(3000), Some(4000)];

    #[test]
    fn segments_go_by_time() {
        let cases = [
            (RISING, 20_000, (0, 0, false)),
            (RISING, 9000, (0, 0, false)),
            (RISING, 8999, (1, 10, false)),
            (RISING, 6500, (3, 30, false)),
            (RISING, 5500, (4, 40, false)),
            (RISING, 4000, (4, 40, true)),
            (
                [Some(1000), Some(9999), Some(1), Some(1)],
                100,
                (1, 10, false),
            ),
            (
                [Some(1000), Some(9999), Some(1), Some(1)],
                1000,
                (1, 10, false),
            ),
            (
                [Some(1000), Some(20_000), Some(1), Some(1)],
                1,
                (1, 10, false),
            ),
            ([None, Some(1000), None, Some(9999)], 5000, (2, 20, false)),
            ([None, None, None, None], 1, (0, 0, false)),
        ];
        for (timestamps, retention_ms, expected) in cases {
            let closed = closed(timestamps);
            let rules = RetentionRules {
                retention_ms: Some(retention_ms),
                ..KEEP
            };
            let plan = plan_retention(&facts(&closed), &rules, NOW);
            assert_eq!(removed(&plan), expected, "{timestamps:?} {retention_ms}");
            let unsynchronised = WallClock {
                is_synchronised: false,
                ..NOW
            };
            let plan = plan_retention(&facts(&closed), &rules, unsynchronised);
            assert_eq!(removed(&plan), (0, 0, false), "no believable clock");
        }
    }

    /// A gateway without a clock writes, hears the time, and goes on writing.
    #[test]
    fn what_was_written_before_the_clock_was_set_goes_with_what_was_written_after() {
        const DAY_MS: i64 = 86_400_000;
        let set_ms = 1_790_000_000_000;
        let rules = RetentionRules {
            retention_ms: Some(7 * 86_400_000),
            ..KEEP
        };
        let plan_at = |timestamps: [Option<i64>; 4], active: i64, now_ms: i64| {
            let closed = closed(timestamps);
            let facts = LogFacts {
                active_max_timestamp: Some(active),
                ..facts(&closed)
            };
            let clock = WallClock {
                now_ms,
                is_synchronised: true,
            };
            removed(&plan_retention(&facts, &rules, clock))
        };
        let before = [Some(5_000), None, Some(6_000), Some(7_000)];
        let across = [Some(5_000), Some(6_000), Some(set_ms), Some(set_ms + 1)];
        // At the jump: Kafka would remove all of them.
        assert_eq!(plan_at(before, 8_000, set_ms), (0, 0, false));
        assert_eq!(plan_at(across, set_ms, set_ms), (0, 0, false));
        // Eight days later.
        let later = set_ms + 8 * DAY_MS;
        assert_eq!(plan_at(across, later, later), (4, 40, false));
        assert_eq!(plan_at(before, later, later), (0, 0, false));
        // What came before the loss of the clock is as old as it is.
        let old = set_ms - 8 * DAY_MS;
        let mixed = [Some(old), Some(5_000), Some(set_ms), Some(set_ms)];
        assert_eq!(plan_at(mixed, set_ms, set_ms), (1, 10, false));
    }

    #[test]
    fn segments_go_by_bytes_but_never_below_the_limit() {
        let cases = [
            (0, 4),
            (50, 4),
            (51, 3),
            (150, 3),
            (349, 1),
            (350, 1),
            (351, 0),
            (450, 0),
        ];
        for (retention_bytes, expected) in cases {
            let closed = closed(RISING);
            let rules = RetentionRules {
                retention_bytes: Some(retention_bytes),
                ..KEEP
            };
            let plan = plan_retention(&facts(&closed), &rules, NOW);
            assert_eq!(plan.remove.len(), expected, "{retention_bytes}");
        }
    }

    #[test]
    fn what_is_held_uncommitted_or_compacted_stays() {
        let closed = closed(RISING);
        let rules = RetentionRules {
            retention_ms: Some(1),
            retention_bytes: Some(0),
            ..KEEP
        };
        let mut facts = facts(&closed);
        assert_eq!(removed(&plan_retention(&facts, &rules, NOW)), (4, 40, true));
        facts.hold_from = Some(25);
        assert_eq!(
            removed(&plan_retention(&facts, &rules, NOW)),
            (2, 20, false)
        );
        facts.hold_from = None;
        facts.high_watermark = 19;
        assert_eq!(
            removed(&plan_retention(&facts, &rules, NOW)),
            (1, 10, false)
        );
        let compacted = RetentionRules {
            delete: false,
            ..rules
        };
        assert_eq!(
            removed(&plan_retention(&facts, &compacted, NOW)),
            (0, 0, false)
        );
        facts.log_start_offset = 33;
        assert_eq!(
            removed(&plan_retention(&facts, &compacted, NOW)),
            (3, 33, false)
        );
        facts.hold_from = Some(0);
        assert_eq!(removed(&plan_retention(&facts, &KEEP, NOW)), (3, 33, false));
    }

    #[test]
    fn a_segment_rolls_by_size_and_age() {
        let rules = RollRules {
            segment_bytes: 1000,
            segment_ms: 60_000,
        };
        let cases = [
            ((0, 100_000, 0), false),
            ((0, 0, 5000), false),
            ((1, 59_999, 999), false),
            ((1, 59_999, 1000), true),
            ((1, 60_000, 1), true),
            ((999, 0, 0), false),
            ((1000, 0, 0), true),
        ];
        for ((size, age, append), expected) in cases {
            assert_eq!(
                is_roll_due(&rules, size, age, append),
                expected,
                "{size} {age} {append}"
            );
        }
    }
}
