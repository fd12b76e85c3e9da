//! OffsetDelete: deletes stored offsets of a group.
//!
//! Versions          0 only; it has no flexible version.
//! Source            Apache Kafka 4.1, `OffsetDeleteRequest`, `OffsetDeleteResponse`.

use super::table::{api, structs};
use crate::error_code::ErrorCode;
use crate::primitive::Text;

api! {
    OffsetDelete, accepted 0..=0, advertised from 0, flexible from super::NEVER_FLEXIBLE,
    OffsetDeleteRequest<'a>, OffsetDeleteResponse<'a>
}

structs! {
    /// An OffsetDelete request.
    struct OffsetDeleteRequest<'a> {
        group_id: Text<'a>, 0..;
        topics: Vec<OffsetDeleteRequestTopic<'a>>, 0..;
    }

    /// Partitions of one topic.
    struct OffsetDeleteRequestTopic<'a> {
        name: Text<'a>, 0..;
        partitions: Vec<OffsetDeleteRequestPartition>, 0..;
    }

    /// A partition.
    struct OffsetDeleteRequestPartition {
        partition_index: i32, 0..;
    }

    /// An OffsetDelete response.
    struct OffsetDeleteResponse<'a> {
        error_code: ErrorCode, 0..;
        /// Milliseconds for which the broker will not read from this client; 0 is none.
        throttle_time_ms: i32, 0..;
        topics: Vec<OffsetDeleteResponseTopic<'a>>, 0..;
    }

    /// Outcome for one topic.
    struct OffsetDeleteResponseTopic<'a> {
        name: Text<'a>, 0..;
        partitions: Vec<OffsetDeleteResponsePartition>, 0..;
    }

    /// Outcome for one partition.
    struct OffsetDeleteResponsePartition {
        partition_index: i32, 0..;
        error_code: ErrorCode, 0..;
    }
}
