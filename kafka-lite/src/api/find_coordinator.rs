//! FindCoordinator: says which broker coordinates a group or a transactional id.
//!
//! Versions          1 key types; 3 flexible; 4 many keys; 6 share groups.
//! Source            Apache Kafka 4.1, `FindCoordinatorRequest`, `FindCoordinatorResponse`.

use super::table::{api, structs};
use crate::error_code::ErrorCode;
use crate::primitive::Text;

api! {
    FindCoordinator, accepted 0..=6, advertised from 0, flexible from 3,
    FindCoordinatorRequest<'a>, FindCoordinatorResponse<'a>
}

structs! {
    /// A FindCoordinator request.
    struct FindCoordinatorRequest<'a> {
        key: Text<'a>, 0..=3;
        /// 0 group, 1 transaction, 2 share group.
        key_type: i8, 1..;
        coordinator_keys: Vec<Text<'a>>, 4..;
    }

    /// A FindCoordinator response.
    struct FindCoordinatorResponse<'a> {
        /// Milliseconds for which the broker will not read from this client; 0 is none.
        throttle_time_ms: i32, 1..;
        error_code: ErrorCode, 0..=3;
        error_message: Option<Text<'a>>, 1..=3, null 1..=3;
        node_id: i32, 0..=3;
        host: Text<'a>, 0..=3;
        port: i32, 0..=3;
        coordinators: Vec<Coordinator<'a>>, 4..;
    }

    /// The coordinator of one key.
    struct Coordinator<'a> {
        key: Text<'a>, 4..;
        node_id: i32, 4..;
        host: Text<'a>, 4..;
        port: i32, 4..;
        error_code: ErrorCode, 4..;
        error_message: Option<Text<'a>>, 4.., null 4..;
    }
}
