//! Publishes of one connection on their way into the log.
//!
//! What it is        the publishes that are ready in one read become one batch per partition. A
//!                   publish whose topic has to be made, or whose memory is not there, waits, and
//!                   everything behind it does.
//! Invariants        1. messages of one connection to one partition keep their order.
//!                   2. memory is reserved from the requests budget before a batch is built, and
//!                      goes back when its outcome is known.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use kafka_lite::error_code::ErrorCode;
use kafka_lite::record_batch::{BatchBuilder, BatchOptions, RecordHeader};
use mqtt::connection::Output;
use mqtt::inbound::PublishToken;
use mqtt::mapping::{Mapping, Target};
use mqtt::message::Message;
use mqtt::reason::ReasonCode;
use mqtt::record::{Headers, StoredMessage};
use tracing::{debug, warn};

use super::append::{Place, append};
use super::connection::MqttConnection;
use super::exact::{self, ExactPublish};
use super::retained;
use super::retaining::Retaining;
use super::topics::{self, Found};
use crate::limits::{MQTT_BATCH_BYTES_MAX, MQTT_MESSAGE_OVERHEAD_BYTES};
use crate::partition::{AppendFault, AppendResult};
use crate::shard::Shard;
use crate::shard::memory_budget::Reservation;
use crate::shard::promise::promise;

/// Whether a publish was taken.
pub(super) enum Taken {
    /// It is on its way, or dropped.
    Yes,
    /// It is given back, to be tried again.
    MustWait(Output),
}

/// Publishes that are ready, by partition.
pub(super) struct PublishBatch {
    now_ms: i64,
    groups: Vec<Group>,
}

/// The messages to one partition.
struct Group {
    place: Place,
    builder: BatchBuilder,
    tokens: Vec<PublishToken>,
    retained: Vec<Retaining>,
    memory: Vec<Reservation>,
}

/// What a message takes with it beside its record.
struct Ready {
    token: Option<PublishToken>,
    retained: Option<Retaining>,
    memory: Reservation,
}

impl PublishBatch {
    pub(super) fn new(shard: &Shard) -> Self {
        Self {
            now_ms: shard.wall_clock_ms(),
            groups: Vec::new(),
        }
    }

    /// Takes a publish of the core.
    pub(super) fn take(
        &mut self,
        shard: &Rc<Shard>,
        connection: &Rc<MqttConnection>,
        output: Output,
    ) -> Taken {
        let Output::Publish {
            token,
            exactly_once_id,
            message,
        } = &output
        else {
            return Taken::Yes;
        };
        let service = shard.state().mqtt();
        let client_id = connection.client_id();
        let mut target = service.mapping.target(&message.topic, &client_id);
        let mut found = topics::find(shard, &target.topic, target.key.as_bytes());
        if found == Found::Refused || connection.falls_back.replace(false) {
            target = Mapping::catch_all(&message.topic);
            found = topics::find(shard, &target.topic, target.key.as_bytes());
        }
        let place = match found {
            Found::Place(place) => place,
            Found::Missing => {
                make_topic(shard, connection, target.topic);
                return Taken::MustWait(output);
            }
            Found::Refused => {
                self.refuse(shard, connection, *token);
                return Taken::Yes;
            }
        };
        let Some(memory) = self.reserve(shard, connection, message, token.is_some()) else {
            if token.is_some() {
                return Taken::MustWait(output);
            }
            // At most once: dropped under load, and counted.
            service.metrics.count_dropped();
            return Taken::Yes;
        };
        service.metrics.count_publish(message.qos, target.rule);
        let record = OwnRecord::new(shard, place, message, &target, &client_id);
        let retained = retaining(shard, message, &client_id);
        match (*token, *exactly_once_id) {
            (Some(token), Some(packet_id)) if connection.expiry_seconds.get() > 0 => {
                let publish = ExactPublish {
                    token,
                    packet_id,
                    place,
                    record,
                    retained,
                    memory,
                };
                exact::start(shard, connection, publish);
            }
            (token, _) => {
                let ready = Ready {
                    token,
                    retained,
                    memory,
                };
                self.add(shard, connection, place, &record, ready);
            }
        }
        Taken::Yes
    }

    /// Reserves memory for a message; if there is none and it may wait, asks to be tried again.
    fn reserve(
        &self,
        shard: &Rc<Shard>,
        connection: &Rc<MqttConnection>,
        message: &Message,
        may_wait: bool,
    ) -> Option<Reservation> {
        let granted = connection.granted.take();
        if granted.is_some() {
            return granted;
        }
        let length = message.topic.len() + message.payload.len();
        let bytes = u64::try_from(length).unwrap_or(u64::MAX) + MQTT_MESSAGE_OVERHEAD_BYTES;
        let budget = Rc::clone(&shard.budgets().requests);
        let memory = budget.try_reserve(bytes);
        if memory.is_none() && may_wait {
            connection.wait();
            let (shard, connection) = (Rc::clone(shard), Rc::clone(connection));
            drop(monoio::spawn(async move {
                let memory = budget.reserve(bytes).await;
                if !connection.is_closed() {
                    *connection.granted.borrow_mut() = Some(memory);
                    connection.go_on(&shard);
                }
            }));
        }
        memory
    }

