//! The inputs of the coordinator: each checks, routes to a group, and answers what cannot go there.
//!
//! Invariants        1. every request is answered or held before its `handle_*` returns.

use std::sync::Arc;

use super::commit::{commit_error, fail_successes};
use super::effects::{Change, Forgotten, PendingAppend};
use super::error::{AppendError, GroupError};
use super::member::{Member, protocol_bytes};
use super::rebalance::{join_error, sync_error};
use super::request::{
    AppendId, HeartbeatRequest, JoinGroupRequest, LeaveGroupReply, LeaveGroupRequest,
    OffsetCommitRequest, OffsetDeleteRequest, OffsetsReply, Reply, ReplyToken, SyncGroupRequest,
};
use super::state::Group;
use super::{Coordinator, DeleteRequest, Now, limits};

impl Coordinator {
    /// Handles JoinGroup. `uuid` is 128 random bits, used if the member needs an id.
    ///
    /// The reply comes when the rebalance completes, or at once if there is nothing to wait for.
    pub fn handle_join_group(
        &mut self,
        now: Now,
        token: ReplyToken,
        request: &JoinGroupRequest,
        uuid: u128,
    ) {
        let checked = self.check_join(request);
        let partition = match checked {
            Ok(partition) => partition,
            Err(error) => {
                let reply = join_error(&request.member_id, error);
                return self.effects.reply(token, Reply::JoinGroup(reply));
            }
        };
        let group_id = request.group_id.as_str();
        if !self.groups.contains_key(group_id) {
            self.insert_group(group_id, partition);
        }
        self.with_group(now, group_id, |group, context| {
            group.handle_join(context, token, request, uuid);
        });
    }

    fn check_join(&self, request: &JoinGroupRequest) -> Result<i32, GroupError> {
        let partition = self.check_group(&request.group_id)?;
        let timeouts = self.options.session_timeout_min_ms..=self.options.session_timeout_max_ms;
        if !timeouts.contains(&request.session_timeout_ms) {
            return Err(GroupError::InvalidSessionTimeout);
        }
        if request.protocols.len() > limits::PROTOCOLS_PER_MEMBER_MAX {
            return Err(GroupError::InconsistentGroupProtocol);
        }
        let group = self.groups.get(request.group_id.as_str());
        if group.is_none() && !request.member_id.is_empty() {
            return Err(GroupError::UnknownMemberId);
        }
        let member = group.and_then(|group| group.members.get(&request.member_id));
        let replaces = request
            .group_instance_id
            .as_ref()
            .is_some_and(|instance_id| {
                group.is_some_and(|group| group.static_members.contains_key(instance_id))
            });
        let pending =
            group.is_some_and(|group| group.pending_members.contains_key(&request.member_id));
        let takes_place = member.is_none() && !replaces && !pending;
        if self.fits_join(request, group.is_none(), takes_place, member) {
            self.check_appends().map(|()| partition)
        } else {
            Err(GroupError::GroupMaxSizeReached)
        }
    }

    fn fits_join(
        &self,
        request: &JoinGroupRequest,
        new_group: bool,
        takes_place: bool,
        member: Option<&Member>,
    ) -> bool {
        let bytes = protocol_bytes(&request.protocols);
        let before = member.map_or(0, |member| protocol_bytes(&member.protocols));
        let grows = bytes.saturating_sub(before)
            + if takes_place {
                limits::MEMBER_OVERHEAD_BYTES
            } else {
                0
            }
            + if new_group {
                limits::GROUP_OVERHEAD_BYTES
            } else {
                0
            };
        let names = request.protocols.iter().map(|protocol| &protocol.name);
        let names = names.chain(&request.group_instance_id).chain([
            &request.protocol_type,
            &request.client_id,
            &request.client_host,
        ]);
        let longest = names.map(String::len).max().unwrap_or(0);
        let members = self.member_count + usize::from(takes_place);
        let groups = self.groups.len() + usize::from(new_group);
        bytes <= limits::MEMBER_METADATA_BYTES_MAX
            && longest <= limits::NAME_BYTES_MAX
            && members <= self.options.members_max
            && groups <= self.options.groups_max
            && (grows == 0 || self.memory_bytes() + grows <= self.options.memory_bytes_max)
    }

