//! How long a Produce request waits for its acknowledgement.
//!
//! What it is        the requests of a shard that wait, and the task that answers those whose time
//!                   is over: REQUEST_TIMED_OUT, as Kafka does. What they brought may still become
//!                   durable later; without an answer a client's requests would fill the memory for
//!                   requests while a disk is full or hangs.
//! What it is not    exact: the time is looked at once in [`PRODUCE_TIMEOUT_STEP`].
//! Source            `timeout_ms` of Produce.

use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::time::Duration;

use storage::disk::Clock;

use crate::limits::PRODUCE_TIMEOUT_STEP;
use crate::shard::Shard;
use crate::shard::notify::Notify;

/// What waits for a limited time.
pub(super) trait Expire {
    /// The time is over.
    fn expire(&self);
}

/// The Produce requests of a shard that are not answered.
#[derive(Default)]
pub struct ProduceDeadlines {
    waiting: RefCell<Vec<(Duration, Weak<dyn Expire>)>>,
    added: Notify,
}

impl std::fmt::Debug for ProduceDeadlines {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let waiting = self.waiting.borrow().len();
        formatter
            .debug_struct("ProduceDeadlines")
            .field("waiting", &waiting)
            .finish()
    }
}

impl ProduceDeadlines {
    /// Expires `request` at `deadline` unless it is gone before.
    pub(super) fn add(&self, deadline: Duration, request: &Rc<impl Expire + 'static>) {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.is_empty() {
            self.added.notify();
        }
        if waiting.len() == waiting.capacity() {
            waiting.retain(|(_, request)| request.strong_count() > 0);
        }
        let request = Rc::downgrade(request);
        waiting.push((deadline, request));
    }

    fn expire(&self, now: Duration) {
        let mut due = Vec::new();
        self.waiting.borrow_mut().retain(|(deadline, request)| {
            if *deadline <= now {
                due.extend(request.upgrade());
            }
            *deadline > now && request.strong_count() > 0
        });
        for request in due {
            request.expire();
        }
    }
}

/// The end of the wait of a request that says `timeout_ms` (ms): at least a step, since no disk is
/// asked to be faster.
pub(super) fn deadline(now: Duration, timeout_ms: i32) -> Duration {
    let timeout = Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0));
    now + timeout.max(PRODUCE_TIMEOUT_STEP)
}

/// Answers requests whose time is over, for ever.
pub async fn expire_produces(shard: Rc<Shard>) {
    let deadlines = Rc::clone(shard.state().produce_deadlines());
    loop {
        while deadlines.waiting.borrow().is_empty() {
            deadlines.added.wait().await;
        }
        monoio::time::sleep(PRODUCE_TIMEOUT_STEP).await;
        deadlines.expire(shard.clock().now());
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;
    use std::time::Duration;

    use super::{Expire, ProduceDeadlines, deadline};

    #[derive(Default)]
    struct Request(Cell<u32>);

    impl Expire for Request {
        fn expire(&self) {
            self.0.set(self.0.get() + 1);
        }
    }

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn each_request_expires_once_at_its_own_time() {
        let deadlines = ProduceDeadlines::default();
        let (late, early) = (Rc::new(Request::default()), Rc::new(Request::default()));
        deadlines.add(seconds(30), &late);
        deadlines.add(seconds(10), &early);
        deadlines.expire(seconds(9));
        assert_eq!((late.0.get(), early.0.get()), (0, 0));
        deadlines.expire(seconds(10));
        deadlines.expire(seconds(11));
        assert_eq!((late.0.get(), early.0.get()), (0, 1));
        deadlines.expire(seconds(30));
        deadlines.expire(seconds(31));
        assert_eq!((late.0.get(), early.0.get()), (1, 1));
    }

    #[test]
    fn answered_requests_take_no_room() {
        let deadlines = ProduceDeadlines::default();
        for _ in 0..10_000 {
            deadlines.add(seconds(30), &Rc::new(Request::default()));
        }
        assert!(deadlines.waiting.borrow().capacity() <= 8);
    }

    #[test]
    fn a_client_that_gives_no_time_gets_a_step() {
        assert_eq!(deadline(seconds(5), 30_000), seconds(35));
        assert_eq!(deadline(seconds(5), 0), seconds(6));
        assert_eq!(deadline(seconds(5), -1), seconds(6));
    }
}
