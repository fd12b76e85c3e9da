//! Elections: pre-vote, votes, check-quorum, and what a term change does.
//!
//! What it is        everything between losing a leader and having one.
//! What it is not    leadership transfer starts in `transfer`, and ends here.
//! Invariants        1. a candidacy and a vote leave the node only when term and vote are
//!                   persisted: the held request also vouches for the log it names. 2. one vote per
//!                   term.
//! Source            Raft §5.2, §5.4.1; thesis §6.2 (check-quorum), §9.6 (pre-vote).

use super::{HardStateStorage, Leading, NEVER, Raft, State, Votes};
use crate::limits::TERM_MAX;
use crate::progress::Progress;
use crate::quorum::{VoteResult, vote_result};
use crate::{EntryId, LogIndex, Message, NodeId, SideEntryKind, Term};

impl Votes {
    fn record(&mut self, node: NodeId, granted: bool) {
        if self.of(node).is_none() {
            self.0.push((node, granted));
        }
    }

    pub(super) fn of(&self, node: NodeId) -> Option<bool> {
        self.0.iter().find(|vote| vote.0 == node).map(|vote| vote.1)
    }
}

impl Raft {
    /// Asks whether an election could be won; a sole voter skips that.
    pub(super) fn pre_campaign(&mut self, now: u64) {
        self.reset_election_deadline(now);
        if !self.may_stand() {
            return;
        }
        if self.voter_set().is_sole_voter(self.node) {
            self.campaign(now, false);
            return;
        }
        let mut votes = Votes::default();
        votes.record(self.node, true);
        self.set_state(State::PreCandidate(votes), None);
        let (term, last) = (self.hard_state.term.next(), self.log.last());
        self.send_to_voters(&Message::PreVoteRequest { term, last });
        self.count_pre_votes(now);
    }

    /// Stands for election. The requests leave when term and vote are persisted.
    pub(super) fn campaign(&mut self, now: u64, transfer: bool) {
        if !self.may_stand() {
            return;
        }
        self.verified_index = LogIndex::ZERO;
        self.vote_response_due = false;
        self.append_response_due = false;
        self.set_hard_state(self.hard_state.term.next(), Some(self.node));
        self.set_state(
            State::Candidate {
                votes: Votes::default(),
                transfer,
            },
            None,
        );
        self.reset_election_deadline(now);
    }

    /// Continues a campaign whose term and vote are persisted.
    pub(super) fn handle_candidacy_persisted(&mut self, now: u64) {
        let node = self.node;
        let State::Candidate { votes, transfer } = &mut self.state else {
            return;
        };
        votes.record(node, true);
        let transfer = *transfer;
        let (term, last) = (self.hard_state.term, self.log.last());
        self.send_to_voters(&Message::VoteRequest {
            term,
            last,
            transfer,
        });
        self.count_votes(now);
    }

    /// Tells whether an election message is to be ignored because a leader is alive (thesis
    /// §4.2.3).
    pub(super) fn is_election_ignored(&self, now: u64, message: &Message) -> bool {
        let is_election = matches!(
            message,
            Message::PreVoteRequest { .. }
                | Message::VoteRequest {
                    transfer: false,
                    ..
                }
        );
        let is_leader = matches!(self.state, State::Leader(_));
        let leader_lives = is_leader || (self.leader.is_some() && now < self.leader_lease_end);
        is_election && leader_lives && message.term() >= self.hard_state.term
    }

    /// Goes over to the higher term of a message, unless the message only asks about it.
    pub(super) fn adopt_term(&mut self, now: u64, from: NodeId, message: &Message) {
        match message {
            Message::PreVoteRequest { .. } | Message::PreVoteResponse { granted: true, .. } => {}
            Message::AppendRequest(_) | Message::Heartbeat { .. } | Message::InstallRequest(_) => {
                self.follow(now, message.term(), Some(from))
            }
            Message::PreVoteResponse { .. }
            | Message::VoteRequest { .. }
            | Message::VoteResponse { .. }
            | Message::AppendResponse { .. }
            | Message::HeartbeatResponse { .. }
            | Message::TimeoutNow { .. } => self.follow(now, message.term(), None),
        }
    }

    /// Tells the sender of a message of an older term about the current one, where that helps.
    pub(super) fn answer_old_term(&mut self, from: NodeId, message: &Message) {
        let term = self.hard_state.term;
        match message {
            Message::AppendRequest(_) | Message::Heartbeat { .. } | Message::InstallRequest(_) => {
                self.send(from, Message::HeartbeatResponse { term })
            }
            Message::PreVoteRequest { .. } => {
                self.send(
                    from,
                    Message::PreVoteResponse {
                        term,
                        granted: false,
                    },
                );
            }
            Message::VoteRequest { .. } => {
                self.send(
                    from,
                    Message::VoteResponse {
                        term,
                        granted: false,
                    },
                );
            }
            Message::PreVoteResponse { .. }
            | Message::VoteResponse { .. }
            | Message::AppendResponse { .. }
            | Message::HeartbeatResponse { .. }
            | Message::TimeoutNow { .. } => {}
        }
    }

    pub(super) fn handle_pre_vote_request(&mut self, from: NodeId, term: Term, last: EntryId) {
        let current = self.hard_state.term;
        let may_vote = term > current || self.hard_state.vote.is_none_or(|vote| vote == from);
        let granted = may_vote && self.is_up_to_date(last);
        let term = if granted { term } else { current };
        self.send(from, Message::PreVoteResponse { term, granted });
    }

