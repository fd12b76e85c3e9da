//! Fetch: reads partitions, waits for more when there is too little, answers what changed.
//!
//! What it is        the long poll over partitions of all shards, and the memory of its answer.
//! What it is not    which partitions a session reads and shows: `kafka_lite::fetch_session`
//! decides.
//! Invariants        1. a fetch watches its partitions before it reads them, so that nothing that
//!                   commits in between is missed. 2. the bytes of an answer are reserved before
//!                   they
//!                   are read and given back when the answer is written. 3. an error or enough
//!                   bytes
//!                   answer at once; otherwise the answer comes at `max_wait_ms` or up to 1/8
//!                   later, together with those of others, not before. 4. without news it is
//!                   the answer that was read before the wait.
//! Source            Kafka 4.x Fetch 4–17; KIP-74 (sizes), KIP-227 (sessions), KIP-516 (topic ids).
//! Reading order     [`handle`], [`read`], [`read_ahead`], [`answer`].

mod answer;
mod read;
mod read_ahead;

pub(crate) use self::read_ahead::ReadAhead;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use kafka_lite::api::decode_body;
use kafka_lite::api::fetch::FetchRequest;
use kafka_lite::error_code::ErrorCode;
use kafka_lite::fetch_session::{
    FetchContext, FetchPartition, ForgottenPartition, SessionRequest, TopicKey,
};
use kafka_lite::primitive::Uuid;
use storage::disk::Clock;

use self::read::{PartitionRead, ReadOrder};
use super::{Reply, RequestContext};
use crate::controller;
use crate::limits::{FETCH_RESPONSE_BYTES_MAX, FETCH_WAIT_MAX, FETCH_WAIT_STEP_MAX};
use crate::partition::ReadSignal;
use crate::shard::memory_budget::Reservation;
use crate::shard::{Shard, ShardId};

/// Isolation level of a client that reads only what is committed.
const READ_COMMITTED: i8 = 1;

/// A fetch on its way.
struct Fetch {
    shard: Rc<Shard>,
    context: FetchContext,
    orders: Vec<Result<ReadOrder, ErrorCode>>,
    max_bytes: usize,
    min_bytes: usize,
    deadline: Duration,
    wants_committed: bool,
}

/// Takes a Fetch request.
pub(super) fn handle(shard: &Rc<Shard>, request: &RequestContext, reply: Reply) {
    let body: FetchRequest<'_> = match decode_body(request.version, request.body()) {
        Ok(body) => body,
        Err(error) => return reply.close_undecodable(&error),
    };
    if body.replica_id >= 0 || body.replica_state.replica_id >= 0 {
        // CVE-2018-1288: a client must not pass for a replica.
        return reply.close("a client fetches as a replica");
    }
    let context = shard.state().fetch_sessions().borrow_mut().handle_request(
        shard.wall_clock_ms(),
        session_request(request.version, &body),
    );
    let context = match context {
        Ok(context) => context,
        Err(fault) => return answer::refuse(reply, fault.error_code()),
    };
    let orders = context
        .partitions
        .iter()
        .map(|part| resolve(shard, part))
        .collect();
    let wait = Duration::from_millis(u64::try_from(body.max_wait_ms).unwrap_or(0));
    let fetch = Fetch {
        orders,
        context,
        max_bytes: byte_count(body.max_bytes).min(FETCH_RESPONSE_BYTES_MAX),
        min_bytes: byte_count(body.min_bytes),
        deadline: shared_deadline(shard.clock().now(), wait.min(FETCH_WAIT_MAX)),
        wants_committed: body.isolation_level == READ_COMMITTED,
        shard: Rc::clone(shard),
    };
    drop(monoio::spawn(fetch.run(reply)));
}

/// End of a wait that starts `now`, moved back to the next of the moments which waits of this
/// length share: one wake-up of the shard ends many of them. A power of two of milliseconds lies
/// between two such moments, at most 1/8 of the wait and [`FETCH_WAIT_STEP_MAX`].
fn shared_deadline(now: Duration, wait: Duration) -> Duration {
    let step = (wait / 8).min(FETCH_WAIT_STEP_MAX).as_millis();
    let Some(step_bits) = step.checked_ilog2() else {
        return now + wait;
    };
    let end = (now + wait).as_millis();
    let shared = end.div_ceil(1 << step_bits) << step_bits;
    u64::try_from(shared)
        .map_or(now + wait, Duration::from_millis)
        .max(now + wait)
}

