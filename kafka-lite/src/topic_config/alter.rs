//! Alterations of configs: incremental and full.
//!
//! What it is        requests in, checked edits out; the catalog applies them.
//! What it is not    the catalog.
//! Invariants        1. an edit's value has passed its rule.  2. one fault refuses the whole
//!                      resource.
//! Source            KIP-339; Kafka 4.3 `ConfigurationControlManager.incrementalAlterConfig`,
//!                   `legacyAlterConfigs`.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::ConfigMap;
use super::broker_table::broker_config;
use super::definition::{ConfigDefinition, ConfigKind, words_of};
use super::layers::ConfigLayers;
use super::topic_table::topic_config;
use crate::error_code::ErrorCode;
use crate::limits;

/// What an incremental change does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigOperation {
    /// Gives a value.
    Set,
    /// Takes the value back to the layer below.
    Delete,
    /// Adds words to a list.
    Append,
    /// Takes words out of a list.
    Subtract,
}

impl ConfigOperation {
    /// Returns the operation with this number on the wire.
    #[must_use]
    pub fn from_id(id: i8) -> Option<Self> {
        match id {
            0 => Some(Self::Set),
            1 => Some(Self::Delete),
            2 => Some(Self::Append),
            3 => Some(Self::Subtract),
            _ => None,
        }
    }
}

/// One change of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigChange<'a> {
    /// Name of the config.
    pub name: &'a str,
    /// What to do.
    pub operation: ConfigOperation,
    /// Value; `None` is null.
    pub value: Option<&'a str>,
}

/// One checked change: a value, or back to the layer below.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigEdit {
    /// Name of the config.
    pub name: String,
    /// New value; `None` removes.
    pub value: Option<String>,
}

/// Why configs are refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConfigFault {
    /// No such config.
    #[error("Unknown {scope} config name: {name}")]
    Unknown {
        /// topic or broker.
        scope: &'static str,
        /// Name given.
        name: String,
    },
    /// The value breaks the rule.
    #[error("Invalid value {value} for configuration {name}: {reason}")]
    Invalid {
        /// Name.
        name: String,
        /// Value given.
        value: String,
        /// Rule.
        reason: String,
    },
    /// A value is needed.
    #[error("Null value not supported for config {name}")]
    NullValue {
        /// Name.
        name: String,
    },
    /// A name stands twice in one resource.
    #[error("Duplicate config {name} in the request")]
    Duplicate {
        /// Name.
        name: String,
    },
    /// Append and subtract need a list.
    #[error("Can't append to or subtract from {name} because its type is not LIST")]
    NotAList {
        /// Name.
        name: String,
    },
    /// Set at start only.
    #[error("Cannot update {name} while the broker runs: set it in the configuration file")]
    ReadOnly {
        /// Name.
        name: String,
    },
    /// Two values contradict each other.
    #[error("Conflicting configs: {reason}")]
    Conflict {
        /// Which and why.
        reason: String,
    },
}

impl ConfigFault {
    /// Returns the Kafka error code of the answer.
    #[must_use]
    pub fn error_code(&self) -> ErrorCode {
        match self {
            Self::Duplicate { .. } | Self::ReadOnly { .. } => ErrorCode::InvalidRequest,
            Self::Unknown { .. }
            | Self::Invalid { .. }
            | Self::NullValue { .. }
            | Self::NotAList { .. }
            | Self::Conflict { .. } => ErrorCode::InvalidConfig,
        }
    }
}

