//! A shard: one thread with its own runtime, memory, connections and partitions.
//!
//! What it is        the state that everything on the thread shares through an `Rc`, and the way to
//!                   other shards.
//! What it is not    shared between threads: the only things that cross are messages.
//! Invariants        1. no `RefCell` borrow lives across an await or a call into another room.
//!                   2. messages to one shard keep their order: what does not fit the ring waits in
//!                      a queue that the next message goes behind.
//!                   3. that queue is short: while one exists, no connection of this shard takes a
//!                      new request.
//! Reading order     [`Shard`], then [`run`](mod@run), [`mail`], [`acceptor`].

pub mod acceptor;
pub mod budgets;
pub mod engine_plan;
pub mod failure;
pub mod mail;
pub mod memory_budget;
pub mod notify;
pub mod promise;
pub mod run;

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use self::acceptor::{AddressCounts, Protocol};
use kafka_lite::catalog::{Applied, CatalogSnapshot};
use kafka_lite::topic_config::ConfigMap;

use self::budgets::ShardBudgets;
use self::failure::Failure;
use self::mail::{MailSender, Mailbox};
use self::notify::Notify;
use self::promise::{Fulfil, Promise, promise};
use crate::config::{Config, HostPort};
use crate::connection::{Connection, ConnectionId};
use crate::controller::Controller;
use crate::data_directory::Identity;
use crate::io::clock::ShardClock;
use crate::io::disk::FileDisk;
use crate::io::helper_thread::Helper;
use crate::metrics::shard_metrics::ShardMetrics;
use crate::metrics::{Collector, Family, Kind, Sample};
use crate::shard_state::ShardState;
use crate::sys::socket;

/// Number of a shard, from 0.
pub type ShardId = u16;

/// What one thread sends to a shard: run it there.
pub type Message = Box<dyn FnOnce(&Rc<Shard>) + Send>;

type CollectorFunction = Box<dyn Fn(&mut Collector)>;

/// What all shards and the control thread share.
#[derive(Debug)]
pub struct Process {
    /// The configuration.
    pub config: Config,
    /// Who this broker is.
    pub identity: Identity,
    /// One mailbox per shard, in the order of their ids.
    pub mailboxes: Vec<Arc<Mailbox<Message>>>,
    /// Open connections per shard, for the acceptor.
    pub connections: Vec<AtomicU32>,
    /// Open MQTT connections per shard.
    pub mqtt_connections: Vec<AtomicU32>,
    /// The address that clients are told to use.
    pub advertised: HostPort,
    /// Memory limit of the process in bytes, without what bridges hold.
    pub memory_bytes: u64,
    /// Size of the disk that the data directory is on, in bytes.
    pub disk_bytes: u64,
    /// Descriptors that the process may open.
    pub open_files: u64,
    /// Connections that are open at once at most.
    pub connections_max: u64,
    /// MQTT connections that are open at once at most.
    pub mqtt_connections_max: u64,
    /// Open connections per client address, where that is limited.
    pub address_counts: AddressCounts,
    /// Why the process has to end, once it has.
    pub failure: Failure,
}

/// One shard. Lives on its thread, shared by its tasks.
pub struct Shard {
    id: ShardId,
    process: Arc<Process>,
    outgoing: RefCell<Vec<Outgoing>>,
    congested: Cell<usize>,
    congestion_ended: Notify,
    connections: RefCell<BTreeMap<ConnectionId, Rc<Connection>>>,
    next_connection_id: Cell<ConnectionId>,
    metrics: ShardMetrics,
    budgets: ShardBudgets,
    helper: Helper,
    disk: FileDisk,
    clock: ShardClock,
    state: OnceCell<ShardState>,
    collectors: RefCell<Vec<CollectorFunction>>,
    stopping: Cell<bool>,
    stop_begun: Notify,
    listeners: RefCell<Vec<RawFd>>,
}

/// The way to one other shard.
#[derive(Default)]
struct Outgoing {
    sender: Option<MailSender<Message>>,
    waiting: VecDeque<Message>,
}