    fn check_appends(&self) -> Result<(), GroupError> {
        if self.effects.pending.len() < limits::APPENDS_IN_FLIGHT_MAX {
            Ok(())
        } else {
            Err(GroupError::CoordinatorNotAvailable)
        }
    }

    /// Checks the group id of a request that needs a member.
    fn check_group(&self, group_id: &str) -> Result<i32, GroupError> {
        if group_id.is_empty() {
            return Err(GroupError::InvalidGroupId);
        }
        self.check_group_or_empty(group_id)
    }

    /// Checks the group id of a request on offsets; old consumers use the empty group.
    fn check_group_or_empty(&self, group_id: &str) -> Result<i32, GroupError> {
        if group_id.len() > limits::NAME_BYTES_MAX {
            return Err(GroupError::InvalidGroupId);
        }
        self.check_partition(group_id)
    }

    /// Handles SyncGroup. The reply comes with the assignment, once it is durable.
    pub fn handle_sync_group(&mut self, now: Now, token: ReplyToken, request: &SyncGroupRequest) {
        let bytes: usize = request
            .assignments
            .iter()
            .map(|(_, bytes)| bytes.len())
            .sum();
        let fits = self.memory_bytes() + bytes <= self.options.memory_bytes_max;
        let checked = self
            .check_group(&request.group_id)
            .and_then(|_| self.check_appends());
        let result = checked.and_then(|()| {
            if bytes > 0 && !fits {
                return Err(GroupError::CoordinatorNotAvailable);
            }
            self.with_group(now, &request.group_id, |group, context| {
                group.handle_sync(context, token, request);
            })
            .ok_or(GroupError::UnknownMemberId)
        });
        if let Err(error) = result {
            self.effects
                .reply(token, Reply::SyncGroup(sync_error(error)));
        }
    }

    /// Handles Heartbeat; the reply comes at once.
    pub fn handle_heartbeat(&mut self, now: Now, token: ReplyToken, request: &HeartbeatRequest) {
        let result = self.check_group(&request.group_id).and_then(|_| {
            self.with_group(now, &request.group_id, |group, context| {
                group.handle_heartbeat(context, request)
            })
            .unwrap_or(Err(GroupError::UnknownMemberId))
        });
        self.effects.reply(token, Reply::Heartbeat(result.err()));
    }

    /// Handles LeaveGroup; the reply comes at once.
    pub fn handle_leave_group(&mut self, now: Now, token: ReplyToken, request: &LeaveGroupRequest) {
        let result = self.check_group(&request.group_id).and_then(|_| {
            self.with_group(now, &request.group_id, |group, context| {
                group.handle_leave(context, request)
            })
            .unwrap_or_else(|| {
                // A group that does not exist knows none of them.
                let unknown = Some(GroupError::UnknownMemberId);
                let members = request.members.iter().cloned();
                Ok(members.map(|member| (member, unknown)).collect())
            })
        });
        let reply = match result {
            Ok(members) => LeaveGroupReply {
                error: None,
                members,
            },
            Err(error) => LeaveGroupReply {
                error: Some(error),
                members: Vec::new(),
            },
        };
        self.effects.reply(token, Reply::LeaveGroup(reply));
    }

    /// Handles OffsetCommit. The reply comes when the offsets are durable.
    pub fn handle_offset_commit(
        &mut self,
        now: Now,
        token: ReplyToken,
        request: &OffsetCommitRequest,
    ) {
        let partition = match self.check_commit(request) {
            Ok(partition) => partition,
            Err(error) => {
                let reply = commit_error(request, error);
                return self.effects.reply(token, Reply::OffsetCommit(reply));
            }
        };
        let group_id = request.group_id.as_str();
        if !self.groups.contains_key(group_id) {
            self.insert_group(group_id, partition);
        }
        self.with_group(now, group_id, |group, context| {
            group.handle_commit(context, token, request);
        });
    }

