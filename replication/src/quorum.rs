//! Majorities: which index is on enough nodes, and who won a vote.
//!
//! What it is        pure functions over the voter lists of a set, simple or joint.
//! What it is not    does not know what an index or a vote means.
//! Invariants        1. a joint answer needs both majorities (Raft §6). 2. an empty list binds
//!                   nothing, so a simple set is a joint set with an empty outgoing side.
//! Source            Raft §5.3, §5.4, §6.

use crate::limits::VOTERS_MAX;
use crate::{LogIndex, NodeId, VoterSet};

/// The outcome of a vote so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VoteResult {
    /// A majority granted.
    Won,
    /// A majority can no longer be reached.
    Lost,
    /// Too few have answered.
    Open,
}

/// Returns how many of `count` voters are a majority.
#[must_use]
pub const fn majority(count: usize) -> usize {
    (count >> 1) + 1
}

/// Returns the highest index that a majority of each side of `set` has reached.
///
/// `match_index` tells the index that a node has reached. Cost: O(voters), no allocation.
pub fn committed_index(set: &VoterSet, match_index: impl Fn(NodeId) -> LogIndex) -> LogIndex {
    let incoming = side_committed(set.voters(), &match_index);
    let outgoing = side_committed(set.outgoing(), &match_index);
    match (incoming, outgoing) {
        (Some(one), Some(other)) => one.min(other),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => LogIndex::ZERO,
    }
}

/// Returns the outcome of a vote; `vote` tells what a node answered, `None` for nothing yet.
pub fn vote_result(set: &VoterSet, vote: impl Fn(NodeId) -> Option<bool>) -> VoteResult {
    if set.voters().is_empty() {
        return VoteResult::Lost;
    }
    let incoming = side_vote(set.voters(), &vote);
    let outgoing = side_vote(set.outgoing(), &vote);
    match (incoming, outgoing) {
        (VoteResult::Won, VoteResult::Won) => VoteResult::Won,
        (VoteResult::Lost, _) | (_, VoteResult::Lost) => VoteResult::Lost,
        (VoteResult::Open, _) | (_, VoteResult::Open) => VoteResult::Open,
    }
}

fn side_committed(side: &[NodeId], match_index: &impl Fn(NodeId) -> LogIndex) -> Option<LogIndex> {
    let mut reached = [LogIndex::ZERO; VOTERS_MAX];
    let count = side.len().min(VOTERS_MAX);
    for (slot, node) in reached.iter_mut().zip(side) {
        *slot = match_index(*node);
    }
    let reached = reached.get_mut(..count)?;
    reached.sort_unstable();
    // Ascending, so the majority-th from the end is on a majority.
    reached.get(count.checked_sub(majority(count))?).copied()
}

