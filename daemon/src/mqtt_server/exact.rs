//! Publishes with QoS 2 of sessions that outlive their connection.
//!
//! What it is        the order of an intent, its record and its release; see
//!                   docs/decisions/2026-11-24-mqtt.md "Sessions and exactly once".
//! Invariants        1. a message is appended only when its intent is committed. 2. an intent whose
//!                      message was refused is removed before the client hears of it. 3. the
//!                      messages of a connection are appended in the order in which they came
//!                      [MQTT-4.6.0-2], whatever order their intents are committed in.

use std::cell::RefCell;
use std::rc::Rc;

use mqtt::inbound::PublishToken;
use mqtt::reason::ReasonCode;
use mqtt::record::DELIVERY;
use mqtt::session::Intent;

use super::append::Place;
use super::connection::MqttConnection;
use super::fetch::end_offset;
use super::publish::{OwnRecord, append_alone};
use super::registry::owner_of;
use super::retained;
use super::retaining::Retaining;
use super::sessions::{self, name_of};
use crate::shard::Shard;
use crate::shard::memory_budget::Reservation;
use crate::shard::promise::{Fulfil, Promise, promise};

/// A message on its way.
pub(super) struct ExactPublish {
    pub(super) token: PublishToken,
    pub(super) packet_id: u16,
    pub(super) place: Place,
    pub(super) record: OwnRecord,
    pub(super) retained: Option<Retaining>,
    pub(super) memory: Reservation,
}

/// The place of a message behind the one before it; gone when the message is appended or cannot be.
struct Turn {
    before: Option<Promise<()>>,
    passed: Option<Fulfil<()>>,
}

impl Turn {
    fn behind(last: &RefCell<Option<Promise<()>>>) -> Self {
        let (passed, appended) = promise();
        Self {
            before: last.replace(Some(appended)),
            passed: Some(passed),
        }
    }

    /// Waits until the message before is appended.
    async fn come(&mut self) {
        if let Some(before) = self.before.take() {
            before.await;
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(passed) = self.passed.take() {
            passed.fulfil(());
        }
    }
}

/// Appends the message exactly once; the connection hears of it.
pub(super) fn start(shard: &Rc<Shard>, connection: &Rc<MqttConnection>, publish: ExactPublish) {
    connection.exact.begin();
    let turn = Turn::behind(&connection.last_exact);
    let (shard, connection) = (Rc::clone(shard), Rc::clone(connection));
    drop(monoio::spawn(async move {
        let token = publish.token;
        let outcome = run(&shard, &connection, publish, turn).await;
        connection.exact.end();
        connection.handle_published(&shard, &[token], outcome);
    }));
}

async fn run(
    shard: &Rc<Shard>,
    connection: &Rc<MqttConnection>,
    publish: ExactPublish,
    mut turn: Turn,
) -> ReasonCode {
    let ExactPublish {
        packet_id,
        place,
        mut record,
        retained,
        memory,
        ..
    } = publish;
    let Ok(offset) = end_offset(shard, place).await else {
        return ReasonCode::ImplementationSpecific;
    };
    let intent = Intent {
        name: name_of(place),
        offset,
        delivery: uuid::Uuid::new_v4().into_bytes(),
    };
    let client_id = connection.client_id();
    let owner = owner_of(shard, &client_id);
    let intended = shard.call_with(owner, move |there, answer| {
        let there = Rc::clone(there);
        drop(monoio::spawn(async move {
            let result = sessions::intend(&there, &client_id, packet_id, intent).await;
            answer.send(&there, result);
        }));
    });
    if intended.await.is_err() {
        return ReasonCode::QuotaExceeded;
    }
    record.put_header(DELIVERY, &intent.delivery);
    turn.come().await;
    let appended = append_alone(shard, place, &record);
    drop(turn);
    let outcome = appended.await;
    drop(memory);
    if outcome.is_error() {
        // A release that is not stored leaves an intent without its record: harmless.
        let _later: bool = release(shard, connection, packet_id).await;
    } else if let Some(message) = retained
        && retained::retain(shard, message).await.is_err()
    {
        shard.state().mqtt().metrics.count_refused();
    }
    outcome
}

/// Frees a packet identifier, durably; false when that could not be stored.
pub(super) async fn release(
    shard: &Rc<Shard>,
    connection: &Rc<MqttConnection>,
    packet_id: u16,
) -> bool {
    let client_id = connection.client_id();
    let owner = owner_of(shard, &client_id);
    let released = shard.call_with(owner, move |there, answer| {
        let there = Rc::clone(there);
        drop(monoio::spawn(async move {
            let result = sessions::release(&there, &client_id, packet_id).await;
            answer.send(&there, result.is_ok());
        }));
    });
    released.await
}
