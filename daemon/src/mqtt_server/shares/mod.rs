//! Shared subscriptions, on the shard that owns the group.
//!
//! What it is        the members of each group, one reader per partition for all of them, and who
//!                   gets the next message. A member asks for one message at a time, when its
//!                   window has room: so a slow one gets fewer, and nothing queues up for it.
//! What it is not    the rules: those are `mqtt::share::ShareGroup`'s; nor the connection of a
//!                   member: that is [`super::member`].
//! Invariants        1. a group with a member whose session outlives its connection is kept in
//!                      `__mqtt_sessions` before that member hears of it. 2. every question of a
//!                      member is answered, with nothing when it or the group is gone. 3. what a
//!                      connection had when it ended goes to another member.
//! Source            MQTT 5.0 §4.8.2.
//! Reading order     [`join`], [`take`], [`reading`].

mod kept;
mod reading;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use kafka_lite::catalog::Topic;
use mqtt::filter::split_shared;
use mqtt::reason::ReasonCode;
use mqtt::record::StoredMessage;
use mqtt::session::{Cursor, PartitionName};
use mqtt::share::ShareGroup;

pub(super) use self::kept::{forget, receive, settle_loaded, sweep};
use self::reading::Source;
use super::registry::Holder;
use super::sessions;
use crate::limits::MQTT_GROUPS_MAX;
use crate::shard::notify::Notify;
use crate::shard::{CallAnswer, Shard};

/// The groups of one owner shard, by filter.
#[derive(Default)]
pub(super) struct Shares {
    groups: RefCell<BTreeMap<Arc<str>, Rc<Group>>>,
    /// Shards that have said which members their sessions are.
    settled_shards: Cell<u16>,
}

/// One group.
struct Group {
    /// `$share/GROUP/FILTER`.
    name: Arc<str>,
    /// FILTER.
    filter: Arc<str>,
    rules: RefCell<ShareGroup<Holder>>,
    /// By client identifier.
    members: RefCell<BTreeMap<Arc<str>, Member>>,
    questions: RefCell<BTreeMap<Holder, CallAnswer<Option<Given>>>>,
    sources: RefCell<BTreeMap<PartitionName, Rc<Source>>>,
    /// It was there before: what it has no cursor for was made meanwhile.
    is_resumed: bool,
    ended: Cell<bool>,
    end: Notify,
    /// Messages that came back are given away by one task.
    is_giving_returned: Cell<bool>,
    returned_room: Notify,
    /// It is to be found in `__mqtt_sessions`, or on its way there.
    is_kept: Cell<bool>,
    /// It was committed there.
    is_stored: Cell<bool>,
    saved_ms: Cell<u64>,
}

/// A client of a group.
struct Member {
    /// Its connection; `None` while it is away.
    holder: Option<Holder>,
    /// Its session outlives the connection.
    is_kept: bool,
}

/// What a group is doing.
#[derive(Clone, Debug)]
pub(crate) struct ShareStatus {
    /// GROUP of `$share/GROUP/FILTER`.
    pub(crate) group: String,
    /// FILTER of it.
    pub(crate) filter: String,
    /// Members that are connected.
    pub(crate) connected: usize,
    /// Members that are away and have a session.
    pub(crate) away: usize,
    /// Messages that members have and did not acknowledge.
    pub(crate) unacknowledged: usize,
    /// Messages that came back from a member and wait for another one.
    pub(crate) returned: usize,
}

/// A message for a member.
pub(super) struct Given {
    pub(super) name: PartitionName,
    pub(super) offset: i64,
    pub(super) stored: StoredMessage,
}

/// Who joins which group.
#[derive(Clone)]
pub(super) struct Joining {
    pub(super) group: Arc<str>,
    pub(super) client_id: Arc<str>,
    pub(super) holder: Holder,
    /// Its session outlives the connection.
    pub(super) is_kept: bool,
}

impl Shares {
    /// How many groups there are.
    pub(super) fn count(&self) -> usize {
        self.groups.borrow().len()
    }

