//! The duties on Produce, row by row.

use super::*;

const NOW: i64 = 1_700_000_000_000;

pub(super) fn rules() -> AppendRules {
    AppendRules {
        api_version: 9,
        max_message_bytes: 1_048_588,
        timestamp_type: TimestampType::CreateTime,
        timestamp_bounds: TimestampBounds {
            now_ms: NOW,
            before_max_ms: i64::MAX,
            after_max_ms: i64::MAX,
        },
        is_compacted: false,
        record_walk: RecordWalk::default(),
        decompress_limits: DecompressLimits::default(),
    }
}

fn code(bytes: &[u8], rules: &AppendRules) -> i16 {
    check_produced(bytes, rules).map_or_else(|fault| fault.error_code().code(), |_| 0)
}

/// A batch with some header bytes overwritten and the CRC made right.
fn with(range: std::ops::Range<usize>, value: &[u8]) -> Vec<u8> {
    let mut bytes = sample(Compression::None, 3);
    bytes[range].copy_from_slice(value);
    patch::recompute_crc(&mut bytes).unwrap();
    bytes
}

fn batch_of(codec: Compression, records: &[(i64, Option<&[u8]>)]) -> Vec<u8> {
    let options = BatchOptions {
        compression: codec,
        ..BatchOptions::default()
    };
    let mut builder = BatchBuilder::new(options);
    for (timestamp, key) in records {
        builder.append(*timestamp, *key, Some(b"v"), &[]).unwrap();
    }
    builder.finish().unwrap()
}

#[test]
fn sound_batches_pass_with_every_codec_and_walk() {
    for codec in Compression::ALL {
        for record_walk in [
            RecordWalk::HeaderOnly,
            RecordWalk::Uncompressed,
            RecordWalk::Always,
        ] {
            for is_compacted in [false, true] {
                let rules = AppendRules {
                    record_walk,
                    is_compacted,
                    ..rules()
                };
                let summary = check_produced(&sample(codec, 20), &rules).unwrap();
                assert_eq!(summary.compression, codec);
                assert!(!summary.needs_timestamp_patch());
            }
        }
    }
}

#[test]
fn number_of_batches_and_magic() {
    assert_eq!(code(&[], &rules()), 87);
    let mut two = sample(Compression::None, 1);
    two.extend_from_slice(&sample(Compression::None, 1));
    assert_eq!(code(&two, &rules()), 87);
    assert_eq!(code(&with(field::MAGIC, &[1]), &rules()), 87);
}

#[test]
fn zstd_needs_produce_7_and_codecs_must_exist() {
    let zstd = sample(Compression::Zstd, 1);
    assert_eq!(
        code(
            &zstd,
            &AppendRules {
                api_version: 6,
                ..rules()
            }
        ),
        76
    );
    assert_eq!(
        code(
            &zstd,
            &AppendRules {
                api_version: 7,
                ..rules()
            }
        ),
        0
    );
    assert_eq!(code(&with(field::ATTRIBUTES, &[0, 5]), &rules()), 76);
}

#[test]
fn damage_is_corrupt_message() {
    let mut bytes = sample(Compression::None, 3);
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    assert_eq!(code(&bytes, &rules()), 2);
    assert_eq!(code(&bytes[..last], &rules()), 2);
    assert_eq!(code(&bytes[..20], &rules()), 2);
    assert_eq!(
        code(&with(field::BATCH_LENGTH, &[0, 0, 0, 10]), &rules()),
        2
    );
    assert_eq!(
        code(
            &with(field::BATCH_LENGTH, &[0xff, 0xff, 0xff, 0xff]),
            &rules()
        ),
        2
    );
}

