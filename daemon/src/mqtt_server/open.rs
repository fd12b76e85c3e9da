//! From CONNECT to CONNACK, and what is left to do when a connection ends.
//!
//! Invariants        1. an identifier is held before its session is opened, and let go after it is
//!                      saved: nobody sees a session half done.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use kafka_lite::catalog::MQTT_SESSIONS_TOPIC;
use mqtt::connection::OpenedSession;
use mqtt::message::Message;
use mqtt::packet::{Connect, Will};
use mqtt::reason::ReasonCode;
use mqtt::session::Session;
use tracing::debug;

use super::connection::MqttConnection;
use super::member;
use super::publish::publish_alone;
use super::registry::{self, owner_of};
use super::sessions::{self, Resumed};
use crate::shard::Shard;

/// A session that was opened.
pub(super) struct Opened {
    pub(super) client_id: Arc<str>,
    pub(super) opened: OpenedSession,
    pub(super) session: Session,
}

/// Opens the session of a CONNECT; the connection hears of it.
pub(super) fn start(shard: &Rc<Shard>, connection: &Rc<MqttConnection>, connect: Box<Connect>) {
    let (shard, connection) = (Rc::clone(shard), Rc::clone(connection));
    drop(monoio::spawn(async move {
        let opened = open(&shard, &connection, &connect).await;
        if !connection.is_closed() {
            connection.handle_opened(&shard, *connect, opened);
        } else if let Ok(opened) = opened {
            abandon(&shard, &connection, &connect, opened).await;
        }
    }));
}

/// The client is gone before its session was open.
async fn abandon(
    shard: &Rc<Shard>,
    connection: &MqttConnection,
    connect: &Connect,
    opened: Opened,
) {
    let mut session = opened.session;
    if connect.session_expiry_seconds > 0 {
        session.ended_at_ms = Some(shard.wall_clock_ms());
        // If it cannot be stored, the session has no end until its client comes again.
        let _saved: bool = save_session(shard, &opened.client_id, session).await;
    }
    release(shard, connection, opened.client_id);
}

async fn open(
    shard: &Rc<Shard>,
    connection: &MqttConnection,
    connect: &Connect,
) -> Result<Opened, ReasonCode> {
    let service = shard.state().mqtt();
    if let Err(reason) = service.login.check(connect).await {
        service.metrics.count_login_refused();
        return Err(reason);
    }
    let is_assigned = connect.client_id.is_empty();
    let client_id: Arc<str> = if is_assigned {
        format!("auto-{}", uuid::Uuid::new_v4().simple()).into()
    } else {
        Arc::clone(&connect.client_id)
    };
    let owner = owner_of(shard, &client_id);
    let holder = connection.holder(shard);
    let name = Arc::clone(&client_id);
    let acquired = shard.call_with(owner, move |there, answer| {
        registry::acquire(there, name, holder, answer);
    });
    acquired.await;
    let resumed = match resume(shard, &client_id, connect).await {
        Ok(resumed) => resumed,
        Err(reason) => {
            release(shard, connection, client_id);
            return Err(reason);
        }
    };
    Ok(Opened {
        opened: OpenedSession {
            is_present: resumed.is_present,
            received_ids: resumed.received_ids,
            assigned_client_id: is_assigned.then(|| Arc::clone(&client_id)),
        },
        session: resumed.session,
        client_id,
    })
}

/// Gets the session from its owner; a client that needs none, on a broker that has none, gets an
/// empty one at once.
async fn resume(
    shard: &Rc<Shard>,
    client_id: &Arc<str>,
    connect: &Connect,
) -> Result<Resumed, ReasonCode> {
    let (is_clean, expiry) = (connect.clean_start, connect.session_expiry_seconds);
    if expiry > 0 {
        let made = sessions::ensure_topic(shard, MQTT_SESSIONS_TOPIC).await;
        made.map_err(|_| ReasonCode::ServerUnavailable)?;
    } else if !sessions::exist(shard) {
        return Ok(Resumed::default());
    }
    let owner = owner_of(shard, client_id);
    let client_id = Arc::clone(client_id);
    let resumed = shard.call_with(owner, move |there, answer| {
        let there = Rc::clone(there);
        drop(monoio::spawn(async move {
            settle_will(&there, &client_id, is_clean);
            let resumed = sessions::open(&there, &client_id, is_clean, expiry).await;
            answer.send(&there, resumed);
        }));
    });
    resumed.await.map_err(|code| {
        debug!(?code, "a session cannot be opened");
        ReasonCode::ServerUnavailable
    })
}

/// Keeps the session as it is now; false when it could not be stored.
pub(super) async fn save_now(shard: &Rc<Shard>, connection: &Rc<MqttConnection>) -> bool {
    if connection.expiry_seconds.get() == 0 {
        return true;
    }
    save(shard, connection, None).await
}

