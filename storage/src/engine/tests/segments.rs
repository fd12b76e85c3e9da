//! Large appends, write-back, reuse of the ring, checkpoints, and what recovery makes of them.

use std::time::Duration;

use crate::engine::tests::{Harness, append, batch, key, new_log, read_all, start_term};
use crate::segment::Durability;
use crate::testing::MemoryDisk;
use crate::{AppendError, Entry, LogConfig, Options};

const LOG_FILE: &str = "logs/topic1-0~01010101/00000000000000000000.log";

pub(crate) fn small_ring() -> Options {
    Options {
        ring_file_bytes: 256 * 1024,
        commit_bytes: 128 * 1024,
        log_buffer_bytes: 1 << 20,
        ..Options::gateway(0)
    }
}

#[test]
fn a_large_append_goes_to_the_segment_alone_and_comes_back() {
    let disk = MemoryDisk::new();
    let mut harness = Harness::open(&disk, Options::gateway(0));
    let log = new_log(&harness, 1);
    append(&log, batch(1, 100, 1));
    append(&log, batch(3, 60_000, 2));
    append(&log, batch(1, 100, 3));
    harness.settle();
    assert_eq!(harness.persisted(log.slot()), 6);
    let journal_bytes = harness.engine.stats().journal.bytes;
    assert!(
        journal_bytes < 10_000,
        "{journal_bytes} bytes in the journal"
    );
    assert_eq!(harness.engine.stats().bulk_bytes, 0);
    let all = read_all(&mut harness, &log, 0);

    disk.lose_power();
    let mut harness = Harness::open(&disk, Options::gateway(0));
    assert_eq!(harness.recovered[0].last_index, 6);
    let log = harness.engine.log(key(1)).unwrap();
    assert_eq!(read_all(&mut harness, &log, 0), all);
    assert_eq!(append(&log, batch(1, 10, 4)).base_offset, 5);
}

#[test]
fn the_ring_is_reused_for_ever_and_nothing_is_lost() {
    let disk = MemoryDisk::new();
    let mut harness = Harness::open(&disk, small_ring());
    let logs: Vec<_> = (1..=5).map(|number| new_log(&harness, number)).collect();
    for round in 0..200_u8 {
        for log in &logs {
            append(log, batch(1, 3_000, round));
        }
        harness.settle();
        assert!(logs.iter().all(|log| log.has_room(4_000)), "round {round}");
    }
    let rings = disk
        .paths()
        .iter()
        .filter(|path| path.contains("ring-"))
        .count();
    assert!(rings <= 4, "{rings}");
    let stats = harness.engine.stats();
    assert!(stats.journal.bytes > 3_000_000, "{stats:?}");
    let all: Vec<_> = logs
        .iter()
        .map(|log| read_all(&mut harness, log, 0))
        .collect();
    disk.lose_power();
    let mut harness = Harness::open(&disk, small_ring());
    for (number, expected) in (1..=5).zip(all) {
        let log = harness.engine.log(key(number)).unwrap();
        assert_eq!(log.log_end_offset(), 200);
        assert_eq!(read_all(&mut harness, &log, 0), expected);
    }
}

#[test]
fn an_orderly_stop_leaves_nothing_to_replay() {
    let disk = MemoryDisk::new();
    let mut harness = Harness::open(&disk, small_ring());
    let log = new_log(&harness, 1);
    append(&log, batch(2, 100, 1));
    append(&log, batch(2, 70_000, 2));
    let engine = harness.engine.clone();
    harness.run(engine.shutdown()).unwrap();
    harness.settle();
    assert_eq!(harness.live_workers(), 0);
    let all = read_all(&mut harness, &log, 0);
    disk.lose_power();
    let reads_before = disk.read_count();
    let mut harness = Harness::open(&disk, small_ring());
    assert!(disk.read_count() - reads_before < 20);
    let log = harness.engine.log(key(1)).unwrap();
    assert_eq!((log.log_end_offset(), log.next_index()), (4, 6));
    assert_eq!(read_all(&mut harness, &log, 0), all);
    append(&log, batch(1, 10, 3));
    harness.settle();
    assert_eq!(harness.persisted(log.slot()), 6);
}