/// The duty to answer a call of another shard; used on the shard that was called.
pub struct CallAnswer<T> {
    caller: ShardId,
    fulfil: Fulfil<T>,
}

/// What a shard is made of.
pub(crate) struct ShardParts {
    pub(crate) id: ShardId,
    pub(crate) process: Arc<Process>,
    pub(crate) budgets: ShardBudgets,
    pub(crate) helper: Helper,
    pub(crate) disk: FileDisk,
    pub(crate) clock: ShardClock,
}

impl std::fmt::Debug for Shard {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Shard")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Shard {
    pub(crate) fn new(parts: ShardParts) -> Rc<Self> {
        let shards = parts.process.mailboxes.len();
        Rc::new(Self {
            id: parts.id,
            process: parts.process,
            outgoing: RefCell::new((0..shards).map(|_| Outgoing::default()).collect()),
            congested: Cell::new(0),
            congestion_ended: Notify::default(),
            connections: RefCell::default(),
            next_connection_id: Cell::new(0),
            metrics: ShardMetrics::default(),
            budgets: parts.budgets,
            helper: parts.helper,
            disk: parts.disk,
            clock: parts.clock,
            state: OnceCell::new(),
            collectors: RefCell::default(),
            stopping: Cell::new(false),
            stop_begun: Notify::default(),
            listeners: RefCell::default(),
        })
    }

    /// Runs `message` on another shard, after all earlier messages of this shard to it. Never
    /// waits; connections of this shard take no new request while messages queue up. To this shard
    /// itself it runs at once.
    pub fn send(
        self: &Rc<Self>,
        target: ShardId,
        message: impl FnOnce(&Rc<Self>) + Send + 'static,
    ) {
        if target == self.id {
            message(self);
            return;
        }
        self.post(target, Box::new(message));
    }

