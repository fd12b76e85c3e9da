//! Housekeeping of one log: roll, settle, scrub, and what the disk budget counts.

use crate::engine::tests::segments::small_ring;
use crate::engine::tests::{Harness, append, batch, key, new_log, read_all};
use crate::scrub::ScrubCursor;
use crate::testing::MemoryDisk;
use crate::{ChangeError, LogConfig};

const LOG_FILE: &str = "logs/topic1-0~01010101/00000000000000000000.log";

#[test]
fn a_settled_log_ends_with_its_last_batch_and_takes_appends() {
    let disk = MemoryDisk::new();
    let mut harness = Harness::open(&disk, small_ring());
    let log = new_log(&harness, 1);
    append(&log, batch(2, 100, 1));
    append(&log, batch(1, 70_000, 2));
    append(&log, batch(2, 100, 3));
    harness.settle();
    assert!(harness.run(log.settle()).unwrap());
    let bytes = read_all(&mut harness, &log, 0);
    assert_eq!(disk.content(LOG_FILE).unwrap(), bytes);
    assert!(!harness.run(log.settle()).unwrap(), "nothing is left to do");
    let budget = harness.engine.disk_budget().clone();
    assert_eq!(budget.used_bytes(), bytes.len() as u64);

    append(&log, batch(2, 100, 4));
    let engine = harness.engine.clone();
    harness.run(engine.shutdown()).unwrap();
    let stopped = disk.content(LOG_FILE).unwrap();
    assert!(stopped.len() > bytes.len() && stopped.starts_with(&bytes));
    let mut harness = Harness::open(&disk, small_ring());
    let log = harness.engine.log(key(1)).unwrap();
    assert_eq!(read_all(&mut harness, &log, 0), stopped);
    assert!(!harness.run(log.settle()).unwrap(), "the stop settled it");
}

#[test]
fn a_roll_takes_the_append_buffer_along() {
    let disk = MemoryDisk::new();
    let mut harness = Harness::open(&disk, small_ring());
    let log = new_log(&harness, 1);
    append(&log, batch(3, 100, 1));
    harness.settle();
    let facts = log.segments();
    assert_eq!((facts.closed.len(), facts.active), (0, None));
    assert!(facts.buffered_bytes > 300);
    harness.run(log.roll()).unwrap();
    let facts = log.segments();
    assert_eq!((facts.closed.len(), facts.buffered_bytes), (1, 0));
    assert_eq!(facts.closed[0].next_offset, 3);
}

#[test]
fn a_deleted_log_gives_back_all_that_it_took() {
    let disk = MemoryDisk::new();
    let mut harness = Harness::open(&disk, small_ring());
    let log = new_log(&harness, 1);
    log.apply_config(LogConfig {
        segment_bytes: 100_000,
        ..LogConfig::default()
    });
    for seed in 0..5 {
        append(&log, batch(1, 70_000, seed));
        harness.settle();
    }
    let budget = harness.engine.disk_budget().clone();
    assert!(budget.used_bytes() > 350_000);
    // A cut into the last closed segment makes it the active one again: counted once.
    let index = log.with_side_table(|side| side.index_of_offset(3));
    harness.run(log.truncate_from(index)).unwrap();
    let engine = harness.engine.clone();
    harness.run(engine.delete_log(key(1))).unwrap();
    assert_eq!(budget.used_bytes(), 0);
}

#[test]
fn scrub_halts_a_log_whose_closed_segment_is_damaged() {
    let disk = MemoryDisk::new();
    let mut harness = Harness::open(&disk, small_ring());
    let log = new_log(&harness, 1);
    for seed in 0..4 {
        append(&log, batch(2, 1000, seed));
    }
    harness.run(log.roll()).unwrap();
    let cursor = ScrubCursor::default();
    let step = harness.run(log.scrub_step(0, cursor, 3000)).unwrap();
    let step = step.unwrap();
    assert!(!step.is_finished && step.batches == 2);
    let last = harness
        .run(log.scrub_step(0, step.cursor, 1 << 20))
        .unwrap();
    assert!(last.unwrap().is_finished);
    let gone = harness.run(log.scrub_step(77, cursor, 3000)).unwrap();
    assert_eq!(gone, None);

    let mut bytes = disk.content(LOG_FILE).unwrap();
    bytes[500] ^= 1;
    disk.set_content(LOG_FILE, &bytes);
    let directory = "logs/topic1-0~01010101".into();
    harness.engine.shared.store.forget(&directory, 0);
    let found = harness.run(log.scrub_step(0, cursor, 1 << 20));
    assert!(matches!(found, Err(ChangeError::Corrupt(_))), "{found:?}");
    assert!(log.failure().is_some(), "no further record is taken");
}
