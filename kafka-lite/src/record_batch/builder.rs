//! Building a batch: for consumer offsets, compaction, the command line and tests.
//!
//! What it is        records in, the bytes of one batch out, all codecs.
//! What it is not    the produce path: what a client sent is never rebuilt there.
//! Invariants        1. offset deltas rise strictly.  2. a finished batch passes its own CRC.
//! Source            Kafka 4.3 `MemoryRecordsBuilder`, `DefaultRecord.writeTo`.

use std::io;

use thiserror::Error;

use super::compression::{Compression, compress};
use super::field;
use super::header::{BatchHeader, BatchProducer, TimestampType};
use super::patch::recompute_crc;
use super::record::{Record, RecordHeader};
use super::varint::put_varlong;
use super::view::BatchError;

/// Header fields that do not follow from the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchOptions {
    /// Codec of the records.
    pub compression: Compression,
    /// Offset of the first record; 0 to produce.
    pub base_offset: i64,
    /// Leader epoch; -1 to produce.
    pub partition_leader_epoch: i32,
    /// With LogAppendTime the largest timestamp given counts for all records.
    pub timestamp_type: TimestampType,
    /// Producer fields; `None` writes -1.
    pub producer: Option<BatchProducer>,
    /// Part of a transaction.
    pub is_transactional: bool,
    /// A transaction marker.
    pub is_control: bool,
    /// Time from which tombstones inside may go, ms; takes the place of the base timestamp.
    pub delete_horizon: Option<i64>,
}

impl Default for BatchOptions {
    fn default() -> Self {
        Self {
            compression: Compression::None,
            base_offset: 0,
            partition_leader_epoch: -1,
            timestamp_type: TimestampType::CreateTime,
            producer: None,
            is_transactional: false,
            is_control: false,
            delete_horizon: None,
        }
    }
}

/// Why a batch cannot be built.
#[derive(Debug, Error)]
pub enum BuildError {
    /// The batch, a record or a field is larger than the format can say.
    #[error("record batch is larger than its format can say")]
    TooLarge,
    /// An offset delta does not rise.
    #[error("offset delta {got} does not follow {last}")]
    OffsetDelta {
        /// Delta given.
        got: i32,
        /// Delta of the record before.
        last: i32,
    },
    /// The codec failed.
    #[error("compressing records failed: {0}")]
    Compress(#[from] io::Error),
    /// The header of a batch to rewrite is wrong.
    #[error(transparent)]
    Batch(#[from] BatchError),
}

/// Collects records into one batch.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    options: BatchOptions,
    records: Vec<u8>,
    body: Vec<u8>,
    base_timestamp: Option<i64>,
    max_timestamp: i64,
    records_count: i32,
    last_offset_delta: i32,
    last_offset_delta_min: i32,
}

impl BatchBuilder {
    /// Starts an empty batch.
    #[must_use]
    pub fn new(options: BatchOptions) -> Self {
        Self {
            options,
            records: Vec::new(),
            body: Vec::new(),
            base_timestamp: options.delete_horizon,
            max_timestamp: -1,
            records_count: 0,
            last_offset_delta: -1,
            last_offset_delta_min: -1,
        }
    }

    /// Starts a batch that takes the place of the one with this header: compaction's rewrite.
    ///
    /// Base offset, last offset delta, producer fields, timestamps type and codec are kept,
    /// whichever records are appended; an empty result is allowed and keeps the producer's last
    /// sequence.
    ///
    /// # Errors
    /// [`BuildError::Batch`] for an unknown codec.
    pub fn rewrite(header: &BatchHeader) -> Result<Self, BuildError> {
        let mut builder = Self::new(BatchOptions {
            compression: header.compression()?,
            base_offset: header.base_offset,
            partition_leader_epoch: header.partition_leader_epoch,
            timestamp_type: header.timestamp_type(),
            producer: header.producer(),
            is_transactional: header.is_transactional(),
            is_control: header.is_control(),
            delete_horizon: header.delete_horizon(),
        });
        builder.base_timestamp = Some(header.base_timestamp);
        builder.last_offset_delta_min = header.last_offset_delta;
        if header.timestamp_type() == TimestampType::LogAppendTime {
            builder.max_timestamp = header.max_timestamp;
        }
        Ok(builder)
    }

    /// Sets the delete horizon, ms since 1970; only before the first record.
    pub fn set_delete_horizon(&mut self, delete_horizon: i64) {
        debug_assert!(
            self.records_count == 0,
            "deltas refer to the base timestamp"
        );
        self.options.delete_horizon = Some(delete_horizon);
        self.base_timestamp = Some(delete_horizon);
    }

