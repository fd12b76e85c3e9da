//! A round over random and chosen logs, compared with a map of the keys.

mod log;

use std::cell::RefCell;
use std::collections::BTreeMap;

use kafka_lite::record_batch::{BatchOptions, BatchProducer};

use self::log::{List, Log, NoTime, RULES};
use crate::compaction::{
    AbortedTransaction, CompactionFacts, CompactionRules, Pace, compact_log, plan_compaction,
};
use crate::retention::WallClock;
use crate::segment::{ClosedSegment, FileKind, SegmentError, file_path};
use crate::testing::batches::TestRecord;
use crate::testing::{Random, block_on};

fn keyed(key: &str, value: Option<&str>) -> TestRecord {
    (1_000_000, Some(key.into()), value.map(Into::into))
}

#[test]
fn random_logs_keep_the_state_of_a_map() {
    for seed in 0..60 {
        let mut random = Random::new(seed);
        let mut log = Log::new();
        if seed % 3 == 0 {
            log.map_bytes = 24 * 64;
        }
        for _ in 0..4 {
            for _ in 0..1 + random.below(6) {
                log.add_random_segment(&mut random);
            }
            let before = log.first_dirty_offset;
            let figures = log.compact().unwrap();
            assert!(
                figures.first_dirty_offset > before,
                "each round makes progress"
            );
            assert_eq!(
                figures.map_was_full,
                figures.first_dirty_offset < log.next_offset
            );
            assert!(figures.records_kept <= figures.records_read);
            log.check_state();
            log.check_compacted();
            let used: u64 = log
                .closed
                .iter()
                .map(|segment| u64::from(segment.size_bytes))
                .sum();
            assert_eq!(log.store.budget().used_bytes(), used);
            log.now_ms += 700;
        }
        let last_offsets: Vec<i64> = log
            .batches()
            .iter()
            .map(|(header, _)| header.last_offset())
            .collect();
        for last in log.producers.values() {
            assert!(
                last_offsets.contains(last),
                "the last batch of a producer stays"
            );
        }
    }
}

#[test]
fn a_crash_at_any_operation_of_a_round_recovers() {
    let fill = || {
        let mut log = Log::new();
        let mut random = Random::new(77);
        for _ in 0..7 {
            log.add_random_segment(&mut random);
        }
        log
    };
    let mut whole = fill();
    let start = whole.disk.operation_count();
    whole.compact().unwrap();
    let operations = whole.disk.operation_count() - start;
    assert!(operations > 30);
    for stop in 0..operations {
        let mut log = fill();
        log.disk.stop_after(Some(stop));
        let is_complete = log.compact().is_ok();
        assert!(
            !is_complete || stop + 8 > operations,
            "only an index file may be missing"
        );
        log.recover();
        log.check_state();
        log.compact().unwrap();
        log.check_state();
        log.check_compacted();
        assert_eq!(log.data(), whole.data(), "the same round in the end");
    }
}

#[test]
fn a_tombstone_goes_after_its_horizon_and_takes_nothing_with_it() {
    let mut log = Log::new();
    let options = BatchOptions::default();
    log.add_segment(vec![
        (options, vec![keyed("a", Some("1")), keyed("b", Some("1"))]),
        (options, vec![keyed("a", None), keyed("c", Some("1"))]),
    ]);
    log.compact().unwrap();
    let horizons: Vec<_> = log
        .batches()
        .iter()
        .map(|(header, _)| header.delete_horizon())
        .collect();
    assert_eq!(horizons, [None, Some(1_001_000)]);
    assert_eq!(log.data().len(), 3);
    for (now_ms, records_left) in [(1_000_999, 3), (1_001_000, 2)] {
        log.now_ms = now_ms;
        log.add_segment(vec![(options, vec![keyed("d", Some("x"))])]);
        log.compact().unwrap();
        assert_eq!(log.data().len(), records_left + 1);
        log.check_state();
    }
    let offsets: Vec<i64> = log.data().iter().map(|seen| seen.0).collect();
    assert_eq!(offsets, [1, 3, 5]);
}

#[test]
fn tombstones_stay_while_the_clock_cannot_be_believed() {
    let mut log = Log::new();
    let options = BatchOptions::default();
    log.add_segment(vec![(
        options,
        vec![keyed("a", None), keyed("b", Some("1"))],
    )]);
    let (closed, producers) = (log.closed.clone(), BTreeMap::new());
    let mut job = log.job(&closed, &producers);
    job.clock.is_synchronised = false;
    let mut pace = Pace::new(NoTime, 0);
    let owner = List(RefCell::new(Vec::new()));
    let compact = compact_log(&log.store, &log.directory, &job, &mut pace, &owner);
    block_on(compact).unwrap();
    assert_eq!(log.batches()[0].0.delete_horizon(), None);
    assert_eq!(log.data().len(), 2);
}

#[test]
fn emptied_batches_of_live_producers_and_the_end_stay_and_the_rest_goes() {
    let mut log = Log::new();
    let of = |id| BatchOptions {
        producer: Some(BatchProducer {
            id,
            epoch: 2,
            base_sequence: 40,
        }),
        ..BatchOptions::default()
    };
    log.add_segment(vec![
        (
            of(1),
            vec![keyed("a", Some("old")), keyed("b", Some("old"))],
        ),
        (of(2), vec![keyed("a", Some("old"))]),
        (of(1), vec![keyed("b", Some("old"))]),
        (BatchOptions::default(), vec![keyed("a", Some("old"))]),
        (
            BatchOptions::default(),
            vec![keyed("a", Some("new")), keyed("b", Some("new"))],
        ),
        (
            BatchOptions::default(),
            vec![(1_000_000, None, Some(vec![1]))],
        ),
    ]);
    log.producers.remove(&2);
    log.compact().unwrap();
    let left: Vec<_> = log
        .batches()
        .iter()
        .map(|(header, records)| (header.base_offset, header.last_offset(), records.len()))
        .collect();
    assert_eq!(left, [(3, 3, 0), (5, 6, 2), (7, 7, 0)]);
    let (kept, _) = &log.batches()[0];
    assert_eq!(
        (kept.producer_id, kept.producer_epoch, kept.base_sequence),
        (1, 2, 40)
    );
}

