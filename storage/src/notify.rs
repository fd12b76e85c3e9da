//! Waking the futures of one thread: a counter of changes and an asynchronous lock.
//!
//! What it is        the few waiting primitives that the engine needs on any single-threaded
//!                   executor.
//! What it is not    thread-safe; fair to more than dozens of waiters.
//! Invariants        1. a change between [`Changes::seen`] and [`Changes::after`] is never missed.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Poll, Waker};

/// A counter that futures wait on until it has moved.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    count: Cell<u64>,
    wakers: RefCell<Vec<Waker>>,
}

impl Changes {
    /// The count to pass to [`Changes::after`]; take it before looking at the condition.
    pub(crate) fn seen(&self) -> u64 {
        self.count.get()
    }

    /// Moves the counter and wakes every waiter.
    pub(crate) fn notify(&self) {
        self.count.set(self.count.get().wrapping_add(1));
        if self.wakers.borrow().is_empty() {
            return;
        }
        let wakers = self.wakers.take();
        for waker in wakers {
            waker.wake();
        }
    }

    /// Waits until the counter differs from `seen`.
    pub(crate) async fn after(&self, seen: u64) {
        poll_fn(|context| {
            if self.count.get() != seen {
                return Poll::Ready(());
            }
            let mut wakers = self.wakers.borrow_mut();
            if !wakers.iter().any(|waker| waker.will_wake(context.waker())) {
                wakers.push(context.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}

/// A lock whose waiters are futures; held across awaits, unlike a `RefCell` borrow.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    taken: Cell<bool>,
    changes: Changes,
}

impl Gate {
    /// Waits until nobody holds the gate and takes it.
    pub(crate) async fn enter(self: &Rc<Self>) -> GateGuard {
        loop {
            let seen = self.changes.seen();
            if let Some(guard) = self.try_enter() {
                return guard;
            }
            self.changes.after(seen).await;
        }
    }

    /// Takes the gate when nobody holds it.
    pub(crate) fn try_enter(self: &Rc<Self>) -> Option<GateGuard> {
        if self.taken.replace(true) {
            return None;
        }
        Some(GateGuard {
            gate: Rc::clone(self),
        })
    }
}

/// Proof that the gate is held; dropping it opens the gate.
#[derive(Debug)]
pub(crate) struct GateGuard {
    gate: Rc<Gate>,
}

impl Drop for GateGuard {
    fn drop(&mut self) {
        self.gate.taken.set(false);
        self.gate.changes.notify();
    }
}

/// Runs two futures until one of them ends.
pub(crate) async fn run_first(one: impl Future<Output = ()>, other: impl Future<Output = ()>) {
    let (mut one, mut other) = (pin!(one), pin!(other));
    poll_fn(|context| {
        match one.as_mut().poll(context).is_ready() || other.as_mut().poll(context).is_ready() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
}

/// Runs all futures to their end, `width` at a time.
pub(crate) async fn run_all<F: Future<Output = ()>>(
    futures: impl IntoIterator<Item = F>,
    width: usize,
) {
    let mut waiting = futures.into_iter();
    let mut running: Vec<Pin<Box<F>>> = waiting.by_ref().take(width).map(Box::pin).collect();
    poll_fn(|context| {
        let mut place = 0;
        while let Some(future) = running.get_mut(place) {
            if pin!(future).poll(context).is_pending() {
                place += 1;
                continue;
            }
            // The next one takes the place and is polled at once, so that its waker is known.
            match waiting.next() {
                Some(next) => running
                    .splice(place..=place, [Box::pin(next)])
                    .for_each(drop),
                None => drop(running.swap_remove(place)),
            }
        }
        if running.is_empty() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}
