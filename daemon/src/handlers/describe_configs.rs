//! DescribeConfigs: configs of topics and brokers, with where each value comes from.
//!
//! Source            Kafka 4.3 `ConfigHelper.describeConfigs`; KIP-226 (sources and synonyms).

use std::rc::Rc;

use kafka_lite::api::decode_body;
use kafka_lite::api::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult,
    DescribeConfigsResponse, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_lite::catalog::{CatalogFault, CatalogSnapshot, check_topic_name};
use kafka_lite::error_code::ErrorCode;
use kafka_lite::topic_config::{ConfigLayers, ConfigMap, ConfigSynonym, DescribedConfig};

use super::config_resource::{ResourceType, broker_of};
use super::{Reply, RequestContext};
use crate::shard::Shard;

/// Answers DescribeConfigs.
pub(super) fn handle(shard: &Rc<Shard>, request: &RequestContext, reply: Reply) {
    let body: DescribeConfigsRequest<'_> = match decode_body(request.version, request.body()) {
        Ok(body) => body,
        Err(error) => return reply.close_undecodable(&error),
    };
    let catalog = shard.catalog();
    let view = View {
        catalog: &catalog,
        node_id: shard.node_id(),
        static_configs: shard.static_configs(),
    };
    let results = body.resources.iter().map(|resource| {
        let (fault, configs) = match view.describe(resource) {
            Ok(configs) => (None, configs),
            Err(fault) => (Some(fault), Vec::new()),
        };
        DescribeConfigsResult {
            error_code: fault
                .as_ref()
                .map_or(ErrorCode::None, |fault| fault.error_code),
            error_message: fault.map(|fault| fault.message.into()),
            resource_type: resource.resource_type,
            resource_name: resource.resource_name.clone(),
            configs: configs
                .into_iter()
                .map(|config| told(config, &body))
                .collect(),
        }
    });
    let results = results.collect();
    reply.send(&DescribeConfigsResponse {
        results,
        ..DescribeConfigsResponse::default()
    });
}

/// What descriptions are made of.
struct View<'a> {
    catalog: &'a CatalogSnapshot,
    node_id: i32,
    static_configs: &'a ConfigMap,
}

impl View<'_> {
    fn describe(
        &self,
        resource: &DescribeConfigsResource<'_>,
    ) -> Result<Vec<DescribedConfig>, CatalogFault> {
        let name = resource.resource_name.as_ref();
        let keys: Option<Vec<&str>> = resource
            .configuration_keys
            .as_ref()
            .filter(|keys| !keys.is_empty())
            .map(|keys| keys.iter().map(AsRef::as_ref).collect());
        let keys = keys.as_deref();
        match ResourceType::from_id(resource.resource_type) {
            Some(ResourceType::Topic) => self.describe_topic(name, keys),
            Some(ResourceType::Broker) => self.describe_broker(name, keys),
            Some(ResourceType::Group) if name.is_empty() => Err(refusal(
                ErrorCode::InvalidRequest,
                "Group name must not be empty.",
            )),
            // Groups have no configs of their own here.
            Some(ResourceType::Group) => Ok(Vec::new()),
            Some(other) => Err(refusal(
                ErrorCode::InvalidRequest,
                format!("Configs of {other:?} resources are not served."),
            )),
            None => Err(refusal(
                ErrorCode::InvalidRequest,
                format!("Unsupported resource type: {}", resource.resource_type),
            )),
        }
    }

    fn describe_topic(
        &self,
        name: &str,
        keys: Option<&[&str]>,
    ) -> Result<Vec<DescribedConfig>, CatalogFault> {
        check_topic_name(name)
            .map_err(|message| refusal(ErrorCode::InvalidTopicException, message))?;
        let topic = self.catalog.topic(name).ok_or_else(|| {
            let message = format!("The topic '{name}' does not exist.");
            refusal(ErrorCode::UnknownTopicOrPartition, message)
        })?;
        let layers = self.catalog.layers(self.node_id, self.static_configs);
        Ok(layers.describe_topic(&topic.configs, keys))
    }

    fn describe_broker(
        &self,
        name: &str,
        keys: Option<&[&str]>,
    ) -> Result<Vec<DescribedConfig>, CatalogFault> {
        match broker_of(name)? {
            None => Ok(self.describe_all_brokers(keys)),
            Some(node_id) if node_id == self.node_id => {
                let layers = self.catalog.layers(self.node_id, self.static_configs);
                Ok(layers.describe_broker(keys))
            }
            Some(_) => Err(refusal(
                ErrorCode::InvalidRequest,
                format!(
                    "Unexpected broker id, expected {} or empty string, but received {name}",
                    self.node_id
                ),
            )),
        }
    }

    /// What is set for all brokers while they run, and nothing else.
    fn describe_all_brokers(&self, keys: Option<&[&str]>) -> Vec<DescribedConfig> {
        const NONE: &ConfigMap = &ConfigMap::new();
        let dynamic_default = self.catalog.broker_configs(None);
        let layers = ConfigLayers {
            dynamic_broker: NONE,
            dynamic_default,
            static_broker: NONE,
        };
        let described = layers.describe_broker(keys);
        described
            .into_iter()
            .filter(|one| dynamic_default.contains_key(one.name))
            .collect()
    }
}

