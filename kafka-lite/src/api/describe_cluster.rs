//! DescribeCluster: the cluster id, the controller and the brokers.
//!
//! Versions          0 flexible; 1 endpoint type; 2 fenced brokers.
//! Source            Apache Kafka 4.1, `DescribeClusterRequest`, `DescribeClusterResponse`.

use super::table::{api, structs};
use crate::error_code::ErrorCode;
use crate::primitive::Text;

api! {
    DescribeCluster, accepted 0..=2, advertised from 0, flexible from 0,
    DescribeClusterRequest, DescribeClusterResponse<'a>
}

structs! {
    /// A DescribeCluster request.
    struct DescribeClusterRequest {
        include_cluster_authorized_operations: bool, 0..;
        /// 1 brokers, 2 controllers.
        endpoint_type: i8, 1.., default 1;
        include_fenced_brokers: bool, 2..;
    }

    /// A DescribeCluster response.
    struct DescribeClusterResponse<'a> {
        /// Milliseconds for which the broker will not read from this client; 0 is none.
        throttle_time_ms: i32, 0..;
        error_code: ErrorCode, 0..;
        error_message: Option<Text<'a>>, 0.., null 0..;
        /// 1 brokers, 2 controllers.
        endpoint_type: i8, 1.., default 1;
        cluster_id: Text<'a>, 0..;
        /// Node id; `None` is unknown.
        controller_id: Option<i32>, 0..;
        brokers: Vec<DescribeClusterBroker<'a>>, 0..;
        /// Bit field; `i32::MIN` if it was not asked for.
        cluster_authorized_operations: i32, 0.., default i32::MIN;
    }

    /// A broker.
    struct DescribeClusterBroker<'a> {
        broker_id: i32, 0..;
        host: Text<'a>, 0..;
        port: i32, 0..;
        /// `None` is none.
        rack: Option<Text<'a>>, 0.., null 0..;
        is_fenced: bool, 2..;
    }
}
