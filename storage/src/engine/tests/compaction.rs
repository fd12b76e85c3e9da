//! Compaction of a log inside the engine: beside appends, over crashes, with or without checkpoint.

use std::collections::BTreeMap;

use bytes::Bytes;
use kafka_lite::record_batch::{BatchBuilder, BatchOptions, BatchView};

use crate::compaction::{CompactionFacts, CompactionRules, Pace, plan_compaction};
use crate::engine::tests::segments::small_ring;
use crate::engine::tests::{Harness, TestLog, append, key, new_log};
use crate::retention::WallClock;
use crate::testing::MemoryDisk;
use crate::{ChangeError, CompactionRequest, LogConfig};

/// What each key was last set to.
type State = BTreeMap<u8, Vec<u8>>;

fn keyed(first_key: u8, seed: u8, value_bytes: usize) -> Bytes {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for key in [first_key, first_key + 1] {
        let value = vec![seed; value_bytes];
        builder
            .append(1000, Some(&[key]), Some(&value), &[])
            .unwrap();
    }
    Bytes::from(builder.finish().unwrap())
}

/// Appends batches of two keys each, large ones straight to segments and small ones to the journal.
fn fill(harness: &mut Harness, log: &TestLog, state: &mut State, rounds: u8) {
    for seed in 0..rounds {
        let (first, bytes) = (seed % 3, if seed % 4 == 3 { 50 } else { 40_000 });
        append(log, keyed(first, seed, bytes));
        for key in [first, first + 1] {
            state.insert(key, vec![seed; bytes]);
        }
        harness.settle();
    }
}

fn filled(disk: &MemoryDisk) -> (Harness, TestLog, State) {
    let mut harness = Harness::open(disk, small_ring());
    let log = new_log(&harness, 1);
    log.apply_config(LogConfig {
        segment_bytes: 200_000,
        ..LogConfig::default()
    });
    let mut state = State::new();
    fill(&mut harness, &log, &mut state, 16);
    (harness, log, state)
}

fn compact(harness: &mut Harness, log: &TestLog) -> Result<u64, ChangeError> {
    let facts = log.segments();
    let rules = CompactionRules {
        min_cleanable_dirty_ratio: 0.0,
        min_compaction_lag_ms: 0,
        max_compaction_lag_ms: u64::MAX,
        delete_retention_ms: 1000,
        segment_bytes: 200_000,
    };
    let clock = WallClock {
        now_ms: 5000,
        is_synchronised: true,
    };
    let facts = CompactionFacts {
        closed: &facts.closed,
        first_dirty_offset: 0,
        end_offset: log.log_end_offset(),
        earliest_dirty_timestamp: None,
    };
    let request = CompactionRequest {
        plan: plan_compaction(&facts, &rules, clock).unwrap(),
        rules,
        clock,
        map_bytes: 10_000,
        aborted: &[],
    };
    let mut pace = Pace::new(harness.clock.clone(), 0);
    let figures = harness.run(log.compact(request, &mut pace))?;
    assert!(figures.bytes_after <= figures.bytes_before);
    Ok(figures.bytes_before - figures.bytes_after)
}

/// Reads the whole log as a consumer does.
fn state_of(harness: &mut Harness, log: &TestLog) -> State {
    let (mut state, mut next, end) = (State::new(), 0, log.log_end_offset());
    while next < end {
        let pieces = harness
            .run(log.read(next, end, 1 << 20, true))
            .unwrap()
            .concat();
        assert!(!pieces.is_empty(), "no progress at {next} of {end}");
        let mut rest = &pieces[..];
        while let Some((view, later)) = BatchView::split_first(rest).unwrap() {
            view.check_crc().unwrap();
            for record in view.records(&Default::default(), &mut Vec::new()).unwrap() {
                let record = record.unwrap();
                state.insert(record.key.unwrap()[0], record.value.unwrap().to_vec());
            }
            next = view.header().next_offset();
            rest = later;
        }
    }
    state
}

#[test]
fn a_compacted_log_goes_on_and_survives_a_power_cut_without_a_checkpoint() {
    let disk = MemoryDisk::new();
    let (mut harness, log, mut state) = filled(&disk);
    let before = log.segments().closed.len();
    assert!(before >= 3, "{before}");
    assert!(compact(&mut harness, &log).unwrap() > 100_000);
    assert_eq!(state_of(&mut harness, &log), state);
    fill(&mut harness, &log, &mut state, 7);
    let end = log.log_end_offset();
    let closed = log.segments().closed;

    disk.lose_power();
    let mut harness = Harness::open(&disk, small_ring());
    let log = harness.engine.log(key(1)).unwrap();
    assert_eq!(log.log_end_offset(), end);
    assert_eq!(log.segments().closed, closed);
    assert_eq!(state_of(&mut harness, &log), state);
    fill(&mut harness, &log, &mut state, 9);
    compact(&mut harness, &log).unwrap();
    assert_eq!(state_of(&mut harness, &log), state);

    let engine = harness.engine.clone();
    harness.run(engine.shutdown()).unwrap();
    disk.lose_power();
    let mut harness = Harness::open(&disk, small_ring());
    let log = harness.engine.log(key(1)).unwrap();
    assert_eq!(state_of(&mut harness, &log), state);
}

#[test]
fn a_crash_at_any_operation_of_a_compaction_loses_nothing() {
    let disk = MemoryDisk::new();
    let (mut harness, log, _) = filled(&disk);
    let start = disk.operation_count();
    compact(&mut harness, &log).unwrap();
    let operations = disk.operation_count() - start;
    assert!(operations > 20, "{operations}");
    for stop in 0..operations {
        let disk = MemoryDisk::new();
        let (mut harness, log, mut state) = filled(&disk);
        let end = log.log_end_offset();
        disk.stop_after(Some(stop));
        drop(compact(&mut harness, &log));
        disk.lose_power();
        let mut harness = Harness::open(&disk, small_ring());
        let log = harness.engine.log(key(1)).unwrap();
        assert_eq!(log.log_end_offset(), end, "operation {stop}");
        assert_eq!(state_of(&mut harness, &log), state, "operation {stop}");
        fill(&mut harness, &log, &mut state, 5);
        compact(&mut harness, &log).unwrap();
        assert_eq!(state_of(&mut harness, &log), state, "operation {stop}");
    }
}

#[test]
fn the_active_segment_of_the_checkpoint_may_be_rolled_and_compacted_since() {
    let disk = MemoryDisk::new();
    let (mut harness, log, mut state) = filled(&disk);
    let shared = std::rc::Rc::clone(&harness.engine.shared);
    harness.run(shared.write_back_to(u64::MAX)).unwrap();
    let active = log.segments().closed.last().unwrap().next_offset;
    fill(&mut harness, &log, &mut state, 16);
    let closed = log.segments().closed;
    assert!(closed.iter().any(|segment| segment.base_offset == active));
    compact(&mut harness, &log).unwrap();
    let end = log.log_end_offset();

    disk.lose_power();
    let mut harness = Harness::open(&disk, small_ring());
    let log = harness.engine.log(key(1)).unwrap();
    assert_eq!(log.failure(), None);
    assert_eq!(log.log_end_offset(), end);
    assert_eq!(state_of(&mut harness, &log), state);
}
