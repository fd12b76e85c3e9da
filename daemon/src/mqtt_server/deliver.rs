//! Messages to a subscriber, read from the log.
//!
//! What it is        one task per subscriber and partition that may hold its messages: it reads
//!                   what is committed, from the subscriber's cursor on, and sends what a filter
//!                   matches. A subscriber that is slow reads later; nothing queues up for it.
//! Invariants        1. a message of a partition is sent after all earlier ones. 2. QoS 1 messages
//!                      that are not acknowledged fit the window of the client. 3. the cursor that
//!                      is kept never passes a message that was not acknowledged.
//! Reading order     [`subscribe`], [`start`], [`run_source`].

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use kafka_lite::catalog::Topic;
use kafka_lite::primitive::Uuid;
use kafka_lite::record_batch::Record;
use mqtt::encode::Delivery;
use mqtt::filter::{matches, split_shared};
use mqtt::message::Qos;
use mqtt::outbound::Outbound;
use mqtt::packet::{RetainHandling, Subscribe, Unsubscribe};
use mqtt::reason::ReasonCode;
use mqtt::record::StoredMessage;
use mqtt::session::{Cursor, PartitionName, Session, Subscription};

use super::append::Place;
use super::connection::MqttConnection;
use super::fetch::{end_offset, fetch, for_each_record, wait_for_more};
use super::sessions::name_of;
use super::{now_ms, open, retained};
use crate::controller;
use crate::limits::{
    MQTT_CURSOR_SAVE_MS, MQTT_FETCH_BYTES, MQTT_FETCH_WAIT, MQTT_HELD_BYTES_MAX,
    MQTT_SUBSCRIPTIONS_MAX,
};
use crate::shard::Shard;
use crate::shard::notify::Notify;

/// The name under which retained messages are in flight: no partition's.
const RETAINED: PartitionName = PartitionName {
    topic_id: [0; 16],
    partition: -1,
};

/// What a connection with subscriptions keeps.
pub(super) struct Deliveries {
    subscriptions: RefCell<Vec<Subscription>>,
    outbound: RefCell<Outbound>,
    sources: RefCell<BTreeMap<PartitionName, Rc<Source>>>,
    /// The sender of retained messages waits here for the window.
    room: Notify,
    ended: Cell<bool>,
    end: Notify,
    saved_ms: Cell<u64>,
}

/// A partition that is read for the subscriber.
struct Source {
    place: Place,
    /// First offset not looked at.
    next: Cell<i64>,
    /// Messages before it were published while the client was away: only QoS 1 is sent.
    live_from: i64,
    /// It waits here for the window.
    room: Notify,
}

impl Deliveries {
    pub(super) fn new(receive_maximum: u16, session: &Session) -> Rc<Self> {
        let again = session.in_flight.iter().copied();
        Rc::new(Self {
            subscriptions: RefCell::new(session.subscriptions.clone()),
            outbound: RefCell::new(Outbound::new(receive_maximum, again)),
            sources: RefCell::default(),
            room: Notify::default(),
            ended: Cell::new(false),
            end: Notify::default(),
            saved_ms: Cell::new(0),
        })
    }

    /// How many subscriptions there are, and messages that were not acknowledged.
    pub(super) fn counts(&self) -> (usize, usize) {
        let unacknowledged = self.outbound.borrow().unacknowledged().len();
        (self.subscriptions.borrow().len(), unacknowledged)
    }

    /// The client has a message.
    pub(super) fn handle_acknowledged(&self, packet_id: u16) {
        if self.outbound.borrow_mut().handle_acknowledged(packet_id) {
            self.give_room();
        }
    }

    fn give_room(&self) {
        self.room.notify();
        for source in self.sources.borrow().values() {
            source.room.notify();
        }
    }

    /// The connection has ended: nothing more is sent.
    pub(super) fn end(&self) {
        self.ended.set(true);
        self.end.notify();
        self.give_room();
    }

    /// What is kept of the subscriber.
    pub(super) fn snapshot(&self, session: &mut Session) {
        let outbound = self.outbound.borrow();
        let sources = self.sources.borrow();
        let cursor = |(name, source): (&PartitionName, &Rc<Source>)| Cursor {
            name: *name,
            offset: outbound
                .oldest(*name)
                .unwrap_or(i64::MAX)
                .min(source.next.get()),
        };
        session
            .subscriptions
            .clone_from(&self.subscriptions.borrow());
        session.cursors = sources.iter().map(cursor).collect();
        // A retained message stands in no partition that is read.
        let mut in_flight = outbound.unacknowledged();
        in_flight.retain(|one| one.name != RETAINED);
        session.in_flight = in_flight;
    }

