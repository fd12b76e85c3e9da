//! ListOffsets: finds offsets by timestamp.
//!
//! Versions          1 one offset; 2 isolation level; 4 leader epoch; 6 flexible; 7 timestamp -3
//!                   (the greatest timestamp); 8 timestamp -4 (earliest local); 9 timestamp -5
//!                   (latest tiered); 10 timeout.
//! Source            Apache Kafka 4.1, `ListOffsetsRequest`, `ListOffsetsResponse`.

use super::table::{api, structs};
use crate::error_code::ErrorCode;
use crate::primitive::Text;

api! {
    ListOffsets, accepted 1..=10, advertised from 1, flexible from 6,
    ListOffsetsRequest<'a>, ListOffsetsResponse<'a>
}

structs! {
    /// A ListOffsets request.
    struct ListOffsetsRequest<'a> {
        /// -1 is a consumer, -2 a debugging consumer.
        replica_id: i32, 1..;
        /// 0 read_uncommitted, 1 read_committed.
        isolation_level: i8, 2..;
        topics: Vec<ListOffsetsTopic<'a>>, 1..;
        /// Milliseconds that the broker may take.
        timeout_ms: i32, 10..;
    }

    /// Partitions of one topic.
    struct ListOffsetsTopic<'a> {
        name: Text<'a>, 1..;
        partitions: Vec<ListOffsetsPartition>, 1..;
    }

    /// A timestamp to look for in a partition.
    struct ListOffsetsPartition {
        partition_index: i32, 1..;
        /// The epoch that the client believes; `None` asks for no check.
        current_leader_epoch: Option<i32>, 4..;
        /// Milliseconds since the epoch, or -1 latest, -2 earliest, -3 greatest timestamp,
        /// -4 earliest local, -5 latest tiered.
        timestamp: i64, 1..;
    }

    /// A ListOffsets response.
    struct ListOffsetsResponse<'a> {
        /// Milliseconds for which the broker will not read from this client; 0 is none.
        throttle_time_ms: i32, 2..;
        topics: Vec<ListOffsetsTopicResponse<'a>>, 1..;
    }

    /// Outcome for one topic.
    struct ListOffsetsTopicResponse<'a> {
        name: Text<'a>, 1..;
        partitions: Vec<ListOffsetsPartitionResponse>, 1..;
    }

    /// Outcome for one partition.
    struct ListOffsetsPartitionResponse {
        partition_index: i32, 1..;
        error_code: ErrorCode, 1..;
        /// Timestamp of the record found, in milliseconds; `None` if not found.
        timestamp: Option<i64>, 1..;
        /// `None` if not found.
        offset: Option<i64>, 1..;
        /// `None` is unknown.
        leader_epoch: Option<i32>, 4..;
    }
}
