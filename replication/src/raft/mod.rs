//! The Raft state machine of one group.
//!
//! What it is        `Raft`: inputs `handle_*`, output `poll_output` and `next_deadline`, getters.
//!                   One phase stands in one file beside this one.
//! What it is not    no queue of entries, no payloads, no timers of its own.
//! Invariants        see [`Raft::check_invariants`].
//! Source            Raft figure 2; thesis §3.10, §4, §6.2 (check-quorum), §9.6.
//! Reading order     `Raft::handle_message`, then `election`, `append_entries`, `follow`, `commit`.

mod append_entries;
mod commit;
mod election;
mod follow;
mod install;
mod invariants;
mod membership;
mod transfer;

#[cfg(test)]
mod sole_voter_tests;

use std::num::NonZeroU32;
use std::time::Duration;

use crate::limits::{
    HEARTBEAT_INTERVAL_MS_MIN, HEARTBEATS_PER_ELECTION_TIMEOUT_MIN, IN_FLIGHT_MAX, INDEX_MAX,
    MESSAGES_QUEUED_MAX, TERM_MAX,
};
use crate::progress::Progress;
use crate::random::Random;
use crate::voters::VotersHistory;
use crate::{
    EntryId, EntryRange, Envelope, HardState, InstallOrder, LogIndex, LogView, Message,
    MessageError, NodeId, Output, PeerProgress, ProposeError, Proposed, RecoveredError, Role,
    RoleChange, SideEntry, SideEntryKind, Term, TermRun, VoterSet, VotersEntry,
};

/// What a group is told once. Times are in whole milliseconds to keep an idle group small.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// The node that this replica lives on.
    pub node: NodeId,
    /// Shortest time without a leader before an election, in ms; the time used is drawn anew from
    /// one to two times this. Also the time after which a leader without a quorum retires.
    pub election_timeout_ms: u32,
    /// Time between heartbeats, in ms. Heartbeats of all groups of a process fall on multiples of
    /// it, so that the owner can merge them.
    pub heartbeat_interval_ms: u32,
    /// Append requests on the way to one peer, 1 to [`IN_FLIGHT_MAX`].
    pub in_flight_max: u16,
    /// Seed of the drawn times. Groups and nodes must have different ones.
    pub seed: u64,
}

/// What a group finds on stable storage when it starts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recovered {
    /// Term and vote as last persisted; the default for a new group.
    pub hard_state: HardState,
    /// The entry before the first one kept; [`EntryId::ZERO`] for a log that is whole.
    pub before: EntryId,
    /// The terms of the kept entries, ascending, the first at `before.index + 1`.
    pub runs: Vec<TermRun>,
    /// Index of the last entry, inclusive; `before.index` for a log without entries.
    pub last_index: LogIndex,
    /// An index known to be committed and persisted here, inclusive; 0 if none is known. A commit
    /// index that was ahead of the own persisted index must have been lowered to it when stored:
    /// what lies above it on this disk may be something else.
    pub commit_index: LogIndex,
    /// The voter set in force at `before` and every one in the log since, ascending.
    pub voters: Vec<VotersEntry>,
}

/// The consensus of one group, as one node takes part in it.
///
/// 1. construct: [`Raft::new`]. 2. inputs: `handle_*`; each runs to completion and after each the
///    owner polls. 3. outputs: [`Raft::poll_output`] until it is `None`, then
///    [`Raft::next_deadline`]. 4. getters.
///
/// `now` is the time since any fixed point of the owner's monotonic clock; the same fixed point for
/// all groups of a process.
#[derive(Debug)]
pub struct Raft {
    node: NodeId,
    election_timeout_ms: u32,
    heartbeat_interval_ms: u32,
    in_flight_max: u16,
    random: Random,
    hard_state: HardState,
    storage: HardStateStorage,
    log: LogView,
    voters: VotersHistory,
    commit_index: LogIndex,
    /// Up to here our log is known to equal that of the leader of this term, inclusive.
    verified_index: LogIndex,
    leader: Option<NodeId>,
    state: State,
    /// When to stand for election; `NEVER` for one who cannot.
    election_deadline: u64,
    /// Until then a live leader is a reason to ignore elections.
    leader_lease_end: u64,
    /// A granted vote waits for stable storage.
    vote_response_due: bool,
    /// The leader waits to hear what is persisted.
    append_response_due: bool,
    role_changed: bool,
    /// Boxed and usually absent: most groups are idle most of the time.
    pending: Option<Box<Pending>>,
    commit_reported: LogIndex,
}

/// How far the current term and vote are on their way to stable storage.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum HardStateStorage {
    Changed,
    Queued,
    Persisted,
}

#[derive(Debug)]
enum State {
    Follower,
    PreCandidate(Votes),
    Candidate { votes: Votes, transfer: bool },
    Leader(Box<Leading>),
}

