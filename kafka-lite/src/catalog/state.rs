//! The catalog as it changes: committed commands in, what happened out.
//!
//! What it is        deterministic application, the same on every node.
//! What it is not    trusting: a command that lost a race against an earlier one is rejected, the
//!                   same everywhere.
//! Invariants        1. names, ids and collision keys of topics agree.
//!                   2. every topic has a partition and every partition a replica.
//!                   3. the load per shard is the number of replicas that live there.
//!                   4. producer ids are never handed out twice.
//! Source            design §5 "Controller".

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use thiserror::Error;

use super::command::{Command, NodeRegistration, PartitionAssignment, Replica, TopicId};
use super::snapshot::{CatalogSnapshot, Topic};
use super::topic_name::collision_key;
use crate::error_code::ErrorCode;
use crate::limits;
use crate::topic_config::{ConfigEdit, ConfigFault, ConfigMap, apply_edits};

/// Why a request or a command is refused, as the answer says it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct CatalogFault {
    /// Kafka error code.
    pub error_code: ErrorCode,
    /// Sentence for the client.
    pub message: String,
}

impl CatalogFault {
    pub(super) fn new(error_code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            error_code,
            message: message.into(),
        }
    }

    pub(super) fn unknown_topic() -> Self {
        Self::new(
            ErrorCode::UnknownTopicOrPartition,
            "This server does not host this topic.",
        )
    }

    pub(super) fn unknown_topic_id() -> Self {
        Self::new(
            ErrorCode::UnknownTopicId,
            "This server does not host this topic ID.",
        )
    }

    pub(super) fn topic_exists(name: &str) -> Self {
        Self::new(
            ErrorCode::TopicAlreadyExists,
            format!("Topic '{name}' already exists."),
        )
    }

    pub(super) fn collision(name: &str, existing: &str) -> Self {
        let message = format!("Topic '{name}' collides with existing topic: {existing}");
        Self::new(ErrorCode::InvalidTopicException, message)
    }
}

impl From<ConfigFault> for CatalogFault {
    fn from(fault: ConfigFault) -> Self {
        Self::new(fault.error_code(), fault.to_string())
    }
}

/// What a command did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// A node is registered.
    NodeRegistered {
        /// Its id.
        node_id: i32,
    },
    /// A topic exists: its partitions are to be opened.
    TopicCreated(Arc<Topic>),
    /// A topic is gone: its partitions are to be removed; this is what it was.
    TopicDeleted(Arc<Topic>),
    /// A topic has more partitions.
    PartitionsCreated {
        /// The topic as it is now.
        topic: Arc<Topic>,
        /// Number of the first new partition.
        first_partition: u32,
    },
    /// Configs of a topic are changed.
    TopicConfigsAltered(Arc<Topic>),
    /// Configs of brokers are changed; they may change what topics resolve to.
    BrokerConfigsAltered,
    /// A block of producer ids belongs to the node that asked.
    ProducerIds {
        /// Node that asked.
        node_id: i32,
        /// The block.
        block: Range<i64>,
    },
    /// The command came too late; nothing is changed.
    Rejected(CatalogFault),
}

/// The state machine.
#[derive(Debug)]
pub struct Catalog {
    current: Arc<CatalogSnapshot>,
    /// Topic names by collision key.
    collisions: BTreeMap<String, Arc<str>>,
    /// Replicas per place.
    load: BTreeMap<Replica, u64>,
}

impl Default for Catalog {
    fn default() -> Self {
        Self::new()
    }
}

impl Catalog {
    /// Makes an empty catalog.
    #[must_use]
    pub fn new() -> Self {
        Self::restore(CatalogSnapshot::new())
    }

    /// Goes on from a picture, with what follows from it computed anew.
    pub(super) fn restore(snapshot: CatalogSnapshot) -> Self {
        let mut catalog = Self {
            current: Arc::new(snapshot),
            collisions: BTreeMap::new(),
            load: BTreeMap::new(),
        };
        let topics: Vec<Arc<Topic>> = catalog.current.topics().cloned().collect();
        for topic in topics {
            catalog.note_name(&topic.name);
            catalog.note_load(&topic.partitions, 1);
        }
        catalog
    }

