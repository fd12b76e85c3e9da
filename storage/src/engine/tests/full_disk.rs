//! A full disk: data is refused and comes back by itself, what uses the reserve goes on.

use crate::disk_budget::DeviceSpace;
use crate::engine::tests::segments::small_ring;
use crate::engine::tests::{Harness, TestLog, append, batch, key, new_log, read_all};
use crate::testing::MemoryDisk;
use crate::{AppendError, Entry, LogConfig, Options};

#[test]
fn a_full_disk_refuses_appends_and_recovers_by_itself() {
    let disk = MemoryDisk::new();
    let mut harness = Harness::open(&disk, small_ring());
    let log = new_log(&harness, 1);
    append(&log, batch(1, 70_000, 1));
    harness.settle();
    disk.set_capacity(1_500_000);
    let mut refused = None;
    for seed in 0..100 {
        let appended = log.append(Entry::Batch {
            bytes: batch(1, 70_000, seed),
            first_index: log.next_index(),
            term: 1,
        });
        harness.settle();
        if let Err(error) = appended {
            refused = Some(error);
            break;
        }
    }
    assert_eq!(refused, Some(AppendError::DiskFull));
    assert!(log.failure().is_none());
    let waiting = log.next_index() - 1;
    assert!(harness.persisted(log.slot()) < waiting);
    disk.set_capacity(u64::MAX);
    for _ in 0..5 {
        harness.advance();
    }
    assert_eq!(harness.persisted(log.slot()), waiting);
    assert!(log.has_room(70_000));
}

#[test]
fn small_appends_on_a_full_disk_are_refused_and_hard_states_still_written() {
    let disk = MemoryDisk::new();
    let mut harness = Harness::open(&disk, small_ring());
    let log = new_log(&harness, 1);
    let other = new_log(&harness, 2);
    // The ring has its four files before the disk fills up.
    for seed in 0..60 {
        append(&log, batch(1, 15_000, seed));
        harness.settle();
    }
    disk.set_capacity(1);
    let mut refused = None;
    for seed in 0..200 {
        let appended = log.append(Entry::Batch {
            bytes: batch(1, 15_000, seed),
            first_index: log.next_index(),
            term: 1,
        });
        harness.settle();
        harness.advance();
        if let Err(error) = appended {
            refused = Some(error);
            break;
        }
    }
    assert_eq!(refused, Some(AppendError::DiskFull));
    for term in 2..40 {
        harness.engine.journal_hard_state(other.slot(), term, None);
        harness.settle();
    }
    assert_eq!(harness.events.hard_states.borrow().len(), 38);
    let acknowledged = harness.persisted(log.slot());
    disk.set_capacity(u64::MAX);
    for _ in 0..10 {
        harness.advance();
    }
    assert!(log.has_room(15_000));
    disk.lose_power();
    let harness = Harness::open(&disk, small_ring());
    assert!(harness.recovered[0].last_index >= acknowledged);
}

#[test]
fn a_full_disk_is_told_until_a_write_succeeds_and_is_tried_again_without_new_appends() {
    let disk = MemoryDisk::new();
    // One log's buffer is what asks for write-back: the ring is large and memory is not short.
    let options = Options {
        log_buffer_bytes: 30_000,
        ..Options::gateway(0)
    };
    let mut harness = Harness::open(&disk, options);
    let log = new_log(&harness, 1);
    disk.set_capacity(1);
    for seed in 0..2 {
        append(&log, batch(1, 15_000, seed));
        harness.settle();
    }
    assert!(harness.engine.stats().disk_full);
    for _ in 0..5 {
        harness.advance();
        assert!(harness.engine.stats().disk_full, "it is full all the time");
    }
    disk.set_capacity(u64::MAX);
    for _ in 0..3 {
        harness.advance();
    }
    assert!(!harness.engine.stats().disk_full);
    assert!(log.has_room(15_000));
    assert!(log.failure().is_none());
}

/// A log as the offsets of consumers are.
fn new_reserve_log(harness: &Harness, number: u8) -> TestLog {
    let log = new_log(harness, number);
    log.apply_config(LogConfig {
        uses_reserve: true,
        ..LogConfig::default()
    });
    log
}

