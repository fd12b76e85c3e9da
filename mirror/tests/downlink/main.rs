//! The downlink against a simulated centre, link and log. One seed is one run.
//!
//! Judged by what stands in the local log: every record that is committed at the centre once, in
//! the order of its partition, and nothing else.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a simulation that does not hold together fails, and says its seed"
)]

mod centre;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use centre::Centre;
use kafka_lite::error_code::ErrorCode;
use kafka_lite::primitive::Uuid;
use kafka_lite::record_batch::{BatchView, DecompressLimits, patch_base_offset_and_leader_epoch};
use mirror::downlink::{InletStart, LocalRead};
use mirror::{
    Address, ConnectionId, Cursor, Downlink, DownlinkOptions, DownlinkOutput, DownlinkTopics, Now,
    Output, Site, SourceKey, StateKey, TargetName,
};

pub(crate) const TOPIC: &str = "commands";
pub(crate) const SITE: &str = "gateway";
pub(crate) const PARTITIONS: i32 = 2;

/// SplitMix64.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end.max(1)
    }
}

/// What is under way.
enum Task {
    Connected(ConnectionId),
    Answer(ConnectionId, Vec<u8>),
    Created(String, i32),
    Read(SourceKey, i64),
    Append(SourceKey, Bytes),
    Write(SourceKey, Vec<u8>, Vec<u8>),
}

#[derive(Default)]
struct Log {
    batches: Vec<(i64, Bytes)>,
    end: i64,
}

