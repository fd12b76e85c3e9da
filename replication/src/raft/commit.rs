//! Persist acknowledgements and the commit index.
//!
//! What it is        turns "persisted here" and "persisted there" into "committed".
//! What it is not    does not apply anything.
//! Invariants        1. the commit index never falls. 2. a leader commits by count only entries of
//!                   its own term. 3. it counts itself by what it has persisted, like any other.
//! Source            Raft §5.4.2, figure 8; thesis §10.2.1 (the leader writes in parallel).

use std::time::Duration;

use super::{HardStateStorage, Raft, State, micros};
use crate::quorum::committed_index;
use crate::{EntryId, HardState, LogIndex, NodeId, Term};

impl Raft {
    /// Records that the log is on stable storage up to the entry at `index`, inclusive, which has
    /// the term `term`. Acknowledgements come in the order in which the writes were queued.
    ///
    /// What is no longer in the log, or may stem from before a truncation, is ignored.
    pub fn handle_persisted(&mut self, now: Duration, index: LogIndex, term: Term) {
        let before = self.log.persisted_index();
        if !self.log.handle_persisted(EntryId { index, term }) {
            return;
        }
        match self.state {
            State::Leader(_) => self.advance_commit(micros(now)),
            State::Follower | State::PreCandidate(_) | State::Candidate { .. } => {
                self.handle_follower_persisted(before);
            }
        }
    }

    /// Records that term and vote are on stable storage. Older ones than the current are ignored.
    pub fn handle_hard_state_persisted(&mut self, now: Duration, hard_state: HardState) {
        let awaited = self.storage == HardStateStorage::Queued && hard_state == self.hard_state;
        if awaited {
            self.storage = HardStateStorage::Persisted;
            self.handle_candidacy_persisted(micros(now));
        }
    }

    /// Raises the commit index of a leader to what a majority has persisted.
    pub(super) fn advance_commit(&mut self, now: u64) {
        let (node, persisted_index) = (self.node, self.log.persisted_index());
        let State::Leader(leading) = &self.state else {
            return;
        };
        let match_index = |member: NodeId| {
            if member == node {
                return persisted_index;
            }
            let peer = leading.peers.iter().find(|peer| peer.node == member);
            peer.map_or(LogIndex::ZERO, |peer| peer.match_index)
        };
        let index = committed_index(self.voter_set(), match_index);
        if index > self.commit_index && self.log.term_at(index) == Some(self.hard_state.term) {
            self.raise_commit(index);
            self.handle_voters_committed(now);
        }
    }

    pub(super) fn raise_commit(&mut self, index: LogIndex) {
        self.commit_index = self.commit_index.max(index);
    }
}