    /// What the groups are doing, at most as many as are asked for.
    pub(super) fn status(&self, count_max: usize) -> Vec<ShareStatus> {
        let groups = self.groups.borrow();
        let shown = groups.values().take(count_max);
        shown.map(|group| group.status()).collect()
    }

    fn group(&self, name: &str) -> Option<Rc<Group>> {
        self.groups.borrow().get(name).cloned()
    }

    fn all(&self) -> Vec<Rc<Group>> {
        self.groups.borrow().values().cloned().collect()
    }

    /// The group of this name, made if there is none; `None` if it cannot be.
    fn enter(&self, name: &Arc<str>, cursors: Option<Vec<Cursor>>) -> Option<Rc<Group>> {
        let mut groups = self.groups.borrow_mut();
        if let Some(known) = groups.get(name) {
            return Some(Rc::clone(known));
        }
        let Ok((Some(_), filter)) = split_shared(name) else {
            return None;
        };
        if groups.len() >= MQTT_GROUPS_MAX {
            return None;
        }
        let group = Group::new(Arc::clone(name), filter.into(), cursors);
        groups.insert(Arc::clone(name), Rc::clone(&group));
        Some(group)
    }
}

impl Group {
    fn new(name: Arc<str>, filter: Arc<str>, cursors: Option<Vec<Cursor>>) -> Rc<Self> {
        let is_resumed = cursors.is_some();
        Rc::new(Self {
            name,
            filter,
            rules: RefCell::new(ShareGroup::new(cursors.unwrap_or_default())),
            members: RefCell::default(),
            questions: RefCell::default(),
            sources: RefCell::default(),
            is_resumed,
            ended: Cell::new(false),
            end: Notify::default(),
            is_giving_returned: Cell::new(false),
            returned_room: Notify::default(),
            is_kept: Cell::new(is_resumed),
            is_stored: Cell::new(is_resumed),
            saved_ms: Cell::new(0),
        })
    }

    fn status(&self) -> ShareStatus {
        let members = self.members.borrow();
        let is_connected = |member: &&Member| member.holder.is_some();
        let connected = members.values().filter(is_connected).count();
        let rules = self.rules.borrow();
        let group = split_shared(&self.name).ok().and_then(|(group, _)| group);
        ShareStatus {
            group: group.unwrap_or_default().to_owned(),
            filter: self.filter.to_string(),
            connected,
            away: members.len() - connected,
            unacknowledged: rules.held_count(),
            returned: rules.returned_count(),
        }
    }

    fn has_connections(&self) -> bool {
        let members = self.members.borrow();
        members.values().any(|member| member.holder.is_some())
    }

    /// Somebody asks, or a message came back: whoever has one to give looks again.
    fn wake(&self) {
        self.returned_room.notify();
        for source in self.sources.borrow().values() {
            source.room.notify();
        }
    }

    /// Answers the question of a member with nothing.
    fn turn_away(&self, shard: &Rc<Shard>, holder: Holder) {
        let question = self.questions.borrow_mut().remove(&holder);
        if let Some(question) = question {
            question.send(shard, None);
        }
    }

    /// Gives a message to the member that has waited longest; false when none waits.
    fn give(
        self: &Rc<Self>,
        shard: &Rc<Shard>,
        name: PartitionName,
        (offset, stored): (i64, &StoredMessage),
    ) -> bool {
        let Some(member) = self.rules.borrow_mut().give(name, offset) else {
            return false;
        };
        let question = self.questions.borrow_mut().remove(&member);
        match question {
            Some(question) => {
                let stored = stored.clone();
                let given = Given {
                    name,
                    offset,
                    stored,
                };
                question.send(shard, Some(given));
            }
            None => {
                let mut rules = self.rules.borrow_mut();
                rules.handle_returned(member, name, offset);
                drop(rules);
                reading::give_returned(shard, self);
            }
        }
        true
    }
}