    /// Runs `call` on another shard and returns its result. The message leaves when this function
    /// is called, not when its future is first awaited, so that the order of calls is the order of
    /// messages.
    pub fn call<T: Send + 'static>(
        self: &Rc<Self>,
        target: ShardId,
        call: impl FnOnce(&Rc<Self>) -> T + Send + 'static,
    ) -> Promise<T> {
        self.call_with(target, move |shard, answer| {
            let value = call(shard);
            answer.send(shard, value);
        })
    }

    /// Like [`Shard::call`], for work that ends later: `call` gets the duty to answer.
    pub fn call_with<T: Send + 'static>(
        self: &Rc<Self>,
        target: ShardId,
        call: impl FnOnce(&Rc<Self>, CallAnswer<T>) + Send + 'static,
    ) -> Promise<T> {
        let (fulfil, result) = promise();
        let caller = self.id;
        self.send(target, move |shard| {
            call(shard, CallAnswer { caller, fulfil });
        });
        result
    }

    /// Waits while messages to some shard do not fit their ring.
    pub async fn wait_until_not_congested(&self) {
        while self.congested.get() > 0 {
            self.congestion_ended.wait().await;
        }
        // Others may wait as well: the wake-up is passed on.
        self.congestion_ended.notify();
    }

    /// Adds a function that shows the numbers of a room in `/metrics`.
    pub fn register_collector(&self, collector: impl Fn(&mut Collector) + 'static) {
        self.collectors.borrow_mut().push(Box::new(collector));
    }

    /// Number of this shard.
    pub fn id(&self) -> ShardId {
        self.id
    }

    /// How many shards there are.
    pub fn shard_count(&self) -> u16 {
        u16::try_from(self.process.mailboxes.len()).unwrap_or(u16::MAX)
    }

    /// The configuration of the process.
    pub fn config(&self) -> &Config {
        &self.process.config
    }

    /// What all shards share.
    pub fn process(&self) -> &Arc<Process> {
        &self.process
    }

    /// The counters of this shard.
    pub fn metrics(&self) -> &ShardMetrics {
        &self.metrics
    }

    /// The memory of this shard.
    pub fn budgets(&self) -> &ShardBudgets {
        &self.budgets
    }

    /// The disk of this shard.
    pub fn disk(&self) -> &FileDisk {
        &self.disk
    }

    /// The clock of this shard.
    pub fn clock(&self) -> ShardClock {
        self.clock
    }

    /// Helper threads for system calls that block.
    pub fn helper(&self) -> &Helper {
        &self.helper
    }

    /// What the handlers keep.
    ///
    /// # Panics
    /// Before the shard is open: no request arrives before that.
    #[expect(
        clippy::expect_used,
        reason = "connections are accepted only after every shard is open"
    )]
    pub(crate) fn state(&self) -> &ShardState {
        self.state.get().expect("the shard is open")
    }

    /// Id of this node.
    pub fn node_id(&self) -> i32 {
        i32::try_from(self.process.config.node_id).unwrap_or(i32::MAX)
    }

    /// The wall clock, ms since 1970.
    pub fn wall_clock_ms(&self) -> i64 {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }

    /// The catalog as this shard knows it.
    pub(crate) fn catalog(&self) -> Arc<CatalogSnapshot> {
        self.state().catalog()
    }

    /// The controller, if it is open on this shard.
    pub(crate) fn controller(&self) -> Option<&Rc<Controller>> {
        self.state().controller()
    }

    /// Broker configs of the process's configuration.
    pub(crate) fn static_configs(&self) -> &Arc<ConfigMap> {
        self.state().static_configs()
    }

    /// Follows a change of the catalog; returns when its partitions serve.
    pub(crate) async fn handle_catalog(
        self: &Rc<Self>,
        snapshot: Arc<CatalogSnapshot>,
        applied: &[Applied],
    ) {
        self.state().handle_catalog(self, snapshot, applied).await;
    }

    /// Whether the process is stopping: long polls end at once.
    pub fn is_stopping(&self) -> bool {
        self.stopping.get()
    }

    /// Waits until the process is stopping; for long polls.
    pub async fn stop_begun(&self) {
        while !self.stopping.get() {
            self.stop_begun.wait().await;
        }
        // Others may wait as well: the wake-up is passed on.
        self.stop_begun.notify();
    }

    pub(crate) fn set_state(&self, state: ShardState) {
        let already = self.state.set(state);
        assert!(already.is_ok(), "a shard is opened once");
    }

    pub(crate) fn next_connection_id(&self) -> ConnectionId {
        let id = self.next_connection_id.get();
        self.next_connection_id.set(id + 1);
        id
    }

    pub(crate) fn add_connection(&self, connection: &Rc<Connection>) {
        self.metrics.count_connection_opened();
        self.connections
            .borrow_mut()
            .insert(connection.id(), Rc::clone(connection));
        if self.stopping.get() {
            connection.close("the broker stops");
        }
    }

    pub(crate) fn remove_connection(&self, connection: &Connection) {
        self.metrics.count_connection_closed();
        self.connections.borrow_mut().remove(&connection.id());
    }

    pub(crate) fn connections(&self) -> Vec<Rc<Connection>> {
        self.connections.borrow().values().cloned().collect()
    }

    /// No connection is accepted any more, and long polls end.
    pub(crate) fn begin_stop(&self) {
        self.stopping.set(true);
        self.stop_begun.notify();
        for descriptor in self.listeners.borrow().iter() {
            socket::shut_down(*descriptor);
        }
    }

    /// Remembers a listening socket as long as its task owns it.
    fn add_listener(&self, descriptor: RawFd) {
        self.listeners.borrow_mut().push(descriptor);
    }

    fn remove_listener(&self, descriptor: RawFd) {
        let mut listeners = self.listeners.borrow_mut();
        listeners.retain(|other| *other != descriptor);
    }

    /// All numbers of this shard.
    pub(crate) fn samples(&self) -> Vec<Sample> {
        let mut collector = Collector::new(Some(self.id));
        self.metrics.collect(&mut collector);
        self.budgets.collect(&mut collector);
        self.disk.collect(&mut collector);
        let helper_jobs = u64::try_from(self.helper.in_flight()).unwrap_or(0);
        collector.number(&HELPER_JOBS, &[], helper_jobs);
        let waiting: usize = {
            let outgoing = self.outgoing.borrow();
            outgoing.iter().map(|way| way.waiting.len()).sum()
        };
        collector.number(&WAITING, &[], u64::try_from(waiting).unwrap_or(0));
        for collect in self.collectors.borrow().iter() {
            collect(&mut collector);
        }
        collector.into_samples()
    }

    /// Sends what waited for room in full rings.
    pub(crate) fn send_waiting(&self) {
        if self.congested.get() == 0 {
            return;
        }
        let mut outgoing = self.outgoing.borrow_mut();
        for way in outgoing.iter_mut() {
            if way.waiting.is_empty() {
                continue;
            }
            way.send_waiting();
            if way.waiting.is_empty() {
                self.congested.set(self.congested.get() - 1);
            }
        }
        drop(outgoing);
        if self.congested.get() == 0 {
            self.congestion_ended.notify();
        }
    }

    fn post(&self, target: ShardId, message: Message) {
        let mut outgoing = self.outgoing.borrow_mut();
        let Some(way) = outgoing.get_mut(usize::from(target)) else {
            // Shard ids come from this process only.
            debug_assert!(false, "shard {target} does not exist");
            return;
        };
        if way.sender.is_none() {
            way.sender = self.connect(target);
        }
        let was_empty = way.waiting.is_empty();
        way.waiting.push_back(message);
        if was_empty {
            way.send_waiting();
            if !way.waiting.is_empty() {
                self.congested.set(self.congested.get() + 1);
            }
        }
    }

    /// Makes the ring to another shard.
    #[expect(
        clippy::expect_used,
        reason = "the number of threads is checked against MAIL_SENDERS_MAX at start"
    )]
    fn connect(&self, target: ShardId) -> Option<MailSender<Message>> {
        let own = self.process.mailboxes.get(usize::from(self.id)).cloned();
        let mailbox = self.process.mailboxes.get(usize::from(target))?;
        Some(mailbox.connect(own).expect("there is room for every shard"))
    }
}

