//! `sluice group describe`

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use serde_json::{Value, json};

use super::lookup::{Group, GroupMember};
use crate::client::committed::committed_offsets;
use crate::client::offsets::{TopicPartition, Wanted, list_same};
use crate::client::{ClientError, Cluster};
use crate::command::client::{CommandError, TableOptions, finish};
use crate::command::output::{Report, Table};

const EXAMPLES: &str = "\
Examples:
  sluice group describe billing
  sluice group describe billing --output json | jq '.[0].total_lag'";

/// Arguments of `sluice group describe`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DescribeArguments {
    /// Names of the groups
    #[arg(required = true, value_name = "GROUP")]
    names: Vec<String>,
    #[command(flatten)]
    options: TableOptions,
}

impl DescribeArguments {
    pub(super) fn run(&self) -> Result<(), CommandError> {
        let mut cluster = self.options.connect()?;
        let mut reports = Vec::new();
        let mut errors = Vec::new();
        for name in &self.names {
            match describe(&mut cluster, name) {
                Ok(report) => reports.push(report),
                Err(error) => errors.push(error),
            }
        }
        self.options.output().reports(&reports)?;
        finish(errors)
    }
}

fn describe(cluster: &mut Cluster, name: &str) -> Result<Report, ClientError> {
    let group = Group::find(cluster, name)?;
    let coordinator = cluster.coordinator(name)?.id;
    let committed = committed_offsets(cluster, name)?;
    let owners = group.members.iter();
    let owners: BTreeMap<&TopicPartition, &GroupMember> = owners
        .flat_map(|member| member.partitions.iter().map(move |one| (one, member)))
        .collect();
    let all: BTreeSet<&TopicPartition> = committed.keys().chain(owners.keys().copied()).collect();
    let all: Vec<TopicPartition> = all.into_iter().cloned().collect();
    let there = existing(cluster, &all)?;
    let starts = list_same(cluster, &there, Wanted::Start)?;
    let ends = list_same(cluster, &there, Wanted::End)?;
    let mut table = Table::new(&[
        "TOPIC",
        "PARTITION",
        "COMMITTED",
        "START",
        "END",
        "LAG",
        "MEMBER",
        "CLIENT",
        "HOST",
    ]);
    let mut total_lag = 0;
    for one in &all {
        let (start, end) = (starts.get(one).copied(), ends.get(one).copied());
        let offset = committed.get(one).copied();
        let lag = lag(offset, start, end);
        total_lag += lag.unwrap_or(0);
        let owner = owners.get(one);
        table.push(vec![
            json!(one.topic),
            json!(one.partition),
            json!(offset),
            json!(start),
            json!(end),
            json!(lag),
            owner.map_or(Value::Null, |member| json!(member.id)),
            owner.map_or(Value::Null, |member| json!(member.client_id)),
            owner.map_or(Value::Null, |member| json!(member.host)),
        ]);
    }
    let mut members = Table::new(&["MEMBER", "CLIENT", "HOST", "ASSIGNED"]);
    for member in &group.members {
        members.push(vec![
            json!(member.id),
            json!(member.client_id),
            json!(member.host),
            json!(member.partitions.len()),
        ]);
    }
    Ok(Report::default()
        .field("GROUP", name)
        .field("COORDINATOR", coordinator)
        .field("STATE", group.state)
        .field("BALANCER", group.balancer)
        .field("MEMBER-COUNT", group.members.len())
        .field("TOTAL-LAG", total_lag)
        .table("MEMBERS", members)
        .table("PARTITIONS", table))
}

/// Records that the group has not read yet; without a commit all that are there.
fn lag(committed: Option<i64>, start: Option<i64>, end: Option<i64>) -> Option<i64> {
    let (start, end) = (start?, end?);
    Some(end.saturating_sub(committed.unwrap_or(start)).max(0))
}

/// Those partitions that still exist and have a leader: topics may be gone since the commit.
fn existing(
    cluster: &mut Cluster,
    partitions: &[TopicPartition],
) -> Result<Vec<TopicPartition>, ClientError> {
    let mut names: Vec<String> = partitions.iter().map(|one| one.topic.clone()).collect();
    names.dedup();
    let topics = cluster.topics(Some(&names), false)?;
    let is_there = |one: &&TopicPartition| {
        let topic = topics.iter().find(|topic| topic.name == one.topic);
        let partition = topic.and_then(|topic| topic.partition(one.partition));
        partition.is_some_and(|partition| partition.leader.is_some())
    };
    Ok(partitions.iter().filter(is_there).cloned().collect())
}

#[cfg(test)]
mod tests {
    use super::lag;

    #[test]
    fn lag_counts_from_the_commit_or_from_the_first_record() {
        assert_eq!(lag(Some(7), Some(2), Some(10)), Some(3));
        assert_eq!(lag(None, Some(2), Some(10)), Some(8));
        // Committed beyond the end of a topic that was made anew.
        assert_eq!(lag(Some(70), Some(2), Some(10)), Some(0));
        assert_eq!(lag(Some(7), None, None), None);
    }
}
