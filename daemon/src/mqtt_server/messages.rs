//! Messages of a partition for those who are served from the log.
//!
//! What it is        one read of committed batches, made into messages once for all subscribers
//!                   that stand at the same offset: thousands of them wake up for one record.
//! What it is not    the choice of who gets what.
//! Invariants        1. memory comes from the responses budget before anything is read, and stays
//!                      reserved as long as the messages are kept for others. 2. at most
//!                      [`MQTT_SHARED_READS_MAX`] reads are kept.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use kafka_lite::catalog::Topic;
use kafka_lite::primitive::Uuid;
use kafka_lite::record_batch::Record;
use mqtt::record::StoredMessage;
use mqtt::session::PartitionName;

use super::append::Place;
use super::fetch::{Unreadable, fetch, for_each_record};
use super::sessions::name_of;
use crate::controller;
use crate::limits::{MQTT_FETCH_BYTES, MQTT_HELD_BYTES_MAX, MQTT_SHARED_READS_MAX};
use crate::shard::Shard;
use crate::shard::memory_budget::Reservation;
use crate::shard::notify::Notify;

/// A message and its offset.
pub(super) type Read = (i64, Rc<StoredMessage>);

/// Reads of one shard that others may want as well.
#[derive(Default)]
pub(super) struct SharedReads {
    reads: RefCell<VecDeque<Rc<SharedRead>>>,
    count: Cell<u64>,
}

/// One read; others wait for it while it is under way.
struct SharedRead {
    place: Place,
    from: i64,
    found: OnceCell<Result<Rc<Messages>, Unreadable>>,
    done: Notify,
}

/// The messages of whole batches.
struct Messages {
    messages: Vec<(Read, usize)>,
    /// Offset behind the last batch.
    behind: i64,
    _memory: Reservation,
}

/// Messages that are wanted.
pub(super) struct Wanted {
    pub(super) messages: Vec<Read>,
    /// Everything before this offset was looked at.
    pub(super) behind: i64,
}

impl SharedReads {
    /// Batches that were made into messages.
    pub(super) fn count(&self) -> u64 {
        self.count.get()
    }

    /// A read at this offset, or one that is there and holds it.
    fn find(&self, place: Place, from: i64) -> Option<Rc<SharedRead>> {
        let reads = self.reads.borrow();
        let mut found = reads
            .iter()
            .filter(|one| one.place == place && (one.from == from || one.holds(from)));
        found.next().cloned()
    }

    fn add(&self, read: &Rc<SharedRead>) {
        let mut reads = self.reads.borrow_mut();
        if reads.len() >= MQTT_SHARED_READS_MAX {
            reads.pop_front();
        }
        reads.push_back(Rc::clone(read));
    }

    fn remove(&self, read: &Rc<SharedRead>) {
        let mut reads = self.reads.borrow_mut();
        reads.retain(|other| !Rc::ptr_eq(other, read));
    }
}

/// The messages of a partition at `from` and behind it that `is_wanted` says, as many as one source
/// may hold.
pub(super) async fn read(
    shard: &Rc<Shard>,
    place: Place,
    from: i64,
    is_wanted: impl Fn(&StoredMessage) -> bool,
) -> Result<Wanted, Unreadable> {
    let all = read_all(shard, place, from).await?;
    let mut wanted = Wanted {
        messages: Vec::new(),
        behind: all.behind,
    };
    let mut bytes = 0;
    for ((offset, stored), record_bytes) in &all.messages {
        if *offset < from || !is_wanted(stored) {
            continue;
        }
        if !wanted.messages.is_empty() && bytes + record_bytes > MQTT_HELD_BYTES_MAX {
            // What a slow client waits for is in the log.
            wanted.behind = *offset;
            break;
        }
        bytes += record_bytes;
        wanted.messages.push((*offset, Rc::clone(stored)));
    }
    Ok(wanted)
}

