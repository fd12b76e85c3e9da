//! Seeded runs of clusters of three and five nodes under faults.
//!
//! What it is        one seed is one run: loss, delay, duplication, reordering, partitions (also
//!                   one way), crashes that lose what is not persisted, slow disks, transfers,
//!                   voter changes, compaction. The oracle looks after every event; at the end
//!                   faults cease, and the cluster must agree and make progress.
//! What it is not    no byzantine faults, no disk that loses what it completed.

use std::collections::BTreeMap;
use std::time::Duration;

use replication::{NodeId, Role};

use crate::network::{Cluster, set_of};
use crate::replica::Packet;

const SEEDS: std::ops::Range<u64> = 0..600;
const RUN_MILLIS: u64 = 3000;
const CALM_MILLIS: u64 = 3000;
/// Far more events than a run has; beyond it, a deadline does not move.
const EVENTS_MAX: u64 = 1_000_000;

#[derive(Clone, Debug)]
enum Event {
    Deliver(Box<Packet>),
    Disk(NodeId),
    Acknowledge(NodeId),
    AcknowledgeHardState(NodeId),
    Chaos,
    Propose,
}

/// How bad the world of one run is.
#[derive(Debug)]
struct Weather {
    loss_percent: u64,
    duplicate_percent: u64,
    delay_millis: u64,
    disk_millis: u64,
    acknowledge_millis: u64,
    chaos_millis: u64,
    changes_voters: bool,
    storm: bool,
}

impl Weather {
    /// Draws the weather of a run. Every fourth run is a storm: leaders fall faster than disks
    /// write, which is where figure 8 of the paper and the ABA race of acknowledgements live.
    fn drawn(random: &mut Random, seed: u64) -> Self {
        let storm = seed % 4 == 1;
        let (delay, disk, chaos) = if storm { (8, 40, 150) } else { (30, 30, 200) };
        Self {
            loss_percent: [0, 1, 5, 20][usize::try_from(random.below(4)).unwrap()],
            duplicate_percent: random.below(10),
            delay_millis: 1 + random.below(delay),
            disk_millis: 1 + random.below(disk),
            acknowledge_millis: random.below(if storm { 200 } else { 20 }),
            chaos_millis: 20 + random.below(chaos),
            changes_voters: seed.is_multiple_of(3),
            storm,
        }
    }
}

struct Simulation {
    cluster: Cluster,
    random: Random,
    events: BTreeMap<(Duration, u64), Event>,
    scheduled: u64,
    weather: Weather,
    disk_busy: BTreeMap<NodeId, u64>,
    acknowledged: Vec<(u64, u64)>,
}

struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end.max(1)
    }

    fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn node(&mut self, nodes: &[NodeId]) -> NodeId {
        nodes[usize::try_from(self.below(nodes.len() as u64)).unwrap()]
    }
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed ^ 0x5eed);
        let count = if seed.is_multiple_of(2) { 3 } else { 5 };
        let mut cluster = Cluster::new(seed);
        cluster.options.in_flight_max = 1 + u16::try_from(random.below(6)).unwrap();
        let weather = Weather::drawn(&mut random, seed);
        if weather.storm {
            cluster.options.election_timeout_ms = 40;
            cluster.options.heartbeat_interval_ms = 10;
        }
        let ids: Vec<u32> = (1..=count).collect();
        for id in &ids {
            cluster.add(*id, set_of(&ids, &[]));
        }
        for node in cluster.nodes.values_mut() {
            node.entries_per_request = 1 + usize::try_from(random.below(6)).unwrap();
        }
        let mut simulation = Self {
            cluster,
            random,
            events: BTreeMap::new(),
            scheduled: 0,
            weather,
            disk_busy: BTreeMap::new(),
            acknowledged: vec![],
        };
        simulation.schedule(0, Event::Chaos);
        simulation.schedule(0, Event::Propose);
        simulation
    }

    fn schedule(&mut self, delay_micros: u64, event: Event) {
        self.scheduled += 1;
        let at = self.cluster.now + Duration::from_micros(delay_micros);
        self.events.insert((at, self.scheduled), event);
    }

    fn delay(&mut self, millis: u64) -> u64 {
        self.random.below(millis * 1000 + 1)
    }

    /// Runs until `end`, with faults or without.
    fn run(&mut self, end: Duration, faults: bool) {
        for _ in 0..EVENTS_MAX {
            self.collect(faults);
            let event_at = self.events.first_key_value().map(|(key, _)| key.0);
            let deadline = self.cluster.next_deadline();
            let first = event_at
                .into_iter()
                .chain(deadline.map(|next| next.0))
                .min();
            if first.is_none_or(|first| first > end) {
                self.cluster.now = end;
                return;
            }
            if let Some((at, id)) = deadline.filter(|next| Some(next.0) == first) {
                self.cluster.now = self.cluster.now.max(at);
                self.cluster.fire(id);
            } else if let Some(((at, _), event)) = self.events.pop_first() {
                self.cluster.now = self.cluster.now.max(at);
                self.handle(event, faults);
            }
        }
        panic!("time stands still");
    }

    /// Puts on the wires and disks what the nodes asked for.
    fn collect(&mut self, faults: bool) {
        for packet in std::mem::take(&mut self.cluster.sent) {
            let (loss, twice) = (self.weather.loss_percent, self.weather.duplicate_percent);
            if faults && self.random.percent(twice) {
                let delay = self.delay(self.weather.delay_millis * 4);
                self.schedule(delay, Event::Deliver(Box::new(packet.clone())));
            }
            if !faults || !self.random.percent(loss) {
                let delay = self.delay(self.weather.delay_millis);
                self.schedule(delay, Event::Deliver(Box::new(packet)));
            }
        }
        let queued = self
            .cluster
            .nodes
            .values()
            .map(|node| (node.id, node.disk.queue.len()));
        for (id, length) in queued.collect::<Vec<_>>() {
            let busy = self.disk_busy.get(&id).copied().unwrap_or(0);
            if length > 0 && busy == 0 {
                self.disk_busy.insert(id, 1);
                let delay = self.delay(self.weather.disk_millis);
                self.schedule(delay, Event::Disk(id));
            }
        }
    }

    fn handle(&mut self, event: Event, faults: bool) {
        match event {
            Event::Deliver(packet) => self.cluster.deliver(&packet),
            Event::Disk(id) => self.complete(id),
            Event::Acknowledge(id) => {
                let now = self.cluster.now;
                self.cluster
                    .nodes
                    .get_mut(&id)
                    .unwrap()
                    .acknowledge_one(now);
                self.cluster.drain(id);
            }
            Event::AcknowledgeHardState(id) => {
                let now = self.cluster.now;
                self.cluster
                    .nodes
                    .get_mut(&id)
                    .unwrap()
                    .acknowledge_hard_state(now);
                self.cluster.drain(id);
            }
            Event::Propose => {
                self.propose();
                let delay = self.delay(10);
                self.schedule(delay, Event::Propose);
            }
            Event::Chaos if faults => {
                self.chaos();
                let delay = self.delay(self.weather.chaos_millis);
                self.schedule(delay, Event::Chaos);
            }
            Event::Chaos => {}
        }
    }

    /// Completes some writes, as one group commit, and acknowledges them later, in order.
    fn complete(&mut self, id: NodeId) {
        self.disk_busy.insert(id, 0);
        let writes = 1 + self.random.below(8);
        let node = self.cluster.nodes.get_mut(&id).unwrap();
        for _ in 0..writes {
            node.disk.complete_one();
        }
        let delay = self.delay(self.weather.acknowledge_millis);
        // Large entries go another way than term and vote, and may be told of later.
        let soon = self.delay(5).min(delay);
        self.schedule(soon, Event::AcknowledgeHardState(id));
        for _ in 0..writes {
            self.schedule(delay, Event::Acknowledge(id));
        }
    }

    fn propose(&mut self) {
        self.collect_acknowledged();
        let ids: Vec<NodeId> = self.cluster.nodes.keys().copied().collect();
        let id = self.random.node(&ids);
        let count = 1 + u32::try_from(self.random.below(5)).unwrap();
        for _ in 0..=self.random.below(3) {
            self.cluster.propose(id, count);
        }
    }

    /// What a leader would have acknowledged to a producer by now.
    fn collect_acknowledged(&mut self) {
        for node in self.cluster.nodes.values() {
            let Some(raft) = node
                .raft
                .as_ref()
                .filter(|raft| raft.role() == Role::Leader)
            else {
                continue;
            };
            let from = self.acknowledged.last().map_or(0, |one| one.0);
            let committed = node.log.entries.iter().filter(|one| one.last > from);
            let committed = committed.take_while(|one| one.last <= raft.commit_index().0);
            self.acknowledged
                .extend(committed.map(|one| (one.last, one.payload)));
        }
    }

    fn chaos(&mut self) {
        let ids: Vec<NodeId> = self.cluster.nodes.keys().copied().collect();
        let (id, other) = (self.random.node(&ids), self.random.node(&ids));
        let now = self.cluster.now;
        if self.weather.storm && self.random.percent(60) {
            self.storm(&ids);
            return;
        }
        match self.random.below(16) {
            0 | 1 => self.crash(id),
            2 => ids.iter().for_each(|id| self.crash(*id)),
            3..=5 => ids.iter().for_each(|id| self.cluster.restart(*id)),
            6 => self.cluster.isolate(id),
            7 => {
                self.cluster.cut.insert((id, other));
            }
            8 | 9 => self.cluster.cut.clear(),
            10 => {
                self.cluster.with(id, |raft| {
                    raft.handle_transfer_leadership(now, other).is_ok()
                });
            }
            11 | 14 | 15 => {
                let reach = self.cluster.oracle.committed_last() + 1;
                let index = self.random.below(reach);
                self.cluster.compact(id, index);
            }
            12 if self.weather.changes_voters => self.change_voters(&ids),
            13 => {
                self.cluster.with(id, |raft| raft.handle_unreachable(other));
            }
            _ => {}
        }
    }

    /// Topples leaders while what they sent is half stored, and lets others rise.
    fn storm(&mut self, ids: &[NodeId]) {
        let leader = self.cluster.leader();
        match (self.random.below(4), leader) {
            (0, Some(leader)) => {
                self.propose();
                self.crash(leader);
            }
            (1, Some(leader)) => {
                self.cluster.cut.clear();
                self.cluster.isolate(leader);
            }
            (2, _) => self.cluster.cut.clear(),
            _ => {
                self.cluster.cut.clear();
                ids.iter().for_each(|id| self.cluster.restart(*id));
            }
        }
    }

    fn crash(&mut self, id: NodeId) {
        // A prefix of what was queued reached the disk; the rest did not.
        let written = self.random.below(4);
        let keep_hint = self.random.percent(50);
        let node = self.cluster.nodes.get_mut(&id).unwrap();
        for _ in 0..written {
            node.disk.complete_one();
        }
        self.cluster.crash(id, keep_hint);
        self.events
            .retain(|_, event| !matches!(event, Event::Acknowledge(node) if *node == id));
    }

    fn change_voters(&mut self, ids: &[NodeId]) {
        let Some(leader) = self.cluster.leader() else {
            return;
        };
        let mut voters = vec![];
        let mut learners = vec![];
        for id in ids {
            match self.random.below(4) {
                0 => learners.push(id.0),
                1 | 2 => voters.push(id.0),
                _ => {}
            }
        }
        if voters.is_empty() {
            voters.push(leader.0);
            learners.retain(|id| *id != leader.0);
        }
        let (now, target) = (self.cluster.now, set_of(&voters, &learners));
        self.cluster.with(leader, |raft| {
            raft.handle_propose_voters(now, &target).is_ok()
        });
    }

    fn is_level(&self) -> bool {
        let Some(leader) = self.cluster.leader().map(|id| &self.cluster.nodes[&id]) else {
            return false;
        };
        let set = leader.raft.as_ref().map(|raft| raft.voters().set.clone());
        set.unwrap_or_default().members().iter().all(|id| {
            let node = &self.cluster.nodes[id];
            let commit_index = node.raft.as_ref().map(|raft| raft.commit_index().0);
            let last = leader.log.last_index();
            commit_index == Some(last) && node.disk.log.last_index() == last
        })
    }

    /// Faults cease: the cluster must elect, commit, and agree everywhere.
    fn calm_down(&mut self, seed: u64) {
        self.cluster.cut.clear();
        let ids: Vec<NodeId> = self.cluster.nodes.keys().copied().collect();
        for id in &ids {
            self.cluster.restart(*id);
        }
        let before = self.cluster.oracle.committed_last();
        let end = self.cluster.now + Duration::from_millis(CALM_MILLIS);
        self.run(end, false);
        self.collect_acknowledged();
        self.events
            .retain(|_, event| !matches!(event, Event::Propose));
        // A slow disk and one entry per request need their time.
        for _ in 0..40 {
            let end = self.cluster.now + Duration::from_millis(CALM_MILLIS);
            self.run(end, false);
            if self.is_level() {
                break;
            }
        }

        let after = self.cluster.oracle.committed_last();
        assert!(after > before, "seed {seed}: no progress after the faults");
        let leader = self.cluster.leader().expect("a leader");
        let leader = &self.cluster.nodes[&leader];
        let raft = leader.raft.as_ref().unwrap();
        assert_eq!(
            raft.commit_index(),
            raft.log().last_index(),
            "seed {seed}: all is committed"
        );
        for id in raft.voters().set.members() {
            let node = &self.cluster.nodes[&id];
            let follower = node.raft.as_ref().unwrap();
            assert_eq!(
                follower.commit_index(),
                raft.commit_index(),
                "seed {seed}: node {id}"
            );
            assert_eq!(
                node.disk.log.last_index(),
                leader.log.last_index(),
                "seed {seed}: {id}"
            );
        }
        for (last, payload) in &self.acknowledged {
            let entry = self
                .cluster
                .oracle
                .committed_entry(*last)
                .expect("still committed");
            assert_eq!(
                entry.payload, *payload,
                "seed {seed}: an acknowledged entry changed"
            );
        }
        let mut payloads = self.cluster.oracle.committed_payloads();
        payloads.sort_unstable();
        let count = payloads.len();
        payloads.dedup();
        assert_eq!(
            payloads.len(),
            count,
            "seed {seed}: an entry was committed twice"
        );
    }
}

