//! The controller: the one place that changes topics, configs and producer-id blocks.
//!
//! What it is        a Raft group on shard 0 whose log is the list of `kafka_lite::catalog`
//! commands, and
//!                   the way of each change to every shard.
//! What it is not    a rule: plans are made and applied by the catalog.
//! Invariants        1. one change at a time: it is planned on the state that all earlier ones
//! made.
//!                   2. a change is applied when its commands are committed, in log order.
//!                   3. the requester hears of a change when every shard has applied it.
//! Reading order     [`change`], [`Controller::open`], [`Controller::run`].

use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;

use kafka_lite::catalog::{
    Applied, Catalog, CatalogFault, CatalogSnapshot, Command, NewPartitions, NewTopic, Node,
    NodeRegistration, OFFSETS_TOPIC, Planner, Topic, TopicId,
};
use kafka_lite::error_code::ErrorCode;
use kafka_lite::producer::ProducerIds;
use kafka_lite::record_batch::{BatchBuilder, BatchOptions, BatchView, DecompressLimits};
use kafka_lite::topic_config::ConfigMap;
use storage::{LogConfig, LogKey};
use tracing::info;

use crate::limits::CONTROLLER_READ_BYTES;
use crate::partition::{
    AppendObserver, AppendRequest, AppendResult, AppendedBatch, LogEngine, Partition,
};
use crate::shard::notify::Notify;
use crate::shard::{Shard, ShardId};

/// The shard that the controller lives on.
pub(crate) const CONTROLLER_SHARD: ShardId = 0;

/// Name of the controller's log; Kafka's own for the same thing.
pub(crate) const METADATA_TOPIC: &str = "__cluster_metadata";

/// Kafka's id of that topic.
const METADATA_TOPIC_ID: TopicId = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// Produce version that the controller's own batches count as.
const OWN_API_VERSION: i16 = 9;

/// What a plan may know beside the catalog.
#[derive(Clone, Debug)]
pub(crate) struct PlanContext {
    /// This node.
    pub(crate) node_id: i32,
    /// Broker configs of the process's configuration.
    pub(crate) static_configs: Arc<ConfigMap>,
    /// Partitions that the memory allows; more are refused. The broker's own topics do not ask.
    pub(crate) partitions_max: usize,
}

type Done = Box<dyn FnOnce(Result<(), ErrorCode>)>;
type Job = Box<dyn FnOnce(&Catalog, &PlanContext) -> (Vec<Command>, Done)>;

/// The controller, on its shard.
pub(crate) struct Controller {
    partition: Rc<Partition>,
    catalog: RefCell<Catalog>,
    context: PlanContext,
    jobs: RefCell<VecDeque<Job>>,
    job_added: Notify,
    producer_ids: RefCell<ProducerIds>,
    deleted: RefCell<BTreeSet<TopicId>>,
}

/// Plans on the latest catalog, commits the commands, and resolves when every shard has applied
/// them.
///
/// Errors: the code of a controller that cannot write its log; a retry may succeed.
pub(crate) fn change<T, P>(
    shard: &Rc<Shard>,
    plan: P,
) -> impl Future<Output = Result<T, ErrorCode>> + use<T, P>
where
    T: Send + 'static,
    P: FnOnce(&Catalog, &PlanContext) -> (Vec<Command>, T) + Send + 'static,
{
    shard.call_with(CONTROLLER_SHARD, move |zero, answer| {
        let home = Rc::clone(zero);
        let Some(controller) = zero.controller() else {
            return answer.send(&home, Err(ErrorCode::NotController));
        };
        controller.submit(Box::new(move |catalog, context| {
            let (commands, value) = plan(catalog, context);
            let done = move |result: Result<(), ErrorCode>| {
                answer.send(&home, result.map(|()| value));
            };
            (commands, Box::new(done) as Done)
        }));
    })
}

/// The shard of this node that owns a partition; `None` if it does not exist or lives elsewhere.
pub(crate) fn place(shard: &Shard, topic: &Topic, partition: i32) -> Option<ShardId> {
    let assignment = topic.partition(partition)?;
    let mut replicas = assignment.replicas.iter();
    let own = replicas.find(|replica| replica.node_id == shard.node_id())?;
    // A node that runs fewer shards than when the partition was created maps it to one that it has.
    own.shard.checked_rem(shard.shard_count())
}

