//! Damaged segments under an open log: a read gives records or an error, never nothing.

use crate::engine::tests::segments::small_ring;
use crate::engine::tests::{Harness, TestLog, append, batch, key, new_log, start_term};
use crate::testing::MemoryDisk;
use crate::testing::batches::headers;
use crate::{AppendError, LogConfig, ReadError};

const FIRST_LOG: &str = "logs/topic1-0~01010101/00000000000000000000.log";

/// A log with two closed segments of four batches and a clean stop behind it.
fn written() -> MemoryDisk {
    let disk = MemoryDisk::new();
    let mut harness = Harness::open(&disk, small_ring());
    let config = LogConfig {
        segment_bytes: 4 * 5_000,
        ..LogConfig::default()
    };
    let log = harness.engine.create_log(key(1), "topic1", config);
    start_term(&log, 1);
    for seed in 0..9 {
        append(&log, batch(2, 2_400, seed));
        harness.settle();
    }
    let engine = harness.engine.clone();
    harness.run(engine.shutdown()).unwrap();
    assert_eq!(headers(&disk.content(FIRST_LOG).unwrap()).len(), 4);
    disk
}

fn opened(disk: &MemoryDisk) -> (Harness, TestLog) {
    let harness = Harness::open(disk, small_ring());
    let log = harness.engine.log(key(1)).unwrap();
    (harness, log)
}

/// Writes another base offset into a batch of the first segment.
fn forge_base_offset(disk: &MemoryDisk, number: usize, base_offset: i64) {
    let mut bytes = disk.content(FIRST_LOG).unwrap();
    let at = headers(&bytes)[number].0 as usize;
    bytes[at..at + 8].copy_from_slice(&base_offset.to_be_bytes());
    disk.set_content(FIRST_LOG, &bytes);
}

/// The base offset lies outside the CRC; with one behind the end the log answered with nothing.
#[test]
fn a_read_of_a_batch_with_a_wrong_base_offset_is_an_error_and_halts_the_log() {
    for (number, forged) in [(0, 0xff00_0000), (0, -3), (2, 3), (3, 7), (1, i64::MAX - 7)] {
        let disk = written();
        forge_base_offset(&disk, number, forged);
        let (mut harness, log) = opened(&disk);
        let end = log.log_end_offset();
        assert_eq!(end, 18);
        let mut next = 0;
        let error = loop {
            // One batch at a time, as a consumer with a small fetch size does.
            match harness.run(log.read(next, end, 1, true)) {
                Ok(pieces) => {
                    let header = headers(&pieces.concat())[0].1;
                    assert_eq!(header.base_offset, next, "batch {number} at {forged}");
                    next = header.next_offset();
                }
                Err(error) => break error,
            }
        };
        // The walk of the index may have met the damage before the reader did.
        assert!(next <= 2 * i64::try_from(number).unwrap(), "{error}");
        assert!(matches!(error, ReadError::Corrupt(_)), "{error}");
        assert!(matches!(log.failure(), Some(AppendError::Halted(_))));
        // What is good is still read.
        assert!(harness.run(log.read(8, end, 1, true)).is_ok());
    }
}

#[test]
fn a_lookup_by_time_over_a_wrong_base_offset_is_an_error() {
    let disk = written();
    forge_base_offset(&disk, 1, 70);
    let (mut harness, log) = opened(&disk);
    let found = harness.run(log.offset_for_timestamp(1_500, 18));
    assert!(matches!(found, Err(ReadError::Corrupt(_))), "{found:?}");
}

#[test]
fn an_entry_of_a_later_term_than_the_hard_state_is_a_term_that_was_seen() {
    let disk = MemoryDisk::new();
    let mut harness = Harness::open(&disk, small_ring());
    let log = new_log(&harness, 1);
    harness.engine.journal_hard_state(log.slot(), 1, Some(1));
    start_term(&log, 7);
    harness.settle();
    disk.lose_power();
    let harness = Harness::open(&disk, small_ring());
    assert_eq!(
        (harness.recovered[0].term, harness.recovered[0].vote),
        (7, None)
    );
    assert_eq!(harness.engine.log(key(1)).unwrap().hard_state(), (7, None));
}
