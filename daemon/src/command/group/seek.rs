//! `sluice group seek`: committed offsets are moved.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::lookup::Group;
use crate::client::committed::{Committer, commit_offsets, committed_offsets};
use crate::client::offsets::{TopicPartition, Wanted, list_same};
use crate::client::{ClientError, Cluster};
use crate::command::client::{CommandError, TableOptions};
use crate::command::output::Table;
use crate::command::time::{now_ms, parse_time};

/// State in which offsets may be moved from outside.
const STATE_EMPTY: &str = "Empty";

const EXAMPLES: &str = "\
A group that does not exist is made by its first offsets; it needs --topics or --to-file.
The file of --to-file has one line per partition: TOPIC PARTITION OFFSET.

Examples:
  sluice group seek billing --to start
  sluice group seek billing --to @2026-11-23T10:00:00Z --topics orders,audit
  sluice group seek billing --to @-1h
  sluice group seek billing --to-file offsets.txt";

/// Arguments of `sluice group seek`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
#[group(id = "where", required = true, multiple = false, args = ["to", "to_file"])]
pub struct SeekArguments {
    /// Name of the group; it must have no members
    #[arg(value_name = "GROUP")]
    name: String,
    /// start, end, or @TIME: ms since 1970, 2026-11-23T10:00:00Z, or before now, as @-1h
    #[arg(long, value_name = "WHERE", value_parser = parse_target)]
    to: Option<Target>,
    /// Read the offsets from a file
    #[arg(long, value_name = "FILE")]
    to_file: Option<PathBuf>,
    /// Only these topics, all their partitions [default: what the group has committed]
    #[arg(long, value_name = "TOPIC", value_delimiter = ',')]
    topics: Vec<String>,
    #[command(flatten)]
    options: TableOptions,
}

/// Where to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Target(Wanted);

impl SeekArguments {
    pub(super) fn run(&self) -> Result<(), CommandError> {
        let mut cluster = self.options.connect()?;
        self.check_empty(&mut cluster)?;
        let before = committed_offsets(&mut cluster, &self.name)?;
        let wanted = match (&self.to_file, self.to) {
            (Some(file), _) => self.read_file(file)?,
            (None, Some(Target(wanted))) => {
                let partitions = self.partitions(&mut cluster, &before)?;
                list_same(&mut cluster, &partitions, wanted)?
            }
            (None, None) => BTreeMap::new(),
        };
        if wanted.is_empty() {
            let name = &self.name;
            let line = format!("group {name}: nothing is committed; name topics with --topics");
            return Err(ClientError::Other(line).into());
        }
        commit_offsets(&mut cluster, &self.name, Committer::TOOL, &wanted)?;
        let mut table = Table::new(&["TOPIC", "PARTITION", "BEFORE", "NOW"]);
        for (one, offset) in &wanted {
            table.push(vec![
                json!(one.topic),
                json!(one.partition),
                json!(before.get(one)),
                json!(offset),
            ]);
        }
        Ok(self.options.output().table(&table)?)
    }

    /// The coordinator would refuse a commit from outside with words that help nobody.
    fn check_empty(&self, cluster: &mut Cluster) -> Result<(), ClientError> {
        let name = &self.name;
        match Group::find(cluster, name) {
            Ok(group) if group.state == STATE_EMPTY => Ok(()),
            Ok(group) => Err(ClientError::Other(format!(
                "group {name} is {} and has {} members: stop them first",
                group.state,
                group.members.len()
            ))),
            // Its first offsets make it.
            Err(error)
                if error.code() == Some(kafka_lite::error_code::ErrorCode::GroupIdNotFound) =>
            {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn partitions(
        &self,
        cluster: &mut Cluster,
        committed: &BTreeMap<TopicPartition, i64>,
    ) -> Result<Vec<TopicPartition>, ClientError> {
        if self.topics.is_empty() {
            return Ok(committed.keys().cloned().collect());
        }
        let mut partitions = Vec::new();
        for name in &self.topics {
            let topic = cluster.topic(name, false)?;
            let all = topic.partitions.iter();
            partitions.extend(all.map(|one| TopicPartition::new(name, one.id)));
        }
        Ok(partitions)
    }

    fn read_file(&self, file: &Path) -> Result<BTreeMap<TopicPartition, i64>, CommandError> {
        let named = |reason: String| CommandError::Usage(format!("{}: {reason}", file.display()));
        let text = std::fs::read_to_string(file).map_err(|error| named(error.to_string()))?;
        let mut offsets = parse_offsets(&text).map_err(named)?;
        offsets.retain(|one, _| self.topics.is_empty() || self.topics.contains(&one.topic));
        Ok(offsets)
    }
}

fn parse_target(text: &str) -> Result<Target, String> {
    match text {
        "start" => Ok(Target(Wanted::Start)),
        "end" => Ok(Target(Wanted::End)),
        _ => {
            let time = text
                .strip_prefix('@')
                .ok_or("expected start, end or @TIME")?;
            parse_time(time, now_ms()).map(|time| Target(Wanted::Time(time)))
        }
    }
}

/// Reads `TOPIC PARTITION OFFSET` lines; empty lines do not count.
fn parse_offsets(text: &str) -> Result<BTreeMap<TopicPartition, i64>, String> {
    let mut offsets = BTreeMap::new();
    for (number, line) in (1..).zip(text.lines()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let row = match words.as_slice() {
            [] => continue,
            [topic, partition, offset] => partition
                .parse()
                .ok()
                .zip(offset.parse().ok())
                .filter(|(partition, offset): &(i32, i64)| *partition >= 0 && *offset >= 0)
                .map(|(partition, offset)| (TopicPartition::new(topic, partition), offset)),
            _ => None,
        };
        let (one, offset) =
            row.ok_or_else(|| format!("line {number} is not TOPIC PARTITION OFFSET"))?;
        offsets.insert(one, offset);
    }
    Ok(offsets)
}

#[cfg(test)]
mod tests {
    use super::{Target, TopicPartition, Wanted, parse_offsets, parse_target};

    #[test]
    fn a_file_of_offsets() {
        let offsets = parse_offsets("orders 0 17\n\norders\t1  0\n").unwrap();
        let expected = [
            (TopicPartition::new("orders", 0), 17),
            (TopicPartition::new("orders", 1), 0),
        ];
        assert!(offsets.into_iter().eq(expected));
        for text in [
            "orders 0",
            "orders x 1",
            "orders 0 -1",
            "orders -1 0",
            "a 0 1 2",
        ] {
            let error = parse_offsets(&format!("a 0 1\n{text}")).unwrap_err();
            assert!(error.contains("line 2"), "{error}");
        }
    }

    #[test]
    fn targets() {
        assert_eq!(parse_target("start"), Ok(Target(Wanted::Start)));
        assert_eq!(parse_target("end"), Ok(Target(Wanted::End)));
        assert_eq!(parse_target("@5"), Ok(Target(Wanted::Time(5))));
        for text in ["", "5", "@", "begin"] {
            parse_target(text).unwrap_err();
        }
    }
}
