//! What must hold of a replica after every input.
//!
//! What it is        the numbered list, one assert per number; called by tests and simulation.
//! What it is not    nothing across nodes: that is checked by the simulator of the tests.

use super::{HardStateStorage, Raft, State};
use crate::Role;

impl Raft {
    /// Asserts the invariants of one replica:
    ///
    /// 1. those of the log view.
    /// 2. log start - 1 <= commit index <= last index.
    /// 3. no entry has a term above the current one.
    /// 4. a leader and a candidate voted for themselves.
    /// 5. a leader has persisted its vote, knows itself as leader, and cuts nothing.
    /// 6. a leader's log holds the start of its term.
    /// 7. the progress of every peer is sound, and there is one per other member.
    /// 8. the voter set in force lies in the log.
    /// 9. what is verified lies in the log.
    /// 10. a leader that has committed its term start has at most one voter set not committed.
    ///
    /// # Panics
    /// If one is broken: the fault is in this crate.
    pub fn check_invariants(&self) {
        self.log.check_invariants();
        let (before, last) = (self.log.before(), self.log.last());
        assert!(
            before.index <= self.commit_index,
            "2: {before} above {}",
            self.commit_index
        );
        assert!(
            self.commit_index <= last.index,
            "2: {} above {last}",
            self.commit_index
        );
        assert!(
            last.term <= self.hard_state.term,
            "3: {last} above {}",
            self.hard_state.term
        );
        if matches!(self.role(), Role::Leader | Role::Candidate) {
            assert!(
                self.hard_state.vote == Some(self.node),
                "4: {:?}",
                self.hard_state
            );
        }
        assert!(
            self.voters.current().index <= last.index,
            "8: {:?}",
            self.voters
        );
        assert!(
            self.verified_index <= last.index,
            "9: {}",
            self.verified_index
        );
        if let State::Leader(leading) = &self.state {
            assert!(
                self.storage == HardStateStorage::Persisted,
                "5: {:?}",
                self.hard_state
            );
            assert!(self.leader == Some(self.node), "5: {:?}", self.leader);
            assert!(
                leading.term_start <= last.index,
                "6: {}",
                leading.term_start
            );
            assert!(last.term == self.hard_state.term, "6: {last}");
            for peer in &leading.peers {
                peer.check_invariants(last.index, self.in_flight_max);
                assert!(self.voter_set().is_member(peer.node), "7: {peer:?}");
            }
            let members = self.voter_set().members();
            let others = members.iter().filter(|node| **node != self.node).count();
            assert!(leading.peers.len() == others, "7: {members:?}");
            if self.is_ready_leader() {
                let second = self.voters.second_after(self.commit_index);
                assert!(second.is_none(), "10: {second:?}");
            }
        }
    }
}
