//! How a partition of `__consumer_offsets` becomes served here, and ceases to be.
//!
//! Source            `GroupCoordinatorShard.replay`, `GroupMetadataManager.onLoaded` of Apache
//!                   Kafka 4.x.

use std::sync::Arc;

use super::commit::fail_successes;
use super::effects::{Change, Forgotten};
use super::error::GroupError;
use super::member::Member;
use super::rebalance::{join_error, sync_error};
use super::records::{self, GroupMetadata, RecordError, RecordKey};
use super::request::{OffsetsReply, Reply, ReplyToken};
use super::state::{Group, GroupState};
use super::{Coordinator, Now, PartitionState};

impl Coordinator {
    /// Begins to serve a partition: its groups are answered COORDINATOR_LOAD_IN_PROGRESS until
    /// [`Coordinator::finish_loading`]. Loading again starts from nothing.
    pub fn start_loading(&mut self, partition: i32) {
        self.unload(partition);
        self.partitions.insert(partition, PartitionState::Loading);
    }

    /// Replays one record of a loading partition, in log order.
    ///
    /// Records of a kind that this coordinator does not keep are passed over. Limits do not apply:
    /// what was acknowledged is loaded.
    ///
    /// # Errors
    /// [`RecordError`] if the bytes do not fit their format: the stored record is damaged.
    pub fn load_record(
        &mut self,
        partition: i32,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<(), RecordError> {
        if self.partitions.get(&partition) != Some(&PartitionState::Loading) {
            return Ok(());
        }
        match records::decode_key(key)? {
            RecordKey::Foreign { .. } => {}
            RecordKey::Offset {
                group_id,
                topic,
                partition: of_topic,
            } => {
                let committed = value.map(records::decode_offset_value).transpose()?;
                let group = self.loading_group(&group_id, partition);
                match committed {
                    Some(committed) => group.offsets.set(&topic, of_topic, committed),
                    None => group.offsets.clear(&topic, of_topic),
                }
                self.settle_counts(&group_id);
            }
            RecordKey::Group { group_id } => {
                let metadata = value.map(records::decode_group_value).transpose()?;
                let group = self.loading_group(&group_id, partition);
                group.replace_members(metadata);
                self.settle_counts(&group_id);
            }
        }
        Ok(())
    }

    fn loading_group(&mut self, group_id: &str, partition: i32) -> &mut Group {
        let id: Arc<str> = Arc::from(group_id);
        self.groups
            .entry(Arc::clone(&id))
            .or_insert_with(|| Group::new(id, partition))
    }

    /// Ends the loading of a partition: its groups are served, and their members have a whole
    /// session timeout to show that they live.
    pub fn finish_loading(&mut self, now: Now, partition: i32) {
        let Some(state) = self.partitions.get_mut(&partition) else {
            return;
        };
        *state = PartitionState::Active;
        for group_id in self.groups_of(partition) {
            self.with_group(now, &group_id, |group, context| {
                for member in group.members.values_mut() {
                    Group::reset_session(member, context);
                }
                if group.members.len() > context.options.group_size_max {
                    group.prepare_rebalance(context);
                }
            });
        }
        let interval_ms = self.options.offsets_retention_check_interval_ms;
        self.next_expiry_ms
            .get_or_insert_with(|| now.monotonic_ms.saturating_add(interval_ms));
    }

    fn groups_of(&self, partition: i32) -> Vec<Arc<str>> {
        let groups = self
            .groups
            .values()
            .filter(|group| group.partition == partition);
        groups.map(|group| Arc::clone(&group.id)).collect()
    }

    /// Stops serving a partition: all that waits for it is answered NOT_COORDINATOR, appends in
    /// flight are forgotten (their completions are ignored), its groups leave memory.
    pub fn unload(&mut self, partition: i32) {
        if self.partitions.remove(&partition).is_none() {
            return;
        }
        let error = GroupError::NotCoordinator;
        let appends: Vec<_> = self
            .effects
            .pending
            .iter()
            .filter(|(_, pending)| pending.partition == partition)
            .map(|(id, _)| *id)
            .collect();
        for id in appends {
            let Some(pending) = self.effects.take(id) else {
                continue;
            };
            self.fail_unloaded(pending.change, error);
        }
        for group_id in self.groups_of(partition) {
            let deleting = self.groups.get(&group_id).and_then(|group| group.deleting);
            if let Some(token) = deleting.and_then(|deleting| deleting.token) {
                self.finish_delete_result(token, &group_id, Some(error));
            }
            let Some(group) = self.remove_group(&group_id) else {
                continue;
            };
            for member in group.members.into_values() {
                self.fail_member(&member, error);
            }
        }
        if self.partitions.is_empty() {
            self.next_expiry_ms = None;
        }
    }

    fn fail_member(&mut self, member: &Member, error: GroupError) {
        if let Some(token) = member.awaiting_join {
            let reply = join_error(&member.member_id, error);
            self.effects.reply(token, Reply::JoinGroup(reply));
        }
        if let Some(token) = member.awaiting_sync {
            self.effects
                .reply(token, Reply::SyncGroup(sync_error(error)));
        }
    }

    fn fail_unloaded(&mut self, change: Change, error: GroupError) {
        let failed = |mut reply: OffsetsReply| {
            fail_successes(&mut reply, error);
            reply
        };
        match change {
            // The members hold the tokens of these.
            Change::Assignment { .. } | Change::StaticMember(_) | Change::Empty => {}
            Change::Commit { token, reply, .. } => {
                self.effects
                    .reply(token, Reply::OffsetCommit(failed(reply)));
            }
            Change::Forget {
                then: Forgotten::Reply { token, .. },
                ..
            } => {
                let reply = OffsetsReply {
                    error: Some(error),
                    topics: Vec::new(),
                };
                self.effects.reply(token, Reply::OffsetDelete(reply));
            }
            Change::Forget {
                then: Forgotten::Nothing | Forgotten::Group,
                ..
            } => {}
        }
    }

    /// One group of a DeleteGroups request has its result; the last one answers the request.
    pub(super) fn finish_delete_result(
        &mut self,
        token: ReplyToken,
        group_id: &str,
        error: Option<GroupError>,
    ) {
        let Some(request) = self.deletes.get_mut(&token) else {
            return;
        };
        let results = request.results.iter_mut().filter(|(id, result)| {
            id == group_id && *result == Some(GroupError::CoordinatorNotAvailable)
        });
        if let Some((_, result)) = results.into_iter().next() {
            *result = error;
        }
        request.remaining = request.remaining.saturating_sub(1);
        if request.remaining == 0
            && let Some(request) = self.deletes.remove(&token)
        {
            self.effects
                .reply(token, Reply::DeleteGroups(request.results));
        }
    }
}

impl Group {
    /// Takes members and generation from a record of the log; a tombstone leaves the offsets.
    fn replace_members(&mut self, metadata: Option<GroupMetadata>) {
        self.members.clear();
        self.static_members.clear();
        self.leader = None;
        self.protocol_name = None;
        self.subscribed_topics = None;
        self.state = GroupState::Empty;
        self.recorded = metadata.is_some();
        let Some(metadata) = metadata else {
            self.protocol_type = None;
            self.generation_id = 0;
            self.state_timestamp_ms = None;
            return;
        };
        self.generation_id = metadata.generation_id;
        self.state_timestamp_ms = metadata.state_timestamp_ms;
        self.protocol_type = Some(metadata.protocol_type).filter(|name| !name.is_empty());
        if metadata.members.is_empty() {
            return;
        }
        self.protocol_name = metadata.protocol_name;
        for record in metadata.members {
            let member = Member::from_record(record, self.protocol_name.as_deref());
            if let Some(instance_id) = &member.group_instance_id {
                let id = member.member_id.clone();
                // Two members with one instance id cannot be right; the later one stands.
                if let Some(before) = self.static_members.insert(instance_id.clone(), id) {
                    self.members.remove(&before);
                }
            }
            self.members.insert(member.member_id.clone(), member);
        }
        let leader = metadata
            .leader
            .filter(|leader| self.members.contains_key(leader));
        self.leader = leader.or_else(|| self.members.keys().next().cloned());
        self.state = GroupState::Stable;
        self.refresh_subscribed_topics();
    }
}
