//! JoinGroup: who may enter, who is replaced, and what a rejoin means.
//!
//! Source            `GroupMetadataManager.classicGroupJoin*` of Apache Kafka 4.x; KIP-345 (static
//!                   members), KIP-394 (member id first), KIP-814 (skip assignment).

use super::effects::{Change, Context, StaticReplacement};
use super::error::GroupError;
use super::member::{Member, copy_protocols, join_timeouts, supports_any};
use super::rebalance::{join_error, sync_error};
use super::request::{JoinGroupReply, JoinGroupRequest, Reply, ReplyToken};
use super::state::{Group, GroupState};

/// First version in which a new dynamic member must come back with the id it is given.
const KNOWN_MEMBER_ID_VERSION: i16 = 4;
/// First version that can tell a returning leader to skip the assignment.
const SKIP_ASSIGNMENT_VERSION: i16 = 9;

fn refuse(context: &mut Context<'_>, token: ReplyToken, member_id: &str, error: GroupError) {
    context
        .effects
        .reply(token, Reply::JoinGroup(join_error(member_id, error)));
}

/// Formats 128 random bits as a UUID.
pub(super) fn uuid_text(uuid: u128) -> String {
    let hex = format!("{uuid:032x}");
    let part = |range: std::ops::Range<usize>| hex.get(range).unwrap_or_default();
    [
        part(0..8),
        part(8..12),
        part(12..16),
        part(16..20),
        part(20..32),
    ]
    .join("-")
}

impl Group {
    /// Answers or holds a join.
    pub(super) fn handle_join(
        &mut self,
        context: &mut Context<'_>,
        token: ReplyToken,
        request: &JoinGroupRequest,
        uuid: u128,
    ) {
        let member_id = request.member_id.as_str();
        if self.state == GroupState::Dead {
            return refuse(
                context,
                token,
                member_id,
                GroupError::CoordinatorNotAvailable,
            );
        }
        if !self.accepts_member(context, member_id) {
            self.remove_full(context, member_id);
            return refuse(context, token, "", GroupError::GroupMaxSizeReached);
        }
        if !self.supports_protocols(request) {
            return refuse(
                context,
                token,
                member_id,
                GroupError::InconsistentGroupProtocol,
            );
        }
        if member_id.is_empty() {
            self.join_without_id(context, token, request, uuid);
        } else if self.pending_members.contains_key(member_id)
            && request.group_instance_id.is_none()
        {
            self.add_joining(context, token, member_id.to_owned(), request);
        } else {
            let instance_id = request.group_instance_id.as_deref();
            match self.check_member(member_id, instance_id) {
                Ok(()) => self.rejoin(context, token, request),
                Err(error) => refuse(context, token, member_id, error),
            }
        }
    }

    /// A member that the full group turns away is no longer waited for.
    fn remove_full(&mut self, context: &mut Context<'_>, member_id: &str) {
        let (members, pending) = (self.members.len(), self.pending_members.len());
        self.remove_member(context, member_id);
        self.rebalance_if_fewer(context, members, pending);
    }

    /// In a rebalance the waiting members count, so that the last to rejoin are turned away.
    fn accepts_member(&self, context: &Context<'_>, member_id: &str) -> bool {
        let size_max = context.options.group_size_max;
        let member = self.members.get(member_id);
        match self.state {
            GroupState::Empty | GroupState::Dead => true,
            GroupState::PreparingRebalance => {
                let awaits = |member: &Member| member.awaiting_join.is_some();
                member.is_some_and(awaits)
                    || self
                        .members
                        .values()
                        .filter(|member| awaits(member))
                        .count()
                        < size_max
            }
            GroupState::CompletingRebalance | GroupState::Stable => {
                member.is_some() || self.members.len() < size_max
            }
        }
    }

    fn supports_protocols(&self, request: &JoinGroupRequest) -> bool {
        if self.members.is_empty() {
            return !request.protocol_type.is_empty() && !request.protocols.is_empty();
        }
        self.protocol_type.as_deref() == Some(request.protocol_type.as_str())
            && supports_any(&self.members, &request.protocols)
    }

