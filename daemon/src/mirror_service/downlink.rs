//! The downlink of one mirror at work on one shard: what `mirror::Downlink` asks for is done here.
//!
//! Invariants        1. after each input the outputs are drained, by one loop at a time. 2. nothing
//!                   is borrowed across an await. 3. the memory of an answer stays reserved until
//!                   its records are appended.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use kafka_lite::error_code::ErrorCode;
use mirror::downlink::{DownlinkStatus, InletStart, LocalRead};
use mirror::{
    ConnectionId, Cursor, DEAD_LETTER_SUFFIX, Downlink, DownlinkOutput, Now, Output, SourceKey,
    StateKey,
};
use rustls::ClientConfig;
use storage::disk::Clock;
use tracing::{info, warn};

use super::connection::{self, Host, Link};
use super::runner::{Runner, append_to, now, write_state};
use super::source_key;
use crate::config::mirror::MirrorConfig;
use crate::controller::{self, Committed};
use crate::limits::MIRROR_STATE_READ_BYTES;
use crate::partition::{AppendObserver, AppendRequest, Partition};
use crate::shard::Shard;
use crate::shard::memory_budget::Reservation;
use crate::shard::notify::Notify;

/// Produce version that appended batches count as.
const OWN_API_VERSION: i16 = 9;

/// The downlink of one mirror of this shard.
pub(crate) struct DownlinkRunner {
    /// The way up: the link's bytes, its windows and whether it is paused are counted there.
    uplink: Rc<Runner>,
    downlink: RefCell<Downlink>,
    links: RefCell<BTreeMap<ConnectionId, Rc<Link>>>,
    partitions: RefCell<BTreeMap<SourceKey, Rc<Partition>>>,
    /// Memory of answers whose records are not appended yet.
    reserved: RefCell<Vec<Reservation>>,
    /// Bytes of the link that the way up has counted.
    counted: Cell<(u64, u64)>,
    is_draining: Cell<bool>,
    /// It was said that there is no room for more partitions.
    is_full: Cell<bool>,
    timer_changed: Notify,
}

impl DownlinkRunner {
    pub(super) fn new(uplink: &Rc<Runner>, downlink: Downlink) -> Rc<Self> {
        Rc::new(Self {
            uplink: Rc::clone(uplink),
            downlink: RefCell::new(downlink),
            links: RefCell::default(),
            partitions: RefCell::default(),
            reserved: RefCell::default(),
            counted: Cell::default(),
            is_draining: Cell::new(false),
            is_full: Cell::new(false),
            timer_changed: Notify::default(),
        })
    }

    pub(super) fn status(&self) -> DownlinkStatus {
        self.downlink.borrow().status()
    }

    pub(super) fn kept_bytes(&self) -> usize {
        self.downlink.borrow().kept_bytes()
    }

    /// Whether it brings something into a local topic of this name.
    pub(super) fn centre_of(&self, local: &str) -> Option<String> {
        let downlink = self.downlink.borrow();
        downlink.centre_of(local).map(str::to_owned)
    }

    /// First local offset that must stay; `None` if nothing is brought into the partition.
    pub(super) fn hold_from(&self, key: SourceKey) -> Option<i64> {
        self.downlink.borrow().hold_from(key)
    }

    /// Gives the downlink an input and does what follows.
    pub(super) fn input(self: &Rc<Self>, input: impl FnOnce(&mut Downlink, &Now)) {
        let now = now(self.shard());
        let gate = self.uplink.gate(&now);
        self.downlink.borrow_mut().set_gate(gate);
        input(&mut self.downlink.borrow_mut(), &now);
        if self.is_draining.replace(true) {
            return;
        }
        loop {
            let output = self.downlink.borrow_mut().poll_output();
            let Some(output) = output else { break };
            self.carry_out(output);
        }
        self.is_draining.set(false);
        if self.kept_bytes() == 0 {
            self.reserved.borrow_mut().clear();
        }
        self.count_bytes();
        self.timer_changed.notify();
    }

    /// Tells the way up what went over the link.
    fn count_bytes(&self) {
        let bytes = self.downlink.borrow().link_bytes();
        let before = self.counted.replace(bytes);
        if bytes != before {
            let (sent, received) = (bytes.0 - before.0, bytes.1 - before.1);
            self.uplink
                .input(|mirror, now| mirror.handle_downlink(now, sent, received));
        }
    }

