//! The way of a group from one generation to the next.
//!
//! Reading order     `prepare_rebalance`, `complete_join`, then `handle_join_timer`.
//! Source            `GroupMetadataManager.prepareRebalance`, `completeClassicGroupJoin`,
//!                   `tryCompleteInitialRebalanceElseSchedule`, `expirePendingSync` of Apache
//!                   Kafka 4.x.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::effects::{Change, Context};
use super::error::GroupError;
use super::member::select_protocol;
use super::request::{JoinGroupReply, Reply, ReplyToken, SyncGroupReply};
use super::state::{Group, GroupState, InitialDelay, JoinTimer};

/// Builds a refused join.
pub(super) fn join_error(member_id: &str, error: GroupError) -> JoinGroupReply {
    JoinGroupReply {
        error: Some(error),
        generation_id: -1,
        member_id: member_id.to_owned(),
        ..JoinGroupReply::default()
    }
}

/// Builds a refused sync.
pub(super) fn sync_error(error: GroupError) -> SyncGroupReply {
    SyncGroupReply {
        error: Some(error),
        ..SyncGroupReply::default()
    }
}

impl Group {
    /// Every known member has a join pending, and no id was given out that has not come back.
    pub(super) fn has_all_members_joined(&self) -> bool {
        let all = self
            .members
            .values()
            .all(|member| member.awaiting_join.is_some());
        all && self.pending_members.is_empty()
    }

    /// Starts a rebalance if none runs; completes the running one if nobody is missing.
    pub(super) fn rebalance_or_complete_join(&mut self, context: &mut Context<'_>) {
        match self.state {
            GroupState::Empty | GroupState::CompletingRebalance | GroupState::Stable => {
                self.prepare_rebalance(context);
            }
            GroupState::PreparingRebalance => self.maybe_complete_join(context),
            GroupState::Dead => {}
        }
    }

    /// Completes the rebalance when all have joined, unless its initial delay still runs.
    pub(super) fn maybe_complete_join(&mut self, context: &mut Context<'_>) {
        let initial = self.join_timer.is_some_and(|timer| timer.initial.is_some());
        if !initial && self.has_all_members_joined() {
            self.complete_join(context);
        }
    }

    /// Moves to PreparingRebalance and sets its timer, or completes at once.
    pub(super) fn prepare_rebalance(&mut self, context: &mut Context<'_>) {
        if self.state == GroupState::CompletingRebalance {
            self.reset_assignments(context, GroupError::RebalanceInProgress);
        }
        self.pending_sync.clear();
        self.sync_deadline_ms = None;
        self.assignment_append = None;
        let now_ms = context.now.monotonic_ms;
        if self.state == GroupState::Empty {
            let delay_ms = context.options.initial_rebalance_delay_ms;
            let remaining_ms = self.rebalance_timeout_ms().saturating_sub(delay_ms);
            self.transition(context, GroupState::PreparingRebalance);
            self.join_timer = Some(JoinTimer {
                deadline_ms: now_ms.saturating_add(delay_ms),
                initial: Some(InitialDelay {
                    delay_ms,
                    remaining_ms,
                }),
            });
            if delay_ms == 0 {
                self.complete_join(context);
            }
            return;
        }
        self.transition(context, GroupState::PreparingRebalance);
        self.set_join_timer(context);
        if self.has_all_members_joined() {
            self.complete_join(context);
        }
    }

    fn set_join_timer(&mut self, context: &Context<'_>) {
        let deadline_ms = context
            .now
            .monotonic_ms
            .saturating_add(self.rebalance_timeout_ms());
        self.join_timer = Some(JoinTimer {
            deadline_ms,
            initial: None,
        });
    }

    /// The join timer has run out.
    pub(super) fn handle_join_timer(&mut self, context: &mut Context<'_>) {
        let Some(timer) = self.join_timer else { return };
        match timer.initial {
            Some(InitialDelay {
                delay_ms,
                remaining_ms,
            }) if self.new_member_added && remaining_ms > 0 => {
                self.new_member_added = false;
                let next_ms = context.options.initial_rebalance_delay_ms.min(remaining_ms);
                self.join_timer = Some(JoinTimer {
                    deadline_ms: context.now.monotonic_ms.saturating_add(next_ms),
                    initial: Some(InitialDelay {
                        delay_ms: next_ms,
                        remaining_ms: remaining_ms.saturating_sub(delay_ms),
                    }),
                });
            }
            _ => self.complete_join(context),
        }
    }

    /// Ends the join phase: removes who did not come, starts the generation, answers all.
    pub(super) fn complete_join(&mut self, context: &mut Context<'_>) {
        let missing: Vec<String> = self
            .members
            .values()
            .filter(|member| member.awaiting_join.is_none() && member.group_instance_id.is_none())
            .map(|member| member.member_id.clone())
            .collect();
        for member_id in missing {
            self.remove_member(context, &member_id);
        }
        if !self.members.is_empty() && !self.elect_joined_leader() {
            // Only static members are left and none has come back: wait on.
            self.set_join_timer(context);
            return;
        }
        self.generation_id = self.generation_id.checked_add(1).unwrap_or(1);
        self.pending_sync.clear();
        self.sync_deadline_ms = None;
        if self.members.is_empty() {
            self.become_empty(context);
        } else {
            self.begin_generation(context);
        }
    }