    fn join_without_id(
        &mut self,
        context: &mut Context<'_>,
        token: ReplyToken,
        request: &JoinGroupRequest,
        uuid: u128,
    ) {
        let prefix = request
            .group_instance_id
            .as_ref()
            .unwrap_or(&request.client_id);
        let new_id = format!("{prefix}-{}", uuid_text(uuid));
        let existing = request
            .group_instance_id
            .as_ref()
            .and_then(|id| self.static_members.get(id))
            .cloned();
        if let Some(old_id) = existing {
            self.replace_static(context, token, request, &old_id, new_id);
        } else if request.group_instance_id.is_none()
            && request.api_version >= KNOWN_MEMBER_ID_VERSION
        {
            let (session_ms, _) = join_timeouts(request);
            let deadline_ms = context.now.monotonic_ms.saturating_add(session_ms);
            self.pending_members.insert(new_id.clone(), deadline_ms);
            refuse(context, token, &new_id, GroupError::MemberIdRequired);
        } else {
            self.add_joining(context, token, new_id, request);
        }
    }

    fn add_joining(
        &mut self,
        context: &mut Context<'_>,
        token: ReplyToken,
        member_id: String,
        request: &JoinGroupRequest,
    ) {
        let initial = self.join_timer.is_some_and(|timer| timer.initial.is_some());
        self.new_member_added |= initial;
        let member = Member::new(member_id, request);
        self.add_member(context, member, token, &request.protocol_type);
        self.rebalance_or_complete_join(context);
    }

    fn rejoin(&mut self, context: &mut Context<'_>, token: ReplyToken, request: &JoinGroupRequest) {
        let member_id = request.member_id.as_str();
        let Some(member) = self.members.get(member_id) else {
            return;
        };
        let unchanged = member.matches(&request.protocols);
        let leader_returns = self.state == GroupState::Stable && self.is_leader(member_id);
        match self.state {
            GroupState::Empty | GroupState::Dead => {
                refuse(context, token, member_id, GroupError::UnknownMemberId);
            }
            GroupState::CompletingRebalance | GroupState::Stable
                if unchanged && !leader_returns =>
            {
                // The first answer was lost, or a follower asks again: nothing has changed.
                let reply = self.join_reply(member_id, false);
                if let Some(member) = self.members.get_mut(member_id) {
                    member.is_new = false;
                    Self::reset_session(member, context);
                }
                context.effects.reply(token, Reply::JoinGroup(reply));
            }
            GroupState::PreparingRebalance
            | GroupState::CompletingRebalance
            | GroupState::Stable => {
                // A leader that joins again asks for a rebalance, even with the same metadata.
                self.update_member(context, member_id, token, request);
                self.rebalance_or_complete_join(context);
            }
        }
    }

    /// Takes over what the request says of the member and holds the token.
    fn update_member(
        &mut self,
        context: &mut Context<'_>,
        member_id: &str,
        token: ReplyToken,
        request: &JoinGroupRequest,
    ) {
        let (session_ms, rebalance_ms) = join_timeouts(request);
        let Some(member) = self.members.get_mut(member_id) else {
            return;
        };
        member.session_timeout_ms = session_ms;
        member.rebalance_timeout_ms = rebalance_ms;
        member.protocols = copy_protocols(&request.protocols);
        member.client_id.clone_from(&request.client_id);
        member.client_host.clone_from(&request.client_host);
        member.knows_id |= !request.member_id.is_empty();
        Self::reset_session(member, context);
        let before = member.awaiting_join.replace(token);
        context.effects.hold(token, &self.id, member_id);
        if let Some(before) = before {
            // The same member asked twice: the newer request waits on.
            refuse(context, before, member_id, GroupError::RebalanceInProgress);
        }
    }

