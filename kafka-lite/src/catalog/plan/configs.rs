//! Plans changes of configs, of topics and of brokers.
//!
//! What it is not    what a value may be: that is `topic_config`.
//! Source            Kafka 4.3 `ConfigurationControlManager`.

use std::sync::Arc;

use super::Planner;
use crate::catalog::command::Command;
use crate::catalog::snapshot::Topic;
use crate::catalog::state::CatalogFault;
use crate::error_code::ErrorCode;
use crate::topic_config::{
    ConfigChange, ConfigEdit, alter_broker_configs, alter_topic_configs, replace_broker_configs,
    replace_topic_configs,
};

impl Planner<'_> {
    /// Plans an IncrementalAlterConfigs of a topic.
    ///
    /// # Errors
    /// UNKNOWN_TOPIC_OR_PARTITION, INVALID_CONFIG, INVALID_REQUEST.
    pub fn alter_topic_configs(
        &self,
        name: &str,
        changes: &[ConfigChange<'_>],
    ) -> Result<Command, CatalogFault> {
        let topic = self
            .view()
            .topic(name)
            .ok_or_else(CatalogFault::unknown_topic)?;
        let edits = alter_topic_configs(&topic.configs, changes, &self.layers)?;
        config_command(topic, edits)
    }

    /// Plans an AlterConfigs of a topic: what is not named goes back to its default.
    ///
    /// # Errors
    /// As [`Planner::alter_topic_configs`].
    pub fn replace_topic_configs(
        &self,
        name: &str,
        configs: &[(&str, Option<&str>)],
    ) -> Result<Command, CatalogFault> {
        let topic = self
            .view()
            .topic(name)
            .ok_or_else(CatalogFault::unknown_topic)?;
        let edits = replace_topic_configs(&topic.configs, configs, &self.layers)?;
        config_command(topic, edits)
    }

    /// Plans an IncrementalAlterConfigs of one broker, or with `None` of all.
    ///
    /// # Errors
    /// INVALID_REQUEST for a node that is not registered or a config set at start, INVALID_CONFIG.
    pub fn alter_broker_configs(
        &self,
        node_id: Option<i32>,
        changes: &[ConfigChange<'_>],
    ) -> Result<Command, CatalogFault> {
        self.check_node(node_id)?;
        let current = self.view().broker_configs(node_id);
        let edits = alter_broker_configs(current, changes, &self.layers)?;
        Ok(Command::AlterBrokerConfigs { node_id, edits })
    }

    /// Plans an AlterConfigs of one broker, or with `None` of all.
    ///
    /// # Errors
    /// As [`Planner::alter_broker_configs`].
    pub fn replace_broker_configs(
        &self,
        node_id: Option<i32>,
        configs: &[(&str, Option<&str>)],
    ) -> Result<Command, CatalogFault> {
        self.check_node(node_id)?;
        let current = self.view().broker_configs(node_id);
        let edits = replace_broker_configs(current, configs, &self.layers)?;
        Ok(Command::AlterBrokerConfigs { node_id, edits })
    }

    fn check_node(&self, node_id: Option<i32>) -> Result<(), CatalogFault> {
        match node_id {
            Some(node_id) if !self.view().nodes().contains_key(&node_id) => {
                let message = format!("Broker {node_id} is not registered.");
                Err(CatalogFault::new(ErrorCode::InvalidRequest, message))
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// The broker's topics keep the cleanup policy that their content needs.
fn config_command(topic: &Arc<Topic>, edits: Vec<ConfigEdit>) -> Result<Command, CatalogFault> {
    let breaks = |edit: &ConfigEdit| {
        edit.name == "cleanup.policy" && edit.value.as_deref() != Some("compact")
    };
    if topic.is_internal() && edits.iter().any(breaks) {
        let message = format!(
            "Topic '{}' is internal and must stay compacted.",
            topic.name
        );
        return Err(CatalogFault::new(ErrorCode::InvalidConfig, message));
    }
    Ok(Command::AlterTopicConfigs {
        topic_id: topic.topic_id,
        edits,
    })
}