/// Creates `__consumer_offsets` when it does not exist yet.
pub(crate) fn ensure_offsets_topic(
    shard: &Rc<Shard>,
) -> impl Future<Output = Result<(), ErrorCode>> + use<> {
    ensure_internal_topic(shard, OFFSETS_TOPIC)
}

/// Creates a topic of the broker itself when it does not exist yet.
pub(crate) fn ensure_internal_topic(
    shard: &Rc<Shard>,
    name: &'static str,
) -> impl Future<Output = Result<(), ErrorCode>> + use<> {
    ensure_topic(shard, name, move |planner, topic_id| {
        planner.create_internal_topic(name, topic_id)
    })
}

/// Makes sure that a topic exists and has at least so many partitions; returns how many it has. A
/// new one takes batches of up to `message_bytes`.
pub(crate) async fn ensure_partitions(
    shard: &Rc<Shard>,
    name: String,
    partitions: i32,
    message_bytes: usize,
) -> Result<i32, ErrorCode> {
    let topic_id = *uuid::Uuid::new_v4().as_bytes();
    let wanted = name.clone();
    let planned = change(shard, move |catalog, context| {
        let layers = catalog
            .view()
            .layers(context.node_id, &context.static_configs);
        let mut planner = Planner::new(catalog, layers).with_partitions_max(context.partitions_max);
        let present = catalog
            .view()
            .topic(&wanted)
            .map(|topic| topic.partitions.len());
        let planned = match present {
            Some(count) if i32::try_from(count).is_ok_and(|count| count >= partitions) => None,
            Some(_) => {
                let more = NewPartitions {
                    name: &wanted,
                    partitions_count: partitions,
                    assignments: None,
                };
                planner.create_partitions(&[more]).pop()
            }
            None => {
                let bytes = message_bytes.to_string();
                let topic = NewTopic {
                    name: &wanted,
                    partitions_count: partitions,
                    replication_factor: -1,
                    assignments: &[],
                    configs: &[("max.message.bytes", Some(&bytes))],
                };
                Some(planner.create_topic(&topic, topic_id))
            }
        };
        match planned {
            None => (Vec::new(), Ok(())),
            Some(Ok(command)) => (vec![command], Ok(())),
            Some(Err(fault)) => (Vec::new(), Err(fault.error_code)),
        }
    });
    planned.await??;
    let catalog = shard.catalog();
    let topic = catalog.topic(&name);
    let count = topic.map_or(0, |topic| topic.partitions.len());
    Ok(i32::try_from(count).unwrap_or(i32::MAX))
}

