//! ApiVersions: what the broker speaks.
//!
//! Versions          1 throttle time; 3 flexible, client software, features; 4 features may have
//!                   version 0.
//! Rules             the response header is always version 0. A request in an unknown version is
//!                   answered in the layout of version 0 with error 35 and only this API's range.
//! Source            Apache Kafka 4.1, `ApiVersionsRequest` and its response; KIP-511, KIP-584.

use super::table::{api, structs};
use super::{ApiKey, ApiTable, encode_response};
use crate::error::EncodeError;
use crate::error_code::ErrorCode;
use crate::primitive::{EncodedFrame, Text};

api! {
    ApiVersions, accepted 0..=4, advertised from 0, flexible from 3,
    ApiVersionsRequest<'a>, ApiVersionsResponse<'a>
}

structs! {
    /// An ApiVersions request.
    struct ApiVersionsRequest<'a> {
        /// Checked by [`check_client_software`].
        client_software_name: Text<'a>, 3..;
        /// Checked by [`check_client_software`].
        client_software_version: Text<'a>, 3..;
    }

    /// An ApiVersions response.
    struct ApiVersionsResponse<'a> {
        error_code: ErrorCode, 0..;
        api_keys: Vec<ApiVersion>, 0..;
        /// Milliseconds for which the broker will not read from this client; 0 is none.
        throttle_time_ms: i32, 1..;
        supported_features: Vec<SupportedFeatureKey<'a>>, 3.., tag 0;
        /// `None` is unknown.
        finalized_features_epoch: Option<i64>, 3.., tag 1;
        finalized_features: Vec<FinalizedFeatureKey<'a>>, 3.., tag 2;
        zk_migration_ready: bool, 3.., tag 3;
    }

    /// The advertised range of one API.
    struct ApiVersion {
        api_key: i16, 0..;
        min_version: i16, 0..;
        max_version: i16, 0..;
    }

    /// A feature with the versions that the broker can do.
    struct SupportedFeatureKey<'a> {
        name: Text<'a>, 3..;
        min_version: i16, 3..;
        max_version: i16, 3..;
    }

    /// A feature with the versions that are in force.
    struct FinalizedFeatureKey<'a> {
        name: Text<'a>, 3..;
        max_version_level: i16, 3..;
        min_version_level: i16, 3..;
    }
}

/// Returns the advertised range of every supported API, in ascending order of key.
#[must_use]
pub fn advertised() -> Vec<ApiVersion> {
    ApiKey::ALL.iter().map(|key| advertised_range(key.table())).collect()
}

/// Encodes the answer to an ApiVersions request in an unknown version: error 35 and only the
/// range of ApiVersions, in the layout of version 0, whatever version was asked for (KIP-511).
///
/// # Errors
/// Never with this content; the type is that of every encoder.
pub fn encode_unsupported_version(correlation_id: i32) -> Result<EncodedFrame, EncodeError> {
    let response = ApiVersionsResponse {
        error_code: ErrorCode::UnsupportedVersion,
        api_keys: vec![advertised_range(&API)],
        ..ApiVersionsResponse::default()
    };
    encode_response(correlation_id, 0, &response)
}

/// Checks the name or version that client software gives itself (from version 3): letters and
/// digits, with dashes and dots inside.
///
/// # Errors
/// [`ErrorCode::InvalidRequest`] to answer with, if either has another form.
pub fn check_client_software(name: &str, version: &str) -> Result<(), ErrorCode> {
    if has_software_form(name) && has_software_form(version) {
        return Ok(());
    }
    Err(ErrorCode::InvalidRequest)
}

fn advertised_range(table: &ApiTable) -> ApiVersion {
    ApiVersion {
        api_key: table.key.code(),
        min_version: table.first_advertised,
        max_version: table.last,
    }
}

fn has_software_form(text: &str) -> bool {
    let bytes = text.as_bytes();
    let ends = [bytes.first(), bytes.last()];
    ends.iter().all(|end| end.is_some_and(u8::is_ascii_alphanumeric))
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
}
