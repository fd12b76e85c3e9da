//! The follower's side of replication: entries and heartbeats from the leader.
//!
//! What it is        checks that entries fit, tells the owner what to cut and what to append, and
//!                   answers when that is persisted.
//! What it is not    starting anew is `install`.
//! Invariants        1. neither committed entries are cut nor what this leader sent before. 2. an
//!                   answer names only what is persisted and verified in this term.
//! Source            Raft §5.3, figure 2 (AppendEntries receiver).

use super::{HardStateStorage, Raft, State};
use crate::{
    AppendRequest, AppendResult, EntryId, EntryRange, LogIndex, Message, MessageError, NodeId, Role,
};

impl Raft {
    pub(super) fn handle_append(
        &mut self,
        now: u64,
        from: NodeId,
        append: AppendRequest,
    ) -> Result<(), MessageError> {
        self.check_leader(from)?;
        let previous = append.previous;
        let matches = self.log.term_at(previous.index) == Some(previous.term);
        let difference = self.log.first_difference(&append.entries);
        let certain = self.commit_index.max(self.verified_index);
        let contradiction = difference.filter(|index| matches && *index <= certain);
        if let Some(index) = contradiction {
            return Err(MessageError::Contradiction { from, index });
        }
        self.handle_leader_alive(now, from);
        if self.is_log_output_pending() {
            return Ok(());
        }
        if previous.index < self.commit_index {
            // Everything committed equals the leader's log (Raft §5.4, leader completeness).
            self.verify_up_to(self.commit_index);
        } else if matches {
            self.accept(&append, difference);
        } else {
            self.reject(from, previous);
        }
        Ok(())
    }

    pub(super) fn handle_heartbeat(
        &mut self,
        now: u64,
        from: NodeId,
        commit_index: LogIndex,
    ) -> Result<(), MessageError> {
        self.check_leader(from)?;
        self.handle_leader_alive(now, from);
        self.raise_commit(commit_index.min(self.log.last_index()));
        let term = self.hard_state.term;
        self.send(from, Message::HeartbeatResponse { term });
        Ok(())
    }

    pub(super) fn check_leader(&self, from: NodeId) -> Result<(), MessageError> {
        match self.leader {
            Some(leader) if leader != from => Err(MessageError::TwoLeaders {
                from,
                leader,
                term: self.hard_state.term,
            }),
            Some(_) | None => Ok(()),
        }
    }

    /// Queues the answers that waited for stable storage and need wait no more.
    pub(super) fn queue_follower_responses(&mut self) {
        if self.storage != HardStateStorage::Persisted {
            return;
        }
        let term = self.hard_state.term;
        if self.vote_response_due {
            self.vote_response_due = false;
            if let Some(candidate) = self.hard_state.vote {
                self.send(
                    candidate,
                    Message::VoteResponse {
                        term,
                        granted: true,
                    },
                );
            }
        }
        if self.append_response_due {
            self.append_response_due = false;
            if let (Role::Follower, Some(leader)) = (self.role(), self.leader) {
                let match_index = self.verified_index.min(self.log.persisted_index());
                let result = AppendResult::Accepted { match_index };
                self.send(leader, Message::AppendResponse { term, result });
            }
        }
    }

    /// Records that our log equals the leader's up to `index`, and answers when that is persisted.
    pub(super) fn verify_up_to(&mut self, index: LogIndex) {
        self.verified_index = self.verified_index.max(index);
        if self.log.persisted_index() >= index {
            self.append_response_due = true;
        }
    }

    /// Handles that the persisted index rose.
    pub(super) fn handle_follower_persisted(&mut self, persisted_before: LogIndex) {
        if matches!(self.state, State::Follower) && self.verified_index > persisted_before {
            self.append_response_due = true;
        }
    }

    fn accept(&mut self, append: &AppendRequest, difference: Option<LogIndex>) {
        if let Some(first) = difference {
            self.append_from(append, first);
        }
        let last = append.entries.last_index();
        self.verify_up_to(last);
        self.raise_commit(append.commit_index.min(last));
    }

    fn append_from(&mut self, append: &AppendRequest, first: LogIndex) {
        if first <= self.log.last_index() {
            self.log.truncate_from(first, self.hard_state.term);
            self.pending().truncate_from = Some(first);
            self.voters.truncate_from(first);
        }
        for (run, last) in append.entries.iter().filter(|(_, last)| *last >= first) {
            let from = run.first_index.max(first);
            self.log.append(run.term, last.0 - from.0 + 1);
        }
        let last = append.entries.last_index();
        self.pending().append = Some(EntryRange { first, last });
        if let Some(voters) = append
            .voters
            .as_ref()
            .filter(|voters| voters.index >= first)
        {
            self.voters.push((**voters).clone());
        }
    }

    fn reject(&mut self, from: NodeId, previous: EntryId) {
        let term = self.hard_state.term;
        let mut hint = self.log.last_entry_at_most(previous.index, previous.term);
        if hint.index < self.commit_index
            && let Some(committed_term) = self.log.term_at(self.commit_index)
        {
            hint = EntryId {
                index: self.commit_index,
                term: committed_term,
            };
        }
        let result = AppendResult::Rejected {
            previous_index: previous.index,
            hint,
        };
        self.send(from, Message::AppendResponse { term, result });
    }
}