fn ensure_topic<P>(
    shard: &Rc<Shard>,
    name: &str,
    plan: P,
) -> impl Future<Output = Result<(), ErrorCode>> + use<P>
where
    P: FnOnce(&mut Planner<'_>, TopicId) -> Result<Command, CatalogFault> + Send + 'static,
{
    let exists = shard.catalog().topic(name).is_some();
    let topic_id = *uuid::Uuid::new_v4().as_bytes();
    let created = (!exists).then(|| {
        change(shard, move |catalog, context| {
            let layers = catalog
                .view()
                .layers(context.node_id, &context.static_configs);
            let mut planner = Planner::new(catalog, layers);
            match plan(&mut planner, topic_id) {
                Ok(command) => (vec![command], Ok(())),
                Err(fault) if fault.error_code == ErrorCode::TopicAlreadyExists => {
                    (Vec::new(), Ok(()))
                }
                Err(fault) => (Vec::new(), Err(fault.error_code)),
            }
        })
    });
    async move {
        match created {
            None => Ok(()),
            Some(created) => created.await?,
        }
    }
}

/// An id that no producer ever had.
pub(crate) async fn next_producer_id(shard: &Rc<Shard>) -> Result<i64, ErrorCode> {
    loop {
        let taken = shard
            .call(CONTROLLER_SHARD, |zero| {
                let controller = zero.controller().ok_or(ErrorCode::NotController)?;
                Ok::<_, ErrorCode>(controller.producer_ids.borrow_mut().allocate().ok())
            })
            .await?;
        if let Some(producer_id) = taken {
            return Ok(producer_id);
        }
        // Several may ask at once; a block too many is only a gap in the numbers.
        change(shard, |_catalog, context| {
            (
                vec![Command::AllocateProducerIds {
                    node_id: context.node_id,
                }],
                (),
            )
        })
        .await?;
    }
}

impl Controller {
    /// Finds or creates the controller's log and replays it.
    ///
    /// # Errors
    /// A sentence for the operator: a log that cannot be read must not be guessed.
    pub(crate) async fn open(
        shard: &Rc<Shard>,
        engine: &LogEngine,
        context: PlanContext,
    ) -> Result<Rc<Self>, String> {
        let key = LogKey {
            topic_id: METADATA_TOPIC_ID,
            partition: 0,
        };
        let config = LogConfig {
            uses_reserve: true,
            ..LogConfig::default()
        };
        let log = engine.create_log(key, METADATA_TOPIC, config);
        let partition = shard.state().open_metadata(shard, log);
        partition.wait_until_ready().await;
        if let Some(failure) = partition.failure() {
            return Err(format!("the log of the controller: {failure}"));
        }
        let controller = Rc::new(Self {
            partition,
            catalog: RefCell::new(Catalog::new()),
            context,
            jobs: RefCell::default(),
            job_added: Notify::default(),
            producer_ids: RefCell::new(ProducerIds::new()),
            deleted: RefCell::default(),
        });
        controller.replay().await?;
        Ok(controller)
    }

    async fn replay(&self) -> Result<(), String> {
        let log = self.partition.log();
        let (mut offset, end) = (log.log_start_offset(), self.partition.high_watermark());
        while offset < end {
            let pieces = log
                .read(offset, end, CONTROLLER_READ_BYTES, true)
                .await
                .map_err(|error| format!("the log of the controller at {offset}: {error}"))?;
            let before = offset;
            for piece in &pieces {
                offset = self.replay_piece(piece).map_err(|reason| {
                    format!("the log of the controller behind offset {before}: {reason}")
                })?;
            }
            if offset <= before {
                return Err(format!("the log of the controller has a hole at {before}"));
            }
        }
        let view = self.catalog.borrow().snapshot();
        info!(
            topics = view.topics_count(),
            partitions = view.partitions_count(),
            "catalog loaded"
        );
        Ok(())
    }

    /// Applies the commands of whole batches; returns the offset behind them.
    fn replay_piece(&self, bytes: &[u8]) -> Result<i64, String> {
        let mut next_offset = 0;
        let mut rest = bytes;
        while let Some((view, after)) =
            BatchView::split_first(rest).map_err(|error| error.to_string())?
        {
            rest = after;
            next_offset = view.header().next_offset();
            view.check_crc().map_err(|error| error.to_string())?;
            let mut scratch = Vec::new();
            let records = view
                .records(&DecompressLimits::default(), &mut scratch)
                .map_err(|error| error.to_string())?;
            for record in records {
                let record = record.map_err(|error| error.to_string())?;
                let value = record.value.ok_or("a command without value")?;
                let command = Command::decode(value).map_err(|error| error.to_string())?;
                self.note(&self.catalog.borrow_mut().apply(&command), false);
            }
        }
        Ok(next_offset)
    }

    /// Keeps what the controller itself needs of a change.
    fn note(&self, applied: &Applied, is_new: bool) {
        match applied {
            Applied::TopicDeleted(topic) => {
                self.deleted.borrow_mut().insert(topic.topic_id);
            }
            // After a restart the rest of an old block is given up: ids are never handed out twice.
            Applied::ProducerIds { node_id, block }
                if is_new && *node_id == self.context.node_id =>
            {
                self.producer_ids.borrow_mut().handle_block(block.clone());
            }
            Applied::NodeRegistered { .. }
            | Applied::TopicCreated(_)
            | Applied::PartitionsCreated { .. }
            | Applied::TopicConfigsAltered(_)
            | Applied::BrokerConfigsAltered
            | Applied::ProducerIds { .. }
            | Applied::Rejected(_) => {}
        }
    }

    /// The catalog as it is.
    pub(crate) fn snapshot(&self) -> Arc<CatalogSnapshot> {
        self.catalog.borrow().snapshot()
    }

    /// Whether a topic was deleted at some time: what is left of it may go.
    pub(crate) fn was_deleted(&self, topic_id: &TopicId) -> bool {
        self.deleted.borrow().contains(topic_id)
    }

    fn submit(&self, job: Job) {
        self.jobs.borrow_mut().push_back(job);
        self.job_added.notify();
    }

    /// Registers this node when it says something new of itself.
    pub(crate) fn register(&self, registration: NodeRegistration) {
        self.submit(Box::new(move |catalog, _context| {
            let known = catalog.view().nodes().get(&registration.node_id);
            let is_known = known.is_some_and(|node| same_node(node, &registration));
            let command = Command::RegisterNode(registration);
            let commands = if is_known { Vec::new() } else { vec![command] };
            (commands, Box::new(|_result| {}) as Done)
        }));
    }

    /// Carries out changes one after the other, for ever.
    pub(crate) async fn run(self: Rc<Self>, shard: Rc<Shard>) {
        loop {
            let job = self.jobs.borrow_mut().pop_front();
            let Some(job) = job else {
                self.job_added.wait().await;
                continue;
            };
            let (commands, done) = job(&self.catalog.borrow(), &self.context);
            if commands.is_empty() {
                done(Ok(()));
                continue;
            }
            match self.commit(&shard, &commands).await {
                Ok(()) => {
                    self.apply_everywhere(&shard, &commands).await;
                    done(Ok(()));
                }
                Err(code) => done(Err(code)),
            }
        }
    }

    /// Makes the commands durable as one batch.
    async fn commit(&self, shard: &Rc<Shard>, commands: &[Command]) -> Result<(), ErrorCode> {
        let now_ms = shard.wall_clock_ms();
        let mut builder = BatchBuilder::new(BatchOptions::default());
        for command in commands {
            let value = command.encode().map_err(|_| ErrorCode::InvalidRequest)?;
            builder
                .append(now_ms, None, Some(&value), &[])
                .map_err(|_| ErrorCode::RecordListTooLarge)?;
        }
        let batch = builder
            .finish()
            .map_err(|_| ErrorCode::RecordListTooLarge)?;
        let committed = Rc::new(Committed::default());
        let request = AppendRequest {
            batch: batch.into(),
            api_version: OWN_API_VERSION,
            now_ms,
        };
        self.partition
            .append(request, Rc::clone(&committed) as Rc<dyn AppendObserver>, 0);
        committed.wait().await
    }

    async fn apply_everywhere(&self, shard: &Rc<Shard>, commands: &[Command]) {
        let applied: Vec<Applied> = commands
            .iter()
            .map(|command| {
                let applied = self.catalog.borrow_mut().apply(command);
                self.note(&applied, true);
                applied
            })
            .collect();
        let applied: Arc<[Applied]> = applied.into();
        let snapshot = self.snapshot();
        let calls: Vec<_> = (0..shard.shard_count())
            .map(|target| {
                let (snapshot, applied) = (Arc::clone(&snapshot), Arc::clone(&applied));
                shard.call_with(target, move |there, answer| {
                    let there = Rc::clone(there);
                    drop(monoio::spawn(async move {
                        there.handle_catalog(snapshot, &applied).await;
                        answer.send(&there, ());
                    }));
                })
            })
            .collect();
        for call in calls {
            call.await;
        }
    }
}

/// Whether the catalog knows all that the node says of itself.
fn same_node(known: &Node, registration: &NodeRegistration) -> bool {
    known.incarnation == registration.incarnation
        && known.shards == registration.shards
        && known.kafka_host == registration.kafka_host
        && known.kafka_port == registration.kafka_port
}

/// Waits for one append.
#[derive(Default)]
pub(crate) struct Committed {
    result: RefCell<Option<AppendResult>>,
    told: Notify,
}

impl Committed {
    /// Waits until it is committed or refused.
    pub(crate) async fn wait(&self) -> Result<(), ErrorCode> {
        self.wait_placed().await.map(drop)
    }

    /// As [`Committed::wait`]; says where it stands.
    pub(crate) async fn wait_placed(&self) -> Result<AppendedBatch, ErrorCode> {
        loop {
            let result = self.result.borrow_mut().take();
            match result {
                Some(Ok(appended)) => return Ok(appended),
                Some(Err(fault)) => return Err(fault.error),
                None => self.told.wait().await,
            }
        }
    }
}

impl AppendObserver for Committed {
    fn handle_append(&self, _place: usize, result: AppendResult) {
        *self.result.borrow_mut() = Some(result);
        self.told.notify();
    }
}
