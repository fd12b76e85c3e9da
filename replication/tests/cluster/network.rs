//! The replicas of a group and the wires between them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use replication::{NodeId, Options, Raft, Role, VoterSet};

use crate::oracle::Oracle;
use crate::replica::{Packet, Replica};

/// All nodes of one group. Packets wait in `sent` until the test moves them.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) now: Duration,
    pub(crate) nodes: BTreeMap<NodeId, Replica>,
    pub(crate) oracle: Oracle,
    pub(crate) sent: Vec<Packet>,
    /// Directions that lose everything.
    pub(crate) cut: BTreeSet<(NodeId, NodeId)>,
    pub(crate) options: Options,
    /// What the cores asked for, as text, in the order of events.
    pub(crate) trace: Vec<String>,
    starts: u64,
    next_payload: u64,
}

impl Cluster {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            now: Duration::from_secs(1),
            nodes: BTreeMap::new(),
            oracle: Oracle::default(),
            sent: vec![],
            cut: BTreeSet::new(),
            options: Options {
                node: NodeId(0),
                election_timeout_ms: 100,
                heartbeat_interval_ms: 20,
                in_flight_max: 4,
                seed,
            },
            trace: vec![],
            starts: 0,
            next_payload: 1,
        }
    }

    /// Adds a node that knows the first voter set of the group, and starts it.
    pub(crate) fn add(&mut self, id: u32, voters: VoterSet) {
        self.nodes
            .insert(NodeId(id), Replica::new(NodeId(id), voters));
        self.restart(NodeId(id));
    }

    pub(crate) fn restart(&mut self, id: NodeId) {
        self.starts += 1;
        let seed = self.options.seed.wrapping_mul(31).wrapping_add(self.starts);
        let options = Options {
            node: id,
            seed,
            ..self.options
        };
        let node = self.nodes.get_mut(&id).unwrap();
        if node.raft.is_some() {
            return;
        }
        node.start(self.now, options);
        self.oracle.observe_restart(&self.nodes[&id]);
        self.drain(id);
    }

    pub(crate) fn crash(&mut self, id: NodeId, keep_hint: bool) {
        self.nodes.get_mut(&id).unwrap().crash(keep_hint);
    }

    /// Does everything that node `id` asks for and keeps what it sends.
    pub(crate) fn drain(&mut self, id: NodeId) {
        self.drain_with(id, &[]);
    }

    fn drain_with(&mut self, id: NodeId, attached: &[crate::replica::Entry]) {
        let node = self.nodes.get_mut(&id).unwrap();
        let packets = node.drain(attached, &mut self.oracle);
        let mut node_trace = std::mem::take(&mut node.trace);
        self.oracle.prove_commits(&self.nodes);
        self.trace.append(&mut node_trace);
        self.sent.extend(packets);
    }

    /// Gives `change` the core of a running node and does what it then asks for.
    pub(crate) fn with<T>(&mut self, id: NodeId, change: impl FnOnce(&mut Raft) -> T) -> Option<T> {
        let result = self.nodes.get_mut(&id).unwrap().raft.as_mut().map(change);
        self.drain(id);
        result
    }

    pub(crate) fn deliver(&mut self, packet: &Packet) {
        if self.cut.contains(&(packet.from, packet.to)) {
            return;
        }
        let now = self.now;
        let Some(node) = self.nodes.get_mut(&packet.to) else {
            return;
        };
        let result = node.receive(now, packet);
        assert_eq!(
            result,
            Ok(()),
            "correct nodes send only correct messages: {packet:?}"
        );
        self.drain_with(packet.to, &packet.entries);
    }

    /// Completes the oldest write of a node and tells its core.
    pub(crate) fn persist_one(&mut self, id: NodeId) -> bool {
        let now = self.now;
        let node = self.nodes.get_mut(&id).unwrap();
        let wrote = node.disk.complete_one();
        let told = node.acknowledge_one(now);
        self.drain(id);
        wrote || told
    }

    pub(crate) fn persist_all(&mut self, id: NodeId) {
        while self.persist_one(id) {}
    }

    pub(crate) fn propose(&mut self, id: NodeId, count: u32) -> Option<replication::EntryId> {
        let payload = self.next_payload;
        let proposed = self.nodes.get_mut(&id).unwrap().propose(count, payload)?;
        self.next_payload += 1;
        self.drain(id);
        Some(proposed)
    }

    pub(crate) fn compact(&mut self, id: NodeId, index: u64) {
        self.nodes.get_mut(&id).unwrap().compact(index);
        self.drain(id);
    }

    pub(crate) fn raft(&self, id: u32) -> &Raft {
        self.nodes[&NodeId(id)].raft.as_ref().expect("running")
    }

    /// Returns the earliest deadline of a running node.
    pub(crate) fn next_deadline(&self) -> Option<(Duration, NodeId)> {
        let running = self
            .nodes
            .values()
            .filter_map(|node| Some((node.id, node.raft.as_ref()?)));
        running
            .filter_map(|(id, raft)| Some((raft.next_deadline()?, id)))
            .min()
    }

    /// Moves time to the deadline of node `id` and fires it.
    pub(crate) fn fire(&mut self, id: NodeId) {
        let deadline = self.nodes[&id].raft.as_ref().and_then(Raft::next_deadline);
        self.now = self.now.max(deadline.unwrap_or(self.now));
        let now = self.now;
        self.with(id, |raft| raft.handle_timeout(now));
    }

    /// Returns the leader of the highest term.
    pub(crate) fn leader(&self) -> Option<NodeId> {
        let running = self
            .nodes
            .values()
            .filter_map(|node| Some((node.id, node.raft.as_ref()?)));
        let leaders = running.filter(|(_, raft)| raft.role() == Role::Leader);
        leaders
            .max_by_key(|(_, raft)| raft.term())
            .map(|(id, _)| id)
    }

    /// Delivers and persists until nothing is left to do, without any time passing.
    pub(crate) fn stabilize(&mut self) {
        for _ in 0..10_000 {
            let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
            let mut quiet = self.sent.is_empty();
            for packet in std::mem::take(&mut self.sent) {
                self.deliver(&packet);
            }
            for id in ids {
                let queued = self.nodes[&id].raft.is_some() && self.persist_one(id);
                quiet = quiet && !queued;
            }
            if quiet {
                return;
            }
        }
        panic!("the cluster does not come to rest");
    }

    /// Lets `millis` of time pass, firing every deadline on the way and settling in between.
    pub(crate) fn run_for(&mut self, millis: u64) {
        let end = self.now + Duration::from_millis(millis);
        self.stabilize();
        for _ in 0..100_000 {
            let Some((deadline, id)) = self.next_deadline().filter(|next| next.0 <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(deadline);
            self.fire(id);
            self.stabilize();
        }
        panic!("a deadline does not move");
    }

    pub(crate) fn isolate(&mut self, id: NodeId) {
        for other in self.nodes.keys().copied().filter(|other| *other != id) {
            self.cut.insert((id, other));
            self.cut.insert((other, id));
        }
    }
}

/// Returns the simple set of these voters and learners.
pub(crate) fn set_of(voters: &[u32], learners: &[u32]) -> VoterSet {
    let ids = |list: &[u32]| list.iter().copied().map(NodeId).collect();
    VoterSet::new(ids(voters), ids(learners)).expect("a sound set")
}