    /// Makes sure that the leader is a member whose join is pending.
    fn elect_joined_leader(&mut self) -> bool {
        let joined = |id: &String| {
            self.members
                .get(id)
                .is_some_and(|member| member.awaiting_join.is_some())
        };
        if self.leader.as_ref().is_some_and(joined) {
            return true;
        }
        let next = self
            .members
            .values()
            .find(|member| member.awaiting_join.is_some());
        let Some(next) = next else { return false };
        self.leader = Some(next.member_id.clone());
        true
    }

    fn become_empty(&mut self, context: &mut Context<'_>) {
        self.protocol_name = None;
        self.subscribed_topics = None;
        self.transition(context, GroupState::Empty);
        self.recorded = true;
        let record = self.to_record(None);
        self.append(context, Change::Empty, vec![record]);
    }

    fn begin_generation(&mut self, context: &mut Context<'_>) {
        self.protocol_name = select_protocol(&self.members, self.leader.as_deref());
        self.refresh_subscribed_topics();
        self.transition(context, GroupState::CompletingRebalance);
        let member_ids: Vec<String> = self.members.keys().cloned().collect();
        for member_id in &member_ids {
            let reply = self.join_reply(member_id, false);
            let Some(member) = self.members.get_mut(member_id) else {
                continue;
            };
            if let Some(token) = member.awaiting_join.take() {
                member.is_new = false;
                context.effects.reply(token, Reply::JoinGroup(reply));
            }
            Self::reset_session(member, context);
        }
        self.pending_sync = member_ids.into_iter().collect();
        let timeout_ms = self.rebalance_timeout_ms();
        self.sync_deadline_ms = Some(context.now.monotonic_ms.saturating_add(timeout_ms));
    }

    /// Builds the answer to a member of the current generation.
    pub(super) fn join_reply(&self, member_id: &str, skip_assignment: bool) -> JoinGroupReply {
        let name = self.protocol_name.as_deref().unwrap_or_default();
        let members = if self.is_leader(member_id) {
            self.members
                .values()
                .map(|member| member.joined(name))
                .collect()
        } else {
            Vec::new()
        };
        JoinGroupReply {
            error: None,
            generation_id: self.generation_id,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol_name.clone(),
            leader: self.leader.clone().unwrap_or_default(),
            skip_assignment,
            member_id: member_id.to_owned(),
            members,
        }
    }

    /// Answers a pending sync with the member's assignment or an error.
    fn answer_sync(
        &mut self,
        context: &mut Context<'_>,
        member_id: &str,
        error: Option<GroupError>,
    ) {
        let reply = match error {
            Some(error) => sync_error(error),
            None => self.sync_reply(member_id),
        };
        let Some(member) = self.members.get_mut(member_id) else {
            return;
        };
        if let Some(token) = member.awaiting_sync.take() {
            Self::reset_session(member, context);
            context.effects.reply(token, Reply::SyncGroup(reply));
        }
    }

    /// Builds the answer to a member of a stable group.
    pub(super) fn sync_reply(&self, member_id: &str) -> SyncGroupReply {
        SyncGroupReply {
            error: None,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol_name.clone(),
            assignment: self
                .members
                .get(member_id)
                .map(|member| member.assignment.clone())
                .unwrap_or_default(),
        }
    }

    /// Takes every assignment back and answers pending syncs with an error.
    pub(super) fn reset_assignments(&mut self, context: &mut Context<'_>, error: GroupError) {
        let member_ids: Vec<String> = self.members.keys().cloned().collect();
        for member_id in member_ids {
            if let Some(member) = self.members.get_mut(&member_id) {
                member.assignment = Bytes::new();
            }
            self.answer_sync(context, &member_id, Some(error));
        }
    }

    /// The assignment is durable, or is not.
    pub(super) fn finish_assignment(
        &mut self,
        context: &mut Context<'_>,
        assignments: &BTreeMap<String, Bytes>,
        error: Option<GroupError>,
    ) {
        self.assignment_append = None;
        if let Some(error) = error {
            self.reset_assignments(context, error);
            self.rebalance_or_complete_join(context);
            return;
        }
        self.transition(context, GroupState::Stable);
        let member_ids: Vec<String> = self.members.keys().cloned().collect();
        for member_id in member_ids {
            if let Some(member) = self.members.get_mut(&member_id) {
                member.assignment = assignments.get(&member_id).cloned().unwrap_or_default();
            }
            self.answer_sync(context, &member_id, None);
        }
    }

    /// The member has sent its sync, or is gone.
    pub(super) fn remove_pending_sync(&mut self, member_id: &str) {
        self.pending_sync.remove(member_id);
        if self.pending_sync.is_empty() {
            self.sync_deadline_ms = None;
        }
    }

