//! DeleteTopics: deletes topics by name or id.
//!
//! Versions          4 flexible; 5 error message; 6 topic ids.
//! Source            Apache Kafka 4.1, `DeleteTopicsRequest`, `DeleteTopicsResponse`.

use super::table::{api, structs};
use crate::error_code::ErrorCode;
use crate::primitive::{Text, Uuid};

api! {
    DeleteTopics, accepted 1..=6, advertised from 1, flexible from 4,
    DeleteTopicsRequest<'a>, DeleteTopicsResponse<'a>
}

structs! {
    /// A DeleteTopics request.
    struct DeleteTopicsRequest<'a> {
        topics: Vec<DeleteTopicState<'a>>, 6..;
        topic_names: Vec<Text<'a>>, 1..=5;
        /// Milliseconds that the broker may take.
        timeout_ms: i32, 1..;
    }

    /// A topic by name or id.
    struct DeleteTopicState<'a> {
        name: Option<Text<'a>>, 6.., null 6..;
        /// All zero is none.
        topic_id: Uuid, 6..;
    }

    /// A DeleteTopics response.
    struct DeleteTopicsResponse<'a> {
        /// Milliseconds for which the broker will not read from this client; 0 is none.
        throttle_time_ms: i32, 1..;
        responses: Vec<DeletableTopicResult<'a>>, 1..;
    }

    /// Outcome for one topic.
    struct DeletableTopicResult<'a> {
        name: Option<Text<'a>>, 1.., null 1..;
        /// All zero is none.
        topic_id: Uuid, 6..;
        error_code: ErrorCode, 1..;
        error_message: Option<Text<'a>>, 5.., null 5..;
    }
}
