//! Raft as a plain state machine: inputs in, outputs out.
//!
//! What it is        the consensus of one group of replicas over a log of positions. Elections with
//!                   pre-vote and check-quorum, replication with flow control, commitment counted
//!                   over what is *persisted*, joint voter changes, learners, leadership transfer.
//! What it is not    no I/O, no clock, no randomness of its own, no payloads: an entry is an index,
//!                   a count and a term; the owner keeps the bytes. It knows neither Kafka nor
//!                   files.
//! Invariants        listed and checked in [`Raft::check_invariants`].
//! Source            Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm"
//!                   (the Raft paper); Ongaro's thesis §3.10 (transfer), §4 (membership), §9.6
//!                   (pre-vote); the asynchronous storage contract known from etcd-io/raft.
//! Reading order     `output` (what the owner must do), `raft` (inputs), `raft/append_entries`,
//!                   `raft/commit`, `raft/election`, `log_view`.
#![forbid(unsafe_code)]

mod error;
pub mod limits;
mod log_view;
mod message;
mod output;
mod progress;
pub mod quorum;
mod raft;
mod random;
mod voters;

pub use error::{
    MessageError, ProposeError, ProposeVotersError, RecoveredError, TransferError, VoterSetError,
};
pub use log_view::{LogView, TermRun};
pub use message::{AppendRequest, AppendResult, EntryRuns, Envelope, InstallRequest, Message};
pub use output::{
    EntryRange, HardState, InstallOrder, Output, Proposed, Role, RoleChange, SideEntry,
    SideEntryKind,
};
pub use progress::PeerProgress;
pub use raft::{Options, Raft, Recovered};
pub use voters::{VoterSet, VotersEntry};

use std::fmt;

/// A Raft term: a period with at most one leader. Kafka calls it leader epoch.
///
/// 0 is the term before the first election; no entry has it. At most [`limits::TERM_MAX`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Term(pub u64);

impl Term {
    /// The term before the first election.
    pub const ZERO: Self = Self(0);

    /// Returns the term after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The index of an entry in a Raft log. The first entry has index 1; 0 means "before the first".
///
/// A record batch covers as many indices as it has records, a side entry covers one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct LogIndex(pub u64);

impl LogIndex {
    /// The place before the first entry.
    pub const ZERO: Self = Self(0);

    /// Returns the index after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// Returns the index before this one, or 0 for 0.
    #[must_use]
    pub const fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    /// Returns the index `count` indices further.
    #[must_use]
    pub const fn plus(self, count: u64) -> Self {
        Self(self.0.saturating_add(count))
    }
}

impl fmt::Display for LogIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The id of a node that hosts replicas. Kafka calls it broker id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct NodeId(pub u32);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What identifies one entry of one group for ever: its index and its term (Raft §5.3).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct EntryId {
    /// The index of the entry (for a batch, of any of its records).
    pub index: LogIndex,
    /// The term of the leader that created the entry.
    pub term: Term,
}

impl EntryId {
    /// The place before the first entry of every log.
    pub const ZERO: Self = Self {
        index: LogIndex::ZERO,
        term: Term::ZERO,
    };
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.term)
    }
}