/// What a leader needs beyond the rest.
#[derive(Debug)]
struct Leading {
    /// Every member but this node, ascending.
    peers: Vec<Progress>,
    heartbeat_deadline: u64,
    quorum_deadline: u64,
    /// Index of the term start of this leadership.
    term_start: LogIndex,
    transfer: Option<Transfer>,
}

#[derive(Clone, Copy, Debug)]
struct Transfer {
    to: NodeId,
    deadline: u64,
    asked: bool,
}

/// Answers to a campaign.
#[derive(Clone, Default, Debug)]
struct Votes(Vec<(NodeId, bool)>);

/// Outputs that are not derived from other state.
#[derive(Default, Debug)]
struct Pending {
    install: Option<InstallOrder>,
    truncate_from: Option<LogIndex>,
    append: Option<EntryRange>,
    side_entries: Vec<SideEntry>,
    messages: Vec<Envelope>,
}

const NEVER: u64 = u64::MAX;

impl Raft {
    /// Starts the replica from what was found on stable storage.
    ///
    /// A sole voter stands for election at once, without waiting for a timeout: its first output
    /// is the new term and its own vote; the term start follows when they are persisted.
    ///
    /// # Errors
    /// [`RecoveredError`] if what was recovered contradicts itself: the group must not start.
    pub fn new(
        now: Duration,
        options: Options,
        recovered: Recovered,
    ) -> Result<Self, RecoveredError> {
        let mut raft = Self::follower(options, recovered)?;
        let now = micros(now);
        raft.reset_election_deadline(now);
        if raft.voters.current().set.is_sole_voter(raft.node) {
            raft.campaign(now, false);
        }
        Ok(raft)
    }

    fn follower(options: Options, recovered: Recovered) -> Result<Self, RecoveredError> {
        check_timing(&options)?;
        let log = LogView::new(recovered.before, &recovered.runs, recovered.last_index)
            .ok_or(RecoveredError::Runs)?;
        let (current, last) = (recovered.hard_state.term, log.last().term);
        if current < last {
            return Err(RecoveredError::TermBehindLog { last, current });
        }
        if current.0 > TERM_MAX || log.last_index().0 > INDEX_MAX {
            return Err(RecoveredError::Limit);
        }
        let voters = VotersHistory::new(recovered.voters)
            .filter(|voters| voters.current().index <= log.last_index())
            .ok_or(RecoveredError::Voters)?;
        let commit_index = recovered
            .commit_index
            .min(log.last_index())
            .max(log.before().index);
        Ok(Self {
            node: options.node,
            election_timeout_ms: options.election_timeout_ms,
            heartbeat_interval_ms: options.heartbeat_interval_ms,
            in_flight_max: options.in_flight_max,
            random: Random::new(options.seed),
            hard_state: recovered.hard_state,
            storage: HardStateStorage::Persisted,
            log,
            voters,
            commit_index,
            verified_index: LogIndex::ZERO,
            leader: None,
            state: State::Follower,
            election_deadline: NEVER,
            leader_lease_end: 0,
            vote_response_due: false,
            append_response_due: false,
            role_changed: true,
            pending: None,
            commit_reported: LogIndex::ZERO,
        })
    }

    /// Handles that time has come to `now`. Call it at [`Raft::next_deadline`]; earlier is
    /// harmless.
    pub fn handle_timeout(&mut self, now: Duration) {
        let now = micros(now);
        match &self.state {
            State::Leader(_) => self.handle_leader_timeout(now),
            State::Follower | State::PreCandidate(_) | State::Candidate { .. } => {
                if now >= self.election_deadline {
                    self.pre_campaign(now);
                }
            }
        }
    }

    /// Handles a message from the node `from`.
    ///
    /// An append or install request that comes while the output of an earlier one was not polled is
    /// dropped, as a network would drop it.
    ///
    /// # Errors
    /// [`MessageError`] if a correct sender would not have sent it; nothing has changed then.
    pub fn handle_message(
        &mut self,
        now: Duration,
        from: NodeId,
        message: Message,
    ) -> Result<(), MessageError> {
        if from == self.node || !message.is_well_formed() {
            return Err(MessageError::Malformed {
                from,
                kind: message.kind(),
            });
        }
        let now = micros(now);
        if self.is_election_ignored(now, &message) {
            return Ok(());
        }
        match message.term().cmp(&self.hard_state.term) {
            std::cmp::Ordering::Greater => self.adopt_term(now, from, &message),
            std::cmp::Ordering::Equal => {}
            std::cmp::Ordering::Less => {
                self.answer_old_term(from, &message);
                return Ok(());
            }
        }
        self.route(now, from, message)
    }

