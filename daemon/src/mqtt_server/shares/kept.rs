//! Groups that are kept in `__mqtt_sessions`: those with a member whose session is.
//!
//! What it is        saving and forgetting; after a start, the members that sessions name.
//! Invariants        1. a group without members ends, and what is kept of it is deleted. 2. after a
//!                      start no group is deleted before every shard said which members its
//!                      sessions are.

use std::rc::Rc;
use std::sync::Arc;

use mqtt::session::{Group as KeptGroup, SessionKey};
use tracing::warn;

use super::super::registry::owner_of;
use super::super::{now_ms, sessions};
use super::{Group, Member};
use crate::limits::MQTT_CURSOR_SAVE_MS;
use crate::shard::Shard;

/// Takes a group that was kept.
pub(in crate::mqtt_server) fn receive(shard: &Rc<Shard>, name: &str, value: Option<&[u8]>) {
    let shares = &shard.state().mqtt().shares;
    shares.groups.borrow_mut().remove(name);
    let Some(value) = value else { return };
    let kept = match KeptGroup::decode(value) {
        Ok(kept) => kept,
        Err(error) => return warn!(group = name, %error, "a group is passed over"),
    };
    if shares.enter(&name.into(), Some(kept.cursors)).is_none() {
        warn!(group = name, "a group is passed over: there are too many");
    }
}

/// Tells the owners of groups which members the sessions of this shard are.
pub(in crate::mqtt_server) fn settle_loaded(shard: &Rc<Shard>, members: &[(Arc<str>, Arc<str>)]) {
    for (name, client_id) in members {
        let (name, client_id) = (Arc::clone(name), Arc::clone(client_id));
        shard.send(owner_of(shard, &name), move |there| {
            let Some(group) = there.state().mqtt().shares.group(&name) else {
                return;
            };
            let mut members = group.members.borrow_mut();
            members.entry(client_id).or_insert(Member {
                holder: None,
                is_kept: true,
            });
        });
    }
    for owner in 0..shard.shard_count() {
        shard.send(owner, |there| {
            let shares = &there.state().mqtt().shares;
            shares.settled_shards.set(shares.settled_shards.get() + 1);
        });
    }
}

/// Deletes groups that lost their last member in a crash.
pub(in crate::mqtt_server) async fn sweep(shard: &Rc<Shard>) {
    let service = Rc::clone(shard.state().mqtt());
    if service.shares.settled_shards.get() < shard.shard_count() {
        return;
    }
    for group in service.shares.all() {
        let is_empty = group.members.borrow().is_empty();
        if is_empty {
            settle(shard, &group).await;
        }
    }
}

/// The session of a client is over: it is no member any more.
pub(in crate::mqtt_server) async fn forget(
    shard: &Rc<Shard>,
    name: &Arc<str>,
    client_id: &Arc<str>,
) {
    let (name, client_id) = (Arc::clone(name), Arc::clone(client_id));
    let owner = owner_of(shard, &name);
    let forgotten = shard.call_with(owner, move |there, answer| {
        let there = Rc::clone(there);
        drop(monoio::spawn(async move {
            forget_here(&there, &name, &client_id).await;
            answer.send(&there, ());
        }));
    });
    forgotten.await;
}

async fn forget_here(shard: &Rc<Shard>, name: &str, client_id: &Arc<str>) {
    let Some(group) = shard.state().mqtt().shares.group(name) else {
        return;
    };
    {
        let mut members = group.members.borrow_mut();
        // Who is connected says itself when it leaves.
        let is_away = |member: &Member| member.holder.is_none();
        if members.get(client_id).is_some_and(is_away) {
            members.remove(client_id);
        }
    }
    settle(shard, &group).await;
}

/// Ends a group without members, and keeps or forgets one whose members have changed.
pub(super) async fn settle(shard: &Rc<Shard>, group: &Rc<Group>) {
    let (is_empty, is_wanted) = {
        let members = group.members.borrow();
        let is_wanted = members.values().any(|member| member.is_kept);
        (members.is_empty(), is_wanted)
    };
    if is_empty {
        end(shard, group);
    }
    if !is_wanted && group.is_kept.replace(false) {
        group.is_stored.set(false);
        let key = SessionKey::Group(group.name.to_string());
        // If that fails the group is deleted after the next start.
        let _later = sessions::write(shard, vec![(key.encode(), None)]).await;
    } else if is_wanted && !group.has_connections() {
        let _cursors_of_before: bool = save(shard, group).await;
    }
}

fn end(shard: &Rc<Shard>, group: &Rc<Group>) {
    let mut groups = shard.state().mqtt().shares.groups.borrow_mut();
    if groups
        .get(&group.name)
        .is_some_and(|known| Rc::ptr_eq(known, group))
    {
        groups.remove(&group.name);
    }
    drop(groups);
    group.ended.set(true);
    group.end.notify();
    group.wake();
    let questions = std::mem::take(&mut *group.questions.borrow_mut());
    for (_, question) in questions {
        question.send(shard, None);
    }
}

/// Keeps the cursors of a group; false when they could not be stored.
pub(super) async fn save(shard: &Rc<Shard>, group: &Rc<Group>) -> bool {
    if group.ended.get() {
        return true;
    }
    {
        // A topic that was deleted has no cursor.
        let catalog = shard.catalog();
        let mut rules = group.rules.borrow_mut();
        let names: Vec<_> = rules.names().collect();
        for name in names {
            if catalog.topic_by_id(&name.topic_id).is_none() {
                rules.handle_closed(name);
            }
        }
    }
    group.saved_ms.set(now_ms(shard));
    group.is_kept.set(true);
    let cursors = group.rules.borrow().cursors();
    let key = SessionKey::Group(group.name.to_string());
    let value = KeptGroup { cursors }.encode();
    let written = sessions::write(shard, vec![(key.encode(), Some(value))]).await;
    if written.is_ok() && group.is_kept.get() {
        group.is_stored.set(true);
    }
    written.is_ok()
}

/// Keeps the cursors of a group, not more often than it is worth.
pub(super) fn save_now_and_then(shard: &Rc<Shard>, group: &Rc<Group>) {
    let is_due = now_ms(shard) >= group.saved_ms.get() + MQTT_CURSOR_SAVE_MS;
    if !group.is_kept.get() || !is_due {
        return;
    }
    group.saved_ms.set(now_ms(shard));
    let (shard, group) = (Rc::clone(shard), Rc::clone(group));
    drop(monoio::spawn(async move {
        if group.is_kept.get() {
            // The next one tries again.
            let _saved: bool = save(&shard, &group).await;
        }
    }));
}
