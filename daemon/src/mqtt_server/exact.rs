//! Publishes with QoS 2 of sessions that outlive their connection.
//!
//! What it is        the order of an intent, its record and its release; see
//!                   docs/decisions/2026-11-24-mqtt.md "Sessions and exactly once".
//! Invariants        1. a message is appended only when its intent is committed. 2. an intent whose
//!                      message was refused is removed before the client hears of it.

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

/// A message on its way.
pub(super) struct ExactPublish {
    pub(super) token: PublishToken,
    pub(super) packet_id: u16,
    pub(super) place: Place,
    pub(super) record: OwnRecord,
    pub(super) retained: Option<Retaining>,
    pub(super) memory: Reservation,
}

/// Appends the message exactly once; the connection hears of it.
pub(super) fn start(shard: &Rc<Shard>, connection: &Rc<MqttConnection>, publish: ExactPublish) {
    connection.exact.begin();
    let (shard, connection) = (Rc::clone(shard), Rc::clone(connection));
    drop(monoio::spawn(async move {
        let token = publish.token;
        let outcome = run(&shard, &connection, publish).await;
        connection.exact.end();
        connection.handle_published(&shard, &[token], outcome);
    }));
}

async fn run(
    shard: &Rc<Shard>,
    connection: &Rc<MqttConnection>,
    publish: ExactPublish,
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
    let outcome = append_alone(shard, place, &record).await;
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