#[test]
fn segments_roll_at_their_size_and_all_of_them_are_read() {
    let disk = MemoryDisk::new();
    let mut harness = Harness::open(&disk, small_ring());
    let log = new_log(&harness, 1);
    log.apply_config(LogConfig {
        segment_bytes: 200_000,
        ..LogConfig::default()
    });
    for seed in 0..10 {
        append(&log, batch(2, 35_000, seed));
        append(&log, batch(1, 100, seed));
        harness.settle();
    }
    let crate::partition::SegmentFacts { closed, active, .. } = log.segments();
    assert!(closed.len() >= 3, "{closed:?}");
    assert!(active.is_some());
    let all = read_all(&mut harness, &log, 0);
    disk.lose_power();
    let mut harness = Harness::open(&disk, small_ring());
    let log = harness.engine.log(key(1)).unwrap();
    assert_eq!(read_all(&mut harness, &log, 0), all);
    assert_eq!(log.segments().closed.len(), closed.len());
}

#[test]
fn a_torn_large_append_ends_the_log_before_it_and_takes_what_stands_behind() {
    let disk = MemoryDisk::new();
    let mut harness = Harness::open(&disk, Options::gateway(0));
    let log = new_log(&harness, 1);
    append(&log, batch(1, 70_000, 1));
    harness.settle();
    append(&log, batch(1, 70_000, 2));
    append(&log, batch(1, 100, 3));
    harness.settle();
    let mut bytes = disk.content(LOG_FILE).unwrap();
    let second = bytes.len().min(100_000);
    bytes[second] ^= 1;
    disk.set_content(LOG_FILE, &bytes);
    disk.lose_power();
    for _ in 0..2 {
        let harness = Harness::open(&disk, Options::gateway(0));
        let found = &harness.recovered[0];
        assert_eq!(found.damaged, None);
        assert_eq!((found.log_end_offset, found.last_index), (1, 2));
    }
    // The cut is recorded: the small batch behind it must not come back when the log grows again.
    let mut harness = Harness::open(&disk, Options::gateway(0));
    let log = harness.engine.log(key(1)).unwrap();
    append(&log, batch(1, 70_000, 9));
    harness.settle();
    disk.lose_power();
    let harness = Harness::open(&disk, Options::gateway(0));
    assert_eq!(harness.recovered[0].log_end_offset, 2);
}

#[test]
fn damage_below_the_durable_mark_halts_that_log_only() {
    let disk = MemoryDisk::new();
    let mut harness = Harness::open(&disk, small_ring());
    let logs = [new_log(&harness, 1), new_log(&harness, 2)];
    for log in &logs {
        append(log, batch(1, 70_000, 1));
        append(log, batch(1, 70_000, 2));
    }
    harness.settle();
    let shared = std::rc::Rc::clone(&harness.engine.shared);
    harness.run(shared.write_back_to(u64::MAX)).unwrap();
    for log in &logs {
        append(log, batch(1, 100, 3));
    }
    harness.settle();
    let bytes = disk.content(LOG_FILE).unwrap();
    disk.set_content(LOG_FILE, &bytes[..71_000]);
    disk.lose_power();
    let mut harness = Harness::open(&disk, small_ring());
    let (first, second) = (&harness.recovered[0], &harness.recovered[1]);
    let damage = first.damaged.clone().unwrap();
    assert!(damage.file.contains("topic1"), "{damage}");
    assert_eq!(second.damaged, None);
    assert_eq!(second.log_end_offset, 3);
    assert_eq!(first.log_end_offset, 1, "what is good stays readable");
    let log = harness.engine.log(key(1)).unwrap();
    assert!(!read_all(&mut harness, &log, 0).is_empty());
    let refused = log.append(Entry::Batch {
        bytes: batch(1, 10, 1),
        first_index: log.next_index(),
        term: 1,
    });
    assert!(
        matches!(refused, Err(AppendError::Halted(_))),
        "{refused:?}"
    );
}