async fn save(
    shard: &Rc<Shard>,
    connection: &Rc<MqttConnection>,
    ended_at_ms: Option<i64>,
) -> bool {
    let mut session = Session {
        expiry_seconds: connection.expiry_seconds.get(),
        ended_at_ms,
        ..Session::default()
    };
    if let Some(deliveries) = connection.deliveries_if_any() {
        deliveries.snapshot(&mut session);
    }
    save_session(shard, &connection.client_id(), session).await
}

/// Has the owner keep a session, or forget one that does not outlive its connection.
async fn save_session(shard: &Rc<Shard>, client_id: &Arc<str>, session: Session) -> bool {
    let (owner, client_id) = (owner_of(shard, client_id), Arc::clone(client_id));
    let saved = shard.call_with(owner, move |there, answer| {
        let there = Rc::clone(there);
        drop(monoio::spawn(async move {
            let saved = if session.expiry_seconds == 0 {
                sessions::discard(&there, &client_id).await
            } else {
                sessions::save(&there, &client_id, session).await
            };
            answer.send(&there, saved.is_ok());
        }));
    });
    saved.await
}

/// The connection has ended: its will, its session, its identifier.
pub(super) async fn finish(shard: &Rc<Shard>, connection: &Rc<MqttConnection>) {
    let client_id = connection.client_id();
    if client_id.is_empty() {
        return;
    }
    if let Some(deliveries) = connection.deliveries_if_any() {
        deliveries.end();
    }
    connection.exact.ended().await;
    let kept = connection.expiry_seconds.get();
    let expiry = connection.closing_expiry().unwrap_or(kept);
    if let Some(deliveries) = connection.deliveries_if_any() {
        member::end(shard, &deliveries, kept > 0 && expiry > 0).await;
    }
    if kept > 0 {
        let now_ms = shard.wall_clock_ms();
        connection.expiry_seconds.set(expiry);
        let is_saved = save(shard, connection, Some(now_ms)).await;
        debug!(client = %client_id, is_saved, "session kept");
    }
    let will = connection.take_will().filter(|_| !shard.is_stopping());
    if let Some(will) = will {
        publish_will(shard, &client_id, will, connection.expiry_seconds.get()).await;
    }
    release(shard, connection, client_id);
}

fn release(shard: &Rc<Shard>, connection: &MqttConnection, client_id: Arc<str>) {
    let holder = connection.holder(shard);
    let owner = owner_of(shard, &client_id);
    shard.send(owner, move |there| {
        registry::release(there, &client_id, holder)
    });
}

async fn publish_will(shard: &Rc<Shard>, client_id: &Arc<str>, will: Will, expiry_seconds: u32) {
    let Will {
        message,
        delay_seconds,
    } = will;
    let delay_seconds = delay_seconds.min(expiry_seconds);
    if delay_seconds == 0 {
        publish_now(shard, client_id, message).await;
        return;
    }
    let (owner, client_id) = (owner_of(shard, client_id), Arc::clone(client_id));
    shard.send(owner, move |there| {
        let there = Rc::clone(there);
        drop(monoio::spawn(async move {
            let service = Rc::clone(there.state().mqtt());
            let number = service.next_will.get();
            service.next_will.set(number + 1);
            let entry = (number, message);
            service
                .delayed_wills
                .borrow_mut()
                .insert(Arc::clone(&client_id), entry);
            monoio::time::sleep(Duration::from_secs(u64::from(delay_seconds))).await;
            let waiting = service.delayed_wills.borrow_mut().remove(&client_id);
            match waiting {
                Some((mine, message)) if mine == number => {
                    publish_now(&there, &client_id, message).await;
                }
                Some(other) => {
                    service.delayed_wills.borrow_mut().insert(client_id, other);
                }
                None => {}
            }
        }));
    });
}

/// The client is back: a will that waits is dropped, or published at once when its session ends.
fn settle_will(shard: &Rc<Shard>, client_id: &Arc<str>, is_clean: bool) {
    let waiting = shard
        .state()
        .mqtt()
        .delayed_wills
        .borrow_mut()
        .remove(client_id);
    let Some((_, message)) = waiting.filter(|_| is_clean) else {
        return;
    };
    let (shard, client_id) = (Rc::clone(shard), Arc::clone(client_id));
    drop(monoio::spawn(async move {
        publish_now(&shard, &client_id, message).await
    }));
}

async fn publish_now(shard: &Rc<Shard>, client_id: &Arc<str>, message: Message) {
    let outcome = publish_alone(shard, client_id, &message).await;
    if outcome.is_error() {
        tracing::warn!(client = %client_id, ?outcome, "a last will is not published");
    }
}
