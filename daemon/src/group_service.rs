//! The group coordinator of a shard at work: its requests, its log, its timer.
//!
//! What it is        the glue between `kafka_lite::group::Coordinator` and the partitions of
//!                   `__consumer_offsets` that live on this shard.
//! What it is not    a rule of groups; all of them are in the coordinator.
//! Invariants        1. after each input the outputs are drained, by one loop at a time, however
//! deep
//!                   the call that brought the input. 2. each token is answered once.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use kafka_lite::error_code::ErrorCode;
use kafka_lite::group::{
    AppendError, AppendId, Coordinator, Now, Options, Output, Record, Reply, ReplyToken,
};
use kafka_lite::primitive::Uuid;
use kafka_lite::record_batch::{BatchBuilder, BatchOptions, BatchView, DecompressLimits};
use storage::disk::Clock;
use tracing::warn;

use crate::limits::GROUP_LOAD_READ_BYTES;
use crate::partition::{AppendFault, AppendObserver, AppendRequest, AppendResult, Partition};
use crate::shard::Shard;
use crate::shard::notify::Notify;

/// Produce version that the coordinator's own batches count as.
const OWN_API_VERSION: i16 = 9;

type Continuation = Box<dyn FnOnce(Reply)>;

/// The groups of one shard.
pub(crate) struct GroupService {
    coordinator: RefCell<Coordinator>,
    waiting: RefCell<BTreeMap<ReplyToken, Continuation>>,
    next_token: Cell<u64>,
    partitions: RefCell<BTreeMap<i32, Uuid>>,
    is_draining: Cell<bool>,
    timer_changed: Notify,
}

impl GroupService {
    /// A service without partitions.
    pub(crate) fn new(options: Options) -> Rc<Self> {
        Rc::new(Self {
            coordinator: RefCell::new(Coordinator::new(options)),
            waiting: RefCell::default(),
            next_token: Cell::new(0),
            partitions: RefCell::default(),
            is_draining: Cell::new(false),
            timer_changed: Notify::default(),
        })
    }

    /// Gives the coordinator a request; `then` gets the reply, now or later.
    pub(crate) fn submit(
        self: &Rc<Self>,
        shard: &Rc<Shard>,
        input: impl FnOnce(&mut Coordinator, Now, ReplyToken),
        then: impl FnOnce(Reply) + 'static,
    ) -> ReplyToken {
        let token = ReplyToken(self.next_token.get());
        self.next_token.set(token.0 + 1);
        self.waiting.borrow_mut().insert(token, Box::new(then));
        self.input(shard, |coordinator, now| input(coordinator, now, token));
        token
    }

    /// The client of a request that is held is gone.
    pub(crate) fn forget(self: &Rc<Self>, shard: &Rc<Shard>, token: ReplyToken) {
        if self.waiting.borrow_mut().remove(&token).is_some() {
            self.input(shard, |coordinator, now| {
                coordinator.handle_disconnect(now, token)
            });
        }
    }

    /// A topic is gone, and the offsets in it.
    pub(crate) fn handle_topic_deleted(self: &Rc<Self>, shard: &Rc<Shard>, topic: &str) {
        self.input(shard, |coordinator, now| {
            coordinator.handle_topic_deleted(now, topic)
        });
    }

