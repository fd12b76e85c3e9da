//! A mirror on one shard: lanes, the link, and what carries them out.
//!
//! What it is        the state machine that the daemon drives: inputs `handle_*`, outputs
//!                   [`Mirror::poll_output`], the next moment [`Mirror::poll_timeout`].
//! What it is not    the rules of a lane (`lane`), of connections (`link`) or of the tail (`tail`).
//! Invariants        1. after each input every lane that it touches is driven until it waits for
//!                   something. 2. outputs are bounded by lanes and connections.
//! Reading order     [`Mirror::new`], the inputs, then `drive` and `pump`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use crate::lane::Lane;
use crate::limits::KEY_LANES_MAX;
use crate::link::{Link, Purpose};
use crate::options::{Options, PartitionMapping};
use crate::output::{ConnectionId, Output, SourceKey, WriteId};
use crate::progress::{LaneKey, Marks, Progress, StateKey};
use crate::random::Random;
use crate::schedule::{Gate, Schedule, Usage};
use crate::status::{Counters, LaneStatus, LinkState, MirrorStatus};
use crate::time::Now;

mod answers;
mod drive;
mod place;
mod range;
mod send;

/// A source partition to forward.
#[derive(Clone, Debug, Default)]
pub struct SourceStart {
    /// Name of its topic.
    pub topic: String,
    /// Partitions of its topic, for a target that must be created.
    pub partitions: i32,
    /// First offset still there.
    pub log_start_offset: i64,
    /// Committed end, exclusive.
    pub high_watermark: i64,
    /// Leader epoch under which this node leads.
    pub leader_epoch: i32,
    /// Lower goes first.
    pub priority: u8,
    /// Its lanes as they were written down.
    pub progress: BTreeMap<i32, Progress>,
    /// Marks of its lanes as they were written down.
    pub marks: BTreeMap<i32, Marks>,
}

/// The state machine; see the module.
#[derive(Debug)]
pub struct Mirror {
    options: Options,
    random: Random,
    link: Link,
    lanes: BTreeMap<LaneKey, Lane>,
    /// Sources whose number of lanes is not known yet.
    unplaced: BTreeMap<SourceKey, SourceStart>,
    due: BTreeSet<LaneKey>,
    /// Lanes with a batch to send, in the order of priority.
    ready: BTreeSet<(u8, LaneKey)>,
    /// Reads that are under way.
    reads: usize,
    /// Lanes that would read and wait for memory.
    crowded: BTreeSet<LaneKey>,
    outputs: VecDeque<Output>,
    schedule: Schedule,
    /// Bytes sent and received that the month has.
    counted_bytes: u64,
    counters: Counters,
    next_write: u64,
    is_paused: bool,
    /// Counts sends, for the turn of the lowest priority.
    turns: u32,
    /// The lane that sent last, for fairness between equals.
    last_sent: Option<LaneKey>,
    /// What was added to the wall clock when it was set, ms.
    clock_shift_ms: i64,
    progressed_at: Duration,
    last_now: Now,
    /// Everything due up to here was looked at.
    last_timeout: Duration,
}

