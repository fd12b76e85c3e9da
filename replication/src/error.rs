//! Errors of the crate: one type per input.
//!
//! What it is        the reasons why an input was refused. State is unchanged by a refused input.
//! What it is not    protocol outcomes such as a rejected append: those are messages.

use crate::{LogIndex, NodeId, Term};

/// Why entries were not accepted by [`crate::Raft::handle_propose`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProposeError {
    /// This node does not lead the group.
    #[error("not the leader; {}", described(*leader))]
    NotLeader {
        /// The leader of the current term, when known.
        leader: Option<NodeId>,
    },
    /// Leadership is being handed over; the transfer ends within one election timeout.
    #[error("leadership is being transferred to node {to}")]
    Transferring {
        /// The node that is to lead.
        to: NodeId,
    },
    /// Side entries wait in the output, so the next index is not the owner's yet: poll first.
    #[error("the output must be polled before more entries are proposed")]
    OutputPending,
}

/// Why a voter change was not accepted by [`crate::Raft::handle_propose_voters`].
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProposeVotersError {
    /// Entries in general are not accepted now.
    #[error(transparent)]
    Refused(#[from] ProposeError),
    /// The last change is not committed yet, or its joint phase is not left yet.
    #[error("the voter change at index {index} is not finished")]
    ChangePending {
        /// The index of the unfinished change.
        index: LogIndex,
    },
    /// Nothing of the leader's own term is committed yet, so the last change may not be known
    /// (the single-server bug that Ongaro reported in 2015).
    #[error("the start of term {term} is not committed yet")]
    TermStartUncommitted {
        /// The current term.
        term: Term,
    },
    /// The target equals the current set.
    #[error("the voter set is already as asked")]
    Unchanged,
    /// The target is no voter set.
    #[error(transparent)]
    Invalid(#[from] VoterSetError),
}

/// Why lists of nodes are no voter set.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum VoterSetError {
    /// Nobody could elect a leader.
    #[error("a voter set needs at least one voter")]
    NoVoters,
    /// A list is longer than [`crate::limits::VOTERS_MAX`] or [`crate::limits::LEARNERS_MAX`].
    #[error("{count} members in one list of a voter set")]
    TooMany {
        /// Length of the list.
        count: usize,
    },
    /// A node stands in a list twice, or is voter and learner.
    #[error("node {node} appears twice in a voter set")]
    Repeated {
        /// The node.
        node: NodeId,
    },
}

/// Why leadership was not handed over by [`crate::Raft::handle_transfer_leadership`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TransferError {
    /// This node does not lead the group.
    #[error("not the leader; {}", described(*leader))]
    NotLeader {
        /// The leader of the current term, when known.
        leader: Option<NodeId>,
    },
    /// The target is this node, a learner or a stranger.
    #[error("node {to} is no other voter of the group")]
    NoOtherVoter {
        /// The node asked for.
        to: NodeId,
    },
}

/// Why a message was refused. The sender is to blame; the owner counts it and may close the
/// connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MessageError {
    /// A field is outside its range or contradicts another.
    #[error("malformed {kind} message from node {from}")]
    Malformed {
        /// The sender.
        from: NodeId,
        /// The kind of the message.
        kind: &'static str,
    },
    /// The entries differ from committed ones, or from ones that this leader sent before.
    #[error("node {from} sent an entry at index {index} that contradicts what is certain")]
    Contradiction {
        /// The sender.
        from: NodeId,
        /// The first index that differs.
        index: LogIndex,
    },
    /// Another node claims to lead a term that has a leader.
    #[error("nodes {from} and {leader} both claim to lead term {term}")]
    TwoLeaders {
        /// The sender.
        from: NodeId,
        /// The known leader.
        leader: NodeId,
        /// The term.
        term: Term,
    },
}

/// Why [`crate::Raft::new`] refused what was recovered. The stored state is wrong: the group must
/// not start.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RecoveredError {
    /// The term runs do not rise in index and term from the log start to the last index.
    #[error("the recovered term runs do not describe a log")]
    Runs,
    /// An entry has a term above the recovered current term.
    #[error("the recovered log ends in term {last} but the current term is {current}")]
    TermBehindLog {
        /// Term of the last entry.
        last: Term,
        /// The recovered current term.
        current: Term,
    },
    /// No voter set, or voter sets out of order or outside the log.
    #[error("the recovered voter sets do not describe a history")]
    Voters,
    /// A term or an index is above its limit.
    #[error("a recovered term or index is above its limit")]
    Limit,
    /// The timing options contradict the limits.
    #[error("election timeout and heartbeat interval do not fit the limits")]
    Timing,
}

fn described(leader: Option<NodeId>) -> String {
    match leader {
        Some(leader) => format!("node {leader} leads"),
        None => "no leader is known".to_owned(),
    }
}
