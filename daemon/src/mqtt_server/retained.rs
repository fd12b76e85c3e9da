//! Retained messages: the last one of each topic, on the shard that owns `__mqtt_retained`.
//!
//! What it is        an index in memory over the compacted topic; loaded at start.
//! Invariants        1. the index follows the order of the log. 2. its memory is bounded: beyond
//!                      the limit a message is delivered, and not retained.
//! Source            MQTT 5.0 §3.3.1.3.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use kafka_lite::catalog::MQTT_RETAINED_TOPIC;
use kafka_lite::error_code::ErrorCode;
use kafka_lite::primitive::Uuid;
use kafka_lite::record_batch::{BatchBuilder, BatchOptions, RecordHeader};
use mqtt::filter::matches;
use mqtt::record::{Headers, StoredMessage};
use tracing::warn;

use super::append::{Place, append};
use super::fetch::{fetch, for_each_record};
use super::retaining::{self, Retaining};
use super::sessions::ensure_topic;
use crate::controller;
use crate::limits::{MQTT_MESSAGE_OVERHEAD_BYTES, MQTT_RETAINED_BYTES_MAX};
use crate::partition::Partition;
use crate::shard::{CallAnswer, Shard};

/// Retained messages by topic.
#[derive(Default)]
pub(super) struct Retained {
    messages: RefCell<BTreeMap<Arc<str>, StoredMessage>>,
    bytes: Cell<u64>,
}

impl Retained {
    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.messages.borrow().len()
    }

    fn set(&self, topic: &str, message: Option<StoredMessage>) {
        let mut messages = self.messages.borrow_mut();
        let before = messages.remove(topic);
        let freed = before.as_ref().map_or(0, size_bytes);
        let bytes = self.bytes.get() - freed;
        self.bytes.set(bytes);
        let Some(message) = message else { return };
        let more = size_bytes(&message);
        if bytes + more > MQTT_RETAINED_BYTES_MAX {
            warn!(topic, "no room to retain a message");
            return;
        }
        self.bytes.set(bytes + more);
        messages.insert(topic.into(), message);
    }

    fn matching(&self, filter: &str) -> Vec<StoredMessage> {
        let messages = self.messages.borrow();
        let found = messages.iter().filter(|(topic, _)| matches(filter, topic));
        found.map(|(_, message)| message.clone()).collect()
    }
}

fn size_bytes(message: &StoredMessage) -> u64 {
    let length = message.message.payload.len() + 2 * message.message.topic.len();
    u64::try_from(length).unwrap_or(u64::MAX) + MQTT_MESSAGE_OVERHEAD_BYTES
}

fn place(shard: &Rc<Shard>) -> Option<Place> {
    let catalog = shard.catalog();
    let topic = catalog.topic(MQTT_RETAINED_TOPIC)?;
    Some(Place {
        shard: controller::place(shard, topic, 0)?,
        topic_id: Uuid(topic.topic_id),
        index: 0,
    })
}

/// Reads what is retained, on the partition's shard.
pub(crate) async fn load(shard: Rc<Shard>, partition: Rc<Partition>) {
    let place = Place {
        shard: shard.id(),
        topic_id: partition.topic_id(),
        index: partition.index(),
    };
    let (mut offset, end) = (
        partition.log().log_start_offset(),
        partition.high_watermark(),
    );
    while offset < end {
        let Ok(fetched) = fetch(&shard, place, offset).await else {
            warn!(
                ?partition,
                "retained messages are loaded up to a record that cannot be read"
            );
            return;
        };
        let retained = &shard.state().mqtt().retained;
        let next = for_each_record(&fetched.pieces, offset, |record| {
            let topic = record.key.and_then(|key| std::str::from_utf8(key).ok());
            if let Some(topic) = topic {
                let message = record.value.and_then(|_| StoredMessage::read(record));
                retained.set(topic, message);
            }
        });
        if next <= offset {
            return;
        }
        offset = next;
    }
}

/// Retains a message, or deletes what its topic retains when its payload is empty; returns when
/// that is committed.
pub(super) async fn retain(shard: &Rc<Shard>, retaining: Retaining) -> Result<(), ErrorCode> {
    let message = retaining.message.clone();
    if place(shard).is_none() {
        if message.message.payload.is_empty() {
            return Ok(());
        }
        ensure_topic(shard, MQTT_RETAINED_TOPIC).await?;
    }
    let place = place(shard).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let retained = shard.call_with(place.shard, move |there, answer| {
        if let Err((answer, code)) = append_here(there, place, message, answer) {
            answer.send(there, Err(code));
        }
    });
    retained.await
}

type Answer = CallAnswer<Result<(), ErrorCode>>;

/// Appends on the owner's shard: the index changes with the commit, in the order of the log.
fn append_here(
    shard: &Rc<Shard>,
    place: Place,
    message: StoredMessage,
    answer: Answer,
) -> Result<(), (Answer, ErrorCode)> {
    let deletes = message.message.payload.is_empty();
    let client_id = message.client_id.clone().unwrap_or_default();
    let headers = Headers::of(&message.message, &client_id);
    let fields: Vec<RecordHeader<'_>> = headers.iter().collect();
    let (key, value) = (
        message.message.topic.as_bytes(),
        &message.message.payload[..],
    );
    let mut builder = BatchBuilder::new(BatchOptions::default());
    let value = (!deletes).then_some(value);
    let built = builder.append(message.timestamp_ms, Some(key), value, &fields);
    let Ok(batch) = built.and_then(|()| builder.finish()) else {
        return Err((answer, ErrorCode::RecordListTooLarge));
    };
    let home = Rc::clone(shard);
    append(shard, place, Bytes::from(batch), move |result| {
        let result = result.map(drop).map_err(|fault| fault.error);
        if result.is_ok() {
            let topic = Arc::clone(&message.message.topic);
            let kept = (!deletes).then_some(message);
            home.state().mqtt().retained.set(&topic, kept);
        }
        answer.send(&home, result);
    });
    Ok(())
}

/// The retained messages that a filter matches, those included whose publish subscribers saw
/// before this was called.
pub(super) async fn find(shard: &Rc<Shard>, filter: Arc<str>) -> Vec<StoredMessage> {
    retaining::wait_until_settled(shard, &filter).await;
    let Some(place) = place(shard) else {
        return Vec::new();
    };
    let found = shard.call(place.shard, move |there| {
        there.state().mqtt().retained.matching(&filter)
    });
    found.await
}
