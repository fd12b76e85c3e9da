//! The broker's duties on a produced batch.
//!
//! What it is        [`check_produced`]: every rule between the request's bytes and the log, with
//!                   the Kafka error of each fault.
//! What it is not    duplicate and sequence checks (`producer`), authorization, replica counts.
//! Invariants        1. no decompression and no allocation for a compressed batch of a topic that
//!                      is not compacted, unless [`RecordWalk::Always`] asks for it.
//!                   2. a batch that passes has `records_count` = `last_offset_delta` + 1 ≥ 1.
//! Source            Kafka 4.3 `ProduceRequest.validateRecords`,
//!                   `UnifiedLog.analyzeAndValidateRecords`, `LogValidator`.

use thiserror::Error;

use super::compression::{Compression, DecompressLimits};
use super::field;
use super::header::{BatchHeader, TimestampType};
use super::patch::{set_log_append_time, set_max_timestamp};
use super::record::Record;
use super::view::{BatchError, BatchReadError, BatchView};
use crate::error_code::ErrorCode;
use crate::limits;
use crate::wall_clock::elapsed_ms;

/// Timestamp standing for "none".
const NO_TIMESTAMP: i64 = -1;
/// Bytes of the smallest record: seven one-byte fields.
const RECORD_BYTES_MIN: usize = 7;
/// First Produce version that may carry zstd.
const ZSTD_API_VERSION_MIN: i16 = 7;

/// How far the records of a batch are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum RecordWalk {
    /// Header and CRC only: count and timestamps of the header are trusted.
    HeaderOnly,
    /// Records of uncompressed batches are walked (about 14 ns each); compressed ones are trusted.
    #[default]
    Uncompressed,
    /// Compressed batches are decompressed and walked too.
    Always,
}

/// Limits on producer timestamps (`message.timestamp.before.max.ms`,
/// `message.timestamp.after.max.ms`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampBounds {
    /// The broker's clock, ms since 1970.
    pub now_ms: i64,
    /// How far before `now_ms` a timestamp may lie, ms, inclusive.
    pub before_max_ms: i64,
    /// How far after `now_ms` a timestamp may lie, ms, inclusive.
    pub after_max_ms: i64,
}

/// What a topic and a request ask of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppendRules {
    /// Version of the Produce request.
    pub api_version: i16,
    /// `max.message.bytes`: size of a whole batch, inclusive.
    pub max_message_bytes: usize,
    /// `message.timestamp.type` of the topic.
    pub timestamp_type: TimestampType,
    /// Limits on producer timestamps; not applied on LogAppendTime topics.
    pub timestamp_bounds: TimestampBounds,
    /// Whether `cleanup.policy` contains compact: every record needs a key, so every record is
    /// read.
    pub is_compacted: bool,
    /// How far records are looked at on topics that are not compacted.
    pub record_walk: RecordWalk,
    /// Bounds when a compressed batch must be read.
    pub decompress_limits: DecompressLimits,
}

/// What a checked batch is, and what the broker must write into it beside offset and epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchSummary {
    /// Header as produced.
    pub header: BatchHeader,
    /// Codec of the records.
    pub compression: Compression,
    /// Whether the topic wants LogAppendTime: the broker stamps the batch.
    pub needs_append_time: bool,
    /// The true max timestamp where the producer's header was wrong and the records were read.
    pub max_timestamp_correction: Option<i64>,
}

impl BatchSummary {
    /// Returns whether [`BatchSummary::patch_timestamps`] changes anything.
    #[must_use]
    pub fn needs_timestamp_patch(&self) -> bool {
        self.needs_append_time || self.max_timestamp_correction.is_some()
    }

    /// Returns the max timestamp that the batch has once stored, ms; -1 for none.
    #[must_use]
    pub fn stored_max_timestamp(&self, append_time_ms: i64) -> i64 {
        if self.needs_append_time {
            append_time_ms
        } else {
            self.max_timestamp_correction
                .unwrap_or(self.header.max_timestamp)
        }
    }