#[test]
fn a_cut_holds_over_restarts_and_old_copies_do_not_return() {
    let disk = MemoryDisk::new();
    let mut harness = Harness::open(&disk, small_ring());
    let log = new_log(&harness, 1);
    for seed in 0..4 {
        append(&log, batch(2, 100, seed));
    }
    append(&log, batch(1, 70_000, 5));
    append(&log, batch(1, 100, 6));
    harness.settle();
    // Indices: 1 term start, then 2..=9 records, 10 the large one, 11 a small one.
    harness.run(log.truncate_from(6)).unwrap();
    assert_eq!((log.log_end_offset(), log.next_index()), (4, 6));
    start_term(&log, 2);
    append(&log, batch(1, 70_000, 7));
    append(&log, batch(1, 50, 8));
    harness.settle();
    let all = read_all(&mut harness, &log, 0);
    disk.lose_power();
    let mut harness = Harness::open(&disk, small_ring());
    let log = harness.engine.log(key(1)).unwrap();
    assert_eq!((log.log_end_offset(), log.next_index()), (6, 9));
    assert_eq!(read_all(&mut harness, &log, 0), all);
    assert_eq!(log.end_offset_of_term(1), Some((1, 4)));
}

#[test]
fn delete_records_survives_and_frees_segments() {
    let disk = MemoryDisk::new();
    let mut harness = Harness::open(&disk, small_ring());
    let log = new_log(&harness, 1);
    log.apply_config(LogConfig {
        segment_bytes: 100_000,
        ..LogConfig::default()
    });
    for seed in 0..6 {
        append(&log, batch(1, 70_000, seed));
        harness.settle();
    }
    let files = disk.paths().len();
    harness.run(log.set_log_start_offset(4)).unwrap();
    assert!(disk.paths().len() < files);
    assert_eq!(log.log_start_offset(), 4);
    disk.lose_power();
    let mut harness = Harness::open(&disk, small_ring());
    let log = harness.engine.log(key(1)).unwrap();
    assert_eq!((log.log_start_offset(), log.log_end_offset()), (4, 6));
    assert_eq!(
        read_all(&mut harness, &log, 4).len(),
        2 * batch(1, 70_000, 0).len()
    );
    harness.run(log.set_log_start_offset(6)).unwrap();
    append(&log, batch(1, 70_000, 8));
    harness.settle();
    disk.lose_power();
    let harness = Harness::open(&disk, small_ring());
    assert_eq!(harness.recovered[0].log_start_offset, 6);
    assert_eq!(harness.recovered[0].log_end_offset, 7);
}

#[test]
fn a_segment_that_was_written_at_the_checkpoint_and_is_gone_is_no_damage() {
    for goes_on in [false, true] {
        let disk = MemoryDisk::new();
        let mut harness = Harness::open(&disk, small_ring());
        let log = new_log(&harness, 1);
        append(&log, batch(3, 15_000, 1));
        harness.settle();
        let engine = harness.engine.clone();
        harness.run(engine.shutdown()).unwrap();
        harness.settle();
        // The checkpoint knows the segment as the one that is written.
        let mut harness = Harness::open(&disk, small_ring());
        let log = harness.engine.log(key(1)).unwrap();
        let paths = disk.paths().len();
        harness.run(log.close_segment()).unwrap();
        harness.run(log.set_log_start_offset(3)).unwrap();
        assert!(disk.paths().len() < paths, "its files are gone");
        if goes_on {
            append(&log, batch(2, 70_000, 2));
            harness.settle();
        }
        disk.lose_power();
        let mut harness = Harness::open(&disk, small_ring());
        let log = harness.engine.log(key(1)).unwrap();
        let end = if goes_on { 5 } else { 3 };
        assert_eq!((log.failure(), log.log_start_offset()), (None, 3));
        assert_eq!(log.log_end_offset(), end);
        append(&log, batch(1, 70_000, 3));
        harness.settle();
        assert_eq!(harness.persisted(log.slot()), log.next_index() - 1);
        read_all(&mut harness, &log, 3);
    }
}

#[test]
fn a_deleted_log_leaves_no_file_and_stays_deleted() {
    let disk = MemoryDisk::new();
    let mut harness = Harness::open(&disk, small_ring());
    let log = new_log(&harness, 1);
    append(&log, batch(1, 70_000, 1));
    harness.settle();
    let engine = harness.engine.clone();
    harness.run(engine.delete_log(key(1))).unwrap();
    assert!(harness.engine.log(key(1)).is_none());
    assert!(disk.paths().iter().all(|path| !path.starts_with("logs/")));
    disk.lose_power();
    let harness = Harness::open(&disk, small_ring());
    assert!(harness.recovered.is_empty());
}