    /// The quality for a message, whether its retain flag is kept, and the identifiers; `None` when
    /// no subscription matches.
    fn matching(&self, topic: &str, is_own: bool) -> Option<(Qos, bool, Vec<u32>)> {
        let subscriptions = self.subscriptions.borrow();
        let found = subscriptions
            .iter()
            .filter(|one| matches(&one.filter, topic) && !(one.no_local && is_own));
        let mut best: Option<(Qos, bool, Vec<u32>)> = None;
        for one in found {
            let (qos, keeps_retain, identifiers) = best.get_or_insert_default();
            *qos = one.quality().max(*qos);
            *keeps_retain |= one.retain_as_published;
            identifiers.extend(one.identifier);
        }
        best
    }

    async fn wait_for_end(&self) {
        while !self.ended.get() {
            self.end.wait().await;
        }
        // The other sources must see it too.
        self.end.notify();
    }
}

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
        let is_shared = !matches!(split_shared(&request.filter), Ok((None, _)));
        let mut subscriptions = deliveries.subscriptions.borrow_mut();
        let known = subscriptions
            .iter()
            .position(|one| one.filter == *request.filter);
        if is_shared {
            reasons.push(ReasonCode::SharedSubscriptionsNotSupported);
            continue;
        }
        if known.is_none() && subscriptions.len() >= MQTT_SUBSCRIPTIONS_MAX {
            reasons.push(ReasonCode::QuotaExceeded);
            continue;
        }
        let wants_retained = match request.retain_handling {
            RetainHandling::Send => true,
            RetainHandling::SendIfNew => known.is_none(),
            RetainHandling::Never => false,
        };
        if wants_retained {
            retained_filters.push(Arc::clone(&request.filter));
        }
        // QoS 2 is granted as QoS 1.
        let qos = request.qos.min(Qos::AtLeastOnce);
        let subscription = Subscription {
            filter: request.filter.to_string(),
            qos: qos.level(),
            no_local: request.no_local,
            retain_as_published: request.retain_as_published,
            identifier: subscribe.identifier,
        };
        match known.and_then(|known| subscriptions.get_mut(known)) {
            Some(earlier) => *earlier = subscription,
            None => subscriptions.push(subscription),
        }
        reasons.push(match qos {
            Qos::AtMostOnce => ReasonCode::Success,
            Qos::AtLeastOnce | Qos::ExactlyOnce => ReasonCode::GrantedQos1,
        });
    }
    open_sources(shard, connection, &deliveries, &Session::default(), false).await;
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
    for message in found {
        deliver_retained(shard, connection, &deliveries, &message).await;
    }
}

/// Drops the filters of an UNSUBSCRIBE; UNSUBACK leaves.
pub(super) async fn unsubscribe(
    shard: &Rc<Shard>,
    connection: &Rc<MqttConnection>,
    unsubscribe: Unsubscribe,
) {
    let deliveries = connection.deliveries();
    let drop_one = |filter: &Arc<str>| {
        let mut subscriptions = deliveries.subscriptions.borrow_mut();
        let before = subscriptions.len();
        subscriptions.retain(|one| one.filter != **filter);
        if subscriptions.len() == before {
            ReasonCode::NoSubscriptionExisted
        } else {
            ReasonCode::Success
        }
    };
    let reasons: Vec<_> = unsubscribe.filters.iter().map(drop_one).collect();
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
    open_sources(shard, connection, &deliveries, session, true).await;
}

/// A topic was made: subscribers whose messages it may hold read it from its beginning.
pub(super) fn handle_topic_created(shard: &Rc<Shard>, topic: &Arc<Topic>) {
    for connection in shard.state().mqtt().connections() {
        let Some(deliveries) = connection.deliveries_if_any() else {
            continue;
        };
        for (place, _) in places(shard, &deliveries, topic) {
            add_source(shard, &connection, &deliveries, place, (0, 0));
        }
    }
}

