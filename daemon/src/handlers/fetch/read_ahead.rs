//! Reading ahead: the disk reads on while a consumer takes what it has got.
//!
//! What it is        the next part of a partition, kept until the fetch that asks for it.
//! What it is not    a cache: what is kept is given once, to whoever asks for exactly that offset.
//! Invariants        1. it holds at most half of the budget for answers together with all who use
//!                   it, and gives everything back before anybody waits for it. 2. nothing at or
//!                   behind the high watermark is read. 3. a failed read says nothing here: the
//!                   fetch reads again and answers with the error.
//! Reading order     [`read`], [`ReadAhead`].

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use kafka_lite::primitive::Uuid;
use storage::disk::Clock;
use storage::{LogRead, ReadError};

use super::read::ReadOrder;
use crate::limits::{
    FETCH_RESPONSE_BYTES_MAX, READ_AHEAD_BYTES_MIN, READ_AHEAD_KEPT, READ_AHEAD_PAUSES,
};
use crate::metrics::{Family, Kind};
use crate::partition::Partition;
use crate::shard::Shard;
use crate::shard::memory_budget::{MemoryBudget, Reservation};
use crate::shard::notify::Notify;

static READS: Family = Family {
    name: "sluice_fetch_read_ahead_total",
    help: "reads of a partition before its consumer asked, by whether it asked in time",
    kind: Kind::Counter,
};

/// Topic, partition, and the offset from which on it was read.
type Key = (Uuid, i32, i64);

/// What is read ahead on one shard.
#[derive(Debug)]
pub(crate) struct ReadAhead {
    reads: RefCell<BTreeMap<Key, Rc<AheadRead>>>,
    budget: Rc<MemoryBudget>,
    /// Fetches that still go without.
    pauses: Cell<u32>,
    used: Cell<u64>,
    unused: Cell<u64>,
}

/// One read, on its way or done. Its memory is given back when nobody has it any more.
#[derive(Debug)]
struct AheadRead {
    /// `None` while the disk is at work.
    found: RefCell<Option<LogRead>>,
    done: Notify,
    began: Duration,
    _memory: Reservation,
}

/// Bounds of one read.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReadBounds {
    /// Exclusive.
    pub(super) high_watermark: i64,
    pub(super) max_bytes: usize,
    pub(super) at_least_one: bool,
}

/// Reads what was ordered, and has the shard read on if the consumer seems to go on.
///
/// # Errors
/// Those of [`storage::PartitionLog::read`].
pub(super) async fn read(
    shard: &Rc<Shard>,
    partition: &Rc<Partition>,
    order: &ReadOrder,
    bounds: ReadBounds,
) -> Result<LogRead, ReadError> {
    let ahead = shard.state().read_ahead();
    let ReadBounds {
        high_watermark,
        max_bytes,
        at_least_one,
    } = bounds;
    let key = (order.topic_id, order.index, order.offset);
    let read = match ahead.take(key, max_bytes, at_least_one).await {
        Some(read) => read,
        None => {
            let log = partition.log();
            log.read_on(order.offset, high_watermark, max_bytes, at_least_one)
                .await?
        }
    };
    let full_bytes = ahead.answer_bytes(order.max_bytes);
    let is_full = read.byte_count() >= READ_AHEAD_BYTES_MIN.max(full_bytes >> 1);
    if let Some(next) = read.next_offset.filter(|_| is_full) {
        ahead.go_on(shard, partition, (order, next), high_watermark);
    }
    Ok(read)
}

impl ReadAhead {
    /// Nothing is read ahead yet; the memory comes from `budget`.
    pub(crate) fn new(budget: &Rc<MemoryBudget>) -> Rc<Self> {
        let ahead = Rc::new(Self {
            reads: RefCell::default(),
            budget: Rc::clone(budget),
            pauses: Cell::new(0),
            used: Cell::new(0),
            unused: Cell::new(0),
        });
        let spare = Rc::downgrade(&ahead);
        budget.on_shortage(move || {
            if let Some(ahead) = spare.upgrade() {
                ahead.drop_where(|_| true);
            }
        });
        ahead
    }

