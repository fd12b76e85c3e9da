//! ConsumerGroupHeartbeat: the newer group protocol is switched off.
//!
//! What it is        the refusal of a Kafka whose `group.version` is 0. The key is advertised for
//!                   it, as Kafka does: where it is missing, librdkafka tries for ever in silence.
//! Source            KIP-848; Kafka 4.3 `KafkaApis.handleConsumerGroupHeartbeat`.

use kafka_lite::api::consumer_group_heartbeat::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
};
use kafka_lite::api::decode_body;
use kafka_lite::error_code::ErrorCode;

use super::{Reply, RequestContext};

/// Answers ConsumerGroupHeartbeat.
pub(super) fn handle(request: &RequestContext, reply: Reply) {
    match decode_body::<ConsumerGroupHeartbeatRequest<'_>>(request.version, request.body()) {
        Ok(_) => reply.send(&ConsumerGroupHeartbeatResponse {
            error_code: ErrorCode::UnsupportedVersion,
            error_message: Some("This broker has classic groups only.".into()),
            ..ConsumerGroupHeartbeatResponse::default()
        }),
        Err(error) => reply.close_undecodable(&error),
    }
}