    /// Applies a committed command.
    ///
    /// Copies what the command changes and readers still hold, nothing else: a few hundred pointers
    /// and one of the shelf's small maps.
    pub fn apply(&mut self, command: &Command) -> Applied {
        let version = self.current.version + 1;
        Arc::make_mut(&mut self.current).version = version;
        let applied = match command {
            Command::RegisterNode(node) => Ok(self.register_node(node)),
            Command::CreateTopic {
                name,
                topic_id,
                partitions,
                configs,
            } => self.create_topic(name, *topic_id, partitions, configs),
            Command::DeleteTopic { topic_id } => self.delete_topic(topic_id),
            Command::CreatePartitions {
                topic_id,
                first_partition,
                partitions,
            } => self.create_partitions(topic_id, *first_partition, partitions),
            Command::AlterTopicConfigs { topic_id, edits } => {
                self.alter_topic_configs(topic_id, edits)
            }
            Command::AlterBrokerConfigs { node_id, edits } => {
                Ok(self.alter_broker_configs(*node_id, edits))
            }
            Command::AllocateProducerIds { node_id } => self.allocate_producer_ids(*node_id),
        };
        applied.unwrap_or_else(Applied::Rejected)
    }

    /// Returns the picture after the last command, to be published to other threads.
    #[must_use]
    pub fn snapshot(&self) -> Arc<CatalogSnapshot> {
        Arc::clone(&self.current)
    }

    /// Returns the picture after the last command, to look at here.
    #[must_use]
    pub fn view(&self) -> &CatalogSnapshot {
        &self.current
    }

    pub(super) fn load(&self) -> &BTreeMap<Replica, u64> {
        &self.load
    }

    /// Returns the topic whose name collides with this one.
    pub(super) fn collision(&self, name: &str) -> Option<&Arc<str>> {
        self.collisions.get(&collision_key(name)?)
    }

    /// Checks the numbered invariants of the module, from scratch.
    ///
    /// # Panics
    /// When one does not hold.
    pub fn check_invariants(&self) {
        let view = self.view();
        let mut load: BTreeMap<Replica, u64> = BTreeMap::new();
        let mut partitions_count = 0;
        for topic in view.topics() {
            let found = view.topic(&topic.name).map(|found| found.topic_id);
            assert_eq!(found, Some(topic.topic_id), "invariant 1");
            assert!(!topic.partitions.is_empty(), "invariant 2");
            partitions_count += topic.partitions.len();
            for partition in topic.partitions.iter() {
                assert!(!partition.replicas.is_empty(), "invariant 2");
                partition
                    .replicas
                    .iter()
                    .for_each(|replica| *load.entry(*replica).or_default() += 1);
            }
        }
        assert_eq!(view.names.len(), view.topics_count(), "invariant 1");
        let keyed = view
            .topics()
            .filter(|topic| collision_key(&topic.name).is_some())
            .count();
        assert_eq!(keyed, self.collisions.len(), "invariant 1");
        assert_eq!(load, self.load, "invariant 3");
        assert_eq!(partitions_count, view.partitions_count, "invariant 2");
    }

    fn register_node(&mut self, node: &NodeRegistration) -> Applied {
        let node_id = node.node_id;
        Arc::make_mut(&mut self.change().nodes).insert(node_id, node.clone());
        Applied::NodeRegistered { node_id }
    }

    fn create_topic(
        &mut self,
        name: &str,
        topic_id: TopicId,
        partitions: &[PartitionAssignment],
        configs: &ConfigMap,
    ) -> Result<Applied, CatalogFault> {
        if self.current.topic(name).is_some() || self.current.topic_by_id(&topic_id).is_some() {
            return Err(CatalogFault::topic_exists(name));
        }
        if let Some(existing) = self.collision(name) {
            return Err(CatalogFault::collision(name, existing));
        }
        check_partitions(partitions)?;
        let topic = Arc::new(Topic {
            topic_id,
            name: Arc::from(name),
            partitions: Arc::from(partitions),
            configs: Arc::new(configs.clone()),
            changed_at: self.current.version,
        });
        self.note_name(&topic.name);
        self.note_load(partitions, 1);
        let change = self.change();
        change.partitions_count += partitions.len();
        change.names.insert(Box::from(name.as_bytes()), topic_id);
        change.topics.insert(topic_id, Arc::clone(&topic));
        Ok(Applied::TopicCreated(topic))
    }

