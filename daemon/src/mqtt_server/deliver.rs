//! Messages to a subscriber, read from the log.
//!
//! What it is        one task per subscriber and partition that may hold its messages: it reads
//!                   what is committed, from the subscriber's cursor on, and sends what a filter
//!                   matches. A subscriber that is slow reads later; nothing queues up for it.
//! Invariants        1. a message of a partition is sent after all earlier ones. 2. QoS 1 messages
//!                      that are not acknowledged fit the window of the client. 3. the cursor that
//!                      is kept never passes a message that was not acknowledged.
//! Reading order     [`super::subscribe`], [`open_sources`], [`run_source`].

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use kafka_lite::catalog::Topic;
use mqtt::encode::Delivery;
use mqtt::filter::matches;
use mqtt::message::Qos;
use mqtt::outbound::Outbound;
use mqtt::record::StoredMessage;
use mqtt::session::{Cursor, PartitionName, Session, Subscription};

use super::append::Place;
use super::connection::MqttConnection;
use super::fetch::{Unreadable, end_offset, wait_for_more, wait_until_retry};
use super::member::{Memberships, SHARED};
use super::sessions::name_of;
use super::{messages, now_ms, open};
use crate::limits::{MQTT_CURSOR_SAVE_MS, MQTT_FETCH_WAIT};
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
    pub(super) memberships: Memberships,
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
            memberships: Memberships::default(),
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
    pub(super) fn handle_acknowledged(&self, shard: &Rc<Shard>, packet_id: u16) {
        if self.outbound.borrow_mut().handle_acknowledged(packet_id) {
            self.memberships.handle_acknowledged(shard, packet_id);
            self.give_room();
        }
    }

    /// The subscription to a filter.
    pub(super) fn subscription(&self, filter: &str) -> Option<Subscription> {
        let subscriptions = self.subscriptions.borrow();
        subscriptions
            .iter()
            .find(|one| one.filter == filter)
            .cloned()
    }

    /// Takes a subscription in the place of an earlier one to the same filter; false when there are
    /// too many.
    pub(super) fn put_subscription(&self, subscription: Subscription, count_max: usize) -> bool {
        let mut subscriptions = self.subscriptions.borrow_mut();
        let mut known = subscriptions.iter_mut();
        if let Some(earlier) = known.find(|one| one.filter == subscription.filter) {
            *earlier = subscription;
            return true;
        }
        let has_room = subscriptions.len() < count_max;
        if has_room {
            subscriptions.push(subscription);
        }
        has_room
    }

    /// Forgets the subscription to a filter; false when there is none.
    pub(super) fn drop_subscription(&self, filter: &str) -> bool {
        let mut subscriptions = self.subscriptions.borrow_mut();
        let before = subscriptions.len();
        subscriptions.retain(|one| one.filter != filter);
        subscriptions.len() < before
    }

    /// Whether the connection has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.get()
    }

    /// Whether a message may be sent now.
    pub(super) fn has_room(&self, connection: &MqttConnection, needs_window: bool) -> bool {
        let has_window = !needs_window || self.outbound.borrow().has_room();
        let is_open = connection.core.borrow().is_open();
        has_window && is_open && !self.ended.get() && !connection.sender.is_behind()
    }

    /// The packet identifier for a message with QoS 1 that is sent the first time.
    pub(super) fn next_packet_id(&self, name: PartitionName, offset: i64) -> u16 {
        self.outbound.borrow_mut().handle_delivery(name, offset).0
    }

    fn give_room(&self) {
        self.room.notify();
        for source in self.sources.borrow().values() {
            source.room.notify();
        }
        self.memberships.give_room();
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
        // A retained message stands in no partition that is read; others get that of a group.
        let mut in_flight = outbound.unacknowledged();
        in_flight.retain(|one| one.name != RETAINED && one.name != SHARED);
        session.in_flight = in_flight;
    }

    /// The quality for a message, whether its retain flag is kept, and the identifiers; `None` when
    /// no subscription matches.
    fn matching(&self, topic: &str, is_own: bool) -> Option<(Qos, bool, Vec<u32>)> {
        let subscriptions = self.subscriptions.borrow();
        let found = subscriptions.iter().filter(|one| {
            !one.is_shared() && matches(&one.filter, topic) && !(one.no_local && is_own)
        });
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
    let subscriptions = deliveries.subscriptions.borrow();
    let own = subscriptions.iter().filter(|one| !one.is_shared());
    let all = messages::places(shard, topic, own.map(|one| one.filter.as_str()));
    let sources = deliveries.sources.borrow();
    let all = all.into_iter();
    all.filter(|(_, name)| !sources.contains_key(name))
        .collect()
}

/// Reads the partitions that may hold messages of the subscriber: from its cursors where it has
/// some, from its beginning what was made while it was away, else from the end.
pub(super) async fn open_sources(
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
            let cursor = session.cursors.iter().find(|cursor| cursor.name == name);
            let range = match (cursor, end_offset(shard, place).await) {
                (Some(cursor), Ok(end)) => (cursor.offset, end),
                // Where the client is in it must not be forgotten.
                (Some(cursor), Err(Unreadable)) => (cursor.offset, i64::MAX),
                (None, Ok(end)) => (if is_resumed { 0 } else { end }, end),
                (None, Err(Unreadable)) => continue,
            };
            add_source(shard, connection, deliveries, place, range);
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
    let client_id = connection.client_id();
    loop {
        let next = source.next.get();
        monoio::select! {
            () = wait_for_more(shard, source.place, next, MQTT_FETCH_WAIT) => {}
            () = deliveries.wait_for_end() => return,
        }
        let is_wanted = |stored: &StoredMessage| {
            let is_own = stored.client_id.as_deref() == Some(&*client_id);
            deliveries.matching(&stored.message.topic, is_own).is_some()
        };
        let Ok(read) = messages::read(shard, source.place, next, is_wanted).await else {
            monoio::select! {
                is_there = wait_until_retry(shard, source.place) => match is_there {
                    true => continue,
                    false => return,
                },
                () = deliveries.wait_for_end() => return,
            }
        };
        for (offset, stored) in read.messages {
            deliver(shard, connection, deliveries, source, (offset, &stored)).await;
            if deliveries.ended.get() {
                return;
            }
            source.next.set(offset + 1);
        }
        if deliveries.ended.get() {
            return;
        }
        source.next.set(read.behind);
        deliveries
            .outbound
            .borrow_mut()
            .handle_passed(name_of(source.place), read.behind);
        save_now_and_then(shard, connection, deliveries);
    }
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

pub(super) async fn deliver_retained(
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

pub(super) fn send(
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
    // Too large for the client: as if it had it.
    if !is_sent {
        deliveries.handle_acknowledged(shard, delivery.packet_id);
        return;
    }
    shard.state().mqtt().metrics.count_delivered();
    connection.flush(shard);
}

/// Waits while the socket takes nothing, and for a place in the window.
pub(super) async fn wait_for_room(
    connection: &Rc<MqttConnection>,
    deliveries: &Rc<Deliveries>,
    (room, needs_window): (&Notify, bool),
) {
    loop {
        if deliveries.ended.get() {
            return;
        }
        // What a connection does not take any more is not delivered: its end follows.
        let is_open = connection.core.borrow().is_open();
        if !is_open {
            return deliveries.wait_for_end().await;
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
