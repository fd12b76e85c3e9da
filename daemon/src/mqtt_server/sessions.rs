//! Sessions that outlive their connections, on the shard that owns the client identifier.
//!
//! What it is        the state of each client beside its connection, in memory and in the compacted
//!                   topic `__mqtt_sessions`; loaded at start, with the groups of
//!                   [`super::shares`].
//! Invariants        1. what a client was told (SUBACK, PUBREC, PUBCOMP, session present) is
//!                      committed there before it is told.
//!                   2. an intent whose record may or may not be in the log is looked up before
//!                      its client is let in.
//! Source            docs/decisions/2026-11-24-mqtt.md "Sessions and exactly once".

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use kafka_lite::catalog::{MQTT_SESSIONS_TOPIC, Planner};
use kafka_lite::error_code::ErrorCode;
use kafka_lite::primitive::Uuid;
use kafka_lite::record_batch::{BatchBuilder, BatchOptions};
use mqtt::record::DELIVERY;
use mqtt::session::{Intent, PartitionName, Session, SessionKey};
use tracing::{info, warn};

use super::append::{Place, append};
use super::fetch::{fetch, for_each_record};
use super::registry::owner_of;
use super::shares;
use crate::controller;
use crate::limits::MQTT_SESSIONS_MAX;
use crate::partition::Partition;
use crate::shard::promise::promise;
use crate::shard::{Shard, ShardId};

/// A key with its value; `None` is a tombstone.
type Pair = (Vec<u8>, Option<Vec<u8>>);

/// The sessions of one owner shard.
#[derive(Default)]
pub(super) struct Sessions {
    loaded: Cell<bool>,
    loading_ended: crate::shard::notify::Notify,
    clients: RefCell<BTreeMap<Arc<str>, Client>>,
}

#[derive(Default)]
struct Client {
    session: Option<Session>,
    intents: BTreeMap<u16, (Intent, IntentState)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum IntentState {
    /// Written before the process that wrote it ended: the record is there or not.
    Unknown,
    /// The record is committed, or its append is under way.
    Stored,
}

/// A session as its client gets it.
#[derive(Clone, Debug, Default)]
pub(super) struct Resumed {
    pub(super) is_present: bool,
    pub(super) session: Session,
    pub(super) received_ids: Vec<u16>,
}

impl Sessions {
    /// How many sessions there are.
    pub(super) fn count(&self) -> usize {
        let clients = self.clients.borrow();
        clients
            .values()
            .filter(|client| client.session.is_some())
            .count()
    }

    /// Everything that the log holds was received.
    fn finish_loading(&self) {
        self.loaded.set(true);
        self.loading_ended.notify();
    }

    async fn wait_until_loaded(&self) {
        while !self.loaded.get() {
            self.loading_ended.wait().await;
        }
        // Others may wait as well: the wake-up is passed on.
        self.loading_ended.notify();
    }

    fn receive(&self, key: &SessionKey, value: Option<&[u8]>) {
        let mut clients = self.clients.borrow_mut();
        let client = clients.entry(key.name().into()).or_default();
        match (key, value) {
            (SessionKey::Group(_), _) => {}
            (SessionKey::Session(_), None) => client.session = None,
            (SessionKey::Session(_), Some(value)) => match Session::decode(value) {
                Ok(session) => client.session = Some(session),
                Err(error) => warn!(client = key.name(), %error, "a session is passed over"),
            },
            (SessionKey::Intent(_, packet_id), None) => {
                client.intents.remove(packet_id);
            }
            (SessionKey::Intent(_, packet_id), Some(value)) => match Intent::decode(value) {
                Ok(intent) => {
                    let state = (intent, IntentState::Unknown);
                    client.intents.insert(*packet_id, state);
                }
                Err(error) => warn!(client = key.name(), %error, "an intent is passed over"),
            },
        }
        if client.session.is_none() && client.intents.is_empty() {
            clients.remove(key.name());
        }
    }

