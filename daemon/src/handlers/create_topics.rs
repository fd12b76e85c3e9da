//! CreateTopics: new topics, or a check whether they could be made.
//!
//! Source            Kafka 4.3 `ReplicationControlManager.createTopics`; CreateTopics 2–7: 5 tells
//! all
//!                   configs, 7 the topic id.

use std::iter;
use std::rc::Rc;

use kafka_lite::api::create_topics::{
    CreatableTopic, CreatableTopicConfigs, CreatableTopicResult, CreateTopicsRequest,
    CreateTopicsResponse,
};
use kafka_lite::api::decode_body;
use kafka_lite::catalog::{Catalog, CatalogFault, Command, NewTopic, Planner, TopicId};
use kafka_lite::error_code::ErrorCode;
use kafka_lite::primitive::Uuid;
use kafka_lite::topic_config::{ConfigLayers, ConfigMap, DescribedConfig};

use super::deadline::within;
use super::{Reply, RequestContext, each_name_once};
use crate::controller::{self, PlanContext};
use crate::shard::Shard;

/// A topic that a client wants, free of its frame.
#[derive(Clone, Debug)]
struct Wanted {
    name: String,
    partitions_count: i32,
    replication_factor: i16,
    assignments: Vec<(i32, Vec<i32>)>,
    configs: Vec<(String, Option<String>)>,
}

/// A topic that is made, or could be.
#[derive(Clone, Debug)]
struct Created {
    topic_id: TopicId,
    partitions_count: usize,
    replication_factor: usize,
    configs: ConfigMap,
}

type Outcome = Result<Created, CatalogFault>;

/// Answers CreateTopics.
pub(super) fn handle(shard: &Rc<Shard>, request: &RequestContext, reply: Reply) {
    let body: CreateTopicsRequest<'_> = match decode_body(request.version, request.body()) {
        Ok(body) => body,
        Err(error) => return reply.close_undecodable(&error),
    };
    let wanted: Vec<Wanted> = body.topics.iter().map(Wanted::new).collect();
    let names: Vec<String> = wanted.iter().map(|topic| topic.name.clone()).collect();
    let (validate_only, timeout_ms) = (body.validate_only, body.timeout_ms);
    let created = controller::change(shard, move |catalog, context| {
        plan(catalog, context, &wanted, validate_only)
    });
    let shard = Rc::clone(shard);
    drop(monoio::spawn(async move {
        let outcomes = within(timeout_ms, created).await;
        let catalog = shard.catalog();
        let layers = catalog.layers(shard.node_id(), shard.static_configs());
        let outcome = |place: usize| match &outcomes {
            Ok(outcomes) => outcomes
                .get(place)
                .map_or(Err((ErrorCode::InvalidRequest, None)), told),
            Err(code) => Err((*code, None)),
        };
        let topics = each_name_once(&names).map(|(place, name)| match outcome(place) {
            Ok(created) => success(name, created, &layers),
            Err((error_code, message)) => CreatableTopicResult {
                // Null would say that the client may not see them.
                configs: Some(Vec::new()),
                name: name.as_str().into(),
                error_code,
                error_message: message.map(Into::into),
                ..CreatableTopicResult::default()
            },
        });
        reply.send(&CreateTopicsResponse {
            topics: topics.collect(),
            ..CreateTopicsResponse::default()
        });
    }));
}

impl Wanted {
    fn new(topic: &CreatableTopic<'_>) -> Self {
        let assignments = topic.assignments.iter();
        let configs = topic.configs.iter();
        Self {
            name: topic.name.clone().into_owned(),
            partitions_count: topic.num_partitions.unwrap_or(-1),
            replication_factor: topic.replication_factor.unwrap_or(-1),
            assignments: assignments
                .map(|one| (one.partition_index, one.broker_ids.clone()))
                .collect(),
            configs: configs
                .map(|config| {
                    let value = config
                        .value
                        .as_ref()
                        .map(|value| value.clone().into_owned());
                    (config.name.clone().into_owned(), value)
                })
                .collect(),
        }
    }
}

fn plan(
    catalog: &Catalog,
    context: &PlanContext,
    wanted: &[Wanted],
    validate_only: bool,
) -> (Vec<Command>, Vec<Outcome>) {
    let assignments: Vec<Vec<(i32, &[i32])>> = wanted
        .iter()
        .map(|topic| {
            let assignments = topic.assignments.iter();
            assignments
                .map(|(index, nodes)| (*index, nodes.as_slice()))
                .collect()
        })
        .collect();
    let configs: Vec<Vec<(&str, Option<&str>)>> = wanted
        .iter()
        .map(|topic| {
            let configs = topic.configs.iter();
            configs
                .map(|(name, value)| (name.as_str(), value.as_deref()))
                .collect()
        })
        .collect();
    let topics: Vec<NewTopic<'_>> = wanted
        .iter()
        .zip(assignments.iter().zip(&configs))
        .map(|(topic, (assignments, configs))| NewTopic {
            name: &topic.name,
            partitions_count: topic.partitions_count,
            replication_factor: topic.replication_factor,
            assignments,
            configs,
        })
        .collect();
    let layers = catalog
        .view()
        .layers(context.node_id, &context.static_configs);
    let topic_ids = iter::repeat_with(|| uuid::Uuid::new_v4().into_bytes());
    let planned = Planner::new(catalog, layers)
        .with_partitions_max(context.partitions_max)
        .create_topics(&topics, topic_ids);
    let outcomes = planned.iter().map(|result| match result {
        Ok(command) => Ok(Created::new(command, validate_only)),
        Err(fault) => Err(fault.clone()),
    });
    let outcomes = outcomes.collect();
    let commands = if validate_only { Vec::new() } else { planned };
    (commands.into_iter().flatten().collect(), outcomes)
}

