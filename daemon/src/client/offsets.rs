//! Offsets of partitions: first, end, and by timestamp.
//!
//! What it is        ListOffsets to every leader that is concerned, again when leaders move.
//! Source            KIP-79; the special timestamps are those of Apache Kafka.

use std::collections::BTreeMap;
use std::fmt;

use kafka_lite::api::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};

use super::cluster::{Cluster, missing_topic};
use super::error::{ClientError, check};
use super::limits::REQUEST_TIMEOUT;

/// A partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TopicPartition {
    /// Name of the topic.
    pub topic: String,
    /// Number of the partition.
    pub partition: i32,
}

impl TopicPartition {
    /// Names a partition.
    #[must_use]
    pub fn new(topic: &str, partition: i32) -> Self {
        let topic = topic.to_owned();
        Self { topic, partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "topic {}, partition {}", self.topic, self.partition)
    }
}

/// Which offset of a partition is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The first that is still there.
    Start,
    /// The one after the last.
    End,
    /// The first record with this timestamp or a later one, ms since 1970.
    Time(i64),
}

impl Wanted {
    const fn timestamp(self) -> i64 {
        match self {
            Self::Start => -2,
            Self::End => -1,
            Self::Time(timestamp) => timestamp,
        }
    }
}

/// Looks offsets up. `None` is no record of the time or later.
///
/// # Errors
/// The first error of a topic, a partition or a call.
pub fn list_offsets(
    cluster: &mut Cluster,
    wanted: &BTreeMap<TopicPartition, Wanted>,
) -> Result<BTreeMap<TopicPartition, Option<i64>>, ClientError> {
    if wanted.is_empty() {
        return Ok(BTreeMap::new());
    }
    cluster.search(|cluster| {
        let mut found = BTreeMap::new();
        for (leader, partitions) in by_leader(cluster, wanted.keys())? {
            ask(cluster, leader, &partitions, wanted, &mut found)?;
        }
        Ok(found)
    })
}

/// Looks the same offset of many partitions up; the end stands for "no record so late".
///
/// # Errors
/// As [`list_offsets`].
pub fn list_same(
    cluster: &mut Cluster,
    partitions: &[TopicPartition],
    wanted: Wanted,
) -> Result<BTreeMap<TopicPartition, i64>, ClientError> {
    let all = partitions.iter().map(|one| (one.clone(), wanted)).collect();
    let found = list_offsets(cluster, &all)?;
    let late = found.iter().filter(|(_, offset)| offset.is_none());
    let late = late.map(|(one, _)| (one.clone(), Wanted::End)).collect();
    let mut ends = list_offsets(cluster, &late)?;
    Ok(found
        .into_iter()
        .map(|(one, offset)| {
            let end = ends.remove(&one).flatten();
            (one, offset.or(end).unwrap_or(0))
        })
        .collect())
}

/// Groups partitions by the node that leads them.
///
/// # Errors
/// A topic, a partition or a leader that is missing.
pub fn by_leader<'p>(
    cluster: &mut Cluster,
    partitions: impl Iterator<Item = &'p TopicPartition> + Clone,
) -> Result<BTreeMap<i32, Vec<TopicPartition>>, ClientError> {
    let mut names: Vec<String> = partitions.clone().map(|one| one.topic.clone()).collect();
    names.dedup();
    let topics = cluster.topics(Some(&names), false)?;
    let mut leaders: BTreeMap<i32, Vec<TopicPartition>> = BTreeMap::new();
    for one in partitions {
        let topic = topics.iter().find(|topic| topic.name == one.topic);
        let topic = topic.ok_or_else(|| missing_topic(&one.topic))?;
        check(topic.error, None, || format!("topic {}", one.topic))?;
        let partition = topic.partition(one.partition);
        let partition = partition.ok_or_else(|| missing_partition(one))?;
        let leader = partition.leader.ok_or_else(|| {
            let code = kafka_lite::error_code::ErrorCode::LeaderNotAvailable;
            ClientError::refused(one.to_string(), code, None)
        })?;
        leaders.entry(leader).or_default().push(one.clone());
    }
    Ok(leaders)
}

/// Groups partitions by topic, keeping their order.
#[must_use]
pub fn by_topic(partitions: &[TopicPartition]) -> Vec<(&str, Vec<i32>)> {
    let mut topics: Vec<(&str, Vec<i32>)> = Vec::new();
    for one in partitions {
        match topics.iter_mut().find(|(topic, _)| *topic == one.topic) {
            Some((_, numbers)) => numbers.push(one.partition),
            None => topics.push((&one.topic, vec![one.partition])),
        }
    }
    topics
}

fn missing_partition(one: &TopicPartition) -> ClientError {
    let code = kafka_lite::error_code::ErrorCode::UnknownTopicOrPartition;
    ClientError::refused(one.to_string(), code, None)
}

fn ask(
    cluster: &mut Cluster,
    leader: i32,
    partitions: &[TopicPartition],
    wanted: &BTreeMap<TopicPartition, Wanted>,
    found: &mut BTreeMap<TopicPartition, Option<i64>>,
) -> Result<(), ClientError> {
    let asked = |topic: &str, number: i32| ListOffsetsPartition {
        partition_index: number,
        timestamp: wanted
            .get(&TopicPartition::new(topic, number))
            .map_or(-1, |wanted| wanted.timestamp()),
        ..ListOffsetsPartition::default()
    };
    let topics = by_topic(partitions);
    let request = ListOffsetsRequest {
        replica_id: -1,
        topics: topics
            .iter()
            .map(|(topic, numbers)| ListOffsetsTopic {
                name: (*topic).into(),
                partitions: numbers.iter().map(|number| asked(topic, *number)).collect(),
            })
            .collect(),
        timeout_ms: i32::try_from(REQUEST_TIMEOUT.as_millis()).unwrap_or(i32::MAX),
        ..ListOffsetsRequest::default()
    };
    let answer = cluster.node(leader)?.call(&request)?;
    let response: ListOffsetsResponse<'_> = answer.read()?;
    for topic in &response.topics {
        for partition in &topic.partitions {
            let name = TopicPartition::new(&topic.name, partition.partition_index);
            check(partition.error_code, None, || name.to_string())?;
            found.insert(name, partition.offset);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{TopicPartition, by_topic};

    #[test]
    fn partitions_are_grouped_by_topic_in_order() {
        let partitions = [("b", 1), ("a", 0), ("b", 0)];
        let partitions = partitions.map(|(topic, number)| TopicPartition::new(topic, number));
        assert_eq!(by_topic(&partitions), [("b", vec![1, 0]), ("a", vec![0])]);
    }
}
