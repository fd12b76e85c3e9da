//! The disk stops at every operation of a script; then the power goes.
//!
//! Goal      nothing that was reported as persisted is lost or changed, at any point.
//! Method    one run counts the operations; then one run per operation, a restart, and a comparison
//!           with what had been reported; every fifth run restarts twice with more appends between.

use std::collections::BTreeMap;
use std::rc::Rc;

use kafka_lite::record_batch::BatchHeader;

use crate::engine::tests::segments::small_ring;
use crate::engine::tests::{Harness, TestLog, append, batch, key, new_log, read_all, start_term};
use crate::testing::MemoryDisk;
use crate::{Entry, LogConfig, SideKind};

/// What was appended to a log by offset, and how far it was reported.
#[derive(Debug, Default)]
struct Expected {
    batches: BTreeMap<i64, Vec<u8>>,
    persisted_end: i64,
}

impl Expected {
    fn append(&mut self, log: &TestLog, count: u8, bytes: usize, seed: u8) {
        let payload = batch(count, bytes, seed);
        let term = log.with_side_table(|side| side.last_term()).unwrap();
        let entry = Entry::Batch {
            bytes: payload.clone(),
            first_index: log.next_index(),
            term,
        };
        if let Ok(appended) = log.append(entry) {
            // From the CRC on, a batch is stored as it came.
            self.batches
                .insert(appended.base_offset, payload[16..].to_vec());
        }
    }

    fn note_persisted(&mut self, harness: &Harness, log: &TestLog) {
        let index = harness.persisted(log.slot());
        let end = log.with_side_table(|side| side.offset_of_index(index + 1));
        self.persisted_end = self.persisted_end.max(end);
    }

    fn check(&self, bytes: &[u8], context: &str) {
        let mut rest = bytes;
        let mut end = 0;
        while !rest.is_empty() {
            let header = BatchHeader::decode(rest).unwrap();
            let stored = &rest[16..header.size_bytes];
            let expected = self.batches.get(&header.base_offset);
            assert!(
                expected.is_some_and(|expected| expected == stored),
                "{context}: offset {} holds something else",
                header.base_offset
            );
            end = header.next_offset();
            rest = &rest[header.size_bytes..];
        }
        assert!(
            end >= self.persisted_end,
            "{context}: {end} of {} persisted",
            self.persisted_end
        );
    }
}

/// The script: small and large appends on two logs, rolls, write-back, a cut of the prefix.
fn play(harness: &mut Harness, expected: &mut [Expected; 2]) {
    let logs = [new_log(harness, 1), new_log(harness, 2)];
    for log in &logs {
        log.apply_config(LogConfig {
            segment_bytes: 200_000,
            ..LogConfig::default()
        });
    }
    let shared = Rc::clone(&harness.engine.shared);
    for round in 0..12_u8 {
        for (log, expected) in logs.iter().zip(expected.iter_mut()) {
            expected.append(log, 2, 300, round);
            if round % 3 == 1 {
                expected.append(log, 1, 70_000, round.wrapping_mul(7));
                expected.append(log, 1, 20, round.wrapping_mul(11));
            }
        }
        if round == 5 {
            let term = 2;
            let _refused = logs[0].append(Entry::Side {
                index: logs[0].next_index(),
                term,
                kind: SideKind::TermStart,
                payload: bytes::Bytes::new(),
            });
            expected[0].append(&logs[0], 1, 66_000, 77);
        }
        harness.settle();
        for (log, expected) in logs.iter().zip(expected.iter_mut()) {
            expected.note_persisted(harness, log);
        }
        if round % 4 == 3 {
            let _stopped = harness.run(shared.write_back_to(u64::MAX));
        }
    }
    for (log, expected) in logs.iter().zip(expected.iter_mut()) {
        expected.note_persisted(harness, log);
    }
}

fn check_recovered(disk: &MemoryDisk, expected: &[Expected; 2], context: &str) -> Harness {
    let mut harness = match Harness::try_open(disk, small_ring()) {
        Ok(harness) => harness,
        Err(error) => panic!("{context}: {error}"),
    };
    for (number, expected) in (1..).zip(expected) {
        let Some(log) = harness.engine.log(key(number)) else {
            assert_eq!(expected.persisted_end, 0, "{context}: the log is gone");
            continue;
        };
        assert_eq!(log.failure(), None, "{context}");
        let bytes = read_all(&mut harness, &log, 0);
        expected.check(&bytes, context);
    }
    harness
}

