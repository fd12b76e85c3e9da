//! JoinGroup: enters a classic group and waits for its next generation.
//!
//! Versions          1 rebalance timeout; 4 MEMBER_ID_REQUIRED; 5 static members; 6 flexible;
//!                   7 protocol type in the response; 8 reason; 9 skip assignment.
//! Source            Apache Kafka 4.1, `JoinGroupRequest`, `JoinGroupResponse`.

use std::borrow::Cow;

use super::table::{api, structs};
use crate::error_code::ErrorCode;
use crate::primitive::Text;

api! {
    JoinGroup, accepted 0..=9, advertised from 0, flexible from 6,
    JoinGroupRequest<'a>, JoinGroupResponse<'a>
}

structs! {
    /// A JoinGroup request.
    struct JoinGroupRequest<'a> {
        group_id: Text<'a>, 0..;
        /// Milliseconds without a heartbeat after which the member is dead.
        session_timeout_ms: i32, 0..;
        /// Milliseconds to wait for rejoins; `None` in version 0: the session timeout.
        rebalance_timeout_ms: Option<i32>, 1..;
        /// Given by the coordinator; empty on the first join.
        member_id: Text<'a>, 0..;
        /// Static member; `None` is a dynamic one.
        group_instance_id: Option<Text<'a>>, 5.., null 5..;
        protocol_type: Text<'a>, 0..;
        /// In order of preference.
        protocols: Vec<JoinGroupRequestProtocol<'a>>, 0..;
        reason: Option<Text<'a>>, 8.., null 8..;
    }

    /// A protocol that the member can follow.
    struct JoinGroupRequestProtocol<'a> {
        name: Text<'a>, 0..;
        metadata: Cow<'a, [u8]>, 0..;
    }

    /// A JoinGroup response.
    struct JoinGroupResponse<'a> {
        /// Milliseconds for which the broker will not read from this client; 0 is none.
        throttle_time_ms: i32, 2..;
        error_code: ErrorCode, 0..;
        /// -1 is none.
        generation_id: i32, 0.., default -1;
        protocol_type: Option<Text<'a>>, 7.., null 7..;
        protocol_name: Option<Text<'a>>, 0.., null 7.., default Some(Text::default());
        leader: Text<'a>, 0..;
        /// The leader of an unchanged group need not assign.
        skip_assignment: bool, 9..;
        /// Given by the coordinator; empty on the first join.
        member_id: Text<'a>, 0..;
        /// Members; in a JoinGroup response only for the leader.
        members: Vec<JoinGroupResponseMember<'a>>, 0..;
    }

    /// A member, for the leader.
    struct JoinGroupResponseMember<'a> {
        /// Given by the coordinator; empty on the first join.
        member_id: Text<'a>, 0..;
        /// Static member; `None` is a dynamic one.
        group_instance_id: Option<Text<'a>>, 5.., null 5..;
        metadata: Cow<'a, [u8]>, 0..;
    }
}
