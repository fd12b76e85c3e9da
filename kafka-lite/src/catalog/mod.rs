//! The catalog: topics, configs, nodes and producer-id blocks of the whole cluster.
//!
//! What it is        the state machine of the controller. Requests become [`Command`]s or Kafka
//!                   errors ([`Planner`]); committed commands are applied in log order
//!                   ([`Catalog::apply`]); other threads read an [`Arc`](std::sync::Arc) of
//!                   [`CatalogSnapshot`].
//! What it is not    replication, persistence or a clock: commands travel through the controller's
//!                   log, topic ids are given.
//! Invariants        see [`state`].
//! Source            Kafka 4.3 `ReplicationControlManager`, `ConfigurationControlManager`,
//!                   `ProducerIdControlManager`; docs/formats/catalog.md.
//! Reading order     `command`, `snapshot`, `state`, `plan`.

mod command;
mod encode;
mod plan;
mod shelf;
mod snapshot;
pub mod state;
mod topic_name;

#[cfg(test)]
mod tests;

pub use command::{Command, NodeRegistration, PartitionAssignment, Replica, TopicId};
pub use encode::CatalogFormatError;
pub use plan::{NewPartitions, NewTopic, Planner};
pub use snapshot::{CatalogSnapshot, Node, Topic};
pub use state::{Applied, Catalog, CatalogFault};
pub use topic_name::{
    MIRROR_TOPIC, MQTT_RETAINED_TOPIC, MQTT_SESSIONS_TOPIC, OFFSETS_TOPIC, check_topic_name,
    collision_key, is_bookkeeping, is_internal,
};
