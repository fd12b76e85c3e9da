//! Metadata: brokers, topics, partitions and their leaders.
//!
//! Versions          0 an empty list asks for all topics, from 1 null does; 4 automatic creation;
//!                   5 offline replicas; 7 leader epoch; 8 authorized operations; 9 flexible;
//!                   10 topic ids; 12 topics asked for by id; 13 top-level error code.
//! Source            Apache Kafka 4.1, `MetadataRequest`, `MetadataResponse`.

use super::table::{api, structs};
use crate::error_code::ErrorCode;
use crate::primitive::{Text, Uuid};

api! {
    Metadata, accepted 0..=13, advertised from 0, flexible from 9,
    MetadataRequest<'a>, MetadataResponse<'a>
}

structs! {
    /// A Metadata request.
    struct MetadataRequest<'a> {
        /// `None` is all topics; in version 0 the empty list is.
        topics: Option<Vec<MetadataRequestTopic<'a>>>, 0.., null 1.., default Some(Vec::new());
        /// Whether a topic that does not exist may be created.
        allow_auto_topic_creation: bool, 4.., default true;
        include_cluster_authorized_operations: bool, 8..=10;
        include_topic_authorized_operations: bool, 8..;
    }

    /// A topic by name or id.
    struct MetadataRequestTopic<'a> {
        /// All zero is none.
        topic_id: Uuid, 10..;
        name: Option<Text<'a>>, 0.., null 10.., default Some(Text::default());
    }

    /// A Metadata response.
    struct MetadataResponse<'a> {
        /// Milliseconds for which the broker will not read from this client; 0 is none.
        throttle_time_ms: i32, 3..;
        brokers: Vec<MetadataResponseBroker<'a>>, 0..;
        cluster_id: Option<Text<'a>>, 2.., null 2..;
        /// Node id; `None` is unknown.
        controller_id: Option<i32>, 1..;
        topics: Vec<MetadataResponseTopic<'a>>, 0..;
        /// Bit field; `i32::MIN` if it was not asked for.
        cluster_authorized_operations: i32, 8..=10, default i32::MIN;
        error_code: ErrorCode, 13..;
    }

    /// A broker.
    struct MetadataResponseBroker<'a> {
        node_id: i32, 0..;
        host: Text<'a>, 0..;
        port: i32, 0..;
        /// `None` is none.
        rack: Option<Text<'a>>, 1.., null 1..;
    }

    /// A topic.
    struct MetadataResponseTopic<'a> {
        error_code: ErrorCode, 0..;
        name: Option<Text<'a>>, 0.., null 12.., default Some(Text::default());
        /// All zero is none.
        topic_id: Uuid, 10..;
        is_internal: bool, 1..;
        partitions: Vec<MetadataResponsePartition>, 0..;
        /// Bit field; `i32::MIN` if it was not asked for.
        topic_authorized_operations: i32, 8.., default i32::MIN;
    }

    /// A partition.
    struct MetadataResponsePartition {
        error_code: ErrorCode, 0..;
        partition_index: i32, 0..;
        /// Node id; `None` is no leader.
        leader_id: Option<i32>, 0..;
        /// `None` is unknown.
        leader_epoch: Option<i32>, 7..;
        replica_nodes: Vec<i32>, 0..;
        isr_nodes: Vec<i32>, 0..;
        offline_replicas: Vec<i32>, 5..;
    }
}