/// What a set of runs went through; a run that exercises nothing proves nothing.
#[derive(Default, Debug)]
struct Coverage {
    elections: u64,
    truncations: u64,
    installs: u64,
    committed: u64,
}

fn run(seed: u64) -> Coverage {
    let mut simulation = Simulation::new(seed);
    let end = simulation.cluster.now + Duration::from_millis(RUN_MILLIS);
    simulation.run(end, true);
    simulation.calm_down(seed);
    let oracle = &simulation.cluster.oracle;
    Coverage {
        elections: oracle.elections,
        truncations: oracle.truncations,
        installs: oracle.installs,
        committed: oracle.committed_last(),
    }
}

fn seeds() -> std::ops::Range<u64> {
    let Ok(text) = std::env::var("SEEDS") else {
        return SEEDS;
    };
    let (from, to) = text.split_once("..").expect("SEEDS=from..to");
    from.parse().expect("a number")..to.parse().expect("a number")
}

#[test]
fn safety_and_progress_under_faults() {
    let mut total = Coverage::default();
    for seed in seeds() {
        let result = std::panic::catch_unwind(|| run(seed));
        let Ok(one) = result else {
            panic!("seed {seed} failed: SEEDS={seed}..{}", seed + 1)
        };
        total.elections += one.elections;
        total.truncations += one.truncations;
        total.installs += one.installs;
        total.committed += one.committed;
    }
    println!("{total:?}");
    if seeds() == SEEDS {
        assert!(total.elections > 3000, "{total:?}");
        assert!(total.truncations > 1000, "{total:?}");
        assert!(total.installs > 100, "{total:?}");
        assert!(total.committed > 100_000, "{total:?}");
    }
}