    fn delete_topic(&mut self, topic_id: &TopicId) -> Result<Applied, CatalogFault> {
        let change = self.change();
        let topic = change
            .topics
            .remove(topic_id)
            .ok_or_else(CatalogFault::unknown_topic_id)?;
        change.names.remove(topic.name.as_bytes());
        change.partitions_count -= topic.partitions.len();
        self.note_load(&topic.partitions, -1);
        if let Some(key) = collision_key(&topic.name) {
            self.collisions.remove(&key);
        }
        Ok(Applied::TopicDeleted(topic))
    }

    fn create_partitions(
        &mut self,
        topic_id: &TopicId,
        first_partition: u32,
        partitions: &[PartitionAssignment],
    ) -> Result<Applied, CatalogFault> {
        let topic = self.existing(topic_id)?;
        if u32::try_from(topic.partitions.len()).ok() != Some(first_partition) {
            let message = format!(
                "Topic currently has {} partition(s).",
                topic.partitions.len()
            );
            return Err(CatalogFault::new(ErrorCode::InvalidPartitions, message));
        }
        check_partitions(partitions)?;
        let all: Arc<[PartitionAssignment]> =
            topic.partitions.iter().chain(partitions).cloned().collect();
        self.note_load(partitions, 1);
        self.change().partitions_count += partitions.len();
        let topic = self.replace(&topic, |topic| topic.partitions = all);
        Ok(Applied::PartitionsCreated {
            topic,
            first_partition,
        })
    }

    fn alter_topic_configs(
        &mut self,
        topic_id: &TopicId,
        edits: &[ConfigEdit],
    ) -> Result<Applied, CatalogFault> {
        let topic = self.existing(topic_id)?;
        let edit = |topic: &mut Topic| apply_edits(Arc::make_mut(&mut topic.configs), edits);
        Ok(Applied::TopicConfigsAltered(self.replace(&topic, edit)))
    }

    fn alter_broker_configs(&mut self, node_id: Option<i32>, edits: &[ConfigEdit]) -> Applied {
        let change = self.change();
        change.broker_configs_changed_at = change.version;
        let all = Arc::make_mut(&mut change.broker_configs);
        let configs = all.entry(node_id).or_default();
        apply_edits(configs, edits);
        if configs.is_empty() {
            all.remove(&node_id);
        }
        Applied::BrokerConfigsAltered
    }

    fn allocate_producer_ids(&mut self, node_id: i32) -> Result<Applied, CatalogFault> {
        let start = self.current.next_producer_id;
        let end = start
            .checked_add(limits::PRODUCER_ID_BLOCK_COUNT)
            .ok_or_else(|| {
                CatalogFault::new(ErrorCode::UnknownServerError, "Producer ids are used up.")
            })?;
        self.change().next_producer_id = end;
        Ok(Applied::ProducerIds {
            node_id,
            block: start..end,
        })
    }

    /// The picture to change; copied first when readers hold it.
    fn change(&mut self) -> &mut CatalogSnapshot {
        Arc::make_mut(&mut self.current)
    }

    fn existing(&self, topic_id: &TopicId) -> Result<Arc<Topic>, CatalogFault> {
        self.current
            .topic_by_id(topic_id)
            .cloned()
            .ok_or_else(CatalogFault::unknown_topic_id)
    }

    /// Puts a changed copy of a topic in its place.
    fn replace(&mut self, topic: &Topic, edit: impl FnOnce(&mut Topic)) -> Arc<Topic> {
        let mut changed = topic.clone();
        edit(&mut changed);
        changed.changed_at = self.current.version;
        let changed = Arc::new(changed);
        self.change()
            .topics
            .insert(topic.topic_id, Arc::clone(&changed));
        changed
    }

    fn note_name(&mut self, name: &Arc<str>) {
        if let Some(key) = collision_key(name) {
            self.collisions.insert(key, Arc::clone(name));
        }
    }

    fn note_load(&mut self, partitions: &[PartitionAssignment], by: i64) {
        for replica in partitions
            .iter()
            .flat_map(|partition| partition.replicas.iter())
        {
            let count = self.load.entry(*replica).or_default();
            *count = count.saturating_add_signed(by);
            if *count == 0 {
                self.load.remove(replica);
            }
        }
    }
}

/// Checks what a command from the log must have (invariant 2).
fn check_partitions(partitions: &[PartitionAssignment]) -> Result<(), CatalogFault> {
    if partitions.is_empty()
        || partitions
            .iter()
            .any(|partition| partition.replicas.is_empty())
    {
        let message = "A topic needs a partition, and a partition a replica.";
        return Err(CatalogFault::new(ErrorCode::InvalidPartitions, message));
    }
    Ok(())
}