fn byte_count(bytes: i32) -> usize {
    usize::try_from(bytes).unwrap_or(0)
}

fn session_request(version: i16, body: &FetchRequest<'_>) -> SessionRequest {
    let uses_topic_ids = version >= 13;
    let key = |name: &str, id: Uuid| {
        if uses_topic_ids {
            TopicKey::Id(id.0)
        } else {
            TopicKey::Name(name.into())
        }
    };
    let mut partitions = Vec::new();
    for topic in &body.topics {
        let topic_key = key(&topic.topic, topic.topic_id);
        partitions.extend(topic.partitions.iter().map(|partition| FetchPartition {
            topic: topic_key.clone(),
            partition: partition.partition,
            current_leader_epoch: partition.current_leader_epoch,
            fetch_offset: partition.fetch_offset,
            last_fetched_epoch: partition.last_fetched_epoch,
            max_bytes: partition.partition_max_bytes,
        }));
    }
    let mut forgotten = Vec::new();
    for topic in &body.forgotten_topics_data {
        let topic_key = key(&topic.topic, topic.topic_id);
        forgotten.extend(topic.partitions.iter().map(|partition| ForgottenPartition {
            topic: topic_key.clone(),
            partition: *partition,
        }));
    }
    SessionRequest {
        session_id: body.session_id,
        session_epoch: body.session_epoch,
        uses_topic_ids,
        partitions,
        forgotten,
    }
}

fn resolve(shard: &Rc<Shard>, wanted: &FetchPartition) -> Result<ReadOrder, ErrorCode> {
    let catalog = shard.catalog();
    let (topic, unknown) = match &wanted.topic {
        TopicKey::Name(name) => (catalog.topic(name), ErrorCode::UnknownTopicOrPartition),
        TopicKey::Id(id) => (catalog.topic_by_id(id), ErrorCode::UnknownTopicId),
    };
    let topic = topic.ok_or(unknown)?;
    let place = controller::place(shard, topic, wanted.partition);
    Ok(ReadOrder {
        shard: place.ok_or(ErrorCode::UnknownTopicOrPartition)?,
        topic_id: Uuid(topic.topic_id),
        index: wanted.partition,
        offset: wanted.fetch_offset,
        current_leader_epoch: wanted.current_leader_epoch,
        last_fetched_epoch: wanted.last_fetched_epoch,
        max_bytes: byte_count(wanted.max_bytes),
    })
}

impl Fetch {
    async fn run(self, reply: Reply) {
        loop {
            let signal = ReadSignal::new();
            let must_watch = self.shard.clock().now() < self.deadline;
            if must_watch {
                self.watch(&signal);
            }
            let reservation = self.reserve().await;
            let reads = self.read_all(reservation.bytes()).await;
            let is_last = !must_watch || reply.connection().is_closed();
            let is_enough = self.is_enough(&reads, reservation.bytes());
            if is_last || is_enough || self.shard.is_stopping() {
                return answer::send(&self, reads, Some(reservation), reply);
            }
            let is_empty = reads.iter().all(|read| read.pieces.is_empty());
            let kept = is_empty.then_some(reads);
            drop(reservation);
            self.wait(&signal, &reply).await;
            if let Some(reads) = kept
                && !signal.is_raised()
            {
                return answer::send(&self, reads, None, reply);
            }
        }
    }

    /// Memory of the answer: all that is asked for if it is there, otherwise what a small answer
    /// takes.
    async fn reserve(&self) -> Reservation {
        let budget = &self.shard.budgets().responses;
        let partitions_bytes: usize = self
            .orders
            .iter()
            .flatten()
            .map(|order| order.max_bytes)
            .sum();
        let wanted = self.max_bytes.min(partitions_bytes.max(1));
        let wanted = u64::try_from(wanted).unwrap_or(u64::MAX);
        budget.reserve(wanted.min(budget.limit_bytes() >> 2)).await
    }

    /// A fetch of nothing, as at the end of a session, has nothing to wait for. An answer that
    /// holds half of what it may hold is full: whole batches do not fill it to the byte.
    fn is_enough(&self, reads: &[PartitionRead], memory_bytes: u64) -> bool {
        let memory_bytes = usize::try_from(memory_bytes).unwrap_or(usize::MAX);
        let full_bytes = (self.max_bytes.min(memory_bytes) >> 1).max(1);
        let bytes: usize = reads.iter().map(PartitionRead::byte_count).sum();
        bytes >= self.min_bytes.min(full_bytes)
            || reads.is_empty()
            || reads.iter().any(|read| !read.error_code.is_none())
    }