/// The partitions of a topic that may hold messages of the subscriber and are not read yet.
fn places(
    shard: &Rc<Shard>,
    deliveries: &Deliveries,
    topic: &Arc<Topic>,
) -> Vec<(Place, PartitionName)> {
    let service = shard.state().mqtt();
    let may_feed = |filter: &str| {
        service.mapping.may_feed(&topic.name, filter)
            || service.outgoing.may_feed(&topic.name, filter)
    };
    let subscriptions = deliveries.subscriptions.borrow();
    let is_wanted = subscriptions.iter().any(|one| may_feed(&one.filter));
    if topic.is_internal() || !is_wanted {
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
    let all = (0..count).filter_map(place);
    all.filter(|(_, name)| !deliveries.sources.borrow().contains_key(name))
        .collect()
}

/// Reads the partitions that may hold messages of the subscriber: from its cursors where it has
/// some, from its beginning what was made while it was away, else from the end.
async fn open_sources(
    shard: &Rc<Shard>,
    connection: &Rc<MqttConnection>,
    deliveries: &Rc<Deliveries>,
    session: &Session,
    is_resumed: bool,
) {
    let catalog = shard.catalog();
    let topics: Vec<Arc<Topic>> = catalog.topics().cloned().collect();
    for topic in topics {
        for (place, name) in places(shard, deliveries, &topic) {
            let Ok(end) = end_offset(shard, place).await else {
                continue;
            };
            let cursor = session.cursors.iter().find(|cursor| cursor.name == name);
            let missed = if is_resumed { 0 } else { end };
            let next = cursor.map_or(missed, |cursor| cursor.offset);
            add_source(shard, connection, deliveries, place, (next, end));
        }
    }
}

fn add_source(
    shard: &Rc<Shard>,
    connection: &Rc<MqttConnection>,
    deliveries: &Rc<Deliveries>,
    place: Place,
    (next, live_from): (i64, i64),
) {
    let source = Rc::new(Source {
        place,
        next: Cell::new(next),
        live_from,
        room: Notify::default(),
    });
    let mut sources = deliveries.sources.borrow_mut();
    if deliveries.ended.get() || sources.contains_key(&name_of(place)) {
        return;
    }
    sources.insert(name_of(place), Rc::clone(&source));
    drop(sources);
    let (shard, connection) = (Rc::clone(shard), Rc::clone(connection));
    let deliveries = Rc::clone(deliveries);
    drop(monoio::spawn(async move {
        run_source(&shard, &connection, &deliveries, &source).await;
        deliveries
            .sources
            .borrow_mut()
            .remove(&name_of(source.place));
    }));
}

/// Sends the messages of one partition until the connection or the partition ends.
async fn run_source(
    shard: &Rc<Shard>,
    connection: &Rc<MqttConnection>,
    deliveries: &Rc<Deliveries>,
    source: &Rc<Source>,
) {
    let service = Rc::clone(shard.state().mqtt());
    let catalog = shard.catalog();
    let topic = catalog.topic_by_id(&source.place.topic_id.0).cloned();
    drop(catalog);
    let outgoing = topic
        .as_ref()
        .and_then(|topic| Some((&topic.name, service.outgoing.rule(&topic.name)?)));
    let read = |record: &Record<'_>| {
        let published = StoredMessage::read(record);
        published.or_else(|| outgoing.and_then(|(name, rule)| rule.message(name, record)))
    };
    loop {
        let next = source.next.get();
        monoio::select! {
            () = wait_for_more(shard, source.place, next, MQTT_FETCH_WAIT) => {}
            () = deliveries.wait_for_end() => return,
        }
        // Many subscribers wake up for the same batch: they read it one after the other.
        let bytes = u64::try_from(MQTT_FETCH_BYTES).unwrap_or(u64::MAX);
        let memory = shard.budgets().responses.reserve(bytes).await;
        let Ok(fetched) = fetch(shard, source.place, next).await else {
            return;
        };
        let mut messages = Vec::new();
        let (mut bytes, mut left_out) = (0, None);
        let client_id = connection.client_id();
        let behind = for_each_record(&fetched.pieces, next, |record| {
            let Some(stored) = read(record).filter(|_| left_out.is_none()) else {
                return;
            };
            let is_own = stored.client_id.as_deref() == Some(&*client_id);
            if deliveries.matching(&stored.message.topic, is_own).is_none() {
                return;
            }
            if !messages.is_empty() && bytes + record_bytes(record) > MQTT_HELD_BYTES_MAX {
                left_out = Some(record.offset);
                return;
            }
            bytes += record_bytes(record);
            messages.push((record.offset, stored));
        });
        let behind = left_out.unwrap_or(behind).max(fetched.log_start_offset);
        // What a slow client waits for is in the log: the batches are not kept for it.
        drop((fetched, memory));
        for (offset, stored) in messages {
            deliver(shard, connection, deliveries, source, (offset, &stored)).await;
            if deliveries.ended.get() {
                break;
            }
            source.next.set(offset + 1);
        }
        if deliveries.ended.get() {
            return;
        }
        source.next.set(behind);
        deliveries
            .outbound
            .borrow_mut()
            .handle_passed(name_of(source.place), behind);
        save_now_and_then(shard, connection, deliveries);
    }
}

