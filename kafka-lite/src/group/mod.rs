//! Classic consumer groups: members agree on who reads what, and where they are is remembered.
//!
//! What it is        the group coordinator of one shard as a state machine: JoinGroup, SyncGroup,
//!                   Heartbeat, LeaveGroup, OffsetCommit, OffsetFetch, OffsetDelete, DeleteGroups,
//!                   DescribeGroups and ListGroups, over the records of `__consumer_offsets`.
//! What it is not    a codec (the owner converts), the log (appends leave as outputs and come back
//!                   by [`Coordinator::handle_persisted`]), or an authority on topics: the owner
//!                   takes partitions that do not exist out of a commit and answers them itself
//!                   (UNKNOWN_TOPIC_OR_PARTITION). KIP-848 groups have no room here.
//! Contract          After each input the owner drains [`Coordinator::poll_output`] and arms a
//!                   timer for [`Coordinator::poll_timeout`]. Every request is answered exactly
//!                   once by its token, at once or later, unless its connection was reported lost.
//!                   Completions of appends come in the order of their ids within a partition. A
//!                   partition of `__consumer_offsets` is served after `start_loading`, any number
//!                   of `load_record` and `finish_loading`, until `unload`.
//! Invariants        1. each group obeys the invariants of `state.rs`.
//!                   2. every group belongs to a partition that is loading or active.
//!                   3. the memory and member counts are the sums over the groups.
//!                   4. every timer of a group is covered by its entry in the timer queue.
//!                   5. every held token is that of exactly one join or sync.
//! Source            Apache Kafka 4.x `group-coordinator` (classic groups); KIP-62, 134, 211, 345,
//!                   394, 814; `docs/formats/consumer-offsets.md`.
//! Reading order     `request`, then here, `join`, `rebalance`, `sync`, `commit`, `expiry`, `load`.

mod commit;
mod effects;
mod error;
mod expiry;
mod inputs;
mod join;
pub mod limits;
mod load;
mod look;
mod member;
mod offsets;
mod options;
mod partition;
mod rebalance;
pub mod records;
mod request;
mod state;
mod subscription;
mod sync;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use self::error::{AppendError, GroupError};
pub use self::look::{
    CLASSIC_GROUP_TYPE, FetchedTopic, GroupDescription, ListedGroup, MemberDescription,
};
pub use self::options::{Now, Options};
pub use self::partition::partition_for;
pub use self::records::CommittedOffset;
pub use self::request::{
    AppendId, CommitPartition, CommitTopic, HeartbeatRequest, JoinGroupReply, JoinGroupRequest,
    JoinedMember, LeaveGroupReply, LeaveGroupRequest, LeavingMember, OffsetCommitRequest,
    OffsetDeleteRequest, OffsetsReply, Output, PartitionResults, Protocol, Record, Reply,
    ReplyToken, SyncGroupReply, SyncGroupRequest,
};
pub use self::state::GroupState;

use self::effects::{Context, Effects};
use self::state::Group;

/// Whether a partition of `__consumer_offsets` can serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PartitionState {
    Loading,
    Active,
}

/// Results of a DeleteGroups request that are not all known yet.
#[derive(Debug)]
struct DeleteRequest {
    results: Vec<(String, Option<GroupError>)>,
    remaining: usize,
}

/// The group coordinator of one shard.
#[derive(Debug)]
pub struct Coordinator {
    options: Options,
    partitions: BTreeMap<i32, PartitionState>,
    groups: BTreeMap<Arc<str>, Group>,
    /// Wake-up times of groups; at most one per group.
    timers: BTreeSet<(u64, Arc<str>)>,
    effects: Effects,
    deletes: BTreeMap<ReplyToken, DeleteRequest>,
    next_expiry_ms: Option<u64>,
    expiry_enabled: bool,
    memory_bytes: usize,
    member_count: usize,
}

