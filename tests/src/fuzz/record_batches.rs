//! Target: record batches as a producer sends them.
//!
//! Input             the bytes of a batch. They are checked as they are, then once more with length
//!                   and CRC put right, so that a mutation reaches what lies behind them.
//! Rules             no panic; nothing larger than its bound comes out of a codec; a batch that is
//!                   accepted under the strictest rules holds what its header says; stamping it
//!                   keeps its CRC right.

use bytes::BytesMut;
use kafka_lite::record_batch::{
    AppendRules, BatchBuilder, BatchOptions, BatchProducer, BatchView, Compression,
    DecompressLimits, RecordHeader, RecordWalk, TimestampBounds, TimestampType, check_produced,
    decompress, field, first_record_at_or_after, max_timestamp_record,
};

/// Small, so that bombs are cheap.
const LIMITS: DecompressLimits = DecompressLimits {
    output_bytes_max: 256 * 1024,
    expansion_max: 100,
};

/// The broker's clock in all runs, ms.
const NOW_MS: i64 = 1_700_000_000_000;

/// Reads, checks and decompresses.
pub fn check(input: &[u8]) {
    for codec in Compression::ALL {
        check_codec(codec, input);
    }
    check_batch(input);
    if input.len() > field::HEADER_BYTES {
        check_batch(&repaired(input));
    }
}

fn check_codec(codec: Compression, input: &[u8]) {
    let mut output = Vec::new();
    if decompress(codec, input, &LIMITS, &mut output).is_ok() {
        assert!(output.len() <= LIMITS.output_bytes_max_for(input.len()));
    }
    assert!(
        output.capacity() <= 4 * LIMITS.output_bytes_max + 64 * 1024,
        "{codec:?}"
    );
}

fn check_batch(bytes: &[u8]) {
    read(bytes);
    for walk in [
        RecordWalk::HeaderOnly,
        RecordWalk::Uncompressed,
        RecordWalk::Always,
    ] {
        for is_compacted in [false, true] {
            check_rules(bytes, walk, is_compacted);
        }
    }
}

/// Everything that a consumer, a compaction or a timestamp lookup does.
fn read(bytes: &[u8]) {
    let mut rest = bytes;
    let mut scratch = Vec::new();
    while let Ok(Some((view, behind))) = BatchView::split_first(rest) {
        assert!(behind.len() < rest.len(), "progress");
        rest = behind;
        let is_whole = view.check_crc().is_ok();
        if let Ok(records) = view.records(&LIMITS, &mut scratch) {
            for record in records.flatten() {
                let size = record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
                assert!(size <= LIMITS.output_bytes_max.max(bytes.len()));
                let _headers = record.headers.into_iter().count();
            }
        }
        if is_whole {
            // Whatever comes out, it must come out.
            let _found = first_record_at_or_after(&view, 0, 0, &LIMITS, &mut scratch);
            let _found = max_timestamp_record(&view, &LIMITS, &mut scratch);
        }
    }
}

fn check_rules(bytes: &[u8], record_walk: RecordWalk, is_compacted: bool) {
    let rules = AppendRules {
        api_version: 12,
        max_message_bytes: 1 << 20,
        timestamp_type: TimestampType::LogAppendTime,
        timestamp_bounds: TimestampBounds {
            now_ms: NOW_MS,
            before_max_ms: i64::MAX,
            after_max_ms: i64::MAX,
        },
        is_compacted,
        record_walk,
        decompress_limits: LIMITS,
    };
    let Ok(summary) = check_produced(bytes, &rules) else {
        return;
    };
    let view = BatchView::new(bytes).expect("accepted");
    let header = view.header();
    assert_eq!(header.size_bytes, bytes.len(), "exactly one batch");
    assert_eq!(view.check_crc(), Ok(()));
    assert!(header.records_count >= 1, "{header:?}");
    assert_eq!(header.records_count - 1, header.last_offset_delta);
    if record_walk == RecordWalk::Always {
        let mut scratch = Vec::new();
        let records = view.records(&LIMITS, &mut scratch).expect("walked");
        let found: Vec<_> = records.map(|record| record.expect("walked")).collect();
        assert_eq!(i32::try_from(found.len()), Ok(header.records_count));
        let has_keys = found.iter().all(|record| record.key.is_some());
        assert!(
            has_keys || !is_compacted,
            "records of a compacted topic have keys"
        );
    }
    let mut stamped = BytesMut::from(bytes);
    summary
        .patch_timestamps(&mut stamped, NOW_MS)
        .expect("accepted");
    let view = BatchView::new(&stamped).expect("stamped");
    assert_eq!(view.check_crc(), Ok(()), "a stamped batch is whole");
}

/// The same bytes with a right length, magic and CRC.
fn repaired(input: &[u8]) -> Vec<u8> {
    let mut bytes = input.to_vec();
    let length = i32::try_from(bytes.len() - field::BATCH_LENGTH.end).unwrap();
    bytes[field::BATCH_LENGTH].copy_from_slice(&length.to_be_bytes());
    bytes[field::MAGIC].fill(2);
    let crc = crc32c::crc32c(&bytes[field::CRC_START..]);
    bytes[field::CRC].copy_from_slice(&crc.to_be_bytes());
    bytes
}

/// Batches of every codec and kind.
pub fn corpus() -> Vec<Vec<u8>> {
    let mut corpus = Vec::new();
    for compression in Compression::ALL {
        for count in [1_i64, 3, 40] {
            corpus.push(batch(compression, count, count == 3));
        }
        // A bomb: little of the same.
        corpus.push(batch(compression, 1, false));
        corpus.push(bomb(compression));
    }
    corpus
}

fn batch(compression: Compression, count: i64, has_producer: bool) -> Vec<u8> {
    let producer = has_producer.then_some(BatchProducer {
        id: 4000,
        epoch: 1,
        base_sequence: 17,
    });
    let mut builder = BatchBuilder::new(BatchOptions {
        compression,
        producer,
        ..BatchOptions::default()
    });
    for number in 0..count {
        let key = format!("key-{number}");
        let value = format!("value {number} ").repeat(5);
        let headers = [RecordHeader {
            key: b"trace",
            value: Some(b"0123456789"),
        }];
        let value = (number != 2).then_some(value.as_bytes());
        builder
            .append(NOW_MS + number, Some(key.as_bytes()), value, &headers)
            .unwrap();
    }
    builder.finish().unwrap()
}

fn bomb(compression: Compression) -> Vec<u8> {
    let mut builder = BatchBuilder::new(BatchOptions {
        compression,
        ..BatchOptions::default()
    });
    let size = if compression == Compression::None {
        2_000
    } else {
        1 << 20
    };
    builder
        .append(NOW_MS, Some(b"k"), Some(&vec![0; size]), &[])
        .unwrap();
    builder.finish().unwrap()
}
