//! A gateway, a link and a centre in virtual time.
//!
//! The gateway's source log and its journal survive a crash; a write that was not acknowledged may
//! or may not. Frames on a cut connection may still arrive at the centre, later.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use kafka_lite::primitive::Uuid;
use mirror::{
    ConnectionId, LaneKey, Marks, Mirror, Now, Options, Output, Progress, Site, SourceKey,
    SourceStart, StateKey, Usage,
};

use crate::centre::Centre;
use crate::random::Random;

mod judge;
mod source;
mod trouble;

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
    /// The most bytes of batches that the mirror kept at once.
    pub(crate) kept_bytes_most: usize,
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
            mirror: Mirror::new(&now, options.clone(), Usage::default(), seed),
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
            kept_bytes_most: 0,
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
        self.mirror = Mirror::new(&now, self.options.clone(), Usage::default(), self.life);
        let partitions = i32::try_from(self.sources.len()).expect("few");
        for partition in 0..partitions {
            let source = &self.sources[&partition];
            let (mut progress, mut marks) = (BTreeMap::new(), BTreeMap::new());
            for (key, value) in &self.journal {
                match StateKey::decode(key) {
                    Ok(StateKey::Lane(_, lane)) if lane.source == Self::key(partition) => {
                        progress.insert(lane.lane, Progress::decode(value).expect("progress"));
                    }
                    Ok(StateKey::Marks(_, lane)) if lane.source == Self::key(partition) => {
                        marks.insert(lane.lane, Marks::decode(value).expect("marks"));
                    }
                    _ => {}
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
                marks,
            };
            if self.mirror.has_room() {
                self.mirror.handle_source(&now, Self::key(partition), start);
            }
            self.carry_out();
        }
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
            Output::Note { key, value } => drop(self.journal.insert(key, value)),
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
            self.kept_bytes_most = self.kept_bytes_most.max(self.mirror.kept_bytes());
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
}
