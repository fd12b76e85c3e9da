//! One group: its members, its offsets and its state.
//!
//! Invariants        1. the leader is a member; there is one if and only if there are members.
//!                   2. a group without members is Empty, Dead or PreparingRebalance, never
//!                      CompletingRebalance or Stable.
//!                   3. every static instance id maps to a member that carries it, and back.
//!                   4. a pending member is no member.
//!                   5. the join timer runs exactly in PreparingRebalance.
//!                   6. only members wait for a sync, and only while the sync timer runs.
//!                   7. nobody awaits a sync, and no assignment is on its way to the log, outside
//!                      CompletingRebalance.
//! Source            `ClassicGroup` of Apache Kafka 4.x.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::effects::{Change, Context, PendingAppend};
use super::error::GroupError;
use super::limits;
use super::member::{Member, Members};
use super::offsets::Offsets;
use super::records::{GroupMetadata, encode_group_key, encode_group_value};
use super::request::{AppendId, Record, ReplyToken};
use super::subscription::{CONSUMER_PROTOCOL_TYPE, subscribed_topics};

/// The state of a group, by Kafka's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupState {
    /// No members; it may hold offsets.
    Empty,
    /// Waiting for members to join.
    PreparingRebalance,
    /// Waiting for the leader's assignment.
    CompletingRebalance,
    /// Every member has its assignment.
    Stable,
    /// Being removed.
    Dead,
}

impl fmt::Display for GroupState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
            Self::Dead => "Dead",
        })
    }
}

/// What happens when a rebalance has waited long enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct JoinTimer {
    /// Monotonic milliseconds.
    pub(super) deadline_ms: u64,
    /// Set in the first rebalance of an empty group, which new members extend.
    pub(super) initial: Option<InitialDelay>,
}

/// The first rebalance of an empty group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InitialDelay {
    /// Length of the delay that runs.
    pub(super) delay_ms: u64,
    /// What is left of the rebalance timeout after it.
    pub(super) remaining_ms: u64,
}

/// The removal of a whole group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deleting {
    /// The DeleteGroups request, unless the group expired.
    pub(super) token: Option<ReplyToken>,
    /// Appends that are left.
    pub(super) appends: usize,
    /// The first failure.
    pub(super) failed: Option<GroupError>,
}

/// A group.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) id: Arc<str>,
    pub(super) partition: i32,
    pub(super) state: GroupState,
    pub(super) state_timestamp_ms: Option<i64>,
    pub(super) protocol_type: Option<String>,
    pub(super) protocol_name: Option<String>,
    pub(super) generation_id: i32,
    pub(super) leader: Option<String>,
    pub(super) members: Members,
    /// Instance id to member id.
    pub(super) static_members: BTreeMap<String, String>,
    /// Members that were given an id and have not joined yet, with their deadline.
    pub(super) pending_members: BTreeMap<String, u64>,
    /// Members of the generation that have not sent a sync yet.
    pub(super) pending_sync: BTreeSet<String>,
    pub(super) sync_deadline_ms: Option<u64>,
    pub(super) join_timer: Option<JoinTimer>,
    pub(super) new_member_added: bool,
    /// The assignment of this generation is on its way to the log.
    pub(super) assignment_append: Option<AppendId>,
    /// Known only for protocol type `consumer` and when every subscription could be read.
    pub(super) subscribed_topics: Option<BTreeSet<String>>,
    pub(super) offsets: Offsets,
    /// The log has, or is about to have, a metadata record of the group.
    pub(super) recorded: bool,
    pub(super) deleting: Option<Deleting>,
    /// When the coordinator looks at the group's timers next; not after the first deadline.
    pub(super) wake_ms: Option<u64>,
    pub(super) charged_bytes: usize,
    pub(super) charged_members: usize,
}

