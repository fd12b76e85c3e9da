//! What a group reads: one task per partition, and one for messages that came back.
//!
//! Invariants        1. nothing is read before a member asks. 2. while messages that came back wait
//!                   to be given away, nothing newer is.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use kafka_lite::catalog::Topic;
use mqtt::filter::matches;
use mqtt::message::Qos;
use mqtt::record::StoredMessage;
use mqtt::session::PartitionName;

use super::super::append::Place;
use super::super::fetch::{end_offset, wait_for_more, wait_until_retry};
use super::super::messages::{self, Read};
use super::super::sessions::name_of;
use super::{Group, kept};
use crate::limits::MQTT_FETCH_WAIT;
use crate::shard::Shard;
use crate::shard::notify::Notify;

/// A partition that is read for a group.
pub(super) struct Source {
    place: Place,
    /// Messages before it were published while no member was there: only QoS 1 is given.
    live_from: Cell<i64>,
    /// Its task waits here for a member that asks.
    pub(super) room: Notify,
}

/// Reads the partitions that may hold messages of the group: from its cursors where it has some,
/// from its beginning what was made while the group was there, else from the end.
pub(super) async fn open(shard: &Rc<Shard>, group: &Rc<Group>, was_idle: bool) {
    let topics: Vec<Arc<Topic>> = shard.catalog().topics().cloned().collect();
    for topic in topics {
        for (place, name) in messages::places(shard, &topic, [&*group.filter].into_iter()) {
            let Ok(end) = end_offset(shard, place).await else {
                continue;
            };
            let known = group.sources.borrow().get(&name).cloned();
            match known {
                Some(source) if was_idle => source.live_from.set(end),
                Some(_) => {}
                None => {
                    let first = if group.is_resumed { 0 } else { end };
                    add_source(shard, group, place, (first, end));
                }
            }
        }
    }
}

/// Reads a topic that was made.
pub(super) fn open_new(shard: &Rc<Shard>, group: &Rc<Group>, topic: &Arc<Topic>) {
    for (place, _) in messages::places(shard, topic, [&*group.filter].into_iter()) {
        add_source(shard, group, place, (0, 0));
    }
}

fn add_source(shard: &Rc<Shard>, group: &Rc<Group>, place: Place, (first, live_from): (i64, i64)) {
    let name = name_of(place);
    let mut sources = group.sources.borrow_mut();
    if group.ended.get() || sources.contains_key(&name) {
        return;
    }
    let next = group.rules.borrow_mut().handle_opened(name, first);
    let source = Rc::new(Source {
        place,
        live_from: Cell::new(live_from),
        room: Notify::default(),
    });
    sources.insert(name, Rc::clone(&source));
    drop(sources);
    let (shard, group) = (Rc::clone(shard), Rc::clone(group));
    drop(monoio::spawn(async move {
        run_source(&shard, &group, &source, next).await;
        group.sources.borrow_mut().remove(&name);
    }));
}

/// Gives away the messages of one partition until the group or the partition ends.
async fn run_source(shard: &Rc<Shard>, group: &Rc<Group>, source: &Rc<Source>, first: i64) {
    let name = name_of(source.place);
    let mut next = first;
    loop {
        monoio::select! {
            () = wait_for_more(shard, source.place, next, MQTT_FETCH_WAIT) => {}
            () = group.wait_for_end() => return,
        }
        if !wait_for_question(group, &source.room, false).await {
            return;
        }
        let is_wanted = |stored: &StoredMessage| matches(&group.filter, &stored.message.topic);
        let Ok(read) = messages::read(shard, source.place, next, is_wanted).await else {
            monoio::select! {
                is_there = wait_until_retry(shard, source.place) => match is_there {
                    true => continue,
                    false => return,
                },
                () = group.wait_for_end() => return,
            }
        };
        for (offset, stored) in &read.messages {
            if !give_one(shard, group, source, name, (*offset, stored)).await {
                return;
            }
        }
        next = read.behind;
        group.rules.borrow_mut().handle_passed(name, next);
        kept::save_now_and_then(shard, group);
    }
}

/// Gives one message to a member; false when the group has ended.
async fn give_one(
    shard: &Rc<Shard>,
    group: &Rc<Group>,
    source: &Source,
    name: PartitionName,
    (offset, stored): (i64, &StoredMessage),
) -> bool {
    while wait_for_question(group, &source.room, false).await {
        let was_missed = stored.message.qos == Qos::AtMostOnce && offset < source.live_from.get();
        if was_missed || stored.expiry_left(shard.wall_clock_ms()).is_err() {
            return true;
        }
        if group.give(shard, name, (offset, stored)) {
            return true;
        }
    }
    false
}

/// Waits until a member asks, and until what came back is given away, unless that `is_returned`
/// itself; false when the group has ended.
async fn wait_for_question(group: &Group, room: &Notify, is_returned: bool) -> bool {
    loop {
        if group.ended.get() {
            return false;
        }
        {
            let rules = group.rules.borrow();
            if rules.has_ready() && (is_returned || rules.returned().is_none()) {
                return true;
            }
        }
        room.wait().await;
    }
}

/// Has messages that came back given to others.
pub(super) fn give_returned(shard: &Rc<Shard>, group: &Rc<Group>) {
    let is_there = group.rules.borrow().returned().is_some();
    if !is_there || group.is_giving_returned.replace(true) {
        return;
    }
    let (shard, group) = (Rc::clone(shard), Rc::clone(group));
    drop(monoio::spawn(async move {
        run_returned(&shard, &group).await;
        group.is_giving_returned.set(false);
        group.wake();
    }));
}

async fn run_returned(shard: &Rc<Shard>, group: &Rc<Group>) {
    loop {
        let returned = group.rules.borrow().returned();
        let Some((name, offset)) = returned else {
            return;
        };
        if !wait_for_question(group, &group.returned_room, true).await {
            return;
        }
        let found = find(shard, group, name, offset).await;
        let found = found.filter(|(_, one)| one.expiry_left(shard.wall_clock_ms()).is_ok());
        match found {
            // It stays the next one when nobody asks any more.
            Some((_, stored)) => {
                let _given: bool = group.give(shard, name, (offset, &stored));
            }
            None => group.rules.borrow_mut().handle_gone(name, offset),
        }
    }
}

async fn find(shard: &Rc<Shard>, group: &Group, name: PartitionName, offset: i64) -> Option<Read> {
    let place = group.sources.borrow().get(&name).map(|one| one.place)?;
    messages::read_one(shard, place, offset).await
}

impl Group {
    async fn wait_for_end(&self) {
        while !self.ended.get() {
            self.end.wait().await;
        }
        // The other sources must see it too.
        self.end.notify();
    }
}
