//! The commands of the controller's log.
//!
//! What it is        facts to apply: everything that was chosen (ids, shards, replicas, checked
//!                   values) is in the command, so that applying needs no choice.
//! What it is not    requests.
//! Layout            docs/formats/catalog.md. Variants and fields are only ever added at the end.
//! Source            our own; Kafka's `TopicRecord`, `PartitionRecord`, `ConfigRecord` say the
//!                   same.

use serde::{Deserialize, Serialize};

use crate::topic_config::{ConfigEdit, ConfigMap};

/// Topic id, a random UUID.
pub type TopicId = [u8; 16];

/// One replica: a node and the shard there that owns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Replica {
    /// Node id.
    pub node_id: i32,
    /// Shard of that node, from 0; the node maps it when it runs fewer shards.
    pub shard: u16,
}

/// Where a partition lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionAssignment {
    /// Replicas, the preferred leader first; never empty, no node twice.
    pub replicas: Box<[Replica]>,
}

/// What a node says of itself when it joins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRegistration {
    /// Node id, not negative.
    pub node_id: i32,
    /// Identity of its data directory: changes when that is wiped.
    pub incarnation: [u8; 16],
    /// Shards it runs, at least 1.
    pub shards: u16,
    /// Where Kafka clients connect.
    pub kafka_host: String,
    /// Port there.
    pub kafka_port: u16,
    /// Where other nodes connect.
    pub rpc_host: String,
    /// Port there.
    pub rpc_port: u16,
    /// Rack, when it has one.
    pub rack: Option<String>,
}

/// One change of the catalog.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Adds a node or replaces what it said before.
    RegisterNode(NodeRegistration),
    /// Creates a topic.
    CreateTopic {
        /// Checked name.
        name: String,
        /// New id.
        topic_id: TopicId,
        /// Partitions from 0; never empty.
        partitions: Vec<PartitionAssignment>,
        /// Checked configs that differ from the layer below.
        configs: ConfigMap,
    },
    /// Deletes a topic.
    DeleteTopic {
        /// Its id.
        topic_id: TopicId,
    },
    /// Adds partitions to a topic.
    CreatePartitions {
        /// Its id.
        topic_id: TopicId,
        /// Number of the first new partition: how many there are before.
        first_partition: u32,
        /// New partitions; never empty.
        partitions: Vec<PartitionAssignment>,
    },
    /// Changes configs of a topic.
    AlterTopicConfigs {
        /// Its id.
        topic_id: TopicId,
        /// Checked edits.
        edits: Vec<ConfigEdit>,
    },
    /// Changes configs of one broker or of all.
    AlterBrokerConfigs {
        /// Node id; `None` is the default of all brokers.
        node_id: Option<i32>,
        /// Checked edits.
        edits: Vec<ConfigEdit>,
    },
    /// Hands out the next block of producer ids.
    AllocateProducerIds {
        /// Node that asked; only it uses the block.
        node_id: i32,
    },
}
