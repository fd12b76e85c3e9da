//! Tests of producer state: the rules of §4 of the protocol notes, one test each.

use super::*;
use crate::limits;
use crate::record_batch::{BatchBuilder, BatchHeader, BatchOptions, BatchProducer, BatchView};

const NOW: i64 = 1_700_000_000_000;

/// Header of a batch of `count` records.
fn batch(id: i64, epoch: i16, base_sequence: i32, count: i32) -> BatchHeader {
    let producer = Some(BatchProducer {
        id,
        epoch,
        base_sequence,
    });
    let mut builder = BatchBuilder::new(BatchOptions {
        producer,
        ..BatchOptions::default()
    });
    for _ in 0..count {
        builder.append(NOW, None, Some(b"v"), &[]).unwrap();
    }
    *BatchView::new(&builder.finish().unwrap()).unwrap().header()
}

/// Checks and, when it may be appended, records at `base_offset`.
fn append(table: &mut ProducerTable, header: &BatchHeader, base_offset: i64) -> ProducerCheck {
    let check = table.check(NOW, header);
    if check == ProducerCheck::Append {
        table.record(header, base_offset, None, NOW);
    }
    check
}

fn code(check: ProducerCheck) -> i16 {
    match check {
        ProducerCheck::Refuse(fault) => fault.error_code().code(),
        ProducerCheck::Append | ProducerCheck::Duplicate { .. } => 0,
    }
}

fn duplicate_of(check: ProducerCheck) -> Option<i64> {
    match check {
        ProducerCheck::Duplicate { base_offset, .. } => Some(base_offset),
        ProducerCheck::Append | ProducerCheck::Refuse(_) => None,
    }
}

fn table() -> ProducerTable {
    ProducerTable::new(ProducerTableOptions::default())
}

#[test]
fn the_last_five_batches_are_duplicates_and_older_ones_out_of_order() {
    let mut table = table();
    for number in 0..7 {
        let header = batch(1, 0, number * 10, 10);
        assert_eq!(
            append(&mut table, &header, i64::from(number) * 10),
            ProducerCheck::Append
        );
    }
    for number in 2..7 {
        let header = batch(1, 0, number * 10, 10);
        assert_eq!(
            table.check(NOW, &header),
            ProducerCheck::Duplicate {
                base_offset: i64::from(number) * 10,
                last_offset: i64::from(number) * 10 + 9,
                log_append_time: None
            }
        );
    }
    assert_eq!(code(table.check(NOW, &batch(1, 0, 10, 10))), 45);
    assert_eq!(
        code(table.check(NOW, &batch(1, 0, 60, 9))),
        45,
        "same start, other length"
    );
    assert_eq!(code(table.check(NOW, &batch(1, 0, 80, 1))), 45, "gap");
    assert_eq!(table.check(NOW, &batch(1, 0, 70, 1)), ProducerCheck::Append);
}

#[test]
fn sequences_wrap_from_the_largest_to_zero() {
    let mut table = table();
    append(&mut table, &batch(1, 0, i32::MAX - 1, 2), 0);
    assert_eq!(
        append(&mut table, &batch(1, 0, 0, 3), 2),
        ProducerCheck::Append
    );
    append(&mut table, &batch(2, 0, i32::MAX, 4), 5);
    assert_eq!(code(table.check(NOW, &batch(2, 0, 4, 1))), 45);
    assert_eq!(
        append(&mut table, &batch(2, 0, 3, 1), 9),
        ProducerCheck::Append
    );
    assert_eq!(
        duplicate_of(table.check(NOW, &batch(2, 0, i32::MAX, 4))),
        Some(5)
    );
    assert_eq!(
        duplicate_of(table.check(NOW, &batch(1, 0, i32::MAX - 1, 2))),
        Some(0)
    );
}

