//! What the rooms behind the Kafka API keep on one shard: log engine, partitions, groups, catalog.
//!
//! What it is        the order in which they open, follow the catalog, and close.
//! Invariants        1. a partition is open here exactly when the catalog places it here. 2. a
//! shard's
//!                   catalog never goes back.
//! Reading order     [`ShardState::open`], [`ShardState::handle_catalog`].

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use kafka_lite::catalog::{
    Applied, Catalog, CatalogSnapshot, MIRROR_TOPIC, MQTT_RETAINED_TOPIC, MQTT_SESSIONS_TOPIC,
    NodeRegistration, OFFSETS_TOPIC, Topic,
};
use kafka_lite::fetch_session::{FetchSessionOptions, FetchSessions};
use kafka_lite::group;
use kafka_lite::primitive::Uuid;
use kafka_lite::topic_config::{ConfigMap, TopicConfig};
use replication::Raft;
use storage::disk::Clock;
use storage::{Engine, LogKey, OpenError, Options};
use tracing::{info, warn};

use crate::config::HostPort;
use crate::controller::{self, CONTROLLER_SHARD, Controller, PlanContext};
use crate::group_service::GroupService;
use crate::handlers::{ProduceDeadlines, ReadAhead};
use crate::health;
use crate::housekeeping;
use crate::mirror_service::MirrorService;
use crate::mirror_service::state::MirrorState;
use crate::mqtt_server::{self, MqttService};
use crate::partition::set::PartitionSet;
use crate::partition::{Log, LogEngine, Partition, PartitionParts, log_config, sole_voter};
use crate::shard::Shard;
use crate::shard::engine_plan::{EngineFacts, engine_sizes};
use crate::shard::notify::Notify;
use crate::shard::run::NotOpened;
use crate::storage_metrics;

/// The rooms of one shard.
pub(crate) struct ShardState {
    partitions: Rc<PartitionSet>,
    groups: Rc<GroupService>,
    mqtt: Rc<MqttService>,
    mirrors: Rc<MirrorService>,
    mirror_state: MirrorState,
    fetch_sessions: RefCell<FetchSessions>,
    read_ahead: Rc<ReadAhead>,
    produce_deadlines: Rc<ProduceDeadlines>,
    engine: OnceCell<LogEngine>,
    controller: OnceCell<Rc<Controller>>,
    catalog: RefCell<Option<Arc<CatalogSnapshot>>>,
    catalog_received: Notify,
    /// The journals are laid out for the number of shards of this start.
    is_laid_out: Cell<bool>,
    laid_out: Notify,
    static_configs: Arc<ConfigMap>,
}

impl std::fmt::Debug for ShardState {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("ShardState").finish_non_exhaustive()
    }
}

impl ShardState {
    /// Rooms that are not open yet.
    pub(crate) fn new(shard: &Shard) -> Self {
        let static_configs = Arc::new(shard.config().broker_configs.clone());
        let sessions = FetchSessionOptions {
            first_id: i32::from(shard.id()) + 1,
            id_step: i32::from(shard.shard_count()),
            ..FetchSessionOptions::default()
        };
        Self {
            partitions: PartitionSet::new(shard),
            groups: GroupService::new(group_options(shard, &static_configs)),
            mqtt: MqttService::new(shard.config()),
            mirrors: Rc::default(),
            mirror_state: MirrorState::default(),
            fetch_sessions: RefCell::new(FetchSessions::new(sessions)),
            read_ahead: ReadAhead::new(&shard.budgets().responses),
            produce_deadlines: Rc::default(),
            engine: OnceCell::new(),
            controller: OnceCell::new(),
            catalog: RefCell::default(),
            catalog_received: Notify::default(),
            is_laid_out: Cell::new(false),
            laid_out: Notify::default(),
            static_configs,
        }
    }