impl Coordinator {
    /// Creates a coordinator that serves no partition yet.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self {
            options,
            partitions: BTreeMap::new(),
            groups: BTreeMap::new(),
            timers: BTreeSet::new(),
            effects: Effects::default(),
            deletes: BTreeMap::new(),
            next_expiry_ms: None,
            expiry_enabled: true,
            memory_bytes: 0,
            member_count: 0,
        }
    }

    /// Takes the next reply or append. The queue holds what the inputs since the last drain left:
    /// per input at most one reply per waiting member, and one append per group.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.effects.outputs.pop_front()
    }

    /// Returns the monotonic milliseconds at which [`Coordinator::handle_timeout`] is due; it may
    /// be earlier than the first deadline, never later.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        let group = self.timers.first().map(|(wake_ms, _)| *wake_ms);
        let expiry = self
            .next_expiry_ms
            .filter(|_| self.expiry_enabled && !self.groups.is_empty());
        group.into_iter().chain(expiry).min()
    }

    /// Returns the partition of `__consumer_offsets` that holds a group.
    #[must_use]
    pub fn partition_of(&self, group_id: &str) -> i32 {
        partition_for(group_id, self.options.partition_count)
    }

    /// Returns the estimate of the bytes that groups, members, offsets and appends in flight hold.
    #[must_use]
    pub const fn memory_bytes(&self) -> usize {
        self.memory_bytes + self.effects.in_flight_bytes
    }

    /// Returns the number of groups, loading ones included.
    #[must_use]
    pub fn group_count(&self) -> usize {
        self.groups.len()
    }

    /// Returns the number of members of all groups, those with only an id included.
    #[must_use]
    pub const fn member_count(&self) -> usize {
        self.member_count
    }

    /// Returns the number of requests that are held: joins, syncs, and what waits for an append.
    #[must_use]
    pub fn held_count(&self) -> usize {
        self.effects.waiting.len() + self.effects.pending.len()
    }

    fn is_loading(&self) -> bool {
        self.partitions
            .values()
            .any(|state| *state == PartitionState::Loading)
    }

    /// # Errors
    /// NOT_COORDINATOR or COORDINATOR_LOAD_IN_PROGRESS.
    fn check_partition(&self, group_id: &str) -> Result<i32, GroupError> {
        let partition = self.partition_of(group_id);
        match self.partitions.get(&partition) {
            None => Err(GroupError::NotCoordinator),
            Some(PartitionState::Loading) => Err(GroupError::CoordinatorLoadInProgress),
            Some(PartitionState::Active) => Ok(partition),
        }
    }

    /// Runs a rule on a group and brings timers and counts up to date.
    fn with_group<R>(
        &mut self,
        now: Now,
        group_id: &str,
        rule: impl FnOnce(&mut Group, &mut Context<'_>) -> R,
    ) -> Option<R> {
        let group = self.groups.get_mut(group_id)?;
        let effects = &mut self.effects;
        let mut context = Context {
            now,
            options: &self.options,
            effects,
        };
        let result = rule(group, &mut context);
        #[cfg(debug_assertions)]
        group.check_invariants();
        self.settle(group_id);
        Some(result)
    }

    fn insert_group(&mut self, group_id: &str, partition: i32) {
        let id: Arc<str> = Arc::from(group_id);
        self.groups
            .insert(Arc::clone(&id), Group::new(id, partition));
        self.settle_counts(group_id);
    }

    fn settle(&mut self, group_id: &str) {
        self.settle_counts(group_id);
        if self.groups.get(group_id).is_some_and(Group::is_forgotten) {
            self.remove_group(group_id);
            return;
        }
        let Some(group) = self.groups.get_mut(group_id) else {
            return;
        };
        let deadline = group.next_deadline();
        let Some(deadline_ms) = deadline else {
            if let Some(wake_ms) = group.wake_ms.take() {
                self.timers.remove(&(wake_ms, Arc::clone(&group.id)));
            }
            return;
        };
        // Deadlines mostly move away; the entry is left to fire early and is renewed then.
        if group.wake_ms.is_none_or(|wake_ms| wake_ms > deadline_ms) {
            if let Some(wake_ms) = group.wake_ms.replace(deadline_ms) {
                self.timers.remove(&(wake_ms, Arc::clone(&group.id)));
            }
            self.timers.insert((deadline_ms, Arc::clone(&group.id)));
        }
    }

    fn settle_counts(&mut self, group_id: &str) {
        let Some(group) = self.groups.get_mut(group_id) else {
            return;
        };
        let bytes = group.memory_bytes();
        let members = group.members.len() + group.pending_members.len();
        self.memory_bytes = self.memory_bytes + bytes - group.charged_bytes;
        self.member_count = self.member_count + members - group.charged_members;
        group.charged_bytes = bytes;
        group.charged_members = members;
    }

    fn remove_group(&mut self, group_id: &str) -> Option<Group> {
        let group = self.groups.remove(group_id)?;
        self.memory_bytes -= group.charged_bytes;
        self.member_count -= group.charged_members;
        if let Some(wake_ms) = group.wake_ms {
            self.timers.remove(&(wake_ms, Arc::clone(&group.id)));
        }
        Some(group)
    }

    /// Asserts what the module promises; the numbers are those of its documentation. For tests: its
    /// cost grows with everything that is held.
    ///
    /// # Panics
    /// If an invariant does not hold.
    pub fn check_invariants(&self) {
        for group in self.groups.values() {
            group.check_invariants();
            assert!(
                self.partitions.contains_key(&group.partition),
                "2: {}",
                group.id
            );
            let deadline = group.next_deadline();
            let covered = deadline.is_none_or(|at| group.wake_ms.is_some_and(|wake| wake <= at));
            assert!(covered, "4: {}", group.id);
        }
        let bytes: usize = self.groups.values().map(Group::memory_bytes).sum();
        assert_eq!(bytes, self.memory_bytes, "3");
        let members = |group: &Group| group.members.len() + group.pending_members.len();
        assert_eq!(
            self.groups.values().map(members).sum::<usize>(),
            self.member_count,
            "3"
        );
        let scheduled = self
            .groups
            .values()
            .filter(|group| group.wake_ms.is_some())
            .count();
        assert_eq!(scheduled, self.timers.len(), "4");
        let all = self
            .groups
            .values()
            .flat_map(|group| group.members.values());
        let tokens: Vec<ReplyToken> = all
            .flat_map(|member| member.awaiting_join.into_iter().chain(member.awaiting_sync))
            .collect();
        assert_eq!(tokens.len(), self.effects.waiting.len(), "5");
        assert!(
            tokens
                .iter()
                .all(|token| self.effects.waiting.contains_key(token)),
            "5"
        );
    }
}
