//! What the core asks of its owner.
//!
//! What it is        one value with everything to do after an input. Order duties are in the
//!                   types: fields stand in the order in which they are to be queued for storage,
//!                   and whatever depends on stable storage is not here yet. A vote, an
//!                   acknowledgement, an own candidacy is held inside the core until the matching
//!                   persist acknowledgement comes in, so every message here may go at once.
//! What it is not    no obligation to wait: hard state, entries and messages leave in parallel.
//! Source            Raft figure 2 ("updated on stable storage before responding to RPCs"), with
//!                   storage as an asynchronous peer as in etcd-io/raft.

use crate::{EntryId, Envelope, LogIndex, NodeId, Term, VoterSet, VotersEntry};

/// What to do now. Queue the first five fields for storage in this order, per group.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Output {
    /// Write term and vote; then [`crate::Raft::handle_hard_state_persisted`].
    pub hard_state: Option<HardState>,
    /// Drop the whole log and start anew; then [`crate::Raft::handle_installed`].
    pub install: Option<InstallOrder>,
    /// Cut the log from this index on, inclusive. Nothing acknowledges a cut. Acknowledgements of
    /// writes queued before it must be handed in before those of writes queued after it.
    pub truncate_from: Option<LogIndex>,
    /// Append these entries out of the append request just handled; then
    /// [`crate::Raft::handle_persisted`]. What the request holds before them is in the log already.
    pub append: Option<EntryRange>,
    /// Append these side entries; then [`crate::Raft::handle_persisted`].
    pub side_entries: Vec<SideEntry>,
    /// Send these; they wait for nothing.
    pub messages: Vec<Envelope>,
    /// The commit index rose to this, inclusive. It may be ahead of the own persisted index.
    pub commit_index: Option<LogIndex>,
    /// Role, term or known leader changed.
    pub role: Option<RoleChange>,
}

/// Term and vote: what a node must remember of elections (Raft figure 2).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct HardState {
    /// The current term.
    pub term: Term,
    /// The candidate that got this node's vote in `term`.
    pub vote: Option<NodeId>,
}

/// The order to drop the log and start anew.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InstallOrder {
    /// The entry before the new log start. What it stands for arrives by the owner's own means.
    pub before: EntryId,
    /// The voter set in force there, to be stored with the log.
    pub voters: VotersEntry,
}

/// A range of entries of an append request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EntryRange {
    /// First index, inclusive; the start of an entry.
    pub first: LogIndex,
    /// Last index, inclusive; the end of an entry.
    pub last: LogIndex,
}

/// An entry that the core itself creates; it covers one index.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SideEntry {
    /// Index and term of the entry.
    pub id: EntryId,
    /// Its content.
    pub kind: SideEntryKind,
}

/// The content of a side entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SideEntryKind {
    /// The first entry of every term (Raft §8: a leader commits a blank entry of its own).
    TermStart,
    /// A voter set.
    Voters(VoterSet),
}

/// Where accepted entries stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Proposed {
    /// First index that the entries cover.
    pub first_index: LogIndex,
    /// The term of the entries; Kafka's leader epoch.
    pub term: Term,
}

/// The role of a node in its group.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Role {
    /// Follows the leader, or waits for one. Learners are followers.
    #[default]
    Follower,
    /// Asks whether an election could be won (thesis §9.6).
    PreCandidate,
    /// Stands for election.
    Candidate,
    /// Leads.
    Leader,
}

/// The state after a change of role, term or leader.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RoleChange {
    /// The role now.
    pub role: Role,
    /// The term now.
    pub term: Term,
    /// The leader of that term, when known; this node itself if it leads.
    pub leader: Option<NodeId>,
}

impl Output {
    /// Tells whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hard_state.is_none()
            && self.install.is_none()
            && self.truncate_from.is_none()
            && self.append.is_none()
            && self.side_entries.is_empty()
            && self.messages.is_empty()
            && self.commit_index.is_none()
            && self.role.is_none()
    }
}