    /// Opens the log engine, then what the catalog places on this shard.
    ///
    /// # Errors
    /// What the operator is told; the start fails with it.
    pub(crate) async fn open(shard: &Rc<Shard>) -> Result<(), NotOpened> {
        let state = shard.state();
        state.lay_out(shard).await?;
        let events = Rc::clone(&state.partitions) as Rc<dyn storage::LogEvents>;
        let opened = Engine::open(
            shard.disk().clone(),
            shard.clock(),
            engine_options(shard, &state.static_configs),
            events,
        )
        .await
        .map_err(|error| not_opened(shard, &error))?;
        for worker in opened.workers {
            drop(monoio::spawn(worker));
        }
        for log in opened.logs.iter().filter(|log| log.damaged.is_some()) {
            warn!(log = ?log.key, topic = %log.name, damage = ?log.damaged, "a log is damaged");
        }
        let is_first = state.engine.set(opened.engine).is_ok();
        assert!(is_first, "a shard is opened once");
        health::register(shard);
        if shard.id() == CONTROLLER_SHARD {
            state.open_controller(shard).await?;
        } else {
            state.wait_for_catalog().await;
        }
        state.open_placed(shard).await;
        state.settle_orphans(shard).await;
        drop(monoio::spawn(
            Rc::clone(&state.groups).run_timers(Rc::clone(shard)),
        ));
        state.mqtt.start(shard);
        drop(monoio::spawn(MirrorService::run(Rc::clone(shard))));
        storage_metrics::register(shard, state.engine());
        state.read_ahead.register(shard);
        if !shard.config().storage_discard {
            housekeeping::start(shard);
        }
        Ok(())
    }

    /// Moves logs between the journals of shards when their number has changed: the first shard
    /// does
    /// it for all, the others wait.
    async fn lay_out(&self, shard: &Rc<Shard>) -> Result<(), NotOpened> {
        if shard.id() != CONTROLLER_SHARD {
            while !self.is_laid_out.get() {
                self.laid_out.wait().await;
            }
            return Ok(());
        }
        let shards = u32::from(shard.shard_count());
        storage::prepare_shards(
            shard.disk(),
            &shard.clock(),
            &engine_options(shard, &shard.state().static_configs),
            shards,
        )
        .await
        .map_err(|error| not_opened(shard, &error))?;
        for target in (0..shard.shard_count()).filter(|target| *target != CONTROLLER_SHARD) {
            shard.send(target, |there| there.state().receive_layout());
        }
        Ok(())
    }

    fn receive_layout(&self) {
        self.is_laid_out.set(true);
        self.laid_out.notify();
    }

    async fn open_controller(&self, shard: &Rc<Shard>) -> Result<(), String> {
        let context = PlanContext {
            node_id: shard.node_id(),
            static_configs: Arc::clone(&self.static_configs),
            partitions_max: partitions_max(shard),
        };
        let controller = Controller::open(shard, self.engine(), context).await?;
        drop(monoio::spawn(Rc::clone(&controller).run(Rc::clone(shard))));
        let snapshot = controller.snapshot();
        for target in 0..shard.shard_count() {
            let snapshot = Arc::clone(&snapshot);
            shard.send(target, move |there| there.state().receive_catalog(snapshot));
        }
        controller.register(registration(shard));
        let is_first = self.controller.set(controller).is_ok();
        assert!(is_first, "one controller");
        Ok(())
    }

    fn receive_catalog(&self, snapshot: Arc<CatalogSnapshot>) {
        let mut current = self.catalog.borrow_mut();
        let is_newer = current
            .as_ref()
            .is_none_or(|known| known.version() < snapshot.version());
        if is_newer {
            *current = Some(snapshot);
        }
        drop(current);
        self.catalog_received.notify();
    }

    async fn wait_for_catalog(&self) {
        while self.catalog.borrow().is_none() {
            self.catalog_received.wait().await;
        }
    }

    /// Opens every partition that the catalog places on this shard.
    async fn open_placed(&self, shard: &Rc<Shard>) {
        let catalog = self.catalog();
        let mut opened = Vec::new();
        for topic in catalog.topics() {
            opened.extend(self.open_partitions(shard, topic, 0));
        }
        if !opened.is_empty() {
            info!(
                shard = shard.id(),
                partitions = opened.len(),
                "partitions are open"
            );
        }
        for partition in opened {
            partition.wait_until_ready().await;
            self.load_internal(shard, &partition).await;
        }
    }

