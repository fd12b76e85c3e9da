//! The header fields that belong to the broker, rewritten in place.
//!
//! What it is        base offset and leader epoch (outside the CRC), and the timestamp fields
//!                   (inside it, so that the CRC is computed anew).
//! What it is not    a check: callers have checked the batch before.
//! Source            Kafka 4.3 `DefaultRecordBatch.setLastOffset`, `setMaxTimestamp`,
//!                   `setPartitionLeaderEpoch`.

use super::field;
use super::header::BatchProducer;
use super::view::BatchError;

/// Writes base offset and leader epoch into the batch at the start of `bytes`; the CRC stays valid.
///
/// # Errors
/// [`BatchError::Truncated`] when there is no whole header.
pub fn patch_base_offset_and_leader_epoch(
    bytes: &mut [u8],
    base_offset: i64,
    leader_epoch: i32,
) -> Result<(), BatchError> {
    put(bytes, field::BASE_OFFSET.start, base_offset.to_be_bytes())?;
    put(
        bytes,
        field::PARTITION_LEADER_EPOCH.start,
        leader_epoch.to_be_bytes(),
    )
}

/// Makes the batch one of LogAppendTime: attribute bit 3, max timestamp, and the CRC anew.
///
/// `bytes` are exactly one batch; `timestamp` is in ms since 1970.
///
/// # Errors
/// [`BatchError::Truncated`] when there is no whole header.
pub fn set_log_append_time(bytes: &mut [u8], timestamp: i64) -> Result<(), BatchError> {
    let attributes = attributes(bytes)? | field::ATTRIBUTE_LOG_APPEND_TIME;
    put(bytes, field::ATTRIBUTES.start, attributes.to_be_bytes())?;
    set_max_timestamp(bytes, timestamp)
}

/// Writes the max timestamp and computes the CRC anew.
///
/// `bytes` are exactly one batch; `timestamp` is in ms since 1970.
///
/// # Errors
/// [`BatchError::Truncated`] when there is no whole header.
pub fn set_max_timestamp(bytes: &mut [u8], timestamp: i64) -> Result<(), BatchError> {
    put(bytes, field::MAX_TIMESTAMP.start, timestamp.to_be_bytes())?;
    recompute_crc(bytes)
}

/// Makes the batch one of an idempotent producer, and computes the CRC anew.
///
/// `bytes` are exactly one batch.
///
/// # Errors
/// [`BatchError::Truncated`] when there is no whole header.
pub fn set_producer(bytes: &mut [u8], producer: BatchProducer) -> Result<(), BatchError> {
    put(bytes, field::PRODUCER_ID.start, producer.id.to_be_bytes())?;
    put(
        bytes,
        field::PRODUCER_EPOCH.start,
        producer.epoch.to_be_bytes(),
    )?;
    put(
        bytes,
        field::BASE_SEQUENCE.start,
        producer.base_sequence.to_be_bytes(),
    )?;
    recompute_crc(bytes)
}

/// Computes the CRC of `bytes`, exactly one batch, and writes it into the header.
pub(super) fn recompute_crc(bytes: &mut [u8]) -> Result<(), BatchError> {
    let crc = crc32c::crc32c(
        bytes
            .get(field::CRC_START..)
            .ok_or_else(|| truncated(bytes))?,
    );
    put(bytes, field::CRC.start, crc.to_be_bytes())
}

fn attributes(bytes: &[u8]) -> Result<i16, BatchError> {
    let field = bytes
        .get(field::ATTRIBUTES)
        .and_then(|field| field.first_chunk());
    field
        .map(|field| i16::from_be_bytes(*field))
        .ok_or_else(|| truncated(bytes))
}

fn put<const N: usize>(bytes: &mut [u8], start: usize, value: [u8; N]) -> Result<(), BatchError> {
    let error = truncated(bytes);
    if bytes.len() < field::HEADER_BYTES {
        return Err(error);
    }
    let target = bytes
        .get_mut(start..)
        .and_then(<[u8]>::first_chunk_mut::<N>)
        .ok_or(error)?;
    *target = value;
    Ok(())
}

fn truncated(bytes: &[u8]) -> BatchError {
    BatchError::Truncated {
        needed_bytes: field::HEADER_BYTES,
        got_bytes: bytes.len(),
    }
}