    fn carry_out(self: &Rc<Self>, output: DownlinkOutput) {
        match output {
            DownlinkOutput::Link(output) => self.carry_out_link(output),
            DownlinkOutput::CreateTopic { topic, partitions } => {
                drop(monoio::spawn(Rc::clone(self).create(topic, partitions)));
            }
            DownlinkOutput::Read { lane, first_offset } => {
                drop(monoio::spawn(Rc::clone(self).read(lane, first_offset)));
            }
            DownlinkOutput::Append { lane, batch } => {
                drop(monoio::spawn(Rc::clone(self).append(lane, batch)));
            }
            DownlinkOutput::DeadLetter { lane, topic, batch } => {
                drop(monoio::spawn(
                    Rc::clone(self).dead_letter(lane, topic, batch),
                ));
            }
            DownlinkOutput::Write { lane, key, value } => {
                drop(monoio::spawn(Rc::clone(self).write(lane, key, value)));
            }
        }
    }

    fn carry_out_link(self: &Rc<Self>, output: Output) {
        match output {
            Output::Connect {
                connection: id,
                address,
            } => {
                let link = Rc::new(Link::default());
                self.links.borrow_mut().insert(id, Rc::clone(&link));
                let running = connection::run(Rc::clone(self), link, id, address);
                drop(monoio::spawn(running));
            }
            Output::Send { connection, frame } => {
                if let Some(link) = self.links.borrow().get(&connection) {
                    link.send(frame);
                }
            }
            Output::Close { connection, reason } => {
                let mirror = &self.config().name;
                warn!(%mirror, reason, "a connection of the downlink is closed");
                let link = self.links.borrow_mut().remove(&connection);
                if let Some(link) = link {
                    link.close();
                }
            }
            Output::Read { .. }
            | Output::Write { .. }
            | Output::Note { .. }
            | Output::DeadLetter { .. } => {}
        }
    }

    fn partition(&self, lane: SourceKey) -> Option<Rc<Partition>> {
        self.partitions.borrow().get(&lane).cloned()
    }

    async fn create(self: Rc<Self>, topic: String, partitions: i32) {
        let message_bytes = mirror::limits::RESPONSE_BYTES_MAX;
        let made =
            controller::ensure_partitions(self.shard(), topic.clone(), partitions, message_bytes);
        let made = made.await;
        if let Err(code) = &made {
            let error = code.name();
            warn!(mirror = %self.config().name, topic, error, "a topic of the downlink cannot be made");
        }
        self.input(|downlink, now| downlink.handle_created(now, &topic, made));
    }

    async fn read(self: Rc<Self>, lane: SourceKey, first_offset: i64) {
        let result = match self.partition(lane) {
            None => Err("the partition is gone".to_owned()),
            Some(partition) => read_committed(&partition, first_offset).await,
        };
        self.input(|downlink, now| downlink.handle_read(now, lane, result));
    }

    async fn append(self: Rc<Self>, lane: SourceKey, batch: Bytes) {
        let result = match self.partition(lane) {
            None => Err(ErrorCode::UnknownTopicOrPartition),
            Some(partition) => append_to_log(self.shard(), &partition, batch).await,
        };
        self.input(|downlink, now| downlink.handle_appended(now, lane, result));
    }

    async fn dead_letter(self: Rc<Self>, lane: SourceKey, topic: String, batch: Bytes) {
        let name = format!("{topic}{DEAD_LETTER_SUFFIX}");
        let is_durable = append_to(self.shard(), name.clone(), batch).await;
        if is_durable {
            let mirror = &self.config().name;
            warn!(%mirror, topic = name, "a local topic refused a record of the centre; it is kept here");
        }
        self.input(|downlink, now| downlink.handle_dead_letter(now, lane, is_durable));
    }

    async fn write(self: Rc<Self>, lane: SourceKey, key: Vec<u8>, value: Vec<u8>) {
        let is_durable = write_state(self.shard(), key.clone(), value.clone()).await;
        if is_durable
            && let Ok(StateKey::Downlink(_, topic, partition)) = StateKey::decode(&key)
            && let Ok(cursor) = Cursor::decode(&value)
        {
            let mirrors = self.shard().state().mirrors();
            mirrors.note_cursor((self.config().name.clone(), topic, partition), cursor);
        }
        self.input(|downlink, now| downlink.handle_written(now, lane, is_durable));
    }

    /// Runs the timers for ever; sleeps while there are none.
    pub(super) async fn run_timers(self: Rc<Self>) {
        loop {
            let due = self.downlink.borrow().poll_timeout();
            let present = self.shard().clock().now();
            match due {
                None => self.timer_changed.wait().await,
                Some(due) if due > present => {
                    monoio::select! {
                        () = monoio::time::sleep(due - present) => {}
                        () = self.timer_changed.wait() => {}
                    }
                }
                Some(_) => self.input(Downlink::handle_timeout),
            }
        }
    }