    fn add(
        &mut self,
        shard: &Rc<Shard>,
        connection: &Rc<MqttConnection>,
        place: Place,
        record: &OwnRecord,
        ready: Ready,
    ) {
        let is_full = |group: &Group| {
            group.builder.uncompressed_bytes() + record.size_bytes() > MQTT_BATCH_BYTES_MAX
        };
        let mut number = self.groups.iter().position(|group| group.place == place);
        if let Some(full) = number.filter(|number| self.groups.get(*number).is_some_and(is_full)) {
            let group = self.groups.swap_remove(full);
            send_group(shard, connection, group);
            number = None;
        }
        let number = number.unwrap_or(self.groups.len());
        if number == self.groups.len() {
            self.groups.push(Group {
                place,
                builder: BatchBuilder::new(BatchOptions::default()),
                tokens: Vec::new(),
                retained: Vec::new(),
                memory: Vec::new(),
            });
        }
        let Some(group) = self.groups.get_mut(number) else {
            return;
        };
        group.tokens.extend(ready.token);
        group.retained.extend(ready.retained);
        group.memory.push(ready.memory);
        if let Err(error) = record.append_to(&mut group.builder, self.now_ms) {
            // A packet has less than a batch can say.
            warn!(%error, "an MQTT message fits no record");
        }
    }

    fn refuse(
        &self,
        shard: &Rc<Shard>,
        connection: &Rc<MqttConnection>,
        token: Option<PublishToken>,
    ) {
        shard.state().mqtt().metrics.count_refused();
        if let Some(token) = token {
            connection.handle_published(shard, &[token], ReasonCode::QuotaExceeded);
        }
    }

    /// Appends what was taken.
    pub(super) fn send(self, shard: &Rc<Shard>, connection: &Rc<MqttConnection>) {
        for group in self.groups {
            send_group(shard, connection, group);
        }
    }
}

fn send_group(shard: &Rc<Shard>, connection: &Rc<MqttConnection>, group: Group) {
    let Group {
        place,
        builder,
        tokens,
        retained,
        memory,
    } = group;
    let (home, connection) = (Rc::clone(shard), Rc::clone(connection));
    let finish = move |outcome: ReasonCode| {
        drop(memory);
        if outcome.is_error() {
            home.state().mqtt().metrics.count_refused();
        }
        if !tokens.is_empty() {
            connection.handle_published(&home, &tokens, outcome);
        }
    };
    let batch = match builder.finish() {
        Ok(batch) => Bytes::from(batch),
        Err(error) => {
            warn!(%error, "a batch of MQTT messages cannot be built");
            return finish(ReasonCode::ImplementationSpecific);
        }
    };
    let home = Rc::clone(shard);
    append(shard, place, batch, move |result| {
        let outcome = outcome_of(&result);
        if let Err(fault) = &result {
            debug!(?place, ?fault, "the log takes no batch of MQTT messages");
        }
        if retained.is_empty() || outcome.is_error() {
            return finish(outcome);
        }
        drop(monoio::spawn(async move {
            finish(retain_all(&home, retained).await);
        }));
    });
}

/// Retains messages that are in the log already.
async fn retain_all(shard: &Rc<Shard>, messages: Vec<Retaining>) -> ReasonCode {
    let mut outcome = ReasonCode::Success;
    for message in messages {
        if retained::retain(shard, message).await.is_err() {
            outcome = ReasonCode::QuotaExceeded;
        }
    }
    outcome
}

/// Publishes a message of no connection: a last will. Returns when it is committed.
pub(super) async fn publish_alone(
    shard: &Rc<Shard>,
    client_id: &Arc<str>,
    message: &Message,
) -> ReasonCode {
    let Ok((place, target)) = place_of(shard, client_id, message).await else {
        return ReasonCode::QuotaExceeded;
    };
    let service = Rc::clone(shard.state().mqtt());
    service.metrics.count_publish(message.qos, target.rule);
    let record = OwnRecord::new(shard, place, message, &target, client_id);
    let retained = retaining(shard, message, client_id);
    let outcome = append_alone(shard, place, &record).await;
    if outcome.is_error() {
        return outcome;
    }
    retain_all(shard, retained.into_iter().collect()).await
}

