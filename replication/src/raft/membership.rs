//! Voter changes: one voter at a time simply, more at once through a joint set.
//!
//! What it is        starts a change, leaves the joint phase, retires a leader that left the group.
//! What it is not    decides no policy: when a learner has caught up is the owner's judgement.
//! Invariants        1. at most one set is not committed on a leader. 2. a set holds from the
//!                   moment it is appended. 3. a leader changes nothing before its term start is
//!                   committed.
//! Source            Raft §6; thesis §4.1, §4.2.2; Ongaro's 2015 correction of single-server
//!                   changes.

use std::time::Duration;

use super::{Raft, State, micros};
use crate::progress::Progress;
use crate::{
    Message, NodeId, ProposeVotersError, Proposed, SideEntryKind, VoterSet, VoterSetError,
    VotersEntry,
};

impl Raft {
    /// Starts the change to `target`: adds learners, promotes, demotes, removes. A change of more
    /// than one voter passes through a joint set, which the leader leaves by itself.
    ///
    /// Returns where the side entry stands. The change is done when [`Raft::voters`] equals the
    /// target and its index is committed.
    ///
    /// # Errors
    /// [`ProposeVotersError`]; nothing has changed then.
    pub fn handle_propose_voters(
        &mut self,
        now: Duration,
        target: &VoterSet,
    ) -> Result<Proposed, ProposeVotersError> {
        self.check_proposable()?;
        if target.voters().is_empty() || target.is_joint() {
            return Err(VoterSetError::NoVoters.into());
        }
        let current = self.voters.current();
        if current.index > self.commit_index || current.set.is_joint() {
            return Err(ProposeVotersError::ChangePending {
                index: current.index,
            });
        }
        if !self.is_ready_leader() {
            return Err(ProposeVotersError::TermStartUncommitted {
                term: self.hard_state.term,
            });
        }
        if current.set == *target {
            return Err(ProposeVotersError::Unchanged);
        }
        let next = current.set.step_towards(target);
        Ok(self.append_voters(micros(now), next))
    }

    /// Acts on voter sets that became committed on a leader.
    pub(super) fn handle_voters_committed(&mut self, now: u64) {
        let current = self.voters.current();
        if current.index > self.commit_index {
            return;
        }
        if current.set.is_joint() {
            let next = current.set.without_outgoing();
            self.append_voters(now, next);
        } else if !current.set.is_voter(self.node) {
            self.retire(now);
        }
    }

    fn append_voters(&mut self, now: u64, set: VoterSet) -> Proposed {
        let first_index = self.append_side_entry(SideEntryKind::Voters(set.clone()));
        self.voters.push(VotersEntry {
            index: first_index,
            set,
        });
        self.update_peers(now);
        // A smaller set may already have persisted more than the one before.
        self.advance_commit(now);
        Proposed {
            first_index,
            term: self.hard_state.term,
        }
    }

    /// Makes the peers of a leader those of the set in force.
    fn update_peers(&mut self, now: u64) {
        let members = self.voter_set().members();
        let (node, next) = (self.node, self.log.last_index());
        let State::Leader(leading) = &mut self.state else {
            return;
        };
        leading.peers.retain(|peer| members.contains(&peer.node));
        for member in members.into_iter().filter(|member| *member != node) {
            if let Err(place) = leading
                .peers
                .binary_search_by_key(&member, |peer| peer.node)
            {
                let mut peer = Progress::new(member, next);
                // It has had no chance to answer yet.
                peer.recently_active = true;
                leading.peers.insert(place, peer);
            }
        }
        self.schedule_leader_timers(now);
    }

    /// Hands over and steps down: the set without this node is committed (thesis §4.2.2).
    fn retire(&mut self, now: u64) {
        let (term, commit_index) = (self.hard_state.term, self.commit_index);
        let heir = self.leading().and_then(|leading| {
            let voters = leading
                .peers
                .iter()
                .filter(|peer| self.voter_set().is_voter(peer.node));
            voters
                .max_by_key(|peer| peer.match_index)
                .map(|peer| peer.node)
        });
        if let Some(heir) = heir {
            self.send_last_commit(term, commit_index);
            self.send(heir, Message::TimeoutNow { term });
        }
        self.follow(now, term, None);
    }

    fn send_last_commit(&mut self, term: crate::Term, commit_index: crate::LogIndex) {
        let Some(leading) = self.leading() else {
            return;
        };
        let peers: Vec<(NodeId, crate::LogIndex)> = leading
            .peers
            .iter()
            .map(|p| (p.node, p.match_index.min(commit_index)))
            .collect();
        for (to, commit_index) in peers {
            self.send(to, Message::Heartbeat { term, commit_index });
        }
    }
}