    /// Whether a partition is to be added.
    pub(super) fn wants(&self, key: SourceKey) -> bool {
        !self.partitions.borrow().contains_key(&key) && self.has_room()
    }

    /// Whether another partition can be served; says so once when not.
    fn has_room(&self) -> bool {
        let has_room = self.downlink.borrow().has_room();
        if !has_room && !self.is_full.replace(true) {
            warn!(
                mirror = %self.config().name,
                "the memory of the mirror is used up: nothing is brought into further partitions"
            );
        }
        has_room
    }

    /// Brings records into a partition from now on.
    pub(super) fn add_partition(
        self: &Rc<Self>,
        partition: &Rc<Partition>,
        cursor: Option<Cursor>,
    ) {
        let key = source_key(partition);
        let start = InletStart {
            topic: partition.topic().to_string(),
            log_start_offset: partition.log().log_start_offset(),
            high_watermark: partition.high_watermark(),
            leader_epoch: partition.leader_epoch(),
            cursor,
        };
        info!(mirror = %self.config().name, ?partition, "records of the centre come here");
        self.partitions
            .borrow_mut()
            .insert(key, Rc::clone(partition));
        self.input(|downlink, now| downlink.handle_partition(now, key, start));
    }

    /// Lets go of partitions that are deleted.
    pub(super) fn remove_deleted(self: &Rc<Self>) {
        let partitions = self.partitions.borrow();
        let gone = partitions.iter().filter(|(_, one)| one.is_deleted());
        let gone: Vec<SourceKey> = gone.map(|(key, _)| *key).collect();
        drop(partitions);
        for key in gone {
            self.partitions.borrow_mut().remove(&key);
            self.input(|downlink, now| downlink.handle_partition_removed(now, key));
        }
    }
}

impl Host for DownlinkRunner {
    fn shard(&self) -> &Rc<Shard> {
        self.uplink.shard()
    }

    fn config(&self) -> &MirrorConfig {
        self.uplink.config()
    }

    fn tls(&self) -> Option<Arc<ClientConfig>> {
        self.uplink.tls()
    }

    fn handle_connected(self: &Rc<Self>, id: ConnectionId) {
        self.input(|downlink, now| downlink.handle_connected(now, id));
    }

    fn handle_closed(self: &Rc<Self>, id: ConnectionId, reason: &str) {
        self.input(|downlink, now| downlink.handle_closed(now, id, reason));
    }

    fn handle_frame(
        self: &Rc<Self>,
        id: ConnectionId,
        frame: Vec<u8>,
        reserved: Option<Reservation>,
    ) {
        self.reserved.borrow_mut().extend(reserved);
        self.input(|downlink, now| downlink.handle_frame(now, id, frame));
    }

    fn handle_overhead(self: &Rc<Self>, sent: u64, received: u64) {
        self.uplink
            .input(|mirror, now| mirror.handle_downlink(now, sent, received));
    }

    fn forget(&self, id: ConnectionId) {
        self.links.borrow_mut().remove(&id);
    }
}

/// What stands committed from an offset on, a part of it.
async fn read_committed(partition: &Partition, first_offset: i64) -> Result<LocalRead, String> {
    let high_watermark = partition.high_watermark();
    let first = first_offset.max(partition.log().log_start_offset());
    if first >= high_watermark {
        return Ok(LocalRead {
            pieces: Vec::new(),
            high_watermark,
        });
    }
    let log = partition.log();
    let read = log.read(first, high_watermark, MIRROR_STATE_READ_BYTES, true);
    let pieces = read.await.map_err(|error| error.to_string())?;
    Ok(LocalRead {
        pieces,
        high_watermark,
    })
}

/// Appends a batch; returns the offset behind it.
async fn append_to_log(
    shard: &Shard,
    partition: &Rc<Partition>,
    batch: Bytes,
) -> Result<i64, ErrorCode> {
    let header = kafka_lite::record_batch::BatchHeader::decode(&batch);
    let count = header.map_or(0, |header| i64::from(header.records_count));
    let committed = Rc::new(Committed::default());
    let request = AppendRequest {
        batch,
        api_version: OWN_API_VERSION,
        now_ms: shard.wall_clock_ms(),
    };
    partition.append(request, Rc::clone(&committed) as Rc<dyn AppendObserver>, 0);
    let appended = committed.wait_placed().await?;
    Ok(appended.base_offset.saturating_add(count))
}
