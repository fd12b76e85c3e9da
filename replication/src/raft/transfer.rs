//! Leadership transfer.
//!
//! What it is        stops proposals, brings the heir up to date, asks it to stand at once; gives
//!                   up after an election timeout.
//! What it is not    no choice of the heir.
//! Source            Thesis §3.10.

use std::time::Duration;

use super::{Raft, State, Transfer, micros};
use crate::{Message, NodeId, TransferError};

impl Raft {
    /// Hands leadership to the voter `to`. Proposals are refused until the transfer ends: with a
    /// new leader, or after an election timeout in vain.
    ///
    /// # Errors
    /// [`TransferError`]; nothing has changed then.
    pub fn handle_transfer_leadership(
        &mut self,
        now: Duration,
        to: NodeId,
    ) -> Result<(), TransferError> {
        let deadline = micros(now).saturating_add(self.election_timeout());
        let is_other_voter = to != self.node && self.voter_set().is_voter(to);
        let State::Leader(leading) = &mut self.state else {
            return Err(TransferError::NotLeader {
                leader: self.leader,
            });
        };
        if !is_other_voter {
            return Err(TransferError::NoOtherVoter { to });
        }
        if leading.transfer.is_none_or(|transfer| transfer.to != to) {
            leading.transfer = Some(Transfer {
                to,
                deadline,
                asked: false,
            });
            self.continue_transfer();
        }
        Ok(())
    }

    /// Asks the heir to stand once it holds the whole log.
    pub(super) fn continue_transfer(&mut self) {
        let (term, last_index) = (self.hard_state.term, self.log.last_index());
        let State::Leader(leading) = &mut self.state else {
            return;
        };
        let Some(transfer) = &mut leading.transfer else {
            return;
        };
        let to = transfer.to;
        let ready = leading
            .peers
            .iter()
            .any(|p| p.node == to && p.match_index == last_index);
        if ready && !transfer.asked {
            transfer.asked = true;
            self.send(to, Message::TimeoutNow { term });
        }
    }

    /// Ends a transfer that took too long.
    pub(super) fn expire_transfer(&mut self, now: u64) {
        if let State::Leader(leading) = &mut self.state
            && leading
                .transfer
                .is_some_and(|transfer| now >= transfer.deadline)
        {
            leading.transfer = None;
        }
    }

    /// Stands for election because the leader of this term asks for it.
    pub(super) fn handle_timeout_now(&mut self, now: u64, from: NodeId) {
        if self.leader.is_none_or(|leader| leader == from) && self.role() == crate::Role::Follower {
            self.campaign(now, true);
        }
    }
}
