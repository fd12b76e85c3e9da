//! What a leader knows of one peer, and how much it may send it.
//!
//! What it is        match and next index, the flow-control state, the requests on the way.
//! What it is not    sends nothing; `raft/append_entries` does.
//! Invariants        1. match index < next index. 2. at most the allowed requests are in flight.
//!                   3. requests are in flight only while replicating.
//! Source            Raft §5.3 (nextIndex, matchIndex); the states are those of etcd-io/raft.

use crate::limits::INSTALL_PATIENCE_HEARTBEATS;
use crate::{LogIndex, NodeId};
use std::collections::VecDeque;

/// How a peer is served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ProgressState {
    /// Where the logs part is not known: one request at a time.
    Probe {
        /// A request is out; the next goes after its answer or a heartbeat answer.
        paused: bool,
    },
    /// The logs agree: requests follow each other without waiting.
    Replicate,
    /// The peer was told to start anew.
    Install {
        /// Heartbeat answers until it is probed again.
        patience: u8,
    },
}

/// One peer, as the leader sees it.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    pub(crate) node: NodeId,
    /// Highest index known to be persisted there and equal to ours, inclusive.
    pub(crate) match_index: LogIndex,
    /// Next index to send.
    pub(crate) next_index: LogIndex,
    pub(crate) state: ProgressState,
    /// The last index of each request on the way, ascending.
    in_flight: VecDeque<LogIndex>,
    /// Heard from since the last quorum check.
    pub(crate) recently_active: bool,
    /// A request without entries is due, to learn whether something was lost.
    pub(crate) probe_due: bool,
}

/// What a leader can tell of a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeerProgress {
    /// The peer.
    pub node: NodeId,
    /// Highest index known to be persisted there, inclusive.
    pub match_index: LogIndex,
    /// Whether it answered since the last quorum check.
    pub recently_active: bool,
    /// Whether it was told to start anew and has not done so yet.
    pub installing: bool,
}

impl Progress {
    pub(crate) fn new(node: NodeId, next_index: LogIndex) -> Self {
        Self {
            node,
            match_index: LogIndex::ZERO,
            next_index,
            state: ProgressState::Probe { paused: false },
            in_flight: VecDeque::new(),
            recently_active: false,
            probe_due: true,
        }
    }

    /// Tells whether another request may go now, were there something to send.
    pub(crate) fn may_send(&self, in_flight_max: u16) -> bool {
        match self.state {
            ProgressState::Probe { paused } => !paused,
            ProgressState::Replicate => self.in_flight.len() < usize::from(in_flight_max),
            ProgressState::Install { .. } => false,
        }
    }

    /// Records that a request that ends with `last` left.
    pub(crate) fn record_sent(&mut self, last: LogIndex) {
        self.probe_due = false;
        match self.state {
            ProgressState::Probe { .. } => self.state = ProgressState::Probe { paused: true },
            ProgressState::Replicate => {
                if last >= self.next_index {
                    self.in_flight.push_back(last);
                    self.next_index = last.next();
                }
            }
            ProgressState::Install { .. } => {}
        }
    }

    /// Corrects the last request: it ended with `last`, which may be before its first index.
    pub(crate) fn record_shortened(&mut self, last: LogIndex) {
        if self.state != ProgressState::Replicate || last >= self.next_index {
            return;
        }
        self.in_flight.pop_back();
        let sent_before = self.in_flight.back().copied().unwrap_or(self.match_index);
        self.next_index = last.max(sent_before).next();
        if last > sent_before {
            self.in_flight.push_back(last);
        }
    }

    /// Records that the peer has persisted up to `match_index`; true if that was news.
    pub(crate) fn handle_accepted(&mut self, match_index: LogIndex, first_index: LogIndex) -> bool {
        let news = match_index > self.match_index;
        self.match_index = self.match_index.max(match_index);
        self.next_index = self.next_index.max(match_index.next());
        while self
            .in_flight
            .front()
            .is_some_and(|last| *last <= match_index)
        {
            self.in_flight.pop_front();
        }
        match self.state {
            ProgressState::Probe { .. } if match_index >= self.match_index => self.replicate(),
            ProgressState::Install { .. } if self.match_index.next() >= first_index => {
                self.replicate();
            }
            ProgressState::Probe { .. }
            | ProgressState::Replicate
            | ProgressState::Install { .. } => {}
        }
        news
    }

    /// Tells whether a rejection of `previous_index` answers what was sent and not something older.
    pub(crate) fn is_rejection_current(&self, previous_index: LogIndex) -> bool {
        match self.state {
            ProgressState::Probe { .. } => previous_index == self.next_index.previous(),
            ProgressState::Replicate => previous_index > self.match_index,
            ProgressState::Install { .. } => false,
        }
    }

    /// Goes back to probing from `next_index`, but not below what is known to match.
    pub(crate) fn probe_from(&mut self, next_index: LogIndex) {
        self.state = ProgressState::Probe { paused: false };
        self.next_index = next_index.max(self.match_index.next());
        self.in_flight = VecDeque::new();
        self.probe_due = true;
    }

    /// Waits until the peer has started anew.
    pub(crate) fn install(&mut self) {
        self.state = ProgressState::Install {
            patience: INSTALL_PATIENCE_HEARTBEATS,
        };
        self.in_flight = VecDeque::new();
        self.probe_due = false;
    }

    /// Records a heartbeat answer: the peer lives, so what stalls may move again.
    pub(crate) fn handle_heartbeat_response(&mut self, last_index: LogIndex, in_flight_max: u16) {
        self.recently_active = true;
        match self.state {
            ProgressState::Probe { .. } => {
                self.state = ProgressState::Probe { paused: false };
                self.probe_due = true;
            }
            ProgressState::Replicate => {
                if self.in_flight.len() >= usize::from(in_flight_max) {
                    self.in_flight.pop_front();
                }
                self.probe_due = self.match_index < last_index;
            }
            ProgressState::Install { patience: 0 } => self.probe_from(self.next_index),
            ProgressState::Install { patience } => {
                self.state = ProgressState::Install {
                    patience: patience - 1,
                };
            }
        }
    }

    /// Returns what may be shown of the peer.
    pub(crate) fn view(&self) -> PeerProgress {
        PeerProgress {
            node: self.node,
            match_index: self.match_index,
            recently_active: self.recently_active,
            installing: matches!(self.state, ProgressState::Install { .. }),
        }
    }

    /// Asserts the invariants of the module for a leader whose log ends with `last_index`.
    pub(crate) fn check_invariants(&self, last_index: LogIndex, in_flight_max: u16) {
        assert!(self.match_index < self.next_index, "1: {self:?}");
        assert!(
            self.next_index <= last_index.next(),
            "1: {self:?} in a log to {last_index}"
        );
        assert!(
            self.in_flight.len() <= usize::from(in_flight_max),
            "2: {self:?}"
        );
        let replicating = self.state == ProgressState::Replicate;
        assert!(replicating || self.in_flight.is_empty(), "3: {self:?}");
    }

    fn replicate(&mut self) {
        self.state = ProgressState::Replicate;
        self.next_index = self.match_index.next();
    }
}
