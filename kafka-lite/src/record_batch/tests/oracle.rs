//! What we build the `kafka-protocol` crate reads, and the reverse, with every codec.

use bytes::{Bytes, BytesMut};
use kafka_protocol::records as oracle;

use super::*;

fn oracle_codec(codec: Compression) -> oracle::Compression {
    match codec {
        Compression::None => oracle::Compression::None,
        Compression::Gzip => oracle::Compression::Gzip,
        Compression::Snappy => oracle::Compression::Snappy,
        Compression::Lz4 => oracle::Compression::Lz4,
        Compression::Zstd => oracle::Compression::Zstd,
    }
}

#[test]
fn oracle_reads_what_we_build() {
    for codec in Compression::ALL {
        let bytes = sample(codec, 500);
        let set = oracle::RecordBatchDecoder::decode(&mut Bytes::from(bytes.clone())).unwrap();
        assert_eq!(set.compression, oracle_codec(codec));
        read_all(&bytes, |records| {
            assert_eq!((records.len(), set.records.len()), (500, 500));
            for (ours, theirs) in records.iter().zip(&set.records) {
                assert_eq!(
                    (ours.offset, ours.timestamp),
                    (theirs.offset, theirs.timestamp)
                );
                assert_eq!(ours.key, theirs.key.as_deref());
                assert_eq!(ours.value, theirs.value.as_deref());
                assert_eq!(ours.headers.count_left() > 0, !theirs.headers.is_empty());
                assert_eq!((theirs.producer_id, theirs.producer_epoch), (4242, 3));
                assert_eq!(i64::from(theirs.sequence), 7 + theirs.offset);
            }
        });
    }
}

#[test]
fn we_read_what_the_oracle_builds() {
    for codec in Compression::ALL {
        let records: Vec<oracle::Record> = (0..300).map(oracle_record).collect();
        let options = oracle::RecordEncodeOptions {
            version: 2,
            compression: oracle_codec(codec),
        };
        let mut encoded = BytesMut::new();
        oracle::RecordBatchEncoder::encode(&mut encoded, &records, &options).unwrap();
        let (batch, rest) = BatchView::split_first(&encoded).unwrap().unwrap();
        assert!(rest.is_empty());
        assert_eq!(batch.header().compression().unwrap(), codec);
        read_all(&encoded, |ours| {
            assert_eq!(ours.len(), records.len());
            for (ours, theirs) in ours.iter().zip(&records) {
                assert_eq!(
                    (ours.offset, ours.timestamp),
                    (theirs.offset, theirs.timestamp)
                );
                assert_eq!(ours.key, theirs.key.as_deref());
                assert_eq!(ours.value, theirs.value.as_deref());
                let theirs: Vec<_> = theirs
                    .headers
                    .iter()
                    .map(|(key, value)| (key.as_bytes(), value.as_deref()))
                    .collect();
                let ours: Vec<_> = ours
                    .headers
                    .map(|header| (header.key, header.value))
                    .collect();
                assert_eq!(ours, theirs);
            }
        });
    }
}

fn oracle_record(number: i64) -> oracle::Record {
    let mut record = oracle::Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: 1,
        producer_id: 9,
        producer_epoch: 1,
        timestamp_type: oracle::TimestampType::Creation,
        offset: number,
        sequence: i32::try_from(number).unwrap(),
        timestamp: 1_700_000_000_000 - (number % 7) * 86_400_000 * 40,
        key: (number % 4 != 0).then(|| Bytes::from(format!("k{number}"))),
        value: (number % 6 != 0).then(|| Bytes::from(vec![b'v'; 300])),
        headers: kafka_protocol::indexmap::IndexMap::default(),
    };
    if number % 2 == 0 {
        let key = kafka_protocol::protocol::StrBytes::from_static_str("origin");
        record.headers.insert(
            key,
            (number % 8 != 0).then(|| Bytes::from_static(b"gateway")),
        );
    }
    record
}
