//! Being a member of a classic consumer group.
//!
//! What it is        join, share the partitions out if we lead, sync, heartbeat, commit, leave.
//! What it is not    static membership, cooperative rebalancing, KIP-848.
//! Invariants        1. after [`Standing::Lost`] nothing is committed before the next join.
//! Source            Apache Kafka protocol of classic groups; KIP-394 (member id first).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kafka_lite::api::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use kafka_lite::api::join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse};
use kafka_lite::api::leave_group::{LeaveGroupRequest, LeaveGroupResponse, MemberIdentity};
use kafka_lite::api::sync_group::{
    SyncGroupRequest, SyncGroupRequestAssignment, SyncGroupResponse,
};
use kafka_lite::error_code::ErrorCode;

use super::cluster::Cluster;
use super::committed::{Committer, commit_offsets};
use super::consumer_protocol::{
    PROTOCOL_TYPE, RANGE, assign_ranges, assigned_partitions, assignment, subscribed_topics,
    subscription,
};
use super::error::{ClientError, check};
use super::limits::{HEARTBEAT_INTERVAL, REBALANCE_TIMEOUT, SESSION_TIMEOUT};
use super::offsets::TopicPartition;

/// Joins that may fail in a row because the group changed meanwhile; then the error is shown.
const JOINS_MAX: u32 = 20;

/// Whether we still are what the coordinator thinks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A member of the present generation.
    Member,
    /// The group is rebalancing: commit, then join again.
    Rebalancing,
    /// Not a member any more: join again without a commit.
    Lost,
}

/// A member.
#[derive(Debug)]
pub struct Member {
    group: String,
    topics: Vec<String>,
    member_id: String,
    generation: i32,
    last_heartbeat: Instant,
}

/// Answer to a join.
struct Joined {
    protocol: String,
    /// Members and their topics; only the leader gets them.
    members: BTreeMap<String, Vec<String>>,
}

impl Member {
    /// Not yet a member.
    #[must_use]
    pub fn new(group: &str, topics: &[String]) -> Self {
        Self {
            group: group.to_owned(),
            topics: topics.to_vec(),
            member_id: String::new(),
            generation: -1,
            last_heartbeat: Instant::now(),
        }
    }

    /// Joins and returns the partitions that are ours.
    ///
    /// # Errors
    /// Of the calls, or a group that changes without end.
    pub fn join(&mut self, cluster: &mut Cluster) -> Result<Vec<TopicPartition>, ClientError> {
        let mut joins = 0;
        loop {
            joins += 1;
            let done = self
                .ask_to_join(cluster)
                .and_then(|joined| self.sync(cluster, &joined));
            let error = match done {
                Ok(partitions) => {
                    self.last_heartbeat = Instant::now();
                    return Ok(partitions);
                }
                Err(error) => error,
            };
            match error.code() {
                Some(ErrorCode::MemberIdRequired | ErrorCode::RebalanceInProgress) => {}
                Some(ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration) => {
                    self.member_id.clear();
                }
                _ => return Err(error),
            }
            if joins >= JOINS_MAX {
                return Err(error);
            }
        }
    }

    /// Tells the coordinator that we live, if it is time to.
    ///
    /// # Errors
    /// Of the call.
    pub fn heartbeat(&mut self, cluster: &mut Cluster) -> Result<Standing, ClientError> {
        if !self.is_heartbeat_due() {
            return Ok(Standing::Member);
        }
        self.last_heartbeat = Instant::now();
        let request = HeartbeatRequest {
            group_id: self.group.as_str().into(),
            generation_id: self.generation,
            member_id: self.member_id.as_str().into(),
            group_instance_id: None,
        };
        let group = &self.group;
        let done = cluster.at_coordinator(group, |coordinator| {
            let answer = coordinator.call(&request)?;
            let response: HeartbeatResponse = answer.read()?;
            check(response.error_code, None, || format!("group {group}"))
        });
        standing(done)
    }

    /// Whether it is time for a heartbeat, and for a commit with it.
    #[must_use]
    pub fn is_heartbeat_due(&self) -> bool {
        self.last_heartbeat.elapsed() >= HEARTBEAT_INTERVAL
    }

    /// Commits.
    ///
    /// # Errors
    /// Of the call.
    pub fn commit(
        &self,
        cluster: &mut Cluster,
        offsets: &BTreeMap<TopicPartition, i64>,
    ) -> Result<Standing, ClientError> {
        if offsets.is_empty() {
            return Ok(Standing::Member);
        }
        let committer = Committer {
            member_id: &self.member_id,
            generation: self.generation,
        };
        standing(commit_offsets(cluster, &self.group, committer, offsets))
    }