    fn check_commit(&self, request: &OffsetCommitRequest) -> Result<i32, GroupError> {
        /// First version that knows a missing group as such.
        const GROUP_ID_NOT_FOUND_VERSION: i16 = 9;
        let partition = self.check_group_or_empty(&request.group_id)?;
        self.check_appends()?;
        let exists = self.groups.contains_key(request.group_id.as_str());
        if !exists && request.generation_id >= 0 {
            return Err(if request.api_version >= GROUP_ID_NOT_FOUND_VERSION {
                GroupError::GroupIdNotFound
            } else {
                GroupError::IllegalGeneration
            });
        }
        let partitions = request.topics.iter().flat_map(|topic| &topic.partitions);
        let bytes: usize = partitions
            .map(|one| limits::OFFSET_OVERHEAD_BYTES + one.metadata.len())
            .sum::<usize>()
            + request
                .topics
                .iter()
                .map(|topic| topic.name.len())
                .sum::<usize>();
        let groups = self.groups.len() + usize::from(!exists);
        if self.memory_bytes() + bytes > self.options.memory_bytes_max
            || groups > self.options.groups_max
        {
            return Err(GroupError::InvalidCommitOffsetSize);
        }
        Ok(partition)
    }

    /// Handles OffsetDelete. The reply comes when the offsets are durably gone.
    pub fn handle_offset_delete(
        &mut self,
        now: Now,
        token: ReplyToken,
        request: &OffsetDeleteRequest,
    ) {
        let checked = self
            .check_group(&request.group_id)
            .and_then(|_| self.check_appends());
        let result = checked.and_then(|()| {
            self.with_group(now, &request.group_id, |group, context| {
                group.handle_offset_delete(context, token, request);
            })
            .ok_or(GroupError::GroupIdNotFound)
        });
        if let Err(error) = result {
            let reply = OffsetsReply {
                error: Some(error),
                topics: Vec::new(),
            };
            self.effects.reply(token, Reply::OffsetDelete(reply));
        }
    }

    /// Handles DeleteGroups. The reply comes when every group that can be deleted durably is.
    pub fn handle_delete_groups(&mut self, now: Now, token: ReplyToken, group_ids: &[String]) {
        let mut results = Vec::with_capacity(group_ids.len());
        let mut remaining = 0;
        for group_id in group_ids {
            let checked = self
                .check_group_or_empty(group_id)
                .and_then(|_| self.check_appends());
            let result = checked.and_then(|()| {
                self.with_group(now, group_id, |group, context| {
                    group.begin_delete(context, Some(token))
                })
                .unwrap_or(Err(GroupError::GroupIdNotFound))
            });
            remaining += usize::from(result.is_ok());
            // Until its tombstones are durable, a group counts as not available.
            let result = result.err().or(Some(GroupError::CoordinatorNotAvailable));
            results.push((group_id.clone(), result));
        }
        if remaining == 0 {
            self.effects.reply(token, Reply::DeleteGroups(results));
        } else {
            self.deletes
                .insert(token, DeleteRequest { results, remaining });
        }
    }

    /// Forgets the offsets of a deleted topic in every group that is served here.
    pub fn handle_topic_deleted(&mut self, now: Now, topic: &str) {
        let with_topic = |group: &&Group| {
            group.offsets.partitions(topic).is_some() && self.check_partition(&group.id).is_ok()
        };
        let group_ids: Vec<Arc<str>> = self
            .groups
            .values()
            .filter(with_topic)
            .map(|group| Arc::clone(&group.id))
            .collect();
        for group_id in group_ids {
            self.with_group(now, &group_id, |group, context| {
                group.forget_topic(context, topic)
            });
        }
    }

    /// Handles the loss of the connection that brought a request: its answer reaches nobody.
    ///
    /// A held join no longer counts as joined; the member has its session timeout to come back. A
    /// member whose id nobody knows is removed at once. For any other token nothing happens; a
    /// reply may still come and is to be ignored.
    pub fn handle_disconnect(&mut self, now: Now, token: ReplyToken) {
        let Some(waiting) = self.effects.waiting.remove(&token) else {
            return;
        };
        self.with_group(now, &waiting.group_id, |group, context| {
            group.handle_disconnect(context, token, &waiting.member_id);
        });
    }

