//! DescribeGroups: state and members of classic groups.
//!
//! Versions          1 throttle time; 3 authorized operations; 4 static members; 5 flexible;
//!                   6 error message, GROUP_ID_NOT_FOUND for a missing group.
//! Source            Apache Kafka 4.1, `DescribeGroupsRequest`, `DescribeGroupsResponse`.

use std::borrow::Cow;

use super::table::{api, structs};
use crate::error_code::ErrorCode;
use crate::primitive::Text;

api! {
    DescribeGroups, accepted 0..=6, advertised from 0, flexible from 5,
    DescribeGroupsRequest<'a>, DescribeGroupsResponse<'a>
}

structs! {
    /// A DescribeGroups request.
    struct DescribeGroupsRequest<'a> {
        groups: Vec<Text<'a>>, 0..;
        include_authorized_operations: bool, 3..;
    }

    /// A DescribeGroups response.
    struct DescribeGroupsResponse<'a> {
        /// Milliseconds for which the broker will not read from this client; 0 is none.
        throttle_time_ms: i32, 1..;
        groups: Vec<DescribedGroup<'a>>, 0..;
    }

    /// A group.
    struct DescribedGroup<'a> {
        error_code: ErrorCode, 0..;
        error_message: Option<Text<'a>>, 6.., null 6..;
        group_id: Text<'a>, 0..;
        group_state: Text<'a>, 0..;
        protocol_type: Text<'a>, 0..;
        protocol_data: Text<'a>, 0..;
        /// Members of the group.
        members: Vec<DescribedGroupMember<'a>>, 0..;
        /// Bit field; `i32::MIN` if it was not asked for.
        authorized_operations: i32, 3.., default i32::MIN;
    }

    /// A member.
    struct DescribedGroupMember<'a> {
        /// Given by the coordinator; empty on the first join.
        member_id: Text<'a>, 0..;
        /// Static member; `None` is a dynamic one.
        group_instance_id: Option<Text<'a>>, 4.., null 4..;
        client_id: Text<'a>, 0..;
        client_host: Text<'a>, 0..;
        member_metadata: Cow<'a, [u8]>, 0..;
        member_assignment: Cow<'a, [u8]>, 0..;
    }
}