    /// Writes append time or corrected max timestamp into `bytes`, exactly this batch.
    ///
    /// # Errors
    /// [`BatchError::Truncated`] when `bytes` are not the batch.
    pub fn patch_timestamps(
        &self,
        bytes: &mut [u8],
        append_time_ms: i64,
    ) -> Result<(), BatchError> {
        if self.needs_append_time {
            set_log_append_time(bytes, append_time_ms)
        } else if let Some(max_timestamp) = self.max_timestamp_correction {
            set_max_timestamp(bytes, max_timestamp)
        } else {
            Ok(())
        }
    }
}

/// What is wrong with one record, for `record_errors` (Produce 8 and later).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RecordFault {
    /// A compacted topic needs a key.
    #[error("compacted topic cannot accept a record without key (record {record_number})")]
    NullKey {
        /// Number of the record in the batch, from 0.
        record_number: i32,
    },
    /// The timestamp is too far from the broker's clock.
    #[error("timestamp {timestamp} of record {record_number} is not within [{earliest}, {latest}]")]
    Timestamp {
        /// Number of the record in the batch, from 0.
        record_number: i32,
        /// Timestamp found, ms.
        timestamp: i64,
        /// Earliest allowed, inclusive.
        earliest: i64,
        /// Latest allowed, inclusive.
        latest: i64,
    },
}

impl RecordFault {
    /// Returns the number of the record in the batch, from 0 (`batch_index` of the response).
    #[must_use]
    pub fn record_number(&self) -> i32 {
        match *self {
            Self::NullKey { record_number } | Self::Timestamp { record_number, .. } => {
                record_number
            }
        }
    }
}

/// Why a produced batch is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ProduceFault {
    /// The partition came without a batch.
    #[error("produce request has no record batch for the partition")]
    NoBatch,
    /// The partition came with more than one batch.
    #[error("produce request has more than one record batch for the partition")]
    MoreThanOneBatch,
    /// zstd before Produce 7.
    #[error("zstd needs Produce version 7 or later")]
    ZstdTooEarly,
    /// Larger than `max.message.bytes`.
    #[error("record batch has {got_bytes} bytes, max.message.bytes is {max_bytes}")]
    TooLarge {
        /// Size of the batch.
        got_bytes: usize,
        /// The topic's limit.
        max_bytes: usize,
    },
    /// Not a batch, cut, or damaged.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// A header field breaks a rule.
    #[error("record batch header: {reason}")]
    Header {
        /// The rule.
        reason: &'static str,
    },
    /// Transactions are not served: nobody is authorized to write in one, and a reader of
    /// committed records could not tell.
    #[error("record batch is part of a transaction, and transactions are not served")]
    Transactional,
    /// The client set LogAppendTime.
    #[error("record batch has timestamp type LogAppendTime, which only the broker may set")]
    ClientLogAppendTime,
    /// Records do not decompress or parse.
    #[error("records of the batch are invalid: {0}")]
    Records(BatchReadError),
    /// Single records break a rule; never empty, all of one kind.
    #[error("{} of the records are invalid, first: {}", .0.len(), first_sentence(.0))]
    RecordFaults(Vec<RecordFault>),
}

impl ProduceFault {
    /// Returns the Kafka error code of the answer.
    #[must_use]
    pub fn error_code(&self) -> ErrorCode {
        match self {
            Self::Batch(BatchError::Magic { .. })
            | Self::NoBatch
            | Self::MoreThanOneBatch
            | Self::Header { .. }
            | Self::Records(_) => ErrorCode::InvalidRecord,
            Self::Batch(BatchError::Codec { .. }) | Self::ZstdTooEarly => {
                ErrorCode::UnsupportedCompressionType
            }
            Self::Batch(
                BatchError::Truncated { .. }
                | BatchError::BatchLength { .. }
                | BatchError::Crc { .. },
            ) => ErrorCode::CorruptMessage,
            Self::TooLarge { .. } => ErrorCode::MessageTooLarge,
            Self::Transactional => ErrorCode::TransactionalIdAuthorizationFailed,
            Self::ClientLogAppendTime => ErrorCode::InvalidTimestamp,
            Self::RecordFaults(faults) => match faults.first() {
                Some(RecordFault::Timestamp { .. }) => ErrorCode::InvalidTimestamp,
                Some(RecordFault::NullKey { .. }) | None => ErrorCode::InvalidRecord,
            },
        }
    }

