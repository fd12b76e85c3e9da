//! ElectLeaders: asks for preferred or unclean leader elections.
//!
//! Versions          1 election type, top-level error code; 2 flexible.
//! Source            Apache Kafka 4.1, `ElectLeadersRequest`, `ElectLeadersResponse`.

use super::table::{api, structs};
use crate::error_code::ErrorCode;
use crate::primitive::Text;

api! {
    ElectLeaders, accepted 0..=2, advertised from 0, flexible from 2,
    ElectLeadersRequest<'a>, ElectLeadersResponse<'a>
}

structs! {
    /// An ElectLeaders request.
    struct ElectLeadersRequest<'a> {
        /// 0 preferred, 1 unclean.
        election_type: i8, 1..;
        /// `None` is all partitions.
        topic_partitions: Option<Vec<TopicPartitions<'a>>>, 0.., null 0..;
        /// Milliseconds that the broker may take.
        timeout_ms: i32, 0.., default 60_000;
    }

    /// Partitions of one topic.
    struct TopicPartitions<'a> {
        topic: Text<'a>, 0..;
        partitions: Vec<i32>, 0..;
    }

    /// An ElectLeaders response.
    struct ElectLeadersResponse<'a> {
        /// Milliseconds for which the broker will not read from this client; 0 is none.
        throttle_time_ms: i32, 0..;
        error_code: ErrorCode, 1..;
        replica_election_results: Vec<ReplicaElectionResult<'a>>, 0..;
    }

    /// Outcome for one topic.
    struct ReplicaElectionResult<'a> {
        topic: Text<'a>, 0..;
        partition_result: Vec<PartitionResult<'a>>, 0..;
    }

    /// Outcome for one partition.
    struct PartitionResult<'a> {
        partition_id: i32, 0..;
        error_code: ErrorCode, 0..;
        error_message: Option<Text<'a>>, 0.., null 0..;
    }
}
