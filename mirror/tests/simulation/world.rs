//! A gateway, a link and a centre in virtual time.
//!
//! The gateway's source log and its journal survive a crash; a write that was not acknowledged may
//! or may not. Frames on a cut connection may still arrive at the centre, later.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use kafka_lite::primitive::Uuid;
use kafka_lite::record_batch::{BatchBuilder, BatchOptions, Compression};
use mirror::{
    ConnectionId, LaneKey, Mirror, Now, Options, Output, Progress, Site, SourceKey, SourceStart,
    StateKey,
};

use crate::centre::Centre;
use crate::random::Random;

pub(crate) const TOPIC: &str = "sensors";
/// 2026-11-24, ms.
const WALL_START_MS: i64 = 1_795_500_000_000;

/// What the world does to the gateway.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weather {
    /// Mean ms between cuts of all connections; 0 is never.
    pub(crate) cut_every_ms: u64,
    /// Longest outage after a cut, ms.
    pub(crate) outage_ms: u64,
    /// Mean ms between crashes of the gateway; 0 is never.
    pub(crate) crash_every_ms: u64,
    /// Longest way of a frame, ms.
    pub(crate) latency_ms: u64,
    /// Longest time of a write to the journal, ms.
    pub(crate) write_ms: u64,
}

enum Event {
    Arrive {
        life: u64,
        connection: ConnectionId,
        frame: Vec<u8>,
    },
    Answer {
        life: u64,
        connection: ConnectionId,
        frame: Vec<u8>,
    },
    Connected {
        life: u64,
        connection: ConnectionId,
        is_open: bool,
    },
    Lost {
        life: u64,
        connection: ConnectionId,
    },
    Written {
        life: u64,
        lane: Option<LaneKey>,
        key: Vec<u8>,
        value: Vec<u8>,
        is_applied: bool,
    },
    DeadLetter {
        life: u64,
        lane: LaneKey,
        batch: Bytes,
    },
    Read {
        life: u64,
        lane: LaneKey,
        pieces: Vec<Bytes>,
    },
    Append,
    Cut,
    Crash,
}

pub(crate) struct Source {
    /// Base offset, exclusive end, bytes.
    batches: Vec<(i64, i64, Bytes)>,
    pub(crate) end: i64,
    pub(crate) start: i64,
}

pub(crate) struct World {
    pub(crate) now_ms: u64,
    events: BTreeMap<(u64, u64), Event>,
    next_event: u64,
    random: Random,
    pub(crate) weather: Weather,
    pub(crate) centre: Centre,
    pub(crate) mirror: Mirror,
    options: Options,
    pub(crate) sources: BTreeMap<i32, Source>,
    pub(crate) journal: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(crate) dead_letters: Vec<Bytes>,
    life: u64,
    open: BTreeSet<ConnectionId>,
    /// When the last frame of a connection arrives, per direction: order is kept.
    last_arrival: BTreeMap<(u64, ConnectionId, bool), u64>,
    link_down_until: u64,
    next_value: u64,
    pub(crate) crashes: u64,
    pub(crate) cuts: u64,
    pub(crate) appends_left: u64,
    timestamp_back_ms: i64,
    pub(crate) is_synchronised: bool,
}

impl World {
    pub(crate) fn new(
        seed: u64,
        partitions: i32,
        weather: Weather,
        change: impl FnOnce(&mut Options),
    ) -> Self {
        let address = mirror::Address {
            host: "centre".to_owned(),
            port: 9092,
        };
        let site = Site::new("gateway", [7; 8]).expect("a site");
        let mut options = Options::new("m", site, vec![address]);
        options.linger = Duration::from_millis(20);
        change(&mut options);
        let centre = Centre::new(Random::new(seed, 1), partitions);
        let now = Now {
            monotonic: Duration::ZERO,
            wall_ms: WALL_START_MS,
            is_synchronised: true,
        };
        let mut world = Self {
            now_ms: 0,
            events: BTreeMap::new(),
            next_event: 0,
            random: Random::new(seed, 2),
            weather,
            centre,
            mirror: Mirror::new(&now, options.clone(), seed),
            options,
            sources: BTreeMap::new(),
            journal: BTreeMap::new(),
            dead_letters: Vec::new(),
            life: 0,
            open: BTreeSet::new(),
            last_arrival: BTreeMap::new(),
            link_down_until: 0,
            next_value: 1,
            crashes: 0,
            cuts: 0,
            appends_left: 0,
            timestamp_back_ms: 0,
            is_synchronised: true,
        };
        for partition in 0..partitions {
            world.sources.insert(
                partition,
                Source {
                    batches: Vec::new(),
                    end: 0,
                    start: 0,
                },
            );
        }
        world.start_mirror();
        if weather.cut_every_ms > 0 {
            world.later(weather.cut_every_ms, Event::Cut);
        }
        if weather.crash_every_ms > 0 {
            world.later(weather.crash_every_ms, Event::Crash);
        }
        world
    }

