//! The Kafka topics that messages go to: found in the catalog, or made.

use std::rc::Rc;

use kafka_lite::catalog::{NewTopic, Planner, Topic, is_internal};
use kafka_lite::error_code::ErrorCode;
use kafka_lite::primitive::Uuid;
use mqtt::mapping::CATCH_ALL_TOPIC;

use super::append::Place;
use crate::client::partitioner::partition_of;
use crate::controller;
use crate::limits::MQTT_READY_TOPICS_MAX;
use crate::shard::Shard;

/// What is known of the topic of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// It is there.
    Place(Place),
    /// It can be made, or is being made.
    Missing,
    /// It may not be made: the message goes to the catch-all.
    Refused,
}

/// Finds the partition of a key.
pub(super) fn find(shard: &Rc<Shard>, name: &str, key: &[u8]) -> Found {
    let catalog = shard.catalog();
    let Some(topic) = catalog.topic(name) else {
        let may_make = name == CATCH_ALL_TOPIC
            || catalog.topics_count() < shard.config().mqtt_topics_max && !is_internal(name);
        return if may_make {
            Found::Missing
        } else {
            Found::Refused
        };
    };
    // The catalog knows a topic before all of its partitions take records.
    let is_ready = shard
        .state()
        .mqtt()
        .ready_topics
        .borrow()
        .contains(&topic.topic_id);
    if !is_ready && !topic.is_internal() {
        return Found::Missing;
    }
    let count = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
    let index = partition_of(key, count);
    match controller::place(shard, topic, index) {
        Some(owner) if !topic.is_internal() => Found::Place(Place {
            shard: owner,
            topic_id: Uuid(topic.topic_id),
            index,
        }),
        _ => Found::Refused,
    }
}

/// Makes a topic with the broker's defaults, unless somebody else was faster; returns when it takes
/// records: the controller makes one change at a time, and ends each on every shard.
pub(super) async fn make(shard: &Rc<Shard>, name: String) -> Result<(), ErrorCode> {
    create(shard, name.clone()).await?;
    if let Some(topic) = shard.catalog().topic(&name) {
        let mut ready = shard.state().mqtt().ready_topics.borrow_mut();
        if ready.len() >= MQTT_READY_TOPICS_MAX {
            ready.clear();
        }
        ready.insert(topic.topic_id);
    }
    Ok(())
}

async fn create(shard: &Rc<Shard>, name: String) -> Result<(), ErrorCode> {
    let topic_id = uuid::Uuid::new_v4().into_bytes();
    controller::change(shard, move |catalog, context| {
        let layers = catalog
            .view()
            .layers(context.node_id, &context.static_configs);
        let new = NewTopic {
            name: &name,
            partitions_count: -1,
            replication_factor: -1,
            assignments: &[],
            configs: &[],
        };
        match Planner::new(catalog, layers).create_topic(&new, topic_id) {
            Ok(command) => (vec![command], Ok(())),
            Err(fault) if fault.error_code == ErrorCode::TopicAlreadyExists => (Vec::new(), Ok(())),
            Err(fault) => (Vec::new(), Err(fault.error_code)),
        }
    })
    .await?
}

/// Whether an empty payload deletes: the topic is compacted.
pub(super) fn is_compacted(shard: &Rc<Shard>, topic_id: Uuid) -> bool {
    let catalog = shard.catalog();
    let config =
        |topic: &Topic| catalog.topic_config(topic, shard.node_id(), shard.static_configs());
    let topic = catalog.topic_by_id(&topic_id.0);
    topic.is_some_and(|topic| config(topic).cleanup_policy.is_compact)
}
