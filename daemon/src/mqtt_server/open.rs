//! From CONNECT to CONNACK, and what is left to do when a connection ends.

use std::rc::Rc;
use std::sync::Arc;

use mqtt::connection::OpenedSession;
use mqtt::packet::Connect;
use mqtt::reason::ReasonCode;

use super::connection::MqttConnection;
use super::registry::{self, Holder};
use crate::shard::Shard;

/// A session that was opened.
pub(super) struct Opened {
    pub(super) client_id: Arc<str>,
    pub(super) session: OpenedSession,
}

/// Opens the session of a CONNECT; the connection hears of it.
pub(super) fn start(shard: &Rc<Shard>, connection: &Rc<MqttConnection>, connect: Box<Connect>) {
    let (shard, connection) = (Rc::clone(shard), Rc::clone(connection));
    drop(monoio::spawn(async move {
        let opened = open(&shard, &connection, &connect).await;
        let client_id = opened
            .as_ref()
            .ok()
            .map(|opened| Arc::clone(&opened.client_id));
        if connection.is_closed() {
            if let Some(client_id) = client_id {
                release(&shard, &connection, client_id);
            }
            return;
        }
        connection.handle_opened(&shard, connect, opened);
    }));
}

async fn open(
    shard: &Rc<Shard>,
    connection: &MqttConnection,
    connect: &Connect,
) -> Result<Opened, ReasonCode> {
    let is_assigned = connect.client_id.is_empty();
    let client_id: Arc<str> = if is_assigned {
        format!("auto-{}", uuid::Uuid::new_v4().simple()).into()
    } else {
        Arc::clone(&connect.client_id)
    };
    let owner = registry::owner_of(shard, &client_id);
    let holder = holder(shard, connection);
    let name = Arc::clone(&client_id);
    let acquired = shard.call_with(owner, move |there, answer| {
        registry::acquire(there, name, holder, answer);
    });
    acquired.await;
    Ok(Opened {
        session: OpenedSession {
            assigned_client_id: is_assigned.then(|| Arc::clone(&client_id)),
            ..OpenedSession::default()
        },
        client_id,
    })
}

fn holder(shard: &Shard, connection: &MqttConnection) -> Holder {
    Holder {
        shard: shard.id(),
        connection: connection.id(),
    }
}

/// The connection has ended.
pub(super) fn finish(shard: &Rc<Shard>, connection: &Rc<MqttConnection>) {
    let client_id = connection.client_id();
    if !client_id.is_empty() {
        release(shard, connection, client_id);
    }
}

fn release(shard: &Rc<Shard>, connection: &MqttConnection, client_id: Arc<str>) {
    let holder = holder(shard, connection);
    let owner = registry::owner_of(shard, &client_id);
    shard.send(owner, move |there| {
        registry::release(there, &client_id, holder)
    });
}