    fn route(&mut self, now: u64, from: NodeId, message: Message) -> Result<(), MessageError> {
        match message {
            Message::PreVoteRequest { term, last } => {
                self.handle_pre_vote_request(from, term, last)
            }
            Message::PreVoteResponse { term, granted } => {
                self.handle_pre_vote_response(now, from, term, granted);
            }
            Message::VoteRequest { last, .. } => self.handle_vote_request(now, from, last),
            Message::VoteResponse { granted, .. } => self.handle_vote_response(now, from, granted),
            Message::AppendRequest(append) => return self.handle_append(now, from, append),
            Message::AppendResponse { result, .. } => {
                self.handle_append_response(now, from, result);
            }
            Message::Heartbeat { commit_index, .. } => {
                return self.handle_heartbeat(now, from, commit_index);
            }
            Message::HeartbeatResponse { .. } => self.handle_heartbeat_response(from),
            Message::TimeoutNow { .. } => self.handle_timeout_now(now, from),
            Message::InstallRequest(install) => return self.handle_install(now, from, install),
        }
        Ok(())
    }

    /// Accepts an entry that covers `count` indices, if this node leads.
    ///
    /// The owner appends the bytes at the returned index at once: the order of calls is the order
    /// of the log. Requests to peers appear in the next output.
    ///
    /// # Errors
    /// [`ProposeError`]; nothing has changed then.
    pub fn handle_propose(&mut self, count: NonZeroU32) -> Result<Proposed, ProposeError> {
        self.check_proposable()?;
        let term = self.hard_state.term;
        let first_index = self.log.append(term, u64::from(count.get()));
        Ok(Proposed { first_index, term })
    }

    /// Records that the owner forgot the log before `first_index`; `term_before` is the term of the
    /// entry just before it.
    ///
    /// # Panics
    /// If an entry that is not committed would be forgotten: the owner must not do that.
    pub fn handle_compacted(&mut self, first_index: LogIndex, term_before: Term) {
        let before = EntryId {
            index: first_index.previous(),
            term: term_before,
        };
        assert!(
            before.index <= self.commit_index,
            "compacted up to {}, committed only up to {}",
            before.index,
            self.commit_index
        );
        self.log.trim(before);
        self.voters.trim_to(before.index);
    }