async fn read_all(shard: &Rc<Shard>, place: Place, from: i64) -> Result<Rc<Messages>, Unreadable> {
    let service = Rc::clone(shard.state().mqtt());
    let known = service.reads.find(place, from);
    if let Some(read) = known {
        return read.wait().await;
    }
    let read = Rc::new(SharedRead {
        place,
        from,
        found: OnceCell::new(),
        done: Notify::default(),
    });
    service.reads.add(&read);
    let found = fetch_all(shard, place, from).await;
    // What is empty or unreadable now may be different when the next one comes.
    let is_kept = found.as_ref().is_ok_and(|found| found.behind > from);
    if !is_kept {
        service.reads.remove(&read);
    }
    let _first: Result<(), _> = read.found.set(found.clone());
    read.done.notify();
    found
}

impl SharedRead {
    fn holds(&self, offset: i64) -> bool {
        let found = self.found.get().and_then(|found| found.as_ref().ok());
        found.is_some_and(|found| self.from <= offset && offset < found.behind)
    }

    async fn wait(&self) -> Result<Rc<Messages>, Unreadable> {
        loop {
            if let Some(found) = self.found.get() {
                // Others may wait as well: the wake-up is passed on.
                self.done.notify();
                return found.clone();
            }
            self.done.wait().await;
        }
    }
}

async fn fetch_all(shard: &Rc<Shard>, place: Place, from: i64) -> Result<Rc<Messages>, Unreadable> {
    let bytes = u64::try_from(MQTT_FETCH_BYTES).unwrap_or(u64::MAX);
    let memory = shard.budgets().responses.reserve(bytes).await;
    let fetched = fetch(shard, place, from).await?;
    let service = shard.state().mqtt();
    let outgoing = topic_of(shard, place);
    let outgoing = outgoing
        .as_ref()
        .and_then(|topic| Some((&topic.name, service.outgoing.rule(&topic.name)?)));
    let mut messages = Vec::new();
    let behind = for_each_record(&fetched.pieces, from, |record| {
        let published = StoredMessage::read(record);
        let stored =
            published.or_else(|| outgoing.and_then(|(name, rule)| rule.message(name, record)));
        if let Some(stored) = stored {
            messages.push(((record.offset, Rc::new(stored)), record_bytes(record)));
        }
    });
    service.reads.count.set(service.reads.count.get() + 1);
    Ok(Rc::new(Messages {
        messages,
        behind: behind.max(fetched.log_start_offset),
        _memory: memory,
    }))
}

/// The message at an offset; `None` when the log has none there any more.
pub(super) async fn read_one(shard: &Rc<Shard>, place: Place, offset: i64) -> Option<Read> {
    let found = read_all(shard, place, offset).await.ok()?;
    let mut messages = found.messages.iter();
    let ((_, stored), _) = messages.find(|((at, _), _)| *at == offset)?;
    Some((offset, Rc::clone(stored)))
}

fn topic_of(shard: &Rc<Shard>, place: Place) -> Option<Arc<Topic>> {
    shard.catalog().topic_by_id(&place.topic_id.0).cloned()
}

/// Bytes that a message takes while it waits for its subscriber, roughly.
fn record_bytes(record: &Record<'_>) -> usize {
    let length = |part: Option<&[u8]>| part.map_or(0, <[u8]>::len);
    let headers = record
        .headers
        .map(|header| header.key.len() + length(header.value));
    length(record.value) + length(record.key) + headers.sum::<usize>()
}

/// The partitions of a topic, if it may hold messages that one of the filters matches.
pub(super) fn places<'a>(
    shard: &Rc<Shard>,
    topic: &Arc<Topic>,
    mut filters: impl Iterator<Item = &'a str>,
) -> Vec<(Place, PartitionName)> {
    let service = shard.state().mqtt();
    let may_feed = |filter: &str| {
        service.mapping.may_feed(&topic.name, filter)
            || service.outgoing.may_feed(&topic.name, filter)
    };
    if topic.is_internal() || !filters.any(may_feed) {
        return Vec::new();
    }
    let count = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
    let place = |index| {
        let place = Place {
            shard: controller::place(shard, topic, index)?,
            topic_id: Uuid(topic.topic_id),
            index,
        };
        Some((place, name_of(place)))
    };
    (0..count).filter_map(place).collect()
}
