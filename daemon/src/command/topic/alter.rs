//! `sluice topic alter`

use clap::Args;
use kafka_lite::api::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic,
};
use kafka_lite::api::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
};
use serde_json::json;

use super::RESOURCE_TOPIC;
use crate::client::cluster::missing_topic;
use crate::client::error::check;
use crate::client::limits::REQUEST_TIMEOUT;
use crate::client::{ClientError, Connection};
use crate::command::client::{CommandError, TableOptions, finish, key_value};
use crate::command::output::Table;

/// Kafka's numbers of what happens to a config.
const OPERATION_SET: i8 = 0;
const OPERATION_DELETE: i8 = 1;

const EXAMPLES: &str = "\
Examples:
  sluice topic alter orders -s retention.ms=3600000 -s max.message.bytes=2000000
  sluice topic alter orders --delete retention.ms
  sluice topic alter orders audit --partitions 12";

/// Arguments of `sluice topic alter`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct AlterArguments {
    /// Names of the topics
    #[arg(required = true, value_name = "TOPIC")]
    names: Vec<String>,
    /// Change a setting; may be given again
    #[arg(
        short,
        long,
        value_name = "NAME=VALUE",
        value_parser = key_value,
        visible_alias = "config",
        visible_short_alias = 'c'
    )]
    set: Vec<(String, String)>,
    /// Let a setting fall back to that of the broker; may be given again
    #[arg(short, long, value_name = "NAME")]
    delete: Vec<String>,
    /// Raise the number of partitions to this
    #[arg(short, long, value_name = "COUNT")]
    partitions: Option<i32>,
    #[command(flatten)]
    options: TableOptions,
}

impl AlterArguments {
    pub(super) fn run(&self) -> Result<(), CommandError> {
        let has_configs = !self.set.is_empty() || !self.delete.is_empty();
        if !has_configs && self.partitions.is_none() {
            let line = "nothing to alter: give --set, --delete or --partitions".to_owned();
            return Err(CommandError::Usage(line));
        }
        let mut cluster = self.options.connect()?;
        let mut table = Table::new(&["TOPIC", "STATUS"]);
        let mut errors = Vec::new();
        for name in &self.names {
            let done = cluster.at_controller(|controller| {
                if has_configs {
                    self.alter_configs(controller, name)?;
                }
                self.partitions
                    .map_or(Ok(()), |count| create_partitions(controller, name, count))
            });
            let status = if done.is_ok() { "altered" } else { "failed" };
            table.push(vec![json!(name), json!(status)]);
            errors.extend(done.err());
        }
        self.options.output().table(&table)?;
        finish(errors)
    }

    fn alter_configs(&self, controller: &mut Connection, name: &str) -> Result<(), ClientError> {
        let set = self.set.iter().map(|(key, value)| AlterableConfig {
            name: key.as_str().into(),
            config_operation: OPERATION_SET,
            value: Some(value.as_str().into()),
        });
        let delete = self.delete.iter().map(|key| AlterableConfig {
            name: key.as_str().into(),
            config_operation: OPERATION_DELETE,
            value: None,
        });
        let request = IncrementalAlterConfigsRequest {
            resources: vec![AlterConfigsResource {
                resource_type: RESOURCE_TOPIC,
                resource_name: name.into(),
                configs: set.chain(delete).collect(),
            }],
            validate_only: false,
        };
        let answer = controller.call(&request)?;
        let response: IncrementalAlterConfigsResponse<'_> = answer.read()?;
        let result = response.responses.first();
        let result = result.ok_or_else(|| missing_topic(name))?;
        check(result.error_code, result.error_message.as_deref(), || {
            format!("topic {name}")
        })
    }
}

fn create_partitions(
    controller: &mut Connection,
    name: &str,
    count: i32,
) -> Result<(), ClientError> {
    let request = CreatePartitionsRequest {
        topics: vec![CreatePartitionsTopic {
            name: name.into(),
            count,
            assignments: None,
        }],
        timeout_ms: i32::try_from(REQUEST_TIMEOUT.as_millis()).unwrap_or(i32::MAX),
        validate_only: false,
    };
    let answer = controller.call(&request)?;
    let response: CreatePartitionsResponse<'_> = answer.read()?;
    let result = response.results.first();
    let result = result.ok_or_else(|| missing_topic(name))?;
    check(result.error_code, result.error_message.as_deref(), || {
        format!("topic {name}")
    })
}
