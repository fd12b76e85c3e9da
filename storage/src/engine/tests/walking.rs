//! Small entries through the journal: persisted, read back, recovered.

use crate::engine::tests::{Harness, append, batch, key, new_log, read_all, start_term};
use crate::testing::MemoryDisk;
use crate::{OpenError, Options};

fn options() -> Options {
    Options::gateway(0)
}

#[test]
fn entries_are_reported_after_their_commit_and_survive_a_power_cut() {
    let disk = MemoryDisk::new();
    let mut harness = Harness::open(&disk, options());
    let log = new_log(&harness, 1);
    let first = append(&log, batch(3, 100, 1));
    assert_eq!((first.base_offset, first.last_index), (0, 4));
    assert_eq!(harness.persisted(log.slot()), 0, "nothing was written yet");
    harness.settle();
    assert_eq!(harness.persisted(log.slot()), 4);
    append(&log, batch(2, 100, 2));
    harness.settle();
    let before = read_all(&mut harness, &log, 0);

    disk.lose_power();
    let mut harness = Harness::open(&disk, options());
    let found = &harness.recovered[0];
    assert_eq!((found.log_end_offset, found.last_index), (5, 6));
    assert_eq!((found.first_index, found.key), (2, key(1)));
    assert_eq!(found.side_table.entries().len(), 1);
    let log = harness.engine.log(key(1)).unwrap();
    assert_eq!(read_all(&mut harness, &log, 0), before);
    start_term(&log, 2);
    assert_eq!(append(&log, batch(1, 10, 3)).base_offset, 5);
    harness.settle();
    assert_eq!(harness.persisted(log.slot()), 8);
}

#[test]
fn what_was_not_written_is_not_there_after_a_power_cut() {
    let disk = MemoryDisk::new();
    let mut harness = Harness::open(&disk, options());
    let log = new_log(&harness, 1);
    append(&log, batch(1, 10, 1));
    harness.settle();
    append(&log, batch(1, 10, 2));
    disk.lose_power();
    let harness = Harness::open(&disk, options());
    assert_eq!(harness.recovered[0].log_end_offset, 1);
}

#[test]
fn many_appends_of_one_turn_are_one_commit() {
    let disk = MemoryDisk::new();
    let mut harness = Harness::open(&disk, options());
    let logs: Vec<_> = (0..50).map(|number| new_log(&harness, number)).collect();
    harness.settle();
    let before = harness.engine.stats().journal.commits;
    for log in &logs {
        append(log, batch(1, 20, 7));
    }
    harness.settle();
    assert_eq!(harness.engine.stats().journal.commits, before + 1);
    for log in &logs {
        assert_eq!(harness.persisted(log.slot()), 2);
    }
}

#[test]
fn hard_state_and_cursors_come_back() {
    let disk = MemoryDisk::new();
    let mut harness = Harness::open(&disk, options());
    let log = new_log(&harness, 1);
    harness.engine.journal_hard_state(log.slot(), 3, Some(7));
    let engine = harness.engine.clone();
    harness
        .run(engine.journal_cursor(b"mirror/a", b"12"))
        .unwrap();
    assert_eq!(
        harness.events.hard_states.borrow().as_slice(),
        [(log.slot(), 3, Some(7))]
    );
    disk.lose_power();
    let harness = Harness::open(&disk, options());
    assert_eq!(harness.recovered[0].term, 3);
    assert_eq!(harness.recovered[0].vote, Some(7));
    assert_eq!(
        harness.engine.cursors(),
        [(b"mirror/a".to_vec(), b"12".to_vec())]
    );
}