fn try_append(log: &TestLog, bytes: usize, seed: u8) -> Result<(), AppendError> {
    let entry = Entry::Batch {
        bytes: batch(1, bytes, seed),
        first_index: log.next_index(),
        term: 1,
    };
    log.append(entry).map(drop)
}

/// Appends data for several rounds of housekeeping after the first refusal, as producers do that
/// try again.
fn append_until_full(harness: &mut Harness, log: &TestLog, bytes: usize) {
    let mut refusals = 0;
    for seed in 0..u8::MAX {
        refusals += usize::from(try_append(log, bytes, seed).is_err());
        harness.settle();
        harness.advance();
        if refusals == 20 {
            return;
        }
    }
    panic!("the disk is full and data is taken");
}

fn only_the_reserve_is_left(harness: &Harness) {
    harness.engine.disk_budget().set_device_space(DeviceSpace {
        free_bytes: 64 << 20,
        total_bytes: 1 << 30,
        reserve: None,
    });
}

#[test]
fn what_uses_the_reserve_goes_on_many_rings_long_while_data_is_refused() {
    let disk = MemoryDisk::new();
    let mut harness = Harness::open(&disk, small_ring());
    let (data, offsets) = (new_log(&harness, 1), new_reserve_log(&harness, 2));
    append(&data, batch(1, 15_000, 1));
    harness.settle();
    only_the_reserve_is_left(&harness);
    append_until_full(&mut harness, &data, 15_000);
    let acknowledged = harness.persisted(data.slot());
    let taken_before = harness.engine.disk_budget().used_bytes();
    for round in 0..80 {
        assert!(offsets.has_room(30_000), "round {round}");
        append(&offsets, batch(1, 30_000, 1));
        harness.settle();
        if round % 3 == 0 {
            harness.advance();
        }
        assert!(!data.has_room(15_000), "round {round}");
    }
    assert!(harness.engine.stats().disk_full);
    assert_eq!(harness.persisted(offsets.slot()), offsets.next_index() - 1);
    let taken = harness.engine.disk_budget().used_bytes() - taken_before;
    assert!((1 << 20..4 << 20).contains(&taken), "{taken} bytes");
    let wanted = read_all(&mut harness, &offsets, 0);
    harness.engine.disk_budget().set_device_space(DeviceSpace {
        free_bytes: 80 << 20,
        total_bytes: 1 << 30,
        reserve: None,
    });
    harness.engine.handle_space_freed();
    harness.advance();
    assert!(data.has_room(15_000) && !harness.engine.stats().disk_full);
    disk.lose_power();

    let mut harness = Harness::open(&disk, small_ring());
    let data = harness.engine.log(key(1)).unwrap();
    assert!(data.next_index() > acknowledged);
    read_all(&mut harness, &data, 0);
    let offsets = harness.engine.log(key(2)).unwrap();
    assert_eq!(read_all(&mut harness, &offsets, 0), wanted);
}

#[test]
fn without_any_room_the_reserve_is_spent_and_comes_back_with_the_room() {
    let disk = MemoryDisk::new();
    let mut harness = Harness::open(&disk, small_ring());
    let (data, offsets) = (new_log(&harness, 1), new_reserve_log(&harness, 2));
    append(&data, batch(1, 15_000, 1));
    harness.settle();
    disk.set_capacity(1);
    append_until_full(&mut harness, &data, 15_000);
    let mut taken = 0;
    while !offsets.is_reserve_spent(8_000) {
        append(&offsets, batch(1, 8_000, 1));
        harness.settle();
        harness.advance();
        taken += 1;
        assert!(taken < 10_000, "nothing is written and all is taken");
    }
    assert!(taken > 5, "{taken}");
    assert!(!data.is_reserve_spent(15_000), "data waits for room");
    assert!(try_append(&offsets, 8_000, 1).is_err());
    assert!(harness.engine.stats().disk_full);
    disk.set_capacity(u64::MAX);
    for _ in 0..10 {
        harness.advance();
    }
    assert!(offsets.has_room(8_000) && data.has_room(15_000));
    assert_eq!(harness.persisted(offsets.slot()), offsets.next_index() - 1);
}
