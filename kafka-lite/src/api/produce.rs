//! Produce: appends record batches to partitions.
//!
//! Versions          3 transactional id; 5 log start offset; 7 zstd; 8 errors of single batches;
//!                   9 flexible; 10 current leader hints (KIP-951); 12 transactions V2;
//!                   13 topic ids instead of names.
//! What it is not    the batches are opaque here; they are checked by `record_batch`.
//! Rules             acks 0 gets no response at all. Advertised from 0, accepted from 3
//!                   (KAFKA-18659: older librdkafka stops compressing otherwise).
//! Source            Apache Kafka 4.1, `ProduceRequest`, `ProduceResponse`.

use super::table::{api, structs};
use crate::error_code::ErrorCode;
use crate::primitive::{Text, Uuid};

api! {
    Produce, accepted 3..=13, advertised from 0, flexible from 9,
    ProduceRequest<'a>, ProduceResponse<'a>
}

structs! {
    /// A Produce request.
    struct ProduceRequest<'a> {
        /// `None` if the producer has no transactions.
        transactional_id: Option<Text<'a>>, 3.., null 3..;
        /// -1 all, 1 leader, 0 no response.
        acks: i16, 3..;
        /// Milliseconds that the broker may take.
        timeout_ms: i32, 3..;
        topic_data: Vec<TopicProduceData<'a>>, 3..;
    }

    /// Batches for one topic.
    struct TopicProduceData<'a> {
        name: Text<'a>, 3..=12;
        /// All zero is none.
        topic_id: Uuid, 13..;
        partition_data: Vec<PartitionProduceData<'a>>, 3..;
    }

    /// Batches for one partition.
    struct PartitionProduceData<'a> {
        index: i32, 3..;
        /// Record batches, opaque. `None` is null.
        records: Option<&'a [u8]>, 3.., null 3..;
    }

    /// A Produce response.
    struct ProduceResponse<'a> {
        responses: Vec<TopicProduceResponse<'a>>, 3..;
        /// Milliseconds for which the broker will not read from this client; 0 is none.
        throttle_time_ms: i32, 3..;
        /// Where the leaders of the hints listen.
        node_endpoints: Vec<NodeEndpoint<'a>>, 10.., tag 0;
    }

    /// Outcome for one topic.
    struct TopicProduceResponse<'a> {
        name: Text<'a>, 3..=12;
        /// All zero is none.
        topic_id: Uuid, 13..;
        partition_responses: Vec<PartitionProduceResponse<'a>>, 3..;
    }

    /// Where a node listens.
    struct NodeEndpoint<'a> {
        node_id: i32, 10..;
        host: Text<'a>, 10..;
        port: i32, 10..;
        /// `None` is none.
        rack: Option<Text<'a>>, 10.., null 10..;
    }

    /// Outcome for one partition.
    struct PartitionProduceResponse<'a> {
        index: i32, 3..;
        error_code: ErrorCode, 3..;
        /// Offset of the first record appended.
        base_offset: i64, 3..;
        /// Milliseconds since the epoch if the topic stamps records itself, else `None`.
        log_append_time_ms: Option<i64>, 3..;
        /// First offset still served, inclusive; `None` is unknown.
        log_start_offset: Option<i64>, 5..;
        record_errors: Vec<BatchIndexAndErrorMessage<'a>>, 8..;
        error_message: Option<Text<'a>>, 8.., null 8..;
        /// Hint after NOT_LEADER_OR_FOLLOWER or FENCED_LEADER_EPOCH.
        current_leader: LeaderIdAndEpoch, 10.., tag 0;
    }

    /// A record that caused the batch to be refused.
    struct BatchIndexAndErrorMessage<'a> {
        batch_index: i32, 8..;
        batch_index_error_message: Option<Text<'a>>, 8.., null 8..;
    }

    /// The present leader of a partition.
    struct LeaderIdAndEpoch {
        /// Node id; `None` is no leader.
        leader_id: Option<i32>, 10..;
        /// `None` is unknown.
        leader_epoch: Option<i32>, 10..;
    }
}