    /// Opens the partitions of a topic from number `first` on, those that live here.
    fn open_partitions(
        &self,
        shard: &Rc<Shard>,
        topic: &Arc<Topic>,
        first: u32,
    ) -> Vec<Rc<Partition>> {
        let config = Arc::new(self.topic_config(shard, topic));
        let count = u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX);
        let indexes = (first..count).filter_map(|index| i32::try_from(index).ok());
        let here = |index: &i32| controller::place(shard, topic, *index) == Some(shard.id());
        indexes
            .filter(here)
            .map(|index| {
                let key = LogKey {
                    topic_id: topic.topic_id,
                    partition: index,
                };
                let log =
                    self.engine()
                        .create_log(key, &topic.name, log_config(&topic.name, &config));
                self.open_partition(shard, &topic.name, log, Arc::clone(&config))
            })
            .collect()
    }

    #[expect(
        clippy::expect_used,
        reason = "the side table is checked when the log is recovered"
    )]
    fn open_partition(
        &self,
        shard: &Rc<Shard>,
        topic: &str,
        log: Log,
        config: Arc<TopicConfig>,
    ) -> Rc<Partition> {
        let (options, recovered) = sole_voter(&log, shard.node_id());
        let raft = Raft::new(shard.clock().now(), options, recovered)
            .expect("what the log holds is what Raft wrote");
        let key = log.key();
        let partition = Partition::new(PartitionParts {
            topic: topic.into(),
            topic_id: Uuid(key.topic_id),
            index: key.partition,
            engine: self.engine().clone(),
            log,
            raft,
            config,
        });
        self.partitions.insert(Rc::clone(&partition));
        partition
    }

    /// The controller's partition: its topic is in no catalog.
    pub(crate) fn open_metadata(&self, shard: &Rc<Shard>, log: Log) -> Rc<Partition> {
        let layers = Catalog::new();
        let layers = layers.view().layers(shard.node_id(), &self.static_configs);
        let config = Arc::new(TopicConfig::resolve(&ConfigMap::new(), &layers));
        let topic = log.name().to_owned();
        self.open_partition(shard, &topic, log, config)
    }

    fn topic_config(&self, shard: &Shard, topic: &Topic) -> TopicConfig {
        self.catalog()
            .topic_config(topic, shard.node_id(), &self.static_configs)
    }

    /// Reads what the broker itself keeps in a topic; what can be waited for later goes on by
    /// itself.
    async fn load_internal(&self, shard: &Rc<Shard>, partition: &Rc<Partition>) {
        let (home, partition) = (Rc::clone(shard), Rc::clone(partition));
        match &*Arc::clone(partition.topic()) {
            OFFSETS_TOPIC => {
                let groups = Rc::clone(&self.groups);
                drop(monoio::spawn(groups.load(home, partition)));
            }
            MIRROR_TOPIC => {
                drop(monoio::spawn(MirrorState::load(home, partition)));
            }
            MQTT_SESSIONS_TOPIC => {
                drop(monoio::spawn(mqtt_server::sessions::load(home, partition)));
            }
            MQTT_RETAINED_TOPIC => {
                mqtt_server::retained::load(home, partition).await;
            }
            _ => {}
        }
    }

    /// Logs that no topic owns: what is left of a deletion goes, anything else stays and is told.
    async fn settle_orphans(&self, shard: &Rc<Shard>) {
        for key in self.engine().keys() {
            if self
                .partitions
                .get(Uuid(key.topic_id), key.partition)
                .is_some()
            {
                continue;
            }
            let was_deleted = shard
                .call(CONTROLLER_SHARD, move |zero| {
                    let controller = zero.controller();
                    controller.is_some_and(|one| one.was_deleted(&key.topic_id))
                })
                .await;
            if was_deleted {
                self.delete_log(key).await;
            } else {
                warn!(log = ?key, "a log belongs to no topic; it is left as it is");
            }
        }
    }

    async fn delete_log(&self, key: LogKey) {
        if let Err(error) = self.engine().delete_log(key).await {
            warn!(log = ?key, %error, "a deleted log is not gone; the next start tries again");
        }
    }

    /// Follows a change of the catalog; returns when its partitions serve.
    pub(crate) async fn handle_catalog(
        &self,
        shard: &Rc<Shard>,
        snapshot: Arc<CatalogSnapshot>,
        applied: &[Applied],
    ) {
        self.receive_catalog(snapshot);
        let mut opened = Vec::new();
        for change in applied {
            match change {
                Applied::TopicCreated(topic) => {
                    opened.extend(self.open_partitions(shard, topic, 0))
                }
                Applied::PartitionsCreated {
                    topic,
                    first_partition,
                } => {
                    opened.extend(self.open_partitions(shard, topic, *first_partition));
                }
                Applied::TopicDeleted(topic) => self.close_topic(shard, topic),
                Applied::TopicConfigsAltered(topic) => self.reconfigure(shard, topic),
                Applied::BrokerConfigsAltered => {
                    for topic in self.catalog().topics() {
                        self.reconfigure(shard, topic);
                    }
                }
                Applied::NodeRegistered { .. }
                | Applied::ProducerIds { .. }
                | Applied::Rejected(_) => {}
            }
        }
        for partition in opened {
            partition.wait_until_ready().await;
            self.load_internal(shard, &partition).await;
        }
        for change in applied {
            if let Applied::TopicCreated(topic) | Applied::PartitionsCreated { topic, .. } = change
            {
                mqtt_server::handle_topic_created(shard, topic);
            }
        }
        self.mirrors.handle_catalog();
    }

    fn close_topic(&self, shard: &Rc<Shard>, topic: &Arc<Topic>) {
        let count = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
        for index in 0..count {
            let Some(partition) = self.partitions.remove(Uuid(topic.topic_id), index) else {
                continue;
            };
            if topic.name.as_ref() == OFFSETS_TOPIC {
                self.groups.unload(shard, index);
            }
            let (shard, key) = (Rc::clone(shard), partition.log().key());
            drop(monoio::spawn(
                async move { shard.state().delete_log(key).await },
            ));
        }
        self.groups.handle_topic_deleted(shard, &topic.name);
    }

    fn reconfigure(&self, shard: &Shard, topic: &Topic) {
        let config = Arc::new(self.topic_config(shard, topic));
        let count = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
        for index in 0..count {
            if let Some(partition) = self.partitions.get(Uuid(topic.topic_id), index) {
                partition.set_config(Arc::clone(&config));
            }
        }
    }

    /// Writes everything back and marks the logs clean, after the last connection is gone.
    pub(crate) async fn close(&self) {
        let Some(engine) = self.engine.get() else {
            return;
        };
        if let Err(error) = engine.shutdown().await {
            warn!(%error, "the log engine stopped with a failure; what was acknowledged is safe");
        }
    }

    /// The log engine.
    ///
    /// # Panics
    /// Before the shard is open.
    #[expect(
        clippy::expect_used,
        reason = "requests and changes come after the shard is open"
    )]
    pub(crate) fn engine(&self) -> &LogEngine {
        self.engine.get().expect("the shard is open")
    }

    /// The partitions of this shard.
    pub(crate) fn partitions(&self) -> &PartitionSet {
        &self.partitions
    }

    /// The groups of this shard.
    pub(crate) fn groups(&self) -> &Rc<GroupService> {
        &self.groups
    }

    /// The MQTT clients of this shard.
    pub(crate) fn mqtt(&self) -> &Rc<MqttService> {
        &self.mqtt
    }

    /// The mirrors of this shard.
    pub(crate) fn mirrors(&self) -> &Rc<MirrorService> {
        &self.mirrors
    }

    /// The progress of mirrors, on the shard that owns its partition.
    pub(crate) fn mirror_state(&self) -> &MirrorState {
        &self.mirror_state
    }

    /// The Produce requests of this shard's connections that wait.
    pub(crate) fn produce_deadlines(&self) -> &Rc<ProduceDeadlines> {
        &self.produce_deadlines
    }

    /// The fetch sessions of this shard's connections.
    pub(crate) fn fetch_sessions(&self) -> &RefCell<FetchSessions> {
        &self.fetch_sessions
    }

    /// What is read from this shard's partitions before consumers ask for it.
    pub(crate) fn read_ahead(&self) -> &Rc<ReadAhead> {
        &self.read_ahead
    }

    /// The controller, on its shard.
    pub(crate) fn controller(&self) -> Option<&Rc<Controller>> {
        self.controller.get()
    }

    /// Broker configs of the process's configuration.
    pub(crate) fn static_configs(&self) -> &Arc<ConfigMap> {
        &self.static_configs
    }

    /// The catalog as this shard knows it.
    ///
    /// # Panics
    /// Before the shard has received it.
    #[expect(
        clippy::expect_used,
        reason = "connections are accepted after every shard is open"
    )]
    pub(crate) fn catalog(&self) -> Arc<CatalogSnapshot> {
        self.catalog.borrow().clone().expect("the catalog is there")
    }
}

