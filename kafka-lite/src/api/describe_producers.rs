//! DescribeProducers: the producer states of partitions.
//!
//! Versions          0 only, flexible.
//! Source            Apache Kafka 4.1, `DescribeProducersRequest`, `DescribeProducersResponse`.

use super::table::{api, structs};
use crate::error_code::ErrorCode;
use crate::primitive::Text;

api! {
    DescribeProducers, accepted 0..=0, advertised from 0, flexible from 0,
    DescribeProducersRequest<'a>, DescribeProducersResponse<'a>
}

structs! {
    /// A DescribeProducers request.
    struct DescribeProducersRequest<'a> {
        topics: Vec<TopicRequest<'a>>, 0..;
    }

    /// Partitions of one topic.
    struct TopicRequest<'a> {
        name: Text<'a>, 0..;
        partition_indexes: Vec<i32>, 0..;
    }

    /// A DescribeProducers response.
    struct DescribeProducersResponse<'a> {
        /// Milliseconds for which the broker will not read from this client; 0 is none.
        throttle_time_ms: i32, 0..;
        topics: Vec<TopicResponse<'a>>, 0..;
    }

    /// Producers of one topic.
    struct TopicResponse<'a> {
        name: Text<'a>, 0..;
        partitions: Vec<PartitionResponse<'a>>, 0..;
    }

    /// Producers of one partition.
    struct PartitionResponse<'a> {
        partition_index: i32, 0..;
        error_code: ErrorCode, 0..;
        error_message: Option<Text<'a>>, 0.., null 0..;
        active_producers: Vec<ProducerState>, 0..;
    }

    /// An active producer.
    struct ProducerState {
        producer_id: i64, 0..;
        producer_epoch: i32, 0..;
        /// `None` is none.
        last_sequence: Option<i32>, 0..;
        /// Milliseconds since the epoch; `None` is none.
        last_timestamp: Option<i64>, 0..;
        coordinator_epoch: i32, 0..;
        /// `None` if no transaction is open.
        current_txn_start_offset: Option<i64>, 0..;
    }
}
