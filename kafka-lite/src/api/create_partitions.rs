//! CreatePartitions: raises the number of partitions of topics.
//!
//! Versions          2 flexible.
//! Source            Apache Kafka 4.1, `CreatePartitionsRequest`, `CreatePartitionsResponse`.

use super::table::{api, structs};
use crate::error_code::ErrorCode;
use crate::primitive::Text;

api! {
    CreatePartitions, accepted 0..=3, advertised from 0, flexible from 2,
    CreatePartitionsRequest<'a>, CreatePartitionsResponse<'a>
}

structs! {
    /// A CreatePartitions request.
    struct CreatePartitionsRequest<'a> {
        topics: Vec<CreatePartitionsTopic<'a>>, 0..;
        /// Milliseconds that the broker may take.
        timeout_ms: i32, 0..;
        /// Check, but change nothing.
        validate_only: bool, 0..;
    }

    /// A topic.
    struct CreatePartitionsTopic<'a> {
        name: Text<'a>, 0..;
        /// Number of partitions afterwards.
        count: i32, 0..;
        /// `None` leaves the choice to the broker.
        assignments: Option<Vec<CreatePartitionsAssignment>>, 0.., null 0..;
    }

    /// Replicas of one new partition.
    struct CreatePartitionsAssignment {
        broker_ids: Vec<i32>, 0..;
    }

    /// A CreatePartitions response.
    struct CreatePartitionsResponse<'a> {
        /// Milliseconds for which the broker will not read from this client; 0 is none.
        throttle_time_ms: i32, 0..;
        results: Vec<CreatePartitionsTopicResult<'a>>, 0..;
    }

    /// Outcome for one topic.
    struct CreatePartitionsTopicResult<'a> {
        name: Text<'a>, 0..;
        error_code: ErrorCode, 0..;
        error_message: Option<Text<'a>>, 0.., null 0..;
    }
}