    /// Timestamps of new records lie so far in the past.
    pub(crate) fn write_old(&mut self, back_ms: i64) {
        self.timestamp_back_ms = back_ms;
    }

    pub(crate) fn now(&self) -> Now {
        let wall_ms = WALL_START_MS + i64::try_from(self.now_ms).expect("short");
        Now {
            monotonic: Duration::from_millis(self.now_ms),
            wall_ms,
            is_synchronised: self.is_synchronised,
        }
    }

    fn later(&mut self, delay_ms: u64, event: Event) {
        self.at(self.now_ms + delay_ms, event);
    }

    fn at(&mut self, time_ms: u64, event: Event) {
        self.events.insert((time_ms, self.next_event), event);
        self.next_event += 1;
    }

    fn key(partition: i32) -> SourceKey {
        SourceKey {
            topic_id: Uuid([9; 16]),
            partition,
        }
    }

    /// A new process over the same disk.
    fn start_mirror(&mut self) {
        self.life += 1;
        self.open.clear();
        let now = self.now();
        self.mirror = Mirror::new(&now, self.options.clone(), self.life);
        let partitions = i32::try_from(self.sources.len()).expect("few");
        for partition in 0..partitions {
            let source = &self.sources[&partition];
            let mut progress = BTreeMap::new();
            for (key, value) in &self.journal {
                let Ok(StateKey::Lane(_, lane)) = StateKey::decode(key) else {
                    continue;
                };
                if lane.source == Self::key(partition) {
                    progress.insert(lane.lane, Progress::decode(value).expect("progress"));
                }
            }
            let start = SourceStart {
                topic: TOPIC.to_owned(),
                partitions,
                log_start_offset: source.start,
                high_watermark: source.end,
                leader_epoch: i32::try_from(self.life).expect("few"),
                priority: u8::try_from(partition).expect("few") & 1,
                progress,
            };
            self.mirror.handle_source(&now, Self::key(partition), start);
            self.carry_out();
        }
    }

    /// Appends a batch of `count` records to a partition of the gateway.
    pub(crate) fn append(&mut self, partition: i32, count: u64) {
        let source = self.sources.get_mut(&partition).expect("a partition");
        let codec = Compression::ALL[usize::try_from(self.random.below(5)).expect("small")];
        let mut builder = BatchBuilder::new(BatchOptions {
            base_offset: source.end,
            compression: codec,
            ..BatchOptions::default()
        });
        let timestamp =
            WALL_START_MS + i64::try_from(self.now_ms).expect("short") - self.timestamp_back_ms;
        for _ in 0..count {
            let mut value = self.next_value.to_be_bytes().to_vec();
            self.next_value += 1;
            value.resize(
                usize::try_from(self.random.between(8, 300)).expect("small"),
                0x55,
            );
            let key = self.random.below(50).to_be_bytes();
            builder
                .append(timestamp, Some(&key), Some(&value), &[])
                .expect("room");
        }
        let bytes: Bytes = builder.finish().expect("a batch").into();
        let end = source.end + i64::try_from(count).expect("few");
        source.batches.push((source.end, end, bytes));
        source.end = end;
        self.tell_moved(partition);
    }

