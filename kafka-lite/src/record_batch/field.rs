//! Byte ranges and bits of the v2 batch header.
//!
//! What it is        the layout table as constants; ranges are from the first byte of the batch.
//! What it is not    code.
//! Source            Kafka 4.3 `DefaultRecordBatch` (all integers big-endian).

use std::ops::Range;

/// Offset of the first record; written by the broker, outside the CRC.
pub const BASE_OFFSET: Range<usize> = 0..8;
/// Bytes after this field.
pub const BATCH_LENGTH: Range<usize> = 8..12;
/// Leader epoch at append; written by the broker, outside the CRC.
pub const PARTITION_LEADER_EPOCH: Range<usize> = 12..16;
/// Format version, 2.
pub const MAGIC: Range<usize> = 16..17;
/// CRC-32C of the bytes from [`CRC_START`] to the end.
pub const CRC: Range<usize> = 17..21;
/// Bit set, see the `ATTRIBUTE_*` constants.
pub const ATTRIBUTES: Range<usize> = 21..23;
/// Offset of the last record minus base offset.
pub const LAST_OFFSET_DELTA: Range<usize> = 23..27;
/// Timestamp that record deltas refer to, ms; the delete horizon when that bit is set.
pub const BASE_TIMESTAMP: Range<usize> = 27..35;
/// Largest record timestamp, or the append time, ms.
pub const MAX_TIMESTAMP: Range<usize> = 35..43;
/// Producer id, -1 for none.
pub const PRODUCER_ID: Range<usize> = 43..51;
/// Producer epoch, -1 for none.
pub const PRODUCER_EPOCH: Range<usize> = 51..53;
/// Sequence of the first record, -1 for none.
pub const BASE_SEQUENCE: Range<usize> = 53..57;
/// Number of records in the batch.
pub const RECORDS_COUNT: Range<usize> = 57..61;

/// Bytes of the header.
pub const HEADER_BYTES: usize = 61;
/// Bytes before the counted part: the batch has `BATCH_LENGTH` + this many bytes.
pub const LOG_OVERHEAD_BYTES: usize = 12;
/// First byte under the CRC.
pub const CRC_START: usize = 21;
/// The only format version there is here.
pub const MAGIC_V2: i8 = 2;

/// Codec number, bits 0 to 2.
pub const ATTRIBUTE_CODEC_MASK: i16 = 0x07;
/// Set: `MAX_TIMESTAMP` is the append time of all records.
pub const ATTRIBUTE_LOG_APPEND_TIME: i16 = 0x08;
/// Set: part of a transaction.
pub const ATTRIBUTE_TRANSACTIONAL: i16 = 0x10;
/// Set: a transaction marker, hidden from consumers.
pub const ATTRIBUTE_CONTROL: i16 = 0x20;
/// Set: `BASE_TIMESTAMP` is the delete horizon of the tombstones inside.
pub const ATTRIBUTE_DELETE_HORIZON: i16 = 0x40;
