//! DescribeAcls, CreateAcls and DeleteAcls where everybody may do everything.
//!
//! What it is        the answer of a Kafka without an authorizer: SECURITY_DISABLED, which tools
//!                   that copy rules (MirrorMaker) take for "there is nothing to copy".
//! Source            Kafka 4.3 `AclApis`: one error at the top, or one for each rule or filter.
//!                   Those have no text here: an answer is never larger than its request.

use kafka_lite::api::create_acls::{AclCreationResult, CreateAclsRequest, CreateAclsResponse};
use kafka_lite::api::decode_body;
use kafka_lite::api::delete_acls::{DeleteAclsFilterResult, DeleteAclsRequest, DeleteAclsResponse};
use kafka_lite::api::describe_acls::{DescribeAclsRequest, DescribeAclsResponse};
use kafka_lite::error_code::ErrorCode;

use super::{Reply, RequestContext};

/// Kafka's own words: scripts look for them.
const NO_AUTHORIZER: &str = "No Authorizer is configured on the broker";

/// Answers DescribeAcls.
pub(super) fn describe(request: &RequestContext, reply: Reply) {
    if let Err(error) = decode_body::<DescribeAclsRequest<'_>>(request.version, request.body()) {
        return reply.close_undecodable(&error);
    }
    reply.send(&DescribeAclsResponse {
        error_code: ErrorCode::SecurityDisabled,
        error_message: Some(NO_AUTHORIZER.into()),
        ..DescribeAclsResponse::default()
    });
}

/// Answers CreateAcls.
pub(super) fn create(request: &RequestContext, reply: Reply) {
    let body: CreateAclsRequest<'_> = match decode_body(request.version, request.body()) {
        Ok(body) => body,
        Err(error) => return reply.close_undecodable(&error),
    };
    let results = body.creations.iter().map(|_| AclCreationResult {
        error_code: ErrorCode::SecurityDisabled,
        error_message: None,
    });
    reply.send(&CreateAclsResponse {
        results: results.collect(),
        ..CreateAclsResponse::default()
    });
}

/// Answers DeleteAcls.
pub(super) fn delete(request: &RequestContext, reply: Reply) {
    let body: DeleteAclsRequest<'_> = match decode_body(request.version, request.body()) {
        Ok(body) => body,
        Err(error) => return reply.close_undecodable(&error),
    };
    let filter_results = body.filters.iter().map(|_| DeleteAclsFilterResult {
        error_code: ErrorCode::SecurityDisabled,
        error_message: None,
        matching_acls: Vec::new(),
    });
    reply.send(&DeleteAclsResponse {
        filter_results: filter_results.collect(),
        ..DeleteAclsResponse::default()
    });
}