#[test]
fn header_rules_are_invalid_record() {
    assert_eq!(
        code(&with(field::BASE_OFFSET, &1_i64.to_be_bytes()), &rules()),
        87
    );
    assert_eq!(
        code(&with(field::RECORDS_COUNT, &0_i32.to_be_bytes()), &rules()),
        87
    );
    assert_eq!(
        code(&with(field::RECORDS_COUNT, &4_i32.to_be_bytes()), &rules()),
        87
    );
    assert_eq!(
        code(
            &with(field::LAST_OFFSET_DELTA, &1_i32.to_be_bytes()),
            &rules()
        ),
        87
    );
    assert_eq!(code(&with(field::ATTRIBUTES, &[0, 0x20]), &rules()), 87);
    assert_eq!(code(&with(field::ATTRIBUTES, &[0, 0x40]), &rules()), 87);
    assert_eq!(
        code(
            &with(field::BASE_SEQUENCE, &(-1_i32).to_be_bytes()),
            &rules()
        ),
        87
    );
    assert_eq!(
        code(
            &with(field::PRODUCER_EPOCH, &(-1_i16).to_be_bytes()),
            &rules()
        ),
        87
    );
    let mut transactional = with(field::PRODUCER_ID, &7_i64.to_be_bytes());
    assert_eq!(code(&transactional, &rules()), 0);
    transactional[22] = 0x10;
    patch::recompute_crc(&mut transactional).unwrap();
    assert_eq!(code(&transactional, &rules()), 53);
    assert_eq!(code(&with(field::ATTRIBUTES, &[0, 0x10]), &rules()), 53);
}

#[test]
fn a_count_that_cannot_fit_is_refused_without_reading_records() {
    let mut bytes = sample(Compression::Zstd, 3);
    bytes[field::RECORDS_COUNT].copy_from_slice(&i32::MAX.to_be_bytes());
    bytes[field::LAST_OFFSET_DELTA].copy_from_slice(&(i32::MAX - 1).to_be_bytes());
    patch::recompute_crc(&mut bytes).unwrap();
    assert_eq!(
        code(
            &bytes,
            &AppendRules {
                record_walk: RecordWalk::HeaderOnly,
                ..rules()
            }
        ),
        87
    );
}

#[test]
fn size_limit_is_inclusive() {
    let bytes = sample(Compression::None, 3);
    let at = |max_message_bytes| {
        code(
            &bytes,
            &AppendRules {
                max_message_bytes,
                ..rules()
            },
        )
    };
    assert_eq!((at(bytes.len()), at(bytes.len() - 1)), (0, 10));
}

#[test]
fn keyless_records_on_compacted_topics_are_named() {
    for codec in Compression::ALL {
        let bytes = batch_of(
            codec,
            &[
                (NOW, Some(b"k")),
                (NOW, None),
                (NOW, Some(b"")),
                (NOW, None),
            ],
        );
        assert_eq!(code(&bytes, &rules()), 0);
        let rules = AppendRules {
            is_compacted: true,
            record_walk: RecordWalk::HeaderOnly,
            ..rules()
        };
        let fault = check_produced(&bytes, &rules).unwrap_err();
        assert_eq!(fault.error_code().code(), 87);
        let numbers: Vec<i32> = fault
            .record_faults()
            .iter()
            .map(RecordFault::record_number)
            .collect();
        assert_eq!(numbers, [1, 3]);
        assert!(fault.record_faults()[0].to_string().contains("without key"));
    }
}

#[test]
fn record_faults_are_bounded() {
    let bytes = batch_of(Compression::None, &vec![(NOW, None); 1_000]);
    let fault = check_produced(
        &bytes,
        &AppendRules {
            is_compacted: true,
            ..rules()
        },
    )
    .unwrap_err();
    assert_eq!(
        fault.record_faults().len(),
        crate::limits::RECORD_ERRORS_MAX
    );
}