/// Bytes that a message takes while it waits for its subscriber, roughly.
fn record_bytes(record: &Record<'_>) -> usize {
    let length = |part: Option<&[u8]>| part.map_or(0, <[u8]>::len);
    let headers = record
        .headers
        .map(|header| header.key.len() + length(header.value));
    length(record.value) + length(record.key) + headers.sum::<usize>()
}

async fn deliver(
    shard: &Rc<Shard>,
    connection: &Rc<MqttConnection>,
    deliveries: &Rc<Deliveries>,
    source: &Source,
    (offset, stored): (i64, &StoredMessage),
) {
    let is_own = stored.client_id.as_deref() == Some(&*connection.client_id());
    let Some((granted, keeps_retain, identifiers)) =
        deliveries.matching(&stored.message.topic, is_own)
    else {
        return;
    };
    let Ok(expiry_seconds) = stored.expiry_left(shard.wall_clock_ms()) else {
        return;
    };
    let qos = granted.min(stored.message.qos);
    let needs_window = qos != Qos::AtMostOnce;
    if !needs_window && offset < source.live_from {
        return;
    }
    wait_for_room(connection, deliveries, (&source.room, needs_window)).await;
    if deliveries.ended.get() {
        return;
    }
    let (packet_id, dup) = if needs_window {
        deliveries
            .outbound
            .borrow_mut()
            .handle_delivery(name_of(source.place), offset)
    } else {
        (0, false)
    };
    let delivery = Delivery {
        qos,
        packet_id,
        dup,
        retain: keeps_retain && stored.message.retain,
        identifiers,
        expiry_seconds,
    };
    send(shard, connection, deliveries, stored, &delivery);
}

async fn deliver_retained(
    shard: &Rc<Shard>,
    connection: &Rc<MqttConnection>,
    deliveries: &Rc<Deliveries>,
    stored: &StoredMessage,
) {
    let Some((granted, _, identifiers)) = deliveries.matching(&stored.message.topic, false) else {
        return;
    };
    let Ok(expiry_seconds) = stored.expiry_left(shard.wall_clock_ms()) else {
        return;
    };
    let qos = granted.min(stored.message.qos);
    let needs_window = qos != Qos::AtMostOnce;
    wait_for_room(connection, deliveries, (&deliveries.room, needs_window)).await;
    let packet_id = if needs_window {
        let mut outbound = deliveries.outbound.borrow_mut();
        outbound.handle_delivery(RETAINED, stored.timestamp_ms).0
    } else {
        0
    };
    let delivery = Delivery {
        qos,
        packet_id,
        dup: false,
        retain: true,
        identifiers,
        expiry_seconds,
    };
    send(shard, connection, deliveries, stored, &delivery);
}

fn send(
    shard: &Rc<Shard>,
    connection: &Rc<MqttConnection>,
    deliveries: &Deliveries,
    stored: &StoredMessage,
    delivery: &Delivery,
) {
    let is_sent = connection
        .core
        .borrow_mut()
        .deliver(&stored.message, delivery);
    if !is_sent {
        deliveries.handle_acknowledged(delivery.packet_id);
        return;
    }
    shard.state().mqtt().metrics.count_delivered();
    connection.flush(shard);
}

/// Waits while the socket takes nothing, and for a place in the window.
async fn wait_for_room(
    connection: &Rc<MqttConnection>,
    deliveries: &Rc<Deliveries>,
    (room, needs_window): (&Notify, bool),
) {
    loop {
        if deliveries.ended.get() {
            return;
        }
        let has_window = !needs_window || deliveries.outbound.borrow().has_room();
        if connection.sender.is_behind() {
            connection.sender.written().await;
        } else if has_window {
            return;
        } else {
            room.wait().await;
        }
    }
}

/// Keeps the cursors of a session that outlives its connection, not more often than it is worth.
fn save_now_and_then(
    shard: &Rc<Shard>,
    connection: &Rc<MqttConnection>,
    deliveries: &Rc<Deliveries>,
) {
    let now_ms = now_ms(shard);
    if now_ms < deliveries.saved_ms.get() + MQTT_CURSOR_SAVE_MS {
        return;
    }
    deliveries.saved_ms.set(now_ms);
    let (shard, connection) = (Rc::clone(shard), Rc::clone(connection));
    drop(monoio::spawn(async move {
        // The next one tries again.
        let _saved: bool = open::save_now(&shard, &connection).await;
    }));
}
