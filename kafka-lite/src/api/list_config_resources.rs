//! ListConfigResources: the resources that have configs.
//!
//! Versions          0 flexible, client metrics only; 1 all types.
//! Source            Apache Kafka 4.1, `ListConfigResourcesRequest`, `ListConfigResourcesResponse`.

use super::table::{api, structs};
use crate::error_code::ErrorCode;
use crate::primitive::Text;

api! {
    ListConfigResources, accepted 0..=1, advertised from 0, flexible from 0,
    ListConfigResourcesRequest, ListConfigResourcesResponse<'a>
}

structs! {
    /// A ListConfigResources request.
    struct ListConfigResourcesRequest {
        /// Empty is all.
        resource_types: Vec<i8>, 1..;
    }

    /// A ListConfigResources response.
    struct ListConfigResourcesResponse<'a> {
        /// Milliseconds for which the broker will not read from this client; 0 is none.
        throttle_time_ms: i32, 0..;
        error_code: ErrorCode, 0..;
        config_resources: Vec<ConfigResource<'a>>, 0..;
    }

    /// A resource.
    struct ConfigResource<'a> {
        resource_name: Text<'a>, 0..;
        /// 2 topic, 4 broker, 16 client metrics, 32 group.
        resource_type: i8, 1.., default 16;
    }
}