    /// Retention takes what stands before an offset.
    pub(crate) fn trim(&mut self, partition: i32, start: i64) {
        let source = self.sources.get_mut(&partition).expect("a partition");
        source.start = start.max(source.start);
        source.batches.retain(|(_, end, _)| *end > start);
        self.tell_moved(partition);
    }

    fn tell_moved(&mut self, partition: i32) {
        let (start, end) = (self.sources[&partition].start, self.sources[&partition].end);
        let now = self.now();
        self.mirror
            .handle_source_moved(&now, Self::key(partition), start, end);
        self.carry_out();
    }

    /// The wall and the link are sound from here on.
    pub(crate) fn calm(&mut self) {
        self.weather.cut_every_ms = 0;
        self.weather.crash_every_ms = 0;
        self.centre.faults = crate::centre::Faults::default();
        self.link_down_until = self.now_ms;
    }

    fn carry_out(&mut self) {
        while let Some(output) = self.mirror.poll_output() {
            self.carry_out_one(output);
        }
    }

    fn carry_out_one(&mut self, output: Output) {
        let life = self.life;
        match output {
            Output::Connect { connection, .. } => {
                let is_open = self.link_down_until <= self.now_ms;
                if is_open {
                    self.open.insert(connection);
                }
                let delay = self.random.between(0, self.weather.latency_ms);
                self.later(
                    delay,
                    Event::Connected {
                        life,
                        connection,
                        is_open,
                    },
                );
            }
            Output::Send { connection, frame } => {
                let bytes = frame.to_vec().split_off(4);
                self.travel(connection, true, bytes);
            }
            Output::Close { connection, .. } => drop(self.open.remove(&connection)),
            Output::Read {
                lane,
                first_offset,
                end_offset,
                bytes_max,
            } => {
                let source = &self.sources[&lane.source.partition];
                let mut pieces = Vec::new();
                let mut left = bytes_max;
                for (base, end, bytes) in &source.batches {
                    if *end <= first_offset || *base >= end_offset {
                        continue;
                    }
                    if !pieces.is_empty() && bytes.len() > left {
                        break;
                    }
                    left = left.saturating_sub(bytes.len());
                    pieces.push(bytes.clone());
                }
                let delay = self.random.between(0, 3);
                self.later(delay, Event::Read { life, lane, pieces });
            }
            Output::Write {
                lane, key, value, ..
            } => {
                let delay = self.random.between(0, self.weather.write_ms);
                self.later(
                    delay,
                    Event::Written {
                        life,
                        lane,
                        key,
                        value,
                        is_applied: true,
                    },
                );
            }
            Output::DeadLetter { lane, batch, .. } => {
                self.later(1, Event::DeadLetter { life, lane, batch });
            }
        }
    }

    /// Sends a frame on its way; frames of one direction keep their order.
    fn travel(&mut self, connection: ConnectionId, to_centre: bool, frame: Vec<u8>) {
        if !self.open.contains(&connection) {
            return;
        }
        let way = (self.life, connection, to_centre);
        let soon = self.now_ms + self.random.between(0, self.weather.latency_ms);
        let time = soon.max(self.last_arrival.get(&way).copied().unwrap_or(0));
        self.last_arrival.insert(way, time);
        let life = self.life;
        let event = match to_centre {
            true => Event::Arrive {
                life,
                connection,
                frame,
            },
            false => Event::Answer {
                life,
                connection,
                frame,
            },
        };
        self.at(time, event);
    }

    /// Runs until nothing is left to do before `until_ms`.
    pub(crate) fn run_until(&mut self, until_ms: u64) {
        loop {
            let next_event = self.events.keys().next().map(|(time, _)| *time);
            let timeout = self.mirror.poll_timeout();
            let timeout = timeout.map(|at| u64::try_from(at.as_millis()).expect("short") + 1);
            let next = next_event.into_iter().chain(timeout).min();
            let Some(next) = next.filter(|next| *next <= until_ms) else {
                self.now_ms = until_ms;
                return;
            };
            self.now_ms = self.now_ms.max(next);
            if next_event.is_some_and(|time| time <= self.now_ms) {
                let (_, event) = self.events.pop_first().expect("an event");
                self.handle(event);
            } else {
                let now = self.now();
                self.mirror.handle_timeout(&now);
            }
            self.carry_out();
        }
    }

