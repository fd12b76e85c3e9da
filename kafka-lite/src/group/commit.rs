//! OffsetCommit and OffsetDelete: who may change offsets, and what is kept.
//!
//! Source            `OffsetMetadataManager.commitOffset`, `deleteOffsets`,
//!                   `ClassicGroup.validateOffsetCommit`, `validateOffsetDelete` of Apache Kafka
//!                   4.x.

use super::effects::{Change, Context, Forgotten};
use super::error::GroupError;
use super::limits;
use super::records::{CommittedOffset, encode_offset_key, encode_offset_value, offset_tombstone};
use super::request::{
    CommitPartition, OffsetCommitRequest, OffsetDeleteRequest, OffsetsReply, Record, Reply,
    ReplyToken,
};
use super::state::{Group, GroupState};

/// The same answer for every partition of a commit.
pub(super) fn commit_error(request: &OffsetCommitRequest, error: GroupError) -> OffsetsReply {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter();
        (
            topic.name.clone(),
            partitions.map(|one| (one.partition, Some(error))).collect(),
        )
    });
    OffsetsReply {
        error: None,
        topics: topics.collect(),
    }
}

/// Puts an error where a reply says success.
pub(super) fn fail_successes(reply: &mut OffsetsReply, error: GroupError) {
    let partitions = reply
        .topics
        .iter_mut()
        .flat_map(|(_, partitions)| partitions);
    for (_, result) in partitions.filter(|(_, result)| result.is_none()) {
        *result = Some(error);
    }
}

impl Group {
    /// Sends what may be committed to the log, or answers at once if nothing may.
    pub(super) fn handle_commit(
        &mut self,
        context: &mut Context<'_>,
        token: ReplyToken,
        request: &OffsetCommitRequest,
    ) {
        if let Err(error) = self.check_commit(request) {
            let reply = Reply::OffsetCommit(commit_error(request, error));
            return context.effects.reply(token, reply);
        }
        if let Some(member) = self.members.get_mut(&request.member_id) {
            // A commit is a sign of life.
            Self::reset_session(member, context);
        }
        let mut reply = OffsetsReply::default();
        let mut offsets = Vec::new();
        for topic in &request.topics {
            let mut results = Vec::with_capacity(topic.partitions.len());
            for one in &topic.partitions {
                let result = self.check_offset(context, &topic.name, one);
                if result.is_ok() {
                    self.offsets.begin(&topic.name, one.partition);
                    let committed = committed_offset(context, request, one);
                    offsets.push((topic.name.clone(), one.partition, committed));
                }
                results.push((one.partition, result.err()));
            }
            reply.topics.push((topic.name.clone(), results));
        }
        if offsets.is_empty() {
            return context.effects.reply(token, Reply::OffsetCommit(reply));
        }
        let records = offsets.iter().map(|(topic, partition, committed)| Record {
            key: encode_offset_key(&self.id, topic, *partition),
            value: Some(encode_offset_value(committed)),
        });
        let records = records.collect();
        self.append(
            context,
            Change::Commit {
                token,
                reply,
                offsets,
            },
            records,
        );
    }

    fn check_commit(&self, request: &OffsetCommitRequest) -> Result<(), GroupError> {
        if self.state == GroupState::Dead {
            return Err(GroupError::CoordinatorNotAvailable);
        }
        if request.generation_id < 0 && self.state == GroupState::Empty {
            // A consumer that assigns partitions itself, or an administrator.
            return Ok(());
        }
        let instance_id = request.group_instance_id.as_deref();
        if request.generation_id < 0 && request.member_id.is_empty() && instance_id.is_none() {
            return Err(GroupError::UnknownMemberId);
        }
        self.check_member(&request.member_id, instance_id)?;
        if request.generation_id != self.generation_id {
            return Err(GroupError::IllegalGeneration);
        }
        if self.state == GroupState::CompletingRebalance {
            return Err(GroupError::RebalanceInProgress);
        }
        Ok(())
    }

