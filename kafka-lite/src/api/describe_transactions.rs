//! DescribeTransactions: the states of transactional ids.
//!
//! Versions          0 only, flexible.
//! Source            Apache Kafka 4.1, `DescribeTransactionsRequest`,
//!                   `DescribeTransactionsResponse`; KIP-664.

use super::table::{api, structs};
use crate::error_code::ErrorCode;
use crate::primitive::Text;

api! {
    DescribeTransactions, accepted 0..=0, advertised from 0, flexible from 0,
    DescribeTransactionsRequest<'a>, DescribeTransactionsResponse<'a>
}

structs! {
    /// A DescribeTransactions request.
    struct DescribeTransactionsRequest<'a> {
        transactional_ids: Vec<Text<'a>>, 0..;
    }

    /// A DescribeTransactions response.
    struct DescribeTransactionsResponse<'a> {
        /// Milliseconds for which the broker will not read from this client; 0 is none.
        throttle_time_ms: i32, 0..;
        transaction_states: Vec<TransactionState<'a>>, 0..;
    }

    /// The state of one transactional id.
    struct TransactionState<'a> {
        error_code: ErrorCode, 0..;
        transactional_id: Text<'a>, 0..;
        transaction_state: Text<'a>, 0..;
        /// Milliseconds.
        transaction_timeout_ms: i32, 0..;
        /// Milliseconds since the epoch.
        transaction_start_time_ms: i64, 0..;
        producer_id: i64, 0..;
        producer_epoch: i16, 0..;
        topics: Vec<TopicData<'a>>, 0..;
    }

    /// Partitions of one topic that belong to the transaction.
    struct TopicData<'a> {
        topic: Text<'a>, 0..;
        partitions: Vec<i32>, 0..;
    }
}
