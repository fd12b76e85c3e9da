//! Room: what goes when the byte budget of the data directory is short, as pure rules over facts.
//!
//! What it is        which segments of which logs go, in which order, and which active segments are
//!                   closed so that they can go.
//! What it is not    retention by the topics' own rules (`retention`), nor the deleter.
//! Invariants        1. of a log the oldest segments go first, without a gap, and nothing at or
//!                   behind the high watermark. 2. what was not mirrored goes behind everything
//!                   else, the least urgent first, and only where its mirror allows it. 3. an
//!                   active segment goes behind the closed ones of its turn.
//! Source            design §4 "Retention"; `edge-mirror-mqtt.md` §6, 4.

use std::collections::{BTreeMap, BTreeSet};

use crate::cache::LogSlot;
use crate::disk_budget::DeviceSpace;
use crate::retention::{LogFacts, count_deletable, log_start_after};
use crate::segment::ClosedSegment;

/// What becomes of records that are held (not mirrored yet) when nothing else is left to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmirrored {
    /// They stay: appends are refused.
    Stays,
    /// The oldest go; of several priorities those with the highest number first.
    Goes {
        /// The lower, the more urgent.
        priority: u8,
    },
}

/// A log as the byte budget sees it.
#[derive(Clone, Copy, Debug)]
pub struct BudgetLog<'a> {
    /// The log.
    pub slot: LogSlot,
    /// Its facts.
    pub facts: LogFacts<'a>,
    /// `cleanup.policy` contains `delete`; other logs (offsets, state) are never cut for space.
    pub delete: bool,
    /// What becomes of its records from `facts.hold_from` on.
    pub unmirrored: Unmirrored,
}

/// What goes to make room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BudgetPlan {
    /// Segments to remove, oldest first in each turn; of one log always its oldest.
    pub remove: Vec<(LogSlot, i64)>,
    /// Log start offset of each log that loses segments.
    pub log_start_offsets: BTreeMap<LogSlot, i64>,
    /// Logs whose active segment is to be closed: the next plan removes it.
    pub roll: BTreeSet<LogSlot>,
    /// Bytes that are still missing: appends are refused as "full" until somebody makes room.
    pub unmet_bytes: u64,
}

/// Bytes that must go so that the data directory keeps its budget and the device its reserve.
pub fn bytes_to_free(
    used_bytes: u64,
    limit_bytes: Option<u64>,
    device: Option<DeviceSpace>,
) -> u64 {
    let over_limit = limit_bytes.map_or(0, |limit| used_bytes.saturating_sub(limit));
    let into_reserve = device.map_or(0, |space| {
        space.reserve_bytes().saturating_sub(space.free_bytes)
    });
    over_limit.max(into_reserve)
}

/// One turn of a plan: whose segments are candidates.
#[derive(Clone, Copy, Debug)]
struct Turn {
    /// `None` takes what is not held; otherwise what is held, of this priority.
    held: Option<u8>,
    /// Active segments, once the closed ones are gone.
    takes_active: bool,
}

/// Chooses the oldest segments of all logs until `bytes` are free.
///
/// In this order: closed segments that are not held, active ones that are not held, then the held
/// ones (not mirrored yet) of each priority, the least urgent first.
pub fn plan_budget(logs: &[BudgetLog<'_>], bytes: u64) -> BudgetPlan {
    let mut planning = Planning {
        logs,
        taken: vec![0; logs.len()],
        plan: BudgetPlan {
            unmet_bytes: bytes,
            ..BudgetPlan::default()
        },
    };
    let priorities: BTreeSet<u8> = logs.iter().filter_map(held_priority).collect();
    let held = priorities.into_iter().rev().map(Some);
    for held in std::iter::once(None).chain(held) {
        for takes_active in [false, true] {
            planning.take_oldest(Turn { held, takes_active });
        }
    }
    planning.plan
}

/// The priority of a log whose held records may go.
fn held_priority(log: &BudgetLog<'_>) -> Option<u8> {
    match log.unmirrored {
        Unmirrored::Goes { priority } => log.facts.hold_from.map(|_| priority),
        Unmirrored::Stays => None,
    }
}

struct Planning<'a> {
    logs: &'a [BudgetLog<'a>],
    /// Segments taken of each log, the active one included.
    taken: Vec<usize>,
    plan: BudgetPlan,
}

