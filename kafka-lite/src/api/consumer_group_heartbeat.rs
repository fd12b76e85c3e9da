//! ConsumerGroupHeartbeat: membership of a group whose assignment the broker makes (KIP-848).
//!
//! Versions          0 flexible; 1 member ids made by the client, subscription by pattern.
//! Source            Apache Kafka 4.1, `ConsumerGroupHeartbeatRequest`,
//!                   `ConsumerGroupHeartbeatResponse`.

use super::table::{api, nullable, structs};
use crate::error_code::ErrorCode;
use crate::primitive::{Text, Uuid};

api! {
    ConsumerGroupHeartbeat, accepted 0..=1, advertised from 0, flexible from 0,
    ConsumerGroupHeartbeatRequest<'a>, ConsumerGroupHeartbeatResponse<'a>
}

structs! {
    /// A ConsumerGroupHeartbeat request. What did not change since the last one is `None`.
    struct ConsumerGroupHeartbeatRequest<'a> {
        group_id: Text<'a>, 0..;
        member_id: Text<'a>, 0..;
        /// 0 joins, -1 leaves, -2 leaves as a static member.
        member_epoch: i32, 0..;
        instance_id: Option<Text<'a>>, 0.., null 0..;
        rack_id: Option<Text<'a>>, 0.., null 0..;
        /// Milliseconds; -1 if it did not change.
        rebalance_timeout_ms: i32, 0.., default -1;
        subscribed_topic_names: Option<Vec<Text<'a>>>, 0.., null 0..;
        subscribed_topic_regex: Option<Text<'a>>, 1.., null 1..;
        server_assignor: Option<Text<'a>>, 0.., null 0..;
        topic_partitions: Option<Vec<TopicPartitions>>, 0.., null 0..;
    }

    /// A ConsumerGroupHeartbeat response.
    struct ConsumerGroupHeartbeatResponse<'a> {
        /// Milliseconds for which the broker will not read from this client; 0 is none.
        throttle_time_ms: i32, 0..;
        error_code: ErrorCode, 0..;
        error_message: Option<Text<'a>>, 0.., null 0..;
        member_id: Option<Text<'a>>, 0.., null 0..;
        member_epoch: i32, 0..;
        /// Milliseconds.
        heartbeat_interval_ms: i32, 0..;
        /// `None` if it did not change.
        assignment: Option<Assignment>, 0.., null 0..;
    }

    /// What a member has.
    struct Assignment {
        topic_partitions: Vec<TopicPartitions>, 0..;
    }

    /// Partitions of one topic.
    struct TopicPartitions {
        topic_id: Uuid, 0..;
        partitions: Vec<i32>, 0..;
    }
}

nullable!(Assignment, 'a);
