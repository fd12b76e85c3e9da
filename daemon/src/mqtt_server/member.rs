//! A shared subscription at the connection of a member.
//!
//! What it is        one task per shared subscription: it asks the owner of the group for a
//!                   message when the client can take one, sends it, and says when it was
//!                   acknowledged.
//! What it is not    the choice of who gets what: that is [`super::shares`]'s.
//! Invariants        1. a member holds at most one message that is not sent; one that it cannot
//!                      send at once goes back. 2. a message is acknowledged to the group when the
//!                      client acknowledged it, or when it was sent with QoS 0.
//! Source            MQTT 5.0 §4.8.2.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use mqtt::encode::Delivery;
use mqtt::message::Qos;
use mqtt::reason::ReasonCode;
use mqtt::session::PartitionName;

use super::connection::MqttConnection;
use super::deliver::{Deliveries, send, wait_for_room};
use super::registry::{Holder, owner_of};
use super::shares::{self, Given, Joining};
use crate::shard::Shard;
use crate::shard::notify::Notify;

/// The name under which messages of groups are in flight: no partition's.
pub(super) const SHARED: PartitionName = PartitionName {
    topic_id: [0; 16],
    partition: -2,
};

/// What a connection has of its groups.
#[derive(Default)]
pub(super) struct Memberships {
    /// By the filter of the group; those that were left too, as their messages may be in flight.
    all: RefCell<BTreeMap<Arc<str>, Rc<Membership>>>,
    /// Messages that are not acknowledged, by packet identifier.
    in_flight: RefCell<BTreeMap<u16, InFlight>>,
    next_number: Cell<i64>,
}

struct InFlight {
    group: Arc<str>,
    place: (PartitionName, i64),
}

/// One shared subscription.
pub(super) struct Membership {
    joining: Joining,
    has_left: Cell<bool>,
    /// Its messages are asked for.
    has_started: Cell<bool>,
    /// Its task waits here for the window.
    room: Notify,
}

impl Memberships {
    /// There may be room in the window.
    pub(super) fn give_room(&self) {
        for membership in self.all.borrow().values() {
            membership.room.notify();
        }
    }

    /// The client has a message; it may be one of a group.
    pub(super) fn handle_acknowledged(&self, shard: &Rc<Shard>, packet_id: u16) {
        let Some(one) = self.in_flight.borrow_mut().remove(&packet_id) else {
            return;
        };
        let holder = self
            .all
            .borrow()
            .get(&one.group)
            .map(|known| known.joining.holder);
        if let Some(holder) = holder {
            acknowledge(shard, &one.group, holder, one.place);
        }
    }

    fn number(&self) -> i64 {
        let number = self.next_number.get();
        self.next_number.set(number + 1);
        number
    }
}

fn acknowledge(shard: &Rc<Shard>, group: &Arc<str>, holder: Holder, place: (PartitionName, i64)) {
    let (owner, group) = (owner_of(shard, group), Arc::clone(group));
    shard.send(owner, move |there| {
        shares::acknowledge(there, &group, holder, place);
    });
}

fn give_back(shard: &Rc<Shard>, membership: &Membership, place: (PartitionName, i64)) {
    let (group, holder) = (
        Arc::clone(&membership.joining.group),
        membership.joining.holder,
    );
    shard.send(owner_of(shard, &group), move |there| {
        shares::give_back(there, &group, holder, place);
    });
}

/// Becomes a member of a group; its messages come with [`start`], and none is missed until then.
///
/// Errors: what the owner of the group says.
pub(super) async fn join(
    shard: &Rc<Shard>,
    connection: &Rc<MqttConnection>,
    deliveries: &Rc<Deliveries>,
    group: &Arc<str>,
) -> Result<(), ReasonCode> {
    let known = deliveries.memberships.all.borrow().get(group).cloned();
    if deliveries.has_ended() || known.is_some_and(|known| !known.has_left.get()) {
        return Ok(());
    }
    let joining = Joining {
        group: Arc::clone(group),
        client_id: connection.client_id(),
        holder: connection.holder(shard),
        is_kept: connection.expiry_seconds.get() > 0,
    };
    let membership = Rc::new(Membership {
        joining: joining.clone(),
        has_left: Cell::new(false),
        has_started: Cell::new(false),
        room: Notify::default(),
    });
    let all = &deliveries.memberships.all;
    all.borrow_mut()
        .insert(Arc::clone(group), Rc::clone(&membership));
    let joined = shard.call_with(owner_of(shard, group), move |there, answer| {
        let there = Rc::clone(there);
        drop(monoio::spawn(async move {
            let joined = shares::join(&there, joining).await;
            answer.send(&there, joined);
        }));
    });
    let joined = joined.await;
    if deliveries.has_ended() {
        // Whoever ends the connection may have come before.
        leave(shard, &membership, true).await;
    } else if joined.is_err() {
        membership.has_left.set(true);
    }
    joined
}