impl Planning<'_> {
    fn take_oldest(&mut self, turn: Turn) {
        let mut queue: BTreeSet<(i64, usize)> = (0..self.logs.len())
            .filter_map(|number| Some((self.candidate(turn, number)?.0, number)))
            .collect();
        while self.plan.unmet_bytes > 0 {
            let Some((_, number)) = queue.pop_first() else {
                return;
            };
            self.take(turn, number);
            queue.extend(self.candidate(turn, number).map(|(age, _)| (age, number)));
        }
    }

    /// The next segment of a log in this turn, with its age.
    fn candidate(&self, turn: Turn, number: usize) -> Option<(i64, ClosedSegment)> {
        let log = self.logs.get(number)?;
        let count = *self.taken.get(number)?;
        let hold_from = match turn.held {
            None => log.facts.hold_from,
            Some(priority) if held_priority(log) == Some(priority) => None,
            Some(_) => return None,
        };
        if !log.delete {
            return None;
        }
        if let Some(segment) = log.facts.closed.get(count) {
            let allowed = count < count_deletable(&log.facts, hold_from);
            return allowed.then(|| (age_key(&log.facts, count), *segment));
        }
        let end = hold_from.unwrap_or(i64::MAX).min(log.facts.high_watermark);
        let is_wanted = turn.takes_active && count == log.facts.closed.len();
        let active = log.facts.active.filter(|active| active.size_bytes > 0)?;
        let allowed = is_wanted && active.next_offset <= end;
        allowed.then(|| (active.max_timestamp.unwrap_or(i64::MIN), active))
    }

    fn take(&mut self, turn: Turn, number: usize) {
        let (Some((_, segment)), Some(log), Some(count)) = (
            self.candidate(turn, number),
            self.logs.get(number),
            self.taken.get_mut(number),
        ) else {
            return;
        };
        let plan = &mut self.plan;
        plan.unmet_bytes = plan
            .unmet_bytes
            .saturating_sub(u64::from(segment.size_bytes));
        *count += 1;
        if *count > log.facts.closed.len() {
            plan.roll.insert(log.slot);
            return;
        }
        plan.remove.push((log.slot, segment.base_offset));
        let start = log_start_after(&log.facts, *count);
        plan.log_start_offsets.insert(log.slot, start);
    }
}

/// How old a segment is: its largest timestamp, or that of the nearest older segment that has one.
fn age_key(facts: &LogFacts<'_>, number: usize) -> i64 {
    let up_to = facts.closed.get(..=number).unwrap_or_default();
    up_to
        .iter()
        .rev()
        .find_map(|segment| segment.max_timestamp)
        .unwrap_or(i64::MIN)
}

#[cfg(test)]
mod tests {
    use super::{BudgetLog, BudgetPlan, Unmirrored, bytes_to_free, plan_budget};
    use crate::cache::LogSlot;
    use crate::disk_budget::DeviceSpace;
    use crate::retention::LogFacts;
    use crate::segment::ClosedSegment;

    /// Closed segments of ten offsets and 100 bytes each.
    fn closed(timestamps: &[i64]) -> Vec<ClosedSegment> {
        let segment = |(number, max_timestamp): (i64, &i64)| ClosedSegment {
            base_offset: number * 10,
            next_offset: number * 10 + 10,
            max_timestamp: Some(*max_timestamp),
            size_bytes: 100,
        };
        (0..).zip(timestamps).map(segment).collect()
    }

