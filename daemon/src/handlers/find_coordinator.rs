//! FindCoordinator: who serves a group.
//!
//! What it is        this node for groups, once `__consumer_offsets` exists; an error for
//! everything
//!                   that is not served.
//! Source            Kafka 4.3 `KafkaApis.handleFindCoordinatorRequest`; FindCoordinator 0–3 one
//! key,
//!                   from 4 many (KIP-699).

use std::rc::Rc;

use kafka_lite::api::decode_body;
use kafka_lite::api::find_coordinator::{
    Coordinator, FindCoordinatorRequest, FindCoordinatorResponse,
};
use kafka_lite::error_code::ErrorCode;

use super::cluster_view::{Broker, this_broker};
use super::{Reply, RequestContext};
use crate::controller;
use crate::limits::COORDINATOR_TIMEOUT;
use crate::shard::Shard;

/// Key types of the request.
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

/// Why there is no coordinator.
type Fault = (ErrorCode, &'static str);

/// Answers FindCoordinator.
pub(super) fn handle(shard: &Rc<Shard>, request: &RequestContext, reply: Reply) {
    let body: FindCoordinatorRequest<'_> = match decode_body(request.version, request.body()) {
        Ok(body) => body,
        Err(error) => return reply.close_undecodable(&error),
    };
    let version = request.version;
    let keys: Vec<String> = body
        .coordinator_keys
        .iter()
        .map(|key| key.clone().into_owned())
        .collect();
    let own = this_broker(shard);
    if let Some(fault) = key_type_fault(body.key_type) {
        return reply.send(&response(version, &keys, &own, Some(fault)));
    }
    // The topic of the groups is made for the first one that asks.
    let exists = controller::ensure_offsets_topic(shard);
    let made = monoio::time::timeout(COORDINATOR_TIMEOUT, exists);
    drop(monoio::spawn(async move {
        let made = made.await.unwrap_or(Err(ErrorCode::RequestTimedOut));
        let fault = made.err().map(not_available);
        reply.send(&response(version, &keys, &own, fault));
    }));
}

/// What cannot be served at all.
fn key_type_fault(key_type: i8) -> Option<Fault> {
    match key_type {
        GROUP => None,
        TRANSACTION => Some((
            ErrorCode::TransactionalIdAuthorizationFailed,
            "Transactions are not served by this broker.",
        )),
        _ => Some((
            ErrorCode::InvalidRequest,
            "Only groups have coordinators on this broker.",
        )),
    }
}

/// Clients ask again; the topic may be made by then.
fn not_available(_reason: ErrorCode) -> Fault {
    (
        ErrorCode::CoordinatorNotAvailable,
        "The topic of the groups cannot be made now.",
    )
}

fn response<'a>(
    version: i16,
    keys: &'a [String],
    own: &'a Broker,
    fault: Option<Fault>,
) -> FindCoordinatorResponse<'a> {
    let (error_code, message) = fault.unwrap_or((ErrorCode::None, ""));
    let (node_id, host, port) = match fault {
        None => (own.node_id, own.host.as_str(), own.port),
        Some(_) => (-1, "", -1),
    };
    let error_message = fault.map(|_| message.into());
    if version < 4 {
        return FindCoordinatorResponse {
            error_code,
            error_message,
            node_id,
            host: host.into(),
            port,
            ..FindCoordinatorResponse::default()
        };
    }
    let coordinators = keys.iter().map(|key| Coordinator {
        key: key.as_str().into(),
        node_id,
        host: host.into(),
        port,
        error_code,
        error_message: error_message.clone(),
    });
    FindCoordinatorResponse {
        coordinators: coordinators.collect(),
        ..FindCoordinatorResponse::default()
    }
}

#[cfg(test)]
mod tests {
    use kafka_lite::error_code::ErrorCode;

    use super::{Broker, key_type_fault, response};

    fn own() -> Broker {
        Broker {
            node_id: 3,
            host: "gateway".to_owned(),
            port: 9092,
            rack: None,
        }
    }

    #[test]
    fn version_3_has_one_answer_and_version_4_one_per_key() {
        let (keys, own) = (["a".to_owned(), "b".to_owned()], own());
        let one = response(3, &[], &own, None);
        assert_eq!(
            (one.node_id, one.host.as_ref(), one.port),
            (3, "gateway", 9092)
        );
        assert!(one.coordinators.is_empty());
        let many = response(4, &keys, &own, None);
        let found: Vec<_> = many
            .coordinators
            .iter()
            .map(|one| (one.key.as_ref(), one.node_id))
            .collect();
        assert_eq!(found, [("a", 3), ("b", 3)]);
    }

    #[test]
    fn transactions_and_share_groups_have_no_coordinator() {
        let (keys, own) = (["a".to_owned()], own());
        let code = |key_type| key_type_fault(key_type).map(|(code, _)| code);
        assert_eq!(code(0), None);
        assert_eq!(code(1), Some(ErrorCode::TransactionalIdAuthorizationFailed));
        assert_eq!(code(2), Some(ErrorCode::InvalidRequest));
        assert_eq!(code(-7), Some(ErrorCode::InvalidRequest));
        let refused = response(4, &keys, &own, key_type_fault(1));
        assert_eq!(refused.coordinators[0].node_id, -1);
        assert!(refused.coordinators[0].error_message.is_some());
        let refused = response(0, &[], &own, key_type_fault(1));
        assert_eq!((refused.node_id, refused.port), (-1, -1));
        assert_eq!(
            refused.error_code,
            ErrorCode::TransactionalIdAuthorizationFailed
        );
    }
}
