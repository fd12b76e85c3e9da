//! Timestamp search inside one batch, exact to the record.
//!
//! What it is        the last step of ListOffsets by timestamp and by max timestamp.
//! What it is not    the choice of the batch: the time index does that.
//! Source            Kafka 4.3 `FileRecords.searchForTimestamp`,
//!                   `RecordBatch.offsetOfMaxTimestamp`.

use super::compression::DecompressLimits;
use super::header::TimestampType;
use super::view::{BatchReadError, BatchView};

/// A record's place in the log and in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampedOffset {
    /// Offset of the record.
    pub offset: i64,
    /// Its timestamp, ms since 1970.
    pub timestamp: i64,
}

/// Returns the first record with at least this timestamp and at least offset `start_offset`.
///
/// `None` when the batch has none. Cost: nothing when the batch's max timestamp is too small or the
/// batch has one append time; else a walk, and a decompression into `scratch` when compressed.
///
/// # Errors
/// [`BatchReadError`] when the records cannot be read.
pub fn first_record_at_or_after(
    batch: &BatchView<'_>,
    timestamp: i64,
    start_offset: i64,
    limits: &DecompressLimits,
    scratch: &mut Vec<u8>,
) -> Result<Option<TimestampedOffset>, BatchReadError> {
    let header = batch.header();
    if header.max_timestamp < timestamp || header.last_offset() < start_offset {
        return Ok(None);
    }
    if header.timestamp_type() == TimestampType::LogAppendTime && start_offset <= header.base_offset
    {
        let (offset, timestamp) = (header.base_offset, header.max_timestamp);
        return Ok(Some(TimestampedOffset { offset, timestamp }));
    }
    for record in batch.records(limits, scratch)? {
        let record = record?;
        if record.timestamp >= timestamp && record.offset >= start_offset {
            let (offset, timestamp) = (record.offset, record.timestamp);
            return Ok(Some(TimestampedOffset { offset, timestamp }));
        }
    }
    Ok(None)
}

/// Returns the first record with the largest timestamp; `None` for a batch without records.
///
/// With an append time the last record counts, as in Kafka, and nothing is walked.
///
/// # Errors
/// [`BatchReadError`] when the records cannot be read.
pub fn max_timestamp_record(
    batch: &BatchView<'_>,
    limits: &DecompressLimits,
    scratch: &mut Vec<u8>,
) -> Result<Option<TimestampedOffset>, BatchReadError> {
    let header = batch.header();
    if header.timestamp_type() == TimestampType::LogAppendTime {
        let (offset, timestamp) = (header.last_offset(), header.max_timestamp);
        return Ok((header.records_count > 0).then_some(TimestampedOffset { offset, timestamp }));
    }
    let mut largest: Option<TimestampedOffset> = None;
    for record in batch.records(limits, scratch)? {
        let record = record?;
        if largest.is_none_or(|largest| record.timestamp > largest.timestamp) {
            let (offset, timestamp) = (record.offset, record.timestamp);
            largest = Some(TimestampedOffset { offset, timestamp });
        }
    }
    Ok(largest)
}
