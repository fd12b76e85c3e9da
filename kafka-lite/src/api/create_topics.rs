//! CreateTopics: creates topics, or checks whether it could.
//!
//! Versions          4 partitions and replicas by the broker's default; 5 flexible, all configs in
//!                   the response; 7 topic ids.
//! Source            Apache Kafka 4.1, `CreateTopicsRequest`, `CreateTopicsResponse`.

use super::table::{api, structs};
use crate::error_code::ErrorCode;
use crate::primitive::{Text, Uuid};

api! {
    CreateTopics, accepted 2..=7, advertised from 2, flexible from 5,
    CreateTopicsRequest<'a>, CreateTopicsResponse<'a>
}

structs! {
    /// A CreateTopics request.
    struct CreateTopicsRequest<'a> {
        topics: Vec<CreatableTopic<'a>>, 2..;
        /// Milliseconds that the broker may take.
        timeout_ms: i32, 2.., default 60_000;
        /// Check, but change nothing.
        validate_only: bool, 2..;
    }

    /// A topic to create.
    struct CreatableTopic<'a> {
        name: Text<'a>, 2..;
        /// `None` is the default of the broker.
        num_partitions: Option<i32>, 2..;
        /// `None` is the default of the broker.
        replication_factor: Option<i16>, 2..;
        /// Replicas by hand; empty leaves the choice to the broker.
        assignments: Vec<CreatableReplicaAssignment>, 2..;
        configs: Vec<CreatableTopicConfig<'a>>, 2..;
    }

    /// Replicas of one partition.
    struct CreatableReplicaAssignment {
        partition_index: i32, 2..;
        broker_ids: Vec<i32>, 2..;
    }

    /// A config of a topic to create.
    struct CreatableTopicConfig<'a> {
        name: Text<'a>, 2..;
        value: Option<Text<'a>>, 2.., null 2..;
    }

    /// A CreateTopics response.
    struct CreateTopicsResponse<'a> {
        /// Milliseconds for which the broker will not read from this client; 0 is none.
        throttle_time_ms: i32, 2..;
        topics: Vec<CreatableTopicResult<'a>>, 2..;
    }

    /// Outcome for one topic.
    struct CreatableTopicResult<'a> {
        name: Text<'a>, 2..;
        /// All zero is none.
        topic_id: Uuid, 7..;
        error_code: ErrorCode, 2..;
        error_message: Option<Text<'a>>, 2.., null 2..;
        topic_config_error_code: ErrorCode, 5.., tag 0;
        /// `None` on error.
        num_partitions: Option<i32>, 5..;
        /// `None` on error.
        replication_factor: Option<i16>, 5..;
        /// All configs of the topic.
        configs: Option<Vec<CreatableTopicConfigs<'a>>>, 5.., null 5..;
    }

    /// A config of the created topic.
    struct CreatableTopicConfigs<'a> {
        name: Text<'a>, 5..;
        value: Option<Text<'a>>, 5.., null 5..;
        read_only: bool, 5..;
        /// 1 topic, 2 dynamic broker, 4 static broker, 5 default.
        config_source: i8, 5.., default -1;
        is_sensitive: bool, 5..;
    }
}