    /// Shows the counters from now on.
    pub(crate) fn register(self: &Rc<Self>, shard: &Shard) {
        let ahead = Rc::clone(self);
        shard.register_collector(move |collector| {
            collector.number(&READS, &[("outcome", "used")], ahead.used.get());
            collector.number(&READS, &[("outcome", "unused")], ahead.unused.get());
        });
    }

    /// Forgets what nobody asked for in [`READ_AHEAD_KEPT`].
    pub(crate) fn drop_old(&self, now: Duration) {
        self.drop_where(|read| now.saturating_sub(read.began) >= READ_AHEAD_KEPT);
    }

    fn drop_where(&self, is_over: impl Fn(&AheadRead) -> bool) {
        let mut dropped = 0;
        self.reads.borrow_mut().retain(|_, read| {
            let is_kept = !is_over(read);
            dropped += u64::from(!is_kept);
            is_kept
        });
        if dropped > 0 {
            self.unused.set(self.unused.get() + dropped);
            self.pauses.set(READ_AHEAD_PAUSES);
        }
    }

    /// Bytes of an answer that is full, for one partition.
    fn answer_bytes(&self, max_bytes: usize) -> usize {
        let quarter = usize::try_from(self.budget.limit_bytes() >> 2).unwrap_or(usize::MAX);
        max_bytes.min(quarter).min(FETCH_RESPONSE_BYTES_MAX)
    }

    /// What was read from this offset on; the read may still be on its way. What does not fit stays
    /// for the next fetch. `None` when there is nothing.
    async fn take(&self, key: Key, max_bytes: usize, at_least_one: bool) -> Option<LogRead> {
        let read = self.reads.borrow_mut().remove(&key)?;
        while read.found.borrow().is_none() {
            read.done.wait().await;
        }
        let (taken, is_rest) = {
            let mut found = read.found.borrow_mut();
            let found = found.as_mut()?;
            let taken = found.take_front(max_bytes, at_least_one);
            (taken, found.byte_count() > 0)
        };
        if taken.pieces.is_empty() && !is_rest {
            return None;
        }
        if !taken.pieces.is_empty() {
            self.used.set(self.used.get() + 1);
        }
        if is_rest {
            let rest_offset = taken.next_offset.unwrap_or(key.2);
            let rest_key = (key.0, key.1, rest_offset);
            self.reads.borrow_mut().insert(rest_key, read);
        }
        Some(taken)
    }

    /// Reads from `next` on, or from behind what is there already.
    fn go_on(
        self: &Rc<Self>,
        shard: &Rc<Shard>,
        partition: &Rc<Partition>,
        (order, next): (&ReadOrder, i64),
        high_watermark: i64,
    ) {
        let Some(offset) = self.end_of_chain((order.topic_id, order.index, next)) else {
            return;
        };
        if offset >= high_watermark || self.is_paused() {
            return;
        }
        let bytes = self.answer_bytes(order.max_bytes);
        let Some(memory) = self.reserve(bytes) else {
            return;
        };
        let read = Rc::new(AheadRead {
            found: RefCell::default(),
            done: Notify::default(),
            began: shard.clock().now(),
            _memory: memory,
        });
        let key = (order.topic_id, order.index, offset);
        self.reads.borrow_mut().insert(key, Rc::clone(&read));
        let partition = Rc::clone(partition);
        drop(monoio::spawn(async move {
            let log = partition.log();
            let found = log.read_on(offset, high_watermark, bytes, false).await;
            read.found.replace(Some(found.unwrap_or_default()));
            read.done.notify();
        }));
    }

    /// The first offset from this one on that is not read ahead; `None` while a read is on its way.
    fn end_of_chain(&self, (topic_id, index, next): Key) -> Option<i64> {
        let reads = self.reads.borrow();
        let mut offset = next;
        while let Some(read) = reads.get(&(topic_id, index, offset)) {
            offset = read.found.borrow().as_ref()?.next_offset?;
        }
        Some(offset)
    }

    fn is_paused(&self) -> bool {
        let left = self.pauses.get();
        self.pauses.set(left.saturating_sub(1));
        left > 0
    }

    /// Only from the first half of the budget: the other is for who waits already.
    fn reserve(&self, bytes: usize) -> Option<Reservation> {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let used = self.budget.used_bytes().saturating_add(bytes);
        if used > self.budget.limit_bytes() >> 1 {
            return None;
        }
        self.budget.try_reserve(bytes)
    }
}
