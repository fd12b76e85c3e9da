//! What replicas of one group say to each other.
//!
//! What it is        messages as values. The owner encodes them, adds the group and, to an append,
//!                   the bytes of the entries that it names.
//! What it is not    no wire format. Delivery may lose, repeat, delay and reorder.
//! Invariants        `Message::is_well_formed` lists what a receiver relies on; it is checked on
//!                   every message that comes in.
//! Source            Raft §5.1–§5.3, figure 2; thesis §9.6 (pre-vote), §3.10 (TimeoutNow).

use crate::limits::{APPEND_RUNS_MAX, INDEX_MAX, TERM_MAX};
use crate::{EntryId, LogIndex, NodeId, Term, TermRun, VotersEntry};

/// A message and the node that it goes to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Envelope {
    /// The receiver.
    pub to: NodeId,
    /// What to send.
    pub message: Message,
}

/// One message. Every variant carries the sender's current term, except where it says otherwise.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message {
    /// "Would you vote for me?" Changes nothing at the receiver.
    PreVoteRequest {
        /// The term of the election that would follow, one above the sender's.
        term: Term,
        /// The last entry of the sender.
        last: EntryId,
    },
    /// Answers [`Message::PreVoteRequest`].
    PreVoteResponse {
        /// The term asked for if granted, else the current term of the sender.
        term: Term,
        /// Whether the sender would vote so.
        granted: bool,
    },
    /// "Vote for me."
    VoteRequest {
        /// The term of the election.
        term: Term,
        /// The last entry of the candidate.
        last: EntryId,
        /// The leader itself asked for this election: a live leader is no reason to ignore it.
        transfer: bool,
    },
    /// Answers [`Message::VoteRequest`]; a granted vote is on stable storage.
    VoteResponse {
        /// The term of the election.
        term: Term,
        /// Whether the vote was given.
        granted: bool,
    },
    /// Entries, or a probe if there are none.
    AppendRequest(AppendRequest),
    /// Answers [`Message::AppendRequest`] and [`Message::InstallRequest`].
    AppendResponse {
        /// Current term of the sender.
        term: Term,
        /// What became of the entries.
        result: AppendResult,
    },
    /// "I lead." The owner may merge those of all groups that go to one node.
    Heartbeat {
        /// The term led.
        term: Term,
        /// Commit index, inclusive, never above what the receiver is known to hold.
        commit_index: LogIndex,
    },
    /// Answers [`Message::Heartbeat`], and any message from a leader of an older term.
    HeartbeatResponse {
        /// Current term of the sender.
        term: Term,
    },
    /// "Stand for election now" (leadership transfer).
    TimeoutNow {
        /// The term of the leader that retires.
        term: Term,
    },
    /// "What you miss is no longer in my log: start anew here."
    InstallRequest(InstallRequest),
}

/// Entries from the leader.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AppendRequest {
    /// Term of the leader.
    pub term: Term,
    /// The entry before the first one sent; the receiver must hold it.
    pub previous: EntryId,
    /// Which entries are sent. The owner of the sender may shorten the range to what it wants to
    /// send at once ([`crate::Raft::handle_append_shortened`]). A range that probes may start
    /// inside a batch: the owner sends the whole batch, and a receiver that accepts holds it
    /// already.
    pub entries: EntryRuns,
    /// Commit index of the leader, inclusive.
    pub commit_index: LogIndex,
    /// The voter set among the entries, if there is one (never more than one).
    pub voters: Option<Box<VotersEntry>>,
}

/// The place from which a receiver starts anew.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InstallRequest {
    /// Term of the leader.
    pub term: Term,
    /// The entry before the first one that the leader can send; it is committed.
    pub before: EntryId,
    /// The voter set in force there.
    pub voters: Box<VotersEntry>,
}

/// What became of an append request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AppendResult {
    /// The log of the sender equals the leader's up to here, and that is on stable storage.
    Accepted {
        /// Inclusive.
        match_index: LogIndex,
    },
    /// The entry before the first one sent is missing or differs.
    Rejected {
        /// The index of that entry.
        previous_index: LogIndex,
        /// The last entry of the sender that may equal the leader's (Raft §5.3).
        hint: EntryId,
    },
}

/// A range of entries as term runs. It may be empty.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EntryRuns {
    count: u8,
    runs: [TermRun; APPEND_RUNS_MAX],
    first_index: LogIndex,
    last_index: LogIndex,
}

impl EntryRuns {
    /// Creates the empty range in front of `first`.
    #[must_use]
    pub fn empty_at(first: LogIndex) -> Self {
        Self {
            count: 0,
            runs: [TermRun::default(); APPEND_RUNS_MAX],
            first_index: first,
            last_index: first.previous(),
        }
    }

    /// Creates a range from decoded runs that start at `first` and end with `last`, inclusive.
    ///
    /// Returns `None` for too many runs, runs that do not rise or that lie outside the range.
    #[must_use]
    pub fn from_runs(first: LogIndex, runs: &[TermRun], last: LogIndex) -> Option<Self> {
        let mut range = Self::empty_at(first);
        if runs.len() > APPEND_RUNS_MAX || first == LogIndex::ZERO {
            return None;
        }
        for (place, run) in runs.iter().enumerate() {
            let next = runs.get(place + 1);
            let run_last = next.map_or(last, |next| next.first_index.previous());
            let rises = next.is_none_or(|next| next.term > run.term);
            let follows = run.first_index == range.last_index.next();
            if !rises || !follows || run_last < run.first_index || run_last > last {
                return None;
            }
            range.push(run.first_index, run.term, run_last);
        }
        (range.last_index == last).then_some(range)
    }

