//! DescribeTopicPartitions: partitions of topics, page by page.
//!
//! Versions          0 only, flexible.
//! Source            Apache Kafka 4.1, `DescribeTopicPartitionsRequest` and its response; KIP-966.

use super::table::{api, nullable, structs};
use crate::error_code::ErrorCode;
use crate::primitive::{Text, Uuid};

api! {
    DescribeTopicPartitions, accepted 0..=0, advertised from 0, flexible from 0,
    DescribeTopicPartitionsRequest<'a>, DescribeTopicPartitionsResponse<'a>
}

structs! {
    /// A DescribeTopicPartitions request.
    struct DescribeTopicPartitionsRequest<'a> {
        topics: Vec<TopicRequest<'a>>, 0..;
        /// Greatest number of partitions in the response.
        response_partition_limit: i32, 0.., default 2000;
        /// Where to start; `None` is the beginning.
        cursor: Option<Cursor<'a>>, 0.., null 0..;
    }

    /// A topic by name.
    struct TopicRequest<'a> {
        name: Text<'a>, 0..;
    }

    /// A place in the list of all partitions.
    struct Cursor<'a> {
        topic_name: Text<'a>, 0..;
        partition_index: i32, 0..;
    }

    /// A DescribeTopicPartitions response.
    struct DescribeTopicPartitionsResponse<'a> {
        /// Milliseconds for which the broker will not read from this client; 0 is none.
        throttle_time_ms: i32, 0..;
        topics: Vec<DescribeTopicPartitionsResponseTopic<'a>>, 0..;
        /// Where the next page starts; `None` if this is the last.
        next_cursor: Option<Cursor<'a>>, 0.., null 0..;
    }

    /// A topic.
    struct DescribeTopicPartitionsResponseTopic<'a> {
        error_code: ErrorCode, 0..;
        name: Option<Text<'a>>, 0.., null 0..;
        /// All zero is none.
        topic_id: Uuid, 0..;
        is_internal: bool, 0..;
        partitions: Vec<DescribeTopicPartitionsResponsePartition>, 0..;
        /// Bit field; `i32::MIN` if it was not asked for.
        topic_authorized_operations: i32, 0.., default i32::MIN;
    }

    /// A partition.
    struct DescribeTopicPartitionsResponsePartition {
        error_code: ErrorCode, 0..;
        partition_index: i32, 0..;
        /// Node id; `None` is no leader.
        leader_id: Option<i32>, 0..;
        /// `None` is unknown.
        leader_epoch: Option<i32>, 0..;
        replica_nodes: Vec<i32>, 0..;
        isr_nodes: Vec<i32>, 0..;
        /// KIP-966; `None` is none.
        eligible_leader_replicas: Option<Vec<i32>>, 0.., null 0..;
        /// KIP-966; `None` is none.
        last_known_elr: Option<Vec<i32>>, 0.., null 0..;
        offline_replicas: Vec<i32>, 0..;
    }
}

nullable! { Cursor<'a>, 'a }
