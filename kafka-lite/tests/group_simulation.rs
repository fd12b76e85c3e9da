//! A seeded life of the group coordinator: clients that behave and clients that do not, lost
//! connections, failed writes, partitions that move and restarts, with what must hold after every
//! step.
//!
//! Held after every step: the coordinator's own invariants; no token is answered twice; a
//! generation has one leader and one protocol; memory stays inside its bound. Held at the end:
//! every token is answered, what is fetched is what is durable, and nothing remains once all has
//! expired.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "a fault of the test fails the test, and its random numbers are small"
)]

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use kafka_lite::group::records::{RecordKey, decode_key, decode_offset_value};
use kafka_lite::group::{
    AppendError, AppendId, CommitPartition, CommitTopic, Coordinator, GroupError, HeartbeatRequest,
    JoinGroupReply, JoinGroupRequest, LeaveGroupRequest, LeavingMember, Now, OffsetCommitRequest,
    OffsetDeleteRequest, Options, Output, Protocol, Record, Reply, ReplyToken, SyncGroupRequest,
};

const PARTITIONS: i32 = 3;
const CLIENTS: usize = 12;
const GROUPS: u64 = 4;
const MEMORY_BYTES_MAX: usize = 60_000;
/// Replies may hold a member's metadata a moment longer than the check before the join.
const MEMORY_SLACK_BYTES: usize = 20_000;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn one_in(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }
}

type Append = (AppendId, Vec<Record>);

/// Group, life of its partition, removals, generation id.
type Generation = (u64, i32, i32, i32);

/// What a client believes.
#[derive(Clone, Default)]
struct Client {
    group: u64,
    member_id: String,
    instance_id: Option<String>,
    generation_id: i32,
    leads: Vec<String>,
    joined: bool,
    waits: Option<ReplyToken>,
    version: i16,
}

struct Simulation {
    random: Random,
    coordinator: Coordinator,
    options: Options,
    now: Now,
    clients: Vec<Client>,
    /// Unanswered tokens and who asked.
    open: BTreeMap<ReplyToken, Option<usize>>,
    dropped: BTreeSet<ReplyToken>,
    next_token: u64,
    in_flight: BTreeMap<i32, Vec<Append>>,
    log: BTreeMap<i32, BTreeMap<Bytes, Bytes>>,
    /// Leader and protocol of a generation in one life of a partition.
    generations: BTreeMap<Generation, (String, Option<String>)>,
    lives: BTreeMap<i32, i32>,
    /// How often a group was removed: its generations then start anew.
    removals: BTreeMap<String, i32>,
    answered: u64,
    completed_joins: u64,
}

