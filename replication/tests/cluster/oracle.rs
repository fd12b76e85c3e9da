//! What must hold across nodes (Raft figure 3), and of what a node says about its own disk.

use std::collections::BTreeMap;

use replication::quorum::committed_index;
use replication::{
    AppendResult, EntryId, InstallOrder, LogIndex, Message, NodeId, Role, Term, VoterSet,
};

use crate::replica::{Entry, Packet, Replica};

/// Everything ever seen that later events must agree with.
#[derive(Default, Debug)]
pub(crate) struct Oracle {
    leaders: BTreeMap<Term, NodeId>,
    votes: BTreeMap<(NodeId, Term), NodeId>,
    terms: BTreeMap<NodeId, Term>,
    commits: BTreeMap<NodeId, u64>,
    /// Committed entries by last index.
    committed: BTreeMap<u64, Entry>,
    /// Last index and term of an entry to the fingerprint of the log up to it (log matching).
    fingerprints: BTreeMap<(u64, Term), u64>,
    /// How much of each node's log is in `fingerprints`.
    checked: BTreeMap<NodeId, Vec<(u64, Term, u64)>>,
    /// Newly committed by a leader, to be checked against all disks by the cluster.
    pub(crate) to_prove: Vec<(u64, Term, Vec<VoterSet>)>,
    pub(crate) elections: u64,
    pub(crate) installs: u64,
    pub(crate) truncations: u64,
}

impl Oracle {
    /// Forgets what only holds within one life of a node.
    pub(crate) fn observe_restart(&mut self, node: &Replica) {
        self.commits.remove(&node.id);
        self.checked.remove(&node.id);
        self.terms.insert(node.id, node.disk.hard_state.term);
    }

    /// Monotone term.
    pub(crate) fn observe_term(&mut self, node: NodeId, term: Term) {
        let before = self.terms.insert(node, term).unwrap_or_default();
        assert!(
            before <= term,
            "the term of node {node} fell from {before} to {term}"
        );
    }

    /// One leader per term; leader completeness.
    pub(crate) fn observe_leader(&mut self, node: &Replica) {
        let raft = node.raft.as_ref().unwrap();
        if raft.role() != Role::Leader {
            return;
        }
        self.elections += 1;
        let known = *self.leaders.entry(raft.term()).or_insert(node.id);
        assert_eq!(known, node.id, "two leaders of term {}", raft.term());
        for (last, entry) in self.committed.range(node.log.before.index.0 + 1..) {
            let ours = node.log.entry_at(*last);
            assert_eq!(
                ours,
                Some(entry),
                "leader {} misses a committed entry",
                node.id
            );
        }
    }

    /// Monotone commit; state machine safety; only own entries by count (Raft §5.4.2).
    pub(crate) fn observe_commit(&mut self, node: &Replica, commit_index: u64) {
        let raft = node.raft.as_ref().unwrap();
        if raft.role() == Role::Leader {
            let term = node.log.term_at(commit_index);
            assert_eq!(
                term,
                Some(raft.term()),
                "leader {} counted an older entry",
                node.id
            );
        }
        let before = self
            .commits
            .insert(node.id, commit_index)
            .unwrap_or_default();
        assert!(
            before <= commit_index,
            "the commit index of node {} fell",
            node.id
        );
        assert!(commit_index <= node.log.last_index());
        if let Some(entry) = node.log.entry_at(commit_index)
            && self
                .committed
                .last_key_value()
                .is_none_or(|(last, _)| *last < commit_index)
        {
            // Counted under the set in force, or the one before if that just came into force.
            let sets = node
                .log
                .voters()
                .into_iter()
                .rev()
                .take(2)
                .map(|one| one.set);
            self.to_prove
                .push((commit_index, entry.term, sets.collect()));
        }
        let from = before.max(node.log.before.index.0);
        let newly = node.log.entries.iter().filter(|one| one.last > from);
        for entry in newly.take_while(|one| one.last <= commit_index) {
            let known = self
                .committed
                .entry(entry.last)
                .or_insert_with(|| entry.clone());
            assert_eq!(known, entry, "node {} committed another entry", node.id);
        }
    }