    /// A log with these closed segments and an active one of five offsets and 50 bytes, all
    /// committed and not held.
    fn log(slot: LogSlot, closed: &[ClosedSegment]) -> BudgetLog<'_> {
        let base_offset = closed.last().map_or(0, |last| last.next_offset);
        let active = ClosedSegment {
            base_offset,
            next_offset: base_offset + 5,
            max_timestamp: Some(1000),
            size_bytes: 50,
        };
        BudgetLog {
            slot,
            facts: LogFacts {
                closed,
                active_base_offset: base_offset,
                active_size_bytes: 50,
                active: Some(active),
                active_max_timestamp: Some(1000),
                log_start_offset: 0,
                high_watermark: base_offset + 5,
                hold_from: None,
            },
            delete: true,
            unmirrored: Unmirrored::Stays,
        }
    }

    fn held<'a>(mut log: BudgetLog<'a>, from: i64, unmirrored: Unmirrored) -> BudgetLog<'a> {
        log.facts.hold_from = Some(from);
        log.unmirrored = unmirrored;
        log
    }

    const fn goes(priority: u8) -> Unmirrored {
        Unmirrored::Goes { priority }
    }

    fn rolled(plan: &BudgetPlan) -> Vec<LogSlot> {
        plan.roll.iter().copied().collect()
    }

    #[test]
    fn the_oldest_of_all_logs_go_and_compacted_ones_never() {
        let (first, second) = (closed(&[1, 5, 6, 7]), closed(&[2, 3, 8, 9]));
        let compacted = BudgetLog {
            delete: false,
            ..log(3, &first)
        };
        let logs = [log(1, &first), log(2, &second), compacted];
        let plan = plan_budget(&logs, 250);
        assert_eq!(plan.remove, [(1, 0), (2, 0), (2, 10)]);
        assert_eq!((plan.unmet_bytes, rolled(&plan)), (0, vec![]));
        assert_eq!(
            plan.log_start_offsets.into_iter().collect::<Vec<_>>(),
            [(1, 10), (2, 20)]
        );
        assert_eq!(plan_budget(&logs, 0).remove, []);
    }

    #[test]
    fn active_segments_are_closed_when_nothing_closed_is_left() {
        let (first, none) = (closed(&[1, 2]), closed(&[]));
        let mut busy = log(1, &first);
        busy.facts.active = busy.facts.active.map(|active| ClosedSegment {
            max_timestamp: Some(2000),
            ..active
        });
        let logs = [busy, log(2, &none)];
        let plan = plan_budget(&logs, 200);
        assert_eq!((plan.remove.len(), rolled(&plan)), (2, vec![]));
        // The one with the older records first.
        let plan = plan_budget(&logs, 201);
        assert_eq!((plan.unmet_bytes, rolled(&plan)), (0, vec![2]));
        let plan = plan_budget(&logs, 260);
        assert_eq!((plan.unmet_bytes, rolled(&plan)), (0, vec![1, 2]));
        let plan = plan_budget(&logs, 1000);
        assert_eq!((plan.unmet_bytes, rolled(&plan)), (700, vec![1, 2]));
        assert_eq!(plan.log_start_offsets[&1], 20);
    }

    #[test]
    fn what_is_uncommitted_stays() {
        let segments = closed(&[1, 2]);
        let mut one = log(1, &segments);
        for (high_watermark, expected) in [(24, (2, 0)), (25, (2, 1)), (19, (1, 0)), (9, (0, 0))] {
            one.facts.high_watermark = high_watermark;
            let plan = plan_budget(&[one], 1000);
            let found = (plan.remove.len(), plan.roll.len());
            assert_eq!(found, expected, "{high_watermark}");
        }
        one.facts.high_watermark = 25;
        one.facts.active = None;
        assert_eq!(rolled(&plan_budget(&[one], 1000)), Vec::<LogSlot>::new());
    }

    #[test]
    fn what_is_not_mirrored_goes_last_and_the_least_urgent_first() {
        let segments = closed(&[1, 2, 3, 4]);
        let logs = [
            // The oldest records are the most urgent ones.
            held(log(1, &segments), 0, goes(0)),
            held(log(2, &segments), 20, goes(7)),
            log(3, &segments),
        ];
        let order = |bytes| {
            let plan = plan_budget(&logs, bytes);
            let slots: Vec<LogSlot> = plan.remove.iter().map(|(slot, _)| *slot).collect();
            (slots, rolled(&plan), plan.unmet_bytes)
        };
        // Mirrored and never mirrored ones, by age, then what log 3 has not closed.
        assert_eq!(order(600), (vec![2, 3, 2, 3, 3, 3], vec![], 0));
        assert_eq!(order(650), (vec![2, 3, 2, 3, 3, 3], vec![3], 0));
        // Then the rest of log 2 with its active segment, and log 1 at last.
        let (slots, roll, unmet) = order(900);
        assert_eq!((slots.len(), roll, unmet), (8, vec![2, 3], 0));
        let (slots, roll, unmet) = order(901);
        assert_eq!((slots.last(), roll, unmet), (Some(&1), vec![2, 3], 0));
        let (slots, roll, unmet) = order(2000);
        assert_eq!((slots.len(), roll, unmet), (12, vec![1, 2, 3], 650));
    }

    #[test]
    fn what_must_not_go_unmirrored_loses_what_is_mirrored_and_no_more() {
        let segments = closed(&[1, 2, 3, 4]);
        let logs = [
            held(log(1, &segments), 25, Unmirrored::Stays),
            held(log(2, &segments), 45, goes(1)),
        ];
        let plan = plan_budget(&logs, 5000);
        assert_eq!(plan.log_start_offsets[&1], 20);
        assert_eq!(plan.log_start_offsets[&2], 40);
        assert_eq!(rolled(&plan), [2]);
        assert_eq!(plan.unmet_bytes, 5000 - 200 - 450);
        let none_mirrored = held(log(1, &segments), 0, Unmirrored::Stays);
        let plan = plan_budget(&[none_mirrored], 100);
        let nothing = BudgetPlan {
            unmet_bytes: 100,
            ..BudgetPlan::default()
        };
        assert_eq!(plan, nothing);
    }

    #[test]
    fn both_bounds_of_space_count() {
        let space = DeviceSpace {
            free_bytes: 60 << 20,
            total_bytes: 1 << 30,
            reserve: None,
        };
        assert_eq!(bytes_to_free(100, None, None), 0);
        assert_eq!(bytes_to_free(100, Some(40), None), 60);
        assert_eq!(bytes_to_free(100, Some(40), Some(space)), 4 << 20);
        assert_eq!(bytes_to_free(10 << 20, Some(4 << 20), Some(space)), 6 << 20);
    }
}