/// Asks for the messages of groups that were joined: behind the SUBACK, which some clients expect
/// first.
pub(super) fn start(
    shard: &Rc<Shard>,
    connection: &Rc<MqttConnection>,
    deliveries: &Rc<Deliveries>,
) {
    let all: Vec<_> = deliveries
        .memberships
        .all
        .borrow()
        .values()
        .cloned()
        .collect();
    for membership in all {
        if membership.has_left.get() || membership.has_started.replace(true) {
            continue;
        }
        let (shard, connection) = (Rc::clone(shard), Rc::clone(connection));
        let deliveries = Rc::clone(deliveries);
        drop(monoio::spawn(async move {
            run(&shard, &connection, &deliveries, &membership).await;
        }));
    }
}

/// The client unsubscribes from a group; what is in flight may still be acknowledged.
pub(super) async fn unsubscribe(shard: &Rc<Shard>, deliveries: &Deliveries, group: &str) {
    let known = deliveries.memberships.all.borrow().get(group).cloned();
    if let Some(membership) = known.filter(|known| !known.has_left.replace(true)) {
        membership.room.notify();
        leave(shard, &membership, false).await;
    }
}

/// The connection has ended: others get what it did not acknowledge. `is_kept` says whether its
/// session goes on.
pub(super) async fn end(shard: &Rc<Shard>, deliveries: &Deliveries, is_kept: bool) {
    let all = deliveries.memberships.all.take();
    for membership in all.into_values() {
        let mut lost = Membership {
            joining: membership.joining.clone(),
            has_left: Cell::new(true),
            has_started: Cell::new(true),
            room: Notify::default(),
        };
        lost.joining.is_kept = is_kept && !membership.has_left.replace(true);
        leave(shard, &lost, true).await;
    }
}

async fn leave(shard: &Rc<Shard>, membership: &Membership, is_lost: bool) {
    let leaving = membership.joining.clone();
    let owner = owner_of(shard, &leaving.group);
    let left = shard.call_with(owner, move |there, answer| {
        let there = Rc::clone(there);
        drop(monoio::spawn(async move {
            shares::leave(&there, &leaving, is_lost).await;
            answer.send(&there, ());
        }));
    });
    left.await;
}

/// Asks for messages and sends them, until the client leaves the group or the connection ends.
async fn run(
    shard: &Rc<Shard>,
    connection: &Rc<MqttConnection>,
    deliveries: &Rc<Deliveries>,
    membership: &Rc<Membership>,
) {
    let group = &membership.joining.group;
    loop {
        let Some(subscription) = deliveries.subscription(group) else {
            return;
        };
        let needs_window = subscription.quality() != Qos::AtMostOnce;
        wait_for_room(connection, deliveries, (&membership.room, needs_window)).await;
        if deliveries.has_ended() || membership.has_left.get() {
            return;
        }
        let (owner, holder) = (owner_of(shard, group), membership.joining.holder);
        let name = Arc::clone(group);
        let given = shard.call_with(owner, move |there, answer| {
            shares::take(there, &name, holder, answer);
        });
        let Some(given) = given.await else {
            return;
        };
        hand_on(shard, connection, deliveries, (membership, given));
    }
}

/// Sends a message to the client, if it can take it now.
fn hand_on(
    shard: &Rc<Shard>,
    connection: &Rc<MqttConnection>,
    deliveries: &Rc<Deliveries>,
    (membership, given): (&Membership, Given),
) {
    let group = &membership.joining.group;
    let place = (given.name, given.offset);
    let subscription = deliveries.subscription(group);
    let expiry = given.stored.expiry_left(shard.wall_clock_ms());
    let (Some(subscription), Ok(expiry_seconds)) = (subscription, expiry) else {
        return give_back(shard, membership, place);
    };
    let qos = subscription.quality().min(given.stored.message.qos);
    let needs_window = qos != Qos::AtMostOnce;
    if !deliveries.has_room(connection, needs_window) {
        return give_back(shard, membership, place);
    }
    let packet_id = if needs_window {
        let number = deliveries.memberships.number();
        let packet_id = deliveries.next_packet_id(SHARED, number);
        let group = Arc::clone(group);
        let in_flight = &deliveries.memberships.in_flight;
        in_flight
            .borrow_mut()
            .insert(packet_id, InFlight { group, place });
        packet_id
    } else {
        acknowledge(shard, group, membership.joining.holder, place);
        0
    };
    let delivery = Delivery {
        qos,
        packet_id,
        dup: false,
        retain: subscription.retain_as_published && given.stored.message.retain,
        identifiers: subscription.identifier.into_iter().collect(),
        expiry_seconds,
    };
    send(shard, connection, deliveries, &given.stored, &delivery);
}
