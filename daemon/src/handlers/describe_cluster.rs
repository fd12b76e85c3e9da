//! DescribeCluster: cluster id, controller and brokers.
//!
//! Source            Kafka 4.3 `KafkaApis.handleDescribeCluster`; KIP-700, KIP-919 (endpoint
//! types).

use std::rc::Rc;

use kafka_lite::api::decode_body;
use kafka_lite::api::describe_cluster::{
    DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse,
};
use kafka_lite::error_code::ErrorCode;

use super::cluster_view::{Broker, CLUSTER_OPERATIONS, brokers};
use super::{Reply, RequestContext};
use crate::shard::Shard;

/// Endpoint types of the request.
const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

/// Answers DescribeCluster.
pub(super) fn handle(shard: &Rc<Shard>, request: &RequestContext, reply: Reply) {
    let body: DescribeClusterRequest = match decode_body(request.version, request.body()) {
        Ok(body) => body,
        Err(error) => return reply.close_undecodable(&error),
    };
    if let Some((error_code, message)) = endpoint_fault(body.endpoint_type) {
        return reply.send(&DescribeClusterResponse {
            error_code,
            error_message: Some(message.into()),
            endpoint_type: body.endpoint_type,
            ..DescribeClusterResponse::default()
        });
    }
    let brokers = brokers(shard);
    let operations = body
        .include_cluster_authorized_operations
        .then_some(CLUSTER_OPERATIONS);
    reply.send(&DescribeClusterResponse {
        cluster_id: shard.process().identity.cluster_id.as_str().into(),
        controller_id: Some(shard.node_id()),
        brokers: brokers.iter().map(response_broker).collect(),
        cluster_authorized_operations: operations.unwrap_or(i32::MIN),
        ..DescribeClusterResponse::default()
    });
}

/// This port serves brokers.
fn endpoint_fault(endpoint_type: i8) -> Option<(ErrorCode, &'static str)> {
    match endpoint_type {
        BROKERS => None,
        CONTROLLERS => Some((
            ErrorCode::MismatchedEndpointType,
            "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type \
             CONTROLLER",
        )),
        _ => Some((
            ErrorCode::UnsupportedEndpointType,
            "Unsupported endpoint type",
        )),
    }
}

fn response_broker(broker: &Broker) -> DescribeClusterBroker<'_> {
    DescribeClusterBroker {
        broker_id: broker.node_id,
        host: broker.host.as_str().into(),
        port: broker.port,
        rack: broker.rack.as_deref().map(Into::into),
        is_fenced: false,
    }
}

#[cfg(test)]
mod tests {
    use kafka_lite::error_code::ErrorCode;

    use super::endpoint_fault;

    #[test]
    fn only_brokers_are_served() {
        assert_eq!(endpoint_fault(1), None);
        let code = |kind| endpoint_fault(kind).map(|(code, _)| code);
        assert_eq!(code(2), Some(ErrorCode::MismatchedEndpointType));
        assert_eq!(code(0), Some(ErrorCode::UnsupportedEndpointType));
        assert_eq!(code(-1), Some(ErrorCode::UnsupportedEndpointType));
    }
}
