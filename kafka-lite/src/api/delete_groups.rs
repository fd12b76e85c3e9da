//! DeleteGroups: deletes empty groups and their offsets.
//!
//! Versions          2 flexible.
//! Source            Apache Kafka 4.1, `DeleteGroupsRequest`, `DeleteGroupsResponse`.

use super::table::{api, structs};
use crate::error_code::ErrorCode;
use crate::primitive::Text;

api! {
    DeleteGroups, accepted 0..=2, advertised from 0, flexible from 2,
    DeleteGroupsRequest<'a>, DeleteGroupsResponse<'a>
}

structs! {
    /// A DeleteGroups request.
    struct DeleteGroupsRequest<'a> {
        groups_names: Vec<Text<'a>>, 0..;
    }

    /// A DeleteGroups response.
    struct DeleteGroupsResponse<'a> {
        /// Milliseconds for which the broker will not read from this client; 0 is none.
        throttle_time_ms: i32, 0..;
        results: Vec<DeletableGroupResult<'a>>, 0..;
    }

    /// Outcome for one group.
    struct DeletableGroupResult<'a> {
        group_id: Text<'a>, 0..;
        error_code: ErrorCode, 0..;
    }
}
