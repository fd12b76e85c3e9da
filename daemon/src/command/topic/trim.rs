//! `sluice topic trim`: records before an offset or a time are deleted.

use std::collections::BTreeMap;

use clap::Args;
use kafka_lite::api::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopic,
};
use serde_json::json;

use crate::client::error::check;
use crate::client::limits::REQUEST_TIMEOUT;
use crate::client::offsets::{TopicPartition, Wanted, by_leader, list_same};
use crate::client::{ClientError, Cluster};
use crate::command::client::{CommandError, TableOptions, finish, no_partition};
use crate::command::output::Table;
use crate::command::time::{now_ms, parse_time};

/// Kafka's offset for "everything".
const OFFSET_END: i64 = -1;

const EXAMPLES: &str = "\
Examples:
  sluice topic trim orders --offset 1000 --partition 0
  sluice topic trim orders --offset end
  sluice topic trim orders --before @2026-11-23T10:00:00Z
  sluice topic trim orders --before @-24h";

/// Arguments of `sluice topic trim`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
#[group(id = "where", required = true, multiple = false, args = ["offset", "before"])]
pub struct TrimArguments {
    /// Name of the topic
    #[arg(value_name = "TOPIC")]
    name: String,
    /// Delete what is before this offset; `end` deletes all
    #[arg(short, long, value_name = "N|end", value_parser = parse_offset)]
    offset: Option<i64>,
    /// Delete what is before the first record of this time or later
    #[arg(long, value_name = "@TIME", value_parser = parse_before)]
    before: Option<i64>,
    /// Only these partitions, comma separated
    #[arg(
        short,
        long = "partition",
        value_name = "PARTITION",
        value_delimiter = ','
    )]
    partitions: Vec<i32>,
    #[command(flatten)]
    options: TableOptions,
}

impl TrimArguments {
    pub(super) fn run(&self) -> Result<(), CommandError> {
        let mut cluster = self.options.connect()?;
        let topic = cluster.topic(&self.name, false)?;
        if let Some(missing) = no_partition(&topic, &self.partitions) {
            return Err(missing);
        }
        let ids = topic.partitions.iter().map(|one| one.id);
        let ids = ids.filter(|id| self.partitions.is_empty() || self.partitions.contains(id));
        let wanted: Vec<_> = ids.map(|id| TopicPartition::new(&self.name, id)).collect();
        let offsets = self.offsets(&mut cluster, &wanted)?;
        let mut table = Table::new(&["PARTITION", "STATUS", "START"]);
        let mut errors = Vec::new();
        for (one, offset) in &offsets {
            match cluster.search(|cluster| trim(cluster, one, *offset)) {
                Ok(start) => table.push(vec![json!(one.partition), json!("trimmed"), json!(start)]),
                Err(error) => {
                    table.push(vec![json!(one.partition), json!("failed"), json!(null)]);
                    errors.push(error);
                }
            }
        }
        self.options.output().table(&table)?;
        finish(errors)
    }

    /// First offset to keep of each partition.
    fn offsets(
        &self,
        cluster: &mut Cluster,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, i64>, ClientError> {
        match self.before {
            Some(time) => list_same(cluster, partitions, Wanted::Time(time)),
            None => {
                let offset = self.offset.unwrap_or(0);
                Ok(partitions.iter().map(|one| (one.clone(), offset)).collect())
            }
        }
    }
}

/// Deletes records of one partition and returns its new first offset.
fn trim(cluster: &mut Cluster, one: &TopicPartition, offset: i64) -> Result<i64, ClientError> {
    let leaders = by_leader(cluster, std::iter::once(one))?;
    let request = DeleteRecordsRequest {
        topics: vec![DeleteRecordsTopic {
            name: one.topic.as_str().into(),
            partitions: vec![DeleteRecordsPartition {
                partition_index: one.partition,
                offset,
            }],
        }],
        timeout_ms: i32::try_from(REQUEST_TIMEOUT.as_millis()).unwrap_or(i32::MAX),
    };
    let mut start = offset;
    for leader in leaders.into_keys() {
        let answer = cluster.node(leader)?.call(&request)?;
        let response: DeleteRecordsResponse<'_> = answer.read()?;
        for result in response.topics.iter().flat_map(|topic| &topic.partitions) {
            check(result.error_code, None, || {
                format!("{one}, offset {offset}")
            })?;
            start = result.low_watermark;
        }
    }
    Ok(start)
}

fn parse_offset(text: &str) -> Result<i64, String> {
    if text == "end" {
        return Ok(OFFSET_END);
    }
    let offset = text.parse().ok().filter(|offset| *offset >= 0);
    offset.ok_or_else(|| "expected an offset or `end`".to_owned())
}

fn parse_before(text: &str) -> Result<i64, String> {
    parse_time(text.strip_prefix('@').unwrap_or(text), now_ms())
}