    fn handle(&mut self, event: Event) {
        let now = self.now();
        let present = self.life;
        self.centre.now_ms = now.wall_ms;
        match event {
            Event::Arrive {
                life,
                connection,
                frame,
            } => {
                // A frame of a connection that is cut arrives or not; in order it does.
                let is_cut = life != present || !self.open.contains(&connection);
                if is_cut && self.random.below(2) == 0 {
                    return self.drop_rest(life, connection);
                }
                let answer = self.centre.answer(&frame);
                if !is_cut {
                    self.travel(connection, false, answer);
                }
            }
            Event::Answer {
                life,
                connection,
                frame,
            } => {
                if life == present && self.open.contains(&connection) {
                    self.mirror.handle_frame(&now, connection, frame);
                }
            }
            Event::Connected {
                life,
                connection,
                is_open,
            } if life == present => {
                if is_open && self.open.contains(&connection) {
                    self.mirror.handle_connected(&now, connection);
                } else {
                    self.mirror.handle_closed(&now, connection, "refused");
                }
            }
            Event::Lost { life, connection } if life == present => {
                self.mirror.handle_closed(&now, connection, "cut");
            }
            Event::Written {
                life,
                lane,
                key,
                value,
                is_applied,
            } => {
                if is_applied {
                    self.journal.insert(key, value);
                }
                if life == present {
                    self.mirror.handle_written(&now, lane, is_applied);
                }
            }
            Event::DeadLetter { life, lane, batch } if life == present => {
                self.dead_letters.push(batch);
                self.mirror.handle_dead_letter(&now, lane, true);
            }
            Event::Read { life, lane, pieces } if life == present => {
                self.mirror.handle_read(&now, lane, Ok(pieces));
            }
            Event::Append => self.append_some(),
            Event::Cut => self.cut(),
            Event::Crash => self.crash(),
            Event::Connected { .. }
            | Event::Lost { .. }
            | Event::DeadLetter { .. }
            | Event::Read { .. } => {}
        }
    }

    /// The rest of a connection's frames to the centre is lost.
    fn drop_rest(&mut self, life: u64, connection: ConnectionId) {
        let way = (life, connection);
        self.events.retain(|_, event| match event {
            Event::Arrive {
                life, connection, ..
            } => (*life, *connection) != way,
            Event::Answer { .. }
            | Event::Connected { .. }
            | Event::Lost { .. }
            | Event::Written { .. }
            | Event::DeadLetter { .. }
            | Event::Read { .. }
            | Event::Append
            | Event::Cut
            | Event::Crash => true,
        });
    }

    pub(crate) fn start_appends(&mut self, count: u64) {
        self.appends_left = count;
        self.later(1, Event::Append);
    }

    fn append_some(&mut self) {
        if self.appends_left == 0 {
            return;
        }
        self.appends_left -= 1;
        let partitions = u64::try_from(self.sources.len()).expect("few");
        let partition = i32::try_from(self.random.below(partitions)).expect("few");
        let count = self.random.between(1, 40);
        self.append(partition, count);
        let pause = self.random.between(1, 60);
        self.later(pause, Event::Append);
    }

    pub(crate) fn cut(&mut self) {
        if self.weather.cut_every_ms == 0 {
            return;
        }
        self.cuts += 1;
        if self.random.below(1000) < self.centre.faults.forget_at_cut {
            // It takes longer than the last packets of the cut connections.
            self.events
                .retain(|_, event| !matches!(event, Event::Arrive { .. }));
            self.centre.forget_producers();
        }
        let open = std::mem::take(&mut self.open);
        for connection in open {
            let delay = self.random.between(0, 50);
            let life = self.life;
            self.later(delay, Event::Lost { life, connection });
        }
        self.link_down_until = self.now_ms + self.random.below(self.weather.outage_ms.max(1));
        let pause = self.random.between(1, 2 * self.weather.cut_every_ms);
        self.later(pause, Event::Cut);
    }