    /// Runs every timer that is due: sessions, joins, syncs, retention.
    pub fn handle_timeout(&mut self, now: Now) {
        let now_ms = now.monotonic_ms;
        while let Some((wake_ms, group_id)) = self.timers.first().cloned() {
            if wake_ms > now_ms {
                break;
            }
            self.timers.remove(&(wake_ms, Arc::clone(&group_id)));
            if let Some(group) = self.groups.get_mut(&group_id) {
                group.wake_ms = None;
            }
            self.with_group(now, &group_id, Group::handle_timers);
        }
        if self.expiry_enabled && self.next_expiry_ms.is_some_and(|at_ms| at_ms <= now_ms) {
            let interval_ms = self.options.offsets_retention_check_interval_ms.max(1);
            self.next_expiry_ms = Some(now_ms.saturating_add(interval_ms));
            self.expire_all(now);
        }
    }

    /// Switches retention on or off. The owner switches it off while the wall clock is not
    /// synchronised: nothing is forgotten by a time that may be wrong.
    pub const fn set_expiry_enabled(&mut self, enabled: bool) {
        self.expiry_enabled = enabled;
    }

    fn expire_all(&mut self, now: Now) {
        let group_ids: Vec<Arc<str>> = self.groups.keys().cloned().collect();
        for group_id in group_ids {
            let served = self.check_partition(&group_id).is_ok();
            if served && self.check_appends().is_ok() {
                self.with_group(now, &group_id, Group::expire);
            }
        }
    }

    /// Handles the end of an append: durable on a majority, or failed.
    ///
    /// Unknown ids are those of a partition that was unloaded; they are ignored.
    pub fn handle_persisted(&mut self, now: Now, id: AppendId, result: Result<(), AppendError>) {
        let Some(PendingAppend {
            group_id, change, ..
        }) = self.effects.take(id)
        else {
            return;
        };
        let error = result.err();
        let group_error = error.map(AppendError::for_group);
        let durable = error.is_none();
        match change {
            Change::Empty => {}
            Change::Assignment { assignments } => {
                self.with_group(now, &group_id, |group, context| {
                    // A rebalance that began meanwhile has taken the name of the append back.
                    if group.assignment_append == Some(id) {
                        group.finish_assignment(context, &assignments, group_error);
                    }
                });
            }
            Change::StaticMember(replacement) => {
                self.with_group(now, &group_id, |group, context| {
                    group.finish_static(context, *replacement, group_error);
                });
            }
            Change::Commit {
                token,
                mut reply,
                offsets,
            } => {
                self.with_group(now, &group_id, |group, _| {
                    group.finish_commit(offsets, durable)
                });
                if let Some(error) = error.map(AppendError::for_commit) {
                    fail_successes(&mut reply, error);
                }
                self.effects.reply(token, Reply::OffsetCommit(reply));
            }
            Change::Forget { offsets, then } => {
                self.finish_forget(now, &group_id, &offsets, then, group_error);
            }
        }
    }

    fn finish_forget(
        &mut self,
        now: Now,
        group_id: &Arc<str>,
        offsets: &[(String, i32)],
        then: Forgotten,
        error: Option<GroupError>,
    ) {
        let ended = self.with_group(now, group_id, |group, _| {
            group.finish_forget(offsets, error.is_none());
            if matches!(then, Forgotten::Group) {
                group.finish_delete(error)
            } else {
                None
            }
        });
        if let Forgotten::Reply { token, mut reply } = then {
            if error.is_some() {
                reply = OffsetsReply {
                    error,
                    topics: Vec::new(),
                };
            }
            self.effects.reply(token, Reply::OffsetDelete(reply));
        }
        if let Some(ended) = ended.flatten()
            && let Some(token) = ended.token
        {
            self.finish_delete_result(token, group_id, ended.failed);
        }
    }
}
