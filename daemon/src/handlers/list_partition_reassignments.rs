//! ListPartitionReassignments: every partition stays on this node, so nothing ever moves.
//!
//! Source            Kafka 4.3 `ReplicationControlManager.listPartitionReassignments`: only what
//!                   moves is answered, also where partitions are asked for by name.

use kafka_lite::api::decode_body;
use kafka_lite::api::list_partition_reassignments::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
};

use super::{Reply, RequestContext};

/// Answers ListPartitionReassignments.
pub(super) fn handle(request: &RequestContext, reply: Reply) {
    match decode_body::<ListPartitionReassignmentsRequest<'_>>(request.version, request.body()) {
        Ok(_) => reply.send(&ListPartitionReassignmentsResponse::default()),
        Err(error) => reply.close_undecodable(&error),
    }
}
