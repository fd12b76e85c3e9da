//! LeaveGroup: removes members from a classic group.
//!
//! Versions          1 throttle time; 3 many members, static members; 4 flexible; 5 reason.
//! Source            Apache Kafka 4.1, `LeaveGroupRequest`, `LeaveGroupResponse`.

use super::table::{api, structs};
use crate::error_code::ErrorCode;
use crate::primitive::Text;

api! {
    LeaveGroup, accepted 0..=5, advertised from 0, flexible from 4,
    LeaveGroupRequest<'a>, LeaveGroupResponse<'a>
}

structs! {
    /// A LeaveGroup request.
    struct LeaveGroupRequest<'a> {
        group_id: Text<'a>, 0..;
        /// Given by the coordinator; empty on the first join.
        member_id: Text<'a>, 0..=2;
        /// Members to remove.
        members: Vec<MemberIdentity<'a>>, 3..;
    }

    /// A member to remove.
    struct MemberIdentity<'a> {
        /// Given by the coordinator; empty on the first join.
        member_id: Text<'a>, 3..;
        /// Static member; `None` is a dynamic one.
        group_instance_id: Option<Text<'a>>, 3.., null 3..;
        reason: Option<Text<'a>>, 5.., null 5..;
    }

    /// A LeaveGroup response.
    struct LeaveGroupResponse<'a> {
        /// Milliseconds for which the broker will not read from this client; 0 is none.
        throttle_time_ms: i32, 1..;
        error_code: ErrorCode, 0..;
        /// One per member of the request.
        members: Vec<MemberResponse<'a>>, 3..;
    }

    /// Outcome for one member.
    struct MemberResponse<'a> {
        /// Given by the coordinator; empty on the first join.
        member_id: Text<'a>, 3..;
        /// Static member; `None` is a dynamic one.
        group_instance_id: Option<Text<'a>>, 3.., null 3..;
        error_code: ErrorCode, 3..;
    }
}