#[test]
fn nothing_persisted_is_lost_wherever_the_disk_stops() {
    let disk = MemoryDisk::new();
    let mut harness = Harness::open(&disk, small_ring());
    let before = disk.operation_count();
    let mut expected = [Expected::default(), Expected::default()];
    play(&mut harness, &mut expected);
    assert!(expected[0].persisted_end > 20, "{expected:?}");
    let operations = disk.operation_count() - before;
    drop(harness);
    for stop in 0..=operations {
        let disk = MemoryDisk::new();
        let mut harness = Harness::open(&disk, small_ring());
        disk.stop_after(Some(stop));
        let mut expected = [Expected::default(), Expected::default()];
        play(&mut harness, &mut expected);
        disk.lose_power();
        let context = format!("stopped after {stop} operations");
        let mut harness = check_recovered(&disk, &expected, &context);
        if stop % 5 != 0 {
            continue;
        }
        for (number, expected) in (1..).zip(expected.iter_mut()) {
            let Some(log) = harness.engine.log(key(number)) else {
                continue;
            };
            let end = log.log_end_offset();
            expected.batches.retain(|offset, _| *offset < end);
            if log.with_side_table(|side| side.last_term()).is_none() {
                continue;
            }
            expected.append(&log, 1, 68_000, 99);
            expected.append(&log, 1, 100, 98);
            harness.settle();
            expected.note_persisted(&harness, &log);
            assert_eq!(expected.persisted_end, end + 2, "{context}");
        }
        disk.lose_power();
        check_recovered(&disk, &expected, &format!("{context}, second life"));
    }
}

/// The ring still has the term starts that DeleteRecords has pruned from the side table.
#[test]
fn pruned_side_entries_are_not_replayed() {
    let disk = MemoryDisk::new();
    let mut harness = Harness::open(&disk, small_ring());
    let log = new_log(&harness, 1);
    let other = new_log(&harness, 2);
    append(&other, batch(1, 100, 1));
    for term in 2..=4 {
        append(&log, batch(3, 100, 1));
        start_term(&log, term);
    }
    append(&log, batch(3, 100, 1));
    harness.settle();
    harness.run(log.set_log_start_offset(10)).unwrap();
    let engine = harness.engine.clone();
    harness.run(log.write_back()).unwrap();
    // The other log keeps the start of the ring.
    harness.run(engine.shared.checkpoint(false)).unwrap();
    let before = (log.next_index(), log.log_end_offset());
    let term = log.with_side_table(|side| side.term_at_offset(11));
    disk.lose_power();
    let harness = Harness::open(&disk, small_ring());
    let log = harness.engine.log(key(1)).unwrap();
    assert_eq!((log.next_index(), log.log_end_offset()), before);
    assert_eq!(log.with_side_table(|side| side.term_at_offset(11)), term);
}

/// DeleteRecords may name any offset; a batch goes only as a whole.
#[test]
fn a_log_start_inside_a_batch_of_the_journal_loses_nothing_behind_it() {
    for write_back in [false, true] {
        let disk = MemoryDisk::new();
        let mut harness = Harness::open(&disk, small_ring());
        let log = new_log(&harness, 1);
        for seed in 0..4 {
            append(&log, batch(5, 100, seed));
        }
        harness.settle();
        harness.run(log.set_log_start_offset(7)).unwrap();
        for round in 0..3_u8 {
            let log = harness.engine.log(key(1)).unwrap();
            let expected = read_all(&mut harness, &log, 7);
            let end = 20 + 5 * i64::from(round);
            disk.lose_power();
            harness = Harness::open(&disk, small_ring());
            let log = harness.engine.log(key(1)).unwrap();
            let range = (log.log_start_offset(), log.log_end_offset());
            assert_eq!(range, (7, end), "round {round}, write back {write_back}");
            assert_eq!(read_all(&mut harness, &log, 7), expected);
            append(&log, batch(5, 100, 9 + round));
            harness.settle();
            if write_back {
                harness.run(log.write_back()).unwrap();
            }
        }
    }
}