    /// Appends a record with the next offset; `timestamp` in ms since 1970.
    ///
    /// # Errors
    /// [`BuildError::TooLarge`].
    pub fn append(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[RecordHeader<'_>],
    ) -> Result<(), BuildError> {
        let offset_delta = self
            .last_offset_delta
            .checked_add(1)
            .ok_or(BuildError::TooLarge)?;
        self.append_record(
            offset_delta,
            timestamp,
            (key, value),
            headers.iter().copied(),
        )
    }

    /// Appends a record read from another batch with its own offset delta: compaction's copy.
    ///
    /// # Errors
    /// [`BuildError::OffsetDelta`] when deltas do not rise, [`BuildError::TooLarge`].
    pub fn append_copy(&mut self, record: &Record<'_>) -> Result<(), BuildError> {
        let payload = (record.key, record.value);
        self.append_record(
            record.offset_delta,
            record.timestamp,
            payload,
            record.headers,
        )
    }

    fn append_record<'a>(
        &mut self,
        offset_delta: i32,
        timestamp: i64,
        (key, value): (Option<&[u8]>, Option<&[u8]>),
        headers: impl Iterator<Item = RecordHeader<'a>> + Clone,
    ) -> Result<(), BuildError> {
        if offset_delta <= self.last_offset_delta {
            let (got, last) = (offset_delta, self.last_offset_delta);
            return Err(BuildError::OffsetDelta { got, last });
        }
        let base_timestamp = *self.base_timestamp.get_or_insert(timestamp);
        self.body.clear();
        self.body.push(0);
        put_varlong(&mut self.body, timestamp.wrapping_sub(base_timestamp));
        put_varlong(&mut self.body, i64::from(offset_delta));
        put_nullable(&mut self.body, key)?;
        put_nullable(&mut self.body, value)?;
        let count = i32::try_from(headers.clone().count()).map_err(|_| BuildError::TooLarge)?;
        put_varlong(&mut self.body, i64::from(count));
        for header in headers {
            put_nullable(&mut self.body, Some(header.key))?;
            put_nullable(&mut self.body, header.value)?;
        }
        put_varlong(&mut self.records, length_of(&self.body)?);
        self.records.extend_from_slice(&self.body);
        self.max_timestamp = self.max_timestamp.max(timestamp);
        self.records_count = self
            .records_count
            .checked_add(1)
            .ok_or(BuildError::TooLarge)?;
        self.last_offset_delta = offset_delta;
        Ok(())
    }

    /// Returns the bytes of the batch.
    ///
    /// # Errors
    /// [`BuildError::TooLarge`], [`BuildError::Compress`].
    pub fn finish(self) -> Result<Vec<u8>, BuildError> {
        let mut out = Vec::with_capacity(field::HEADER_BYTES + self.records.len());
        self.put_header(&mut out);
        let codec = if self.records.is_empty() {
            Compression::None
        } else {
            self.options.compression
        };
        compress(codec, &self.records, &mut out)?;
        let length = out.len().saturating_sub(field::LOG_OVERHEAD_BYTES);
        let length = i32::try_from(length).map_err(|_| BuildError::TooLarge)?;
        if let Some(target) = out.get_mut(field::BATCH_LENGTH) {
            target.copy_from_slice(&length.to_be_bytes());
        }
        recompute_crc(&mut out)?;
        Ok(out)
    }

    /// Returns how many records were appended.
    #[must_use]
    pub fn records_count(&self) -> i32 {
        self.records_count
    }

    /// Returns the bytes of the batch so far, before compression.
    #[must_use]
    pub fn uncompressed_bytes(&self) -> usize {
        field::HEADER_BYTES + self.records.len()
    }

    /// Writes the header with length and CRC zero.
    fn put_header(&self, out: &mut Vec<u8>) {
        let producer = self.options.producer.unwrap_or(BatchProducer {
            id: -1,
            epoch: -1,
            base_sequence: -1,
        });
        out.extend_from_slice(&self.options.base_offset.to_be_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.options.partition_leader_epoch.to_be_bytes());
        out.extend_from_slice(&field::MAGIC_V2.to_be_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.attributes().to_be_bytes());
        let last_offset_delta = self
            .last_offset_delta
            .max(self.last_offset_delta_min)
            .max(0);
        out.extend_from_slice(&last_offset_delta.to_be_bytes());
        out.extend_from_slice(&self.base_timestamp.unwrap_or(-1).to_be_bytes());
        out.extend_from_slice(&self.max_timestamp.to_be_bytes());
        out.extend_from_slice(&producer.id.to_be_bytes());
        out.extend_from_slice(&producer.epoch.to_be_bytes());
        out.extend_from_slice(&producer.base_sequence.to_be_bytes());
        out.extend_from_slice(&self.records_count.to_be_bytes());
    }

    fn attributes(&self) -> i16 {
        let set = |is_set: bool, bit: i16| if is_set { bit } else { 0 };
        let codec = if self.records.is_empty() {
            Compression::None
        } else {
            self.options.compression
        };
        let append_time = self.options.timestamp_type == TimestampType::LogAppendTime;
        codec.id()
            | set(append_time, field::ATTRIBUTE_LOG_APPEND_TIME)
            | set(
                self.options.is_transactional,
                field::ATTRIBUTE_TRANSACTIONAL,
            )
            | set(self.options.is_control, field::ATTRIBUTE_CONTROL)
            | set(
                self.options.delete_horizon.is_some(),
                field::ATTRIBUTE_DELETE_HORIZON,
            )
    }
}

fn put_nullable(out: &mut Vec<u8>, slice: Option<&[u8]>) -> Result<(), BuildError> {
    let Some(slice) = slice else {
        put_varlong(out, -1);
        return Ok(());
    };
    put_varlong(out, length_of(slice)?);
    out.extend_from_slice(slice);
    Ok(())
}

fn length_of(slice: &[u8]) -> Result<i64, BuildError> {
    i32::try_from(slice.len())
        .map(i64::from)
        .map_err(|_| BuildError::TooLarge)
}