/// Partitions that the node's memory allows.
fn partitions_max(shard: &Shard) -> usize {
    let fitting = shard.budgets().plan.partitions_max();
    let all = fitting.saturating_mul(u64::from(shard.shard_count()));
    usize::try_from(all).unwrap_or(usize::MAX)
}

fn engine_options(shard: &Shard, static_configs: &ConfigMap) -> Options {
    let config = shard.config();
    let catalog = Catalog::new();
    let layers = catalog.view().layers(shard.node_id(), static_configs);
    let expiration_ms = layers.broker_number("producer.id.expiration.ms");
    let process = shard.process();
    let sizes = engine_sizes(&EngineFacts {
        shard: shard.id(),
        shards: shard.shard_count(),
        memory_bytes: process.memory_bytes,
        disk_bytes: process.disk_bytes,
        open_files: process.open_files,
        connections_max: process.connections_max,
        has_mirrors: !process.config.mirrors.is_empty(),
    });
    let shards = u64::from(shard.shard_count());
    let share = |bytes: u64| bytes.div_euclid(shards.max(1));
    Options {
        disk_limit_bytes: config.storage_bytes_max.map(share),
        commit_interval: config.storage_commit_interval.unwrap_or_default(),
        producer_expiration: Duration::from_millis(u64::try_from(expiration_ms).unwrap_or(0)),
        store_nothing: config.storage_discard,
        ..sizes
    }
}