impl Created {
    fn new(command: &Command, validate_only: bool) -> Self {
        let mut created = Self {
            topic_id: Uuid::ZERO.0,
            partitions_count: 0,
            replication_factor: 0,
            configs: ConfigMap::new(),
        };
        if let Command::CreateTopic {
            topic_id,
            partitions,
            configs,
            ..
        } = command
        {
            if !validate_only {
                created.topic_id = *topic_id;
            }
            created.partitions_count = partitions.len();
            created.replication_factor = partitions
                .first()
                .map_or(0, |partition| partition.replicas.len());
            created.configs.clone_from(configs);
        }
        created
    }
}

fn told(outcome: &Outcome) -> Result<&Created, (ErrorCode, Option<&str>)> {
    outcome
        .as_ref()
        .map_err(|fault| (fault.error_code, Some(fault.message.as_str())))
}

fn success<'a>(
    name: &'a str,
    created: &Created,
    layers: &ConfigLayers<'_>,
) -> CreatableTopicResult<'a> {
    let configs = layers.describe_topic(&created.configs, None);
    CreatableTopicResult {
        name: name.into(),
        topic_id: Uuid(created.topic_id),
        num_partitions: i32::try_from(created.partitions_count).ok(),
        replication_factor: i16::try_from(created.replication_factor).ok(),
        configs: Some(configs.into_iter().map(config).collect()),
        ..CreatableTopicResult::default()
    }
}

fn config(described: DescribedConfig) -> CreatableTopicConfigs<'static> {
    CreatableTopicConfigs {
        name: described.name.into(),
        value: described.value.map(Into::into),
        read_only: described.is_read_only,
        config_source: described.source.id(),
        is_sensitive: false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kafka_lite::catalog::{Catalog, Command, NodeRegistration};
    use kafka_lite::error_code::ErrorCode;
    use kafka_lite::topic_config::ConfigMap;

    use super::{Wanted, plan};
    use crate::controller::PlanContext;

    fn one_node() -> (Catalog, PlanContext) {
        let mut catalog = Catalog::new();
        catalog.apply(&Command::RegisterNode(NodeRegistration {
            node_id: 1,
            incarnation: [7; 16],
            shards: 2,
            kafka_host: "gateway".to_owned(),
            kafka_port: 9092,
            rpc_host: "gateway".to_owned(),
            rpc_port: 0,
            rack: None,
        }));
        let static_configs = Arc::new(ConfigMap::new());
        (
            catalog,
            PlanContext {
                node_id: 1,
                static_configs,
                partitions_max: usize::MAX,
            },
        )
    }

    fn wanted(name: &str) -> Wanted {
        Wanted {
            name: name.to_owned(),
            partitions_count: 3,
            replication_factor: -1,
            assignments: Vec::new(),
            configs: vec![("retention.ms".to_owned(), Some("5000".to_owned()))],
        }
    }

    #[test]
    fn each_topic_has_its_own_outcome_and_only_good_ones_become_commands() {
        let (catalog, context) = one_node();
        let topics = [
            wanted("a"),
            wanted("bad name"),
            wanted("twice"),
            wanted("twice"),
        ];
        let (commands, outcomes) = plan(&catalog, &context, &topics, false);
        assert_eq!(commands.len(), 1);
        let codes: Vec<_> = outcomes
            .iter()
            .map(|outcome| {
                outcome
                    .as_ref()
                    .map_or_else(|f| f.error_code, |_| ErrorCode::None)
            })
            .collect();
        let refused = ErrorCode::InvalidRequest;
        assert_eq!(
            codes[..2],
            [ErrorCode::None, ErrorCode::InvalidTopicException]
        );
        assert_eq!(codes[2..], [refused; 2], "a name that stands twice");
        let created = outcomes[0].as_ref().unwrap();
        assert_eq!(
            (created.partitions_count, created.replication_factor),
            (3, 1)
        );
        assert_eq!(created.configs["retention.ms"], "5000");
        assert_ne!(created.topic_id, [0; 16]);
    }

    #[test]
    fn a_check_makes_no_command_and_no_id() {
        let (catalog, context) = one_node();
        let (commands, outcomes) = plan(&catalog, &context, &[wanted("a")], true);
        assert!(commands.is_empty());
        let created = outcomes[0].as_ref().unwrap();
        assert_eq!((created.topic_id, created.partitions_count), ([0; 16], 3));
    }
}
