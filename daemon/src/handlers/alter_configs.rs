//! AlterConfigs and IncrementalAlterConfigs.
//!
//! Source            Kafka 4.3 `ConfigAdminManager.preprocess`, `ConfigurationControlManager`;
//!                   KIP-339. One response for each resource of the request, in its order.

use std::collections::BTreeSet;
use std::rc::Rc;

use kafka_lite::api::alter_configs::{
    AlterConfigsRequest, AlterConfigsResourceResponse, AlterConfigsResponse,
};
use kafka_lite::api::decode_body;
use kafka_lite::api::incremental_alter_configs::{
    self, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};
use kafka_lite::catalog::{Catalog, CatalogFault, Command, Planner};
use kafka_lite::error_code::ErrorCode;
use kafka_lite::topic_config::{ConfigChange, ConfigOperation};

use super::config_resource::{ResourceType, broker_of};
use super::{Reply, RequestContext};
use crate::controller::{self, PlanContext};
use crate::shard::Shard;

/// One resource of a request, free of its frame.
#[derive(Clone, Debug)]
struct Wanted {
    resource_type: i8,
    resource_name: String,
    configs: Vec<Config>,
}

/// One config of a resource.
#[derive(Clone, Debug)]
struct Config {
    name: String,
    /// As on the wire; 0 (set) in AlterConfigs.
    operation: i8,
    value: Option<String>,
}

/// What is done with configs that the request does not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Others {
    /// They go back to the layer below (AlterConfigs).
    Reset,
    /// They stay (IncrementalAlterConfigs).
    Keep,
}

/// Answers AlterConfigs.
pub(super) fn handle(shard: &Rc<Shard>, request: &RequestContext, reply: Reply) {
    let body: AlterConfigsRequest<'_> = match decode_body(request.version, request.body()) {
        Ok(body) => body,
        Err(error) => return reply.close_undecodable(&error),
    };
    let wanted = body.resources.iter().map(|resource| Wanted {
        resource_type: resource.resource_type,
        resource_name: resource.resource_name.clone().into_owned(),
        configs: resource
            .configs
            .iter()
            .map(|config| Config::new(&config.name, 0, config.value.as_deref()))
            .collect(),
    });
    let wanted = wanted.collect();
    alter(
        shard,
        wanted,
        Others::Reset,
        body.validate_only,
        |wanted, faults| {
            let response = |(resource, (error_code, error_message))| {
                let resource: &Wanted = resource;
                AlterConfigsResourceResponse {
                    error_code,
                    error_message,
                    resource_type: resource.resource_type,
                    resource_name: resource.resource_name.as_str().into(),
                }
            };
            reply.send(&AlterConfigsResponse {
                responses: wanted.iter().zip(faults).map(response).collect(),
                ..AlterConfigsResponse::default()
            });
        },
    );
}

/// Answers IncrementalAlterConfigs.
pub(super) fn handle_incremental(shard: &Rc<Shard>, request: &RequestContext, reply: Reply) {
    let body: IncrementalAlterConfigsRequest<'_> =
        match decode_body(request.version, request.body()) {
            Ok(body) => body,
            Err(error) => return reply.close_undecodable(&error),
        };
    let wanted = body.resources.iter().map(|resource| Wanted {
        resource_type: resource.resource_type,
        resource_name: resource.resource_name.clone().into_owned(),
        configs: resource
            .configs
            .iter()
            .map(|one| Config::new(&one.name, one.config_operation, one.value.as_deref()))
            .collect(),
    });
    let wanted = wanted.collect();
    alter(
        shard,
        wanted,
        Others::Keep,
        body.validate_only,
        |wanted, faults| {
            let response = |(resource, (error_code, error_message))| {
                let resource: &Wanted = resource;
                incremental_alter_configs::AlterConfigsResourceResponse {
                    error_code,
                    error_message,
                    resource_type: resource.resource_type,
                    resource_name: resource.resource_name.as_str().into(),
                }
            };
            reply.send(&IncrementalAlterConfigsResponse {
                responses: wanted.iter().zip(faults).map(response).collect(),
                ..IncrementalAlterConfigsResponse::default()
            });
        },
    );
}

impl Config {
    fn new(name: &str, operation: i8, value: Option<&str>) -> Self {
        Self {
            name: name.to_owned(),
            operation,
            value: value.map(str::to_owned),
        }
    }
}