impl Group {
    pub(super) fn new(id: Arc<str>, partition: i32) -> Self {
        Self {
            id,
            partition,
            state: GroupState::Empty,
            state_timestamp_ms: None,
            protocol_type: None,
            protocol_name: None,
            generation_id: 0,
            leader: None,
            members: Members::new(),
            static_members: BTreeMap::new(),
            pending_members: BTreeMap::new(),
            pending_sync: BTreeSet::new(),
            sync_deadline_ms: None,
            join_timer: None,
            new_member_added: false,
            assignment_append: None,
            subscribed_topics: None,
            offsets: Offsets::default(),
            recorded: false,
            deleting: None,
            wake_ms: None,
            charged_bytes: 0,
            charged_members: 0,
        }
    }

    pub(super) fn is_leader(&self, member_id: &str) -> bool {
        self.leader.as_deref() == Some(member_id)
    }

    /// Nothing is known of the group that the log or a client could ask for.
    pub(super) fn is_forgotten(&self) -> bool {
        self.state == GroupState::Empty
            && !self.recorded
            && self.pending_members.is_empty()
            && self.offsets.is_empty()
    }

    pub(super) fn uses_consumer_protocol(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER_PROTOCOL_TYPE)
    }

    /// Says whether members read the topic. Unknown subscriptions count as subscribed.
    pub(super) fn is_subscribed_to(&self, topic: &str) -> bool {
        let active = !self.members.is_empty() && self.uses_consumer_protocol();
        active
            && self
                .subscribed_topics
                .as_ref()
                .is_none_or(|topics| topics.contains(topic))
    }

    pub(super) fn transition(&mut self, context: &Context<'_>, state: GroupState) {
        self.state = state;
        self.state_timestamp_ms = Some(context.now.timestamp_ms);
        if state != GroupState::PreparingRebalance {
            self.join_timer = None;
            self.new_member_added = false;
        }
    }

    /// Checks member and instance id.
    ///
    /// # Errors
    /// UNKNOWN_MEMBER_ID, or FENCED_INSTANCE_ID if another member has taken the instance id over.
    pub(super) fn check_member(
        &self,
        member_id: &str,
        group_instance_id: Option<&str>,
    ) -> Result<(), GroupError> {
        if let Some(instance_id) = group_instance_id {
            match self.static_members.get(instance_id) {
                None => return Err(GroupError::UnknownMemberId),
                Some(current) if current != member_id => return Err(GroupError::FencedInstanceId),
                Some(_) => {}
            }
        }
        if self.members.contains_key(member_id) {
            Ok(())
        } else {
            Err(GroupError::UnknownMemberId)
        }
    }

    /// Computes what the members read from their subscriptions to the chosen protocol.
    pub(super) fn refresh_subscribed_topics(&mut self) {
        let protocol_name = self.protocol_name.as_deref();
        self.subscribed_topics = match protocol_name {
            Some(name) if self.uses_consumer_protocol() => self
                .members
                .values()
                .map(|member| subscribed_topics(&member.metadata(name)))
                .try_fold(BTreeSet::new(), |mut all, topics| {
                    all.extend(topics?);
                    Some(all)
                }),
            _ => None,
        };
    }

    pub(super) fn rebalance_timeout_ms(&self) -> u64 {
        self.members
            .values()
            .map(|member| member.rebalance_timeout_ms)
            .max()
            .unwrap_or(0)
    }

    pub(super) fn reset_session(member: &mut Member, context: &Context<'_>) {
        let timeout_ms = if member.is_new {
            context.options.new_member_join_timeout_ms
        } else {
            member.session_timeout_ms
        };
        member.session_deadline_ms = context.now.monotonic_ms.saturating_add(timeout_ms);
    }

    /// Returns the first moment at which a timer of the group has something to do.
    pub(super) fn next_deadline(&self) -> Option<u64> {
        let sessions = self.members.values().filter_map(Member::session_deadline);
        let pending = self.pending_members.values().copied();
        let join = self.join_timer.map(|timer| timer.deadline_ms);
        sessions
            .chain(pending)
            .chain(join)
            .chain(self.sync_deadline_ms)
            .min()
    }

    /// Builds the metadata record, with the assignments of the members or with given ones.
    pub(super) fn to_record(&self, assignments: Option<&BTreeMap<String, Bytes>>) -> Record {
        let name = self.protocol_name.as_deref().unwrap_or_default();
        let assignment = |member: &Member| match assignments {
            Some(given) => given.get(&member.member_id).cloned().unwrap_or_default(),
            None => member.assignment.clone(),
        };
        let metadata = GroupMetadata {
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            generation_id: self.generation_id,
            protocol_name: self.protocol_name.clone(),
            leader: self.leader.clone(),
            state_timestamp_ms: self.state_timestamp_ms,
            members: self
                .members
                .values()
                .map(|member| member.to_record(name, assignment(member)))
                .collect(),
        };
        Record {
            key: encode_group_key(&self.id),
            value: Some(encode_group_value(&metadata)),
        }
    }

    /// Sends records of this group to the log.
    pub(super) fn append(
        &self,
        context: &mut Context<'_>,
        change: Change,
        records: Vec<Record>,
    ) -> AppendId {
        let group_id = Arc::clone(&self.id);
        let pending = PendingAppend {
            group_id,
            partition: self.partition,
            change,
            bytes: 0,
        };
        context.effects.append(pending, records)
    }

    /// Bytes that the group is counted with.
    pub(super) fn memory_bytes(&self) -> usize {
        let pending: usize = self.pending_members.keys().map(|id| id.len() + 96).sum();
        let members: usize = self.members.values().map(Member::memory_bytes).sum();
        limits::GROUP_OVERHEAD_BYTES
            + 2 * self.id.len()
            + pending
            + members
            + self.offsets.memory_bytes()
    }

    /// Asserts what the module promises; the numbers are those of its documentation.
    ///
    /// # Panics
    /// If an invariant does not hold.
    pub(super) fn check_invariants(&self) {
        let has_leader = self
            .leader
            .as_ref()
            .is_some_and(|id| self.members.contains_key(id));
        assert_eq!(has_leader, !self.members.is_empty(), "1: {}", self.id);
        assert!(has_leader || self.leader.is_none(), "1: {}", self.id);
        let active = matches!(
            self.state,
            GroupState::CompletingRebalance | GroupState::Stable
        );
        assert!(!(active && self.members.is_empty()), "2: {}", self.id);
        let statics = self
            .members
            .values()
            .filter(|member| member.group_instance_id.is_some());
        assert_eq!(statics.count(), self.static_members.len(), "3: {}", self.id);
        for (instance_id, member_id) in &self.static_members {
            let instance = self
                .members
                .get(member_id)
                .and_then(|member| member.group_instance_id.as_ref());
            assert_eq!(instance, Some(instance_id), "3: {}", self.id);
        }
        let joined = self
            .pending_members
            .keys()
            .any(|id| self.members.contains_key(id));
        assert!(!joined, "4: {}", self.id);
        let preparing = self.state == GroupState::PreparingRebalance;
        assert_eq!(self.join_timer.is_some(), preparing, "5: {}", self.id);
        let known = self
            .pending_sync
            .iter()
            .all(|id| self.members.contains_key(id));
        assert!(known, "6: {}", self.id);
        assert_eq!(
            self.sync_deadline_ms.is_some(),
            !self.pending_sync.is_empty(),
            "6: {}",
            self.id
        );
        let awaits_sync = self
            .members
            .values()
            .any(|member| member.awaiting_sync.is_some());
        let completing = self.state == GroupState::CompletingRebalance;
        assert!(completing || !awaits_sync, "7: {}", self.id);
        assert!(
            completing || self.assignment_append.is_none(),
            "7: {}",
            self.id
        );
    }
}
