//! ApiVersions: the first request of every client.
//!
//! Source            KIP-511: an unknown version is answered in the layout of version 0.

use std::rc::Rc;

use kafka_lite::api::api_versions::{
    ApiVersionsRequest, ApiVersionsResponse, advertised, check_client_software,
    encode_unsupported_version,
};
use kafka_lite::api::decode_body;
use kafka_lite::error_code::ErrorCode;

use super::{Reply, RequestContext};
use crate::shard::Shard;

/// Answers what the broker speaks.
pub(super) fn handle(_shard: &Rc<Shard>, request: &RequestContext, reply: Reply) {
    if !request.key.table().is_accepted(request.version) {
        match encode_unsupported_version(request.correlation_id) {
            Ok(frame) => reply.send_frame(frame),
            Err(_cannot_happen) => reply.close("the answer cannot be encoded"),
        }
        return;
    }
    let body: ApiVersionsRequest<'_> = match decode_body(request.version, request.body()) {
        Ok(body) => body,
        Err(error) => return reply.close_undecodable(&error),
    };
    let checked = if request.version >= 3 {
        check_client_software(&body.client_software_name, &body.client_software_version)
    } else {
        Ok(())
    };
    let response = match checked {
        Ok(()) => ApiVersionsResponse {
            api_keys: advertised(),
            ..ApiVersionsResponse::default()
        },
        Err(error_code) => ApiVersionsResponse {
            error_code,
            ..ApiVersionsResponse::default()
        },
    };
    debug_assert!(ErrorCode::default() == ErrorCode::None);
    reply.send(&response);
}
