//! Heartbeat: keeps the session of a member of a classic group alive.
//!
//! Versions          1 throttle time; 3 static members; 4 flexible.
//! Source            Apache Kafka 4.1, `HeartbeatRequest`, `HeartbeatResponse`.

use super::table::{api, structs};
use crate::error_code::ErrorCode;
use crate::primitive::Text;

api! {
    Heartbeat, accepted 0..=4, advertised from 0, flexible from 4,
    HeartbeatRequest<'a>, HeartbeatResponse
}

structs! {
    /// A Heartbeat request.
    struct HeartbeatRequest<'a> {
        group_id: Text<'a>, 0..;
        /// -1 is none.
        generation_id: i32, 0..;
        /// Given by the coordinator; empty on the first join.
        member_id: Text<'a>, 0..;
        /// Static member; `None` is a dynamic one.
        group_instance_id: Option<Text<'a>>, 3.., null 3..;
    }

    /// A Heartbeat response.
    struct HeartbeatResponse {
        /// Milliseconds for which the broker will not read from this client; 0 is none.
        throttle_time_ms: i32, 1..;
        error_code: ErrorCode, 0..;
    }
}