fn side_vote(side: &[NodeId], vote: &impl Fn(NodeId) -> Option<bool>) -> VoteResult {
    let granted = side
        .iter()
        .filter(|node| vote(**node) == Some(true))
        .count();
    let refused = side
        .iter()
        .filter(|node| vote(**node) == Some(false))
        .count();
    if side.is_empty() || granted >= majority(side.len()) {
        VoteResult::Won
    } else if side.len() - refused < majority(side.len()) {
        VoteResult::Lost
    } else {
        VoteResult::Open
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(text: &str) -> Vec<NodeId> {
        text.split_whitespace()
            .map(|word| NodeId(word.parse().unwrap()))
            .collect()
    }

    fn set(voters: &str, outgoing: &str) -> VoterSet {
        VoterSet::from_parts(ids(voters), ids(outgoing), vec![]).unwrap()
    }

    /// `reached`: "1=5 2=7"; a node that is not named has reached nothing.
    fn check_commit(voters: &str, outgoing: &str, reached: &str, expected: u64) {
        let find = |node: NodeId| {
            let entry = reached.split_whitespace().find_map(|pair| {
                let (id, index) = pair.split_once('=').unwrap();
                (id == node.to_string()).then(|| LogIndex(index.parse().unwrap()))
            });
            entry.unwrap_or(LogIndex::ZERO)
        };
        assert_eq!(
            committed_index(&set(voters, outgoing), find),
            LogIndex(expected),
            "{voters} | {outgoing}: {reached}"
        );
    }

    #[test]
    fn majority_commit() {
        for (voters, reached, expected) in [
            ("1", "1=12", 12),
            ("1", "", 0),
            ("1 2", "1=12 2=5", 5),
            ("1 2", "1=12", 0),
            ("1 2 3", "1=12 2=5", 5),
            ("1 2 3", "1=12 2=5 3=6", 6),
            ("1 2 3", "1=100 2=100 3=1", 100),
            ("1 2 3", "3=100", 0),
            ("1 2 3 4", "1=101 2=104 3=103 4=102", 102),
            ("1 2 3 4", "1=5 2=5 3=7 4=7", 5),
            ("1 2 3 4 5", "1=101 2=104 3=103 4=103 5=102", 103),
            ("1 2 3 4 5", "1=9 2=9", 0),
            ("1 2 3 4 5", "1=9 2=9 5=9", 9),
            // A node outside the set never counts.
            ("1 2 3", "1=4 7=50 8=50 9=50", 0),
        ] {
            check_commit(voters, "", reached, expected);
        }
    }

    #[test]
    fn joint_commit() {
        for (voters, outgoing, reached, expected) in [
            ("1", "2", "1=6 2=3", 3),
            ("1 2 3", "4 5 6", "1=9 2=9 3=9", 0),
            ("1 2 3", "4 5 6", "1=9 2=9 3=9 4=2 5=3 6=1", 2),
            ("1 2 3", "1 2 3", "1=2 2=3 3=4", 3),
            ("1 2 3", "3 4 5", "1=1 2=2 3=10 4=10 5=10", 2),
            ("1 4", "1 2 3", "1=100 2=99 3=98", 0),
            ("1 4", "1 2 3", "1=100 2=99 3=98 4=97", 97),
            ("1 2 3 4", "3 4", "1=12 2=2 3=10 4=11", 10),
        ] {
            check_commit(voters, outgoing, reached, expected);
        }
    }

    /// `votes`: "1y 2n"; a node that is not named has not answered.
    fn check_vote(voters: &str, outgoing: &str, votes: &str, expected: VoteResult) {
        let find = |node: NodeId| {
            votes.split_whitespace().find_map(|word| {
                let (id, answer) = word.split_at(word.len() - 1);
                (id == node.to_string()).then_some(answer == "y")
            })
        };
        assert_eq!(
            vote_result(&set(voters, outgoing), find),
            expected,
            "{voters} | {outgoing}: {votes}"
        );
    }

    #[test]
    fn majority_vote() {
        for (voters, votes, expected) in [
            ("1", "", VoteResult::Open),
            ("1", "1y", VoteResult::Won),
            ("1", "1n", VoteResult::Lost),
            ("1 2", "1y", VoteResult::Open),
            ("1 2", "1n", VoteResult::Lost),
            ("1 2", "1y 2y", VoteResult::Won),
            ("1 2 3", "1y 2n", VoteResult::Open),
            ("1 2 3", "1y 3y", VoteResult::Won),
            ("1 2 3", "2n 3n", VoteResult::Lost),
            ("1 2 3 4", "1y 2y", VoteResult::Open),
            ("1 2 3 4", "1n 2n", VoteResult::Lost),
            ("1 2 3 4 5", "1y 2y 3n 4n", VoteResult::Open),
            ("1 2 3 4 5", "1y 2y 3n 4n 5y", VoteResult::Won),
            ("1 2 3", "7y 8y 9y", VoteResult::Open),
        ] {
            check_vote(voters, "", votes, expected);
        }
        let nobody = VoterSet::default();
        assert_eq!(vote_result(&nobody, |_| Some(true)), VoteResult::Lost);
        assert_eq!(committed_index(&nobody, |_| LogIndex(9)), LogIndex::ZERO);
    }

    #[test]
    fn joint_vote() {
        for (voters, outgoing, votes, expected) in [
            ("1", "2", "1y", VoteResult::Open),
            ("1", "2", "1y 2y", VoteResult::Won),
            ("1", "2", "1y 2n", VoteResult::Lost),
            ("1 2 3", "4 5 6", "1y 2y 3y", VoteResult::Open),
            ("1 2 3", "4 5 6", "1y 2y 4y 5y", VoteResult::Won),
            ("1 2 3", "4 5 6", "1y 2y 4n 5n", VoteResult::Lost),
            ("1 2 3", "3 4 5", "3y 1y", VoteResult::Open),
            ("1 2 3", "3 4 5", "3y 1y 5y", VoteResult::Won),
        ] {
            check_vote(voters, outgoing, votes, expected);
        }
    }
}
