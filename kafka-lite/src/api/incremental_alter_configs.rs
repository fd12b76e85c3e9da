//! IncrementalAlterConfigs: sets, deletes, appends to or subtracts from single configs.
//!
//! Versions          1 flexible.
//! Source            Apache Kafka 4.1, `IncrementalAlterConfigsRequest` and its response.

use super::table::{api, structs};
use crate::error_code::ErrorCode;
use crate::primitive::Text;

api! {
    IncrementalAlterConfigs, accepted 0..=1, advertised from 0, flexible from 1,
    IncrementalAlterConfigsRequest<'a>, IncrementalAlterConfigsResponse<'a>
}

structs! {
    /// An IncrementalAlterConfigs request.
    struct IncrementalAlterConfigsRequest<'a> {
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
        /// 0 set, 1 delete, 2 append, 3 subtract.
        config_operation: i8, 0..;
        value: Option<Text<'a>>, 0.., null 0..;
    }

    /// An IncrementalAlterConfigs response.
    struct IncrementalAlterConfigsResponse<'a> {
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
