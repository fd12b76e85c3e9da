//! Which value counts: topic, dynamic broker, dynamic default, static broker, default.
//!
//! What it is        resolution of one config through the layers, and its description for clients.
//! What it is not    a store: the layers are borrowed.
//! Source            KIP-226 "order of precedence"; Kafka 4.3
//!                   `ConfigHelper.createTopicConfigEntry`.

use super::ConfigMap;
use super::broker_table::{BROKER_CONFIGS, broker_config};
use super::definition::{ConfigDefinition, ConfigKind, Synonym, SynonymUnit, is_true};
use super::topic_table::TOPIC_CONFIGS;

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigSource {
    /// Set on the topic.
    Topic,
    /// Set on this broker while running.
    DynamicBroker,
    /// Set on all brokers while running.
    DynamicDefaultBroker,
    /// Set by the process configuration.
    StaticBroker,
    /// Built in.
    Default,
}

impl ConfigSource {
    /// Returns the number on the wire.
    #[must_use]
    pub fn id(self) -> i8 {
        match self {
            Self::Topic => 1,
            Self::DynamicBroker => 2,
            Self::DynamicDefaultBroker => 3,
            Self::StaticBroker => 4,
            Self::Default => 5,
        }
    }
}

/// One place that has a value for a config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigSynonym {
    /// Name there.
    pub name: &'static str,
    /// Value there, in its own unit; `None` is null.
    pub value: Option<String>,
    /// Which layer.
    pub source: ConfigSource,
}

/// One config as DescribeConfigs says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedConfig {
    /// Name.
    pub name: &'static str,
    /// Value that counts; `None` is null.
    pub value: Option<String>,
    /// Where it comes from.
    pub source: ConfigSource,
    /// Whether it can be altered.
    pub is_read_only: bool,
    /// Every place that has a value, the strongest first.
    pub synonyms: Vec<ConfigSynonym>,
    /// Type.
    pub kind: ConfigKind,
    /// Text.
    pub documentation: &'static str,
}

/// The layers below the topic.
#[derive(Clone, Copy, Debug)]
pub struct ConfigLayers<'a> {
    /// Set on this broker while running.
    pub dynamic_broker: &'a ConfigMap,
    /// Set on all brokers while running.
    pub dynamic_default: &'a ConfigMap,
    /// Set by the process configuration, by broker config names.
    pub static_broker: &'a ConfigMap,
}