impl Outgoing {
    fn send_waiting(&mut self) {
        let Some(sender) = &mut self.sender else {
            return;
        };
        while let Some(message) = self.waiting.pop_front() {
            if let Err(message) = sender.try_send(message) {
                self.waiting.push_front(message);
                return;
            }
        }
    }
}

impl<T: Send + 'static> CallAnswer<T> {
    /// Answers the call from the shard that was called.
    pub fn send(self, shard: &Rc<Shard>, value: T) {
        let fulfil = self.fulfil;
        shard.send(self.caller, move |_caller| fulfil.fulfil(value));
    }
}

impl Process {
    /// Open connections of a protocol, per shard.
    pub fn connections_of(&self, protocol: Protocol) -> &[AtomicU32] {
        match protocol {
            Protocol::Kafka => &self.connections,
            Protocol::Mqtt | Protocol::MqttWebSocket => &self.mqtt_connections,
        }
    }

    /// The shard with the fewest connections of a protocol.
    pub fn least_connected_shard(&self, protocol: Protocol) -> ShardId {
        let least = self
            .connections_of(protocol)
            .iter()
            .enumerate()
            .min_by_key(|(_, count)| count.load(Ordering::Relaxed));
        least.map_or(0, |(shard, _)| ShardId::try_from(shard).unwrap_or(0))
    }

    /// All open connections of a protocol.
    pub fn connection_count(&self, protocol: Protocol) -> u64 {
        self.connections_of(protocol)
            .iter()
            .map(|count| u64::from(count.load(Ordering::Relaxed)))
            .sum()
    }

    /// Connections of a protocol that may be open at once.
    pub fn connection_limit(&self, protocol: Protocol) -> u64 {
        match protocol {
            Protocol::Kafka => self.connections_max,
            Protocol::Mqtt | Protocol::MqttWebSocket => self.mqtt_connections_max,
        }
    }
}

static HELPER_JOBS: Family = Family {
    name: "sluice_helper_jobs",
    help: "Blocking system calls that wait for or run on a helper thread.",
    kind: Kind::Gauge,
};
static WAITING: Family = Family {
    name: "sluice_shard_messages_waiting",
    help: "Messages to other shards that do not fit their ring now.",
    kind: Kind::Gauge,
};
