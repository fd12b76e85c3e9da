//! OffsetFetch: reads the stored offsets of consumer groups.
//!
//! Versions          2 all topics by null, top-level error code; 5 leader epoch; 6 flexible;
//!                   7 stable offsets only; 8 many groups; 9 member epochs (KIP-848); 10 topic ids.
//! Rules             version 1 has no top-level error: it stands at every partition.
//! Source            Apache Kafka 4.1, `OffsetFetchRequest`, `OffsetFetchResponse`.

use super::table::{api, structs};
use crate::error_code::ErrorCode;
use crate::primitive::{Text, Uuid};

api! {
    OffsetFetch, accepted 1..=10, advertised from 1, flexible from 6,
    OffsetFetchRequest<'a>, OffsetFetchResponse<'a>
}

structs! {
    /// An OffsetFetch request.
    struct OffsetFetchRequest<'a> {
        group_id: Text<'a>, 1..=7;
        /// `None` is all topics.
        topics: Option<Vec<OffsetFetchRequestTopic<'a>>>, 1..=7, null 2..=7,
            default Some(Vec::new());
        groups: Vec<OffsetFetchRequestGroup<'a>>, 8..;
        /// Answer UNSTABLE_OFFSET_COMMIT while a transaction has pending offsets.
        require_stable: bool, 7..;
    }

    /// Partitions of one topic, up to version 7.
    struct OffsetFetchRequestTopic<'a> {
        name: Text<'a>, 1..=7;
        partition_indexes: Vec<i32>, 1..=7;
    }

    /// A group and its partitions.
    struct OffsetFetchRequestGroup<'a> {
        group_id: Text<'a>, 8..;
        /// Given by the coordinator; empty on the first join.
        member_id: Option<Text<'a>>, 9.., null 9..;
        /// `None` outside of KIP-848 groups.
        member_epoch: Option<i32>, 9..;
        /// `None` is all topics.
        topics: Option<Vec<OffsetFetchRequestTopics<'a>>>, 8.., null 8..;
    }

    /// Partitions of one topic, from version 8.
    struct OffsetFetchRequestTopics<'a> {
        name: Text<'a>, 8..=9;
        /// All zero is none.
        topic_id: Uuid, 10..;
        partition_indexes: Vec<i32>, 8..;
    }

    /// An OffsetFetch response.
    struct OffsetFetchResponse<'a> {
        /// Milliseconds for which the broker will not read from this client; 0 is none.
        throttle_time_ms: i32, 3..;
        topics: Vec<OffsetFetchResponseTopic<'a>>, 1..=7;
        error_code: ErrorCode, 2..=7;
        groups: Vec<OffsetFetchResponseGroup<'a>>, 8..;
    }

    /// Offsets of one topic, up to version 7.
    struct OffsetFetchResponseTopic<'a> {
        name: Text<'a>, 1..=7;
        partitions: Vec<OffsetFetchResponsePartition<'a>>, 1..=7;
    }

    /// Offsets of one group.
    struct OffsetFetchResponseGroup<'a> {
        group_id: Text<'a>, 8..;
        topics: Vec<OffsetFetchResponseTopics<'a>>, 8..;
        error_code: ErrorCode, 8..;
    }

    /// Offset of one partition, up to version 7.
    struct OffsetFetchResponsePartition<'a> {
        partition_index: i32, 1..=7;
        /// Next offset to consume; `None` if nothing was committed.
        committed_offset: Option<i64>, 1..=7;
        /// Epoch of the last record consumed; `None` is unknown.
        committed_leader_epoch: Option<i32>, 5..=7;
        metadata: Option<Text<'a>>, 1..=7, null 1..=7;
        error_code: ErrorCode, 1..=7;
    }

    /// Offsets of one topic, from version 8.
    struct OffsetFetchResponseTopics<'a> {
        name: Text<'a>, 8..=9;
        /// All zero is none.
        topic_id: Uuid, 10..;
        partitions: Vec<OffsetFetchResponsePartitions<'a>>, 8..;
    }

    /// Offset of one partition, from version 8.
    struct OffsetFetchResponsePartitions<'a> {
        partition_index: i32, 8..;
        /// Next offset to consume; `None` if nothing was committed.
        committed_offset: Option<i64>, 8..;
        /// Epoch of the last record consumed; `None` is unknown.
        committed_leader_epoch: Option<i32>, 8..;
        metadata: Option<Text<'a>>, 8.., null 8..;
        error_code: ErrorCode, 8..;
    }
}
