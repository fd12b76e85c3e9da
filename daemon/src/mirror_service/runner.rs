//! One mirror at work on one shard: what `mirror::Mirror` asks for is done here.
//!
//! Invariants        1. after each input the outputs are drained, by one loop at a time. 2. nothing
//!                   is borrowed across an await.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kafka_lite::catalog::MIRROR_TOPIC;
use mirror::{
    Address, ConnectionId, DEAD_LETTER_SUFFIX, LaneKey, Mirror, Now, Output, SourceKey, SourceStart,
};
use rustls::ClientConfig;
use storage::disk::Clock;
use tracing::{info, warn};

use super::MirrorReport;
use super::connection::{self, Host, Link};
use crate::config::mirror::MirrorConfig;
use crate::controller::{self, Committed};
use crate::limits::{MIRROR_WATCH_PAUSE, WALL_CLOCK_PLAUSIBLE_MS};
use crate::partition::{AppendObserver, AppendRequest, Partition, ReadSignal};
use crate::shard::Shard;
use crate::shard::memory_budget::Reservation;
use crate::shard::notify::Notify;

/// Produce version that dead letters count as.
const OWN_API_VERSION: i16 = 9;

/// One mirror of this shard.
pub(crate) struct Runner {
    shard: Rc<Shard>,
    config: MirrorConfig,
    tls: Option<Arc<ClientConfig>>,
    mirror: RefCell<Mirror>,
    links: RefCell<BTreeMap<ConnectionId, Rc<Link>>>,
    sources: RefCell<BTreeMap<SourceKey, Rc<Partition>>>,
    is_draining: Cell<bool>,
    /// At the last input: whether the wall clock was set, and its distance to the monotonic one.
    clock: Cell<Option<(bool, i64)>>,
    /// It was said that there is no room for more partitions.
    is_full: Cell<bool>,
    timer_changed: Notify,
}

impl Runner {
    pub(super) fn new(
        shard: &Rc<Shard>,
        config: MirrorConfig,
        mirror: Mirror,
        tls: Option<Arc<ClientConfig>>,
    ) -> Rc<Self> {
        Rc::new(Self {
            shard: Rc::clone(shard),
            config,
            tls,
            mirror: RefCell::new(mirror),
            links: RefCell::default(),
            sources: RefCell::default(),
            is_draining: Cell::new(false),
            clock: Cell::default(),
            is_full: Cell::new(false),
            timer_changed: Notify::default(),
        })
    }

    pub(super) fn config(&self) -> &MirrorConfig {
        &self.config
    }

    pub(super) fn report(&self) -> MirrorReport {
        let mirror = self.mirror.borrow();
        MirrorReport {
            status: mirror.status(),
            kept_bytes: u64::try_from(mirror.kept_bytes()).unwrap_or(u64::MAX),
            lag_bytes: self.lag_bytes(&mirror),
        }
    }

    fn lag_bytes(&self, mirror: &Mirror) -> u64 {
        let sources = self.sources.borrow();
        let of_source = |(key, partition): (&SourceKey, &Rc<Partition>)| {
            let from = mirror.waits_from(*key)?;
            let end = partition.high_watermark();
            Some(partition.log().segments().bytes_from(from, end))
        };
        sources.iter().filter_map(of_source).sum()
    }

    pub(super) fn hold_from(&self, key: SourceKey) -> Option<i64> {
        self.mirror.borrow().hold_from(key)
    }

    pub(super) fn keep_from(&self, key: SourceKey) -> Option<i64> {
        self.mirror.borrow().keep_from(&now(&self.shard), key)
    }

    /// Until when the link may not be used, if it may not.
    pub(super) fn gate(&self, now: &Now) -> Option<Duration> {
        self.mirror.borrow().closed_until(now)
    }

    /// Gives the mirror an input and does what follows.
    pub(super) fn input(self: &Rc<Self>, input: impl FnOnce(&mut Mirror, &Now)) {
        let now = now(&self.shard);
        self.follow_clock(&now);
        input(&mut self.mirror.borrow_mut(), &now);
        if self.is_draining.replace(true) {
            return;
        }
        loop {
            let output = self.mirror.borrow_mut().poll_output();
            let Some(output) = output else { break };
            self.carry_out(output);
        }
        self.is_draining.set(false);
        self.timer_changed.notify();
    }

    /// Tells the mirror when the wall clock is set for the first time, and by how much.
    fn follow_clock(&self, now: &Now) {
        let monotonic_ms = i64::try_from(now.monotonic.as_millis()).unwrap_or(i64::MAX);
        let offset_ms = now.wall_ms.saturating_sub(monotonic_ms);
        let before = self.clock.replace(Some((now.is_synchronised, offset_ms)));
        if let Some((false, unset_offset_ms)) = before
            && now.is_synchronised
        {
            let shift_ms = offset_ms.saturating_sub(unset_offset_ms);
            info!(mirror = %self.config.name, shift_ms, "the wall clock was set");
            self.mirror.borrow_mut().handle_clock_set(shift_ms);
        }
    }

