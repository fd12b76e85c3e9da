//! DescribeLogDirs: sizes of logs and of the disks that they are on.
//!
//! Versions          2 flexible; 3 top-level error code; 4 bytes of the volume.
//! Source            Apache Kafka 4.1, `DescribeLogDirsRequest`, `DescribeLogDirsResponse`.

use super::table::{api, structs};
use crate::error_code::ErrorCode;
use crate::primitive::Text;

api! {
    DescribeLogDirs, accepted 1..=4, advertised from 1, flexible from 2,
    DescribeLogDirsRequest<'a>, DescribeLogDirsResponse<'a>
}

structs! {
    /// A DescribeLogDirs request.
    struct DescribeLogDirsRequest<'a> {
        /// `None` is all topics.
        topics: Option<Vec<DescribableLogDirTopic<'a>>>, 1.., null 1..;
    }

    /// Partitions of one topic.
    struct DescribableLogDirTopic<'a> {
        topic: Text<'a>, 1..;
        partitions: Vec<i32>, 1..;
    }

    /// A DescribeLogDirs response.
    struct DescribeLogDirsResponse<'a> {
        /// Milliseconds for which the broker will not read from this client; 0 is none.
        throttle_time_ms: i32, 1..;
        error_code: ErrorCode, 3..;
        results: Vec<DescribeLogDirsResult<'a>>, 1..;
    }

    /// A log directory.
    struct DescribeLogDirsResult<'a> {
        error_code: ErrorCode, 1..;
        log_dir: Text<'a>, 1..;
        topics: Vec<DescribeLogDirsTopic<'a>>, 1..;
        /// Bytes of the volume; `None` is unknown.
        total_bytes: Option<i64>, 4..;
        /// Free bytes of the volume; `None` is unknown.
        usable_bytes: Option<i64>, 4..;
    }

    /// Logs of one topic.
    struct DescribeLogDirsTopic<'a> {
        name: Text<'a>, 1..;
        partitions: Vec<DescribeLogDirsPartition>, 1..;
    }

    /// A log.
    struct DescribeLogDirsPartition {
        partition_index: i32, 1..;
        partition_size: i64, 1..;
        offset_lag: i64, 1..;
        is_future_key: bool, 1..;
    }
}
