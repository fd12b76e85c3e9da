//! Voter sets: who votes and who only learns.
//!
//! What it is        the content of a voters side entry and the history of those of one log.
//! What it is not    does not decide when a change may start: that is `raft/membership`.
//! Invariants        1. lists are sorted and hold no node twice. 2. no voter is a learner; a node
//!                   of the outgoing side may be one. 3. the history rises in index and is never
//!                   empty.
//! Source            Raft §6 (joint consensus); thesis §4.2.1 (learners).

use crate::limits::{LEARNERS_MAX, VOTERS_HISTORY_MAX, VOTERS_MAX};
use crate::{LogIndex, NodeId, VoterSetError};

/// The members of a group. While `outgoing` is not empty the set is joint: elections and commits
/// need a majority of both sides.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct VoterSet {
    voters: Vec<NodeId>,
    outgoing: Vec<NodeId>,
    learners: Vec<NodeId>,
}

impl VoterSet {
    /// Creates a simple set.
    ///
    /// # Errors
    /// [`VoterSetError`] if the lists are no voter set.
    pub fn new(voters: Vec<NodeId>, learners: Vec<NodeId>) -> Result<Self, VoterSetError> {
        Self::from_parts(voters, Vec::new(), learners)
    }

    /// Creates a set from its three lists, as decoded from a side entry.
    ///
    /// # Errors
    /// [`VoterSetError`] if the lists are no voter set.
    pub fn from_parts(
        voters: Vec<NodeId>,
        outgoing: Vec<NodeId>,
        learners: Vec<NodeId>,
    ) -> Result<Self, VoterSetError> {
        if voters.is_empty() {
            return Err(VoterSetError::NoVoters);
        }
        let voters = checked(voters, VOTERS_MAX)?;
        let outgoing = checked(outgoing, VOTERS_MAX)?;
        let learners = checked(learners, LEARNERS_MAX)?;
        if let Some(node) = learners
            .iter()
            .find(|node| voters.binary_search(node).is_ok())
        {
            return Err(VoterSetError::Repeated { node: *node });
        }
        Ok(Self {
            voters,
            outgoing,
            learners,
        })
    }

    /// Returns the set of one voter.
    #[must_use]
    pub fn sole(node: NodeId) -> Self {
        Self {
            voters: vec![node],
            outgoing: Vec::new(),
            learners: Vec::new(),
        }
    }

    /// Returns the voters, of the new side when the set is joint, ascending.
    #[must_use]
    pub fn voters(&self) -> &[NodeId] {
        &self.voters
    }

    /// Returns the voters of the old side of a joint set, ascending; empty for a simple set.
    #[must_use]
    pub fn outgoing(&self) -> &[NodeId] {
        &self.outgoing
    }

    /// Returns the learners, ascending. A voter of the old side that becomes a learner is among
    /// them.
    #[must_use]
    pub fn learners(&self) -> &[NodeId] {
        &self.learners
    }

    /// Tells whether both sides must agree.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Tells whether `node` votes on either side.
    #[must_use]
    pub fn is_voter(&self, node: NodeId) -> bool {
        self.voters.binary_search(&node).is_ok() || self.outgoing.binary_search(&node).is_ok()
    }

    /// Tells whether `node` receives entries: as a voter of either side or as a learner.
    #[must_use]
    pub fn is_member(&self, node: NodeId) -> bool {
        self.is_voter(node) || self.learners.binary_search(&node).is_ok()
    }

    /// Tells whether `node` is the only voter.
    #[must_use]
    pub fn is_sole_voter(&self, node: NodeId) -> bool {
        !self.is_joint() && self.voters == [node]
    }

    /// Returns every member once, ascending.
    #[must_use]
    pub fn members(&self) -> Vec<NodeId> {
        let lists = [&self.voters, &self.outgoing, &self.learners];
        let mut members: Vec<NodeId> = lists.into_iter().flatten().copied().collect();
        members.sort_unstable();
        members.dedup();
        members
    }

    /// Returns what must be appended to go from this simple set to `target`: `target` itself if at
    /// most one voter comes or goes, else the joint set (Raft §6; thesis §4.1).
    pub(crate) fn step_towards(&self, target: &Self) -> Self {
        let comes = target
            .voters
            .iter()
            .filter(|node| !self.voters.contains(node))
            .count();
        let goes = self
            .voters
            .iter()
            .filter(|node| !target.voters.contains(node))
            .count();
        let outgoing = if comes + goes <= 1 {
            Vec::new()
        } else {
            self.voters.clone()
        };
        Self {
            voters: target.voters.clone(),
            outgoing,
            learners: target.learners.clone(),
        }
    }