/// Adds a member; when this returns it gets its part of what is published from now on.
///
/// Errors: there are too many groups, or the group cannot be kept.
pub(super) async fn join(shard: &Rc<Shard>, joining: Joining) -> Result<(), ReasonCode> {
    sessions::wait_until_loaded(shard).await;
    let service = Rc::clone(shard.state().mqtt());
    let group = service.shares.enter(&joining.group, None);
    let group = group.ok_or(ReasonCode::QuotaExceeded)?;
    let was_idle = !group.has_connections();
    let member = Member {
        holder: Some(joining.holder),
        is_kept: joining.is_kept,
    };
    let client_id = Arc::clone(&joining.client_id);
    group.members.borrow_mut().insert(client_id, member);
    reading::open(shard, &group, was_idle).await;
    if joining.is_kept && !group.is_stored.get() && !kept::save(shard, &group).await {
        leave(shard, &joining, true).await;
        return Err(ReasonCode::QuotaExceeded);
    }
    Ok(())
}

/// A member asks for its next message; the answer comes when there is one, or when the member or
/// its group is gone.
pub(super) fn take(
    shard: &Rc<Shard>,
    group: &str,
    holder: Holder,
    answer: CallAnswer<Option<Given>>,
) {
    let group = shard.state().mqtt().shares.group(group);
    let is_member = |group: &Rc<Group>| {
        let members = group.members.borrow();
        members.values().any(|one| one.holder == Some(holder))
    };
    let Some(group) = group.filter(is_member) else {
        return answer.send(shard, None);
    };
    group.turn_away(shard, holder);
    group.questions.borrow_mut().insert(holder, answer);
    group.rules.borrow_mut().handle_ready(holder);
    group.wake();
}

/// A member has a message.
pub(super) fn acknowledge(
    shard: &Rc<Shard>,
    group: &str,
    holder: Holder,
    (name, offset): (PartitionName, i64),
) {
    let Some(group) = shard.state().mqtt().shares.group(group) else {
        return;
    };
    let is_news = group
        .rules
        .borrow_mut()
        .handle_acknowledged(holder, name, offset);
    if is_news {
        kept::save_now_and_then(shard, &group);
    }
}

/// A member cannot take a message: another one gets it.
pub(super) fn give_back(
    shard: &Rc<Shard>,
    group: &str,
    holder: Holder,
    (name, offset): (PartitionName, i64),
) {
    let Some(group) = shard.state().mqtt().shares.group(group) else {
        return;
    };
    group
        .rules
        .borrow_mut()
        .handle_returned(holder, name, offset);
    reading::give_returned(shard, &group);
}

/// A member unsubscribes, or its connection has ended (`is_lost`): then others get what it had. Who
/// is away and has a session stays a member.
pub(super) async fn leave(shard: &Rc<Shard>, leaving: &Joining, is_lost: bool) {
    let Some(group) = shard.state().mqtt().shares.group(&leaving.group) else {
        return;
    };
    group.turn_away(shard, leaving.holder);
    if is_lost {
        group.rules.borrow_mut().handle_lost(leaving.holder);
    } else {
        group.rules.borrow_mut().handle_left(leaving.holder);
    }
    {
        let mut members = group.members.borrow_mut();
        let stays = is_lost && leaving.is_kept;
        match members.get_mut(&leaving.client_id) {
            Some(member) if member.holder == Some(leaving.holder) && stays => {
                member.holder = None;
            }
            Some(member) if member.holder == Some(leaving.holder) => {
                members.remove(&leaving.client_id);
            }
            // It left before, or another connection has its place.
            Some(_) | None => {}
        }
    }
    reading::give_returned(shard, &group);
    kept::settle(shard, &group).await;
}

/// A topic was made: groups whose messages it may hold read it from its beginning.
pub(super) fn handle_topic_created(shard: &Rc<Shard>, topic: &Arc<Topic>) {
    for group in shard.state().mqtt().shares.all() {
        reading::open_new(shard, &group, topic);
    }
}
