//! ElectLeaders: every partition is led by its preferred and only replica, so no election is
//! needed.
//!
//! Source            Kafka 4.3 `ReplicationControlManager.electLeaders`: without a list of
//!                   partitions, only those where something was done are answered.

use std::rc::Rc;

use kafka_lite::api::decode_body;
use kafka_lite::api::elect_leaders::{
    ElectLeadersRequest, ElectLeadersResponse, PartitionResult, ReplicaElectionResult,
};
use kafka_lite::catalog::CatalogSnapshot;
use kafka_lite::error_code::ErrorCode;

use super::{Reply, RequestContext};
use crate::shard::Shard;

/// Election types of the request: preferred, unclean.
const ELECTION_TYPES: [i8; 2] = [0, 1];

/// Answers ElectLeaders.
pub(super) fn handle(shard: &Rc<Shard>, request: &RequestContext, reply: Reply) {
    let body: ElectLeadersRequest<'_> = match decode_body(request.version, request.body()) {
        Ok(body) => body,
        Err(error) => return reply.close_undecodable(&error),
    };
    if !ELECTION_TYPES.contains(&body.election_type) {
        return reply.send(&ElectLeadersResponse {
            error_code: ErrorCode::InvalidRequest,
            ..ElectLeadersResponse::default()
        });
    }
    let catalog = shard.catalog();
    let topics = body
        .topic_partitions
        .iter()
        .flatten()
        .map(|topic| ReplicaElectionResult {
            topic: topic.topic.clone(),
            partition_result: topic
                .partitions
                .iter()
                .map(|index| outcome(&catalog, &topic.topic, *index))
                .collect(),
        });
    reply.send(&ElectLeadersResponse {
        replica_election_results: topics.collect(),
        ..ElectLeadersResponse::default()
    });
}

fn outcome(catalog: &CatalogSnapshot, topic: &str, index: i32) -> PartitionResult<'static> {
    let exists = catalog
        .topic(topic)
        .is_some_and(|found| found.partition(index).is_some());
    let (error_code, message) = if exists {
        (
            ErrorCode::ElectionNotNeeded,
            format!("{topic}-{index} is led by its preferred replica."),
        )
    } else {
        (
            ErrorCode::UnknownTopicOrPartition,
            format!("No such partition as {topic}-{index}"),
        )
    };
    PartitionResult {
        partition_id: index,
        error_code,
        error_message: Some(message.into()),
    }
}
