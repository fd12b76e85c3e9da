//! ListTransactions: transactional ids and their states.
//!
//! Versions          0 flexible; 1 duration filter (KIP-994); 2 pattern of ids (KIP-1152).
//! Source            Apache Kafka 4.1, `ListTransactionsRequest`, `ListTransactionsResponse`.

use super::table::{api, structs};
use crate::error_code::ErrorCode;
use crate::primitive::Text;

api! {
    ListTransactions, accepted 0..=2, advertised from 0, flexible from 0,
    ListTransactionsRequest<'a>, ListTransactionsResponse<'a>
}

structs! {
    /// A ListTransactions request.
    struct ListTransactionsRequest<'a> {
        /// Empty is all.
        state_filters: Vec<Text<'a>>, 0..;
        /// Empty is all.
        producer_id_filters: Vec<i64>, 0..;
        /// Milliseconds that a transaction runs at least; negative is all.
        duration_filter: i64, 1.., default -1;
        /// `None` is all.
        transactional_id_pattern: Option<Text<'a>>, 2.., null 2..;
    }

    /// A ListTransactions response.
    struct ListTransactionsResponse<'a> {
        /// Milliseconds for which the broker will not read from this client; 0 is none.
        throttle_time_ms: i32, 0..;
        error_code: ErrorCode, 0..;
        /// State filters that name no state.
        unknown_state_filters: Vec<Text<'a>>, 0..;
        transaction_states: Vec<TransactionState<'a>>, 0..;
    }

    /// The state of one transactional id.
    struct TransactionState<'a> {
        transactional_id: Text<'a>, 0..;
        producer_id: i64, 0..;
        transaction_state: Text<'a>, 0..;
    }
}
