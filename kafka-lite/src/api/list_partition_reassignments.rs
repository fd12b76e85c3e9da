//! ListPartitionReassignments: partitions that are moving to other brokers.
//!
//! Versions          0 only, flexible.
//! Source            Apache Kafka 4.1, `ListPartitionReassignmentsRequest`,
//!                   `ListPartitionReassignmentsResponse`; KIP-455.

use super::table::{api, structs};
use crate::error_code::ErrorCode;
use crate::primitive::Text;

api! {
    ListPartitionReassignments, accepted 0..=0, advertised from 0, flexible from 0,
    ListPartitionReassignmentsRequest<'a>, ListPartitionReassignmentsResponse<'a>
}

structs! {
    /// A ListPartitionReassignments request.
    struct ListPartitionReassignmentsRequest<'a> {
        /// Milliseconds that the broker may take.
        timeout_ms: i32, 0.., default 60_000;
        /// `None` is all.
        topics: Option<Vec<ReassignmentTopic<'a>>>, 0.., null 0..;
    }

    /// Partitions of one topic.
    struct ReassignmentTopic<'a> {
        name: Text<'a>, 0..;
        partition_indexes: Vec<i32>, 0..;
    }

    /// A ListPartitionReassignments response.
    struct ListPartitionReassignmentsResponse<'a> {
        /// Milliseconds for which the broker will not read from this client; 0 is none.
        throttle_time_ms: i32, 0..;
        error_code: ErrorCode, 0..;
        error_message: Option<Text<'a>>, 0.., null 0..;
        topics: Vec<OngoingTopicReassignment<'a>>, 0..;
    }

    /// Moving partitions of one topic.
    struct OngoingTopicReassignment<'a> {
        name: Text<'a>, 0..;
        partitions: Vec<OngoingPartitionReassignment>, 0..;
    }

    /// A moving partition.
    struct OngoingPartitionReassignment {
        partition_index: i32, 0..;
        replicas: Vec<i32>, 0..;
        adding_replicas: Vec<i32>, 0..;
        removing_replicas: Vec<i32>, 0..;
    }
}
