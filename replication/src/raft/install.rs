//! Starting anew where the leader's log starts.
//!
//! What it is        for a follower whose missing entries the leader has compacted: it drops its
//!                   log and continues at the leader's log start.
//! What it is not    carries no state: what the dropped prefix stands for is the owner's matter.
//! Invariants        1. never below the commit index. 2. the answer waits for stable storage.
//! Source            Raft §7 (InstallSnapshot), with the log start in place of a snapshot.

use std::time::Duration;

use super::{Raft, micros};
use crate::{EntryId, InstallOrder, InstallRequest, MessageError, NodeId};

impl Raft {
    /// Records that the log start of an [`InstallOrder`] is on stable storage.
    pub fn handle_installed(&mut self, now: Duration, before: EntryId) {
        let persisted_before = self.log.persisted_index();
        if self.log.handle_installed(before) {
            self.handle_follower_persisted(persisted_before);
            self.reset_election_deadline(micros(now));
        }
    }

    pub(super) fn handle_install(
        &mut self,
        now: u64,
        from: NodeId,
        install: InstallRequest,
    ) -> Result<(), MessageError> {
        self.check_leader(from)?;
        self.handle_leader_alive(now, from);
        if self.is_log_output_pending() {
            return Ok(());
        }
        let before = install.before;
        if before.index <= self.commit_index {
            self.verify_up_to(self.commit_index);
        } else if self.log.term_at(before.index) == Some(before.term) {
            // We hold that entry, so we hold everything before it as well (log matching).
            self.verify_up_to(before.index);
            self.raise_commit(before.index);
        } else {
            self.start_anew(install);
        }
        Ok(())
    }

    fn start_anew(&mut self, install: InstallRequest) {
        let before = install.before;
        self.log.reset(before, self.hard_state.term);
        self.voters.reset((*install.voters).clone());
        self.verified_index = before.index;
        self.raise_commit(before.index);
        let voters = *install.voters;
        self.pending().install = Some(InstallOrder { before, voters });
    }
}