/// Finds where a message goes; makes its topic, or takes the catch-all if that cannot be.
///
/// Errors: why not even the catch-all can be made.
pub(super) async fn place_of(
    shard: &Rc<Shard>,
    client_id: &str,
    message: &Message,
) -> Result<(Place, Target), ErrorCode> {
    let mut target = shard
        .state()
        .mqtt()
        .mapping
        .target(&message.topic, client_id);
    let mut refused = ErrorCode::InvalidTopicException;
    for is_last in [false, false, true] {
        match topics::find(shard, &target.topic, target.key.as_bytes()) {
            Found::Place(place) => return Ok((place, target)),
            Found::Missing => match topics::make(shard, target.topic.clone()).await {
                Ok(()) => continue,
                Err(code) => refused = code,
            },
            Found::Refused => {}
        }
        if !is_last {
            target = Mapping::catch_all(&message.topic);
        }
    }
    Err(refused)
}

/// Announces a message that is to be retained.
fn retaining(shard: &Shard, message: &Message, client_id: &Arc<str>) -> Option<Retaining> {
    let stored = || StoredMessage {
        message: message.clone(),
        client_id: Some(Arc::clone(client_id)),
        timestamp_ms: shard.wall_clock_ms(),
    };
    message.retain.then(|| Retaining::begin(shard, stored()))
}

/// Appends one record behind what was appended before; the future ends when it is committed, or
/// refused.
pub(super) fn append_alone(
    shard: &Rc<Shard>,
    place: Place,
    record: &OwnRecord,
) -> impl Future<Output = ReasonCode> + use<> {
    let (told, result) = promise();
    let mut builder = BatchBuilder::new(BatchOptions::default());
    let built = record.append_to(&mut builder, shard.wall_clock_ms());
    match built.and_then(|()| builder.finish()) {
        Ok(batch) => append(shard, place, Bytes::from(batch), move |result| {
            told.fulfil(outcome_of(&result))
        }),
        Err(_too_large) => told.fulfil(ReasonCode::ImplementationSpecific),
    }
    result
}

fn outcome_of(result: &AppendResult) -> ReasonCode {
    match result {
        Ok(_) => ReasonCode::Success,
        Err(fault) => reason_of(fault),
    }
}

/// What a client is told of a batch that the log did not take.
fn reason_of(fault: &AppendFault) -> ReasonCode {
    let is_quota = matches!(
        fault.error,
        ErrorCode::KafkaStorageError | ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge
    );
    if is_quota {
        ReasonCode::QuotaExceeded
    } else {
        ReasonCode::ImplementationSpecific
    }
}

/// Makes a topic and goes on; what cannot be made goes to the catch-all.
fn make_topic(shard: &Rc<Shard>, connection: &Rc<MqttConnection>, name: String) {
    connection.wait();
    let (shard, connection) = (Rc::clone(shard), Rc::clone(connection));
    drop(monoio::spawn(async move {
        if let Err(code) = topics::make(&shard, name.clone()).await {
            warn!(
                topic = name,
                ?code,
                "a topic for MQTT messages cannot be made"
            );
            connection.falls_back.set(true);
            if name == mqtt::mapping::CATCH_ALL_TOPIC {
                connection.end(&shard, ReasonCode::QuotaExceeded);
                return;
            }
        }
        connection.go_on(&shard);
    }));
}

/// A message in the form of a record.
pub(super) struct OwnRecord {
    key: String,
    value: Option<Bytes>,
    headers: Headers,
}

impl OwnRecord {
    pub(super) fn new(
        shard: &Rc<Shard>,
        place: Place,
        message: &Message,
        target: &Target,
        client_id: &str,
    ) -> Self {
        let mut headers = Headers::of(message, client_id);
        for (name, value) in &target.headers {
            headers.put(name.as_bytes(), value.as_bytes());
        }
        let deletes = message.payload.is_empty() && topics::is_compacted(shard, place.topic_id);
        Self {
            key: target.key.clone(),
            value: (!deletes).then(|| message.payload.clone()),
            headers,
        }
    }

    /// Adds a header behind the others.
    pub(super) fn put_header(&mut self, name: &[u8], value: &[u8]) {
        self.headers.put(name, value);
    }

    /// Bytes of the record, roughly.
    fn size_bytes(&self) -> usize {
        let headers = self.headers.iter();
        let headers: usize = headers
            .map(|one| one.key.len() + one.value.map_or(0, <[u8]>::len) + 4)
            .sum();
        self.key.len() + self.value.as_ref().map_or(0, Bytes::len) + headers + 32
    }

    pub(super) fn append_to(
        &self,
        builder: &mut BatchBuilder,
        now_ms: i64,
    ) -> Result<(), kafka_lite::record_batch::BuildError> {
        let headers: Vec<RecordHeader<'_>> = self.headers.iter().collect();
        builder.append(
            now_ms,
            Some(self.key.as_bytes()),
            self.value.as_deref(),
            &headers,
        )
    }
}