    fn carry_out(self: &Rc<Self>, output: Output) {
        match output {
            Output::Connect {
                connection,
                address,
            } => self.connect(connection, address),
            Output::Send { connection, frame } => {
                if let Some(link) = self.links.borrow().get(&connection) {
                    link.send(frame);
                }
            }
            Output::Close { connection, reason } => {
                warn!(mirror = %self.config.name, reason, "a connection to the centre is closed");
                let link = self.links.borrow_mut().remove(&connection);
                if let Some(link) = link {
                    link.close();
                }
            }
            Output::Read {
                lane,
                first_offset,
                end_offset,
                bytes_max,
            } => self.read(lane, (first_offset, end_offset), bytes_max),
            Output::Write {
                lane, key, value, ..
            } => self.write(lane, key, value),
            Output::Note { key, value } => {
                let shard = Rc::clone(&self.shard);
                drop(monoio::spawn(async move {
                    write_state(&shard, key, value).await;
                }));
            }
            Output::DeadLetter { lane, topic, batch } => {
                drop(monoio::spawn(
                    Rc::clone(self).dead_letter(lane, topic, batch),
                ));
            }
        }
    }

    fn connect(self: &Rc<Self>, id: ConnectionId, address: Address) {
        let link = Rc::new(Link::default());
        self.links.borrow_mut().insert(id, Rc::clone(&link));
        let running = connection::run(Rc::clone(self), link, id, address);
        drop(monoio::spawn(running));
    }

    fn read(self: &Rc<Self>, lane: LaneKey, (first, end): (i64, i64), bytes_max: usize) {
        let runner = Rc::clone(self);
        let partition = self.sources.borrow().get(&lane.source).cloned();
        // What is read, and what is built of it.
        let bytes = bytes_max.min(mirror::limits::READ_BYTES_MAX) + self.config.batch_bytes;
        drop(monoio::spawn(async move {
            let budget = &runner.shard.budgets().mirror_reads;
            let reserved = budget
                .reserve(u64::try_from(bytes).unwrap_or(u64::MAX))
                .await;
            let result = match partition {
                None => Err("the partition is gone".to_owned()),
                Some(partition) if first >= end => {
                    // What was asked for has been removed meanwhile.
                    drop(partition);
                    Ok(Vec::new())
                }
                Some(partition) => {
                    let read = partition.log().read(first, end, bytes_max, true).await;
                    read.map_err(|error| error.to_string())
                }
            };
            runner.input(|mirror, now| mirror.handle_read(now, lane, result));
            drop(reserved);
        }));
    }

    fn write(self: &Rc<Self>, lane: Option<LaneKey>, key: Vec<u8>, value: Vec<u8>) {
        let runner = Rc::clone(self);
        drop(monoio::spawn(async move {
            let is_durable = write_state(&runner.shard, key, value).await;
            runner.input(|mirror, now| mirror.handle_written(now, lane, is_durable));
        }));
    }

    async fn dead_letter(self: Rc<Self>, lane: LaneKey, topic: String, batch: Bytes) {
        let name = format!("{topic}{DEAD_LETTER_SUFFIX}");
        let is_durable = append_to(&self.shard, name.clone(), batch).await;
        if is_durable {
            warn!(mirror = %self.config.name, topic = name, "the centre refused a record; it is kept here");
        }
        self.input(|mirror, now| mirror.handle_dead_letter(now, lane, is_durable));
    }

    /// Runs the timers for ever; sleeps while there are none.
    pub(super) async fn run_timers(self: Rc<Self>) {
        loop {
            let due = self.mirror.borrow().poll_timeout();
            let present = self.shard.clock().now();
            match due {
                None => self.timer_changed.wait().await,
                Some(due) if due > present => {
                    monoio::select! {
                        () = monoio::time::sleep(due - present) => {}
                        () = self.timer_changed.wait() => {}
                    }
                }
                Some(_) => self.input(Mirror::handle_timeout),
            }
        }
    }

    /// Whether another partition can be forwarded; says so once when not.
    pub(super) fn has_room(&self) -> bool {
        let has_room = self.mirror.borrow().has_room();
        if !has_room && !self.is_full.replace(true) {
            warn!(
                mirror = %self.config.name,
                "the memory of the mirror is used up: further partitions are not forwarded"
            );
        }
        has_room
    }

    /// Whether the partition is forwarded already.
    pub(super) fn has_source(&self, key: SourceKey) -> bool {
        self.sources.borrow().contains_key(&key)
    }

