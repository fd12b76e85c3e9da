//! Tests of record batches: oracle, golden bytes, hostile input, bombs.
//!
//! Oracle            the `kafka-protocol` crate, which shares no code with this one.
//! Golden            bytes computed by a script from the layout table, CRC bit by bit.

mod bombs;
mod check;
mod hostile;
mod oracle;

use super::*;

/// Three records: an ordinary one, one with a repeated header key, a tombstone with an empty key.
pub(super) const GOLDEN: &str = "\
    0000000000000000000000a2ffffffff029949389c0000000000020000018bcfe568000000018bcfe5692c00\
    0000000000109200030000000700000003240000001073656e736f722d310832312e3500a801000302018c01\
    7878787878787878787878787878787878787878787878787878787878787878787878787878787878787878\
    787878787878787878787878787878787878787878787878787804026802310268010e00d80404000100";

/// Decodes hexadecimal text.
pub(super) fn bytes_of(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex
        .bytes()
        .filter_map(|digit| char::from(digit).to_digit(16))
        .map(|digit| u8::try_from(digit).unwrap())
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

/// Builds a batch of `count` records `key-N` with 90-byte values, 10 ms apart.
pub(super) fn sample(compression: Compression, count: i32) -> Vec<u8> {
    let producer = Some(BatchProducer {
        id: 4242,
        epoch: 3,
        base_sequence: 7,
    });
    let mut builder = BatchBuilder::new(BatchOptions {
        compression,
        producer,
        ..BatchOptions::default()
    });
    for number in 0..count {
        let key = format!("key-{number}");
        let value = format!("{number:090}");
        let header = RecordHeader {
            key: b"trace",
            value: Some(b"abc"),
        };
        let headers = if number % 3 == 0 {
            vec![header, header]
        } else {
            Vec::new()
        };
        builder
            .append(
                1_700_000_000_000 + i64::from(number) * 10,
                Some(key.as_bytes()),
                (number % 5 != 4).then_some(value.as_bytes()),
                &headers,
            )
            .unwrap();
    }
    builder.finish().unwrap()
}

/// Reads all records, panicking on the first fault.
pub(super) fn read_all(bytes: &[u8], check: impl FnOnce(Vec<Record<'_>>)) {
    let batch = BatchView::new(bytes).unwrap();
    batch.check_crc().unwrap();
    let mut scratch = Vec::new();
    let records = batch
        .records(&DecompressLimits::default(), &mut scratch)
        .unwrap();
    check(records.map(Result::unwrap).collect());
}

#[test]
fn golden_bytes_are_built_and_read() {
    let golden = bytes_of(GOLDEN);
    let producer = Some(BatchProducer {
        id: 4242,
        epoch: 3,
        base_sequence: 7,
    });
    let mut builder = BatchBuilder::new(BatchOptions {
        producer,
        ..BatchOptions::default()
    });
    let time = 1_700_000_000_000;
    builder
        .append(time, Some(b"sensor-1"), Some(b"21.5"), &[])
        .unwrap();
    let headers = [
        RecordHeader {
            key: b"h",
            value: Some(b"1"),
        },
        RecordHeader {
            key: b"h",
            value: None,
        },
    ];
    builder
        .append(time - 2, None, Some(&[b'x'; 70]), &headers)
        .unwrap();
    builder.append(time + 300, Some(b""), None, &[]).unwrap();
    assert_eq!(builder.finish().unwrap(), golden);

    let header = *BatchView::new(&golden).unwrap().header();
    assert_eq!((header.base_offset, header.size_bytes), (0, golden.len()));
    assert_eq!(
        (header.max_timestamp, header.records_count),
        (time + 300, 3)
    );
    assert_eq!(header.producer(), producer);
    assert_eq!(header.last_sequence(), 9);
    read_all(&golden, |records| {
        assert_eq!(records[1].headers.collect::<Vec<_>>(), headers);
        assert_eq!(records[1].timestamp, time - 2);
        assert_eq!((records[2].key, records[2].value), (Some(&b""[..]), None));
    });
}

#[test]
fn sequences_wrap_to_zero() {
    let mut header = *BatchView::new(&sample(Compression::None, 3))
        .unwrap()
        .header();
    let mut last = |base_sequence| {
        header.base_sequence = base_sequence;
        header.last_sequence()
    };
    assert_eq!(last(i32::MAX - 2), i32::MAX);
    assert_eq!(last(i32::MAX - 1), 0);
    assert_eq!(last(i32::MAX), 1);
    assert_eq!(last(-1), -1);
}

#[test]
fn patches_keep_the_crc_valid_and_touch_nothing_else() {
    let before = sample(Compression::Lz4, 4);
    let mut bytes = before.clone();
    patch_base_offset_and_leader_epoch(&mut bytes, 77, 5).unwrap();
    let batch = BatchView::new(&bytes).unwrap();
    batch.check_crc().unwrap();
    assert_eq!(
        (
            batch.header().base_offset,
            batch.header().partition_leader_epoch
        ),
        (77, 5)
    );
    assert_eq!(
        (batch.header().last_offset(), batch.header().next_offset()),
        (80, 81)
    );
    assert_eq!(bytes[16..], before[16..]);

    set_log_append_time(&mut bytes, 1_800_000_000_000).unwrap();
    let batch = BatchView::new(&bytes).unwrap();
    batch.check_crc().unwrap();
    assert_eq!(
        batch.header().timestamp_type(),
        TimestampType::LogAppendTime
    );
    assert_eq!(batch.header().compression().unwrap(), Compression::Lz4);
    read_all(&bytes, |records| {
        assert!(
            records
                .iter()
                .all(|record| record.timestamp == 1_800_000_000_000)
        );
        assert_eq!(records[3].offset, 80);
    });
    assert!(set_max_timestamp(&mut bytes[..60], 1).is_err());
}

#[test]
fn a_segment_is_walked_batch_by_batch_and_a_cut_tail_is_named() {
    let mut segment = sample(Compression::None, 2);
    let second = sample(Compression::Zstd, 3);
    let second_start = segment.len();
    segment.extend_from_slice(&second);
    let (first, rest) = BatchView::split_first(&segment).unwrap().unwrap();
    assert_eq!(first.bytes().len(), second_start);
    assert_eq!(size_of_batch_at(rest).unwrap(), Some(second.len()));
    assert_eq!(size_of_batch_at(&rest[..12]).unwrap(), Some(second.len()));
    assert_eq!(size_of_batch_at(&rest[..11]).unwrap(), None);
    let (last, rest) = BatchView::split_first(rest).unwrap().unwrap();
    assert_eq!(last.header().records_count, 3);
    assert!(BatchView::split_first(rest).unwrap().is_none());
    let cut = &second[..second.len() - 1];
    assert!(matches!(
        BatchView::split_first(cut),
        Err(BatchError::Truncated { .. })
    ));
    assert!(BatchHeader::decode(&second[..61]).is_ok());
    assert!(BatchHeader::decode(&second[..60]).is_err());
}

#[test]
fn timestamp_search_is_exact_to_the_record() {
    for compression in Compression::ALL {
        let mut bytes = sample(compression, 10);
        patch_base_offset_and_leader_epoch(&mut bytes, 100, 0).unwrap();
        let batch = BatchView::new(&bytes).unwrap();
        let limits = DecompressLimits::default();
        let mut scratch = Vec::new();
        let mut search = |timestamp, start| {
            first_record_at_or_after(&batch, timestamp, start, &limits, &mut scratch)
                .unwrap()
                .map(|found| (found.offset, found.timestamp))
        };
        let time = 1_700_000_000_000;
        assert_eq!(search(0, 0), Some((100, time)));
        assert_eq!(search(time + 31, 0), Some((104, time + 40)));
        assert_eq!(search(time + 31, 107), Some((107, time + 70)));
        assert_eq!(search(time + 90, 0), Some((109, time + 90)));
        assert_eq!(search(time + 91, 0), None);
        assert_eq!(search(0, 110), None);
        let largest = max_timestamp_record(&batch, &limits, &mut scratch)
            .unwrap()
            .unwrap();
        assert_eq!((largest.offset, largest.timestamp), (109, time + 90));
    }
}

#[test]
fn a_rewritten_batch_keeps_offsets_producer_and_timestamps() {
    let mut bytes = sample(Compression::Gzip, 6);
    patch_base_offset_and_leader_epoch(&mut bytes, 40, 2).unwrap();
    let header = *BatchView::new(&bytes).unwrap().header();
    let mut builder = BatchBuilder::rewrite(&header).unwrap();
    read_all(&bytes, |records| {
        builder.append_copy(&records[1]).unwrap();
        builder.append_copy(&records[3]).unwrap();
        assert!(matches!(
            builder.append_copy(&records[2]),
            Err(BuildError::OffsetDelta { .. })
        ));
        let rewritten = builder.finish().unwrap();
        let kept = *BatchView::new(&rewritten).unwrap().header();
        assert_eq!(
            (kept.base_offset, kept.last_offset(), kept.records_count),
            (40, 45, 2)
        );
        assert_eq!(
            (kept.producer(), kept.last_sequence()),
            (header.producer(), 12)
        );
        read_all(&rewritten, |rewritten| {
            assert_eq!(rewritten, [records[1], records[3]])
        });
    });

    let empty = BatchBuilder::rewrite(&header).unwrap().finish().unwrap();
    assert_eq!(empty.len(), field::HEADER_BYTES);
    let kept = *BatchView::new(&empty).unwrap().header();
    assert_eq!(
        (kept.last_offset(), kept.records_count, kept.last_sequence()),
        (45, 0, 12)
    );
    read_all(&empty, |records| assert!(records.is_empty()));
}

#[test]
fn a_delete_horizon_takes_the_place_of_the_base_timestamp() {
    let bytes = sample(Compression::None, 3);
    let header = *BatchView::new(&bytes).unwrap().header();
    let mut builder = BatchBuilder::rewrite(&header).unwrap();
    builder.set_delete_horizon(1_900_000_000_000);
    read_all(&bytes, |records| {
        records
            .iter()
            .for_each(|record| builder.append_copy(record).unwrap());
        let rewritten = builder.finish().unwrap();
        let kept = *BatchView::new(&rewritten).unwrap().header();
        assert_eq!(kept.delete_horizon(), Some(1_900_000_000_000));
        assert_eq!(kept.max_timestamp, header.max_timestamp);
        read_all(&rewritten, |rewritten| assert_eq!(rewritten, records));
    });
}
