//! What can be read from the coordinator without changing it: OffsetFetch, DescribeGroups,
//! ListGroups.
//!
//! What it is not    the version rules of those requests: the owner places errors where a version
//!                   has room for them (OffsetFetch v1 has none at the top, DescribeGroups before
//!                   v6 shows a missing group as Dead).

use std::collections::BTreeMap;

use bytes::Bytes;

use super::Coordinator;
use super::error::GroupError;
use super::offsets::OffsetEntry;
use super::records::CommittedOffset;
use super::state::{Group, GroupState};

/// The type of every group that this coordinator serves, as ListGroups names it.
pub const CLASSIC_GROUP_TYPE: &str = "classic";

/// The durable offsets of a topic; `None` where nothing is committed (offset -1 on the wire).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedTopic<'a> {
    /// The topic.
    pub name: String,
    /// Partition and offset.
    pub partitions: Vec<(i32, Option<&'a CommittedOffset>)>,
}

/// One group in detail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDescription {
    /// Its state.
    pub state: GroupState,
    /// For example `consumer`; empty for groups that only store offsets.
    pub protocol_type: String,
    /// The chosen protocol of a stable group, else empty.
    pub protocol_name: String,
    /// Its members.
    pub members: Vec<MemberDescription>,
}

/// One member in detail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberDescription {
    /// Its id.
    pub member_id: String,
    /// Its instance id, if static.
    pub group_instance_id: Option<String>,
    /// The client id of its requests.
    pub client_id: String,
    /// The address of its requests.
    pub client_host: String,
    /// Its metadata for the chosen protocol of a stable group, else empty.
    pub metadata: Bytes,
    /// Its assignment in a stable group, else empty.
    pub assignment: Bytes,
}

/// One group in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedGroup {
    /// The group.
    pub group_id: String,
    /// Empty for groups that only store offsets.
    pub protocol_type: String,
    /// Its state.
    pub state: GroupState,
    /// [`CLASSIC_GROUP_TYPE`].
    pub group_type: &'static str,
}

fn fetched(entry: Option<&OffsetEntry>) -> Option<&CommittedOffset> {
    entry.and_then(|entry| entry.committed.as_ref())
}

fn all_offsets(group: &Group) -> Vec<FetchedTopic<'_>> {
    let topic = |(name, partitions): (&str, &BTreeMap<i32, OffsetEntry>)| {
        let known: Vec<i32> = partitions
            .iter()
            .filter(|(_, entry)| entry.committed.is_some())
            .map(|(partition, _)| *partition)
            .collect();
        (name.to_owned(), known)
    };
    let topics: Vec<_> = group.offsets.topics().map(topic).collect();
    let topics = topics
        .into_iter()
        .filter(|(_, partitions)| !partitions.is_empty());
    topics
        .map(|(name, partitions)| listed_offsets(Some(group), name, &partitions))
        .collect()
}

fn listed_offsets<'a>(
    group: Option<&'a Group>,
    name: String,
    partitions: &[i32],
) -> FetchedTopic<'a> {
    let known = group.and_then(|group| group.offsets.partitions(&name));
    let one = |partition: &i32| {
        (
            *partition,
            known.and_then(|map| fetched(map.get(partition))),
        )
    };
    FetchedTopic {
        partitions: partitions.iter().map(one).collect(),
        name,
    }
}

fn describe(group: &Group) -> GroupDescription {
    let stable = group.state == GroupState::Stable;
    let protocol_name = group
        .protocol_name
        .clone()
        .filter(|_| stable)
        .unwrap_or_default();
    let members = group.members.values().map(|member| MemberDescription {
        member_id: member.member_id.clone(),
        group_instance_id: member.group_instance_id.clone(),
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        metadata: if stable {
            member.metadata(&protocol_name)
        } else {
            Bytes::new()
        },
        assignment: if stable {
            member.assignment.clone()
        } else {
            Bytes::new()
        },
    });
    let members = members.collect();
    GroupDescription {
        state: group.state,
        protocol_type: group.protocol_type.clone().unwrap_or_default(),
        protocol_name,
        members,
    }
}

impl Coordinator {
    /// Returns durable offsets: of the listed partitions in their order, or all with `None`.
    ///
    /// A group that does not exist has no offsets; that is no error.
    ///
    /// # Errors
    /// NOT_COORDINATOR or COORDINATOR_LOAD_IN_PROGRESS.
    pub fn fetch_offsets(
        &self,
        group_id: &str,
        topics: Option<&[(String, Vec<i32>)]>,
    ) -> Result<Vec<FetchedTopic<'_>>, GroupError> {
        self.check_partition(group_id)?;
        let group = self.groups.get(group_id);
        Ok(match topics {
            None => group.map(all_offsets).unwrap_or_default(),
            Some(topics) => {
                let one = |(name, partitions): &(String, Vec<i32>)| {
                    listed_offsets(group, name.clone(), partitions)
                };
                topics.iter().map(one).collect()
            }
        })
    }

    /// Describes a group.
    ///
    /// # Errors
    /// GROUP_ID_NOT_FOUND, which DescribeGroups v6 answers as such and earlier versions as state
    /// Dead; NOT_COORDINATOR or COORDINATOR_LOAD_IN_PROGRESS.
    pub fn describe(&self, group_id: &str) -> Result<GroupDescription, GroupError> {
        self.check_partition(group_id)?;
        self.groups
            .get(group_id)
            .map(describe)
            .ok_or(GroupError::GroupIdNotFound)
    }

    /// Lists groups; an empty filter lets everything pass, an unknown word nothing.
    ///
    /// The error is COORDINATOR_LOAD_IN_PROGRESS while a partition is loading; the groups of the
    /// others are listed all the same, as Kafka does.
    #[must_use]
    pub fn list(
        &self,
        states: &[String],
        types: &[String],
    ) -> (Option<GroupError>, Vec<ListedGroup>) {
        let fits = |filter: &[String], word: &str| {
            filter.is_empty() || filter.iter().any(|one| one.eq_ignore_ascii_case(word))
        };
        let error = self
            .is_loading()
            .then_some(GroupError::CoordinatorLoadInProgress);
        let listed = self
            .groups
            .values()
            .filter(|group| self.check_partition(&group.id).is_ok())
            .filter(|group| fits(states, &group.state.to_string()))
            .filter(|_| fits(types, CLASSIC_GROUP_TYPE))
            .map(|group| ListedGroup {
                group_id: group.id.to_string(),
                protocol_type: group.protocol_type.clone().unwrap_or_default(),
                state: group.state,
                group_type: CLASSIC_GROUP_TYPE,
            });
        (error, listed.collect())
    }
}
