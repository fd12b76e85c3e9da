//! `sluice topic describe`

use std::collections::BTreeMap;

use clap::Args;
use kafka_lite::api::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult,
    DescribeConfigsResponse,
};
use kafka_lite::api::describe_log_dirs::{
    DescribableLogDirTopic, DescribeLogDirsRequest, DescribeLogDirsResponse,
};
use serde_json::{Value, json};

use super::RESOURCE_TOPIC;
use crate::client::error::check;
use crate::client::offsets::{TopicPartition, Wanted, list_same};
use crate::client::{ClientError, Cluster, Topic};
use crate::command::client::{CommandError, TableOptions, finish};
use crate::command::output::{Report, Table};

const EXAMPLES: &str = "\
Examples:
  sluice topic describe orders
  sluice topic describe orders --output json | jq '.[0].partitions'";

/// Arguments of `sluice topic describe`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DescribeArguments {
    /// Names of the topics
    #[arg(required = true, value_name = "TOPIC")]
    names: Vec<String>,
    #[command(flatten)]
    options: TableOptions,
}

impl DescribeArguments {
    pub(super) fn run(&self) -> Result<(), CommandError> {
        let mut cluster = self.options.connect()?;
        let mut reports = Vec::new();
        let mut errors = Vec::new();
        for topic in cluster.topics(Some(&self.names), false)? {
            match describe(&mut cluster, &topic) {
                Ok(report) => reports.push(report),
                Err(error) => errors.push(error),
            }
        }
        self.options.output().reports(&reports)?;
        finish(errors)
    }
}

fn describe(cluster: &mut Cluster, topic: &Topic) -> Result<Report, ClientError> {
    check(topic.error, None, || format!("topic {}", topic.name))?;
    let replicas = topic.partitions.iter().map(|one| one.replicas.len()).max();
    let sizes = sizes(cluster, topic)?;
    let bytes = (!sizes.is_empty()).then(|| sizes.values().sum::<i64>());
    Ok(Report::default()
        .field("NAME", json!(topic.name))
        .field("INTERNAL", json!(topic.is_internal))
        .field("PARTITION-COUNT", json!(topic.partition_count()))
        .field("REPLICAS", json!(replicas.unwrap_or(0)))
        .field("BYTES", json!(bytes))
        .table("CONFIGS", configs(cluster, &topic.name)?)
        .table("PARTITIONS", partitions(cluster, topic, &sizes)?))
}

fn configs(cluster: &mut Cluster, topic: &str) -> Result<Table, ClientError> {
    let request = DescribeConfigsRequest {
        resources: vec![DescribeConfigsResource {
            resource_type: RESOURCE_TOPIC,
            resource_name: topic.into(),
            configuration_keys: None,
        }],
        ..DescribeConfigsRequest::default()
    };
    let answer = cluster.any()?.call(&request)?;
    let response: DescribeConfigsResponse<'_> = answer.read()?;
    let mut table = Table::new(&["NAME", "VALUE", "SOURCE"]);
    for result in &response.results {
        check(result.error_code, result.error_message.as_deref(), || {
            format!("topic {topic}, configs")
        })?;
        let mut configs: Vec<&DescribeConfigsResourceResult<'_>> = result.configs.iter().collect();
        configs.sort_by(|one, other| one.name.cmp(&other.name));
        for config in configs {
            let source = config_source(config.config_source);
            table.push(vec![json!(config.name), json!(config.value), json!(source)]);
        }
    }
    Ok(table)
}

fn partitions(
    cluster: &mut Cluster,
    topic: &Topic,
    sizes: &BTreeMap<i32, i64>,
) -> Result<Table, ClientError> {
    // A partition without leader has no offsets to tell, and must not hide the others.
    let led = topic.partitions.iter().filter(|one| one.leader.is_some());
    let led: Vec<_> = led
        .map(|one| TopicPartition::new(&topic.name, one.id))
        .collect();
    let starts = list_same(cluster, &led, Wanted::Start)?;
    let ends = list_same(cluster, &led, Wanted::End)?;
    let mut table = Table::new(&[
        "PARTITION",
        "LEADER",
        "EPOCH",
        "REPLICAS",
        "IN-SYNC",
        "START",
        "END",
        "BYTES",
    ]);
    for one in &topic.partitions {
        let name = TopicPartition::new(&topic.name, one.id);
        table.push(vec![
            json!(one.id),
            json!(one.leader),
            json!(one.leader_epoch),
            json!(one.replicas),
            json!(one.in_sync_replicas),
            json!(starts.get(&name)),
            json!(ends.get(&name)),
            sizes.get(&one.id).map_or(Value::Null, |bytes| json!(bytes)),
        ]);
    }
    Ok(table)
}

/// Bytes of each partition, over all its replicas; empty if no broker tells.
fn sizes(cluster: &mut Cluster, topic: &Topic) -> Result<BTreeMap<i32, i64>, ClientError> {
    let request = DescribeLogDirsRequest {
        topics: Some(vec![DescribableLogDirTopic {
            topic: topic.name.as_str().into(),
            partitions: topic.partitions.iter().map(|one| one.id).collect(),
        }]),
    };
    let mut sizes = BTreeMap::new();
    cluster.at_every_broker(|_, broker| {
        let answer = match broker.call(&request) {
            Err(ClientError::Version { .. }) => return Ok(()),
            answer => answer?,
        };
        let response: DescribeLogDirsResponse<'_> = answer.read()?;
        // Not being allowed to see the disk is no reason to hide the rest.
        let directories = response.results.iter();
        let directories = directories.filter(|directory| directory.error_code.is_none());
        for found in directories.flat_map(|directory| &directory.topics) {
            for partition in &found.partitions {
                *sizes.entry(partition.partition_index).or_insert(0) += partition.partition_size;
            }
        }
        Ok(())
    })?;
    Ok(sizes)
}

/// Kafka's names of the sources of a config, in lower case.
fn config_source(number: i8) -> &'static str {
    match number {
        1 => "topic",
        2 => "broker, dynamic",
        3 => "all brokers, dynamic",
        4 => "broker, static",
        5 => "default",
        6 => "broker, logger",
        7 => "client metrics",
        8 => "group",
        _ => "unknown",
    }
}