    fn unknown(&self, client_id: &str) -> Vec<(u16, Intent)> {
        let clients = self.clients.borrow();
        let intents = clients
            .get(client_id)
            .into_iter()
            .flat_map(|client| &client.intents);
        intents
            .filter(|(_, (_, state))| *state == IntentState::Unknown)
            .map(|(packet_id, (intent, _))| (*packet_id, *intent))
            .collect()
    }
}

/// Where the sessions are kept; `None` before the first one.
fn place(shard: &Rc<Shard>) -> Option<Place> {
    let catalog = shard.catalog();
    let topic = catalog.topic(MQTT_SESSIONS_TOPIC)?;
    Some(Place {
        shard: controller::place(shard, topic, 0)?,
        topic_id: Uuid(topic.topic_id),
        index: 0,
    })
}

/// Whether anything was ever kept.
pub(super) fn exist(shard: &Rc<Shard>) -> bool {
    place(shard).is_some()
}

/// Makes an internal topic of MQTT when it is not there yet.
pub(super) async fn ensure_topic(shard: &Rc<Shard>, name: &'static str) -> Result<(), ErrorCode> {
    if shard.catalog().topic(name).is_some() {
        return Ok(());
    }
    let topic_id = uuid::Uuid::new_v4().into_bytes();
    controller::change(shard, move |catalog, context| {
        let layers = catalog
            .view()
            .layers(context.node_id, &context.static_configs);
        match Planner::new(catalog, layers).create_internal_topic(name, topic_id) {
            Ok(command) => (vec![command], Ok(())),
            Err(fault) if fault.error_code == ErrorCode::TopicAlreadyExists => (Vec::new(), Ok(())),
            Err(fault) => (Vec::new(), Err(fault.error_code)),
        }
    })
    .await?
}

/// Sends what a partition of `__mqtt_sessions` holds to the owners, on the partition's shard.
pub(crate) async fn load(shard: Rc<Shard>, partition: Rc<Partition>) {
    let (mut offset, end) = (
        partition.log().log_start_offset(),
        partition.high_watermark(),
    );
    let place = Place {
        shard: shard.id(),
        topic_id: partition.topic_id(),
        index: partition.index(),
    };
    let mut count = 0_usize;
    while offset < end {
        let Ok(fetched) = fetch(&shard, place, offset).await else {
            warn!(
                ?partition,
                "MQTT sessions are loaded up to a record that cannot be read"
            );
            break;
        };
        let mut by_owner: BTreeMap<ShardId, Vec<Pair>> = BTreeMap::new();
        let next = for_each_record(&fetched.pieces, offset, |record| {
            let Some(key) = record.key else { return };
            let Ok(decoded) = SessionKey::decode(key) else {
                return;
            };
            let pair = (key.to_vec(), record.value.map(<[u8]>::to_vec));
            by_owner
                .entry(owner_of(&shard, decoded.name()))
                .or_default()
                .push(pair);
            count += 1;
        });
        for (owner, pairs) in by_owner {
            shard.send(owner, move |there| receive(there, &pairs));
        }
        if next <= offset {
            break;
        }
        offset = next;
    }
    if count > 0 {
        info!(records = count, "MQTT sessions loaded");
    }
    for owner in 0..shard.shard_count() {
        shard.send(owner, finish_loading);
    }
}

fn receive(shard: &Rc<Shard>, pairs: &[Pair]) {
    let sessions = &shard.state().mqtt().sessions;
    for (key, value) in pairs {
        match SessionKey::decode(key) {
            Ok(SessionKey::Group(name)) => shares::receive(shard, &name, value.as_deref()),
            Ok(key) => sessions.receive(&key, value.as_deref()),
            Err(_) => {}
        }
    }
}

/// Everything that the log holds was received.
fn finish_loading(shard: &Rc<Shard>) {
    let sessions = &shard.state().mqtt().sessions;
    let members: Vec<_> = {
        let clients = sessions.clients.borrow();
        let groups = clients.iter().flat_map(|(client_id, client)| {
            let groups = client.session.iter().flat_map(groups_of);
            groups.map(|group| (group, Arc::clone(client_id)))
        });
        groups.collect()
    };
    shares::settle_loaded(shard, &members);
    sessions.finish_loading();
}

/// The groups that a session is a member of.
fn groups_of(session: &Session) -> impl Iterator<Item = Arc<str>> {
    let subscriptions = session.subscriptions.iter();
    let shared = subscriptions.filter(|one| one.is_shared());
    shared.map(|one| one.filter.as_str().into())
}

/// Returns when what was kept is known on this shard.
pub(super) async fn wait_until_loaded(shard: &Rc<Shard>) {
    if exist(shard) {
        let service = Rc::clone(shard.state().mqtt());
        service.sessions.wait_until_loaded().await;
    }
}

/// Opens the session of a client on its owner shard.
///
/// Errors: the log does not take what is to be kept.
pub(super) async fn open(
    shard: &Rc<Shard>,
    client_id: &Arc<str>,
    clean_start: bool,
    expiry_seconds: u32,
) -> Result<Resumed, ErrorCode> {
    let service = Rc::clone(shard.state().mqtt());
    let sessions = &service.sessions;
    sessions.wait_until_loaded().await;
    let now_ms = shard.wall_clock_ms();
    let kept = sessions
        .clients
        .borrow()
        .get(client_id)
        .and_then(|one| one.session.clone());
    let kept = kept.filter(|session| !clean_start && !session.is_expired(now_ms));
    if kept.is_none() {
        discard(shard, client_id).await?;
    } else {
        settle(shard, client_id).await?;
    }
    let is_present = kept.is_some();
    let mut session = kept.unwrap_or_default();
    if expiry_seconds > 0 {
        if !is_present && sessions.count() >= MQTT_SESSIONS_MAX {
            return Err(ErrorCode::PolicyViolation);
        }
        session.expiry_seconds = expiry_seconds;
        session.ended_at_ms = None;
        save(shard, client_id, session.clone()).await?;
    }
    let received_ids = {
        let clients = sessions.clients.borrow();
        let intents = clients.get(client_id).map(|client| &client.intents);
        let ids = intents.into_iter().flat_map(BTreeMap::keys);
        ids.copied().collect()
    };
    if expiry_seconds == 0 && is_present {
        // From here on it lives with the connection alone.
        discard(shard, client_id).await?;
    }
    Ok(Resumed {
        is_present,
        session,
        received_ids,
    })
}

/// Forgets a client, durably.
pub(super) async fn discard(shard: &Rc<Shard>, client_id: &Arc<str>) -> Result<(), ErrorCode> {
    let service = Rc::clone(shard.state().mqtt());
    let client = service.sessions.clients.borrow_mut().remove(client_id);
    let Some(client) = client else {
        return Ok(());
    };
    let intents = client.intents.keys();
    let intents = intents.map(|packet_id| SessionKey::Intent(client_id.to_string(), *packet_id));
    let groups: Vec<_> = client.session.iter().flat_map(groups_of).collect();
    let session = client
        .session
        .map(|_| SessionKey::Session(client_id.to_string()));
    let pairs = session
        .into_iter()
        .chain(intents)
        .map(|key| (key.encode(), None))
        .collect();
    for group in groups {
        shares::forget(shard, &group, client_id).await;
    }
    write(shard, pairs).await
}

/// Finds out which intents of a client have their record.
async fn settle(shard: &Rc<Shard>, client_id: &Arc<str>) -> Result<(), ErrorCode> {
    let service = Rc::clone(shard.state().mqtt());
    for (packet_id, intent) in service.sessions.unknown(client_id) {
        if is_delivered(shard, &intent).await? {
            let mut clients = service.sessions.clients.borrow_mut();
            let client = clients.get_mut(client_id);
            if let Some((_, state)) = client.and_then(|one| one.intents.get_mut(&packet_id)) {
                *state = IntentState::Stored;
            }
        } else {
            release(shard, client_id, packet_id).await?;
        }
    }
    Ok(())
}

/// Whether the record of an intent is in the log. A partition that is gone has it no more.
async fn is_delivered(shard: &Rc<Shard>, intent: &Intent) -> Result<bool, ErrorCode> {
    let catalog = shard.catalog();
    let topic = catalog.topic_by_id(&intent.name.topic_id);
    let owner = topic.and_then(|topic| controller::place(shard, topic, intent.name.partition));
    let Some(owner) = owner else {
        return Ok(false);
    };
    let place = Place {
        shard: owner,
        topic_id: Uuid(intent.name.topic_id),
        index: intent.name.partition,
    };
    let mut offset = intent.offset;
    loop {
        let fetched = fetch(shard, place, offset).await;
        let fetched = fetched.map_err(|_| ErrorCode::KafkaStorageError)?;
        let mut is_there = false;
        let next = for_each_record(&fetched.pieces, offset, |record| {
            let mut headers = record.headers;
            is_there |= headers
                .any(|header| header.key == DELIVERY && header.value == Some(&intent.delivery[..]));
        });
        if is_there || next >= fetched.high_watermark || next <= offset {
            return Ok(is_there);
        }
        offset = next;
    }
}

/// Keeps an intent; the message may be appended when this returns.
pub(super) async fn intend(
    shard: &Rc<Shard>,
    client_id: &Arc<str>,
    packet_id: u16,
    intent: Intent,
) -> Result<(), ErrorCode> {
    let key = SessionKey::Intent(client_id.to_string(), packet_id);
    {
        let service = shard.state().mqtt();
        let mut clients = service.sessions.clients.borrow_mut();
        let client = clients.entry(Arc::clone(client_id)).or_default();
        client
            .intents
            .insert(packet_id, (intent, IntentState::Stored));
    }
    let written = write(shard, vec![(key.encode(), Some(intent.encode()))]).await;
    if written.is_err() {
        forget_intent(shard, client_id, packet_id);
    }
    written
}

/// Frees a packet identifier, durably.
pub(super) async fn release(
    shard: &Rc<Shard>,
    client_id: &Arc<str>,
    packet_id: u16,
) -> Result<(), ErrorCode> {
    let key = SessionKey::Intent(client_id.to_string(), packet_id);
    write(shard, vec![(key.encode(), None)]).await?;
    forget_intent(shard, client_id, packet_id);
    Ok(())
}

fn forget_intent(shard: &Rc<Shard>, client_id: &Arc<str>, packet_id: u16) {
    let service = shard.state().mqtt();
    let mut clients = service.sessions.clients.borrow_mut();
    if let Some(client) = clients.get_mut(client_id) {
        client.intents.remove(&packet_id);
    }
}

/// Keeps the state of a session.
pub(super) async fn save(
    shard: &Rc<Shard>,
    client_id: &Arc<str>,
    session: Session,
) -> Result<(), ErrorCode> {
    let key = SessionKey::Session(client_id.to_string());
    let value = session.encode();
    {
        let service = shard.state().mqtt();
        let mut clients = service.sessions.clients.borrow_mut();
        clients.entry(Arc::clone(client_id)).or_default().session = Some(session);
    }
    write(shard, vec![(key.encode(), Some(value))]).await
}

/// Forgets sessions whose time is over.
pub(super) async fn expire(shard: &Rc<Shard>) {
    let now_ms = shard.wall_clock_ms();
    let service = Rc::clone(shard.state().mqtt());
    if !service.sessions.loaded.get() {
        return;
    }
    shares::sweep(shard).await;
    let expired: Vec<Arc<str>> = {
        let mut clients = service.sessions.clients.borrow_mut();
        let sessions = clients.values_mut();
        for session in sessions.filter_map(|client| client.session.as_mut()) {
            session.begin_anew_after_setting(now_ms);
        }
        let is_over = |client: &Client| {
            client
                .session
                .as_ref()
                .is_some_and(|session| session.is_expired(now_ms))
        };
        let over = clients.iter().filter(|(_, client)| is_over(client));
        over.map(|(client_id, _)| Arc::clone(client_id)).collect()
    };
    for client_id in expired {
        if discard(shard, &client_id).await.is_err() {
            return;
        }
    }
}

/// Appends to the log of the sessions and waits for the commit.
pub(super) async fn write(shard: &Rc<Shard>, pairs: Vec<Pair>) -> Result<(), ErrorCode> {
    let Some(place) = place(shard) else {
        return Ok(());
    };
    let now_ms = shard.wall_clock_ms();
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for (key, value) in &pairs {
        builder
            .append(now_ms, Some(key), value.as_deref(), &[])
            .map_err(|_| ErrorCode::RecordListTooLarge)?;
    }
    if pairs.is_empty() {
        return Ok(());
    }
    let batch = builder
        .finish()
        .map_err(|_| ErrorCode::RecordListTooLarge)?;
    let (told, result) = promise();
    append(shard, place, Bytes::from(batch), move |result| {
        told.fulfil(result.map(drop).map_err(|fault| fault.error));
    });
    result.await
}

/// Name of a partition in a session.
pub(super) fn name_of(place: Place) -> PartitionName {
    PartitionName {
        topic_id: place.topic_id.0,
        partition: place.index,
    }
}