struct World {
    random: Random,
    now_ms: u64,
    centre: Centre,
    downlink: Downlink,
    tasks: Vec<Task>,
    logs: BTreeMap<i32, Log>,
    journal: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Of a hundred appends, so many fail, some of them though they are stored.
    failing_appends: u64,
    crashes: u64,
    connections: Vec<ConnectionId>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut world = Self {
            random: Random(seed),
            now_ms: 1,
            centre: Centre::new(),
            downlink: downlink(seed),
            tasks: Vec::new(),
            logs: BTreeMap::new(),
            journal: BTreeMap::new(),
            failing_appends: 0,
            crashes: 0,
            connections: Vec::new(),
        };
        world.input(Downlink::handle_timeout);
        world
    }

    fn now(&self) -> Now {
        Now {
            monotonic: Duration::from_millis(self.now_ms),
            wall_ms: 1_795_500_000_000,
            is_synchronised: true,
        }
    }

    fn input(&mut self, input: impl FnOnce(&mut Downlink, &Now)) {
        let now = self.now();
        input(&mut self.downlink, &now);
        while let Some(output) = self.downlink.poll_output() {
            let task = match output {
                DownlinkOutput::Link(Output::Connect { connection, .. }) => {
                    Task::Connected(connection)
                }
                DownlinkOutput::Link(Output::Send { connection, frame }) => {
                    let frame = frame.to_vec().split_off(4);
                    Task::Answer(connection, self.centre.answer(&frame))
                }
                DownlinkOutput::Link(_) => continue,
                DownlinkOutput::CreateTopic { topic, partitions } => {
                    Task::Created(topic, partitions)
                }
                DownlinkOutput::Read { lane, first_offset } => Task::Read(lane, first_offset),
                DownlinkOutput::Append { lane, batch } => Task::Append(lane, batch),
                DownlinkOutput::DeadLetter { .. } => panic!("nothing is refused for good"),
                DownlinkOutput::Write { lane, key, value } => Task::Write(lane, key, value),
            };
            self.tasks.push(task);
        }
    }

    /// Something that is under way ends, or time goes on.
    fn step(&mut self) {
        self.now_ms += self.random.below(5);
        let due = self.downlink.poll_timeout();
        let is_due = due.is_some_and(|at| at <= self.now().monotonic);
        if is_due {
            return self.input(Downlink::handle_timeout);
        }
        if self.tasks.is_empty() {
            let at = due.expect("something is due, or under way");
            self.now_ms = u64::try_from(at.as_millis()).expect("soon") + 1;
            return self.input(Downlink::handle_timeout);
        }
        let mut place = usize::try_from(self.random.below(self.tasks.len() as u64)).expect("few");
        // Answers of a connection keep their order.
        if let Task::Answer(id, _) = &self.tasks[place] {
            let is_same = |task: &Task| matches!(task, Task::Answer(other, _) if other == id);
            place = self.tasks.iter().position(is_same).expect("itself");
        }
        let task = self.tasks.remove(place);
        self.end_task(task);
    }

    fn end_task(&mut self, task: Task) {
        match task {
            Task::Connected(id) => {
                self.connections.push(id);
                self.input(|downlink, now| downlink.handle_connected(now, id));
            }
            Task::Answer(id, frame) => {
                self.input(|downlink, now| downlink.handle_frame(now, id, frame));
            }
            Task::Created(topic, partitions) => self.create(&topic, partitions),
            Task::Read(key, first) => {
                let log = &self.logs[&key.partition];
                let batches = log.batches.iter().filter(|(end, _)| *end > first);
                let read = LocalRead {
                    pieces: batches.take(2).map(|(_, bytes)| bytes.clone()).collect(),
                    high_watermark: log.end,
                };
                self.input(|downlink, now| downlink.handle_read(now, key, Ok(read)));
            }
            Task::Append(key, batch) => {
                let fails = self.random.below(100) < self.failing_appends;
                if !fails || self.random.below(2) == 0 {
                    self.append(key, &batch);
                }
                let result = match fails {
                    true => Err(ErrorCode::KafkaStorageError),
                    false => Ok(self.logs[&key.partition].end),
                };
                self.input(|downlink, now| downlink.handle_appended(now, key, result));
            }
            Task::Write(key, state_key, value) => {
                self.journal.insert(state_key, value);
                self.input(|downlink, now| downlink.handle_written(now, key, true));
            }
        }
    }

    fn append(&mut self, key: SourceKey, batch: &[u8]) {
        let log = self.logs.get_mut(&key.partition).expect("a log");
        let mut bytes = batch.to_vec();
        let count = BatchView::new(batch)
            .expect("a batch")
            .header()
            .records_count;
        patch_base_offset_and_leader_epoch(&mut bytes, log.end, 0).expect("a header");
        log.end += i64::from(count);
        log.batches.push((log.end, bytes.into()));
    }

    fn create(&mut self, topic: &str, partitions: i32) {
        assert_eq!((topic, partitions), (TOPIC, PARTITIONS));
        for partition in 0..partitions {
            self.logs.entry(partition).or_default();
        }
        self.input(|downlink, now| downlink.handle_created(now, TOPIC, Ok(PARTITIONS)));
        self.offer_partitions();
    }

    fn offer_partitions(&mut self) {
        for partition in self.logs.keys().copied().collect::<Vec<_>>() {
            let state = StateKey::Downlink("hq".to_owned(), TOPIC.to_owned(), partition).encode();
            let known = self.journal.get(&state);
            let start = InletStart {
                topic: TOPIC.to_owned(),
                high_watermark: self.logs[&partition].end,
                cursor: known.map(|value| Cursor::decode(value).expect("a cursor")),
                ..InletStart::default()
            };
            let key = SourceKey {
                topic_id: Uuid([9; 16]),
                partition,
            };
            if self.downlink.hold_from(key).is_none() {
                self.input(|downlink, now| downlink.handle_partition(now, key, start));
            }
        }
    }

    /// kill -9: what was under way is done or not.
    fn crash(&mut self) {
        self.crashes += 1;
        for task in std::mem::take(&mut self.tasks) {
            if self.random.below(2) == 0 {
                continue;
            }
            match task {
                Task::Append(key, batch) => self.append(key, &batch),
                Task::Write(_, key, value) => drop(self.journal.insert(key, value)),
                Task::Connected(_) | Task::Answer(..) | Task::Created(..) | Task::Read(..) => {}
            }
        }
        self.connections.clear();
        self.downlink = downlink(self.random.below(u64::MAX));
        self.input(Downlink::handle_timeout);
        self.offer_partitions();
    }

    fn cut(&mut self) {
        self.tasks
            .retain(|task| !matches!(task, Task::Answer(..) | Task::Connected(_)));
        for id in std::mem::take(&mut self.connections) {
            self.input(|downlink, now| downlink.handle_closed(now, id, "cut"));
        }
    }

    /// Offset at the centre and value of what stands in a local partition, of one topic there.
    fn brought(&self, partition: i32, topic_id: Uuid) -> Vec<(i64, u64)> {
        let mut all = Vec::new();
        for (_, bytes) in self
            .logs
            .get(&partition)
            .map_or(&[][..], |log| &log.batches)
        {
            let view = BatchView::new(bytes).expect("a batch");
            let mut scratch = Vec::new();
            let records = view.records(&DecompressLimits::default(), &mut scratch);
            for record in records.expect("records") {
                let record = record.expect("a record");
                let origin = mirror::origin::origins(record.headers)
                    .last()
                    .expect("an origin");
                assert_eq!(
                    (origin.site, origin.source.partition),
                    ("cluster", partition)
                );
                let value = record.value.and_then(|value| value.first_chunk::<8>());
                let value = u64::from_be_bytes(*value.expect("8 bytes"));
                if origin.source.topic_id == topic_id {
                    all.push((origin.offset, value));
                }
            }
        }
        all
    }

    fn is_done(&self) -> bool {
        let last = |partition: i32| {
            self.brought(partition, self.centre.topic_id)
                .last()
                .copied()
        };
        let partitions = self.centre.partitions.iter().zip(0..);
        let mut ends = partitions.map(|(wanted, index)| (wanted.wanted.last().copied(), index));
        ends.all(|(wanted, index)| wanted.is_none() || wanted == last(index))
    }

    fn finish(&mut self) {
        self.centre.finish();
        for _ in 0..20_000 {
            if self.is_done() {
                // What comes twice comes later.
                return (0..200).for_each(|_| self.step());
            }
            self.step();
        }
        panic!("it does not come: {:?}", self.downlink.status());
    }

    fn judge(&self) {
        for (partition, index) in self.centre.partitions.iter().zip(0..) {
            assert_eq!(self.brought(index, self.centre.topic_id), partition.wanted);
        }
    }
}