#[test]
fn a_commit_interval_collects() {
    let disk = MemoryDisk::new();
    let options = Options {
        commit_interval: Duration::from_millis(5),
        ..small_ring()
    };
    let mut harness = Harness::open(&disk, options);
    let log = new_log(&harness, 1);
    harness.settle();
    let before = harness.engine.stats().journal.commits;
    for seed in 0..10 {
        append(&log, batch(1, 100, seed));
        harness.settle();
    }
    assert_eq!(harness.engine.stats().journal.commits, before);
    harness.advance();
    assert_eq!(harness.engine.stats().journal.commits, before + 1);
    assert_eq!(harness.persisted(log.slot()), 11);
}

#[test]
fn store_nothing_acknowledges_and_writes_nothing() {
    let disk = MemoryDisk::new();
    let options = Options {
        store_nothing: true,
        ..small_ring()
    };
    let mut harness = Harness::open(&disk, options);
    let log = new_log(&harness, 1);
    for seed in 0..10 {
        append(&log, batch(1, 100_000, seed));
    }
    harness.settle();
    assert_eq!(harness.persisted(log.slot()), 11);
    assert!(disk.paths().is_empty());
    assert_eq!(harness.engine.stats().append_buffer_bytes, 0);
}

#[test]
fn files_that_no_checkpoint_knows_are_not_taken_over() {
    let disk = MemoryDisk::new();
    disk.set_content(LOG_FILE, b"somebody's records");
    let mut harness = Harness::open(&disk, small_ring());
    let log = new_log(&harness, 1);
    append(&log, batch(1, 70_000, 1));
    harness.settle();
    assert!(matches!(log.failure(), Some(AppendError::Halted(_))));
    assert_eq!(disk.content(LOG_FILE).unwrap(), b"somebody's records");
}

#[test]
fn what_a_killed_process_had_written_is_synced_before_the_journal_lets_go_of_it() {
    let disk = MemoryDisk::new();
    let mut harness = Harness::open(&disk, small_ring());
    let log = new_log(&harness, 1);
    append(&log, batch(2, 1_000, 1));
    harness.settle();
    log.log.state.borrow_mut().write_goal = 2;
    let shared = std::rc::Rc::clone(&harness.engine.shared);
    harness
        .run(shared.write_log(&log.log, Durability::OnSync))
        .unwrap();
    drop(harness);
    // Killed, not cut off: the second life sees the segment, and its checkpoint covers it.
    let mut harness = Harness::open(&disk, small_ring());
    let log = harness.engine.log(key(1)).unwrap();
    let all = read_all(&mut harness, &log, 0);
    let shared = std::rc::Rc::clone(&harness.engine.shared);
    harness.run(shared.write_back_to(u64::MAX)).unwrap();
    disk.lose_power();
    let mut harness = Harness::open(&disk, small_ring());
    let log = harness.engine.log(key(1)).unwrap();
    assert_eq!(read_all(&mut harness, &log, 0), all);
}

#[test]
fn a_reader_that_goes_on_reads_every_batch_once_and_none_that_does_not_fit() {
    let disk = MemoryDisk::new();
    let options = Options {
        cache_bytes: 0,
        ..Options::gateway(0)
    };
    let mut harness = Harness::open(&disk, options);
    let log = new_log(&harness, 1);
    for number in 0..20 {
        append(&log, batch(1, 100_000, number));
    }
    harness.settle();
    let read = |harness: &mut Harness, next: i64, bytes: usize, forced: bool| {
        let log = log.clone();
        let before = disk.read_count();
        let pieces = harness.run(async move { log.read(next, 20, bytes, forced).await });
        let bytes = pieces.unwrap().concat();
        (bytes.len(), disk.read_count() - before)
    };
    let (one, _) = read(&mut harness, 0, 1, true);
    // Two batches fit, the third is seen and left: one read each time.
    for next in (4..20).step_by(2) {
        let expected = if next == 4 { 2 } else { 1 };
        assert_eq!(
            read(&mut harness, next, one * 2 + 1_000, true),
            (one * 2, expected),
            "{next}"
        );
    }
    // The size of the next batch is known: a read that cannot hold it does not touch the disk.
    assert_eq!(read(&mut harness, 6, one - 1, false), (0, 0));
    assert_eq!(read(&mut harness, 6, one - 1, true), (one, 1));
}