    /// Leaves, so that others need not wait for the session to end.
    ///
    /// # Errors
    /// Of the call.
    pub fn leave(&self, cluster: &mut Cluster) -> Result<(), ClientError> {
        let request = LeaveGroupRequest {
            group_id: self.group.as_str().into(),
            member_id: self.member_id.as_str().into(),
            members: vec![MemberIdentity {
                member_id: self.member_id.as_str().into(),
                ..MemberIdentity::default()
            }],
        };
        cluster.at_coordinator(&self.group, |coordinator| {
            let answer = coordinator.call(&request)?;
            let response: LeaveGroupResponse<'_> = answer.read()?;
            check(response.error_code, None, || {
                format!("group {}", self.group)
            })
        })
    }

    fn ask_to_join(&mut self, cluster: &mut Cluster) -> Result<Joined, ClientError> {
        let member_id = self.member_id.clone();
        let request = JoinGroupRequest {
            group_id: self.group.as_str().into(),
            session_timeout_ms: milliseconds(SESSION_TIMEOUT),
            rebalance_timeout_ms: Some(milliseconds(REBALANCE_TIMEOUT)),
            member_id: member_id.as_str().into(),
            protocol_type: PROTOCOL_TYPE.into(),
            protocols: vec![JoinGroupRequestProtocol {
                name: RANGE.into(),
                metadata: subscription(&self.topics).into(),
            }],
            ..JoinGroupRequest::default()
        };
        let group = self.group.clone();
        let (id, generation, joined) = cluster.at_coordinator(&group, |coordinator| {
            let answer = coordinator.call_up_to(i16::MAX, REBALANCE_TIMEOUT, &request)?;
            let response: JoinGroupResponse<'_> = answer.read()?;
            if response.error_code == ErrorCode::MemberIdRequired {
                // The next join has to bring this id.
                return Ok((response.member_id.to_string(), -1, None));
            }
            check(response.error_code, None, || format!("group {group}"))?;
            let members = response.members.iter();
            let joined = Joined {
                protocol: response
                    .protocol_name
                    .as_deref()
                    .unwrap_or(RANGE)
                    .to_owned(),
                members: members
                    .map(|one| (one.member_id.to_string(), subscribed_topics(&one.metadata)))
                    .collect(),
            };
            let id = response.member_id.to_string();
            Ok((id, response.generation_id, Some(joined)))
        })?;
        self.member_id = id;
        self.generation = generation;
        joined.ok_or_else(|| {
            ClientError::refused(format!("group {group}"), ErrorCode::MemberIdRequired, None)
        })
    }

    fn sync(
        &self,
        cluster: &mut Cluster,
        joined: &Joined,
    ) -> Result<Vec<TopicPartition>, ClientError> {
        let assigned = share_out(cluster, &joined.members)?;
        let group = &self.group;
        let assignments = assigned.iter();
        let request = SyncGroupRequest {
            group_id: group.as_str().into(),
            generation_id: self.generation,
            member_id: self.member_id.as_str().into(),
            group_instance_id: None,
            protocol_type: Some(PROTOCOL_TYPE.into()),
            protocol_name: Some(joined.protocol.as_str().into()),
            assignments: assignments
                .map(|(member, partitions)| SyncGroupRequestAssignment {
                    member_id: member.as_str().into(),
                    assignment: assignment(partitions).into(),
                })
                .collect(),
        };
        cluster.at_coordinator(group, |coordinator| {
            let answer = coordinator.call_up_to(i16::MAX, REBALANCE_TIMEOUT, &request)?;
            let response: SyncGroupResponse<'_> = answer.read()?;
            check(response.error_code, None, || format!("group {group}"))?;
            Ok(assigned_partitions(&response.assignment))
        })
    }
}

/// What the leader assigns; nothing for those who do not lead.
fn share_out(
    cluster: &mut Cluster,
    members: &BTreeMap<String, Vec<String>>,
) -> Result<BTreeMap<String, Vec<TopicPartition>>, ClientError> {
    if members.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut names: Vec<String> = members.values().flatten().cloned().collect();
    names.sort();
    names.dedup();
    let topics = cluster.topics(Some(&names), false)?;
    let counts = topics.iter();
    let counts = counts.map(|topic| (topic.name.clone(), topic.partition_count()));
    Ok(assign_ranges(members, &counts.collect()))
}

fn standing(done: Result<(), ClientError>) -> Result<Standing, ClientError> {
    let Err(error) = done else {
        return Ok(Standing::Member);
    };
    match error.code() {
        Some(ErrorCode::RebalanceInProgress) => Ok(Standing::Rebalancing),
        Some(
            ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration | ErrorCode::FencedInstanceId,
        ) => Ok(Standing::Lost),
        _ => Err(error),
    }
}

fn milliseconds(time: Duration) -> i32 {
    i32::try_from(time.as_millis()).unwrap_or(i32::MAX)
}
