//! CreateAcls: adds access rules.
//!
//! Versions          1 pattern types; 2 flexible; 3 user resource type.
//! Source            Apache Kafka 4.1, `CreateAclsRequest`, `CreateAclsResponse`.

use super::table::{api, structs};
use crate::error_code::ErrorCode;
use crate::primitive::Text;

api! {
    CreateAcls, accepted 1..=3, advertised from 1, flexible from 2,
    CreateAclsRequest<'a>, CreateAclsResponse<'a>
}

structs! {
    /// A CreateAcls request.
    struct CreateAclsRequest<'a> {
        creations: Vec<AclCreation<'a>>, 1..;
    }

    /// A rule to add.
    struct AclCreation<'a> {
        resource_type: i8, 1..;
        resource_name: Text<'a>, 1..;
        resource_pattern_type: i8, 1.., default 3;
        principal: Text<'a>, 1..;
        host: Text<'a>, 1..;
        operation: i8, 1..;
        permission_type: i8, 1..;
    }

    /// A CreateAcls response.
    struct CreateAclsResponse<'a> {
        /// Milliseconds for which the broker will not read from this client; 0 is none.
        throttle_time_ms: i32, 1..;
        /// In the order of the request.
        results: Vec<AclCreationResult<'a>>, 1..;
    }

    /// Outcome for one rule.
    struct AclCreationResult<'a> {
        error_code: ErrorCode, 1..;
        error_message: Option<Text<'a>>, 1.., null 1..;
    }
}