/// Code and sentence for one resource.
type Told = (ErrorCode, Option<std::borrow::Cow<'static, str>>);

/// Changes what is wanted, then `answer`s with one outcome for each resource.
fn alter(
    shard: &Rc<Shard>,
    wanted: Vec<Wanted>,
    others: Others,
    validate_only: bool,
    answer: impl FnOnce(&[Wanted], Vec<Told>) + 'static,
) {
    let asked = wanted.clone();
    let altered = controller::change(shard, move |catalog, context| {
        let (commands, faults) = plan(catalog, context, &asked, others);
        (if validate_only { Vec::new() } else { commands }, faults)
    });
    drop(monoio::spawn(async move {
        let told = match altered.await {
            Ok(faults) => faults.into_iter().map(told).collect(),
            Err(code) => wanted.iter().map(|_| (code, None)).collect(),
        };
        answer(&wanted, told);
    }));
}

fn told(fault: Option<CatalogFault>) -> Told {
    fault.map_or((ErrorCode::None, None), |fault| {
        (fault.error_code, Some(fault.message.into()))
    })
}

/// Commands, and for each resource why it is refused.
fn plan(
    catalog: &Catalog,
    context: &PlanContext,
    wanted: &[Wanted],
    others: Others,
) -> (Vec<Command>, Vec<Option<CatalogFault>>) {
    let layers = catalog
        .view()
        .layers(context.node_id, &context.static_configs);
    let planner = Planner::new(catalog, layers);
    let (mut seen, mut repeated) = (BTreeSet::new(), BTreeSet::new());
    let key = |resource: &Wanted| (resource.resource_type, resource.resource_name.clone());
    for resource in wanted {
        if !seen.insert(key(resource)) {
            repeated.insert(key(resource));
        }
    }
    let mut commands = Vec::new();
    let mut plan = |resource: &Wanted| {
        if repeated.contains(&key(resource)) {
            return Some(refusal("Each resource must appear at most once."));
        }
        match plan_one(&planner, resource, others) {
            Ok(command) => {
                commands.push(command);
                None
            }
            Err(fault) => Some(fault),
        }
    };
    let faults = wanted.iter().map(&mut plan).collect();
    (commands, faults)
}

fn plan_one(
    planner: &Planner<'_>,
    resource: &Wanted,
    others: Others,
) -> Result<Command, CatalogFault> {
    let name = resource.resource_name.as_str();
    let target = match ResourceType::from_id(resource.resource_type) {
        Some(ResourceType::Topic) => Target::Topic(name),
        Some(ResourceType::Broker) => Target::Broker(broker_of(name)?),
        Some(other) => {
            return Err(refusal(format!(
                "Configs of {other:?} resources cannot be altered."
            )));
        }
        None => {
            let message = format!("Unexpected resource type {}.", resource.resource_type);
            return Err(refusal(message));
        }
    };
    let changes = resource
        .configs
        .iter()
        .map(change)
        .collect::<Result<Vec<_>, _>>()?;
    check_values(&changes)?;
    if others == Others::Keep {
        return match target {
            Target::Topic(name) => planner.alter_topic_configs(name, &changes),
            Target::Broker(node_id) => planner.alter_broker_configs(node_id, &changes),
        };
    }
    let configs: Vec<_> = changes
        .iter()
        .map(|change| (change.name, change.value))
        .collect();
    match target {
        Target::Topic(name) => planner.replace_topic_configs(name, &configs),
        Target::Broker(node_id) => planner.replace_broker_configs(node_id, &configs),
    }
}

/// What is altered.
enum Target<'a> {
    Topic(&'a str),
    /// `None` is all brokers.
    Broker(Option<i32>),
}

fn change(config: &Config) -> Result<ConfigChange<'_>, CatalogFault> {
    let operation = ConfigOperation::from_id(config.operation).ok_or_else(|| {
        refusal(format!(
            "Unknown operation type {} for {}.",
            config.operation, config.name
        ))
    })?;
    Ok(ConfigChange {
        name: &config.name,
        operation,
        value: config.value.as_deref(),
    })
}