    pub(crate) fn crash(&mut self) {
        if self.weather.crash_every_ms == 0 {
            return;
        }
        let pause = self.random.between(1, 2 * self.weather.crash_every_ms);
        self.later(pause, Event::Crash);
        self.restart();
    }

    /// Kills the gateway and starts it again; of the writes under way a first part is durable.
    pub(crate) fn restart(&mut self) {
        self.crashes += 1;
        // The next process connects when the last packets of this one have arrived.
        self.link_down_until = self
            .link_down_until
            .max(self.now_ms + self.weather.latency_ms + 1);
        let mut pending = VecDeque::new();
        let keys: Vec<(u64, u64)> = self.events.keys().copied().collect();
        for key in keys {
            if matches!(self.events.get(&key), Some(Event::Written { .. }))
                && let Some(event) = self.events.remove(&key)
            {
                pending.push_back(event);
            }
        }
        let survive = self
            .random
            .below(u64::try_from(pending.len()).expect("few") + 1);
        for event in pending
            .into_iter()
            .take(usize::try_from(survive).expect("few"))
        {
            if let Event::Written { key, value, .. } = event {
                self.journal.insert(key, value);
            }
        }
        self.start_mirror();
    }

    /// Whether everything is acknowledged.
    pub(crate) fn is_caught_up(&self) -> bool {
        let lanes = self.mirror.status().lanes;
        !lanes.is_empty() && lanes.iter().all(|lane| lane.cursor == lane.high_watermark)
    }

    /// Runs in calm weather until everything is acknowledged.
    pub(crate) fn finish(&mut self, limit_ms: u64) {
        self.calm();
        let deadline = self.now_ms + limit_ms;
        while !(self.appends_left == 0 && self.is_caught_up()) {
            assert!(
                self.now_ms < deadline,
                "not caught up: {:#?}",
                self.mirror.status()
            );
            self.run_until(self.now_ms + 500);
        }
    }

    /// Every record once, per source partition in order; returns how many there are.
    pub(crate) fn judge(&self, missing: &BTreeSet<u64>) -> usize {
        let seen = self.centre.seen(TOPIC);
        let mut count = 0;
        for (partition, source) in &self.sources {
            let of_partition = seen.iter().filter(|one| one.partition == *partition);
            let offsets: Vec<i64> = of_partition.clone().map(|one| one.offset).collect();
            let expected: Vec<i64> = (0..source.end)
                .filter(|offset| {
                    let value = self.value_at(*partition, *offset);
                    value.is_none_or(|value| !missing.contains(&value))
                })
                .collect();
            if offsets != expected {
                let place = offsets
                    .iter()
                    .zip(&expected)
                    .position(|(left, right)| left != right);
                let place = place.unwrap_or_else(|| offsets.len().min(expected.len()));
                let near = |all: &[i64]| {
                    all.iter()
                        .skip(place.saturating_sub(2))
                        .take(6)
                        .copied()
                        .collect::<Vec<_>>()
                };
                panic!(
                    "partition {partition}: {} of {} records, {:?} where {:?} belong",
                    offsets.len(),
                    expected.len(),
                    near(&offsets),
                    near(&expected)
                );
            }
            for one in of_partition {
                assert_eq!(Some(one.value), self.value_at(*partition, one.offset));
            }
            count += offsets.len();
        }
        count
    }

    pub(crate) fn value_at(&self, partition: i32, offset: i64) -> Option<u64> {
        let batches = &self.sources[&partition].batches;
        let (_, _, bytes) = batches
            .iter()
            .find(|(base, end, _)| (*base..*end).contains(&offset))?;
        let view = kafka_lite::record_batch::BatchView::new(bytes).expect("a batch");
        let mut scratch = Vec::new();
        let limits = kafka_lite::record_batch::DecompressLimits::default();
        let mut records = view.records(&limits, &mut scratch).expect("records");
        let record = records.find(|record| record.as_ref().expect("a record").offset == offset)?;
        let value = record.expect("a record").value.expect("a value");
        Some(u64::from_be_bytes(
            *value.first_chunk::<8>().expect("8 bytes"),
        ))
    }
}
