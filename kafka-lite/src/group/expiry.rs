//! How groups and offsets end: DeleteGroups, deleted topics, retention.
//!
//! Source            `GroupCoordinatorShard.deleteGroups`, `cleanupGroupMetadata`,
//!                   `OffsetMetadataManager.cleanupExpiredOffsets`,
//!                   `ClassicGroup.offsetExpirationCondition` of Apache Kafka 4.x; KIP-211. Not
//!                   Kafka's: a clock that is set expires nothing.

use super::effects::{Change, Context, Forgotten};
use super::error::GroupError;
use super::limits;
use super::records::{CommittedOffset, group_tombstone, offset_tombstone};
use super::request::ReplyToken;
use super::state::{Deleting, Group, GroupState};
use crate::wall_clock::elapsed_ms;

/// From when the retention of an offset counts.
#[derive(Clone, Copy)]
enum RetentionStart {
    /// From the moment at which the group became empty, if known, else from the commit.
    Empty(Option<i64>),
    /// From the commit.
    Commit,
}

impl Group {
    /// Removes the whole group: it is Dead until the tombstones are durable.
    ///
    /// # Errors
    /// NON_EMPTY_GROUP with members, GROUP_ID_NOT_FOUND if it is being removed already.
    pub(super) fn begin_delete(
        &mut self,
        context: &mut Context<'_>,
        token: Option<ReplyToken>,
    ) -> Result<(), GroupError> {
        match self.state {
            GroupState::Empty => {}
            GroupState::Dead => return Err(GroupError::GroupIdNotFound),
            GroupState::PreparingRebalance
            | GroupState::CompletingRebalance
            | GroupState::Stable => return Err(GroupError::NonEmptyGroup),
        }
        self.transition(context, GroupState::Dead);
        self.pending_members.clear();
        let keys = self.offsets.keys();
        let mut chunks: Vec<Vec<(String, i32)>> = keys
            .chunks(limits::TOMBSTONES_PER_APPEND_MAX)
            .map(<[_]>::to_vec)
            .collect();
        let last = chunks.pop().unwrap_or_default();
        self.deleting = Some(Deleting {
            token,
            appends: chunks.len() + 1,
            failed: None,
        });
        for chunk in chunks {
            self.append_tombstones(context, chunk, Forgotten::Group);
        }
        let mut records = Vec::with_capacity(last.len() + 1);
        for (topic, partition) in &last {
            self.offsets.begin(topic, *partition);
            records.push(offset_tombstone(&self.id, topic, *partition));
        }
        records.push(group_tombstone(&self.id));
        self.append(
            context,
            Change::Forget {
                offsets: last,
                then: Forgotten::Group,
            },
            records,
        );
        Ok(())
    }

    /// One append of a removal has ended. Returns the removal once all have.
    pub(super) fn finish_delete(&mut self, error: Option<GroupError>) -> Option<Deleting> {
        let deleting = self.deleting.as_mut()?;
        deleting.appends = deleting.appends.saturating_sub(1);
        deleting.failed = deleting.failed.or(error);
        if deleting.appends > 0 {
            return None;
        }
        let ended = self.deleting.take();
        self.state = GroupState::Empty;
        if ended.is_some_and(|ended| ended.failed.is_none()) {
            self.recorded = false;
        }
        ended
    }

    /// Forgets the offsets of a topic that is gone.
    pub(super) fn forget_topic(&mut self, context: &mut Context<'_>, topic: &str) {
        let Some(partitions) = self.offsets.partitions(topic) else {
            return;
        };
        if self.state == GroupState::Dead {
            return;
        }
        let keys = partitions
            .keys()
            .map(|partition| (topic.to_owned(), *partition))
            .collect();
        self.forget(context, keys);
    }

    fn forget(&mut self, context: &mut Context<'_>, keys: Vec<(String, i32)>) {
        for chunk in keys.chunks(limits::TOMBSTONES_PER_APPEND_MAX) {
            self.append_tombstones(context, chunk.to_vec(), Forgotten::Nothing);
        }
    }

    /// Forgets what has outlived its retention; an empty group without offsets goes with it.
    pub(super) fn expire(&mut self, context: &mut Context<'_>) {
        if self.state == GroupState::Dead || !self.pending_members.is_empty() {
            return;
        }
        self.begin_anew_after_setting(context.now.timestamp_ms);
        let expired = match self.retention_start() {
            Some(start) => self.expired_offsets(context, start),
            None => Vec::new(),
        };
        let all = expired.len() == self.offsets.count();
        if all && self.state == GroupState::Empty {
            // Only a group with a member or a pending change refuses, and neither is here.
            if self.begin_delete(context, None).is_err() {
                debug_assert!(false, "an empty group refused to be deleted");
            }
        } else {
            self.forget(context, expired);
        }
    }

    /// Times of before the clock was set say nothing: retention begins at the first look behind it.
    fn begin_anew_after_setting(&mut self, now_ms: i64) {
        let is_unknown = |from_ms: &i64| elapsed_ms(*from_ms, now_ms).is_none();
        if self.state_timestamp_ms.as_ref().is_some_and(is_unknown) {
            self.state_timestamp_ms = Some(now_ms);
        }
        for committed in self.offsets.committed_mut() {
            let before_ms = committed.commit_timestamp_ms;
            if !is_unknown(&before_ms) {
                continue;
            }
            committed.commit_timestamp_ms = now_ms;
            let retention_ms = |end_ms: i64| end_ms.saturating_sub(before_ms);
            committed.expire_timestamp_ms = committed
                .expire_timestamp_ms
                .map(|end_ms| now_ms.saturating_add(retention_ms(end_ms)));
        }
    }

    /// Says from when retention counts, or `None` while offsets must not expire.
    fn retention_start(&self) -> Option<RetentionStart> {
        if self.protocol_type.is_none() {
            return Some(RetentionStart::Commit);
        }
        match self.state {
            GroupState::Empty => Some(RetentionStart::Empty(self.state_timestamp_ms)),
            GroupState::Stable if self.subscribed_topics.is_some() => Some(RetentionStart::Commit),
            GroupState::PreparingRebalance
            | GroupState::CompletingRebalance
            | GroupState::Stable
            | GroupState::Dead => None,
        }
    }

    fn expired_offsets(&self, context: &Context<'_>, start: RetentionStart) -> Vec<(String, i32)> {
        let is_expired = |committed: &CommittedOffset| {
            let now_ms = context.now.timestamp_ms;
            if let Some(expire_timestamp_ms) = committed.expire_timestamp_ms {
                return now_ms >= expire_timestamp_ms;
            }
            let start_ms = match start {
                RetentionStart::Empty(Some(timestamp_ms)) => timestamp_ms,
                RetentionStart::Empty(None) | RetentionStart::Commit => {
                    committed.commit_timestamp_ms
                }
            };
            now_ms.saturating_sub(start_ms) >= context.options.offsets_retention_ms
        };
        let mut expired = Vec::new();
        for (topic, partitions) in self.offsets.topics() {
            if self.is_subscribed_to(topic) {
                continue;
            }
            for (partition, entry) in partitions {
                // A change on its way decides by itself what remains.
                let quiet = entry.pending == 0;
                if quiet && entry.committed.as_ref().is_some_and(is_expired) {
                    expired.push((topic.to_owned(), *partition));
                }
            }
        }
        expired
    }
}
