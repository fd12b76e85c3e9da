//! What other threads read of the catalog.
//!
//! What it is        an immutable picture after some command; cheap to copy and to keep.
//! What it is not    the place where changes are decided.
//! Invariants        1. `topics` and `names` hold the same topics.
//! Source            design §3: "written by one shard; the others read published snapshots".

use std::collections::BTreeMap;
use std::sync::Arc;

use super::command::{NodeRegistration, PartitionAssignment, TopicId};
use super::shelf::Shelf;
use super::topic_name::is_internal;
use crate::topic_config::{ConfigLayers, ConfigMap, TopicConfig};

/// A registered node.
pub type Node = NodeRegistration;

/// One topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Id; a topic of the same name created again has another one.
    pub topic_id: TopicId,
    /// Name.
    pub name: Arc<str>,
    /// Partitions from 0.
    pub partitions: Arc<[PartitionAssignment]>,
    /// Configs that differ from the layer below.
    pub configs: Arc<ConfigMap>,
    /// Version of the catalog at the last change of this topic.
    pub changed_at: u64,
}

impl Topic {
    /// Returns whether the topic belongs to the broker.
    #[must_use]
    pub fn is_internal(&self) -> bool {
        is_internal(&self.name)
    }

    /// Returns where a partition lives; `None` for a number that does not exist.
    #[must_use]
    pub fn partition(&self, partition: i32) -> Option<&PartitionAssignment> {
        self.partitions.get(usize::try_from(partition).ok()?)
    }
}

/// The catalog after some command.
#[derive(Clone, Debug)]
pub struct CatalogSnapshot {
    pub(super) version: u64,
    pub(super) topics: Shelf<TopicId, Arc<Topic>>,
    pub(super) names: Shelf<Box<[u8]>, TopicId>,
    pub(super) nodes: Arc<BTreeMap<i32, Node>>,
    pub(super) broker_configs: Arc<BTreeMap<Option<i32>, ConfigMap>>,
    pub(super) broker_configs_changed_at: u64,
    pub(super) partitions_count: usize,
    pub(super) next_producer_id: i64,
}

impl CatalogSnapshot {
    pub(super) fn new() -> Self {
        Self {
            version: 0,
            topics: Shelf::new(),
            names: Shelf::new(),
            nodes: Arc::default(),
            broker_configs: Arc::default(),
            broker_configs_changed_at: 0,
            partitions_count: 0,
            next_producer_id: 0,
        }
    }

    /// Returns how many commands have been applied; rises with every one.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Returns the topic with this name.
    #[must_use]
    pub fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        self.names
            .get(name.as_bytes())
            .and_then(|topic_id| self.topic_by_id(topic_id))
    }

    /// Returns the topic with this id.
    #[must_use]
    pub fn topic_by_id(&self, topic_id: &TopicId) -> Option<&Arc<Topic>> {
        self.topics.get(topic_id)
    }

    /// Returns all topics in the order of their names. Cost: a sort.
    #[must_use]
    pub fn topics_by_name(&self) -> Vec<&Arc<Topic>> {
        let mut topics: Vec<_> = self.topics.values().collect();
        topics.sort_unstable_by(|first, second| first.name.cmp(&second.name));
        topics
    }

    /// Iterates over all topics, in no useful order.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.topics.values()
    }

    /// Returns how many topics there are.
    #[must_use]
    pub fn topics_count(&self) -> usize {
        self.topics.len()
    }

    /// Returns how many partitions all topics have together.
    #[must_use]
    pub fn partitions_count(&self) -> usize {
        self.partitions_count
    }

    /// Returns the registered nodes by id.
    #[must_use]
    pub fn nodes(&self) -> &BTreeMap<i32, Node> {
        &self.nodes
    }

    /// Returns configs set on one broker, or with `None` on all, while running.
    #[must_use]
    pub fn broker_configs(&self, node_id: Option<i32>) -> &ConfigMap {
        self.broker_configs
            .get(&node_id)
            .unwrap_or(const { &ConfigMap::new() })
    }

    /// Returns the version at the last change of broker configs: resolved topic configs may differ
    /// then.
    #[must_use]
    pub fn broker_configs_changed_at(&self) -> u64 {
        self.broker_configs_changed_at
    }

    /// Returns the layers below topics, as node `node_id` with this static part sees them.
    #[must_use]
    pub fn layers<'a>(&'a self, node_id: i32, static_broker: &'a ConfigMap) -> ConfigLayers<'a> {
        ConfigLayers {
            dynamic_broker: self.broker_configs(Some(node_id)),
            dynamic_default: self.broker_configs(None),
            static_broker,
        }
    }

    /// Resolves the configs of a topic on node `node_id`.
    #[must_use]
    pub fn topic_config(
        &self,
        topic: &Topic,
        node_id: i32,
        static_broker: &ConfigMap,
    ) -> TopicConfig {
        TopicConfig::resolve(&topic.configs, &self.layers(node_id, static_broker))
    }
}
