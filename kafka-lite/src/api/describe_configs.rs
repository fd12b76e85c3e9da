//! DescribeConfigs: the configs of topics and brokers.
//!
//! Versions          1 synonyms and sources; 3 types and documentation; 4 flexible.
//! Source            Apache Kafka 4.1, `DescribeConfigsRequest`, `DescribeConfigsResponse`.

use super::table::{api, structs};
use crate::error_code::ErrorCode;
use crate::primitive::Text;

api! {
    DescribeConfigs, accepted 1..=4, advertised from 1, flexible from 4,
    DescribeConfigsRequest<'a>, DescribeConfigsResponse<'a>
}

structs! {
    /// A DescribeConfigs request.
    struct DescribeConfigsRequest<'a> {
        resources: Vec<DescribeConfigsResource<'a>>, 1..;
        include_synonyms: bool, 1..;
        include_documentation: bool, 3..;
    }

    /// A resource.
    struct DescribeConfigsResource<'a> {
        /// 2 topic, 4 broker, 16 client metrics, 32 group.
        resource_type: i8, 1..;
        resource_name: Text<'a>, 1..;
        /// `None` is all.
        configuration_keys: Option<Vec<Text<'a>>>, 1.., null 1..;
    }

    /// A DescribeConfigs response.
    struct DescribeConfigsResponse<'a> {
        /// Milliseconds for which the broker will not read from this client; 0 is none.
        throttle_time_ms: i32, 1..;
        results: Vec<DescribeConfigsResult<'a>>, 1..;
    }

    /// Configs of one resource.
    struct DescribeConfigsResult<'a> {
        error_code: ErrorCode, 1..;
        error_message: Option<Text<'a>>, 1.., null 1..;
        /// 2 topic, 4 broker, 16 client metrics, 32 group.
        resource_type: i8, 1..;
        resource_name: Text<'a>, 1..;
        configs: Vec<DescribeConfigsResourceResult<'a>>, 1..;
    }

    /// A config.
    struct DescribeConfigsResourceResult<'a> {
        name: Text<'a>, 1..;
        value: Option<Text<'a>>, 1.., null 1..;
        read_only: bool, 1..;
        /// 1 topic, 2 dynamic broker, 4 static broker, 5 default.
        config_source: i8, 1.., default -1;
        is_sensitive: bool, 1..;
        synonyms: Vec<DescribeConfigsSynonym<'a>>, 1..;
        config_type: i8, 3..;
        documentation: Option<Text<'a>>, 3.., null 3..;
    }

    /// Another place that sets the same config.
    struct DescribeConfigsSynonym<'a> {
        name: Text<'a>, 1..;
        value: Option<Text<'a>>, 1.., null 1..;
        source: i8, 1..;
    }
}
