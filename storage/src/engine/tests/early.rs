//! `flush.messages` and `flush.ms`: acknowledged before the flush, flushed when they say so.

use std::time::Duration;

use crate::engine::tests::segments::small_ring;
use crate::engine::tests::{Harness, TestLog, append, batch, key, new_log, start_term};
use crate::testing::MemoryDisk;
use crate::{LogConfig, limits};

fn unflushed_log(harness: &mut Harness, flush_messages: u64, interval: Duration) -> TestLog {
    let config = LogConfig {
        flush_messages,
        flush_interval: interval,
        ..LogConfig::default()
    };
    let log = harness.engine.create_log(key(1), "topic1", config);
    start_term(&log, 1);
    harness.settle();
    log
}

fn commits(harness: &Harness) -> u64 {
    harness.engine.stats().journal.commits
}

/// End of the log after a power cut.
fn end_after_power_cut(disk: &MemoryDisk) -> i64 {
    disk.lose_power();
    let harness = Harness::open(disk, small_ring());
    assert_eq!(
        harness.recovered[0].damaged, None,
        "a lost end is no damage"
    );
    harness.engine.log(key(1)).unwrap().log_end_offset()
}

#[test]
fn a_batch_is_acknowledged_before_its_flush_and_a_crash_loses_it() {
    let disk = MemoryDisk::new();
    let mut harness = Harness::open(&disk, small_ring());
    let log = unflushed_log(&mut harness, 100, limits::UNFLUSHED_TIME_MAX);
    let before = commits(&harness);
    for seed in 0..3 {
        append(&log, batch(10, 50, seed));
        harness.settle();
    }
    assert_eq!(harness.persisted(log.slot()), 31);
    assert_eq!(commits(&harness), before, "nothing was flushed");
    assert_eq!(end_after_power_cut(&disk), 0);
}

#[test]
fn the_batch_that_makes_flush_messages_full_waits_for_the_flush() {
    let disk = MemoryDisk::new();
    let mut harness = Harness::open(&disk, small_ring());
    let log = unflushed_log(&mut harness, 25, limits::UNFLUSHED_TIME_MAX);
    let before = commits(&harness);
    append(&log, batch(20, 50, 1));
    harness.settle();
    assert_eq!(commits(&harness), before);
    append(&log, batch(5, 50, 2));
    harness.settle();
    assert_eq!(
        (commits(&harness), harness.persisted(log.slot())),
        (before + 1, 26)
    );
    append(&log, batch(24, 50, 3));
    harness.settle();
    assert_eq!(commits(&harness), before + 1, "the count begins anew");
    assert_eq!(harness.persisted(log.slot()), 50);
    assert_eq!(end_after_power_cut(&disk), 25);
}

#[test]
fn flush_ms_flushes_what_waits() {
    let disk = MemoryDisk::new();
    let mut harness = Harness::open(&disk, small_ring());
    let log = unflushed_log(&mut harness, 1_000, Duration::from_millis(30));
    append(&log, batch(10, 50, 1));
    harness.settle();
    let before = commits(&harness);
    harness.advance();
    assert_eq!(harness.clock.now.get(), Duration::from_millis(30));
    assert_eq!(commits(&harness), before + 1);
    assert_eq!(end_after_power_cut(&disk), 10);
}

#[test]
fn a_strict_log_takes_the_others_unflushed_records_with_it() {
    let disk = MemoryDisk::new();
    let mut harness = Harness::open(&disk, small_ring());
    let log = unflushed_log(&mut harness, 1_000, limits::UNFLUSHED_TIME_MAX);
    append(&log, batch(10, 50, 1));
    let strict = new_log(&harness, 2);
    append(&strict, batch(1, 50, 2));
    harness.settle();
    assert_eq!(harness.persisted(strict.slot()), 2);
    assert_eq!(end_after_power_cut(&disk), 10);
}

#[test]
fn a_large_batch_is_acknowledged_before_it_is_written_and_a_term_never() {
    let disk = MemoryDisk::new();
    let mut harness = Harness::open(&disk, small_ring());
    let log = unflushed_log(&mut harness, 1_000, limits::UNFLUSHED_TIME_MAX);
    let large = batch(2, 40_000, 1);
    assert!(large.len() >= small_ring().direct_bytes);
    append(&log, large);
    append(&log, batch(3, 50, 2));
    start_term(&log, 2);
    disk.stop_after(Some(0));
    harness.settle();
    // The disk does nothing any more: the batches may be told of, the term start never.
    assert!(harness.persisted(log.slot()) <= 6);
    drop(harness);
    let disk = MemoryDisk::new();
    let mut harness = Harness::open(&disk, small_ring());
    let log = unflushed_log(&mut harness, 1_000, limits::UNFLUSHED_TIME_MAX);
    append(&log, batch(2, 40_000, 1));
    append(&log, batch(3, 50, 2));
    harness.settle();
    assert_eq!(harness.persisted(log.slot()), 6);
    harness.run(log.write_back()).unwrap();
    assert_eq!(harness.persisted(log.slot()), 6);
}

#[test]
fn an_orderly_stop_loses_nothing() {
    let disk = MemoryDisk::new();
    let mut harness = Harness::open(&disk, small_ring());
    let log = unflushed_log(&mut harness, 1_000, limits::UNFLUSHED_TIME_MAX);
    append(&log, batch(10, 50, 1));
    harness.settle();
    let engine = harness.engine.clone();
    harness.run(engine.shutdown()).unwrap();
    harness.settle();
    assert_eq!(harness.live_workers(), 0);
    assert_eq!(end_after_power_cut(&disk), 10);
}
