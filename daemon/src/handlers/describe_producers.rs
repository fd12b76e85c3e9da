//! DescribeProducers: the idempotent producers that partitions remember.
//!
//! Source            KIP-664; Kafka 4.3 `ReplicaManager.activeProducerState`. Without transactions
//! no
//!                   producer has a coordinator or an open transaction.

use std::rc::Rc;

use kafka_lite::api::decode_body;
use kafka_lite::api::describe_producers::{
    DescribeProducersRequest, DescribeProducersResponse, PartitionResponse, ProducerState,
    TopicResponse,
};
use kafka_lite::error_code::ErrorCode;
use kafka_lite::producer::ProducerDescription;

use super::fan_out::{ask_partitions, find};
use super::{Reply, RequestContext};
use crate::partition::Partition;
use crate::shard::Shard;

/// Answers DescribeProducers.
pub(super) fn handle(shard: &Rc<Shard>, request: &RequestContext, reply: Reply) {
    let body: DescribeProducersRequest<'_> = match decode_body(request.version, request.body()) {
        Ok(body) => body,
        Err(error) => return reply.close_undecodable(&error),
    };
    let now_ms = shard.wall_clock_ms();
    let mut questions = Vec::new();
    let mut topics: Vec<(String, Vec<i32>)> = Vec::with_capacity(body.topics.len());
    for topic in &body.topics {
        let places = topic
            .partition_indexes
            .iter()
            .map(|index| find(shard, &topic.name, *index));
        questions.extend(places.map(|place| place.map(|place| (place, now_ms))));
        topics.push((
            topic.name.clone().into_owned(),
            topic.partition_indexes.clone(),
        ));
    }
    let shard = Rc::clone(shard);
    drop(monoio::spawn(async move {
        let found = ask_partitions(&shard, questions, look).await;
        let mut found = found.into_iter();
        let mut next = || found.next().unwrap_or(Err(ErrorCode::NotLeaderOrFollower));
        let topics = topics.iter().map(|(name, indexes)| TopicResponse {
            name: name.as_str().into(),
            partitions: indexes
                .iter()
                .map(|index| response(*index, next()))
                .collect(),
        });
        reply.send(&DescribeProducersResponse {
            topics: topics.collect(),
            ..DescribeProducersResponse::default()
        });
    }));
}

async fn look(
    partition: Rc<Partition>,
    now_ms: i64,
) -> Result<Vec<ProducerDescription>, ErrorCode> {
    Ok(partition.log().describe_producers(now_ms))
}

fn response(
    partition_index: i32,
    producers: Result<Vec<ProducerDescription>, ErrorCode>,
) -> PartitionResponse<'static> {
    let error = producers.as_ref().err().copied();
    PartitionResponse {
        partition_index,
        error_code: error.unwrap_or(ErrorCode::None),
        error_message: error.map(|code| code.name().into()),
        active_producers: producers.unwrap_or_default().iter().map(state).collect(),
    }
}

fn state(producer: &ProducerDescription) -> ProducerState {
    ProducerState {
        producer_id: producer.producer_id,
        producer_epoch: i32::from(producer.producer_epoch),
        last_sequence: (producer.last_sequence >= 0).then_some(producer.last_sequence),
        last_timestamp: Some(producer.last_timestamp),
        coordinator_epoch: -1,
        current_txn_start_offset: None,
    }
}
