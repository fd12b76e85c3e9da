//! Batches for tests.

use bytes::Bytes;
use kafka_lite::record_batch::{BatchBuilder, BatchHeader, BatchOptions, Compression};

/// A record of a test: timestamp, key, value.
pub(crate) type TestRecord = (i64, Option<Vec<u8>>, Option<Vec<u8>>);

/// A batch with these records at consecutive offsets.
pub(crate) fn batch(base_offset: i64, epoch: i32, records: &[TestRecord]) -> Bytes {
    let options = BatchOptions {
        base_offset,
        partition_leader_epoch: epoch,
        ..BatchOptions::default()
    };
    batch_with(options, records)
}

/// A batch with these header fields.
pub(crate) fn batch_with(options: BatchOptions, records: &[TestRecord]) -> Bytes {
    let mut builder = BatchBuilder::new(options);
    for (timestamp, key, value) in records {
        builder
            .append(*timestamp, key.as_deref(), value.as_deref(), &[])
            .unwrap();
    }
    Bytes::from(builder.finish().unwrap())
}

/// A batch of `count` records of `value_bytes` each, timestamps rising from `timestamp`.
pub(crate) fn plain_batch(base: i64, count: i64, value_bytes: usize, timestamp: i64) -> Bytes {
    let records: Vec<TestRecord> = (0..count)
        .map(|number| {
            let byte = u8::try_from((base + number) % 251).unwrap();
            (timestamp + number, None, Some(vec![byte; value_bytes]))
        })
        .collect();
    batch(base, 1, &records)
}

/// Every codec in turn.
pub(crate) fn codec(number: usize) -> Compression {
    let codecs = [
        Compression::None,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ];
    codecs[number % codecs.len()]
}

/// Headers with positions of a sequence of whole batches.
pub(crate) fn headers(mut bytes: &[u8]) -> Vec<(u32, BatchHeader)> {
    let mut position = 0_u32;
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let header = BatchHeader::decode(bytes).unwrap();
        found.push((position, header));
        position += u32::try_from(header.size_bytes).unwrap();
        bytes = &bytes[header.size_bytes..];
    }
    found
}
