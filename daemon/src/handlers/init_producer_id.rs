//! InitProducerId: an id that no producer ever had, for idempotent writes.
//!
//! What it is not    the start of a transaction: no transactional id is authorised.
//! Source            Kafka 4.3 `KafkaApis.handleInitProducerIdRequest`; InitProducerId 0–5. Without
//! a
//!                   transactional id the id is always new and the epoch 0, whatever the client
//!                   had.

use std::rc::Rc;

use kafka_lite::api::decode_body;
use kafka_lite::api::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use kafka_lite::error_code::ErrorCode;

use super::{Reply, RequestContext};
use crate::controller;
use crate::shard::Shard;

/// Answers InitProducerId.
pub(super) fn handle(shard: &Rc<Shard>, request: &RequestContext, reply: Reply) {
    let body: InitProducerIdRequest<'_> = match decode_body(request.version, request.body()) {
        Ok(body) => body,
        Err(error) => return reply.close_undecodable(&error),
    };
    if let Some(error_code) = fault(&body) {
        return reply.send(&response(Err(error_code)));
    }
    let shard = Rc::clone(shard);
    drop(monoio::spawn(async move {
        // Producers ask again on this code; what the controller says might end them.
        let allocated = controller::next_producer_id(&shard).await;
        reply.send(&response(
            allocated.map_err(|_reason| ErrorCode::CoordinatorNotAvailable),
        ));
    }));
}

fn fault(body: &InitProducerIdRequest<'_>) -> Option<ErrorCode> {
    match &body.transactional_id {
        Some(id) if id.is_empty() => return Some(ErrorCode::InvalidRequest),
        Some(_) => return Some(ErrorCode::TransactionalIdAuthorizationFailed),
        None => {}
    }
    // An epoch without an id, or the reverse, means nothing.
    let is_half = body.producer_id.is_some() != body.producer_epoch.is_some();
    is_half.then_some(ErrorCode::InvalidRequest)
}

fn response(allocated: Result<i64, ErrorCode>) -> InitProducerIdResponse {
    match allocated {
        Ok(producer_id) => InitProducerIdResponse {
            producer_id: Some(producer_id),
            producer_epoch: 0,
            ..InitProducerIdResponse::default()
        },
        Err(error_code) => InitProducerIdResponse {
            error_code,
            producer_id: None,
            producer_epoch: -1,
            ..InitProducerIdResponse::default()
        },
    }
}

#[cfg(test)]
mod tests {
    use kafka_lite::api::init_producer_id::InitProducerIdRequest;
    use kafka_lite::error_code::ErrorCode;

    use super::{fault, response};

    fn request(
        transactional_id: Option<&str>,
        producer_id: Option<i64>,
        producer_epoch: Option<i16>,
    ) -> InitProducerIdRequest<'_> {
        InitProducerIdRequest {
            transactional_id: transactional_id.map(Into::into),
            transaction_timeout_ms: 60_000,
            producer_id,
            producer_epoch,
        }
    }

    #[test]
    fn only_producers_without_transactions_are_served() {
        let denied = Some(ErrorCode::TransactionalIdAuthorizationFailed);
        let wrong = Some(ErrorCode::InvalidRequest);
        assert_eq!(fault(&request(None, None, None)), None);
        assert_eq!(fault(&request(None, Some(7), Some(2))), None);
        assert_eq!(fault(&request(None, Some(7), None)), wrong);
        assert_eq!(fault(&request(None, None, Some(2))), wrong);
        assert_eq!(fault(&request(Some(""), None, None)), wrong);
        assert_eq!(fault(&request(Some("orders"), None, None)), denied);
        assert_eq!(fault(&request(Some("orders"), Some(7), Some(2))), denied);
    }

    #[test]
    fn a_new_id_starts_at_epoch_0_and_a_failure_has_no_id() {
        let new = response(Ok(4_000));
        assert_eq!((new.producer_id, new.producer_epoch), (Some(4_000), 0));
        let failed = response(Err(ErrorCode::CoordinatorNotAvailable));
        assert_eq!((failed.producer_id, failed.producer_epoch), (None, -1));
        assert_eq!(failed.error_code, ErrorCode::CoordinatorNotAvailable);
    }
}