fn group_options(shard: &Shard, static_configs: &ConfigMap) -> group::Options {
    let catalog = Catalog::new();
    let layers = catalog.view().layers(shard.node_id(), static_configs);
    let number = |name: &str| layers.broker_number(name);
    let count = |name: &str| usize::try_from(number(name)).unwrap_or(usize::MAX);
    let time_ms = |name: &str| u64::try_from(number(name)).unwrap_or(0);
    let int = |name: &str| i32::try_from(number(name)).unwrap_or(i32::MAX);
    let base = group::Options::default();
    group::Options {
        partition_count: int("offsets.topic.num.partitions"),
        initial_rebalance_delay_ms: time_ms("group.initial.rebalance.delay.ms"),
        session_timeout_min_ms: int("group.min.session.timeout.ms"),
        session_timeout_max_ms: int("group.max.session.timeout.ms"),
        group_size_max: count("group.max.size").min(base.group_size_max),
        offset_metadata_bytes_max: count("offset.metadata.max.bytes"),
        offsets_retention_ms: number("offsets.retention.minutes").saturating_mul(60_000),
        offsets_retention_check_interval_ms: time_ms("offsets.retention.check.interval.ms"),
        memory_bytes_max: usize::try_from(shard.budgets().plan.groups_bytes).unwrap_or(usize::MAX),
        ..base
    }
}

fn registration(shard: &Shard) -> NodeRegistration {
    let process = shard.process();
    let HostPort {
        host: kafka_host,
        port: kafka_port,
    } = process.advertised.clone();
    NodeRegistration {
        node_id: shard.node_id(),
        incarnation: *process.identity.incarnation.as_bytes(),
        shards: shard.shard_count(),
        rpc_host: kafka_host.clone(),
        rpc_port: 0,
        kafka_host,
        kafka_port,
        rack: None,
    }
}

/// The words of the log engine, whose paths are relative to the data directory.
fn not_opened(shard: &Shard, error: &OpenError) -> NotOpened {
    let directory = shard.config().data_dir.display();
    NotOpened {
        line: format!("data directory {directory}: {error}"),
        is_final: error.is_final(),
    }
}
