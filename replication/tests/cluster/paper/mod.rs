//! Tests named by the section of the Raft paper whose sentence they check.

mod election;
mod log;
mod messages;

use replication::{
    AppendRequest, EntryId, EntryRuns, LogIndex, Message, NodeId, Role, Term, TermRun,
};

use crate::network::{Cluster, set_of};
use crate::replica::{Entry, Packet};

const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);
const THREE: NodeId = NodeId(3);

fn cluster(count: u32) -> Cluster {
    let mut cluster = Cluster::new(3);
    let ids: Vec<u32> = (1..=count).collect();
    for id in &ids {
        cluster.add(*id, set_of(&ids, &[]));
    }
    cluster
}

/// Returns a cluster that node 1 leads in term 1.
fn led(count: u32) -> Cluster {
    let mut cluster = cluster(count);
    cluster.fire(ONE);
    cluster.stabilize();
    assert_eq!(cluster.raft(1).role(), Role::Leader);
    cluster
}

/// Gives node `to` a message as if it came from `from`, and returns what it sends at once.
fn tell(cluster: &mut Cluster, from: NodeId, to: NodeId, message: Message) -> Vec<Packet> {
    let packet = Packet {
        from,
        to,
        message,
        entries: vec![],
    };
    cluster.sent.clear();
    cluster.deliver(&packet);
    std::mem::take(&mut cluster.sent)
}

fn id(index: u64, term: u64) -> EntryId {
    EntryId {
        index: LogIndex(index),
        term: Term(term),
    }
}

fn heartbeat(term: u64) -> Message {
    Message::Heartbeat {
        term: Term(term),
        commit_index: LogIndex::ZERO,
    }
}

/// A request for one-record entries with these terms after `previous`.
fn append(term: u64, previous: EntryId, terms: &[u64], commit_index: u64) -> (Message, Vec<Entry>) {
    let first = previous.index.0 + 1;
    let mut runs: Vec<TermRun> = vec![];
    let mut entries = vec![];
    for (index, term) in (first..).zip(terms) {
        let term = Term(*term);
        if runs.last().is_none_or(|run| run.term != term) {
            runs.push(TermRun {
                first_index: LogIndex(index),
                term,
            });
        }
        entries.push(Entry {
            first: index,
            last: index,
            term,
            payload: 900,
            side: None,
        });
    }
    let last = LogIndex(previous.index.0 + terms.len() as u64);
    let message = Message::AppendRequest(AppendRequest {
        term: Term(term),
        previous,
        entries: EntryRuns::from_runs(LogIndex(first), &runs, last).expect("sound runs"),
        commit_index: LogIndex(commit_index),
        voters: None,
    });
    (message, entries)
}

/// Returns a node 1 of three with a log of these terms, in `term`.
fn with_log(term: u64, terms: &[u64]) -> Cluster {
    let mut cluster = cluster(3);
    let (message, entries) = append(term, EntryId::ZERO, terms, 0);
    cluster.deliver(&Packet {
        from: TWO,
        to: ONE,
        message,
        entries,
    });
    cluster.persist_all(ONE);
    cluster.sent.clear();
    cluster
}