    /// Returns the simple set that a joint set leads to.
    pub(crate) fn without_outgoing(&self) -> Self {
        Self {
            voters: self.voters.clone(),
            outgoing: Vec::new(),
            learners: self.learners.clone(),
        }
    }
}

/// A voter set and the index of its side entry. Index 0: the set the group was created with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VotersEntry {
    /// Index of the side entry; the set holds from the moment it is appended.
    pub index: LogIndex,
    /// The set.
    pub set: VoterSet,
}

/// The voter sets of a log, ascending; the last one is in force. The first may lie at or before the
/// log start.
#[derive(Clone, Debug)]
pub(crate) struct VotersHistory(Vec<VotersEntry>);

impl VotersHistory {
    /// Takes the recovered sets; `None` if there is none or they do not rise.
    pub(crate) fn new(mut entries: Vec<VotersEntry>) -> Option<Self> {
        if entries.is_empty()
            || entries.windows(2).any(|pair| match pair {
                [one, two] => one.index >= two.index,
                _ => true,
            })
        {
            return None;
        }
        entries.shrink_to_fit();
        Some(Self(entries))
    }

    /// Returns the set in force.
    #[expect(
        clippy::expect_used,
        reason = "never empty: `new` checks, no method takes the last"
    )]
    pub(crate) fn current(&self) -> &VotersEntry {
        self.0.last().expect("a history is never empty")
    }

    /// Returns the set before the one in force.
    pub(crate) fn before_current(&self) -> Option<&VotersEntry> {
        self.0
            .len()
            .checked_sub(2)
            .and_then(|place| self.0.get(place))
    }

    /// Returns the set that was in force at `index`.
    pub(crate) fn at(&self, index: LogIndex) -> Option<&VotersEntry> {
        self.0.iter().rev().find(|entry| entry.index <= index)
    }

    /// Returns the first set whose entry lies after `index`.
    pub(crate) fn first_after(&self, index: LogIndex) -> Option<&VotersEntry> {
        self.0.iter().find(|entry| entry.index > index)
    }

    /// Returns the second set whose entry lies after `index`.
    pub(crate) fn second_after(&self, index: LogIndex) -> Option<&VotersEntry> {
        self.0.iter().filter(|entry| entry.index > index).nth(1)
    }

    /// Appends a set.
    pub(crate) fn push(&mut self, entry: VotersEntry) {
        assert!(
            entry.index > self.current().index,
            "voter sets rise in index"
        );
        self.0.push(entry);
    }

    /// Forgets the sets at `first` and after; true if the set in force changed.
    pub(crate) fn truncate_from(&mut self, first: LogIndex) -> bool {
        let count = self.0.len();
        let kept = self
            .0
            .iter()
            .take_while(|entry| entry.index < first)
            .count()
            .max(1);
        self.0.truncate(kept);
        kept < count
    }

    /// Forgets the sets that were no longer in force at `index`.
    pub(crate) fn trim_to(&mut self, index: LogIndex) {
        let replaced = self.0.iter().filter(|entry| entry.index <= index).count();
        if replaced > 1 {
            self.0.drain(..replaced - 1);
            self.0.shrink_to_fit();
        }
    }

    /// Replaces everything by one set.
    pub(crate) fn reset(&mut self, entry: VotersEntry) {
        self.0.clear();
        self.0.push(entry);
    }

    /// Returns the index up to which the history must be forgotten to stay within its limit.
    pub(crate) fn overflow(&self) -> Option<LogIndex> {
        let keep = VOTERS_HISTORY_MAX >> 1;
        (self.0.len() > VOTERS_HISTORY_MAX)
            .then(|| self.0.get(self.0.len() - keep).map(|entry| entry.index))
            .flatten()
    }

    /// Returns the heap bytes behind the value.
    pub(crate) fn heap_bytes(&self) -> usize {
        let lists = |set: &VoterSet| {
            set.voters.capacity() + set.outgoing.capacity() + set.learners.capacity()
        };
        let nodes: usize = self.0.iter().map(|entry| lists(&entry.set)).sum();
        self.0.capacity() * size_of::<VotersEntry>() + nodes * size_of::<NodeId>()
    }
}

fn checked(mut nodes: Vec<NodeId>, count_max: usize) -> Result<Vec<NodeId>, VoterSetError> {
    if nodes.len() > count_max {
        return Err(VoterSetError::TooMany { count: nodes.len() });
    }
    nodes.sort_unstable();
    let mut previous = None;
    for node in &nodes {
        if previous == Some(*node) {
            return Err(VoterSetError::Repeated { node: *node });
        }
        previous = Some(*node);
    }
    nodes.shrink_to_fit();
    Ok(nodes)
}