    /// A new log start is a committed entry.
    pub(crate) fn observe_install(&mut self, node: &Replica, order: &InstallOrder) {
        self.installs += 1;
        self.checked.remove(&node.id);
        let EntryId { index, term } = order.before;
        let known = self.committed.get(&index.0).map(|entry| entry.term);
        assert_eq!(
            known,
            Some(term),
            "node {} starts after an uncommitted entry",
            node.id
        );
    }

    /// Log matching: equal index and term mean equal logs up to there.
    pub(crate) fn observe_log(&mut self, node: &Replica) {
        let checked = self.checked.entry(node.id).or_default();
        let mut same = checked.len();
        while same > 0 {
            let (last, term, _) = checked[same - 1];
            if node.log.last_index() >= last && node.log.term_at(last) == Some(term) {
                break;
            }
            same -= 1;
        }
        if same < checked.len() {
            self.truncations += 1;
        }
        checked.truncate(same);
        let from = checked
            .last()
            .map_or(node.log.before.index.0, |seen| seen.0);
        let start = EntryId {
            index: LogIndex(from),
            ..node.log.before
        };
        let mut print = match checked.last() {
            Some(seen) => seen.2,
            None => *self
                .fingerprints
                .get(&(start.index.0, start.term))
                .unwrap_or(&0),
        };
        for entry in node.log.entries.iter().filter(|one| one.first > from) {
            print = mixed(print, entry);
            let known = *self
                .fingerprints
                .entry((entry.last, entry.term))
                .or_insert(print);
            assert_eq!(
                known, print,
                "logs differ before {entry:?} of node {}",
                node.id
            );
            checked.push((entry.last, entry.term, print));
        }
    }

    /// One vote per term, also over crashes; nothing is claimed that the disk may still lose.
    pub(crate) fn observe_message(&mut self, node: &Replica, packet: &Packet) {
        let vote = match &packet.message {
            Message::VoteResponse {
                term,
                granted: true,
            } => Some((*term, packet.to)),
            Message::VoteRequest { term, .. } => Some((*term, node.id)),
            _ => None,
        };
        if let Some((term, candidate)) = vote {
            let known = *self.votes.entry((node.id, term)).or_insert(candidate);
            assert_eq!(
                known, candidate,
                "node {} voted twice in term {term}",
                node.id
            );
            let stored = node.disk.hard_state;
            assert_eq!(
                (stored.term, stored.vote),
                (term, Some(candidate)),
                "vote not stored"
            );
        }
        if let Message::AppendResponse {
            result: AppendResult::Accepted { match_index },
            term,
        } = &packet.message
        {
            let ours = node.log.term_at(match_index.0).unwrap_or_default();
            let holds = node.disk.holds(match_index.0, ours);
            assert!(
                holds,
                "node {} claims {match_index}/{ours}: {:?}",
                node.id, node.disk
            );
            assert!(
                node.disk.hard_state.term >= *term,
                "answered in a term not stored"
            );
        }
    }

    /// Committed means persisted on a majority.
    pub(crate) fn prove_commits(&mut self, nodes: &BTreeMap<NodeId, Replica>) {
        for (index, term, sets) in self.to_prove.drain(..) {
            let holds = |id: NodeId| {
                let holds = nodes
                    .get(&id)
                    .is_some_and(|node| node.disk.holds(index, term));
                LogIndex(u64::from(holds))
            };
            let proven = sets.iter().any(|set| committed_index(set, holds).0 == 1);
            assert!(
                proven,
                "{index}/{term} is committed but not on a majority of {sets:?}"
            );
        }
    }

    pub(crate) fn committed_last(&self) -> u64 {
        self.committed.last_key_value().map_or(0, |(last, _)| *last)
    }

    pub(crate) fn committed_payloads(&self) -> Vec<u64> {
        self.committed
            .values()
            .filter(|one| one.side.is_none())
            .map(|one| one.payload)
            .collect()
    }

    pub(crate) fn committed_entry(&self, last: u64) -> Option<&Entry> {
        self.committed.get(&last)
    }
}

fn mixed(print: u64, entry: &Entry) -> u64 {
    let mut mixed = print ^ 0x9e37_79b9_7f4a_7c15;
    for part in [entry.first, entry.last, entry.term.0, entry.payload] {
        mixed = (mixed ^ part)
            .wrapping_mul(0x0000_0100_0000_01b3)
            .rotate_left(23);
    }
    mixed
}
