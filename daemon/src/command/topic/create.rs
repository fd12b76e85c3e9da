//! `sluice topic create`

use clap::Args;
use kafka_lite::api::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, CreateTopicsResponse,
};
use kafka_lite::api::{ApiKey, ApiTable};
use kafka_lite::error_code::ErrorCode;
use serde_json::{Value, json};

use crate::client::error::check;
use crate::client::limits::REQUEST_TIMEOUT;
use crate::client::{ClientError, Connection};
use crate::command::client::{CommandError, TableOptions, finish, key_value};
use crate::command::output::Table;

/// First version in which the broker's default counts may be asked for (KIP-464).
const DEFAULTS_VERSION: i16 = 4;

const EXAMPLES: &str = "\
Examples:
  sluice topic create orders
  sluice topic create orders audit -p 6 -c retention.ms=86400000
  sluice topic create state -c cleanup.policy=compact --if-not-exists";

/// Arguments of `sluice topic create`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CreateArguments {
    /// Names of the topics
    #[arg(required = true, value_name = "TOPIC")]
    names: Vec<String>,
    /// Partitions of each topic [default: what the broker is configured for]
    #[arg(short, long, value_name = "COUNT")]
    partitions: Option<i32>,
    /// Replicas of each partition [default: what the broker is configured for]
    #[arg(short, long, value_name = "COUNT")]
    replicas: Option<i16>,
    /// A setting of the topic; may be given again
    #[arg(short = 'c', long = "config", value_name = "NAME=VALUE", value_parser = key_value)]
    configs: Vec<(String, String)>,
    /// A topic that exists is fine, whatever its settings
    #[arg(long)]
    if_not_exists: bool,
    #[command(flatten)]
    options: TableOptions,
}

impl CreateArguments {
    pub(super) fn run(&self) -> Result<(), CommandError> {
        let mut cluster = self.options.connect()?;
        let results = cluster.at_controller(|controller| self.create(controller))?;
        let mut table = Table::new(&["TOPIC", "STATUS", "PARTITIONS", "REPLICAS"]);
        let mut errors = Vec::new();
        for created in results {
            let (status, error) = self.status(created.error);
            table.push(vec![
                json!(created.name),
                json!(status),
                json!(created.partitions),
                json!(created.replicas),
            ]);
            errors.extend(error);
        }
        self.options.output().table(&table)?;
        finish(errors)
    }

    fn create(&self, controller: &mut Connection) -> Result<Vec<Created>, ClientError> {
        let table: &ApiTable = ApiKey::CreateTopics.table();
        let knows_defaults = controller.version_of(table, i16::MAX)? >= DEFAULTS_VERSION;
        let request = self.request(knows_defaults);
        let answer = controller.call(&request)?;
        let response: CreateTopicsResponse<'_> = answer.read()?;
        let results = response.topics.iter().map(|topic| {
            let error = check(topic.error_code, topic.error_message.as_deref(), || {
                format!("topic {}", topic.name)
            });
            Created {
                name: topic.name.to_string(),
                error: error.err(),
                partitions: json!(topic.num_partitions.or(self.partitions)),
                replicas: json!(topic.replication_factor.or(self.replicas)),
            }
        });
        let mut results: Vec<Created> = results.collect();
        if results.iter().all(Created::is_moved)
            && let Some(error) = results.first_mut().and_then(|first| first.error.take())
        {
            return Err(error);
        }
        Ok(results)
    }

    fn request(&self, knows_defaults: bool) -> CreateTopicsRequest<'_> {
        let config = |(name, value): &'_ (String, String)| CreatableTopicConfig {
            name: name.clone().into(),
            value: Some(value.clone().into()),
        };
        let topic = |name: &String| CreatableTopic {
            name: name.clone().into(),
            num_partitions: self.partitions.or_else(|| (!knows_defaults).then_some(1)),
            replication_factor: self.replicas.or_else(|| (!knows_defaults).then_some(1)),
            configs: self.configs.iter().map(config).collect(),
            ..CreatableTopic::default()
        };
        CreateTopicsRequest {
            topics: self.names.iter().map(topic).collect(),
            timeout_ms: i32::try_from(REQUEST_TIMEOUT.as_millis()).unwrap_or(i32::MAX),
            validate_only: false,
        }
    }

    fn status(&self, error: Option<ClientError>) -> (&'static str, Option<ClientError>) {
        match error {
            None => ("created", None),
            Some(error)
                if self.if_not_exists && error.code() == Some(ErrorCode::TopicAlreadyExists) =>
            {
                ("exists", None)
            }
            Some(error) => ("failed", Some(error)),
        }
    }
}

/// Outcome for one topic.
struct Created {
    name: String,
    error: Option<ClientError>,
    partitions: Value,
    replicas: Value,
}

impl Created {
    fn is_moved(&self) -> bool {
        self.error
            .as_ref()
            .is_some_and(ClientError::is_stale_metadata)
    }
}