    fn check_offset(
        &self,
        context: &Context<'_>,
        topic: &str,
        one: &CommitPartition,
    ) -> Result<(), GroupError> {
        if one.metadata.len() > context.options.offset_metadata_bytes_max {
            return Err(GroupError::OffsetMetadataTooLarge);
        }
        let full = self.offsets.count() >= context.options.offsets_per_group_max
            && self.offsets.get(topic, one.partition).is_none();
        if full || topic.len() > limits::NAME_BYTES_MAX {
            return Err(GroupError::InvalidCommitOffsetSize);
        }
        Ok(())
    }

    /// The commit is durable, or is not.
    pub(super) fn finish_commit(
        &mut self,
        offsets: Vec<(String, i32, CommittedOffset)>,
        durable: bool,
    ) {
        for (topic, partition, committed) in offsets {
            if durable {
                self.offsets.set(&topic, partition, committed);
            }
            self.offsets.end(&topic, partition);
        }
    }

    /// Sends tombstones for what may be forgotten, or answers at once if nothing may.
    pub(super) fn handle_offset_delete(
        &mut self,
        context: &mut Context<'_>,
        token: ReplyToken,
        request: &OffsetDeleteRequest,
    ) {
        if let Err(error) = self.check_offset_delete() {
            let reply = OffsetsReply {
                error: Some(error),
                topics: Vec::new(),
            };
            return context.effects.reply(token, Reply::OffsetDelete(reply));
        }
        let mut reply = OffsetsReply::default();
        let mut offsets = Vec::new();
        for (topic, partitions) in &request.topics {
            let error = self
                .is_subscribed_to(topic)
                .then_some(GroupError::GroupSubscribedToTopic);
            if error.is_none() {
                let known = partitions
                    .iter()
                    .filter(|one| self.offsets.get(topic, **one).is_some());
                offsets.extend(known.map(|one| (topic.clone(), *one)));
            }
            let results = partitions.iter().map(|one| (*one, error)).collect();
            reply.topics.push((topic.clone(), results));
        }
        if offsets.is_empty() {
            return context.effects.reply(token, Reply::OffsetDelete(reply));
        }
        self.append_tombstones(context, offsets, Forgotten::Reply { token, reply });
    }

    fn check_offset_delete(&self) -> Result<(), GroupError> {
        match self.state {
            GroupState::Dead => Err(GroupError::GroupIdNotFound),
            GroupState::Empty => Ok(()),
            GroupState::PreparingRebalance
            | GroupState::CompletingRebalance
            | GroupState::Stable => {
                // Members of another protocol type: what they read cannot be known.
                let known = self.uses_consumer_protocol();
                if known {
                    Ok(())
                } else {
                    Err(GroupError::NonEmptyGroup)
                }
            }
        }
    }

    /// Sends one append of tombstones to the log.
    pub(super) fn append_tombstones(
        &mut self,
        context: &mut Context<'_>,
        offsets: Vec<(String, i32)>,
        then: Forgotten,
    ) {
        let mut records = Vec::with_capacity(offsets.len());
        for (topic, partition) in &offsets {
            self.offsets.begin(topic, *partition);
            records.push(offset_tombstone(&self.id, topic, *partition));
        }
        self.append(context, Change::Forget { offsets, then }, records);
    }

    /// The tombstones are durable, or are not.
    pub(super) fn finish_forget(&mut self, offsets: &[(String, i32)], durable: bool) {
        for (topic, partition) in offsets {
            if durable {
                self.offsets.clear(topic, *partition);
            }
            self.offsets.end(topic, *partition);
        }
    }
}

fn committed_offset(
    context: &Context<'_>,
    request: &OffsetCommitRequest,
    one: &CommitPartition,
) -> CommittedOffset {
    let commit_timestamp_ms = context.now.timestamp_ms;
    let expire_timestamp_ms = request
        .retention_time_ms
        .filter(|retention_ms| *retention_ms >= 0)
        .map(|retention_ms| commit_timestamp_ms.saturating_add(retention_ms));
    // The record with an expiry has no place for an epoch, and no request version has both.
    let has_epoch = expire_timestamp_ms.is_none();
    CommittedOffset {
        offset: one.offset,
        leader_epoch: one.leader_epoch.filter(|epoch| has_epoch && *epoch >= 0),
        metadata: one.metadata.clone(),
        commit_timestamp_ms,
        expire_timestamp_ms,
    }
}