    pub(super) fn handle_pre_vote_response(
        &mut self,
        now: u64,
        from: NodeId,
        term: Term,
        granted: bool,
    ) {
        let asked = self.hard_state.term.next();
        let State::PreCandidate(votes) = &mut self.state else {
            return;
        };
        if granted == (term == asked) {
            votes.record(from, granted);
            self.count_pre_votes(now);
        }
    }

    pub(super) fn handle_vote_request(&mut self, now: u64, from: NodeId, last: EntryId) {
        let term = self.hard_state.term;
        let vote = self.hard_state.vote;
        let free = vote.is_none() && self.leader.is_none();
        if !(vote == Some(from) || free) || !self.is_up_to_date(last) {
            self.send(
                from,
                Message::VoteResponse {
                    term,
                    granted: false,
                },
            );
            return;
        }
        self.set_hard_state(term, Some(from));
        self.vote_response_due = true;
        self.reset_election_deadline(now);
    }

    pub(super) fn handle_vote_response(&mut self, now: u64, from: NodeId, granted: bool) {
        let State::Candidate { votes, .. } = &mut self.state else {
            return;
        };
        votes.record(from, granted);
        self.count_votes(now);
    }

    /// Becomes follower in `term`, which is the current one or a higher one.
    pub(super) fn follow(&mut self, now: u64, term: Term, leader: Option<NodeId>) {
        if term > self.hard_state.term {
            self.set_hard_state(term, None);
            self.verified_index = LogIndex::ZERO;
            self.vote_response_due = false;
            self.append_response_due = false;
            self.role_changed = true;
        }
        self.set_state(State::Follower, leader);
        self.reset_election_deadline(now);
    }

    /// Handles a sign of life of the leader of the current term.
    pub(super) fn handle_leader_alive(&mut self, now: u64, leader: NodeId) {
        self.follow(now, self.hard_state.term, Some(leader));
        self.leader_lease_end = now.saturating_add(self.election_timeout());
    }

    /// Draws the time of the next election, in `[timeout, 2 * timeout)` from `now` (Raft §9.3).
    pub(super) fn reset_election_deadline(&mut self, now: u64) {
        let timeout = self.election_timeout();
        self.election_deadline = if self.may_stand() {
            now.saturating_add(timeout)
                .saturating_add(self.random.below(timeout))
        } else {
            NEVER
        };
    }

    pub(super) fn election_timeout(&self) -> u64 {
        u64::from(self.election_timeout_ms) * 1000
    }

    /// Retires a leader that has not heard from a quorum for an election timeout.
    pub(super) fn check_quorum(&mut self, now: u64) {
        let (node, timeout) = (self.node, self.election_timeout());
        let State::Leader(leading) = &mut self.state else {
            return;
        };
        if now < leading.quorum_deadline {
            return;
        }
        leading.quorum_deadline = now.saturating_add(timeout);
        let peers = &leading.peers;
        let active = |member: NodeId| {
            Some(member == node || peers.iter().any(|p| p.node == member && p.recently_active))
        };
        let result = vote_result(&self.voters.current().set, active);
        for peer in &mut leading.peers {
            peer.recently_active = false;
        }
        if result != VoteResult::Won {
            self.follow(now, self.hard_state.term, None);
        }
    }

    fn is_up_to_date(&self, last: EntryId) -> bool {
        let ours = self.log.last();
        (last.term, last.index) >= (ours.term, ours.index)
    }

    /// Tells whether this node may stand for election: as a voter, also one that a set removed
    /// which is not known to be committed (thesis §4.2.2: it may still be needed).
    pub(super) fn may_stand(&self) -> bool {
        let current = self.voters.current();
        let was_voter = current.index > self.commit_index
            && self
                .voters
                .before_current()
                .is_some_and(|entry| entry.set.is_voter(self.node));
        (current.set.is_voter(self.node) || was_voter) && self.hard_state.term.0 < TERM_MAX
    }

    fn count_pre_votes(&mut self, now: u64) {
        let State::PreCandidate(votes) = &self.state else {
            return;
        };
        match vote_result(self.voter_set(), |node| votes.of(node)) {
            VoteResult::Won => self.campaign(now, false),
            VoteResult::Lost => self.follow(now, self.hard_state.term, None),
            VoteResult::Open => {}
        }
    }

    fn count_votes(&mut self, now: u64) {
        let State::Candidate { votes, .. } = &self.state else {
            return;
        };
        match vote_result(self.voter_set(), |node| votes.of(node)) {
            VoteResult::Won => self.lead(now),
            VoteResult::Lost => self.follow(now, self.hard_state.term, None),
            VoteResult::Open => {}
        }
    }

    fn lead(&mut self, now: u64) {
        assert!(
            self.storage == HardStateStorage::Persisted,
            "a vote counts when persisted"
        );
        let next = self.log.last_index().next();
        let members = self.voter_set().members();
        let others = members.into_iter().filter(|node| *node != self.node);
        let peers: Vec<Progress> = others.map(|node| Progress::new(node, next)).collect();
        let leading = Leading {
            peers,
            heartbeat_deadline: NEVER,
            quorum_deadline: NEVER,
            term_start: next,
            transfer: None,
        };
        self.set_state(State::Leader(Box::new(leading)), Some(self.node));
        self.append_side_entry(SideEntryKind::TermStart);
        self.schedule_leader_timers(now);
    }

    fn send_to_voters(&mut self, message: &Message) {
        for node in self.voter_set().members() {
            if node != self.node && self.voter_set().is_voter(node) {
                self.send(node, message.clone());
            }
        }
    }

    fn set_state(&mut self, state: State, leader: Option<NodeId>) {
        let role = self.role();
        self.state = state;
        let changed = role != self.role() || leader != self.leader;
        self.role_changed = self.role_changed || changed;
        self.leader = leader;
    }
}