fn downlink(seed: u64) -> Downlink {
    let site = Site::new(SITE, [0; 8]).expect("a site");
    let address = Address {
        host: "centre".to_owned(),
        port: 9092,
    };
    let patterns = ["comm*".to_owned()];
    let topics = DownlinkTopics::new(&patterns, TargetName::default(), SITE).expect("topics");
    let options = DownlinkOptions::new("hq", site, vec![address], topics);
    Downlink::new(options, seed)
}

/// Writes, crashes and cuts for a while.
fn storm(seed: u64, failing_appends: u64) -> World {
    println!("seed {seed}");
    let mut world = World::new(seed);
    world.failing_appends = failing_appends;
    for _ in 0..600 {
        let mut random = Random(world.random.below(u64::MAX));
        match random.below(20) {
            0..6 => world.centre.write(&mut random),
            6 => world.crash(),
            7 => world.cut(),
            _ => world.step(),
        }
    }
    world.failing_appends = 0;
    world
}

#[test]
fn every_committed_record_comes_once_and_in_order_through_storms() {
    let (mut records, mut crashes) = (0, 0);
    for seed in 0..300 {
        let mut world = storm(seed, 10);
        world.finish();
        world.judge();
        crashes += world.crashes;
        let wanted = world.centre.partitions.iter();
        records += wanted
            .map(|partition| partition.wanted.len())
            .sum::<usize>();
    }
    assert!(records > 10_000 && crashes > 5_000, "{records} {crashes}");
}

#[test]
fn a_topic_made_anew_is_brought_from_its_start() {
    for seed in 0..50 {
        let mut world = storm(seed, 0);
        world.centre.recreate();
        for _ in 0..60 {
            let mut random = Random(world.random.below(u64::MAX));
            world.centre.write(&mut random);
            world.step();
        }
        world.finish();
        world.judge();
        let status = world.downlink.status();
        assert!(status.lanes.iter().all(|lane| lane.recreations <= 1));
    }
}

#[test]
fn what_the_centre_removed_is_a_gap_and_the_rest_comes() {
    let mut gaps = 0;
    for seed in 0..50 {
        let mut world = storm(seed, 0);
        world.centre.finish();
        world.centre.trim();
        let before: Vec<usize> = (0..PARTITIONS)
            .map(|index| world.brought(index, world.centre.topic_id).len())
            .collect();
        for partition in &mut world.centre.partitions {
            partition.wanted.clear();
        }
        for _ in 0..60 {
            let mut random = Random(world.random.below(u64::MAX));
            world.centre.write(&mut random);
        }
        world.finish();
        for (partition, index) in world.centre.partitions.iter().zip(0..) {
            let brought = world.brought(index, world.centre.topic_id);
            let old = before[usize::try_from(index).expect("few")];
            // What had been fetched before the centre removed it may come still.
            assert!(brought.len() >= old + partition.wanted.len());
            assert!(brought.ends_with(&partition.wanted));
            assert!(brought.windows(2).all(|pair| pair[0].0 < pair[1].0));
        }
        let status = world.downlink.status();
        gaps += status.lanes.iter().map(|lane| lane.gaps).sum::<u64>();
    }
    assert!(gaps > 0);
}
