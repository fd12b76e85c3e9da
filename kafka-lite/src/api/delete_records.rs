//! DeleteRecords: moves the log start offset of partitions forward.
//!
//! Versions          2 flexible.
//! Source            Apache Kafka 4.1, `DeleteRecordsRequest`, `DeleteRecordsResponse`.

use super::table::{api, structs};
use crate::error_code::ErrorCode;
use crate::primitive::Text;

api! {
    DeleteRecords, accepted 0..=2, advertised from 0, flexible from 2,
    DeleteRecordsRequest<'a>, DeleteRecordsResponse<'a>
}

structs! {
    /// A DeleteRecords request.
    struct DeleteRecordsRequest<'a> {
        topics: Vec<DeleteRecordsTopic<'a>>, 0..;
        /// Milliseconds that the broker may take.
        timeout_ms: i32, 0..;
    }

    /// Partitions of one topic.
    struct DeleteRecordsTopic<'a> {
        name: Text<'a>, 0..;
        partitions: Vec<DeleteRecordsPartition>, 0..;
    }

    /// A partition to cut.
    struct DeleteRecordsPartition {
        partition_index: i32, 0..;
        /// New log start offset; -1 is the high watermark.
        offset: i64, 0..;
    }

    /// A DeleteRecords response.
    struct DeleteRecordsResponse<'a> {
        /// Milliseconds for which the broker will not read from this client; 0 is none.
        throttle_time_ms: i32, 0..;
        topics: Vec<DeleteRecordsTopicResult<'a>>, 0..;
    }

    /// Outcome for one topic.
    struct DeleteRecordsTopicResult<'a> {
        name: Text<'a>, 0..;
        partitions: Vec<DeleteRecordsPartitionResult>, 0..;
    }

    /// Outcome for one partition.
    struct DeleteRecordsPartitionResult {
        partition_index: i32, 0..;
        /// Log start offset after the deletion.
        low_watermark: i64, 0..;
        error_code: ErrorCode, 0..;
    }
}
