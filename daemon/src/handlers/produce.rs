//! Produce: batches go to their partitions in order, the answer waits for what `acks` asks.
//!
//! What it is        the fan-out to partitions and shards, and the collection of their outcomes.
//! Invariants        1. all appends of a request are queued before [`handle`] returns, so that a
//!                   connection's requests reach a partition in their order. 2. one message per
//!                   other
//!                   shard. 3. the answer leaves when every partition has told its outcome, or
//!                   the time that the client gives is over.
//! Source            Kafka 4.x Produce 3–13; acks=0 has no answer, its faults close the connection.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::Bytes;
use kafka_lite::api::decode_body;
use kafka_lite::api::produce::{
    BatchIndexAndErrorMessage, PartitionProduceResponse, ProduceRequest, ProduceResponse,
    TopicProduceResponse,
};
use kafka_lite::error_code::ErrorCode;
use kafka_lite::primitive::Uuid;
use storage::disk::Clock;

use super::produce_deadlines::{self, Expire};
use super::{Reply, RequestContext};
use crate::controller;
use crate::partition::{AppendFault, AppendObserver, AppendRequest, AppendResult};
use crate::shard::{CallAnswer, Shard, ShardId};

/// Where one batch goes.
struct Target {
    shard: ShardId,
    topic_id: Uuid,
    index: i32,
}

/// One batch on its way to another shard.
struct RemoteAppend {
    place: usize,
    topic_id: Uuid,
    index: i32,
    batch: Bytes,
}

/// The outcomes of one request, and the answer that they make.
struct Outcomes {
    topics: Vec<(String, Uuid, Vec<i32>)>,
    results: RefCell<Vec<Option<AppendResult>>>,
    remaining: Cell<usize>,
    reply: RefCell<Option<Reply>>,
    wants_answer: bool,
}

/// Takes a Produce request.
pub(super) fn handle(shard: &Rc<Shard>, request: &RequestContext, reply: Reply) {
    let body: ProduceRequest<'_> = match decode_body(request.version, request.body()) {
        Ok(body) => body,
        Err(error) => return reply.close_undecodable(&error),
    };
    let fault = request_fault(&body);
    let count = body
        .topic_data
        .iter()
        .map(|topic| topic.partition_data.len())
        .sum();
    let outcomes = Outcomes::new(&body, count, reply);
    let mut remote: BTreeMap<ShardId, Vec<RemoteAppend>> = BTreeMap::new();
    let now_ms = shard.wall_clock_ms();
    let mut place = 0;
    for topic in &body.topic_data {
        for partition in &topic.partition_data {
            let target = match fault {
                Some(code) => Err(code),
                None => resolve(
                    shard,
                    request.version,
                    &topic.name,
                    topic.topic_id,
                    partition.index,
                ),
            };
            let batch = partition
                .records
                .map(|part| request.bytes_of(part))
                .unwrap_or_default();
            match target {
                Err(code) => outcomes.handle_append(place, Err(AppendFault::code(code))),
                Ok(Target {
                    shard: owner,
                    topic_id,
                    index,
                }) if owner == shard.id() => {
                    let append = AppendRequest {
                        batch,
                        api_version: request.version,
                        now_ms,
                    };
                    let observer = Rc::clone(&outcomes) as Rc<dyn AppendObserver>;
                    append_here(shard, (topic_id, index), append, observer, place);
                }
                Ok(Target {
                    shard: owner,
                    topic_id,
                    index,
                }) => {
                    let append = RemoteAppend {
                        place,
                        topic_id,
                        index,
                        batch,
                    };
                    remote.entry(owner).or_default().push(append);
                }
            }
            place += 1;
        }
    }
    for (owner, appends) in remote {
        send_to(shard, owner, appends, (request.version, now_ms), &outcomes);
    }
    if !outcomes.is_answered() {
        let deadline = produce_deadlines::deadline(shard.clock().now(), body.timeout_ms);
        shard.state().produce_deadlines().add(deadline, &outcomes);
    }
    // The guard of the count: without it the last local append could answer too early.
    outcomes.count_down();
}

/// What is wrong with the request as a whole.
fn request_fault(body: &ProduceRequest<'_>) -> Option<ErrorCode> {
    if body.transactional_id.is_some() {
        // Transactions are not served: no transactional id is authorised to write.
        return Some(ErrorCode::TransactionalIdAuthorizationFailed);
    }
    (!matches!(body.acks, -1..=1)).then_some(ErrorCode::InvalidRequiredAcks)
}

fn resolve(
    shard: &Rc<Shard>,
    version: i16,
    name: &str,
    topic_id: Uuid,
    index: i32,
) -> Result<Target, ErrorCode> {
    let catalog = shard.catalog();
    let (topic, unknown) = if version >= 13 {
        (catalog.topic_by_id(&topic_id.0), ErrorCode::UnknownTopicId)
    } else {
        (catalog.topic(name), ErrorCode::UnknownTopicOrPartition)
    };
    let topic = topic.ok_or(unknown)?;
    let place = controller::place(shard, topic, index);
    let owner = place.ok_or(ErrorCode::UnknownTopicOrPartition)?;
    Ok(Target {
        shard: owner,
        topic_id: Uuid(topic.topic_id),
        index,
    })
}

fn append_here(
    shard: &Rc<Shard>,
    (topic_id, index): (Uuid, i32),
    append: AppendRequest,
    observer: Rc<dyn AppendObserver>,
    place: usize,
) {
    match shard.state().partitions().get(topic_id, index) {
        Some(partition) => partition.append(append, observer, place),
        None => {
            let fault = AppendFault::code(ErrorCode::NotLeaderOrFollower);
            observer.handle_append(place, Err(fault));
        }
    }
}

