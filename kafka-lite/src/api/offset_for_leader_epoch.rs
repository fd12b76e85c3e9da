//! OffsetForLeaderEpoch: where a leader epoch ends in a partition.
//!
//! Versions          2 current leader epoch; 3 replica id; 4 flexible.
//! Source            Apache Kafka 4.1, `OffsetForLeaderEpochRequest` and its response.

use super::table::{api, structs};
use crate::error_code::ErrorCode;
use crate::primitive::Text;

api! {
    OffsetForLeaderEpoch, accepted 2..=4, advertised from 2, flexible from 4,
    OffsetForLeaderEpochRequest<'a>, OffsetForLeaderEpochResponse<'a>
}

structs! {
    /// An OffsetForLeaderEpoch request.
    struct OffsetForLeaderEpochRequest<'a> {
        /// -1 is a consumer, -2 a debugging consumer.
        replica_id: i32, 3.., default -2;
        topics: Vec<OffsetForLeaderTopic<'a>>, 2..;
    }

    /// Partitions of one topic.
    struct OffsetForLeaderTopic<'a> {
        topic: Text<'a>, 2..;
        partitions: Vec<OffsetForLeaderPartition>, 2..;
    }

    /// A leader epoch to look for.
    struct OffsetForLeaderPartition {
        partition: i32, 2..;
        /// The epoch that the client believes; `None` asks for no check.
        current_leader_epoch: Option<i32>, 2..;
        /// `None` is unknown.
        leader_epoch: i32, 2..;
    }

    /// An OffsetForLeaderEpoch response.
    struct OffsetForLeaderEpochResponse<'a> {
        /// Milliseconds for which the broker will not read from this client; 0 is none.
        throttle_time_ms: i32, 2..;
        topics: Vec<OffsetForLeaderTopicResult<'a>>, 2..;
    }

    /// Outcome for one topic.
    struct OffsetForLeaderTopicResult<'a> {
        topic: Text<'a>, 2..;
        partitions: Vec<EpochEndOffset>, 2..;
    }

    /// End of a leader epoch.
    struct EpochEndOffset {
        error_code: ErrorCode, 2..;
        partition: i32, 2..;
        /// `None` is unknown.
        leader_epoch: Option<i32>, 2..;
        /// Exclusive end of the epoch; `None` is unknown.
        end_offset: Option<i64>, 2..;
    }
}