    /// Returns the first index, inclusive; for an empty range where it would start.
    #[must_use]
    pub fn first_index(&self) -> LogIndex {
        self.first_index
    }

    /// Returns the last index, inclusive; one before the first for an empty range.
    #[must_use]
    pub fn last_index(&self) -> LogIndex {
        self.last_index
    }

    /// Tells whether there are no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Iterates over the runs with the last index, inclusive, of each.
    pub fn iter(&self) -> impl Iterator<Item = (TermRun, LogIndex)> + '_ {
        let runs = self.runs.get(..usize::from(self.count)).unwrap_or_default();
        runs.iter().enumerate().map(move |(place, run)| {
            let next = runs.get(place + 1);
            (
                *run,
                next.map_or(self.last_index, |next| next.first_index.previous()),
            )
        })
    }

    /// Returns the range without what lies after `last`.
    #[must_use]
    pub fn shortened(&self, last: LogIndex) -> Self {
        let mut range = Self::empty_at(self.first_index);
        for (run, run_last) in self.iter() {
            if run.first_index <= last {
                range.push(run.first_index, run.term, run_last.min(last));
            }
        }
        range
    }

    /// Adds a run that starts after the last index.
    pub(crate) fn push(&mut self, first: LogIndex, term: Term, last: LogIndex) {
        if let Some(slot) = self.runs.get_mut(usize::from(self.count)) {
            *slot = TermRun {
                first_index: first,
                term,
            };
            self.count += 1;
            self.last_index = last;
        }
    }
}

impl AppendRequest {
    /// Shortens the request to end with `last`, an entry's end, inclusive.
    pub fn shorten(&mut self, last: LogIndex) {
        self.entries = self.entries.shortened(last);
        if self
            .voters
            .as_ref()
            .is_some_and(|voters| voters.index > self.entries.last_index())
        {
            self.voters = None;
        }
    }

    fn is_well_formed(&self) -> bool {
        let mut term = self.previous.term;
        for (run, _) in self.entries.iter() {
            if run.term < term || run.term > self.term || run.term == Term::ZERO {
                return false;
            }
            term = run.term;
        }
        let range = self.entries.first_index()..=self.entries.last_index();
        self.previous.term <= self.term
            && self.entries.first_index() == self.previous.index.next()
            && self.entries.last_index().0 <= INDEX_MAX
            && self.commit_index.0 <= INDEX_MAX
            && self
                .voters
                .as_ref()
                .is_none_or(|voters| range.contains(&voters.index))
    }
}

impl Message {
    /// Returns the term that the message carries.
    #[must_use]
    pub fn term(&self) -> Term {
        match self {
            Self::PreVoteRequest { term, .. }
            | Self::PreVoteResponse { term, .. }
            | Self::VoteRequest { term, .. }
            | Self::VoteResponse { term, .. }
            | Self::AppendResponse { term, .. }
            | Self::Heartbeat { term, .. }
            | Self::HeartbeatResponse { term }
            | Self::TimeoutNow { term } => *term,
            Self::AppendRequest(append) => append.term,
            Self::InstallRequest(install) => install.term,
        }
    }

    /// Returns the name of the variant, for logs.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::PreVoteRequest { .. } => "pre-vote request",
            Self::PreVoteResponse { .. } => "pre-vote response",
            Self::VoteRequest { .. } => "vote request",
            Self::VoteResponse { .. } => "vote response",
            Self::AppendRequest(_) => "append request",
            Self::AppendResponse { .. } => "append response",
            Self::Heartbeat { .. } => "heartbeat",
            Self::HeartbeatResponse { .. } => "heartbeat response",
            Self::TimeoutNow { .. } => "timeout-now",
            Self::InstallRequest(_) => "install request",
        }
    }

    /// Tells whether every field is in its range and none contradicts another.
    pub(crate) fn is_well_formed(&self) -> bool {
        let id_fits = |id: &EntryId| id.index.0 <= INDEX_MAX && id.term <= self.term();
        let term_fits = (1..=TERM_MAX).contains(&self.term().0);
        term_fits
            && match self {
                Self::PreVoteRequest { last, .. } | Self::VoteRequest { last, .. } => id_fits(last),
                Self::AppendRequest(append) => append.is_well_formed(),
                Self::AppendResponse { result, .. } => match result {
                    AppendResult::Accepted { match_index } => match_index.0 <= INDEX_MAX,
                    AppendResult::Rejected {
                        previous_index,
                        hint,
                    } => previous_index.0 <= INDEX_MAX && id_fits(hint),
                },
                Self::Heartbeat { commit_index, .. } => commit_index.0 <= INDEX_MAX,
                Self::InstallRequest(install) => {
                    id_fits(&install.before) && install.voters.index <= install.before.index
                }
                Self::PreVoteResponse { .. }
                | Self::VoteResponse { .. }
                | Self::HeartbeatResponse { .. }
                | Self::TimeoutNow { .. } => true,
            }
    }
}
