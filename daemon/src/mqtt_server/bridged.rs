//! Messages of a bridge on their way into the log.
//!
//! What it is        the shard's part of a bridge: the mapping of the listener, one batch per
//!                   partition, an answer when all are committed or refused.
//! What it is not    the connection to the broker: that is `mqtt_bridge`. Nothing is retained here:
//!                   a bridged broker does not say when a retained message is deleted.
//! Invariants        1. memory is reserved from the requests budget before a batch is built.
//!                   2. a message is not appended when one before it found no place: order.

use std::rc::Rc;
use std::slice;
use std::sync::Arc;

use bytes::Bytes;
use kafka_lite::error_code::ErrorCode;
use kafka_lite::record_batch::{BatchBuilder, BatchOptions};
use mqtt::mapping::{Mapping, Target};
use mqtt::message::Message;

use super::append::{Place, append};
use super::publish::{OwnRecord, place_of};
use super::topics::{self, Found};
use crate::health;
use crate::limits::MQTT_MESSAGE_OVERHEAD_BYTES;
use crate::partition::AppendResult;
use crate::shard::Shard;
use crate::shard::promise::promise;

/// Of each message whether it is committed, or why not.
pub(crate) type Outcomes = Vec<Result<(), String>>;

/// Place of a message in the batch of the bridge, its target and its record.
type Member = (usize, Target, OwnRecord);

/// The messages to one partition.
struct Group {
    place: Place,
    members: Vec<Member>,
}

/// Appends the messages of a bridge; those of one topic in their order.
pub(crate) async fn append_all(
    shard: &Rc<Shard>,
    client_id: &Arc<str>,
    messages: &[Message],
) -> Outcomes {
    let length = |one: &Message| one.topic.len() + one.payload.len();
    let bytes = u64::try_from(messages.iter().map(length).sum::<usize>()).unwrap_or(u64::MAX);
    let count = u64::try_from(messages.len()).unwrap_or(u64::MAX);
    let overhead = count.saturating_mul(MQTT_MESSAGE_OVERHEAD_BYTES);
    let requests = Rc::clone(&shard.budgets().requests);
    let _memory = requests.reserve(bytes.saturating_add(overhead)).await;
    let mut outcomes = vec![Err("an earlier message waits".to_owned()); messages.len()];
    let mut groups: Vec<Group> = Vec::new();
    for (number, message) in messages.iter().enumerate() {
        match place_of(shard, client_id, message).await {
            Ok((place, target)) => {
                let record = OwnRecord::new(shard, place, message, &target, client_id);
                add(&mut groups, place, (number, target, record));
            }
            Err(code) => {
                if let Some(outcome) = outcomes.get_mut(number) {
                    *outcome = Err(reason(shard, "mqtt", code));
                }
                break;
            }
        }
    }
    // All are on their way before one is waited for.
    let started: Vec<_> = groups
        .iter()
        .map(|group| start(shard, group.place, &group.members))
        .collect();
    for (group, result) in groups.iter().zip(started) {
        let result = result.await;
        finish(shard, client_id, messages, group, result, &mut outcomes).await;
    }
    outcomes
}

fn add(groups: &mut Vec<Group>, place: Place, member: Member) {
    match groups.iter_mut().find(|group| group.place == place) {
        Some(group) => group.members.push(member),
        None => groups.push(Group {
            place,
            members: vec![member],
        }),
    }
}

/// Appends records as one batch, behind what was appended before.
fn start(
    shard: &Rc<Shard>,
    place: Place,
    members: &[Member],
) -> impl Future<Output = Result<AppendResult, String>> + use<> {
    let (told, result) = promise();
    let mut builder = BatchBuilder::new(BatchOptions::default());
    let now_ms = shard.wall_clock_ms();
    let mut built = Ok(());
    for (_, _, record) in members {
        built = built.and_then(|()| record.append_to(&mut builder, now_ms));
    }
    match built.and_then(|()| builder.finish()) {
        Ok(batch) => append(shard, place, Bytes::from(batch), move |result| {
            told.fulfil(Ok(result));
        }),
        Err(error) => told.fulfil(Err(error.to_string())),
    }
    result
}

/// Notes what became of a group. One that is too large for its topic is tried again message by
/// message, and a message that is too large alone in the catch-all.
async fn finish(
    shard: &Rc<Shard>,
    client_id: &Arc<str>,
    messages: &[Message],
    group: &Group,
    result: Result<AppendResult, String>,
    outcomes: &mut Outcomes,
) {
    let is_too_large = matches!(&result, Ok(Err(fault)) if is_too_large(fault.error));
    for member in &group.members {
        let (number, target, _) = member;
        let outcome = if is_too_large {
            append_one(shard, client_id, messages, group.place, member).await
        } else {
            told(shard, &target.topic, &result)
        };
        let is_stored = outcome.is_ok();
        if let (true, Some(message)) = (is_stored, messages.get(*number)) {
            let metrics = &shard.state().mqtt().metrics;
            metrics.count_publish(message.qos, target.rule);
        }
        if let Some(known) = outcomes.get_mut(*number) {
            *known = outcome;
        }
        if is_too_large && !is_stored {
            // What comes behind it in this partition keeps waiting.
            return;
        }
    }
}

async fn append_one(
    shard: &Rc<Shard>,
    client_id: &Arc<str>,
    messages: &[Message],
    place: Place,
    member: &Member,
) -> Result<(), String> {
    let (number, target, _) = member;
    let result = start(shard, place, slice::from_ref(member)).await;
    let is_too_large = matches!(&result, Ok(Err(fault)) if is_too_large(fault.error));
    let Some(message) = messages.get(*number).filter(|_| is_too_large) else {
        return told(shard, &target.topic, &result);
    };
    let other = Mapping::catch_all(&message.topic);
    let find = || topics::find(shard, &other.topic, other.key.as_bytes());
    if find() == Found::Missing {
        let made = topics::make(shard, other.topic.clone()).await;
        made.map_err(|code| reason(shard, &other.topic, code))?;
    }
    let Found::Place(place) = find() else {
        return told(shard, &target.topic, &result);
    };
    let record = OwnRecord::new(shard, place, message, &other, client_id);
    let member = (*number, other, record);
    let result = start(shard, place, slice::from_ref(&member)).await;
    told(shard, &member.1.topic, &result)
}

fn is_too_large(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge
    )
}

fn told(
    shard: &Rc<Shard>,
    topic: &str,
    result: &Result<AppendResult, String>,
) -> Result<(), String> {
    match result {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(fault)) => Err(reason(shard, topic, fault.error)),
        Err(line) => Err(format!("topic {topic}: {line}")),
    }
}

/// A sentence for the operator.
fn reason(shard: &Rc<Shard>, topic: &str, code: ErrorCode) -> String {
    let trouble = health::trouble(shard);
    trouble.unwrap_or_else(|| format!("topic {topic}: {}", code.name()))
}