    /// Forwards a partition from now on.
    pub(super) fn add_source(
        self: &Rc<Self>,
        key: SourceKey,
        partition: &Rc<Partition>,
        start: SourceStart,
    ) {
        info!(mirror = %self.config.name, ?partition, "forwarded to the centre");
        self.sources.borrow_mut().insert(key, Rc::clone(partition));
        self.input(|mirror, now| mirror.handle_source(now, key, start));
        drop(monoio::spawn(
            Rc::clone(self).watch(key, Rc::clone(partition)),
        ));
    }

    /// Tells the mirror how the partition grows, until it is gone.
    async fn watch(self: Rc<Self>, key: SourceKey, partition: Rc<Partition>) {
        let mut seen = (0, 0);
        while !partition.is_deleted() {
            let signal = ReadSignal::new();
            partition.watch(&signal);
            let ends = (
                partition.log().log_start_offset(),
                partition.high_watermark(),
            );
            if ends != seen {
                seen = ends;
                let (start, end) = ends;
                self.input(|mirror, now| mirror.handle_source_moved(now, key, start, end));
            }
            signal.raised().await;
            // Many commits are one input.
            monoio::time::sleep(MIRROR_WATCH_PAUSE).await;
        }
        self.sources.borrow_mut().remove(&key);
        self.input(|mirror, now| mirror.handle_source_removed(now, key));
    }
}

impl Host for Runner {
    fn shard(&self) -> &Rc<Shard> {
        &self.shard
    }

    fn config(&self) -> &MirrorConfig {
        &self.config
    }

    fn tls(&self) -> Option<Arc<ClientConfig>> {
        self.tls.clone()
    }

    fn handle_connected(self: &Rc<Self>, id: ConnectionId) {
        self.input(|mirror, now| mirror.handle_connected(now, id));
    }

    fn handle_closed(self: &Rc<Self>, id: ConnectionId, reason: &str) {
        self.input(|mirror, now| mirror.handle_closed(now, id, reason));
    }

    fn handle_frame(
        self: &Rc<Self>,
        id: ConnectionId,
        frame: Vec<u8>,
        reserved: Option<Reservation>,
    ) {
        self.input(|mirror, now| mirror.handle_frame(now, id, frame));
        drop(reserved);
    }

    fn handle_overhead(self: &Rc<Self>, sent: u64, received: u64) {
        self.input(|mirror, now| mirror.handle_overhead(now, sent, received));
    }

    fn forget(&self, id: ConnectionId) {
        self.links.borrow_mut().remove(&id);
    }
}

/// The clocks of a shard.
pub(super) fn now(shard: &Shard) -> Now {
    let wall_ms = shard.wall_clock_ms();
    Now {
        monotonic: shard.clock().now(),
        wall_ms,
        is_synchronised: wall_ms >= WALL_CLOCK_PLAUSIBLE_MS,
    }
}

/// Makes a state record durable on the shard that owns the state partition.
pub(super) async fn write_state(shard: &Rc<Shard>, key: Vec<u8>, value: Vec<u8>) -> bool {
    let catalog = shard.catalog();
    let owner = catalog
        .topic(MIRROR_TOPIC)
        .and_then(|topic| controller::place(shard, topic, 0));
    let Some(owner) = owner else {
        return false;
    };
    shard
        .call_with(owner, move |there, answer| {
            let there = Rc::clone(there);
            drop(monoio::spawn(async move {
                let state = there.state().mirror_state();
                let is_durable = state.write(&there, key, value).await;
                answer.send(&there, is_durable);
            }));
        })
        .await
}

/// Appends a batch to the first partition of a dead-letter topic, which is created if it is
/// missing: one that takes what others refuse for its size.
pub(super) async fn append_to(shard: &Rc<Shard>, name: String, batch: Bytes) -> bool {
    let message_bytes = usize::try_from(i32::MAX).unwrap_or(usize::MAX);
    let made = controller::ensure_partitions(shard, name.clone(), 1, message_bytes);
    if made.await.is_err() {
        return false;
    }
    let catalog = shard.catalog();
    let place = catalog.topic(&name).and_then(|topic| {
        let owner = controller::place(shard, topic, 0)?;
        Some((kafka_lite::primitive::Uuid(topic.topic_id), owner))
    });
    let Some((topic_id, owner)) = place else {
        return false;
    };
    shard
        .call_with(owner, move |there, answer| {
            let there = Rc::clone(there);
            let Some(partition) = there.state().partitions().get(topic_id, 0) else {
                return answer.send(&there, false);
            };
            drop(monoio::spawn(async move {
                let committed = Rc::new(Committed::default());
                let request = AppendRequest {
                    batch,
                    api_version: OWN_API_VERSION,
                    now_ms: there.wall_clock_ms(),
                };
                let observer = Rc::clone(&committed) as Rc<dyn AppendObserver>;
                partition.append(request, observer, 0);
                let is_durable = committed.wait().await.is_ok();
                answer.send(&there, is_durable);
            }));
        })
        .await
}