#[test]
fn records_of_aborted_transactions_go_and_shadow_nothing() {
    let mut log = Log::new();
    let transactional = BatchOptions {
        producer: Some(BatchProducer {
            id: 9,
            epoch: 0,
            base_sequence: 0,
        }),
        is_transactional: true,
        ..BatchOptions::default()
    };
    log.add_segment(vec![
        (BatchOptions::default(), vec![keyed("a", Some("kept"))]),
        (transactional, vec![keyed("a", Some("aborted"))]),
        (BatchOptions::default(), vec![keyed("z", Some("end"))]),
    ]);
    let (closed, producers) = (log.closed.clone(), BTreeMap::new());
    let mut job = log.job(&closed, &producers);
    let aborted = [AbortedTransaction {
        producer_id: 9,
        first_offset: 1,
        last_offset: 2,
    }];
    job.aborted = &aborted;
    let owner = List(RefCell::new(closed.clone()));
    let mut pace = Pace::new(NoTime, 0);
    block_on(compact_log(
        &log.store,
        &log.directory,
        &job,
        &mut pace,
        &owner,
    ))
    .unwrap();
    log.closed = owner.0.into_inner();
    let offsets: Vec<i64> = log.data().iter().map(|seen| seen.0).collect();
    assert_eq!(offsets, [0, 2]);
}

#[test]
fn damage_stops_the_round_and_changes_nothing() {
    let mut log = Log::new();
    log.add_segment(vec![(BatchOptions::default(), vec![keyed("a", Some("1"))])]);
    log.add_segment(vec![(BatchOptions::default(), vec![keyed("a", Some("2"))])]);
    let path = file_path(&log.directory, 1, FileKind::Log);
    let mut bytes = log.disk.content(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    log.disk.set_content(&path, &bytes);
    log.store.forget(&log.directory, 1);
    let before = log.closed.clone();
    let error = log.compact().unwrap_err();
    assert!(matches!(error, SegmentError::Corrupt(corrupt) if corrupt.file == path));
    assert_eq!(log.closed, before);
}

#[test]
fn a_reader_made_before_the_switch_keeps_the_old_file() {
    let mut log = Log::new();
    log.add_segment(vec![
        (BatchOptions::default(), vec![keyed("a", Some("1"))]),
        (BatchOptions::default(), vec![keyed("a", Some("2"))]),
    ]);
    let reader = block_on(log.store.reader(&log.directory, &log.closed[0])).unwrap();
    let before = log.closed[0];
    log.compact().unwrap();
    assert!(log.closed[0].size_bytes < before.size_bytes);
    let found = block_on(reader.lookup(0)).unwrap().unwrap();
    assert_eq!(found.1.base_offset, 0);
    let reader = block_on(log.store.reader(&log.directory, &log.closed[0])).unwrap();
    assert_eq!(
        block_on(reader.lookup(0)).unwrap().unwrap().1.base_offset,
        1
    );
}

#[test]
fn a_round_is_due_by_ratio_lag_and_commitment() {
    let segment = |number: i64, max_timestamp| ClosedSegment {
        base_offset: number * 10,
        next_offset: number * 10 + 10,
        max_timestamp: Some(max_timestamp),
        size_bytes: 100,
    };
    let closed = [
        segment(0, 100),
        segment(1, 200),
        segment(2, 300),
        segment(3, 400),
    ];
    let facts = CompactionFacts {
        closed: &closed,
        first_dirty_offset: 20,
        end_offset: 1000,
        earliest_dirty_timestamp: None,
    };
    let rules = CompactionRules {
        min_cleanable_dirty_ratio: 0.4,
        ..RULES
    };
    let clock = WallClock {
        now_ms: 1000,
        is_synchronised: true,
    };
    let plan = |facts: CompactionFacts<'_>, rules, clock| {
        plan_compaction(&facts, &rules, clock).map(|plan| plan.end_offset)
    };
    assert_eq!(plan(facts, rules, clock), Some(40));
    let ratio = |min_cleanable_dirty_ratio| CompactionRules {
        min_cleanable_dirty_ratio,
        ..rules
    };
    assert_eq!(plan(facts, ratio(0.5), clock), None);
    let overdue = |max_compaction_lag_ms| CompactionRules {
        max_compaction_lag_ms,
        ..ratio(0.9)
    };
    assert_eq!(plan(facts, overdue(699), clock), Some(40));
    assert_eq!(plan(facts, overdue(700), clock), None);
    let lag = |min_compaction_lag_ms| CompactionRules {
        min_compaction_lag_ms,
        ..ratio(0.3)
    };
    assert_eq!(plan(facts, lag(601), clock), Some(30));
    assert_eq!(plan(facts, lag(701), clock), None);
    let unsynchronised = WallClock {
        is_synchronised: false,
        ..clock
    };
    assert_eq!(plan(facts, lag(1), unsynchronised), None);
    assert_eq!(plan(facts, rules, unsynchronised), Some(40));
    let uncommitted = CompactionFacts {
        end_offset: 39,
        ..facts
    };
    assert_eq!(plan(uncommitted, ratio(0.3), clock), Some(30));
    let clean = CompactionFacts {
        first_dirty_offset: 40,
        ..facts
    };
    assert_eq!(plan(clean, rules, clock), None);
}