impl Mirror {
    /// A mirror without sources, with what it had used of its month. `seed` is for jitter.
    #[must_use]
    pub fn new(now: &Now, options: Options, usage: Usage, seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            link: Link::new(
                options.bootstrap.clone(),
                options.create_topics,
                options.login.clone(),
            ),
            schedule: Schedule::new(&options, usage),
            counted_bytes: 0,
            options,
            lanes: BTreeMap::new(),
            unplaced: BTreeMap::new(),
            due: BTreeSet::new(),
            ready: BTreeSet::new(),
            reads: 0,
            crowded: BTreeSet::new(),
            outputs: VecDeque::new(),
            counters: Counters::default(),
            next_write: 0,
            is_paused: false,
            turns: 0,
            last_sent: None,
            clock_shift_ms: 0,
            progressed_at: now.monotonic,
            last_now: *now,
            last_timeout: Duration::ZERO,
        }
    }

    /// Whether there is room for the lanes of another source partition.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.lanes.len() + self.unplaced.len() < self.options.lanes_max
    }

    /// A source partition is led by this node and belongs to this mirror. To be given only while
    /// [`Mirror::has_room`].
    pub fn handle_source(&mut self, now: &Now, key: SourceKey, start: SourceStart) {
        let target = self
            .options
            .target
            .of(self.options.site.name(), &start.topic);
        self.link.metadata.want(&target, start.partitions);
        let known = start.progress.values().map(|progress| progress.lanes).max();
        match (self.options.mapping, known) {
            (PartitionMapping::Sticky | PartitionMapping::Preserve, _) => {
                self.add_lanes(now, key, &start, 1);
            }
            (PartitionMapping::Key, Some(lanes)) => self.add_lanes(now, key, &start, lanes),
            (PartitionMapping::Key, None) => {
                self.unplaced.insert(key, start);
            }
        }
        self.drive(now);
    }

    fn add_lanes(&mut self, now: &Now, source: SourceKey, start: &SourceStart, lanes: i32) {
        let target = self
            .options
            .target
            .of(self.options.site.name(), &start.topic);
        for number in 0..lanes.clamp(1, KEY_LANES_MAX) {
            let key = LaneKey {
                source,
                lane: number,
            };
            let known = start.progress.get(&number).cloned();
            let mut progress =
                known.unwrap_or_else(|| Progress::starting_at(start.log_start_offset));
            progress.lanes = lanes;
            progress.leader_epoch = start.leader_epoch;
            let mut lane = Lane::new(key, &start.topic, target.clone(), progress);
            lane.priority = start.priority;
            lane.own_offset = start.high_watermark;
            lane.marks = start.marks.get(&number).cloned().unwrap_or_default();
            lane.marks.begin(now, start.leader_epoch);
            lane.handle_source(
                now,
                start.log_start_offset,
                start.high_watermark,
                self.options.linger,
            );
            self.lanes.insert(key, lane);
            self.due.insert(key);
        }
    }

    /// A source partition has grown or lost its beginning.
    pub fn handle_source_moved(
        &mut self,
        now: &Now,
        key: SourceKey,
        log_start_offset: i64,
        high_watermark: i64,
    ) {
        if let Some(start) = self.unplaced.get_mut(&key) {
            start.log_start_offset = log_start_offset;
            start.high_watermark = high_watermark;
        }
        let linger = self.options.linger;
        for (key, lane) in self.lanes.range_mut(lanes_of(key)) {
            lane.handle_source(now, log_start_offset, high_watermark, linger);
            self.due.insert(*key);
        }
        self.drive(now);
    }

    /// A source partition is gone, or led elsewhere.
    pub fn handle_source_removed(&mut self, now: &Now, key: SourceKey) {
        self.unplaced.remove(&key);
        let gone: Vec<LaneKey> = self
            .lanes
            .range(lanes_of(key))
            .map(|(key, _)| *key)
            .collect();
        for lane in gone {
            self.lanes.remove(&lane);
            self.due.remove(&lane);
            self.crowded.remove(&lane);
            self.ready.retain(|(_, ready)| *ready != lane);
        }
        self.drive(now);
    }

    /// A connection is open.
    pub fn handle_connected(&mut self, now: &Now, connection: ConnectionId) {
        self.link.handle_connected(now, connection);
        self.drive(now);
    }

    /// A connection could not be opened, or is gone.
    pub fn handle_closed(&mut self, now: &Now, connection: ConnectionId, reason: &str) {
        let lost = self
            .link
            .handle_closed(now, &mut self.random, connection, reason);
        self.handle_lost(lost);
        self.drive(now);
    }

    /// Bytes went over the link beyond those of frames: TLS's own.
    pub fn handle_overhead(&mut self, now: &Now, sent: u64, received: u64) {
        self.link.sent_bytes = self.link.sent_bytes.saturating_add(sent);
        self.link.received_bytes = self.link.received_bytes.saturating_add(received);
        self.drive(now);
    }

    /// Bytes went over the connections of the downlink: they count for the month and the rate.
    pub fn handle_downlink(&mut self, now: &Now, sent: u64, received: u64) {
        self.schedule.spend(now, sent.saturating_add(received));
        self.handle_overhead(now, sent, received);
    }

    /// Until when the link may not be used, if it may not: rate, month and windows.
    #[must_use]
    pub fn closed_until(&self, now: &Now) -> Option<Duration> {
        match self.schedule.gate(now) {
            Gate::Open => None,
            Gate::ClosedUntil(until) => Some(until),
        }
    }

    /// A frame came, without its length prefix.
    pub fn handle_frame(&mut self, now: &Now, connection: ConnectionId, frame: Vec<u8>) {
        let answer = self
            .link
            .handle_frame(now, &mut self.random, connection, frame);
        let handled = match answer {
            Ok(Some(answer)) => self.handle_answer(now, &answer),
            Ok(None) => {
                self.due.extend(self.lanes.keys().copied());
                Ok(())
            }
            Err(reason) => Err(reason),
        };
        if let Err(reason) = handled {
            let lost = self.link.close(now, &mut self.random, connection, &reason);
            self.handle_lost(lost);
        }
        self.drive(now);
    }

    /// A read ended: whole batches, the first of which holds the offset that was asked for, or
    /// why there are none.
    pub fn handle_read(&mut self, now: &Now, lane: LaneKey, result: Result<Vec<Bytes>, String>) {
        self.take_read(now, lane, result);
        self.drive(now);
    }

    /// A write ended.
    pub fn handle_written(&mut self, now: &Now, lane: Option<LaneKey>, is_durable: bool) {
        if lane.is_none() && !is_durable {
            self.schedule.handle_not_written();
        }
        if let Some(key) = lane
            && let Some(lane) = self.lanes.get_mut(&key)
        {
            lane.handle_written(now, is_durable);
            self.due.insert(key);
        }
        self.drive(now);
    }

    /// A record was put into the dead-letter topic, or could not be.
    pub fn handle_dead_letter(&mut self, now: &Now, key: LaneKey, is_durable: bool) {
        if let Some(lane) = self.lanes.get_mut(&key) {
            lane.handle_dead_letter(now, is_durable);
            self.due.insert(key);
        }
        self.drive(now);
    }

    /// The operator stops the mirror or lets it go on.
    pub fn handle_paused(&mut self, now: &Now, is_paused: bool) {
        if self.is_paused == is_paused {
            return;
        }
        self.is_paused = is_paused;
        if is_paused {
            self.close_all(now, "paused");
        }
        self.progressed_at = now.monotonic;
        self.due.extend(self.lanes.keys().copied());
        self.drive(now);
    }

    /// The wall clock was set: what it said before, in this process, is wrong by this much.
    pub fn handle_clock_set(&mut self, shift_ms: i64) {
        self.clock_shift_ms = shift_ms;
    }

    /// Time has come for something.
    pub fn handle_timeout(&mut self, now: &Now) {
        for id in self.link.overdue(now) {
            let lost = self
                .link
                .close(now, &mut self.random, id, "no answer in time");
            self.handle_lost(lost);
        }
        if self.is_stalled(now) {
            self.counters.watchdog_resets += 1;
            self.close_all(now, "no progress for too long");
            self.progressed_at = now.monotonic;
        }
        self.last_timeout = now.monotonic;
        self.due.extend(self.lanes.keys().copied());
        self.drive(now);
    }

    /// What is to be done outside; ask until there is nothing.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs
            .pop_front()
            .or_else(|| self.link.outputs.pop_front())
    }

    /// When [`Mirror::handle_timeout`] is due, in monotonic time.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        if self.is_paused {
            return None;
        }
        let lanes = self.lanes.values();
        let keep = self.options.keep;
        let lanes = lanes
            .filter_map(|lane| lane.poll_timeout(self.last_timeout, keep))
            .min();
        let is_wanted = self.is_wanted();
        let link = self.link.poll_timeout(is_wanted, self.last_timeout);
        let gate = match self.schedule.gate(&self.last_now) {
            Gate::ClosedUntil(until) if is_wanted => Some(until),
            Gate::ClosedUntil(_) | Gate::Open => None,
        };
        let watchdog = is_wanted.then(|| self.progressed_at + self.options.watchdog);
        let usage = self.schedule.poll_timeout();
        let all = [lanes, link, gate, watchdog, usage].into_iter().flatten();
        all.filter(|at| *at > self.last_timeout).min()
    }

    /// First offset of a source partition that may not be removed; `None` if it is not forwarded.
    #[must_use]
    pub fn hold_from(&self, key: SourceKey) -> Option<i64> {
        self.first_held(key, Lane::hold_from)
    }

    /// First offset of a source partition that retention must leave: it was mirrored too recently,
    /// or not at all; `None` if it is not forwarded.
    #[must_use]
    pub fn keep_from(&self, now: &Now, key: SourceKey) -> Option<i64> {
        self.first_held(key, |lane| lane.keep_from(now, self.options.keep))
    }

    fn first_held(&self, key: SourceKey, of_lane: impl Fn(&Lane) -> i64) -> Option<i64> {
        if let Some(start) = self.unplaced.get(&key) {
            return Some(start.log_start_offset);
        }
        let lanes = self.lanes.range(lanes_of(key));
        lanes.map(|(_, lane)| of_lane(lane)).min()
    }

    /// First offset of a source partition that is there and that the centre does not have; `None`
    /// if it has everything, or the partition is not forwarded.
    #[must_use]
    pub fn waits_from(&self, key: SourceKey) -> Option<i64> {
        if let Some(start) = self.unplaced.get(&key) {
            return Some(start.log_start_offset);
        }
        let lanes = self.lanes.range(lanes_of(key)).map(|(_, lane)| lane);
        let behind = lanes.filter(|lane| lane.waits_from() < lane.high_watermark);
        behind.map(Lane::waits_from).min()
    }

    /// Whether the operator has stopped it.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// Bytes of batches that are kept until they are acknowledged.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        self.lanes.values().map(Lane::kept_bytes).sum()
    }

    /// Everything that an operator may want to know.
    #[must_use]
    pub fn status(&self) -> MirrorStatus {
        let mut counters = self.counters;
        counters.sent_bytes = self.link.sent_bytes;
        counters.received_bytes = self.link.received_bytes;
        counters.connects = self.link.connects;
        MirrorStatus {
            name: self.options.name.clone(),
            link: self.link_state(),
            link_fault: self.link.last_fault.clone(),
            counters,
            month_bytes: self.schedule.usage().bytes,
            lanes: self.lanes.values().map(lane_status).collect(),
        }
    }

    fn link_state(&self) -> LinkState {
        if self.is_paused {
            return LinkState::Paused;
        }
        let is_closed = matches!(self.schedule.gate(&self.last_now), Gate::ClosedUntil(_))
            && self.options.rate_bytes_per_second.is_none();
        match self.is_wanted() {
            true if is_closed => LinkState::Waiting,
            _ if self.link.is_up() => LinkState::Up,
            _ if self.link.is_failing() => LinkState::Down,
            true => LinkState::Connecting,
            false => LinkState::Idle,
        }
    }

    /// Whether anything is to be sent or found out.
    fn is_wanted(&self) -> bool {
        !self.is_paused
            && (self.lanes.values().any(Lane::wants_link)
                || self
                    .unplaced
                    .values()
                    .any(|one| one.high_watermark > one.log_start_offset))
    }

    /// Whether the link should move and does not.
    fn is_stalled(&self, now: &Now) -> bool {
        let is_open = self.schedule.gate(now) == Gate::Open;
        is_open
            && self.link.is_up()
            && self.lanes.values().any(Lane::is_lagging)
            && now.monotonic >= self.progressed_at + self.options.watchdog
    }

    fn close_all(&mut self, now: &Now, reason: &str) {
        for id in self.link.ids() {
            let lost = self.link.close(now, &mut self.random, id, reason);
            self.handle_lost(lost);
        }
    }

    /// Requests that will not be answered.
    fn handle_lost(&mut self, lost: Vec<Purpose>) {
        for lane in self.lanes.values_mut() {
            // While nobody was connected the centre may have forgotten the producer.
            lane.is_proven = false;
        }
        for purpose in lost {
            match purpose {
                Purpose::Produce(batches) => {
                    for (key, first_offset) in batches {
                        if let Some(lane) = self.lanes.get_mut(&key) {
                            lane.handle_lost(first_offset);
                        }
                        self.counters.retries += 1;
                    }
                }
                Purpose::ProducerId(key) => {
                    if let Some(lane) = self.lanes.get_mut(&key) {
                        lane.is_asking = false;
                    }
                }
                Purpose::Describe(key) | Purpose::ListOffsets(key) | Purpose::TailFetch(key) => {
                    if let Some(lane) = self.lanes.get_mut(&key) {
                        lane.enter_placing();
                    }
                }
                Purpose::Versions(_)
                | Purpose::Handshake
                | Purpose::Token
                | Purpose::Metadata
                | Purpose::CreateTopics
                | Purpose::Downlink(_) => {}
            }
        }
        self.due.extend(self.lanes.keys().copied());
    }

    /// Counts what went over the link since the last call, and writes the count down when due.
    pub(super) fn settle_usage(&mut self, now: &Now) {
        let bytes = self
            .link
            .sent_bytes
            .saturating_add(self.link.received_bytes);
        let new = bytes.saturating_sub(self.counted_bytes);
        if new > 0 {
            self.counted_bytes = bytes;
            self.schedule.count(now, new);
        }
        if let Some(usage) = self.schedule.poll_write(now) {
            let key = StateKey::Usage(self.options.name.clone(), self.options.shard);
            self.write(None, &key, usage.encode());
        }
    }

    fn write(&mut self, lane: Option<LaneKey>, key: &StateKey, value: Vec<u8>) {
        let write = WriteId(self.next_write);
        self.next_write += 1;
        self.outputs.push_back(Output::Write {
            lane,
            write,
            key: key.encode(),
            value,
        });
    }
}

/// All lanes of a source partition.
fn lanes_of(source: SourceKey) -> std::ops::RangeInclusive<LaneKey> {
    let key = |lane| LaneKey { source, lane };
    key(i32::MIN)..=key(i32::MAX)
}

fn lane_status(lane: &Lane) -> LaneStatus {
    let progress = &lane.progress;
    LaneStatus {
        key: lane.key,
        topic: lane.topic.clone(),
        target_topic: lane.target_topic.clone(),
        target_partition: progress.target.as_ref().map(|target| target.partition),
        cursor: progress.cursor,
        waits_from: lane.waits_from(),
        high_watermark: lane.high_watermark,
        lagging_since_ms: lane.lagging_since_ms,
        oldest_timestamp_ms: lane.first_timestamp,
        last_success_ms: lane.last_success_ms,
        mirrored_records: progress.mirrored_records,
        missing_records: progress.missing_records.saturating_add(lane.unannounced()),
        gaps: progress.gaps,
        dead_letters: progress.dead_letters,
        possible_duplicates: progress.possible_duplicates,
        fault: lane.last_fault.clone(),
    }
}
