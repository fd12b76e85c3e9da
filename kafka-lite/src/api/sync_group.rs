//! SyncGroup: gives the leader's assignment to the members of a classic group.
//!
//! Versions          1 throttle time; 3 static members; 4 flexible; 5 protocol type and name.
//! Rules             assignments are opaque bytes and go to the members as they came.
//! Source            Apache Kafka 4.1, `SyncGroupRequest`, `SyncGroupResponse`.

use std::borrow::Cow;

use super::table::{api, structs};
use crate::error_code::ErrorCode;
use crate::primitive::Text;

api! {
    SyncGroup, accepted 0..=5, advertised from 0, flexible from 4,
    SyncGroupRequest<'a>, SyncGroupResponse<'a>
}

structs! {
    /// A SyncGroup request.
    struct SyncGroupRequest<'a> {
        group_id: Text<'a>, 0..;
        /// -1 is none.
        generation_id: i32, 0..;
        /// Given by the coordinator; empty on the first join.
        member_id: Text<'a>, 0..;
        /// Static member; `None` is a dynamic one.
        group_instance_id: Option<Text<'a>>, 3.., null 3..;
        protocol_type: Option<Text<'a>>, 5.., null 5..;
        protocol_name: Option<Text<'a>>, 5.., null 5..;
        /// From the leader only; empty from all others.
        assignments: Vec<SyncGroupRequestAssignment<'a>>, 0..;
    }

    /// The assignment of one member.
    struct SyncGroupRequestAssignment<'a> {
        /// Given by the coordinator; empty on the first join.
        member_id: Text<'a>, 0..;
        assignment: Cow<'a, [u8]>, 0..;
    }

    /// A SyncGroup response.
    struct SyncGroupResponse<'a> {
        /// Milliseconds for which the broker will not read from this client; 0 is none.
        throttle_time_ms: i32, 1..;
        error_code: ErrorCode, 0..;
        protocol_type: Option<Text<'a>>, 5.., null 5..;
        protocol_name: Option<Text<'a>>, 5.., null 5..;
        assignment: Cow<'a, [u8]>, 0..;
    }
}