#[test]
fn epochs_newer_start_at_zero_and_older_are_refused() {
    let mut table = table();
    append(&mut table, &batch(1, 3, 0, 5), 0);
    assert_eq!(code(table.check(NOW, &batch(1, 2, 5, 1))), 47);
    assert_eq!(
        code(table.check(NOW, &batch(1, 2, 0, 5))),
        47,
        "even an exact repetition"
    );
    assert_eq!(code(table.check(NOW, &batch(1, 4, 5, 1))), 45);
    assert_eq!(
        append(&mut table, &batch(1, 4, 0, 1), 5),
        ProducerCheck::Append
    );
    assert_eq!(code(table.check(NOW, &batch(1, 3, 5, 1))), 47);
    assert_eq!(
        append(&mut table, &batch(1, 4, 1, 1), 6),
        ProducerCheck::Append
    );
}

#[test]
fn unknown_producers_start_anywhere_and_batches_without_id_leave_no_trace() {
    let mut table = table();
    assert_eq!(
        append(&mut table, &batch(9, 5, 1234, 1), 0),
        ProducerCheck::Append
    );
    let mut header = batch(9, 5, 0, 1);
    header.producer_id = -1;
    assert_eq!(append(&mut table, &header, 1), ProducerCheck::Append);
    assert_eq!(table.len(), 1);
}

#[test]
fn duplicates_answer_the_original_append_time() {
    let mut table = table();
    let header = batch(1, 0, 0, 1);
    table.record(&header, 70, Some(555), NOW);
    assert_eq!(
        table.check(NOW, &header),
        ProducerCheck::Duplicate {
            base_offset: 70,
            last_offset: 70,
            log_append_time: Some(555)
        }
    );
    let mut stored = header;
    stored.base_offset = 70;
    stored.attributes = 0x08;
    stored.max_timestamp = 555;
    let mut recovered = self::table();
    recovered.record_stored(&stored, NOW);
    assert_eq!(recovered, table);
}

#[test]
fn control_batches_move_the_epoch_and_no_sequence() {
    let mut table = table();
    append(&mut table, &batch(1, 0, 0, 3), 0);
    let mut marker = batch(1, 0, 0, 1);
    marker.attributes = 0x30;
    marker.base_sequence = -1;
    table.record(&marker, 3, None, NOW);
    assert_eq!(
        append(&mut table, &batch(1, 0, 3, 1), 4),
        ProducerCheck::Append
    );
    marker.producer_epoch = 1;
    table.record(&marker, 5, None, NOW);
    assert_eq!(code(table.check(NOW, &batch(1, 1, 4, 1))), 45);
    assert_eq!(table.check(NOW, &batch(1, 1, 0, 1)), ProducerCheck::Append);
}

#[test]
fn idle_producers_expire_by_the_time_of_their_last_append() {
    let mut table = table();
    table.record(&batch(1, 0, 0, 1), 0, None, NOW);
    table.record(&batch(2, 0, 0, 1), 1, None, NOW + 1_000);
    let expiry = NOW + limits::PRODUCER_EXPIRATION_MS;
    assert_eq!(code(table.check(expiry - 1, &batch(1, 0, 9, 1))), 45);
    assert_eq!(
        table.check(expiry, &batch(1, 0, 9, 1)),
        ProducerCheck::Append
    );
    assert_eq!(table.expire(expiry - 1), 0);
    assert_eq!(table.expire(expiry), 1);
    assert_eq!(
        table
            .describe()
            .map(|producer| producer.producer_id)
            .collect::<Vec<_>>(),
        [2]
    );
}

#[test]
fn the_least_recently_used_producer_gives_way() {
    let options = ProducerTableOptions {
        producers_max: 3,
        ..ProducerTableOptions::default()
    };
    let mut table = ProducerTable::new(options);
    for id in 0..3 {
        table.record(&batch(id, 0, 0, 1), id, None, NOW + id);
    }
    table.record(&batch(0, 0, 1, 1), 3, None, NOW + 10);
    table.record(&batch(7, 0, 0, 1), 4, None, NOW + 11);
    let ids: Vec<i64> = table
        .describe()
        .map(|producer| producer.producer_id)
        .collect();
    assert_eq!(ids, [0, 2, 7]);
    assert_eq!(table.oldest_append_ms(), Some(NOW + 2));
}

