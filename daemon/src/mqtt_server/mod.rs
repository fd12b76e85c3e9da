//! The MQTT listener: sensors publish straight into the log.
//!
//! What it is        sockets, memory and appends around `mqtt::connection::Connection`. A
//!                   connection lives on one shard; the session of a client identifier has one
//!                   owner shard, which knows who is connected.
//! What it is not    a rule of MQTT, nor of the mapping.
//! Invariants        1. a PUBACK or PUBREC follows the commit of its message, through the same
//!                      `Partition::append` as a produced batch.
//!                   2. a client identifier has at most one connection: the next one waits until
//!                      the one before is closed.
//! Source            docs/decisions/2026-11-24-mqtt.md, docs/mqtt.md.
//! Reading order     [`reader`], [`connection`], [`publish`], [`registry`], [`sessions`],
//!                   [`subscribe`], [`deliver`], [`shares`], [`bridged`].

mod append;
pub(crate) mod bridged;
mod connection;
mod deliver;
mod exact;
mod fetch;
mod login;
mod member;
mod messages;
pub(crate) mod metrics;
mod open;
mod publish;
mod reader;
mod registry;
pub(crate) mod retained;
mod retaining;
mod sender;
pub(crate) mod sessions;
pub(crate) mod shares;
pub(crate) mod status;
mod subscribe;
mod timers;
mod topics;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use kafka_lite::catalog::{Topic, TopicId};
use mqtt::connection::ConnectionOptions;
use mqtt::mapping::{Mapping, Outgoing};
use mqtt::message::{Message, Qos};
use mqtt::reason::ReasonCode;

use self::connection::MqttConnection;
use self::login::Login;
use self::messages::SharedReads;
use self::metrics::MqttMetrics;
use self::registry::Registry;
use self::retained::Retained;
use self::sessions::Sessions;
use self::shares::Shares;
use self::timers::Timers;
use crate::config::Config;
use crate::connection::ConnectionId;
use crate::limits::MQTT_EXPIRY_INTERVAL;
use crate::shard::Shard;
use storage::disk::Clock as _;

pub(crate) use self::reader::{Framing, serve};

/// What MQTT keeps on one shard.
pub(crate) struct MqttService {
    mapping: Mapping,
    outgoing: Outgoing,
    options: ConnectionOptions,
    /// Origins whose pages may connect over WebSocket; `None` is any.
    origins: Option<Arc<[String]>>,
    login: Login,
    connections: RefCell<BTreeMap<ConnectionId, Rc<MqttConnection>>>,
    registry: RefCell<Registry>,
    /// Topics that are known to take records.
    ready_topics: RefCell<BTreeSet<TopicId>>,
    sessions: Sessions,
    retained: Retained,
    retaining: Rc<retaining::UnderWay>,
    shares: Shares,
    reads: SharedReads,
    /// Last wills that wait for their delay, each with its number.
    delayed_wills: RefCell<BTreeMap<Arc<str>, (u64, Message)>>,
    next_will: Cell<u64>,
    timers: Timers,
    metrics: MqttMetrics,
    stopping: Cell<bool>,
}

impl MqttService {
    /// A service without clients.
    pub(crate) fn new(config: &Config) -> Rc<Self> {
        let packet_bytes_max = usize::try_from(config.mqtt_packet_max_bytes).unwrap_or(usize::MAX);
        Rc::new(Self {
            mapping: config.mqtt_rules.clone(),
            outgoing: config.mqtt_publish_rules.clone(),
            options: ConnectionOptions {
                packet_bytes_max,
                keep_alive_seconds_max: 0,
                qos_max: Qos::ExactlyOnce,
            },
            origins: config.mqtt_websocket_origins.clone(),
            login: Login::new(config),
            connections: RefCell::default(),
            registry: RefCell::default(),
            ready_topics: RefCell::default(),
            sessions: Sessions::default(),
            retained: Retained::default(),
            retaining: Rc::default(),
            shares: Shares::default(),
            reads: SharedReads::default(),
            delayed_wills: RefCell::default(),
            next_will: Cell::new(0),
            timers: Timers::default(),
            metrics: MqttMetrics::new(config.mqtt_rules.rules().len()),
            stopping: Cell::new(false),
        })
    }

    /// Starts what runs for all connections.
    pub(crate) fn start(self: &Rc<Self>, shard: &Rc<Shard>) {
        if !shard.config().serves_mqtt() {
            return;
        }
        self.login.start(shard);
        drop(monoio::spawn(timers::run(Rc::clone(shard))));
        drop(monoio::spawn(expire_sessions(Rc::clone(shard))));
        let service = Rc::clone(self);
        shard.register_collector(move |collector| service.metrics.collect(collector, &service));
    }

    /// No packet is taken any more; what was taken is still acknowledged.
    pub(crate) fn begin_stop(&self, shard: &Rc<Shard>) {
        self.stopping.set(true);
        for connection in self.connections() {
            connection.end_when_idle(shard);
        }
    }

    /// Ends all connections.
    pub(crate) fn close_all(&self, shard: &Rc<Shard>) {
        for connection in self.connections() {
            connection.end(shard, ReasonCode::ServerShuttingDown);
        }
    }

    /// Whether no client is connected to this shard.
    pub(crate) fn is_empty(&self) -> bool {
        self.connections.borrow().is_empty()
    }

    fn connections(&self) -> Vec<Rc<MqttConnection>> {
        self.connections.borrow().values().cloned().collect()
    }

    fn connection(&self, id: ConnectionId) -> Option<Rc<MqttConnection>> {
        self.connections.borrow().get(&id).cloned()
    }

    fn add(&self, connection: &Rc<MqttConnection>) {
        self.metrics.count_opened();
        let connection = Rc::clone(connection);
        self.connections
            .borrow_mut()
            .insert(connection.id(), connection);
    }

    fn remove(&self, connection: &MqttConnection) {
        self.metrics.count_closed();
        self.connections.borrow_mut().remove(&connection.id());
    }
}

/// Forgets sessions whose time is over, for ever.
async fn expire_sessions(shard: Rc<Shard>) {
    loop {
        monoio::time::sleep(MQTT_EXPIRY_INTERVAL).await;
        sessions::expire(&shard).await;
    }
}

/// Follows a topic that was made.
pub(crate) fn handle_topic_created(shard: &Rc<Shard>, topic: &Arc<Topic>) {
    deliver::handle_topic_created(shard, topic);
    shares::handle_topic_created(shard, topic);
}

/// Time of the shard's clock in ms.
fn now_ms(shard: &Shard) -> u64 {
    u64::try_from(shard.clock().now().as_millis()).unwrap_or(u64::MAX)
}
