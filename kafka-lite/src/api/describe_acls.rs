//! DescribeAcls: the access rules that match a filter.
//!
//! Versions          1 pattern types; 2 flexible; 3 user resource type.
//! Source            Apache Kafka 4.1, `DescribeAclsRequest`, `DescribeAclsResponse`.

use super::table::{api, structs};
use crate::error_code::ErrorCode;
use crate::primitive::Text;

api! {
    DescribeAcls, accepted 1..=3, advertised from 1, flexible from 2,
    DescribeAclsRequest<'a>, DescribeAclsResponse<'a>
}

structs! {
    /// A DescribeAcls request.
    struct DescribeAclsRequest<'a> {
        /// 1 any, 2 topic, 3 group, 4 cluster, 5 transactional id, 6 delegation token, 7 user.
        resource_type_filter: i8, 1..;
        /// `None` is any.
        resource_name_filter: Option<Text<'a>>, 1.., null 1..;
        /// 1 any, 2 match, 3 literal, 4 prefixed.
        pattern_type_filter: i8, 1.., default 3;
        /// `None` is any.
        principal_filter: Option<Text<'a>>, 1.., null 1..;
        /// `None` is any.
        host_filter: Option<Text<'a>>, 1.., null 1..;
        /// 1 any.
        operation: i8, 1..;
        /// 1 any, 2 deny, 3 allow.
        permission_type: i8, 1..;
    }

    /// A DescribeAcls response.
    struct DescribeAclsResponse<'a> {
        /// Milliseconds for which the broker will not read from this client; 0 is none.
        throttle_time_ms: i32, 1..;
        error_code: ErrorCode, 1..;
        error_message: Option<Text<'a>>, 1.., null 1..;
        resources: Vec<DescribeAclsResource<'a>>, 1..;
    }

    /// The rules of one resource.
    struct DescribeAclsResource<'a> {
        resource_type: i8, 1..;
        resource_name: Text<'a>, 1..;
        pattern_type: i8, 1.., default 3;
        acls: Vec<AclDescription<'a>>, 1..;
    }

    /// A rule.
    struct AclDescription<'a> {
        principal: Text<'a>, 1..;
        host: Text<'a>, 1..;
        operation: i8, 1..;
        permission_type: i8, 1..;
    }
}