    /// Members that did not send a sync in time are removed, and the rest rebalances.
    pub(super) fn handle_sync_timer(&mut self, context: &mut Context<'_>) {
        for member_id in std::mem::take(&mut self.pending_sync) {
            self.remove_member(context, &member_id);
        }
        self.sync_deadline_ms = None;
        self.prepare_rebalance(context);
    }

    /// Adds a member that joins.
    pub(super) fn add_member(
        &mut self,
        context: &mut Context<'_>,
        mut member: super::member::Member,
        token: ReplyToken,
        protocol_type: &str,
    ) {
        if self.members.is_empty() {
            self.protocol_type = Some(protocol_type.to_owned());
        }
        if self.leader.is_none() {
            self.leader = Some(member.member_id.clone());
        }
        if let Some(instance_id) = &member.group_instance_id {
            self.static_members
                .insert(instance_id.clone(), member.member_id.clone());
        }
        self.pending_members.remove(&member.member_id);
        context.effects.hold(token, &self.id, &member.member_id);
        member.awaiting_join = Some(token);
        Self::reset_session(&mut member, context);
        self.members.insert(member.member_id.clone(), member);
    }

    /// Removes a member; its held requests are answered UNKNOWN_MEMBER_ID, so that it starts anew.
    pub(super) fn remove_member(&mut self, context: &mut Context<'_>, member_id: &str) {
        self.pending_members.remove(member_id);
        self.remove_pending_sync(member_id);
        let Some(member) = self.members.remove(member_id) else {
            return;
        };
        if let Some(instance_id) = &member.group_instance_id {
            self.static_members.remove(instance_id);
        }
        if self.is_leader(member_id) {
            self.leader = self.members.keys().next().cloned();
        }
        let error = GroupError::UnknownMemberId;
        if let Some(token) = member.awaiting_join {
            context
                .effects
                .reply(token, Reply::JoinGroup(join_error("", error)));
        }
        if let Some(token) = member.awaiting_sync {
            context
                .effects
                .reply(token, Reply::SyncGroup(sync_error(error)));
        }
    }

    /// Rebalances if there are fewer members than before. A pending member that is gone matters
    /// only to a rebalance that waits for it.
    pub(super) fn rebalance_if_fewer(
        &mut self,
        context: &mut Context<'_>,
        members_before: usize,
        pending_before: usize,
    ) {
        let preparing = self.state == GroupState::PreparingRebalance;
        let fewer_pending = self.pending_members.len() < pending_before;
        if self.members.len() < members_before || (preparing && fewer_pending) {
            self.rebalance_after_removal(context);
        }
    }

    fn rebalance_after_removal(&mut self, context: &mut Context<'_>) {
        match self.state {
            GroupState::Stable | GroupState::CompletingRebalance => self.prepare_rebalance(context),
            GroupState::PreparingRebalance if self.has_all_members_joined() => {
                self.complete_join(context);
            }
            GroupState::PreparingRebalance | GroupState::Empty | GroupState::Dead => {}
        }
    }

    /// Runs every timer that is due.
    pub(super) fn handle_timers(&mut self, context: &mut Context<'_>) {
        let now_ms = context.now.monotonic_ms;
        let (members, pending) = (self.members.len(), self.pending_members.len());
        self.pending_members
            .retain(|_, deadline_ms| *deadline_ms > now_ms);
        let expired: Vec<String> = self
            .members
            .values()
            .filter(|member| {
                member
                    .session_deadline()
                    .is_some_and(|deadline| deadline <= now_ms)
            })
            .map(|member| member.member_id.clone())
            .collect();
        for member_id in &expired {
            self.remove_member(context, member_id);
        }
        self.rebalance_if_fewer(context, members, pending);
        if self
            .join_timer
            .is_some_and(|timer| timer.deadline_ms <= now_ms)
        {
            self.handle_join_timer(context);
        }
        if self
            .sync_deadline_ms
            .is_some_and(|deadline_ms| deadline_ms <= now_ms)
        {
            self.handle_sync_timer(context);
        }
    }

    /// Nobody listens for the answer any more.
    pub(super) fn handle_disconnect(
        &mut self,
        context: &mut Context<'_>,
        token: ReplyToken,
        member_id: &str,
    ) {
        let Some(member) = self.members.get_mut(member_id) else {
            return;
        };
        if member.awaiting_join == Some(token) {
            member.awaiting_join = None;
        }
        if member.awaiting_sync == Some(token) {
            member.awaiting_sync = None;
        }
        if member.is_new && !member.knows_id {
            let (members, pending) = (self.members.len(), self.pending_members.len());
            self.remove_member(context, member_id);
            self.rebalance_if_fewer(context, members, pending);
            return;
        }
        // From here on it is a member like any other that is silent.
        let timeout_ms = member.session_timeout_ms;
        member.session_deadline_ms = context.now.monotonic_ms.saturating_add(timeout_ms);
    }
}