fn refusal(error_code: ErrorCode, message: impl Into<String>) -> CatalogFault {
    CatalogFault {
        error_code,
        message: message.into(),
    }
}

fn told(
    config: DescribedConfig,
    body: &DescribeConfigsRequest<'_>,
) -> DescribeConfigsResourceResult<'static> {
    let synonyms = if body.include_synonyms {
        config.synonyms
    } else {
        Vec::new()
    };
    DescribeConfigsResourceResult {
        name: config.name.into(),
        value: config.value.map(Into::into),
        read_only: config.is_read_only,
        config_source: config.source.id(),
        is_sensitive: false,
        synonyms: synonyms.into_iter().map(synonym).collect(),
        config_type: config.kind.id(),
        documentation: body
            .include_documentation
            .then(|| config.documentation.into()),
    }
}

fn synonym(synonym: ConfigSynonym) -> DescribeConfigsSynonym<'static> {
    DescribeConfigsSynonym {
        name: synonym.name.into(),
        value: synonym.value.map(Into::into),
        source: synonym.source.id(),
    }
}

#[cfg(test)]
mod tests {
    use kafka_lite::api::describe_configs::DescribeConfigsResource;
    use kafka_lite::catalog::{Catalog, Command, PartitionAssignment, Replica};
    use kafka_lite::error_code::ErrorCode;
    use kafka_lite::topic_config::{BROKER_CONFIGS, ConfigEdit, ConfigMap, TOPIC_CONFIGS};

    use super::View;

    fn describe(kind: i8, name: &str, keys: Option<&[&str]>) -> Result<Vec<String>, ErrorCode> {
        let mut catalog = Catalog::new();
        let replicas = vec![Replica {
            node_id: 1,
            shard: 0,
        }]
        .into_boxed_slice();
        catalog.apply(&Command::CreateTopic {
            name: "a".to_owned(),
            topic_id: [1; 16],
            partitions: vec![PartitionAssignment { replicas }],
            configs: ConfigMap::new(),
        });
        let edit = ConfigEdit {
            name: "log.retention.ms".to_owned(),
            value: Some("5000".to_owned()),
        };
        catalog.apply(&Command::AlterBrokerConfigs {
            node_id: None,
            edits: vec![edit],
        });
        let keys = keys.map(|keys| keys.iter().map(|key| (*key).into()).collect());
        let resource = DescribeConfigsResource {
            resource_type: kind,
            resource_name: name.into(),
            configuration_keys: keys,
        };
        let static_configs = ConfigMap::new();
        let view = View {
            catalog: catalog.view(),
            node_id: 1,
            static_configs: &static_configs,
        };
        let described = view.describe(&resource).map_err(|fault| fault.error_code)?;
        Ok(described
            .into_iter()
            .map(|config| config.name.to_owned())
            .collect())
    }

    #[test]
    fn no_keys_and_empty_keys_are_all_configs() {
        assert_eq!(describe(2, "a", None).unwrap().len(), TOPIC_CONFIGS.len());
        assert_eq!(
            describe(2, "a", Some(&[])).unwrap().len(),
            TOPIC_CONFIGS.len()
        );
        assert_eq!(describe(4, "1", None).unwrap().len(), BROKER_CONFIGS.len());
        let some = describe(2, "a", Some(&["retention.ms", "no.such.config"]));
        assert_eq!(some, Ok(vec!["retention.ms".to_owned()]));
    }

    #[test]
    fn the_empty_broker_name_is_what_is_set_for_all() {
        assert_eq!(
            describe(4, "", None),
            Ok(vec!["log.retention.ms".to_owned()])
        );
        assert_eq!(describe(4, "", Some(&["num.partitions"])), Ok(Vec::new()));
    }

    #[test]
    fn what_is_not_there_is_refused() {
        assert_eq!(
            describe(2, "none", None),
            Err(ErrorCode::UnknownTopicOrPartition)
        );
        assert_eq!(
            describe(2, "bad name", None),
            Err(ErrorCode::InvalidTopicException)
        );
        for (kind, name) in [
            (4, "2"),
            (4, "one"),
            (8, "1"),
            (16, "m"),
            (32, ""),
            (3, "x"),
        ] {
            assert_eq!(
                describe(kind, name, None),
                Err(ErrorCode::InvalidRequest),
                "{kind} {name}"
            );
        }
        assert_eq!(describe(32, "group", None), Ok(Vec::new()));
    }
}
