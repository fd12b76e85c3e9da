//! From what `storage` recovered to what Raft starts with.

use std::sync::Arc;
use std::time::Duration;

use kafka_lite::catalog::{OFFSETS_TOPIC, is_bookkeeping};
use kafka_lite::topic_config::TopicConfig;
use replication::{
    EntryId, HardState, LogIndex, NodeId, Options, Recovered, Term, TermRun, VoterSet, VotersEntry,
};
use storage::{LogConfig, SideKind};

use super::Log;

/// Elections and heartbeats between nodes; a sole voter needs neither.
const ELECTION_TIMEOUT_MS: u32 = 1_500;
const HEARTBEAT_INTERVAL_MS: u32 = 150;
const IN_FLIGHT_MAX: u16 = 8;

/// Term and vote in Raft's types.
pub(super) fn hard_state(term: u32, vote: Option<i32>) -> HardState {
    let vote = vote.and_then(|node| u32::try_from(node).ok()).map(NodeId);
    HardState {
        term: Term(u64::from(term)),
        vote,
    }
}

/// Options and state of a group whose only voter is this node.
pub(crate) fn sole_voter(log: &Log, node_id: i32) -> (Options, Recovered) {
    let node = NodeId(u32::try_from(node_id).unwrap_or(0));
    let (term, vote) = log.hard_state();
    let [.., a, b, c, d] = log.key().topic_id;
    let seed = u64::from(u32::from_be_bytes([a, b, c, d]))
        ^ (u64::from(log.key().partition.unsigned_abs()) << 32);
    let options = Options {
        node,
        election_timeout_ms: ELECTION_TIMEOUT_MS,
        heartbeat_interval_ms: HEARTBEAT_INTERVAL_MS,
        in_flight_max: IN_FLIGHT_MAX,
        seed,
    };
    let recovered = Recovered {
        hard_state: hard_state(term, vote),
        before: before(log),
        runs: runs(log),
        last_index: LogIndex(log.next_index() - 1),
        commit_index: LogIndex::ZERO,
        voters: vec![VotersEntry {
            index: LogIndex::ZERO,
            set: VoterSet::sole(node),
        }],
    };
    (options, recovered)
}

/// The entry before the first one whose term is kept: retention and DeleteRecords prune the terms
/// of
/// what they remove.
fn before(log: &Log) -> EntryId {
    log.with_side_table(|table| {
        let first = table.entries().first();
        let Some(index) = first.and_then(|entry| entry.index.checked_sub(1)) else {
            return EntryId::ZERO;
        };
        EntryId {
            index: LogIndex(index),
            term: Term(u64::from(table.term_of_index(index).unwrap_or(0))),
        }
    })
}

fn runs(log: &Log) -> Vec<TermRun> {
    log.with_side_table(|table| {
        let starts = table
            .entries()
            .iter()
            .filter(|entry| entry.kind == SideKind::TermStart);
        let run = |entry: &storage::SideEntry| TermRun {
            first_index: LogIndex(entry.index),
            term: Term(u64::from(entry.term)),
        };
        starts.map(run).collect()
    })
}

/// The part of a topic's configuration that the log follows. What the broker keeps for itself is
/// always flushed before it counts.
pub(crate) fn log_config(topic: &str, config: &Arc<TopicConfig>) -> LogConfig {
    let base = LogConfig {
        segment_bytes: config.segment_bytes,
        index_interval_bytes: config.index_interval_bytes,
        uses_reserve: is_bookkeeping(topic),
        ..LogConfig::default()
    };
    if topic == OFFSETS_TOPIC || config.is_durable_before_acknowledge() {
        return base;
    }
    LogConfig {
        flush_messages: u64::try_from(config.flush_messages).unwrap_or(1),
        flush_interval: Duration::from_millis(u64::try_from(config.flush_ms).unwrap_or(0)),
        ..base
    }
}