impl ConfigLayers<'_> {
    /// Returns the value that counts for a topic config, in the topic config's unit.
    #[must_use]
    pub fn topic_value(&self, definition: &ConfigDefinition, topic: &ConfigMap) -> String {
        let valid = |value: &&str| definition.check(value).is_ok();
        if let Some(value) = topic.get(definition.name).map(String::as_str).filter(valid) {
            return value.to_owned();
        }
        for (layer, _) in self.in_order() {
            for synonym in definition.synonyms {
                let value = layer
                    .get(synonym.name)
                    .and_then(|value| converted(value, *synonym));
                if let Some(value) = value.filter(|value| valid(&value.as_str())) {
                    return value;
                }
            }
        }
        definition.default.unwrap_or_default().to_owned()
    }

    /// Returns the value that counts for a broker config; `None` is null.
    #[must_use]
    pub fn broker_value(&self, definition: &ConfigDefinition) -> Option<String> {
        let found = self
            .in_order()
            .into_iter()
            .find_map(|(layer, _)| layer.get(definition.name));
        found
            .cloned()
            .or_else(|| definition.default.map(str::to_owned))
    }

    /// Returns a broker config as a number; its default, or 0, where the value is none.
    #[must_use]
    pub fn broker_number(&self, name: &str) -> i64 {
        let definition = broker_config(name);
        let number = |value: Option<String>| value.and_then(|value| value.trim().parse().ok());
        definition
            .and_then(|definition| {
                number(self.broker_value(definition))
                    .or_else(|| number(definition.default.map(str::to_owned)))
            })
            .unwrap_or_default()
    }

    /// Returns whether a broker config is true.
    #[must_use]
    pub fn broker_flag(&self, name: &str) -> bool {
        let value = broker_config(name).and_then(|definition| self.broker_value(definition));
        value.is_some_and(|value| is_true(&value))
    }

    /// Describes the topic configs with these names, or all; unknown names are left out.
    #[must_use]
    pub fn describe_topic(
        &self,
        topic: &ConfigMap,
        names: Option<&[&str]>,
    ) -> Vec<DescribedConfig> {
        let wanted = TOPIC_CONFIGS
            .iter()
            .filter(|definition| is_wanted(definition, names));
        wanted
            .map(|definition| self.describe_topic_config(definition, topic))
            .collect()
    }

    /// Describes the broker configs with these names, or all; unknown names are left out.
    #[must_use]
    pub fn describe_broker(&self, names: Option<&[&str]>) -> Vec<DescribedConfig> {
        let wanted = BROKER_CONFIGS
            .iter()
            .filter(|definition| is_wanted(definition, names));
        wanted
            .map(|definition| self.describe_broker_config(definition))
            .collect()
    }

    fn describe_topic_config(
        &self,
        definition: &'static ConfigDefinition,
        topic: &ConfigMap,
    ) -> DescribedConfig {
        let mut synonyms = Vec::new();
        if let Some(value) = topic.get(definition.name) {
            let (name, value) = (definition.name, Some(value.clone()));
            synonyms.push(ConfigSynonym {
                name,
                value,
                source: ConfigSource::Topic,
            });
        }
        for synonym in definition.synonyms {
            for (layer, source) in self.in_order() {
                if let Some(value) = layer.get(synonym.name) {
                    let value = Some(value.clone());
                    synonyms.push(ConfigSynonym {
                        name: synonym.name,
                        value,
                        source,
                    });
                }
            }
        }
        let source = synonyms
            .first()
            .map_or(ConfigSource::Default, |synonym| synonym.source);
        synonyms.extend(default_synonym(definition));
        DescribedConfig {
            name: definition.name,
            value: Some(self.topic_value(definition, topic)),
            source,
            is_read_only: false,
            synonyms,
            kind: definition.kind,
            documentation: definition.documentation,
        }
    }

    fn describe_broker_config(&self, definition: &'static ConfigDefinition) -> DescribedConfig {
        let name = definition.name;
        let mut synonyms: Vec<ConfigSynonym> = self
            .in_order()
            .into_iter()
            .filter_map(|(layer, source)| {
                layer.get(name).map(|value| ConfigSynonym {
                    name,
                    value: Some(value.clone()),
                    source,
                })
            })
            .collect();
        let source = synonyms
            .first()
            .map_or(ConfigSource::Default, |synonym| synonym.source);
        if let Some(default) = definition.default {
            let (value, source) = (Some(default.to_owned()), ConfigSource::Default);
            synonyms.push(ConfigSynonym {
                name,
                value,
                source,
            });
        }
        DescribedConfig {
            name,
            value: self.broker_value(definition),
            source,
            is_read_only: definition.is_read_only,
            synonyms,
            kind: definition.kind,
            documentation: definition.documentation,
        }
    }

    fn in_order(&self) -> [(&ConfigMap, ConfigSource); 3] {
        [
            (self.dynamic_broker, ConfigSource::DynamicBroker),
            (self.dynamic_default, ConfigSource::DynamicDefaultBroker),
            (self.static_broker, ConfigSource::StaticBroker),
        ]
    }
}

/// The default of the weakest broker config behind a topic config, as Kafka lists it.
fn default_synonym(definition: &'static ConfigDefinition) -> Option<ConfigSynonym> {
    let weakest = definition.synonyms.last()?;
    let value = broker_config(weakest.name)
        .and_then(|broker| broker.default)?
        .to_owned();
    Some(ConfigSynonym {
        name: weakest.name,
        value: Some(value),
        source: ConfigSource::Default,
    })
}

/// The value of a broker config in the unit of the topic config.
fn converted(value: &str, synonym: Synonym) -> Option<String> {
    let per_unit = match synonym.unit {
        SynonymUnit::Same => return Some(value.to_owned()),
        SynonymUnit::Minutes => 60_000,
        SynonymUnit::Hours => 3_600_000,
    };
    let number: i64 = value.trim().parse().ok()?;
    let scaled = if number < 0 {
        number
    } else {
        number.checked_mul(per_unit)?
    };
    Some(scaled.to_string())
}

fn is_wanted(definition: &ConfigDefinition, names: Option<&[&str]>) -> bool {
    names.is_none_or(|names| names.is_empty() || names.contains(&definition.name))
}
