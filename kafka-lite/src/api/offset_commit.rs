//! OffsetCommit: stores the offsets of a consumer group.
//!
//! Versions          2 retention time (to 4); 6 leader epoch; 7 static members; 8 flexible;
//!                   9 member epochs (KIP-848); 10 topic ids.
//! Source            Apache Kafka 4.1, `OffsetCommitRequest`, `OffsetCommitResponse`.

use super::table::{api, structs};
use crate::error_code::ErrorCode;
use crate::primitive::{Text, Uuid};

api! {
    OffsetCommit, accepted 2..=10, advertised from 2, flexible from 8,
    OffsetCommitRequest<'a>, OffsetCommitResponse<'a>
}

structs! {
    /// An OffsetCommit request.
    struct OffsetCommitRequest<'a> {
        group_id: Text<'a>, 2..;
        /// -1 for a consumer outside of group membership.
        generation_id_or_member_epoch: i32, 2.., default -1;
        /// Given by the coordinator; empty on the first join.
        member_id: Text<'a>, 2..;
        /// Static member; `None` is a dynamic one.
        group_instance_id: Option<Text<'a>>, 7.., null 7..;
        /// `None` is the default of the broker.
        retention_time_ms: Option<i64>, 2..=4;
        topics: Vec<OffsetCommitRequestTopic<'a>>, 2..;
    }

    /// Offsets of one topic.
    struct OffsetCommitRequestTopic<'a> {
        name: Text<'a>, 2..=9;
        /// All zero is none.
        topic_id: Uuid, 10..;
        partitions: Vec<OffsetCommitRequestPartition<'a>>, 2..;
    }

    /// The offset of one partition.
    struct OffsetCommitRequestPartition<'a> {
        partition_index: i32, 2..;
        /// Next offset to consume.
        committed_offset: i64, 2..;
        /// Epoch of the last record consumed; `None` is unknown.
        committed_leader_epoch: Option<i32>, 6..;
        committed_metadata: Option<Text<'a>>, 2.., null 2..;
    }

    /// An OffsetCommit response.
    struct OffsetCommitResponse<'a> {
        /// Milliseconds for which the broker will not read from this client; 0 is none.
        throttle_time_ms: i32, 3..;
        topics: Vec<OffsetCommitResponseTopic<'a>>, 2..;
    }

    /// Outcome for one topic.
    struct OffsetCommitResponseTopic<'a> {
        name: Text<'a>, 2..=9;
        /// All zero is none.
        topic_id: Uuid, 10..;
        partitions: Vec<OffsetCommitResponsePartition>, 2..;
    }

    /// Outcome for one partition.
    struct OffsetCommitResponsePartition {
        partition_index: i32, 2..;
        error_code: ErrorCode, 2..;
    }
}
