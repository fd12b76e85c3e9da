//! InitProducerId: gives an identity to an idempotent or transactional producer.
//!
//! Versions          2 flexible; 3 the present id and epoch, to bump the epoch; 4 PRODUCER_FENCED;
//!                   5 TRANSACTION_ABORTABLE.
//! Source            Apache Kafka 4.1, `InitProducerIdRequest`, `InitProducerIdResponse`.

use super::table::{api, structs};
use crate::error_code::ErrorCode;
use crate::primitive::Text;

api! {
    InitProducerId, accepted 0..=5, advertised from 0, flexible from 2,
    InitProducerIdRequest<'a>, InitProducerIdResponse
}

structs! {
    /// An InitProducerId request.
    struct InitProducerIdRequest<'a> {
        /// `None` if the producer has no transactions.
        transactional_id: Option<Text<'a>>, 0.., null 0..;
        /// Milliseconds after which an open transaction is aborted.
        transaction_timeout_ms: i32, 0..;
        /// `None` asks for a new one.
        producer_id: Option<i64>, 3..;
        /// `None` asks for a new one.
        producer_epoch: Option<i16>, 3..;
    }

    /// An InitProducerId response.
    struct InitProducerIdResponse {
        /// Milliseconds for which the broker will not read from this client; 0 is none.
        throttle_time_ms: i32, 0..;
        error_code: ErrorCode, 0..;
        /// `None` on error.
        producer_id: Option<i64>, 0..;
        producer_epoch: i16, 0..;
    }
}
