//! The consumer group APIs: each request goes to the shard of its group and comes back with the
//! reply.
//!
//! What it is        conversion between messages and the coordinator's requests, and the way there.
//! What it is not    a rule of groups.
//! Invariants        1. the call to the group's shard leaves before the handler returns, so
//! requests of
//!                   one connection reach the coordinator in their order.

mod look;
mod membership;
mod offset_fetch;
mod offsets;

use std::collections::BTreeMap;
use std::rc::Rc;

use kafka_lite::catalog::OFFSETS_TOPIC;
use kafka_lite::error_code::ErrorCode;
use kafka_lite::group::{Coordinator, GroupError, Now, ReplyToken, partition_for};

pub(super) use self::look::{describe_groups, list_groups};
pub(super) use self::membership::{heartbeat, join_group, leave_group, sync_group};
pub(super) use self::offset_fetch::offset_fetch;
pub(super) use self::offsets::{delete_groups, offset_commit, offset_delete};
use super::{Reply, RequestContext};
use crate::controller;
use crate::shard::{Shard, ShardId};

/// The shard that serves a group; NOT_COORDINATOR until `__consumer_offsets` exists.
fn owner_of(shard: &Rc<Shard>, group_id: &str) -> Result<ShardId, GroupError> {
    let catalog = shard.catalog();
    let topic = catalog
        .topic(OFFSETS_TOPIC)
        .ok_or(GroupError::NotCoordinator)?;
    let count = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
    let place = controller::place(shard, topic, partition_for(group_id, count));
    place.ok_or(GroupError::NotCoordinator)
}

/// Code of a reply: `None` is success.
fn code_of(error: Option<GroupError>) -> ErrorCode {
    error.map_or(ErrorCode::None, GroupError::error_code)
}

/// Gives the request to the coordinator of `group_id` and `answer`s with what it replies, or with
/// an
/// error when there is no coordinator. A client that hangs up lets go of what is held for it.
fn submit<T: Send + 'static>(
    shard: &Rc<Shard>,
    group_id: &str,
    reply: Reply,
    input: impl FnOnce(&mut Coordinator, Now, ReplyToken) + Send + 'static,
    take: fn(kafka_lite::group::Reply) -> Option<T>,
    answer: impl FnOnce(Reply, Result<T, GroupError>) + 'static,
) {
    let owner = match owner_of(shard, group_id) {
        Ok(owner) => owner,
        Err(error) => return answer(reply, Err(error)),
    };
    let (told, token) = crate::shard::promise::promise();
    let mut told = Some(told);
    let caller = shard.id();
    let result = shard.call_with(owner, move |remote, answered| {
        let groups = Rc::clone(remote.state().groups());
        let home = Rc::clone(remote);
        let token = groups.submit(remote, input, move |reply| {
            answered.send(&home, take(reply))
        });
        if let Some(told) = told.take() {
            remote.send(caller, move |_| told.fulfil(token));
        }
    });
    let shard = Rc::clone(shard);
    drop(monoio::spawn(async move {
        let mut result = std::pin::pin!(result);
        let connection = Rc::clone(reply.connection());
        let reply_value = monoio::select! {
            value = &mut result => value,
            () = connection.closed() => {
                let token = token.await;
                shard.send(owner, move |remote| {
                    Rc::clone(remote.state().groups()).forget(remote, token);
                });
                None
            }
        };
        answer(
            reply,
            reply_value.ok_or(GroupError::CoordinatorNotAvailable),
        );
    }));
}

/// Runs `look` on every shard of `wanted` and gathers what they say.
async fn gather<K, T>(
    shard: &Rc<Shard>,
    wanted: BTreeMap<ShardId, K>,
    look: fn(&Coordinator, K) -> T,
) -> Vec<T>
where
    K: Send + 'static,
    T: Send + 'static,
{
    let calls: Vec<_> = wanted
        .into_iter()
        .map(|(owner, key)| {
            shard.call(owner, move |remote| {
                remote
                    .state()
                    .groups()
                    .look(|coordinator| look(coordinator, key))
            })
        })
        .collect();
    let mut found = Vec::with_capacity(calls.len());
    for call in calls {
        found.push(call.await);
    }
    found
}

/// Host of a client as Kafka shows it: an address with a slash in front.
fn client_host(request: &RequestContext) -> String {
    format!("/{}", request.connection.peer().ip())
}
