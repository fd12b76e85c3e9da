//! Committed offsets of groups: read and written.
//!
//! Source            OffsetFetch up to 7 (one group), OffsetCommit up to 9 (names, not ids).

use std::collections::BTreeMap;

use kafka_lite::api::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
    OffsetCommitResponse,
};
use kafka_lite::api::offset_fetch::{OffsetFetchRequest, OffsetFetchResponse};

use super::cluster::Cluster;
use super::error::{ClientError, check};
use super::limits::REQUEST_TIMEOUT;
use super::offsets::{TopicPartition, by_topic};

/// Last version of OffsetFetch for one group.
const OFFSET_FETCH_VERSION: i16 = 7;

/// First version of OffsetFetch that can ask for all topics.
const ALL_TOPICS_VERSION: i16 = 2;

/// Last version of OffsetCommit that names topics.
const OFFSET_COMMIT_VERSION: i16 = 9;

/// Generation of a commit by nobody: allowed while the group has no members.
const NO_GENERATION: i32 = -1;

/// Who commits.
#[derive(Clone, Copy, Debug)]
pub struct Committer<'a> {
    /// Id that the coordinator gave; empty outside of membership.
    pub member_id: &'a str,
    /// Generation that the member knows.
    pub generation: i32,
}

impl Committer<'static> {
    /// A tool that is no member.
    pub const TOOL: Self = Self {
        member_id: "",
        generation: NO_GENERATION,
    };
}

/// Reads all committed offsets of a group.
///
/// # Errors
/// The first error of the group or a partition.
pub fn committed_offsets(
    cluster: &mut Cluster,
    group: &str,
) -> Result<BTreeMap<TopicPartition, i64>, ClientError> {
    let request = OffsetFetchRequest {
        group_id: group.into(),
        topics: None,
        ..OffsetFetchRequest::default()
    };
    cluster.at_coordinator(group, |coordinator| {
        let answer = coordinator.call_up_to(OFFSET_FETCH_VERSION, REQUEST_TIMEOUT, &request)?;
        debug_assert!(
            answer.version() >= ALL_TOPICS_VERSION,
            "encoding refuses null"
        );
        let response: OffsetFetchResponse<'_> = answer.read()?;
        check(response.error_code, None, || format!("group {group}"))?;
        let mut offsets = BTreeMap::new();
        for topic in &response.topics {
            for partition in &topic.partitions {
                let one = TopicPartition::new(&topic.name, partition.partition_index);
                check(partition.error_code, None, || {
                    format!("group {group}, {one}")
                })?;
                offsets.extend(partition.committed_offset.map(|offset| (one, offset)));
            }
        }
        Ok(offsets)
    })
}

/// Commits offsets.
///
/// # Errors
/// The first error of a partition.
pub fn commit_offsets(
    cluster: &mut Cluster,
    group: &str,
    committer: Committer<'_>,
    offsets: &BTreeMap<TopicPartition, i64>,
) -> Result<(), ClientError> {
    let partitions: Vec<TopicPartition> = offsets.keys().cloned().collect();
    let partition = |topic: &str, number: i32| OffsetCommitRequestPartition {
        partition_index: number,
        committed_offset: offsets
            .get(&TopicPartition::new(topic, number))
            .copied()
            .unwrap_or(0),
        committed_metadata: Some("".into()),
        ..OffsetCommitRequestPartition::default()
    };
    let topics = by_topic(&partitions).into_iter();
    let topics = topics.map(|(topic, numbers)| OffsetCommitRequestTopic {
        name: topic.into(),
        partitions: numbers
            .iter()
            .map(|number| partition(topic, *number))
            .collect(),
        ..OffsetCommitRequestTopic::default()
    });
    let request = OffsetCommitRequest {
        group_id: group.into(),
        generation_id_or_member_epoch: committer.generation,
        member_id: committer.member_id.into(),
        topics: topics.collect(),
        ..OffsetCommitRequest::default()
    };
    cluster.at_coordinator(group, |coordinator| {
        let answer = coordinator.call_up_to(OFFSET_COMMIT_VERSION, REQUEST_TIMEOUT, &request)?;
        let response: OffsetCommitResponse<'_> = answer.read()?;
        for topic in &response.topics {
            for partition in &topic.partitions {
                let one = TopicPartition::new(&topic.name, partition.partition_index);
                check(partition.error_code, None, || {
                    format!("group {group}, {one}")
                })?;
            }
        }
        Ok(())
    })
}