    /// Asks every partition to raise `signal` when there is something new.
    fn watch(&self, signal: &Rc<ReadSignal>) {
        for (owner, orders) in self.orders_by_shard() {
            if owner == self.shard.id() {
                read::watch(&self.shard, orders.iter().map(|(_, order)| order), signal);
                continue;
            }
            let left = self.deadline.saturating_sub(self.shard.clock().now());
            let orders: Vec<ReadOrder> = orders.into_iter().map(|(_, order)| order).collect();
            let raised = self.shard.call_with(owner, move |remote, answer| {
                drop(monoio::spawn(read::wait_for_any(
                    Rc::clone(remote),
                    orders,
                    left,
                    answer,
                )));
            });
            let signal = Rc::downgrade(signal);
            drop(monoio::spawn(async move {
                let is_raised = raised.await;
                if let (true, Some(signal)) = (is_raised, signal.upgrade()) {
                    signal.signal();
                }
            }));
        }
    }

    fn orders_by_shard(&self) -> BTreeMap<ShardId, Vec<(usize, ReadOrder)>> {
        let mut by_shard: BTreeMap<ShardId, Vec<(usize, ReadOrder)>> = BTreeMap::new();
        for (place, order) in self.orders.iter().enumerate() {
            if let Ok(order) = order {
                by_shard
                    .entry(order.shard)
                    .or_default()
                    .push((place, order.clone()));
            }
        }
        by_shard
    }

    /// Reads every partition, in all no more than `memory_bytes` but the first batch whole; the
    /// results stand in the order of the request.
    async fn read_all(&self, memory_bytes: u64) -> Vec<PartitionRead> {
        let memory_bytes = usize::try_from(memory_bytes).unwrap_or(usize::MAX);
        let max_bytes = self.max_bytes.min(memory_bytes);
        let mut reads: Vec<PartitionRead> = self
            .orders
            .iter()
            .map(|order| PartitionRead::error(order.as_ref().err().copied().unwrap_or_default()))
            .collect();
        let mut remote = Vec::new();
        let mut local = Vec::new();
        let by_shard = self.orders_by_shard();
        // What one shard reads beyond its part would only be cut away again.
        let shard_bytes = max_bytes.div_ceil(by_shard.len().max(1));
        for (owner, orders) in by_shard {
            if owner == self.shard.id() {
                local = orders;
                continue;
            }
            remote.push(self.shard.call_with(owner, move |remote, answer| {
                let remote = Rc::clone(remote);
                drop(monoio::spawn(async move {
                    let found = read::read_orders(&remote, &orders, shard_bytes).await;
                    answer.send(&remote, found);
                }));
            }));
        }
        let mut found = read::read_orders(&self.shard, &local, shard_bytes).await;
        for answered in remote {
            found.extend(answered.await);
        }
        for (place, read) in found {
            if let Some(slot) = reads.get_mut(place) {
                *slot = read;
            }
        }
        read::cut_to(&mut reads, max_bytes);
        reads
    }

    /// Waits for news, the end of the wait, or the end of the connection.
    async fn wait(&self, signal: &ReadSignal, reply: &Reply) {
        let left = self.deadline.saturating_sub(self.shard.clock().now());
        monoio::select! {
            () = signal.raised() => {}
            () = monoio::time::sleep(left) => {}
            () = reply.connection().closed() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::shared_deadline;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn waits_of_one_length_end_together_and_never_early() {
        let ends: Vec<Duration> = (1_000..1_032)
            .map(|now| shared_deadline(ms(now), ms(500)))
            .collect();
        let (first, last) = (ends[0], ends[31]);
        assert_eq!((first, last), (ms(1_504), ms(1_536)));
        for (now, end) in (1_000..1_032).zip(ends) {
            assert!(
                end >= ms(now + 500) && end < ms(now + 532),
                "{now} ms: {end:?}"
            );
        }
    }

    #[test]
    fn short_waits_end_on_time() {
        for wait in 0..8 {
            let now = Duration::from_micros(1_000_300);
            assert_eq!(shared_deadline(now, ms(wait)), now + ms(wait));
        }
        assert_eq!(shared_deadline(ms(1_001), ms(16)), ms(1_018));
    }

    #[test]
    fn long_waits_end_at_most_a_step_late() {
        let now = ms(7);
        assert_eq!(shared_deadline(now, ms(60_000)), ms(60_032));
    }
}