    /// Returns what to do next, or `None` if there is nothing. Call it until then after each input.
    ///
    /// Bounded: at most one append request per peer and call, and [`MESSAGES_QUEUED_MAX`] others.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.forget_overflow();
        let mut output = Output {
            hard_state: self.take_hard_state(),
            ..Output::default()
        };
        self.queue_follower_responses();
        if let Some(pending) = self.pending.take() {
            output.install = pending.install;
            output.truncate_from = pending.truncate_from;
            output.append = pending.append;
            output.side_entries = pending.side_entries;
            output.messages = pending.messages;
        }
        self.push_append_requests(&mut output.messages);
        if self.commit_index > self.commit_reported {
            self.commit_reported = self.commit_index;
            output.commit_index = Some(self.commit_index);
        }
        if self.role_changed {
            self.role_changed = false;
            output.role = Some(RoleChange {
                role: self.role(),
                term: self.hard_state.term,
                leader: self.leader,
            });
        }
        (!output.is_empty()).then_some(output)
    }

    /// Returns when [`Raft::handle_timeout`] is due; `None` for a sole voter that leads, and for
    /// one who may not stand for election.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        let deadline = match &self.state {
            State::Leader(leading) => {
                let transfer = leading.transfer.map_or(NEVER, |transfer| transfer.deadline);
                leading
                    .heartbeat_deadline
                    .min(leading.quorum_deadline)
                    .min(transfer)
            }
            State::Follower | State::PreCandidate(_) | State::Candidate { .. } => {
                self.election_deadline
            }
        };
        (deadline != NEVER).then(|| Duration::from_micros(deadline))
    }

    /// Returns the node of this replica.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Returns the role of this replica.
    #[must_use]
    pub fn role(&self) -> Role {
        match self.state {
            State::Follower => Role::Follower,
            State::PreCandidate(_) => Role::PreCandidate,
            State::Candidate { .. } => Role::Candidate,
            State::Leader(_) => Role::Leader,
        }
    }

    /// Returns the current term.
    #[must_use]
    pub fn term(&self) -> Term {
        self.hard_state.term
    }

    /// Returns term and vote as they are now, persisted or not.
    #[must_use]
    pub fn hard_state(&self) -> HardState {
        self.hard_state
    }

    /// Returns the leader of the current term, when known.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        self.leader
    }

    /// Returns the commit index, inclusive; 0 if nothing is known to be committed.
    #[must_use]
    pub fn commit_index(&self) -> LogIndex {
        self.commit_index
    }

    /// Returns what is known of the log.
    #[must_use]
    pub fn log(&self) -> &LogView {
        &self.log
    }

    /// Returns the voter set in force and where it stands.
    #[must_use]
    pub fn voters(&self) -> &VotersEntry {
        self.voters.current()
    }

    /// Tells whether this node leads and has committed an entry of its own term: only then is the
    /// commit index known to cover everything that was ever acknowledged (Raft §8).
    #[must_use]
    pub fn is_ready_leader(&self) -> bool {
        match &self.state {
            State::Leader(leading) => self.commit_index >= leading.term_start,
            State::Follower | State::PreCandidate(_) | State::Candidate { .. } => false,
        }
    }

    /// Returns what this leader knows of its peers, ascending; nothing if it does not lead.
    pub fn peers(&self) -> impl Iterator<Item = PeerProgress> + '_ {
        let peers = match &self.state {
            State::Leader(leading) => leading.peers.as_slice(),
            State::Follower | State::PreCandidate(_) | State::Candidate { .. } => &[],
        };
        peers.iter().map(Progress::view)
    }

    /// Returns the memory of this group in bytes, without what its peers cost while it leads.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let leading = match &self.state {
            State::Leader(leading) => {
                size_of::<Leading>() + leading.peers.capacity() * size_of::<Progress>()
            }
            State::Follower | State::PreCandidate(_) | State::Candidate { .. } => 0,
        };
        let pending = if self.pending.is_some() {
            size_of::<Pending>()
        } else {
            0
        };
        size_of::<Self>() + self.log.heap_bytes() + self.voters.heap_bytes() + leading + pending
    }

    fn check_proposable(&self) -> Result<(), ProposeError> {
        let State::Leader(leading) = &self.state else {
            return Err(ProposeError::NotLeader {
                leader: self.leader,
            });
        };
        if let Some(transfer) = leading.transfer {
            return Err(ProposeError::Transferring { to: transfer.to });
        }
        if self.is_log_output_pending() {
            return Err(ProposeError::OutputPending);
        }
        Ok(())
    }

    /// Tells whether the log is ahead of what the owner has been told.
    fn is_log_output_pending(&self) -> bool {
        self.pending.as_ref().is_some_and(|pending| {
            pending.install.is_some()
                || pending.truncate_from.is_some()
                || pending.append.is_some()
                || !pending.side_entries.is_empty()
        })
    }

    fn take_hard_state(&mut self) -> Option<HardState> {
        if self.storage != HardStateStorage::Changed {
            return None;
        }
        self.storage = HardStateStorage::Queued;
        Some(self.hard_state)
    }

    fn set_hard_state(&mut self, term: Term, vote: Option<NodeId>) {
        assert!(term >= self.hard_state.term, "the term never falls");
        let hard_state = HardState { term, vote };
        if hard_state != self.hard_state {
            self.hard_state = hard_state;
            self.storage = HardStateStorage::Changed;
        }
    }

    fn pending(&mut self) -> &mut Pending {
        self.pending.get_or_insert_default()
    }

    fn send(&mut self, to: NodeId, message: Message) {
        let messages = &mut self.pending().messages;
        if messages.len() < MESSAGES_QUEUED_MAX {
            messages.push(Envelope { to, message });
        }
    }

    fn append_side_entry(&mut self, kind: SideEntryKind) -> LogIndex {
        let term = self.hard_state.term;
        let index = self.log.append(term, 1);
        self.pending().side_entries.push(SideEntry {
            id: EntryId { index, term },
            kind,
        });
        index
    }

    /// Forgets old terms and voter sets beyond the limits, as if that part had been compacted.
    fn forget_overflow(&mut self) {
        let overflow = self.log.overflow().max(self.voters.overflow());
        let Some(index) = overflow.map(|index| index.min(self.commit_index)) else {
            return;
        };
        if let Some(term) = self.log.term_at(index) {
            self.log.trim(EntryId { index, term });
            self.voters.trim_to(index);
        }
    }

    fn voter_set(&self) -> &VoterSet {
        &self.voters.current().set
    }
}

fn check_timing(options: &Options) -> Result<(), RecoveredError> {
    let heartbeat = options.heartbeat_interval_ms;
    let fits = heartbeat >= HEARTBEAT_INTERVAL_MS_MIN
        && options.election_timeout_ms
            >= heartbeat.saturating_mul(HEARTBEATS_PER_ELECTION_TIMEOUT_MIN)
        && (1..=IN_FLIGHT_MAX).contains(&options.in_flight_max);
    if fits {
        Ok(())
    } else {
        Err(RecoveredError::Timing)
    }
}

fn micros(now: Duration) -> u64 {
    u64::try_from(now.as_micros()).unwrap_or(NEVER - 1)
}