#[test]
fn a_cut_log_takes_its_batches_back() {
    let mut table = table();
    append(&mut table, &batch(1, 0, 0, 10), 0);
    append(&mut table, &batch(1, 0, 10, 10), 10);
    assert_eq!(table.handle_truncated(10), Truncation::Done);
    assert_eq!(
        append(&mut table, &batch(1, 0, 10, 5), 10),
        ProducerCheck::Append
    );
    append(&mut table, &batch(2, 0, 0, 1), 15);
    assert_eq!(table.handle_truncated(15), Truncation::RebuildNeeded);
    let ends: Vec<_> = table.last_offsets().collect();
    assert_eq!(ends, [(1, 14)], "producer 2 lost all it had");
    assert_eq!(
        append(&mut table, &batch(2, 0, 7, 1), 15),
        ProducerCheck::Append,
        "and is taken with any sequence"
    );
}

#[test]
fn snapshots_keep_all_five_batches_and_refuse_damage() {
    let mut table = table();
    for number in 0..7 {
        append(
            &mut table,
            &batch(1, 0, number * 10, 10),
            i64::from(number) * 10,
        );
    }
    table.record(&batch(i64::MAX, 7, 3, 1), 70, Some(12), NOW + 5);
    let bytes = ProducerSnapshot::encode(&table, 71);
    assert_eq!(bytes.len(), 24 + 19 + 5 * 24 + 19 + 24);
    let decoded = ProducerSnapshot::decode(&bytes, ProducerTableOptions::default()).unwrap();
    assert_eq!(
        decoded,
        ProducerSnapshot {
            next_offset: 71,
            table
        }
    );
    for at in (0..bytes.len()).filter(|at| !(6..8).contains(at)) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        assert!(
            ProducerSnapshot::decode(&damaged, ProducerTableOptions::default()).is_err(),
            "byte {at}"
        );
        assert!(ProducerSnapshot::decode(&bytes[..at], ProducerTableOptions::default()).is_err());
    }
}

#[test]
fn snapshot_lies_with_a_right_crc_are_malformed() {
    let mut table = table();
    append(&mut table, &batch(1, 0, 0, 1), 5);
    append(&mut table, &batch(1, 0, 1, 1), 6);
    let good = ProducerSnapshot::encode(&table, 7);
    let lie = |at: usize, value: &[u8]| {
        let mut bytes = good.clone();
        bytes[at..at + value.len()].copy_from_slice(value);
        let crc = crc32c::crc32c(&bytes[12..]);
        bytes[8..12].copy_from_slice(&crc.to_be_bytes());
        ProducerSnapshot::decode(&bytes, ProducerTableOptions::default()).unwrap_err()
    };
    assert_eq!(
        lie(20, &[0xff; 4]),
        SnapshotError::Malformed {
            field: "producer id"
        }
    );
    assert_eq!(
        lie(24, &[0xff; 8]),
        SnapshotError::Malformed {
            field: "producer id"
        }
    );
    assert_eq!(
        lie(42, &[6]),
        SnapshotError::Malformed {
            field: "batch count"
        }
    );
    assert_eq!(lie(42, &[1]), SnapshotError::Malformed { field: "end" });
    assert_eq!(
        lie(67, &0_i64.to_be_bytes()),
        SnapshotError::Malformed {
            field: "base offset"
        }
    );
}

#[test]
fn unused_tables_are_small() {
    assert!(size_of::<ProducerTable>() <= 48);
}

#[test]
fn producer_ids_come_from_blocks_and_never_twice() {
    let mut ids = ProducerIds::new();
    assert_eq!(ids.allocate(), Err(ProducerIdsExhausted));
    assert!(ids.poll_block_request());
    assert!(!ids.poll_block_request());
    ids.handle_block_failed();
    assert!(ids.poll_block_request());
    ids.handle_block(5_000..6_000);
    assert!(!ids.poll_block_request());
    for expected in 5_000..5_901 {
        assert_eq!(ids.allocate(), Ok(expected));
    }
    assert!(ids.poll_block_request());
    ids.handle_block(9_000..10_000);
    for expected in (5_901..6_000).chain(9_000..9_002) {
        assert_eq!(ids.allocate(), Ok(expected));
    }
}
