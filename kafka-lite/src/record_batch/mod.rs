//! Record batch, format v2: reading, checking, patching and building.
//!
//! What it is        the bytes between a producer, the log and a consumer. A batch is kept
//!                   verbatim; this module reads its header, walks its records and rewrites the few
//!                   fields that belong to the broker.
//! What it is not    message sets of format 0 and 1: no supported API version carries them.
//! Layout            61-byte big-endian header ([`field`]), then records, compressed as one blob.
//! Invariants        1. a [`BatchView`] has exactly the bytes that its length field says.
//!                   2. no allocation by a length that was not checked against bytes at hand or a
//!                      cap.
//! Source            Kafka 4.3 `DefaultRecordBatch`, `DefaultRecord`, `LogValidator`.
//! Reading order     [`BatchHeader`], [`BatchView`], [`check_produced`], [`BatchBuilder`].

mod builder;
mod check;
mod compression;
pub mod field;
mod header;
mod patch;
mod record;
mod search;
mod varint;
mod view;

#[cfg(test)]
mod tests;

pub use builder::{BatchBuilder, BatchOptions, BuildError};
pub use check::{
    AppendRules, BatchSummary, ProduceFault, RecordFault, RecordWalk, TimestampBounds,
    check_produced,
};
pub use compression::{Compression, DecompressError, DecompressLimits, compress, decompress};
pub use header::{BatchHeader, BatchProducer, TimestampType};
pub use patch::{
    patch_base_offset_and_leader_epoch, set_log_append_time, set_max_timestamp, set_producer,
};
pub use record::{Record, RecordError, RecordHeader, RecordHeaders, Records};
pub use search::{TimestampedOffset, first_record_at_or_after, max_timestamp_record};
pub use view::{BatchError, BatchReadError, BatchView, size_of_batch_at};