#[test]
fn timestamps_out_of_range_are_invalid_timestamp() {
    let bounds = TimestampBounds {
        now_ms: NOW,
        before_max_ms: 1_000,
        after_max_ms: 100,
    };
    let rules = AppendRules {
        timestamp_bounds: bounds,
        ..rules()
    };
    for codec in [Compression::None, Compression::Lz4] {
        let at = |timestamp| code(&batch_of(codec, &[(timestamp, None)]), &rules);
        assert_eq!((at(NOW - 1_000), at(NOW - 1_001)), (0, 32));
        assert_eq!((at(NOW + 100), at(NOW + 101)), (0, 32));
        assert_eq!(at(-1), 0);
        let append_time = AppendRules {
            timestamp_type: TimestampType::LogAppendTime,
            ..rules
        };
        assert_eq!(code(&batch_of(codec, &[(5, None)]), &append_time), 0);
    }
    let bytes = batch_of(
        Compression::None,
        &[(NOW, None), (NOW - 5_000, None), (NOW, None)],
    );
    let fault = check_produced(&bytes, &rules).unwrap_err();
    assert_eq!(fault.record_faults()[0].record_number(), 1);
}

#[test]
fn a_clock_that_was_never_set_does_not_judge_timestamps_of_the_present() {
    let at = |now_ms, timestamp| {
        let timestamp_bounds = TimestampBounds {
            now_ms,
            before_max_ms: i64::MAX,
            after_max_ms: 3_600_000,
        };
        let rules = AppendRules {
            timestamp_bounds,
            ..rules()
        };
        code(&batch_of(Compression::None, &[(timestamp, None)]), &rules)
    };
    let present = 1_790_000_000_000;
    assert_eq!(at(60_000, present), 0);
    assert_eq!(at(60_000, 60_000 + 3_600_001), 32, "its own time");
    assert_eq!(at(present, present + 3_600_001), 32);
    assert_eq!(at(present, 60_000), 0);
}

#[test]
fn append_time_belongs_to_the_broker() {
    assert_eq!(code(&with(field::ATTRIBUTES, &[0, 0x08]), &rules()), 32);
    let mut bytes = sample(Compression::Snappy, 3);
    let append_time = AppendRules {
        timestamp_type: TimestampType::LogAppendTime,
        ..rules()
    };
    let summary = check_produced(&bytes, &append_time).unwrap();
    assert!(summary.needs_timestamp_patch());
    assert_eq!(summary.stored_max_timestamp(123), 123);
    summary.patch_timestamps(&mut bytes, 123).unwrap();
    read_all(&bytes, |records| {
        assert!(records.iter().all(|record| record.timestamp == 123))
    });
}

#[test]
fn a_wrong_max_timestamp_is_corrected_where_records_are_read() {
    let mut bytes = with(field::MAX_TIMESTAMP, &7_i64.to_be_bytes());
    let summary = check_produced(&bytes, &rules()).unwrap();
    assert_eq!(summary.max_timestamp_correction, Some(1_700_000_000_020));
    summary.patch_timestamps(&mut bytes, 0).unwrap();
    let batch = BatchView::new(&bytes).unwrap();
    batch.check_crc().unwrap();
    assert_eq!(batch.header().max_timestamp, 1_700_000_000_020);
}

#[test]
fn records_that_do_not_parse_are_invalid_record() {
    let mut bytes = sample(Compression::None, 3);
    bytes[61] = 0x03;
    patch::recompute_crc(&mut bytes).unwrap();
    assert_eq!(code(&bytes, &rules()), 87);
    assert_eq!(
        code(
            &bytes,
            &AppendRules {
                record_walk: RecordWalk::HeaderOnly,
                ..rules()
            }
        ),
        0
    );
    let mut trailing = sample(Compression::None, 3);
    trailing.push(0);
    let length = i32::try_from(trailing.len() - 12).unwrap();
    trailing[field::BATCH_LENGTH].copy_from_slice(&length.to_be_bytes());
    patch::recompute_crc(&mut trailing).unwrap();
    assert_eq!(code(&trailing, &rules()), 87);
}