/// Turns an IncrementalAlterConfigs of a topic into edits.
///
/// # Errors
/// [`ConfigFault`]: nothing of the resource is taken.
pub fn alter_topic_configs(
    current: &ConfigMap,
    changes: &[ConfigChange<'_>],
    layers: &ConfigLayers<'_>,
) -> Result<Vec<ConfigEdit>, ConfigFault> {
    let edits = edits_of(changes, |change| {
        let definition = known_topic_config(change.name)?;
        edit_of(definition, change, || {
            layers.topic_value(definition, current)
        })
    })?;
    check_topic_conflicts(&edited(current, &edits), layers)?;
    Ok(edits)
}

/// Turns an AlterConfigs of a topic, or the configs of a new one, into edits: what is not named
/// goes.
///
/// # Errors
/// [`ConfigFault`]: nothing of the resource is taken.
pub fn replace_topic_configs(
    current: &ConfigMap,
    configs: &[(&str, Option<&str>)],
    layers: &ConfigLayers<'_>,
) -> Result<Vec<ConfigEdit>, ConfigFault> {
    alter_topic_configs(current, &replacement(current, configs), layers)
}

/// Turns an IncrementalAlterConfigs of a broker (or of all brokers) into edits.
///
/// # Errors
/// [`ConfigFault`]: nothing of the resource is taken.
pub fn alter_broker_configs(
    current: &ConfigMap,
    changes: &[ConfigChange<'_>],
    layers: &ConfigLayers<'_>,
) -> Result<Vec<ConfigEdit>, ConfigFault> {
    edits_of(changes, |change| {
        let name = change.name;
        let definition = broker_config(name).ok_or_else(|| ConfigFault::Unknown {
            scope: "broker",
            name: name.to_owned(),
        })?;
        if definition.is_read_only {
            return Err(ConfigFault::ReadOnly {
                name: name.to_owned(),
            });
        }
        edit_of(definition, change, || {
            let own = current.get(name).cloned();
            own.or_else(|| layers.broker_value(definition))
                .unwrap_or_default()
        })
    })
}

/// Turns an AlterConfigs of a broker into edits: what is not named goes.
///
/// # Errors
/// [`ConfigFault`]: nothing of the resource is taken.
pub fn replace_broker_configs(
    current: &ConfigMap,
    configs: &[(&str, Option<&str>)],
    layers: &ConfigLayers<'_>,
) -> Result<Vec<ConfigEdit>, ConfigFault> {
    alter_broker_configs(current, &replacement(current, configs), layers)
}

/// Applies edits to a map.
pub fn apply_edits(configs: &mut ConfigMap, edits: &[ConfigEdit]) {
    for edit in edits {
        match &edit.value {
            Some(value) => drop(configs.insert(edit.name.clone(), value.clone())),
            None => drop(configs.remove(&edit.name)),
        }
    }
}

fn edits_of(
    changes: &[ConfigChange<'_>],
    mut edit: impl FnMut(&ConfigChange<'_>) -> Result<ConfigEdit, ConfigFault>,
) -> Result<Vec<ConfigEdit>, ConfigFault> {
    let mut edits: Vec<ConfigEdit> = Vec::new();
    for change in changes {
        if edits.iter().any(|edit| edit.name == change.name) {
            return Err(ConfigFault::Duplicate {
                name: change.name.to_owned(),
            });
        }
        edits.push(edit(change)?);
    }
    Ok(edits)
}

/// Sets everything named and deletes the rest.
fn replacement<'a>(
    current: &'a ConfigMap,
    configs: &[(&'a str, Option<&'a str>)],
) -> Vec<ConfigChange<'a>> {
    let is_named = |name: &str| configs.iter().any(|(named, _)| *named == name);
    let set = configs.iter().map(|(name, value)| ConfigChange {
        name,
        operation: ConfigOperation::Set,
        value: *value,
    });
    let gone = current
        .keys()
        .filter(|name| !is_named(name))
        .map(|name| ConfigChange {
            name,
            operation: ConfigOperation::Delete,
            value: None,
        });
    set.chain(gone).collect()
}

fn known_topic_config(name: &str) -> Result<&'static ConfigDefinition, ConfigFault> {
    topic_config(name).ok_or_else(|| ConfigFault::Unknown {
        scope: "topic",
        name: name.to_owned(),
    })
}

fn edit_of(
    definition: &ConfigDefinition,
    change: &ConfigChange<'_>,
    effective: impl FnOnce() -> String,
) -> Result<ConfigEdit, ConfigFault> {
    let name = change.name.to_owned();
    if change.operation == ConfigOperation::Delete {
        return Ok(ConfigEdit { name, value: None });
    }
    let given = change
        .value
        .ok_or_else(|| ConfigFault::NullValue { name: name.clone() })?;
    let value = match change.operation {
        ConfigOperation::Set | ConfigOperation::Delete => given.trim().to_owned(),
        ConfigOperation::Append | ConfigOperation::Subtract => {
            if definition.kind != ConfigKind::List {
                return Err(ConfigFault::NotAList { name });
            }
            changed_list(&effective(), given, change.operation)
        }
    };
    let is_long = value.len() > limits::CONFIG_VALUE_BYTES_MAX;
    let too_long = || format!("longer than {} bytes", limits::CONFIG_VALUE_BYTES_MAX);
    let checked = if is_long {
        Err(too_long())
    } else {
        definition.check(&value)
    };
    match checked {
        Ok(()) => Ok(ConfigEdit {
            name,
            value: Some(value),
        }),
        Err(reason) => {
            let value = if is_long {
                "(too long)".to_owned()
            } else {
                value
            };
            Err(ConfigFault::Invalid {
                name,
                value,
                reason,
            })
        }
    }
}

fn changed_list(effective: &str, given: &str, operation: ConfigOperation) -> String {
    let mut words: Vec<&str> = words_of(effective).collect();
    if operation == ConfigOperation::Subtract {
        let gone: Vec<&str> = words_of(given).collect();
        words.retain(|word| !gone.contains(word));
    } else {
        for word in words_of(given) {
            if !words.contains(&word) {
                words.push(word);
            }
        }
    }
    words.join(",")
}

fn edited(current: &ConfigMap, edits: &[ConfigEdit]) -> ConfigMap {
    let mut configs = current.clone();
    apply_edits(&mut configs, edits);
    configs
}

/// Checks what only shows between two configs.
fn check_topic_conflicts(
    configs: &ConfigMap,
    layers: &ConfigLayers<'_>,
) -> Result<(), ConfigFault> {
    let long = |name| -> Result<i64, ConfigFault> {
        let value = layers.topic_value(known_topic_config(name)?, configs);
        Ok(value.trim().parse().unwrap_or_default())
    };
    let (min, max) = (
        long("min.compaction.lag.ms")?,
        long("max.compaction.lag.ms")?,
    );
    if min > max {
        let reason =
            format!("min.compaction.lag.ms ({min}) is larger than max.compaction.lag.ms ({max})");
        return Err(ConfigFault::Conflict { reason });
    }
    Ok(())
}
