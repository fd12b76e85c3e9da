//! The world: clients, the log behind the coordinator, time.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use kafka_lite::group::records::{RecordKey, decode_key};
use kafka_lite::group::{
    AppendError, AppendId, Coordinator, Now, Options, Output, Record, ReplyToken,
};

pub(crate) const PARTITIONS: i32 = 3;
pub(crate) const CLIENTS: usize = 12;
pub(crate) const GROUPS: u64 = 4;
pub(crate) const MEMORY_BYTES_MAX: usize = 60_000;
/// Replies may hold a member's metadata a moment longer than the check before the join.
pub(crate) const MEMORY_SLACK_BYTES: usize = 20_000;

/// SplitMix64.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn one_in(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }
}

pub(crate) type Append = (AppendId, Vec<Record>);

/// Group, life of its partition, removals, generation id.
pub(crate) type Generation = (u64, i32, i32, i32);

/// What a client believes.
#[derive(Clone, Default)]
pub(crate) struct Client {
    pub(crate) group: u64,
    pub(crate) member_id: String,
    pub(crate) instance_id: Option<String>,
    pub(crate) generation_id: i32,
    pub(crate) leads: Vec<String>,
    pub(crate) joined: bool,
    pub(crate) waits: Option<ReplyToken>,
    pub(crate) version: i16,
}

pub(crate) struct Simulation {
    pub(crate) random: Random,
    pub(crate) coordinator: Coordinator,
    pub(crate) options: Options,
    pub(crate) now: Now,
    pub(crate) clients: Vec<Client>,
    /// Unanswered tokens and who asked.
    pub(crate) open: BTreeMap<ReplyToken, Option<usize>>,
    pub(crate) dropped: BTreeSet<ReplyToken>,
    pub(crate) next_token: u64,
    pub(crate) in_flight: BTreeMap<i32, Vec<Append>>,
    pub(crate) log: BTreeMap<i32, BTreeMap<Bytes, Bytes>>,
    /// Leader and protocol of a generation in one life of a partition.
    pub(crate) generations: BTreeMap<Generation, (String, Option<String>)>,
    pub(crate) lives: BTreeMap<i32, i32>,
    /// How often a group was removed: its generations then start anew.
    pub(crate) removals: BTreeMap<String, i32>,
    pub(crate) answered: u64,
    pub(crate) completed_joins: u64,
}

pub(crate) fn group_name(group: u64) -> String {
    format!("group-{group}")
}

impl Simulation {
    pub(crate) fn new(seed: u64) -> Self {
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

    pub(crate) fn reset_client(&mut self, index: usize) {
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

    pub(crate) fn load(&mut self, partition: i32) {
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

    pub(crate) fn token(&mut self, client: Option<usize>) -> ReplyToken {
        let token = ReplyToken(self.next_token);
        self.next_token += 1;
        self.open.insert(token, client);
        if let Some(client) = client {
            self.clients[client].waits = Some(token);
        }
        token
    }

    pub(crate) fn step(&mut self) {
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

    pub(crate) fn persist_one(&mut self) {
        let partition = self.random.below(PARTITIONS as u64) as i32;
        let fails = self.random.one_in(15);
        self.persist(partition, fails);
    }

    pub(crate) fn persist(&mut self, partition: i32, fails: bool) {
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

    pub(crate) fn advance(&mut self) {
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

    pub(crate) fn move_partition(&mut self) {
        let partition = self.random.below(PARTITIONS as u64) as i32;
        self.coordinator.unload(partition);
        self.drain();
        self.load(partition);
    }

    pub(crate) fn drain(&mut self) {
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

    pub(crate) fn append_count(&self) -> usize {
        self.in_flight.values().map(Vec::len).sum()
    }

    pub(crate) fn persist_all(&mut self) {
        while self.append_count() > 0 {
            for partition in 0..PARTITIONS {
                self.persist(partition, false);
            }
            self.drain();
        }
    }
}
