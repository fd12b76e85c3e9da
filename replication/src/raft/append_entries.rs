//! The leader's side of replication: append requests, their answers, heartbeats.
//!
//! What it is        decides what each peer is sent, when the owner polls, so that everything that
//!                   gathered since goes in one request.
//! What it is not    the follower's side is `follow`, commitment is `commit`.
//! Invariants        1. a request starts after an entry whose term is known. 2. it holds at most
//!                   one voter set, and names it.
//! Source            Raft §5.3; flow control as in etcd-io/raft (probe, replicate, snapshot).

use super::{Leading, NEVER, Raft, State};
use crate::{
    AppendRequest, AppendResult, EntryId, Envelope, InstallRequest, LogIndex, LogView, Message,
    NodeId,
};

impl Raft {
    /// Corrects the append request to `to` that the last [`Raft::poll_output`] returned: the owner
    /// sent entries only up to `last`, inclusive, an entry's end; one before the first index if it
    /// sent none. The rest follows in a later output.
    pub fn handle_append_shortened(&mut self, to: NodeId, last: LogIndex) {
        if let State::Leader(leading) = &mut self.state
            && let Some(peer) = leading.peers.iter_mut().find(|peer| peer.node == to)
        {
            peer.record_shortened(last);
        }
    }

    /// Records that messages to `to` were lost, so that it is probed instead of flooded.
    pub fn handle_unreachable(&mut self, to: NodeId) {
        if let State::Leader(leading) = &mut self.state
            && let Some(peer) = leading.peers.iter_mut().find(|peer| peer.node == to)
        {
            peer.probe_from(peer.match_index.next());
        }
    }

    pub(super) fn push_append_requests(&mut self, messages: &mut Vec<Envelope>) {
        let (log, voters, commit_index) = (&self.log, &self.voters, self.commit_index);
        let (term, in_flight_max) = (self.hard_state.term, self.in_flight_max);
        let State::Leader(leading) = &mut self.state else {
            return;
        };
        for peer in &mut leading.peers {
            let news = peer.next_index <= log.last_index() || peer.probe_due;
            if !news || !peer.may_send(in_flight_max) {
                continue;
            }
            let previous_index = peer.next_index.previous();
            let Some(previous_term) = log.term_at(previous_index) else {
                peer.install();
                let before = log.before();
                if let Some(entry) = voters.at(before.index) {
                    let voters = Box::new(entry.clone());
                    let message = Message::InstallRequest(InstallRequest {
                        term,
                        before,
                        voters,
                    });
                    messages.push(Envelope {
                        to: peer.node,
                        message,
                    });
                }
                continue;
            };
            let last = match voters.second_after(previous_index) {
                Some(second) => second.index.previous(),
                None => log.last_index(),
            };
            let entries = log.entries(peer.next_index, last);
            let in_range = voters
                .first_after(previous_index)
                .filter(|entry| entry.index <= entries.last_index());
            let append = AppendRequest {
                term,
                previous: EntryId {
                    index: previous_index,
                    term: previous_term,
                },
                entries,
                commit_index,
                voters: in_range.map(|entry| Box::new(entry.clone())),
            };
            peer.record_sent(entries.last_index());
            messages.push(Envelope {
                to: peer.node,
                message: Message::AppendRequest(append),
            });
        }
    }

    pub(super) fn handle_append_response(&mut self, now: u64, from: NodeId, result: AppendResult) {
        let log = &self.log;
        let State::Leader(leading) = &mut self.state else {
            return;
        };
        let Some(peer) = leading.peers.iter_mut().find(|peer| peer.node == from) else {
            return;
        };
        peer.recently_active = true;
        match result {
            AppendResult::Accepted { match_index } => {
                if match_index > log.last_index() {
                    return;
                }
                if peer.handle_accepted(match_index, log.first_index()) {
                    self.advance_commit(now);
                    self.continue_transfer();
                }
            }
            AppendResult::Rejected {
                previous_index,
                hint,
            } => {
                if peer.is_rejection_current(previous_index) {
                    peer.probe_from(next_after_rejection(log, previous_index, hint));
                }
            }
        }
    }

    pub(super) fn handle_heartbeat_response(&mut self, from: NodeId) {
        let (last_index, in_flight_max) = (self.log.last_index(), self.in_flight_max);
        if let State::Leader(leading) = &mut self.state
            && let Some(peer) = leading.peers.iter_mut().find(|peer| peer.node == from)
        {
            peer.handle_heartbeat_response(last_index, in_flight_max);
        }
    }

    pub(super) fn handle_leader_timeout(&mut self, now: u64) {
        self.expire_transfer(now);
        self.check_quorum(now);
        let State::Leader(leading) = &self.state else {
            return;
        };
        if now >= leading.heartbeat_deadline {
            self.send_heartbeats();
            self.schedule_heartbeat(now);
        }
    }

    /// Starts the timers of a leader with peers, stops those of one without.
    pub(super) fn schedule_leader_timers(&mut self, now: u64) {
        let timeout = self.election_timeout();
        let State::Leader(leading) = &mut self.state else {
            return;
        };
        if leading.peers.is_empty() {
            leading.heartbeat_deadline = NEVER;
            leading.quorum_deadline = NEVER;
        } else if leading.quorum_deadline == NEVER {
            leading.quorum_deadline = now.saturating_add(timeout);
            self.schedule_heartbeat(now);
        }
    }

    fn send_heartbeats(&mut self) {
        let (term, commit_index) = (self.hard_state.term, self.commit_index);
        let State::Leader(leading) = &self.state else {
            return;
        };
        let heartbeats: Vec<(NodeId, LogIndex)> = leading
            .peers
            .iter()
            .map(|p| (p.node, p.match_index.min(commit_index)))
            .collect();
        for (to, commit_index) in heartbeats {
            self.send(to, Message::Heartbeat { term, commit_index });
        }
    }

    /// Sets the next heartbeat to the next multiple of the interval: all groups beat together.
    fn schedule_heartbeat(&mut self, now: u64) {
        let interval = u64::from(self.heartbeat_interval_ms) * 1000;
        if let State::Leader(leading) = &mut self.state {
            leading.heartbeat_deadline = now.saturating_add(interval - now % interval);
        }
    }

    pub(super) fn leading(&self) -> Option<&Leading> {
        match &self.state {
            State::Leader(leading) => Some(leading),
            State::Follower | State::PreCandidate(_) | State::Candidate { .. } => None,
        }
    }
}

/// Returns where to probe next: after the last of our entries that the follower may hold.
fn next_after_rejection(log: &LogView, previous_index: LogIndex, hint: EntryId) -> LogIndex {
    let ours = log.last_entry_at_most(hint.index, hint.term);
    ours.index.next().min(previous_index)
}
