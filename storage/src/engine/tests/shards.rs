//! Another number of shards at the next start, with a crash at every operation of the move.

use crate::disk::Disk;
use crate::engine::tests::segments::small_ring;
use crate::engine::tests::{Harness, TestClock, append, batch, key, new_log, read_all};
use crate::testing::{MemoryDisk, block_on};
use crate::{OpenError, Options, prepare_shards};

fn options(shard: u32) -> Options {
    Options {
        shard,
        ..small_ring()
    }
}

fn prepare(disk: &MemoryDisk, shards: u32) -> Result<(), OpenError> {
    block_on(prepare_shards(
        disk,
        &TestClock::default(),
        &options(0),
        shards,
    ))
}

/// Three shards with two logs each; log `n` is of shard `n / 2`. Returns what the logs hold.
fn build(disk: &MemoryDisk) -> Vec<Vec<u8>> {
    prepare(disk, 3).unwrap();
    let mut contents = Vec::new();
    for shard in 0..3_u8 {
        let mut harness = Harness::open(disk, options(u32::from(shard)));
        for number in [2 * shard, 2 * shard + 1] {
            let log = new_log(&harness, number);
            append(&log, batch(2, 100, number));
            append(&log, batch(1, 70_000, number));
            append(&log, batch(1, 50, number));
            harness.settle();
            contents.push(read_all(&mut harness, &log, 0));
        }
    }
    disk.lose_power();
    contents
}

fn check(disk: &MemoryDisk, shards: u8, contents: &[Vec<u8>], context: &str) {
    for shard in 0..shards {
        let mut harness = Harness::open(disk, options(u32::from(shard)));
        for (number, expected) in (0_u8..).zip(contents) {
            let home = number >> 1;
            let log = harness.engine.log(key(number));
            assert_eq!(
                log.is_some(),
                home % shards == shard,
                "{context}: log {number}"
            );
            let Some(log) = log else { continue };
            assert_eq!(read_all(&mut harness, &log, 0), *expected, "{context}");
            assert_eq!(log.next_index(), 6, "{context}");
        }
    }
}

#[test]
fn logs_follow_the_number_of_shards_down_and_up_again() {
    let disk = MemoryDisk::new();
    let contents = build(&disk);
    for shards in [2, 1, 4, 3] {
        prepare(&disk, u32::from(shards)).unwrap();
        check(&disk, shards, &contents, &format!("{shards} shards"));
    }
}

#[test]
fn a_crash_at_any_operation_of_the_move_is_finished_by_the_next_start() {
    let disk = MemoryDisk::new();
    let contents = build(&disk);
    let before = disk.operation_count();
    prepare(&disk, 2).unwrap();
    let operations = disk.operation_count() - before;
    for stop in 0..operations {
        let disk = MemoryDisk::new();
        build(&disk);
        disk.stop_after(Some(stop));
        assert!(prepare(&disk, 2).is_err(), "stopped at {stop}");
        disk.lose_power();
        prepare(&disk, 2).unwrap();
        check(&disk, 2, &contents, &format!("stopped at {stop}"));
    }
}

#[test]
fn new_entries_after_a_move_survive_and_old_commits_do_not_return() {
    let disk = MemoryDisk::new();
    build(&disk);
    prepare(&disk, 1).unwrap();
    let mut harness = Harness::open(&disk, options(0));
    for number in 0..6 {
        let log = harness.engine.log(key(number)).unwrap();
        append(&log, batch(1, 30, number));
    }
    harness.settle();
    disk.lose_power();
    let harness = Harness::open(&disk, options(0));
    assert_eq!(harness.recovered.len(), 6);
    assert!(harness.recovered.iter().all(|log| log.log_end_offset == 5));
}

/// Removes every file whose path begins like this.
fn remove_below(disk: &MemoryDisk, prefix: &str) -> usize {
    let paths = disk.paths();
    let removed = paths.iter().filter(|path| path.starts_with(prefix));
    removed
        .map(|path| block_on(disk.remove(path)).unwrap())
        .count()
}

#[test]
fn records_without_their_journal_are_refused_and_nothing_is_changed() {
    for (gone, named) in [
        ("journal/", "journal"),
        ("journal/shard-001/", "journal/shard-001"),
    ] {
        let disk = MemoryDisk::new();
        build(&disk);
        assert!(remove_below(&disk, gone) > 0);
        let before = disk.paths();
        let error = prepare(&disk, 3).unwrap_err();
        let OpenError::JournalMissing { directory, found } = &error else {
            panic!("{gone}: {error}");
        };
        assert_eq!(directory, named);
        assert!(before.contains(found) && found.ends_with(".log"), "{found}");
        assert!(error.is_final());
        assert_eq!(disk.paths(), before);
    }
}

#[test]
fn a_first_start_that_was_interrupted_has_no_journal_and_no_records() {
    let disk = MemoryDisk::new();
    prepare(&disk, 2).unwrap();
    // One shard was faster than the other.
    drop(Harness::open(&disk, options(0)));
    disk.lose_power();
    prepare(&disk, 2).unwrap();
    prepare(&disk, 3).unwrap();
}