    /// A static member comes back without its member id: a new id takes its place.
    fn replace_static(
        &mut self,
        context: &mut Context<'_>,
        token: ReplyToken,
        request: &JoinGroupRequest,
        old_id: &str,
        new_id: String,
    ) {
        let Some(old) = self.members.get(old_id).cloned() else {
            return;
        };
        let old_leader = self.leader.clone();
        self.rename_static(context, old_id, &new_id);
        self.update_member(context, &new_id, token, request);
        match self.state {
            GroupState::Stable => {
                let next = super::member::select_protocol(&self.members, self.leader.as_deref());
                if next != self.protocol_name {
                    return self.prepare_rebalance(context);
                }
                self.refresh_subscribed_topics();
                let replacement = StaticReplacement {
                    token,
                    api_version: request.api_version,
                    old_leader,
                    new_member_id: new_id,
                    old,
                };
                let record = self.to_record(None);
                let change = Change::StaticMember(Box::new(replacement));
                self.append(context, change, vec![record]);
            }
            // The leader may already compute an assignment for the old id (KAFKA-9801).
            GroupState::CompletingRebalance => self.prepare_rebalance(context),
            GroupState::PreparingRebalance => self.maybe_complete_join(context),
            GroupState::Empty | GroupState::Dead => {}
        }
    }

    /// Gives a static member a new id; what the old id waits for is fenced.
    fn rename_static(&mut self, context: &mut Context<'_>, old_id: &str, new_id: &str) {
        let Some(mut member) = self.members.remove(old_id) else {
            return;
        };
        let error = GroupError::FencedInstanceId;
        if let Some(token) = member.awaiting_join.take() {
            refuse(context, token, old_id, error);
        }
        if let Some(token) = member.awaiting_sync.take() {
            context
                .effects
                .reply(token, Reply::SyncGroup(sync_error(error)));
        }
        new_id.clone_into(&mut member.member_id);
        if let Some(instance_id) = &member.group_instance_id {
            self.static_members
                .insert(instance_id.clone(), new_id.to_owned());
        }
        if self.pending_sync.remove(old_id) {
            self.pending_sync.insert(new_id.to_owned());
        }
        if self.is_leader(old_id) {
            self.leader = Some(new_id.to_owned());
        }
        self.members.insert(new_id.to_owned(), member);
    }

    /// The new id of a static member is durable, or is not.
    pub(super) fn finish_static(
        &mut self,
        context: &mut Context<'_>,
        replacement: StaticReplacement,
        error: Option<GroupError>,
    ) {
        let new_id = replacement.new_member_id.as_str();
        let waits = self
            .members
            .get(new_id)
            .is_some_and(|member| member.awaiting_join == Some(replacement.token));
        if self.state != GroupState::Stable || !waits {
            // A rebalance has begun meanwhile; it answers the join, or the request is gone.
            return;
        }
        if let Some(error) = error {
            return self.revert_static(context, replacement, error);
        }
        let reply = self.static_reply(&replacement);
        if let Some(member) = self.members.get_mut(new_id) {
            member.awaiting_join = None;
            member.is_new = false;
            Self::reset_session(member, context);
        }
        context
            .effects
            .reply(replacement.token, Reply::JoinGroup(reply));
    }

    fn static_reply(&self, replacement: &StaticReplacement) -> JoinGroupReply {
        let new_id = replacement.new_member_id.as_str();
        if replacement.api_version >= SKIP_ASSIGNMENT_VERSION {
            return self.join_reply(new_id, self.is_leader(new_id));
        }
        // Without the flag the member must not believe that it leads: it would assign anew.
        let mut reply = self.join_reply(new_id, false);
        reply.members.clear();
        reply.leader = replacement.old_leader.clone().unwrap_or_default();
        reply
    }

    fn revert_static(
        &mut self,
        context: &mut Context<'_>,
        replacement: StaticReplacement,
        error: GroupError,
    ) {
        let mut reply = join_error("", error);
        reply.generation_id = self.generation_id;
        if let Some(member) = self.members.get_mut(&replacement.new_member_id) {
            member.awaiting_join = None;
        }
        let old_id = replacement.old.member_id.clone();
        self.rename_static(context, &replacement.new_member_id, &old_id);
        let mut old = replacement.old;
        old.awaiting_join = None;
        old.awaiting_sync = None;
        Self::reset_session(&mut old, context);
        self.members.insert(old_id, old);
        self.refresh_subscribed_topics();
        context
            .effects
            .reply(replacement.token, Reply::JoinGroup(reply));
    }
}
