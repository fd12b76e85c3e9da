//! Topic and broker configs, by Kafka's names.
//!
//! What it is        tables of every config with type, default, rule and text; resolution through
//!                   the layers topic, dynamic broker, static broker, default; and alterations of
//!                   them.
//! What it is not    the process configuration of the daemon, which fills the static layer.
//! Invariants        1. every config that Kafka 4.3 has for topics is known: taken, or refused in
//!                      words.
//!                   2. [`TopicConfig::resolve`] never fails: a stored value that does not pass its
//!                      rule counts as absent.
//! Source            Kafka 4.3 `TopicConfig`, `LogConfig`, `ServerTopicConfigSynonyms`,
//!                   `ConfigurationControlManager`; KIP-226, KIP-339.
//! Reading order     `definition`, `topic_table`, `layers`, `alter`.

mod alter;
mod broker_table;
mod definition;
mod layers;
mod resolved;
mod topic_table;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use alter::{
    ConfigChange, ConfigEdit, ConfigFault, ConfigOperation, alter_broker_configs,
    alter_topic_configs, apply_edits, replace_broker_configs, replace_topic_configs,
};
pub use broker_table::{BROKER_CONFIGS, broker_config};
pub use definition::{ConfigDefinition, ConfigKind, ConfigRule, Synonym, SynonymUnit};
pub use layers::{ConfigLayers, ConfigSource, ConfigSynonym, DescribedConfig};
pub use resolved::{CleanupPolicy, TopicConfig};
pub use topic_table::{TOPIC_CONFIGS, topic_config};

/// Config values by name; only what differs from the layer below.
pub type ConfigMap = BTreeMap<String, String>;
