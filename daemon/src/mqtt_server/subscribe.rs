//! SUBSCRIBE and UNSUBSCRIBE, and the subscriptions of a session that goes on.
//!
//! Invariants        1. a subscription is stored and in force before its SUBACK leaves. 2. what is
//!                      retained comes behind the SUBACK, and never for a shared subscription.
//! Source            MQTT 5.0 §3.8, §3.10, §4.8.2.

use std::rc::Rc;
use std::sync::Arc;

use mqtt::filter::is_shared;
use mqtt::message::Qos;
use mqtt::packet::{FilterRequest, RetainHandling, Subscribe, Unsubscribe};
use mqtt::reason::ReasonCode;
use mqtt::session::{Session, Subscription};

use super::connection::MqttConnection;
use super::deliver::{self, Deliveries};
use super::{member, open, retained};
use crate::limits::MQTT_SUBSCRIPTIONS_MAX;
use crate::shard::Shard;

/// Takes the filters of a SUBSCRIBE; SUBACK leaves, then what is retained.
pub(super) async fn subscribe(
    shard: &Rc<Shard>,
    connection: &Rc<MqttConnection>,
    subscribe: Subscribe,
) {
    let deliveries = connection.deliveries();
    let mut reasons = Vec::new();
    let mut retained_filters = Vec::new();
    for request in &subscribe.filters {
        let reason = if is_shared(&request.filter) {
            take_shared(shard, connection, (request, subscribe.identifier)).await
        } else {
            let wants_retained = wants_retained(&deliveries, request);
            let reason = take(&deliveries, request, subscribe.identifier);
            if wants_retained && !reason.is_error() {
                retained_filters.push(Arc::clone(&request.filter));
            }
            reason
        };
        reasons.push(reason);
    }
    let session = Session::default();
    deliver::open_sources(shard, connection, &deliveries, &session, false).await;
    if !open::save_now(shard, connection).await {
        return connection.end(shard, ReasonCode::QuotaExceeded);
    }
    // Looked up before SUBACK leaves: what is published behind it comes once, and not as retained.
    let mut found = Vec::new();
    for filter in retained_filters {
        found.extend(retained::find(shard, filter).await);
    }
    connection
        .core
        .borrow_mut()
        .handle_subscribed(subscribe.packet_id, &reasons);
    connection.flush(shard);
    member::start(shard, connection, &deliveries);
    for message in found {
        deliver::deliver_retained(shard, connection, &deliveries, &message).await;
    }
}

fn wants_retained(deliveries: &Deliveries, request: &FilterRequest) -> bool {
    match request.retain_handling {
        RetainHandling::Send => true,
        RetainHandling::SendIfNew => deliveries.subscription(&request.filter).is_none(),
        RetainHandling::Never => false,
    }
}

/// Takes one filter; what it says replaces an earlier subscription to the same filter.
fn take(deliveries: &Deliveries, request: &FilterRequest, identifier: Option<u32>) -> ReasonCode {
    // QoS 2 is granted as QoS 1.
    let qos = request.qos.min(Qos::AtLeastOnce);
    let subscription = Subscription {
        filter: request.filter.to_string(),
        qos: qos.level(),
        no_local: request.no_local,
        retain_as_published: request.retain_as_published,
        identifier,
    };
    if !deliveries.put_subscription(subscription, MQTT_SUBSCRIPTIONS_MAX) {
        return ReasonCode::QuotaExceeded;
    }
    match qos {
        Qos::AtMostOnce => ReasonCode::Success,
        Qos::AtLeastOnce | Qos::ExactlyOnce => ReasonCode::GrantedQos1,
    }
}

async fn take_shared(
    shard: &Rc<Shard>,
    connection: &Rc<MqttConnection>,
    (request, identifier): (&FilterRequest, Option<u32>),
) -> ReasonCode {
    let deliveries = connection.deliveries();
    let reason = take(&deliveries, request, identifier);
    if reason.is_error() {
        return reason;
    }
    match member::join(shard, connection, &deliveries, &request.filter).await {
        Ok(()) => reason,
        Err(refused) => {
            deliveries.drop_subscription(&request.filter);
            refused
        }
    }
}

/// Drops the filters of an UNSUBSCRIBE; UNSUBACK leaves.
pub(super) async fn unsubscribe(
    shard: &Rc<Shard>,
    connection: &Rc<MqttConnection>,
    unsubscribe: Unsubscribe,
) {
    let deliveries = connection.deliveries();
    let mut reasons = Vec::new();
    for filter in &unsubscribe.filters {
        reasons.push(if deliveries.drop_subscription(filter) {
            ReasonCode::Success
        } else {
            ReasonCode::NoSubscriptionExisted
        });
        member::unsubscribe(shard, &deliveries, filter).await;
    }
    if !open::save_now(shard, connection).await {
        return connection.end(shard, ReasonCode::QuotaExceeded);
    }
    connection
        .core
        .borrow_mut()
        .handle_unsubscribed(unsubscribe.packet_id, &reasons);
}

/// Goes on where a session that was resumed had ended.
pub(super) async fn start(shard: &Rc<Shard>, connection: &Rc<MqttConnection>, session: &Session) {
    let deliveries = connection.deliveries();
    deliver::open_sources(shard, connection, &deliveries, session, true).await;
    for one in session.subscriptions.iter().filter(|one| one.is_shared()) {
        let group = one.filter.as_str().into();
        if let Err(reason) = member::join(shard, connection, &deliveries, &group).await {
            return connection.end(shard, reason);
        }
    }
    member::start(shard, connection, &deliveries);
}