    /// Returns the faults of single records, at most [`limits::RECORD_ERRORS_MAX`].
    #[must_use]
    pub fn record_faults(&self) -> &[RecordFault] {
        if let Self::RecordFaults(faults) = self {
            faults
        } else {
            &[]
        }
    }
}

/// Checks the records of one partition of a Produce request.
///
/// Cost: one pass for the CRC; plus the walk that `rules` ask for. Allocates only to decompress,
/// and only where invariant 1 of the module allows it.
///
/// # Errors
/// [`ProduceFault`], with the error code for the answer.
pub fn check_produced(bytes: &[u8], rules: &AppendRules) -> Result<BatchSummary, ProduceFault> {
    let batch = only_batch(bytes)?;
    let header = *batch.header();
    let compression = header.compression()?;
    if compression == Compression::Zstd && rules.api_version < ZSTD_API_VERSION_MIN {
        return Err(ProduceFault::ZstdTooEarly);
    }
    if header.base_offset != 0 {
        return Err(ProduceFault::Header {
            reason: "base offset must be 0",
        });
    }
    if header.size_bytes > rules.max_message_bytes {
        let (got_bytes, max_bytes) = (header.size_bytes, rules.max_message_bytes);
        return Err(ProduceFault::TooLarge {
            got_bytes,
            max_bytes,
        });
    }
    batch.check_crc()?;
    check_header(&batch, compression, rules)?;
    let walked = match (rules.is_compacted, rules.record_walk, compression) {
        (true, _, _)
        | (false, RecordWalk::Always, _)
        | (false, RecordWalk::Uncompressed, Compression::None) => walk(&batch, rules)?,
        (false, RecordWalk::HeaderOnly | RecordWalk::Uncompressed, _) => {
            check_header_timestamps(&header, rules)?;
            header.max_timestamp
        }
    };
    let needs_append_time = rules.timestamp_type == TimestampType::LogAppendTime;
    Ok(BatchSummary {
        header,
        compression,
        needs_append_time,
        max_timestamp_correction: (!needs_append_time && walked != header.max_timestamp)
            .then_some(walked),
    })
}

fn only_batch(bytes: &[u8]) -> Result<BatchView<'_>, ProduceFault> {
    let (batch, rest) = BatchView::split_first(bytes)?.ok_or(ProduceFault::NoBatch)?;
    if rest.is_empty() {
        Ok(batch)
    } else {
        Err(ProduceFault::MoreThanOneBatch)
    }
}

/// Checks the header rules that hold for every topic.
fn check_header(
    batch: &BatchView<'_>,
    compression: Compression,
    rules: &AppendRules,
) -> Result<(), ProduceFault> {
    let header = batch.header();
    if header.records_count <= 0 {
        return Err(ProduceFault::Header {
            reason: "record count must be positive",
        });
    }
    if header.last_offset_delta != header.records_count - 1 {
        return Err(ProduceFault::Header {
            reason: "last offset delta must be record count - 1",
        });
    }
    if header.is_control() {
        return Err(ProduceFault::Header {
            reason: "clients must not write control batches",
        });
    }
    if header.delete_horizon().is_some() {
        return Err(ProduceFault::Header {
            reason: "clients must not set a delete horizon",
        });
    }
    if header.producer_id >= 0 && (header.base_sequence < 0 || header.producer_epoch < 0) {
        return Err(ProduceFault::Header {
            reason: "producer id without sequence or epoch",
        });
    }
    if header.is_transactional() {
        return Err(ProduceFault::Transactional);
    }
    if header.timestamp_type() == TimestampType::LogAppendTime {
        return Err(ProduceFault::ClientLogAppendTime);
    }
    let payload_bytes = match compression {
        Compression::None => batch.payload().len(),
        Compression::Gzip | Compression::Snappy | Compression::Lz4 | Compression::Zstd => rules
            .decompress_limits
            .output_bytes_max_for(batch.payload().len()),
    };
    let count = usize::try_from(header.records_count).unwrap_or(usize::MAX);
    if count.saturating_mul(RECORD_BYTES_MIN) > payload_bytes {
        return Err(ProduceFault::Header {
            reason: "record count does not fit into the batch",
        });
    }
    Ok(())
}