/// Sends the batches of one other shard in one message and brings their outcomes home.
fn send_to(
    shard: &Rc<Shard>,
    owner: ShardId,
    appends: Vec<RemoteAppend>,
    (api_version, now_ms): (i16, i64),
    outcomes: &Rc<Outcomes>,
) {
    let results = shard.call_with(owner, move |remote, answer| {
        let observer = RemoteOutcomes::new(remote, &appends, answer);
        for (place, append) in appends.into_iter().enumerate() {
            let observer = Rc::clone(&observer) as Rc<dyn AppendObserver>;
            let key = (append.topic_id, append.index);
            let request = AppendRequest {
                batch: append.batch,
                api_version,
                now_ms,
            };
            append_here(remote, key, request, observer, place);
        }
    });
    let outcomes = Rc::clone(outcomes);
    drop(monoio::spawn(async move {
        for (place, result) in results.await {
            outcomes.handle_append(place, result);
        }
    }));
}

impl Outcomes {
    fn new(body: &ProduceRequest<'_>, count: usize, reply: Reply) -> Rc<Self> {
        let topics = body.topic_data.iter().map(|topic| {
            let indexes = topic
                .partition_data
                .iter()
                .map(|partition| partition.index)
                .collect();
            (topic.name.clone().into_owned(), topic.topic_id, indexes)
        });
        Rc::new(Self {
            topics: topics.collect(),
            results: RefCell::new((0..count).map(|_| None).collect()),
            remaining: Cell::new(count + 1),
            reply: RefCell::new(Some(reply)),
            wants_answer: body.acks != 0,
        })
    }

    fn count_down(&self) {
        let remaining = self.remaining.get() - 1;
        self.remaining.set(remaining);
        if remaining == 0 {
            self.answer();
        }
    }

    /// Whether only the guard of the count is left.
    fn is_answered(&self) -> bool {
        self.remaining.get() <= 1
    }

    fn answer(&self) {
        let Some(reply) = self.reply.borrow_mut().take() else {
            return;
        };
        let results = std::mem::take(&mut *self.results.borrow_mut());
        if !self.wants_answer {
            if results.iter().any(|result| matches!(result, Some(Err(_)))) {
                return reply.close("a batch without acknowledgement was refused");
            }
            return reply.send_nothing();
        }
        let mut results = results.into_iter();
        let topics = self
            .topics
            .iter()
            .map(|(name, topic_id, indexes)| TopicProduceResponse {
                name: name.as_str().into(),
                topic_id: *topic_id,
                partition_responses: indexes
                    .iter()
                    .map(|index| partition_response(*index, results.next().flatten()))
                    .collect(),
            });
        let responses = topics.collect();
        reply.send(&ProduceResponse {
            responses,
            ..ProduceResponse::default()
        });
    }
}

impl Expire for Outcomes {
    fn expire(&self) {
        for result in self.results.borrow_mut().iter_mut() {
            let timed_out = || Err(AppendFault::code(ErrorCode::RequestTimedOut));
            result.get_or_insert_with(timed_out);
        }
        self.answer();
    }
}

impl AppendObserver for Outcomes {
    fn handle_append(&self, place: usize, result: AppendResult) {
        if let Some(slot) = self.results.borrow_mut().get_mut(place) {
            debug_assert!(slot.is_none(), "an outcome is told once");
            *slot = Some(result);
        }
        self.count_down();
    }
}

fn partition_response(
    index: i32,
    result: Option<AppendResult>,
) -> PartitionProduceResponse<'static> {
    let result = result.unwrap_or_else(|| Err(AppendFault::code(ErrorCode::NotLeaderOrFollower)));
    match result {
        Ok(appended) => PartitionProduceResponse {
            index,
            base_offset: appended.base_offset,
            log_append_time_ms: appended.log_append_time_ms,
            log_start_offset: Some(appended.log_start_offset),
            ..PartitionProduceResponse::default()
        },
        Err(fault) => {
            let record_error = |(batch_index, message)| BatchIndexAndErrorMessage {
                batch_index,
                batch_index_error_message: Some(String::into(message)),
            };
            PartitionProduceResponse {
                index,
                error_code: fault.error,
                base_offset: -1,
                record_errors: fault.record_errors.into_iter().map(record_error).collect(),
                error_message: fault.message.map(String::into),
                ..PartitionProduceResponse::default()
            }
        }
    }
}

/// Outcomes by place in the request.
type PlacedResults = Vec<(usize, AppendResult)>;

/// Outcomes on the owner's shard, on their way to the shard of the connection.
struct RemoteOutcomes {
    shard: Rc<Shard>,
    results: RefCell<PlacedResults>,
    places: Vec<usize>,
    answer: RefCell<Option<CallAnswer<PlacedResults>>>,
}

impl RemoteOutcomes {
    fn new(
        shard: &Rc<Shard>,
        appends: &[RemoteAppend],
        answer: CallAnswer<PlacedResults>,
    ) -> Rc<Self> {
        Rc::new(Self {
            shard: Rc::clone(shard),
            results: RefCell::new(Vec::with_capacity(appends.len())),
            places: appends.iter().map(|append| append.place).collect(),
            answer: RefCell::new(Some(answer)),
        })
    }
}

impl AppendObserver for RemoteOutcomes {
    fn handle_append(&self, place: usize, result: AppendResult) {
        let Some(place) = self.places.get(place).copied() else {
            return;
        };
        let is_complete = {
            let mut results = self.results.borrow_mut();
            results.push((place, result));
            results.len() == self.places.len()
        };
        if !is_complete {
            return;
        }
        let results = std::mem::take(&mut *self.results.borrow_mut());
        if let Some(answer) = self.answer.borrow_mut().take() {
            answer.send(&self.shard, results);
        }
    }
}