#[test]
fn a_damaged_acknowledged_commit_stops_the_start_with_file_and_position() {
    let disk = MemoryDisk::new();
    let mut harness = Harness::open(&disk, options());
    let log = new_log(&harness, 1);
    for seed in 0..4 {
        append(&log, batch(1, 10, seed));
        harness.settle();
    }
    let path = "journal/shard-000/ring-0000.journal";
    let mut bytes = disk.content(path).unwrap();
    bytes[512 + 100] ^= 1;
    disk.set_content(path, &bytes);
    match Harness::try_open(&disk, options()) {
        Err(OpenError::Damaged(damage)) => {
            assert_eq!((damage.file.as_str(), damage.position), (path, 512));
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("opened"),
    }
}

#[test]
fn a_torn_last_commit_ends_the_log_and_the_next_life_goes_on() {
    let disk = MemoryDisk::new();
    let mut harness = Harness::open(&disk, options());
    let log = new_log(&harness, 1);
    for seed in 0..3 {
        append(&log, batch(1, 10, seed));
        harness.settle();
    }
    let path = "journal/shard-000/ring-0000.journal";
    let mut bytes = disk.content(path).unwrap();
    bytes[1024 + 300..1536].fill(0);
    bytes[1024 + 60] ^= 0x55;
    disk.set_content(path, &bytes);
    for life in 0..3_i64 {
        let mut harness = Harness::open(&disk, options());
        assert_eq!(harness.recovered[0].log_end_offset, 2 + life);
        let log = harness.engine.log(key(1)).unwrap();
        append(&log, batch(1, 10, 9));
        harness.settle();
        disk.lose_power();
    }
}

#[test]
fn a_failed_write_poisons_the_journal() {
    let disk = MemoryDisk::new();
    let mut harness = Harness::open(&disk, options());
    let log = new_log(&harness, 1);
    append(&log, batch(1, 10, 1));
    harness.settle();
    disk.stop_after(Some(0));
    append(&log, batch(1, 10, 2));
    harness.settle();
    assert_eq!(harness.persisted(log.slot()), 2);
    assert_eq!(harness.events.failed.borrow().len(), 1);
    disk.stop_after(None);
    let refused = log.append(crate::Entry::Batch {
        bytes: batch(1, 10, 3),
        first_index: log.next_index(),
        term: 1,
    });
    assert!(refused.is_err(), "poisoned for good");
    assert_eq!(harness.live_workers(), 0);
}

#[test]
fn an_append_that_was_told_of_room_finds_it() {
    for bytes in 30..1_000 {
        let disk = MemoryDisk::new();
        let options = Options {
            commit_bytes: crate::limits::COMMIT_BYTES_MINIMUM,
            ..options()
        };
        let harness = Harness::open(&disk, options);
        let logs = [new_log(&harness, 1), new_log(&harness, 2)];
        let mut appended = 0;
        // Nothing is written meanwhile: the commits that may wait fill up to the last byte.
        for log in logs.iter().cycle() {
            let batch = batch(1, bytes, 1);
            if !log.has_room(batch.len()) {
                break;
            }
            append(log, batch);
            appended += 1;
        }
        assert!(appended > 30, "{appended} of {bytes}");
    }
}

#[test]
fn the_ring_grows_with_use_and_a_stopped_shard_opens_again() {
    let disk = MemoryDisk::new();
    let options = Options {
        ring_file_bytes: 512 * 1024,
        ..options()
    };
    let mut harness = Harness::open(&disk, options.clone());
    let log = new_log(&harness, 1);
    assert_eq!(disk.paths().len(), 1);
    let mut appended = 1;
    while log.has_room(20_100) && appended < 60 {
        append(&log, batch(1, 20_000, 1));
        harness.settle();
        appended += 1;
    }
    assert!(disk.paths().len() > 2, "{:?}", disk.paths());
    assert_eq!(harness.persisted(log.slot()), appended);
    let engine = harness.engine.clone();
    harness.run(engine.shutdown()).unwrap();
    harness.settle();
    assert_eq!(harness.live_workers(), 0);
    let harness = Harness::open(&disk, options);
    assert_eq!(harness.recovered[0].last_index, appended);
}