/// Applies the timestamp limits to what the header says of all records.
fn check_header_timestamps(header: &BatchHeader, rules: &AppendRules) -> Result<(), ProduceFault> {
    let last = header.last_offset_delta;
    let fault = timestamp_fault(header.max_timestamp, last, rules)
        .or_else(|| timestamp_fault(header.base_timestamp, 0, rules));
    fault.map_or(Ok(()), |fault| Err(ProduceFault::RecordFaults(vec![fault])))
}

/// Reads every record; returns the largest timestamp.
fn walk(batch: &BatchView<'_>, rules: &AppendRules) -> Result<i64, ProduceFault> {
    let mut scratch = Vec::new();
    let mut records = batch
        .records(&rules.decompress_limits, &mut scratch)
        .map_err(ProduceFault::Records)?;
    let mut faults = Vec::new();
    let mut max_timestamp = NO_TIMESTAMP;
    for (record_number, record) in (0..).zip(records.by_ref()) {
        let record = record.map_err(|error| ProduceFault::Records(error.into()))?;
        if record.offset_delta != record_number {
            return Err(ProduceFault::Header {
                reason: "offset deltas must count from 0",
            });
        }
        max_timestamp = max_timestamp.max(record.timestamp);
        if let Some(fault) = record_fault(&record, record_number, rules)
            && faults.len() < limits::RECORD_ERRORS_MAX
        {
            faults.push(fault);
        }
    }
    if !records.rest().is_empty() {
        return Err(ProduceFault::Header {
            reason: "bytes follow the last record",
        });
    }
    keep_one_kind(&mut faults);
    if faults.is_empty() {
        Ok(max_timestamp)
    } else {
        Err(ProduceFault::RecordFaults(faults))
    }
}

fn record_fault(record: &Record<'_>, number: i32, rules: &AppendRules) -> Option<RecordFault> {
    if rules.is_compacted && record.key.is_none() {
        return Some(RecordFault::NullKey {
            record_number: number,
        });
    }
    timestamp_fault(record.timestamp, number, rules)
}

fn timestamp_fault(timestamp: i64, record_number: i32, rules: &AppendRules) -> Option<RecordFault> {
    if rules.timestamp_type == TimestampType::LogAppendTime || timestamp == NO_TIMESTAMP {
        return None;
    }
    let bounds = &rules.timestamp_bounds;
    // A broker whose clock was never set does not judge one that was.
    elapsed_ms(bounds.now_ms, timestamp)?;
    let earliest = bounds.now_ms.saturating_sub(bounds.before_max_ms);
    let latest = bounds.now_ms.saturating_add(bounds.after_max_ms);
    (timestamp < earliest || timestamp > latest).then_some(RecordFault::Timestamp {
        record_number,
        timestamp,
        earliest,
        latest,
    })
}

/// A batch has one error code: faults of another kind than the first are dropped.
fn keep_one_kind(faults: &mut Vec<RecordFault>) {
    let Some(first) = faults.first().copied() else {
        return;
    };
    let is_first_kind = |fault: &RecordFault| match (fault, first) {
        (RecordFault::NullKey { .. }, RecordFault::NullKey { .. })
        | (RecordFault::Timestamp { .. }, RecordFault::Timestamp { .. }) => true,
        (RecordFault::NullKey { .. }, RecordFault::Timestamp { .. })
        | (RecordFault::Timestamp { .. }, RecordFault::NullKey { .. }) => false,
    };
    faults.retain(is_first_kind);
}

fn first_sentence(faults: &[RecordFault]) -> String {
    faults.first().map(ToString::to_string).unwrap_or_default()
}

const _: () = assert!(field::HEADER_BYTES > RECORD_BYTES_MIN);
