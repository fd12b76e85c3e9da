//! What several answers say of the cluster: brokers, leaders, allowed operations.
//!
//! Source            Metadata, DescribeCluster, DescribeTopicPartitions, FindCoordinator.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use kafka_lite::catalog::{PartitionAssignment, Topic};
use kafka_lite::primitive::Uuid;

use crate::controller;
use crate::shard::memory_budget::Reservation;
use crate::shard::{Shard, ShardId};

/// All operations on a topic (bits of `AclOperation`): read, write, create, delete, alter,
/// describe,
/// describe configs, alter configs.
pub(super) const TOPIC_OPERATIONS: i32 =
    (1 << 3) | (1 << 4) | (1 << 5) | (1 << 6) | (1 << 7) | (1 << 8) | (1 << 10) | (1 << 11);

/// All operations on the cluster: create, alter, describe, cluster action, describe configs, alter
/// configs, idempotent write.
pub(super) const CLUSTER_OPERATIONS: i32 =
    (1 << 5) | (1 << 7) | (1 << 8) | (1 << 9) | (1 << 10) | (1 << 11) | (1 << 12);

/// Bytes that a partition takes in an answer that describes it, with one replica.
const PARTITION_ANSWER_BYTES: usize = 48;
/// Bytes that a topic takes beside its name and its partitions.
const TOPIC_ANSWER_BYTES: usize = 64;

/// A broker as clients reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Broker {
    pub(super) node_id: i32,
    pub(super) host: String,
    pub(super) port: i32,
    pub(super) rack: Option<String>,
}

/// This broker.
pub(super) fn this_broker(shard: &Shard) -> Broker {
    let advertised = &shard.process().advertised;
    Broker {
        node_id: shard.node_id(),
        host: advertised.host.clone(),
        port: i32::from(advertised.port),
        rack: None,
    }
}

/// All brokers in the order of their ids. What this one is told at start counts more than what it
/// registered, which may be on its way.
pub(super) fn brokers(shard: &Shard) -> Vec<Broker> {
    let catalog = shard.catalog();
    let registered = catalog.nodes().values().map(|node| Broker {
        node_id: node.node_id,
        host: node.kafka_host.clone(),
        port: i32::from(node.kafka_port),
        rack: node.rack.clone(),
    });
    let mut by_id: BTreeMap<i32, Broker> =
        registered.map(|broker| (broker.node_id, broker)).collect();
    let own = this_broker(shard);
    let rack = by_id
        .remove(&own.node_id)
        .and_then(|registered| registered.rack);
    by_id.insert(own.node_id, Broker { rack, ..own });
    by_id.into_values().collect()
}

/// Node ids of a partition's replicas, the preferred leader first.
pub(super) fn replica_nodes(assignment: &PartitionAssignment) -> Vec<i32> {
    assignment
        .replicas
        .iter()
        .map(|replica| replica.node_id)
        .collect()
}

/// Leader epochs of all partitions of `topics`; `None` where this node does not lead now.
pub(super) async fn leader_epochs(
    shard: &Rc<Shard>,
    topics: &[Arc<Topic>],
) -> Vec<Vec<Option<i32>>> {
    let mut epochs: Vec<Vec<Option<i32>>> = topics
        .iter()
        .map(|topic| vec![None; topic.partitions.len()])
        .collect();
    let mut by_shard: BTreeMap<ShardId, Vec<(usize, Uuid, i32)>> = BTreeMap::new();
    for (number, topic) in topics.iter().enumerate() {
        for (index, _) in (0_i32..).zip(topic.partitions.iter()) {
            if let Some(owner) = controller::place(shard, topic, index) {
                let asked = by_shard.entry(owner).or_default();
                asked.push((number, Uuid(topic.topic_id), index));
            }
        }
    }
    let calls: Vec<_> = by_shard
        .into_iter()
        .map(|(owner, asked)| shard.call(owner, move |there| epochs_here(there, asked)))
        .collect();
    for call in calls {
        for (number, index, epoch) in call.await {
            let partitions = epochs.get_mut(number);
            let place = usize::try_from(index).ok();
            if let Some(slot) = partitions
                .zip(place)
                .and_then(|(of, place)| of.get_mut(place))
            {
                *slot = epoch;
            }
        }
    }
    epochs
}

fn epochs_here(
    shard: &Rc<Shard>,
    asked: Vec<(usize, Uuid, i32)>,
) -> Vec<(usize, i32, Option<i32>)> {
    let partitions = shard.state().partitions();
    let epoch = |(number, topic_id, index)| {
        let partition = partitions
            .get(topic_id, index)
            .filter(|found| found.is_ready());
        (number, index, partition.map(|found| found.leader_epoch()))
    };
    asked.into_iter().map(epoch).collect()
}

/// Memory of an answer that describes this many partitions of these topics, or what there is of it.
pub(super) async fn reserve_answer(
    shard: &Shard,
    topic_names: impl Iterator<Item = usize>,
    partitions_count: usize,
) -> Reservation {
    let names: usize = topic_names.map(|bytes| bytes + TOPIC_ANSWER_BYTES).sum();
    let wanted = names.saturating_add(partitions_count.saturating_mul(PARTITION_ANSWER_BYTES));
    let budget = &shard.budgets().responses;
    let wanted = u64::try_from(wanted).unwrap_or(u64::MAX);
    budget
        .reserve(wanted.clamp(1, budget.limit_bytes() >> 2))
        .await
}
