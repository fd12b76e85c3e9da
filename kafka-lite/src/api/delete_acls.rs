//! DeleteAcls: removes the access rules that match filters.
//!
//! Versions          1 pattern types; 2 flexible; 3 user resource type.
//! Source            Apache Kafka 4.1, `DeleteAclsRequest`, `DeleteAclsResponse`.

use super::table::{api, structs};
use crate::error_code::ErrorCode;
use crate::primitive::Text;

api! {
    DeleteAcls, accepted 1..=3, advertised from 1, flexible from 2,
    DeleteAclsRequest<'a>, DeleteAclsResponse<'a>
}

structs! {
    /// A DeleteAcls request.
    struct DeleteAclsRequest<'a> {
        filters: Vec<DeleteAclsFilter<'a>>, 1..;
    }

    /// Which rules to remove.
    struct DeleteAclsFilter<'a> {
        resource_type_filter: i8, 1..;
        /// `None` is any.
        resource_name_filter: Option<Text<'a>>, 1.., null 1..;
        pattern_type_filter: i8, 1.., default 3;
        /// `None` is any.
        principal_filter: Option<Text<'a>>, 1.., null 1..;
        /// `None` is any.
        host_filter: Option<Text<'a>>, 1.., null 1..;
        operation: i8, 1..;
        permission_type: i8, 1..;
    }

    /// A DeleteAcls response.
    struct DeleteAclsResponse<'a> {
        /// Milliseconds for which the broker will not read from this client; 0 is none.
        throttle_time_ms: i32, 1..;
        /// In the order of the request.
        filter_results: Vec<DeleteAclsFilterResult<'a>>, 1..;
    }

    /// Outcome for one filter.
    struct DeleteAclsFilterResult<'a> {
        error_code: ErrorCode, 1..;
        error_message: Option<Text<'a>>, 1.., null 1..;
        matching_acls: Vec<DeleteAclsMatchingAcl<'a>>, 1..;
    }

    /// A rule that was removed.
    struct DeleteAclsMatchingAcl<'a> {
        error_code: ErrorCode, 1..;
        error_message: Option<Text<'a>>, 1.., null 1..;
        resource_type: i8, 1..;
        resource_name: Text<'a>, 1..;
        pattern_type: i8, 1.., default 3;
        principal: Text<'a>, 1..;
        host: Text<'a>, 1..;
        operation: i8, 1..;
        permission_type: i8, 1..;
    }
}
