//! ListGroups: the groups that this broker coordinates.
//!
//! Versions          1 throttle time; 3 flexible; 4 states; 5 types.
//! Source            Apache Kafka 4.1, `ListGroupsRequest`, `ListGroupsResponse`.

use super::table::{api, structs};
use crate::error_code::ErrorCode;
use crate::primitive::Text;

api! {
    ListGroups, accepted 0..=5, advertised from 0, flexible from 3,
    ListGroupsRequest<'a>, ListGroupsResponse<'a>
}

structs! {
    /// A ListGroups request.
    struct ListGroupsRequest<'a> {
        states_filter: Vec<Text<'a>>, 4..;
        types_filter: Vec<Text<'a>>, 5..;
    }

    /// A ListGroups response.
    struct ListGroupsResponse<'a> {
        /// Milliseconds for which the broker will not read from this client; 0 is none.
        throttle_time_ms: i32, 1..;
        error_code: ErrorCode, 0..;
        groups: Vec<ListedGroup<'a>>, 0..;
    }

    /// A group.
    struct ListedGroup<'a> {
        group_id: Text<'a>, 0..;
        protocol_type: Text<'a>, 0..;
        group_state: Text<'a>, 4..;
        group_type: Text<'a>, 5..;
    }
}
