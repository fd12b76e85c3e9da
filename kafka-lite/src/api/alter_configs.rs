//! AlterConfigs: replaces all configs of a resource (the old way).
//!
//! Versions          2 flexible.
//! Source            Apache Kafka 4.1, `AlterConfigsRequest`, `AlterConfigsResponse`.

use super::table::{api, structs};
use crate::error_code::ErrorCode;
use crate::primitive::Text;

api! {
    AlterConfigs, accepted 0..=2, advertised from 0, flexible from 2,
    AlterConfigsRequest<'a>, AlterConfigsResponse<'a>
}

structs! {
    /// An AlterConfigs request.
    struct AlterConfigsRequest<'a> {
        resources: Vec<AlterConfigsResource<'a>>, 0..;
        /// Check, but change nothing.
        validate_only: bool, 0..;
    }

    /// A resource.
    struct AlterConfigsResource<'a> {
        /// 2 topic, 4 broker, 16 client metrics, 32 group.
        resource_type: i8, 0..;
        resource_name: Text<'a>, 0..;
        configs: Vec<AlterableConfig<'a>>, 0..;
    }

    /// A config.
    struct AlterableConfig<'a> {
        name: Text<'a>, 0..;
        value: Option<Text<'a>>, 0.., null 0..;
    }

    /// An AlterConfigs response.
    struct AlterConfigsResponse<'a> {
        /// Milliseconds for which the broker will not read from this client; 0 is none.
        throttle_time_ms: i32, 0..;
        responses: Vec<AlterConfigsResourceResponse<'a>>, 0..;
    }

    /// Outcome for one resource.
    struct AlterConfigsResourceResponse<'a> {
        error_code: ErrorCode, 0..;
        error_message: Option<Text<'a>>, 0.., null 0..;
        /// 2 topic, 4 broker, 16 client metrics, 32 group.
        resource_type: i8, 0..;
        resource_name: Text<'a>, 0..;
    }
}
