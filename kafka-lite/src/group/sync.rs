//! SyncGroup, Heartbeat and LeaveGroup: the life of a member between two joins.
//!
//! Source            `GroupMetadataManager.classicGroupSync*`, `classicGroupHeartbeat*`,
//!                   `classicGroupLeave*` of Apache Kafka 4.x.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::effects::{Change, Context};
use super::error::GroupError;
use super::rebalance::sync_error;
use super::request::{
    HeartbeatRequest, LeaveGroupRequest, LeavingMember, Reply, ReplyToken, SyncGroupRequest,
};
use super::state::{Group, GroupState};

/// A protocol that the request names must be the group's.
fn differs(named: Option<&str>, current: Option<&str>) -> bool {
    named.is_some() && named != current
}

impl Group {
    /// Answers or holds a sync.
    pub(super) fn handle_sync(
        &mut self,
        context: &mut Context<'_>,
        token: ReplyToken,
        request: &SyncGroupRequest,
    ) {
        if let Err(error) = self.check_sync(request) {
            return context
                .effects
                .reply(token, Reply::SyncGroup(sync_error(error)));
        }
        let member_id = request.member_id.as_str();
        match self.state {
            GroupState::Stable => {
                self.remove_pending_sync(member_id);
                let reply = self.sync_reply(member_id);
                if let Some(member) = self.members.get_mut(member_id) {
                    Self::reset_session(member, context);
                }
                context.effects.reply(token, Reply::SyncGroup(reply));
            }
            GroupState::CompletingRebalance => {
                self.hold_sync(context, token, member_id);
                if self.is_leader(member_id) && self.assignment_append.is_none() {
                    self.append_assignment(context, request);
                }
            }
            GroupState::Empty | GroupState::PreparingRebalance | GroupState::Dead => {
                let error = sync_error(GroupError::RebalanceInProgress);
                context.effects.reply(token, Reply::SyncGroup(error));
            }
        }
    }

    fn check_sync(&self, request: &SyncGroupRequest) -> Result<(), GroupError> {
        if self.state == GroupState::Dead {
            return Err(GroupError::CoordinatorNotAvailable);
        }
        self.check_member(&request.member_id, request.group_instance_id.as_deref())?;
        if request.generation_id != self.generation_id {
            return Err(GroupError::IllegalGeneration);
        }
        let type_differs = differs(
            request.protocol_type.as_deref(),
            self.protocol_type.as_deref(),
        );
        let name_differs = differs(
            request.protocol_name.as_deref(),
            self.protocol_name.as_deref(),
        );
        if self.state != GroupState::PreparingRebalance && (type_differs || name_differs) {
            return Err(GroupError::InconsistentGroupProtocol);
        }
        Ok(())
    }

    fn hold_sync(&mut self, context: &mut Context<'_>, token: ReplyToken, member_id: &str) {
        self.remove_pending_sync(member_id);
        let Some(member) = self.members.get_mut(member_id) else {
            return;
        };
        let before = member.awaiting_sync.replace(token);
        context.effects.hold(token, &self.id, member_id);
        if let Some(before) = before {
            let error = sync_error(GroupError::RebalanceInProgress);
            context.effects.reply(before, Reply::SyncGroup(error));
        }
    }

    fn append_assignment(&mut self, context: &mut Context<'_>, request: &SyncGroupRequest) {
        let assignments: BTreeMap<String, Bytes> = request
            .assignments
            .iter()
            .filter(|(member_id, _)| self.members.contains_key(member_id))
            .map(|(member_id, bytes)| (member_id.clone(), Bytes::copy_from_slice(bytes)))
            .collect();
        let record = self.to_record(Some(&assignments));
        self.recorded = true;
        let change = Change::Assignment { assignments };
        self.assignment_append = Some(self.append(context, change, vec![record]));
    }

    /// Takes a sign of life.
    ///
    /// # Errors
    /// What the member has to be told; REBALANCE_IN_PROGRESS counts as a sign of life too.
    pub(super) fn handle_heartbeat(
        &mut self,
        context: &Context<'_>,
        request: &HeartbeatRequest,
    ) -> Result<(), GroupError> {
        if self.state == GroupState::Dead {
            return Err(GroupError::CoordinatorNotAvailable);
        }
        self.check_member(&request.member_id, request.group_instance_id.as_deref())?;
        if request.generation_id != self.generation_id {
            return Err(GroupError::IllegalGeneration);
        }
        if let Some(member) = self.members.get_mut(&request.member_id) {
            Self::reset_session(member, context);
        }
        match self.state {
            GroupState::PreparingRebalance => Err(GroupError::RebalanceInProgress),
            GroupState::CompletingRebalance | GroupState::Stable => Ok(()),
            GroupState::Empty | GroupState::Dead => Err(GroupError::UnknownMemberId),
        }
    }

    /// Removes the members that leave and rebalances once.
    ///
    /// # Errors
    /// COORDINATOR_NOT_AVAILABLE for the whole request if the group is being removed.
    pub(super) fn handle_leave(
        &mut self,
        context: &mut Context<'_>,
        request: &LeaveGroupRequest,
    ) -> Result<Vec<(LeavingMember, Option<GroupError>)>, GroupError> {
        if self.state == GroupState::Dead {
            return Err(GroupError::CoordinatorNotAvailable);
        }
        let mut answers = Vec::new();
        let (members, pending) = (self.members.len(), self.pending_members.len());
        for leaving in &request.members {
            let result = self.leave(context, leaving);
            answers.push((leaving.clone(), result.err()));
        }
        self.rebalance_if_fewer(context, members, pending);
        Ok(answers)
    }

    fn leave(
        &mut self,
        context: &mut Context<'_>,
        leaving: &LeavingMember,
    ) -> Result<(), GroupError> {
        let instance_id = leaving.group_instance_id.as_deref();
        if leaving.member_id.is_empty() {
            // An administrator knows only the instance id.
            let member_id = instance_id
                .and_then(|id| self.static_members.get(id))
                .cloned();
            let member_id = member_id.ok_or(GroupError::UnknownMemberId)?;
            self.remove_member(context, &member_id);
            return Ok(());
        }
        if instance_id.is_none() && self.pending_members.remove(&leaving.member_id).is_some() {
            return Ok(());
        }
        self.check_member(&leaving.member_id, instance_id)?;
        self.remove_member(context, &leaving.member_id);
        Ok(())
    }
}