    /// Looks at groups without changing them.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Coordinator) -> T) -> T {
        look(&self.coordinator.borrow())
    }

    /// Gives the coordinator an input and carries out what follows.
    fn input(self: &Rc<Self>, shard: &Rc<Shard>, input: impl FnOnce(&mut Coordinator, Now)) {
        input(&mut self.coordinator.borrow_mut(), now(shard));
        self.drain(shard);
    }

    fn drain(self: &Rc<Self>, shard: &Rc<Shard>) {
        if self.is_draining.replace(true) {
            return;
        }
        loop {
            let output = self.coordinator.borrow_mut().poll_output();
            match output {
                None => break,
                Some(Output::Reply { token, reply }) => {
                    let then = self.waiting.borrow_mut().remove(&token);
                    if let Some(then) = then {
                        then(reply);
                    }
                }
                Some(Output::Append {
                    id,
                    partition,
                    records,
                }) => {
                    self.append(shard, id, partition, &records);
                }
            }
        }
        self.is_draining.set(false);
        self.timer_changed.notify();
    }

    fn append(self: &Rc<Self>, shard: &Rc<Shard>, id: AppendId, index: i32, records: &[Record]) {
        let observer = Rc::new(OwnAppend {
            service: Rc::clone(self),
            shard: Rc::clone(shard),
            id,
        });
        let now_ms = shard.wall_clock_ms();
        let mut builder = BatchBuilder::new(BatchOptions::default());
        let fits = records.iter().try_for_each(|record| {
            builder.append(now_ms, Some(&record.key), record.value.as_deref(), &[])
        });
        let batch = fits.and_then(|()| builder.finish());
        let partition = self.partition(shard, index);
        match (batch, partition) {
            (Ok(batch), Some(partition)) => {
                let request = AppendRequest {
                    batch: batch.into(),
                    api_version: OWN_API_VERSION,
                    now_ms,
                };
                partition.append(request, observer, 0);
            }
            (Err(_), _) => observer.finish(Err(AppendError::TooLarge)),
            (_, None) => observer.finish(Err(AppendError::NotLeader)),
        }
    }

    fn partition(&self, shard: &Rc<Shard>, index: i32) -> Option<Rc<Partition>> {
        let topic_id = self.partitions.borrow().get(&index).copied()?;
        shard.state().partitions().get(topic_id, index)
    }

    /// Takes over a partition of `__consumer_offsets`: replays it, then serves its groups.
    pub(crate) async fn load(self: Rc<Self>, shard: Rc<Shard>, partition: Rc<Partition>) {
        let index = partition.index();
        self.partitions
            .borrow_mut()
            .insert(index, partition.topic_id());
        self.coordinator.borrow_mut().start_loading(index);
        if let Err(reason) = self.replay(&partition).await {
            warn!(
                ?partition,
                reason, "groups are loaded up to a record that cannot be read"
            );
        }
        self.input(&shard, |coordinator, now| {
            coordinator.finish_loading(now, index)
        });
    }

    async fn replay(&self, partition: &Rc<Partition>) -> Result<(), String> {
        let mut offset = partition.log().log_start_offset();
        let end = partition.log().log_end_offset();
        while offset < end {
            let pieces = partition
                .log()
                .read(offset, end, GROUP_LOAD_READ_BYTES, true)
                .await
                .map_err(|error| error.to_string())?;
            let before = offset;
            for piece in &pieces {
                offset = self.replay_batches(partition.index(), piece, offset)?;
            }
            if offset == before {
                break;
            }
        }
        Ok(())
    }

    /// Replays the batches of one piece; returns the offset behind them.
    fn replay_batches(&self, index: i32, bytes: &[u8], from: i64) -> Result<i64, String> {
        let mut next_offset = from;
        let mut rest = bytes;
        while let Some((view, after)) =
            BatchView::split_first(rest).map_err(|error| error.to_string())?
        {
            rest = after;
            next_offset = view.header().next_offset();
            if view.header().is_control() {
                continue;
            }
            let mut scratch = Vec::new();
            let records = view
                .records(&DecompressLimits::default(), &mut scratch)
                .map_err(|error| error.to_string())?;
            for record in records {
                let record = record.map_err(|error| error.to_string())?;
                let Some(key) = record.key else { continue };
                let mut coordinator = self.coordinator.borrow_mut();
                if let Err(error) = coordinator.load_record(index, key, record.value) {
                    warn!(index, offset = next_offset, %error, "a group record is passed over");
                }
            }
        }
        Ok(next_offset)
    }

    /// Lets a partition go; its groups are another coordinator's, or nobody's.
    pub(crate) fn unload(self: &Rc<Self>, shard: &Rc<Shard>, index: i32) {
        self.partitions.borrow_mut().remove(&index);
        self.input(shard, |coordinator, _now| coordinator.unload(index));
    }

    /// Runs the coordinator's timers for ever; sleeps while there are none.
    pub(crate) async fn run_timers(self: Rc<Self>, shard: Rc<Shard>) {
        loop {
            let due_ms = self.coordinator.borrow().poll_timeout();
            let now_ms = now(&shard).monotonic_ms;
            match due_ms {
                None => self.timer_changed.wait().await,
                Some(due_ms) if due_ms > now_ms => {
                    let left = std::time::Duration::from_millis(due_ms - now_ms);
                    monoio::select! {
                        () = monoio::time::sleep(left) => {}
                        () = self.timer_changed.wait() => {}
                    }
                }
                Some(_) => self.input(&shard, Coordinator::handle_timeout),
            }
        }
    }
}

/// One append of the coordinator.
struct OwnAppend {
    service: Rc<GroupService>,
    shard: Rc<Shard>,
    id: AppendId,
}

impl OwnAppend {
    fn finish(&self, result: Result<(), AppendError>) {
        self.service.input(&self.shard, |coordinator, now| {
            coordinator.handle_persisted(now, self.id, result);
        });
    }
}

impl AppendObserver for OwnAppend {
    fn handle_append(&self, _place: usize, result: AppendResult) {
        self.finish(result.map(drop).map_err(|fault| append_error(&fault)));
    }
}

fn append_error(fault: &AppendFault) -> AppendError {
    if fault.error == ErrorCode::MessageTooLarge {
        AppendError::TooLarge
    } else if fault.error == ErrorCode::NotLeaderOrFollower {
        AppendError::NotLeader
    } else {
        AppendError::Unavailable
    }
}

fn now(shard: &Rc<Shard>) -> Now {
    let monotonic_ms = u64::try_from(shard.clock().now().as_millis()).unwrap_or(u64::MAX);
    Now {
        monotonic_ms,
        timestamp_ms: shard.wall_clock_ms(),
    }
}
