//! One fetch session: its partitions and what the client was last told of each.
//!
//! What it is        the partitions in fetch order; one that gave records goes to the end, so that
//!                   all get their turn under `max_bytes`.
//! What it is not    aware of other sessions or of time beyond its own stamps.
//! Invariants        1. `order_of` and `by_order` hold the same partitions.
//! Source            Kafka 4.3 `FetchSession`, `CachedPartition.maybeUpdateResponseData`.

use std::collections::BTreeMap;

use crate::error_code::ErrorCode;

use super::context::{FetchPartition, ForgottenPartition, PartitionAnswer, TopicKey};

type PartitionKey = (TopicKey, i32);

/// A partition of a session.
#[derive(Clone, Debug)]
struct CachedPartition {
    request: FetchPartition,
    /// As last answered; `None` when the next answer must be sent whatever it is.
    answered: Option<Answered>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Answered {
    high_watermark: i64,
    last_stable_offset: i64,
    log_start_offset: i64,
}

/// One session.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) epoch: i32,
    pub(super) uses_topic_ids: bool,
    pub(super) created_ms: i64,
    pub(super) last_used_ms: i64,
    order_of: BTreeMap<PartitionKey, u64>,
    by_order: BTreeMap<u64, CachedPartition>,
    next_order: u64,
}

impl Session {
    pub(super) fn new(now_ms: i64, uses_topic_ids: bool) -> Self {
        Self {
            epoch: 1,
            uses_topic_ids,
            created_ms: now_ms,
            last_used_ms: now_ms,
            order_of: BTreeMap::new(),
            by_order: BTreeMap::new(),
            next_order: 0,
        }
    }

    /// Adds partitions, or updates what they ask for; removes the forgotten ones.
    pub(super) fn update(&mut self, add: Vec<FetchPartition>, forgotten: &[ForgottenPartition]) {
        for request in add {
            let key = (request.topic.clone(), request.partition);
            let known = self
                .order_of
                .get(&key)
                .and_then(|order| self.by_order.get_mut(order));
            if let Some(partition) = known {
                partition.request = request;
            } else {
                self.push(
                    key,
                    CachedPartition {
                        request,
                        answered: None,
                    },
                );
            }
        }
        for partition in forgotten {
            let key = (partition.topic.clone(), partition.partition);
            if let Some(order) = self.order_of.remove(&key) {
                self.by_order.remove(&order);
            }
        }
        self.check_invariants();
    }

    /// Notes what is answered for a partition; returns whether the response must carry it.
    pub(super) fn answer(&mut self, request: &FetchPartition, answer: &PartitionAnswer) -> bool {
        let key = (request.topic.clone(), request.partition);
        let Some(order) = self.order_of.get(&key).copied() else {
            return true;
        };
        let Some(partition) = self.by_order.get_mut(&order) else {
            return true;
        };
        let now = Answered {
            high_watermark: answer.high_watermark,
            last_stable_offset: answer.last_stable_offset,
            log_start_offset: answer.log_start_offset,
        };
        let is_error = answer.error_code != ErrorCode::None;
        let is_news = is_error
            || answer.has_redirection
            || answer.records_bytes > 0
            || partition.answered != Some(now);
        partition.answered = (!is_error).then_some(now);
        if answer.records_bytes > 0
            && let Some(partition) = self.by_order.remove(&order)
        {
            self.push(key, partition);
        }
        is_news
    }

    /// Moves to the next epoch, which wraps to 1.
    pub(super) fn bump_epoch(&mut self) {
        self.epoch = if self.epoch == i32::MAX {
            1
        } else {
            self.epoch + 1
        };
    }

    /// Returns the partitions in the order in which they are to be read.
    pub(super) fn partitions(&self) -> impl Iterator<Item = &FetchPartition> {
        self.by_order.values().map(|partition| &partition.request)
    }

    pub(super) fn len(&self) -> usize {
        self.by_order.len()
    }

    fn push(&mut self, key: PartitionKey, partition: CachedPartition) {
        self.order_of.insert(key, self.next_order);
        self.by_order.insert(self.next_order, partition);
        self.next_order += 1;
    }

    fn check_invariants(&self) {
        debug_assert_eq!(self.order_of.len(), self.by_order.len(), "invariant 1");
    }
}
