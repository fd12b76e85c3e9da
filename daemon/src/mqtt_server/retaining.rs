//! Retained messages on their way: the log has them, or is about to, the index not yet.
//!
//! What it is        a message to retain stands in the log of its topic, where subscribers read it,
//!                   and after that in `__mqtt_retained`. Who subscribes between the two commits
//!                   begins behind the first and would not find the second: so each shard knows
//!                   what its connections retain, and a new subscription waits for that.
//! Invariants        1. a message is known here before it is appended, until the index has it or
//!                      it is refused. 2. who waits waits only for what was there when it came.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use mqtt::filter::matches;
use mqtt::record::StoredMessage;

use crate::shard::Shard;
use crate::shard::notify::Notify;

/// What the connections of one shard retain at the moment; bounded by the publishes in flight.
#[derive(Default)]
pub(super) struct UnderWay {
    topics: RefCell<BTreeMap<u64, Arc<str>>>,
    next: Cell<u64>,
    changed: Notify,
}

/// A message that is to be retained; it is known as under way as long as this lives.
pub(super) struct Retaining {
    pub(super) message: StoredMessage,
    number: u64,
    under_way: Rc<UnderWay>,
}

impl Retaining {
    /// Announces a message; before it is appended to the log of its topic.
    pub(super) fn begin(shard: &Shard, message: StoredMessage) -> Self {
        let under_way = Rc::clone(&shard.state().mqtt().retaining);
        let number = under_way.next.get();
        under_way.next.set(number + 1);
        let topic = Arc::clone(&message.message.topic);
        under_way.topics.borrow_mut().insert(number, topic);
        Self {
            message,
            number,
            under_way,
        }
    }
}

impl Drop for Retaining {
    fn drop(&mut self) {
        self.under_way.topics.borrow_mut().remove(&self.number);
        self.under_way.changed.notify();
    }
}

impl UnderWay {
    fn has(&self, filter: &str, before: u64) -> bool {
        let topics = self.topics.borrow();
        let mut earlier = topics.range(..before);
        earlier.any(|(_, topic)| matches(filter, topic))
    }

    async fn settled(&self, filter: &str) {
        let before = self.next.get();
        while self.has(filter, before) {
            self.changed.wait().await;
        }
        // Others may wait as well: the wake-up is passed on.
        self.changed.notify();
    }
}

/// Returns when all that the filter matches, and that is under way on any shard, has come to its
/// end.
pub(super) async fn wait_until_settled(shard: &Rc<Shard>, filter: &Arc<str>) {
    for target in 0..shard.shard_count() {
        let filter = Arc::clone(filter);
        let settled = shard.call_with(target, move |there, answer| {
            let there = Rc::clone(there);
            let under_way = Rc::clone(&there.state().mqtt().retaining);
            drop(monoio::spawn(async move {
                under_way.settled(&filter).await;
                answer.send(&there, ());
            }));
        });
        settled.await;
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::rc::Rc;
    use std::task::{Context, Waker};

    use super::UnderWay;

    fn add(under_way: &UnderWay, topic: &str) -> u64 {
        let number = under_way.next.get();
        under_way.next.set(number + 1);
        under_way.topics.borrow_mut().insert(number, topic.into());
        number
    }

    #[test]
    fn a_subscription_waits_for_what_was_under_way_when_it_came() {
        let under_way = Rc::new(UnderWay::default());
        let (first, _other) = (add(&under_way, "a/b"), add(&under_way, "x"));
        let mut context = Context::from_waker(Waker::noop());
        let mut settled = pin!(under_way.settled("a/#"));
        assert!(settled.as_mut().poll(&mut context).is_pending());
        let _later = add(&under_way, "a/c");
        under_way.topics.borrow_mut().remove(&first);
        under_way.changed.notify();
        assert!(settled.as_mut().poll(&mut context).is_ready());
        assert!(pin!(under_way.settled("b")).poll(&mut context).is_ready());
    }
}