/// Only a deletion needs no value.
fn check_values(changes: &[ConfigChange<'_>]) -> Result<(), CatalogFault> {
    let nulls: Vec<&str> = changes
        .iter()
        .filter(|change| change.value.is_none() && change.operation != ConfigOperation::Delete)
        .map(|change| change.name)
        .collect();
    if nulls.is_empty() {
        return Ok(());
    }
    Err(refusal(format!(
        "Null value not supported for : {}",
        nulls.join(", ")
    )))
}

fn refusal(message: impl Into<String>) -> CatalogFault {
    CatalogFault {
        error_code: ErrorCode::InvalidRequest,
        message: message.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kafka_lite::catalog::{Catalog, Command, PartitionAssignment, Replica};
    use kafka_lite::error_code::ErrorCode;
    use kafka_lite::topic_config::ConfigMap;

    use super::{Config, Others, Wanted, plan};
    use crate::controller::PlanContext;

    fn catalog() -> Catalog {
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
            configs: ConfigMap::from([("retention.ms".to_owned(), "5000".to_owned())]),
        });
        catalog
    }

    fn wanted(kind: i8, name: &str, configs: &[(&str, i8, Option<&str>)]) -> Wanted {
        let config = |(name, operation, value): &(&str, i8, Option<&str>)| {
            Config::new(name, *operation, *value)
        };
        Wanted {
            resource_type: kind,
            resource_name: name.to_owned(),
            configs: configs.iter().map(config).collect(),
        }
    }

    fn outcome(others: Others, wanted: &[Wanted]) -> (ConfigMap, Vec<ErrorCode>) {
        let mut catalog = catalog();
        let static_configs = Arc::new(ConfigMap::new());
        let context = PlanContext {
            node_id: 1,
            static_configs,
            partitions_max: usize::MAX,
        };
        let (commands, faults) = plan(&catalog, &context, wanted, others);
        for command in &commands {
            catalog.apply(command);
        }
        let configs = ConfigMap::clone(&catalog.view().topic("a").unwrap().configs);
        let code =
            |fault: Option<super::CatalogFault>| fault.map_or(ErrorCode::None, |f| f.error_code);
        (configs, faults.into_iter().map(code).collect())
    }

    fn configs(pairs: &[(&str, &str)]) -> ConfigMap {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn alter_resets_what_it_does_not_name_and_incremental_keeps_it() {
        let change = [wanted(2, "a", &[("segment.ms", 0, Some("7000"))])];
        let (reset, codes) = outcome(Others::Reset, &change);
        assert_eq!(
            (reset, codes),
            (configs(&[("segment.ms", "7000")]), vec![ErrorCode::None])
        );
        let (kept, _) = outcome(Others::Keep, &change);
        assert_eq!(
            kept,
            configs(&[("segment.ms", "7000"), ("retention.ms", "5000")])
        );
    }

    #[test]
    fn all_four_operations_work() {
        let change = [
            ("cleanup.policy", 2, Some("compact")),
            ("retention.ms", 1, None),
            ("segment.ms", 0, Some("7000")),
        ];
        let (altered, codes) = outcome(Others::Keep, &[wanted(2, "a", &change)]);
        assert_eq!(codes, [ErrorCode::None]);
        assert_eq!(altered["segment.ms"], "7000");
        assert_eq!(altered["cleanup.policy"], "delete,compact");
        assert!(!altered.contains_key("retention.ms"));
        let change = [wanted(2, "a", &[("cleanup.policy", 3, Some("compact"))])];
        assert_eq!(outcome(Others::Keep, &change).1, [ErrorCode::None]);
    }

    #[test]
    fn each_resource_has_its_own_outcome() {
        let null = [("segment.ms", 0, None)];
        let bad = [
            wanted(2, "none", &[]),
            wanted(2, "a", &null),
            wanted(4, "nobody", &[]),
            wanted(4, "9", &[]),
            wanted(8, "1", &[]),
            wanted(99, "1", &[]),
        ];
        let (unchanged, codes) = outcome(Others::Keep, &bad);
        assert_eq!(unchanged, configs(&[("retention.ms", "5000")]));
        assert_eq!(codes[0], ErrorCode::UnknownTopicOrPartition);
        assert_eq!(codes[1..], [ErrorCode::InvalidRequest; 5]);
        let twice = [wanted(2, "a", &[]), wanted(2, "a", &[])];
        assert_eq!(
            outcome(Others::Keep, &twice).1,
            [ErrorCode::InvalidRequest; 2]
        );
        let unknown = [wanted(2, "a", &[("segment.ms", 4, Some("1"))])];
        assert_eq!(
            outcome(Others::Keep, &unknown).1,
            [ErrorCode::InvalidRequest]
        );
        let no_list = [wanted(2, "a", &[("segment.ms", 2, Some("1"))])];
        assert_eq!(
            outcome(Others::Keep, &no_list).1,
            [ErrorCode::InvalidConfig]
        );
    }
}
