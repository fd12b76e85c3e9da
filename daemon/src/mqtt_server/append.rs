//! One batch to one partition, on whatever shard of this node it lives.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;
use kafka_lite::error_code::ErrorCode;
use kafka_lite::primitive::Uuid;

use crate::partition::{AppendFault, AppendObserver, AppendRequest, AppendResult};
use crate::shard::{CallAnswer, Shard, ShardId};

/// Produce version that the batches of MQTT count as.
const OWN_API_VERSION: i16 = 9;

/// Where a partition lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) shard: ShardId,
    pub(super) topic_id: Uuid,
    pub(super) index: i32,
}

/// Appends a batch; `then` hears what became of it, now or later, on this shard. Batches of one
/// caller to one partition keep their order.
pub(super) fn append(
    shard: &Rc<Shard>,
    place: Place,
    batch: Bytes,
    then: impl FnOnce(AppendResult) + 'static,
) {
    if place.shard == shard.id() {
        let told = Rc::new(Told {
            then: RefCell::new(Some(then)),
        });
        return append_here(shard, place, batch, told);
    }
    let result = shard.call_with(place.shard, move |there, answer| {
        let told = Rc::new(ToldElsewhere {
            shard: Rc::clone(there),
            answer: RefCell::new(Some(answer)),
        });
        append_here(there, place, batch, told);
    });
    drop(monoio::spawn(async move { then(result.await) }));
}

fn append_here(shard: &Rc<Shard>, place: Place, batch: Bytes, told: Rc<dyn AppendObserver>) {
    let request = AppendRequest {
        batch,
        api_version: OWN_API_VERSION,
        now_ms: shard.wall_clock_ms(),
    };
    match shard.state().partitions().get(place.topic_id, place.index) {
        Some(partition) => partition.append(request, told, 0),
        None => {
            let fault = AppendFault::code(ErrorCode::NotLeaderOrFollower);
            told.handle_append(0, Err(fault));
        }
    }
}

struct Told<F> {
    then: RefCell<Option<F>>,
}

impl<F: FnOnce(AppendResult)> AppendObserver for Told<F> {
    fn handle_append(&self, _place: usize, result: AppendResult) {
        let then = self.then.borrow_mut().take();
        if let Some(then) = then {
            then(result);
        }
    }
}

struct ToldElsewhere {
    shard: Rc<Shard>,
    answer: RefCell<Option<CallAnswer<AppendResult>>>,
}

impl AppendObserver for ToldElsewhere {
    fn handle_append(&self, _place: usize, result: AppendResult) {
        let answer = self.answer.borrow_mut().take();
        if let Some(answer) = answer {
            answer.send(&self.shard, result);
        }
    }
}