fn group_name(group: u64) -> String {
    format!("group-{group}")
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let options = Options {
            partition_count: PARTITIONS,
            initial_rebalance_delay_ms: if seed.is_multiple_of(2) { 0 } else { 500 },
            group_size_max: 5,
            members_max: 14,
            offsets_per_group_max: 8,
            offsets_retention_ms: 120_000,
            offsets_retention_check_interval_ms: 30_000,
            memory_bytes_max: MEMORY_BYTES_MAX,
            ..Options::default()
        };
        let mut simulation = Self {
            random: Random(seed),
            coordinator: Coordinator::new(options.clone()),
            options,
            now: Now {
                monotonic_ms: 0,
                timestamp_ms: 1_700_000_000_000,
            },
            clients: vec![Client::default(); CLIENTS],
            open: BTreeMap::new(),
            dropped: BTreeSet::new(),
            next_token: 0,
            in_flight: BTreeMap::new(),
            log: BTreeMap::new(),
            generations: BTreeMap::new(),
            lives: BTreeMap::new(),
            removals: BTreeMap::new(),
            answered: 0,
            completed_joins: 0,
        };
        for index in 0..CLIENTS {
            simulation.reset_client(index);
        }
        for partition in 0..PARTITIONS {
            simulation.load(partition);
        }
        simulation
    }

    fn reset_client(&mut self, index: usize) {
        let is_static = index.is_multiple_of(3);
        let group = if is_static {
            index as u64 % GROUPS
        } else {
            self.random.below(GROUPS)
        };
        self.clients[index] = Client {
            group,
            instance_id: is_static.then(|| format!("instance-{index}")),
            version: [0, 3, 5, 9][self.random.below(4) as usize].max(if is_static { 5 } else { 0 }),
            ..Client::default()
        };
    }

    fn load(&mut self, partition: i32) {
        *self.lives.entry(partition).or_default() += 1;
        self.in_flight.remove(&partition);
        self.coordinator.start_loading(partition);
        for (key, value) in self.log.entry(partition).or_default().iter() {
            self.coordinator
                .load_record(partition, key, Some(value))
                .expect("loads");
        }
        self.coordinator.finish_loading(self.now, partition);
    }

    fn token(&mut self, client: Option<usize>) -> ReplyToken {
        let token = ReplyToken(self.next_token);
        self.next_token += 1;
        self.open.insert(token, client);
        if let Some(client) = client {
            self.clients[client].waits = Some(token);
        }
        token
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..60 => {
                let index = self.random.below(CLIENTS as u64) as usize;
                self.act(index);
            }
            60..80 => self.persist_one(),
            80..93 => self.advance(),
            93..96 => self.disconnect(),
            96..98 => self.administrate(),
            98 => self.move_partition(),
            _ => {
                let index = self.random.below(CLIENTS as u64) as usize;
                if self.clients[index].waits.is_none() {
                    self.reset_client(index);
                }
            }
        }
        self.drain();
        self.check();
    }

    fn act(&mut self, index: usize) {
        if self.clients[index].waits.is_some() {
            return;
        }
        let client = self.clients[index].clone();
        match self.random.below(12) {
            0..3 if client.joined && !client.leads.is_empty() => self.sync(index),
            0..3 if client.joined => self.sync(index),
            3..5 if client.joined => self.heartbeat(index),
            5..7 => self.commit(index),
            7 if client.joined => self.leave(index),
            _ => self.join(index),
        }
    }

    fn join(&mut self, index: usize) {
        let token = self.token(Some(index));
        let client = self.clients[index].clone();
        let names = ["range", "sticky", "other"];
        let start = self.random.below(2) as usize;
        let protocol = |name: &&str, random: &mut Random| Protocol {
            name: (*name).to_owned(),
            metadata: Bytes::from(vec![0; random.below(200) as usize]),
        };
        let random = &mut self.random;
        let protocols = names[start..]
            .iter()
            .map(|name| protocol(name, random))
            .collect();
        let request = JoinGroupRequest {
            api_version: client.version,
            group_id: group_name(client.group),
            session_timeout_ms: 6_000 + self.random.below(10_000) as i32,
            rebalance_timeout_ms: (client.version > 0)
                .then(|| self.random.below(15_000) as i32 - 1),
            member_id: client.member_id,
            group_instance_id: client.instance_id,
            protocol_type: "consumer".to_owned(),
            protocols,
            client_id: format!("client-{index}"),
            client_host: "/127.0.0.1".to_owned(),
        };
        let uuid = (u128::from(self.random.next()) << 64) | u128::from(self.random.next());
        self.coordinator
            .handle_join_group(self.now, token, &request, uuid);
    }

    fn sync(&mut self, index: usize) {
        let token = self.token(Some(index));
        let client = self.clients[index].clone();
        let bytes = Bytes::from(vec![1; self.random.below(100) as usize]);
        let request = SyncGroupRequest {
            group_id: group_name(client.group),
            generation_id: client.generation_id,
            member_id: client.member_id,
            group_instance_id: client.instance_id,
            protocol_type: None,
            protocol_name: None,
            assignments: client
                .leads
                .into_iter()
                .map(|id| (id, bytes.clone()))
                .collect(),
        };
        self.coordinator
            .handle_sync_group(self.now, token, &request);
    }

    fn heartbeat(&mut self, index: usize) {
        let token = self.token(Some(index));
        let client = self.clients[index].clone();
        let request = HeartbeatRequest {
            group_id: group_name(client.group),
            generation_id: client.generation_id - i32::from(self.random.one_in(20)),
            member_id: client.member_id,
            group_instance_id: client.instance_id,
        };
        self.coordinator.handle_heartbeat(self.now, token, &request);
    }

    fn leave(&mut self, index: usize) {
        let token = self.token(Some(index));
        let client = self.clients[index].clone();
        let member = LeavingMember {
            member_id: client.member_id,
            group_instance_id: client.instance_id,
        };
        let request = LeaveGroupRequest {
            group_id: group_name(client.group),
            members: vec![member],
        };
        self.coordinator
            .handle_leave_group(self.now, token, &request);
        self.clients[index].joined = false;
        self.clients[index].member_id.clear();
    }

    fn commit(&mut self, index: usize) {
        let token = self.token(Some(index));
        let client = self.clients[index].clone();
        let simple = self.random.one_in(3);
        let partitions = (0..=self.random.below(3)).map(|_| CommitPartition {
            partition: self.random.below(6) as i32,
            offset: self.random.below(1_000_000) as i64,
            leader_epoch: self.random.one_in(2).then_some(3),
            metadata: "m".repeat(self.random.below(50) as usize),
        });
        let partitions = partitions.collect();
        let name = format!("topic-{}", self.random.below(3));
        let request = OffsetCommitRequest {
            api_version: 8,
            group_id: group_name(client.group),
            generation_id: if simple { -1 } else { client.generation_id },
            member_id: if simple {
                String::new()
            } else {
                client.member_id
            },
            group_instance_id: client.instance_id.filter(|_| !simple),
            retention_time_ms: self.random.one_in(10).then_some(50_000),
            topics: vec![CommitTopic { name, partitions }],
        };
        self.coordinator
            .handle_offset_commit(self.now, token, &request);
    }

    fn administrate(&mut self) {
        let group_id = group_name(self.random.below(GROUPS));
        match self.random.below(4) {
            0 => {
                let token = self.token(None);
                let groups: Vec<String> = (0..GROUPS).map(group_name).collect();
                self.coordinator
                    .handle_delete_groups(self.now, token, &groups);
            }
            1 => {
                let token = self.token(None);
                let topics = vec![("topic-0".to_owned(), vec![0, 1, 2])];
                let request = OffsetDeleteRequest { group_id, topics };
                self.coordinator
                    .handle_offset_delete(self.now, token, &request);
            }
            2 => self.coordinator.handle_topic_deleted(self.now, "topic-1"),
            _ => {
                let token = self.token(None);
                let instance = format!("instance-{}", 3 * self.random.below(4));
                let member = LeavingMember {
                    member_id: String::new(),
                    group_instance_id: Some(instance),
                };
                let request = LeaveGroupRequest {
                    group_id,
                    members: vec![member],
                };
                self.coordinator
                    .handle_leave_group(self.now, token, &request);
            }
        }
    }

    fn persist_one(&mut self) {
        let partition = self.random.below(PARTITIONS as u64) as i32;
        let fails = self.random.one_in(15);
        self.persist(partition, fails);
    }

    fn persist(&mut self, partition: i32, fails: bool) {
        let Some(queue) = self
            .in_flight
            .get_mut(&partition)
            .filter(|queue| !queue.is_empty())
        else {
            return;
        };
        let (id, records) = queue.remove(0);
        if fails {
            let errors = [
                AppendError::TooLarge,
                AppendError::NotLeader,
                AppendError::Unavailable,
            ];
            let error = errors[self.random.below(3) as usize];
            self.coordinator.handle_persisted(self.now, id, Err(error));
            return;
        }
        let log = self.log.entry(partition).or_default();
        for record in records {
            match record.value {
                Some(value) => log.insert(record.key, value),
                None => log.remove(&record.key),
            };
        }
        self.coordinator.handle_persisted(self.now, id, Ok(()));
    }

    fn advance(&mut self) {
        let milliseconds = [1, 100, 1_000, 4_000, 20_000][self.random.below(5) as usize];
        let milliseconds = self.random.below(milliseconds) + 1;
        self.now.monotonic_ms += milliseconds;
        self.now.timestamp_ms += milliseconds as i64;
        if self
            .coordinator
            .poll_timeout()
            .is_some_and(|at| at <= self.now.monotonic_ms)
        {
            self.coordinator.handle_timeout(self.now);
        }
    }

    fn disconnect(&mut self) {
        let index = self.random.below(CLIENTS as u64) as usize;
        if let Some(token) = self.clients[index].waits.take() {
            self.dropped.insert(token);
            self.coordinator.handle_disconnect(self.now, token);
        }
    }

    fn move_partition(&mut self) {
        let partition = self.random.below(PARTITIONS as u64) as i32;
        self.coordinator.unload(partition);
        self.drain();
        self.load(partition);
    }

    fn drain(&mut self) {
        while let Some(output) = self.coordinator.poll_output() {
            match output {
                Output::Append {
                    id,
                    partition,
                    records,
                } => {
                    assert!(!records.is_empty());
                    for record in records.iter().filter(|record| record.value.is_none()) {
                        if let RecordKey::Group { group_id } = decode_key(&record.key).unwrap() {
                            *self.removals.entry(group_id).or_default() += 1;
                        }
                    }
                    self.in_flight
                        .entry(partition)
                        .or_default()
                        .push((id, records));
                }
                Output::Reply { token, reply } => self.answer(token, reply),
            }
        }
    }

    fn answer(&mut self, token: ReplyToken, reply: Reply) {
        let client = self.open.remove(&token).expect("a token is answered once");
        self.answered += 1;
        if self.dropped.remove(&token) {
            return;
        }
        let Some(index) = client else { return };
        self.clients[index].waits = None;
        match reply {
            Reply::JoinGroup(reply) => self.joined(index, reply),
            Reply::SyncGroup(reply) => self.heed(index, reply.error),
            Reply::Heartbeat(error) => self.heed(index, error),
            Reply::OffsetCommit(reply) => {
                let error = reply.topics[0].1[0].1;
                self.heed(index, error);
            }
            Reply::LeaveGroup(_) | Reply::OffsetDelete(_) | Reply::DeleteGroups(_) => {}
        }
    }

    fn heed(&mut self, index: usize, error: Option<GroupError>) {
        let client = &mut self.clients[index];
        match error {
            Some(GroupError::UnknownMemberId | GroupError::FencedInstanceId) => {
                client.member_id.clear();
                client.joined = false;
            }
            Some(GroupError::IllegalGeneration) => client.joined = false,
            _ => {}
        }
    }

    fn joined(&mut self, index: usize, reply: JoinGroupReply) {
        let client = &mut self.clients[index];
        match reply.error {
            None => {
                let partition = self.coordinator.partition_of(&group_name(client.group));
                let life = self.lives[&partition];
                let removals = self.removals.get(&group_name(client.group)).copied();
                let removals = removals.unwrap_or_default();
                let exact = client.version >= 9 || client.instance_id.is_none();
                let key = (client.group, life, removals, reply.generation_id);
                let value = (reply.leader.clone(), reply.protocol_name.clone());
                // A static leader may change its id within a generation.
                if exact && !reply.leader.starts_with("instance") {
                    let known = self.generations.entry(key).or_insert_with(|| value.clone());
                    assert_eq!(*known, value, "generation {key:?}");
                }
                assert!(reply.members.is_empty() || reply.leader == reply.member_id);
                client.joined = true;
                client.generation_id = reply.generation_id;
                client.leads = reply
                    .members
                    .into_iter()
                    .map(|member| member.member_id)
                    .collect();
                client.member_id = reply.member_id;
                self.completed_joins += 1;
            }
            Some(GroupError::MemberIdRequired) => client.member_id = reply.member_id,
            error => self.heed(index, error),
        }
    }

    fn check(&self) {
        self.coordinator.check_invariants();
        let memory = self.coordinator.memory_bytes();
        assert!(
            memory <= MEMORY_BYTES_MAX + MEMORY_SLACK_BYTES,
            "{memory} bytes"
        );
        assert!(self.coordinator.member_count() <= self.options.members_max + 1);
        assert!(self.coordinator.held_count() <= self.open.len() + self.append_count());
    }

    fn append_count(&self) -> usize {
        self.in_flight.values().map(Vec::len).sum()
    }

    fn persist_all(&mut self) {
        while self.append_count() > 0 {
            for partition in 0..PARTITIONS {
                self.persist(partition, false);
            }
            self.drain();
        }
    }

    /// What is fetched is what the log says.
    fn check_offsets(&self) {
        let mut durable = BTreeMap::new();
        for (key, value) in self.log.values().flatten() {
            if let RecordKey::Offset {
                group_id,
                topic,
                partition,
            } = decode_key(key).unwrap()
            {
                durable.insert(
                    (group_id, topic, partition),
                    decode_offset_value(value).unwrap(),
                );
            }
        }
        let mut fetched = BTreeMap::new();
        for group in (0..GROUPS).map(group_name) {
            for topic in self.coordinator.fetch_offsets(&group, None).unwrap() {
                for (partition, committed) in topic.partitions {
                    let key = (group.clone(), topic.name.clone(), partition);
                    fetched.insert(key, committed.expect("all are committed").clone());
                }
            }
        }
        assert_eq!(fetched, durable);
    }

    fn finish(&mut self) {
        self.persist_all();
        self.check_offsets();
        // All clients are gone: every session ends, every offset expires.
        for _ in 0..200 {
            self.now.monotonic_ms += 5_000;
            self.now.timestamp_ms += 5_000;
            self.coordinator.handle_timeout(self.now);
            self.drain();
            self.persist_all();
            self.check();
        }
        // Nobody listens for the answers of lost connections; they may stay away.
        self.open.retain(|token, _| !self.dropped.contains(token));
        assert_eq!(self.open.len(), 0, "unanswered");
        assert_eq!(self.coordinator.group_count(), 0);
        assert_eq!(self.coordinator.member_count(), 0);
        assert_eq!(self.coordinator.held_count(), 0);
        assert_eq!(self.coordinator.memory_bytes(), 0);
        assert_eq!(self.coordinator.poll_timeout(), None);
        let left: usize = self.log.values().map(BTreeMap::len).sum();
        assert_eq!(left, 0, "records of a group outlive it");
    }
}

fn run(seed: u64, steps: u64) -> (u64, u64) {
    let mut simulation = Simulation::new(seed);
    for _ in 0..steps {
        simulation.step();
    }
    simulation.finish();
    (simulation.answered, simulation.completed_joins)
}

/// `GROUP_SEED=7` runs one seed; `GROUP_SEEDS=1000` runs that many.
#[test]
fn coordinator_keeps_its_promises_in_a_random_life() {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
    };
    let seeds = match number("GROUP_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("GROUP_SEEDS").unwrap_or(40),
    };
    let (mut answered, mut joins) = (0, 0);
    for seed in seeds {
        let result = std::panic::catch_unwind(|| run(seed, 3_000));
        let Ok((more_answered, more_joins)) = result else {
            panic!("seed {seed} fails: GROUP_SEED={seed}");
        };
        answered += more_answered;
        joins += more_joins;
    }
    assert!(
        joins > 100,
        "only {joins} joins completed: the simulation does nothing"
    );
    assert!(answered > joins);
}
