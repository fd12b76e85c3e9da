//! SaslHandshake and SaslAuthenticate on a listener without authentication.
//!
//! What it is        the refusal that clients understand at once: Kafka's PLAINTEXT listener
//!                   answers so too. A client whose connection is closed instead takes that for a
//!                   broken network and tries for ever.
//! Source            Kafka 4.3 `KafkaApis.handleSaslHandshakeRequest` and
//!                   `handleSaslAuthenticateRequest`.

use kafka_lite::api::decode_body;
use kafka_lite::api::sasl_authenticate::{SaslAuthenticateRequest, SaslAuthenticateResponse};
use kafka_lite::api::sasl_handshake::{SaslHandshakeRequest, SaslHandshakeResponse};
use kafka_lite::error_code::ErrorCode;
use tracing::debug;

use super::{Reply, RequestContext};

/// Answers SaslHandshake.
pub(super) fn handshake(request: &RequestContext, reply: Reply) {
    let body: SaslHandshakeRequest<'_> = match decode_body(request.version, request.body()) {
        Ok(body) => body,
        Err(error) => return reply.close_undecodable(&error),
    };
    debug!(
        mechanism = &*body.mechanism,
        peer = %request.connection.peer(),
        "a client wants SASL, which this listener does not have"
    );
    reply.send(&SaslHandshakeResponse {
        error_code: ErrorCode::IllegalSaslState,
        mechanisms: Vec::new(),
    });
}

/// Answers SaslAuthenticate.
pub(super) fn authenticate(request: &RequestContext, reply: Reply) {
    if let Err(error) = decode_body::<SaslAuthenticateRequest<'_>>(request.version, request.body())
    {
        return reply.close_undecodable(&error);
    }
    reply.send(&SaslAuthenticateResponse {
        error_code: ErrorCode::IllegalSaslState,
        error_message: Some("This listener has no authentication.".into()),
        ..SaslAuthenticateResponse::default()
    });
}
