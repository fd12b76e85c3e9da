//! Who is connected under which client identifier, on the shard that owns the identifier.
//!
//! Invariants        1. an identifier has at most one holder. 2. those who wait get it in the order
//!                      in which they came, each when the one before has let it go.
//! Source            MQTT 5.0 [MQTT-3.1.4-3]: the server disconnects the earlier connection.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use mqtt::reason::ReasonCode;

use crate::connection::ConnectionId;
use crate::shard::{CallAnswer, Shard, ShardId};

/// A connection, wherever it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Holder {
    pub(super) shard: ShardId,
    pub(super) connection: ConnectionId,
}

/// Holders by client identifier.
#[derive(Default)]
pub(super) struct Registry {
    clients: BTreeMap<Arc<str>, Client>,
}

struct Client {
    holder: Holder,
    waiting: VecDeque<(Holder, CallAnswer<()>)>,
}

/// The shard that owns a client identifier.
pub(super) fn owner_of(shard: &Shard, client_id: &str) -> ShardId {
    let hash = crc32c::crc32c(client_id.as_bytes());
    let count = u32::from(shard.shard_count()).max(1);
    ShardId::try_from(hash.rem_euclid(count)).unwrap_or(0)
}

/// Gives the identifier to `holder` when it is free; one who has it is sent away.
pub(super) fn acquire(
    shard: &Rc<Shard>,
    client_id: Arc<str>,
    holder: Holder,
    answer: CallAnswer<()>,
) {
    let earlier = {
        let mut registry = shard.state().mqtt().registry.borrow_mut();
        match registry.clients.get_mut(&client_id) {
            Some(client) => {
                client.waiting.push_back((holder, answer));
                Some(client.holder)
            }
            None => {
                let waiting = VecDeque::new();
                registry
                    .clients
                    .insert(client_id, Client { holder, waiting });
                drop(registry);
                answer.send(shard, ());
                None
            }
        }
    };
    if let Some(earlier) = earlier {
        send_away(shard, earlier);
    }
}

fn send_away(shard: &Rc<Shard>, holder: Holder) {
    shard.send(holder.shard, move |there| {
        if let Some(connection) = there.state().mqtt().connection(holder.connection) {
            connection.end(there, ReasonCode::SessionTakenOver);
        }
    });
}

/// The holder is closed: the next one gets the identifier, and is itself sent away if another one
/// waits behind it.
pub(super) fn release(shard: &Rc<Shard>, client_id: &Arc<str>, holder: Holder) {
    let next = {
        let mut registry = shard.state().mqtt().registry.borrow_mut();
        let Some(client) = registry.clients.get_mut(client_id) else {
            return;
        };
        if client.holder != holder {
            client.waiting.retain(|(waiting, _)| *waiting != holder);
            return;
        }
        match client.waiting.pop_front() {
            Some((next, answer)) => {
                client.holder = next;
                Some((next, answer, !client.waiting.is_empty()))
            }
            None => {
                registry.clients.remove(client_id);
                None
            }
        }
    };
    if let Some((next, answer, is_taken_over)) = next {
        answer.send(shard, ());
        if is_taken_over {
            send_away(shard, next);
        }
    }
}
