//! A sticky wake-up between tasks of one shard.
//!
//! What it is        `notify` wakes whoever waits, and one of them (or the next to come) goes on.
//! What it is not    a condition: a waiter checks its condition again in a loop.
//! Invariant         only waits that are alive are registered: a wait that is dropped, as in a
//!                   `select!` that something else decides, leaves nothing behind.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// Wakes tasks of the same thread.
#[derive(Debug, Default)]
pub struct Notify {
    signalled: Cell<bool>,
    next_wait: Cell<u64>,
    waiting: RefCell<Vec<Waiting>>,
}

#[derive(Debug)]
struct Waiting {
    wait: u64,
    waker: Waker,
}

impl Notify {
    /// Wakes all waiters; when there is none, the next wait returns at once.
    pub fn notify(&self) {
        self.signalled.set(true);
        let mut woken = self.waiting.take();
        for waiting in woken.drain(..) {
            waiting.waker.wake();
        }
        // The room of the list is used again: who was woken waits again soon.
        let mut waiting = self.waiting.borrow_mut();
        if waiting.is_empty() {
            *waiting = woken;
        }
    }

    /// Waits for the next [`Notify::notify`], or takes one that has come already.
    pub fn wait(&self) -> Wait<'_> {
        let id = self.next_wait.get();
        self.next_wait.set(id.wrapping_add(1));
        Wait { notify: self, id }
    }

    fn register(&self, wait: u64, waker: &Waker) {
        let mut waiting = self.waiting.borrow_mut();
        match waiting.iter_mut().find(|other| other.wait == wait) {
            Some(known) => known.waker.clone_from(waker),
            None => waiting.push(Waiting {
                wait,
                waker: waker.clone(),
            }),
        }
    }

    fn forget(&self, wait: u64) {
        let mut waiting = self.waiting.borrow_mut();
        let place = waiting.iter().position(|other| other.wait == wait);
        let forgotten = place.map(|place| waiting.swap_remove(place));
        drop(waiting);
        // With the last waker a whole task may go, and its waits with it.
        drop(forgotten);
    }
}

/// Future of [`Notify::wait`].
#[derive(Debug)]
pub struct Wait<'a> {
    notify: &'a Notify,
    id: u64,
}

impl Future for Wait<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.notify.signalled.replace(false) {
            return Poll::Ready(());
        }
        self.notify.register(self.id, context.waker());
        Poll::Pending
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.notify.forget(self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::Pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll, Wake, Waker};

    use super::{Notify, Wait};

    #[derive(Default)]
    struct Counted(AtomicUsize);

    impl Wake for Counted {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn poll(wait: &mut Wait<'_>, waker: &Waker) -> Poll<()> {
        Pin::new(wait).poll(&mut Context::from_waker(waker))
    }

    #[test]
    fn a_wake_up_before_the_wait_is_kept_for_one() {
        let notify = Notify::default();
        notify.notify();
        let (mut first, mut second) = (notify.wait(), notify.wait());
        assert!(poll(&mut first, Waker::noop()).is_ready());
        assert!(poll(&mut second, Waker::noop()).is_pending());
    }

    #[test]
    fn all_that_wait_are_woken_and_one_goes_on() {
        let notify = Notify::default();
        let counted = Arc::new(Counted::default());
        let waker = Waker::from(Arc::clone(&counted));
        let (mut first, mut second) = (notify.wait(), notify.wait());
        assert!(poll(&mut first, &waker).is_pending());
        assert!(poll(&mut second, &waker).is_pending());
        notify.notify();
        assert_eq!(counted.0.load(Ordering::Relaxed), 2);
        assert!(poll(&mut first, &waker).is_ready());
        assert!(poll(&mut second, &waker).is_pending());
    }

    #[test]
    fn a_dropped_wait_leaves_no_waker_behind() {
        let notify = Notify::default();
        let counted = Arc::new(Counted::default());
        for _ in 0..100 {
            let waker = Waker::from(Arc::clone(&counted));
            let mut wait = notify.wait();
            assert!(poll(&mut wait, &waker).is_pending());
        }
        assert_eq!(Arc::strong_count(&counted), 1);
        notify.notify();
        assert_eq!(counted.0.load(Ordering::Relaxed), 0);
    }
}
