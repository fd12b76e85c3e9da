//! The 61-byte header of a batch, decoded.
//!
//! What it is        a small copyable value for scanning, checking and producer state.
//! What it is not    a promise that the records exist: only [`BatchHeader::decode`]'s checks hold.
//! Invariants        1. magic is 2.  2. size is at least the header.
//! Source            Kafka 4.3 `DefaultRecordBatch`.

use super::compression::Compression;
use super::field;
use super::view::BatchError;

/// Whose clock stamped the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum TimestampType {
    /// The producer's; each record has its own.
    #[default]
    CreateTime,
    /// The broker's; every record has the batch's max timestamp.
    LogAppendTime,
}

/// Producer fields of a batch whose producer id is not -1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchProducer {
    /// Producer id, not negative.
    pub id: i64,
    /// Epoch of the producer id.
    pub epoch: i16,
    /// Sequence of the first record; -1 on transaction markers.
    pub base_sequence: i32,
}

/// Header of one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record (as produced: 0).
    pub base_offset: i64,
    /// Bytes of the whole batch with this header; at least [`field::HEADER_BYTES`].
    pub size_bytes: usize,
    /// Leader epoch at append; -1 where never appended.
    pub partition_leader_epoch: i32,
    /// CRC-32C as stored.
    pub crc: u32,
    /// Bit set as stored.
    pub attributes: i16,
    /// Last offset minus base offset.
    pub last_offset_delta: i32,
    /// What record timestamp deltas refer to, ms since 1970.
    pub base_timestamp: i64,
    /// Largest timestamp, or the append time, ms since 1970; -1 for none.
    pub max_timestamp: i64,
    /// Producer id as stored, -1 for none; see [`BatchHeader::producer`].
    pub producer_id: i64,
    /// Producer epoch as stored.
    pub producer_epoch: i16,
    /// Base sequence as stored.
    pub base_sequence: i32,
    /// Number of records as stored.
    pub records_count: i32,
}

impl BatchHeader {
    /// Decodes the header at the start of `bytes`; what follows the header is not looked at.
    ///
    /// # Errors
    /// [`BatchError::Truncated`] below 61 bytes, [`BatchError::Magic`],
    /// [`BatchError::BatchLength`].
    pub fn decode(bytes: &[u8]) -> Result<Self, BatchError> {
        let mut rest = bytes;
        let base_offset = i64::from_be_bytes(take(&mut rest)?);
        let batch_length = i32::from_be_bytes(take(&mut rest)?);
        let partition_leader_epoch = i32::from_be_bytes(take(&mut rest)?);
        let magic = i8::from_be_bytes(take(&mut rest)?);
        if magic != field::MAGIC_V2 {
            return Err(BatchError::Magic { got: magic });
        }
        let header = Self {
            base_offset,
            size_bytes: size_from_length(batch_length)?,
            partition_leader_epoch,
            crc: u32::from_be_bytes(take(&mut rest)?),
            attributes: i16::from_be_bytes(take(&mut rest)?),
            last_offset_delta: i32::from_be_bytes(take(&mut rest)?),
            base_timestamp: i64::from_be_bytes(take(&mut rest)?),
            max_timestamp: i64::from_be_bytes(take(&mut rest)?),
            producer_id: i64::from_be_bytes(take(&mut rest)?),
            producer_epoch: i16::from_be_bytes(take(&mut rest)?),
            base_sequence: i32::from_be_bytes(take(&mut rest)?),
            records_count: i32::from_be_bytes(take(&mut rest)?),
        };
        Ok(header)
    }

    /// Returns the offset of the last record, inclusive (survives compaction of that record).
    #[must_use]
    pub fn last_offset(&self) -> i64 {
        self.base_offset
            .saturating_add(i64::from(self.last_offset_delta))
    }

    /// Returns the offset after the batch.
    #[must_use]
    pub fn next_offset(&self) -> i64 {
        self.last_offset().saturating_add(1)
    }

    /// Returns the codec of the records.
    ///
    /// # Errors
    /// [`BatchError::Codec`] for a number that Kafka does not know (5 to 7).
    pub fn compression(&self) -> Result<Compression, BatchError> {
        let id = self.attributes & field::ATTRIBUTE_CODEC_MASK;
        Compression::from_id(id).ok_or(BatchError::Codec { id })
    }

    /// Returns whose clock stamped the records.
    #[must_use]
    pub fn timestamp_type(&self) -> TimestampType {
        if self.attributes & field::ATTRIBUTE_LOG_APPEND_TIME != 0 {
            TimestampType::LogAppendTime
        } else {
            TimestampType::CreateTime
        }
    }

    /// Returns the producer fields, or `None` for a batch without producer id.
    #[must_use]
    pub fn producer(&self) -> Option<BatchProducer> {
        (self.producer_id >= 0).then_some(BatchProducer {
            id: self.producer_id,
            epoch: self.producer_epoch,
            base_sequence: self.base_sequence,
        })
    }

    /// Returns the sequence of the last record; sequences wrap from `i32::MAX` to 0.
    #[must_use]
    pub fn last_sequence(&self) -> i32 {
        if self.base_sequence < 0 {
            return self.base_sequence;
        }
        let sum = i64::from(self.base_sequence) + i64::from(self.last_offset_delta.max(0));
        let wrapped = if sum > i64::from(i32::MAX) {
            sum - i64::from(i32::MAX) - 1
        } else {
            sum
        };
        i32::try_from(wrapped).unwrap_or(0)
    }

    /// Returns whether the batch belongs to a transaction.
    #[must_use]
    pub fn is_transactional(&self) -> bool {
        self.attributes & field::ATTRIBUTE_TRANSACTIONAL != 0
    }

    /// Returns whether the batch is a transaction marker.
    #[must_use]
    pub fn is_control(&self) -> bool {
        self.attributes & field::ATTRIBUTE_CONTROL != 0
    }

    /// Returns the time from which tombstones inside may go, when compaction has set it, ms.
    #[must_use]
    pub fn delete_horizon(&self) -> Option<i64> {
        (self.attributes & field::ATTRIBUTE_DELETE_HORIZON != 0).then_some(self.base_timestamp)
    }
}

/// Turns the batch length field into the size of the whole batch.
pub(super) fn size_from_length(batch_length: i32) -> Result<usize, BatchError> {
    let error = BatchError::BatchLength { got: batch_length };
    let length = usize::try_from(batch_length).map_err(|_| error)?;
    let size = length.checked_add(field::LOG_OVERHEAD_BYTES).ok_or(error)?;
    if size < field::HEADER_BYTES {
        Err(error)
    } else {
        Ok(size)
    }
}

/// Splits the first `N` bytes off.
fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], BatchError> {
    let (first, after) = rest.split_first_chunk::<N>().ok_or(BatchError::Truncated {
        needed_bytes: field::HEADER_BYTES,
        got_bytes: rest.len(),
    })?;
    *rest = after;
    Ok(*first)
}
