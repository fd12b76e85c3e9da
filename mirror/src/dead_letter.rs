//! Records that were refused for good, as they are put aside.
//!
//! What it is not    when that is done (`lane`, `downlink`), nor where to (the daemon).

use bytes::Bytes;
use kafka_lite::record_batch::{
    BatchBuilder, BatchOptions, BatchView, DecompressLimits, RecordHeader,
};

/// Behind the name of a topic: where what the other side refuses goes.
pub const DEAD_LETTER_SUFFIX: &str = ".dead-letter";

/// Header of a dead letter that says why it was refused.
const ERROR_HEADER: &[u8] = b"_error";

/// The records of a batch with the reason as one more header; `None` if it cannot be read.
pub(crate) fn dead_letter(batch: &[u8], reason: &str) -> Option<Bytes> {
    let (view, _) = BatchView::split_first(batch).ok()??;
    let mut scratch = Vec::new();
    let records = view
        .records(&DecompressLimits::default(), &mut scratch)
        .ok()?;
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for record in records {
        let record = record.ok()?;
        let mut headers: Vec<RecordHeader<'_>> = record.headers.collect();
        headers.push(RecordHeader {
            key: ERROR_HEADER,
            value: Some(reason.trim().as_bytes()),
        });
        builder
            .append(record.timestamp, record.key, record.value, &headers)
            .ok()?;
    }
    builder.finish().ok().map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use super::dead_letter;
    use kafka_lite::record_batch::{
        BatchBuilder, BatchOptions, BatchView, DecompressLimits, RecordHeader,
    };

    #[test]
    fn a_dead_letter_is_the_record_with_the_reason_behind_its_headers() {
        let mut builder = BatchBuilder::new(BatchOptions::default());
        let own = RecordHeader {
            key: b"a",
            value: Some(b"b"),
        };
        builder
            .append(7, Some(b"key"), Some(b"value"), &[own])
            .unwrap();
        let batch = dead_letter(&builder.finish().unwrap(), "MESSAGE_TOO_LARGE ").unwrap();
        let (view, rest) = BatchView::split_first(&batch).unwrap().unwrap();
        assert!(rest.is_empty());
        let mut scratch = Vec::new();
        let mut records = view
            .records(&DecompressLimits::default(), &mut scratch)
            .unwrap();
        let record = records.next().unwrap().unwrap();
        assert_eq!(
            (record.timestamp, record.key, record.value),
            (7, Some(&b"key"[..]), Some(&b"value"[..]))
        );
        let headers: Vec<_> = record.headers.collect();
        assert_eq!(headers.len(), 2);
        assert_eq!(headers[0], own);
        assert_eq!(headers[1].key, b"_error");
        assert_eq!(headers[1].value, Some(&b"MESSAGE_TOO_LARGE"[..]));
        assert_eq!(dead_letter(b"no batch", ""), None);
    }
}
