//! A fair counting semaphore for futures of one thread.
//!
//! What it is        one write in flight per segment, a bounded number of staging buffers per
//!                   shard.
//! What it is not    usable across threads.
//! Invariants        1. permits in use + free + granted but not yet taken = the count given at the
//!                   start.
//!                   2. first come, first served. 3. a waiter that is dropped passes its permit on.

use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

#[derive(Debug, Default)]
struct State {
    free: usize,
    next_waiter: u64,
    waiting: VecDeque<(u64, Waker)>,
    granted: BTreeSet<u64>,
}

/// The semaphore; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Permits(Rc<RefCell<State>>);

/// One permit; dropping it hands it to the next waiter.
#[derive(Debug)]
pub(crate) struct Permit(Permits);

/// Waits for a permit.
#[derive(Debug)]
pub(crate) struct Acquire {
    permits: Permits,
    waiter: Option<u64>,
}

impl Permits {
    pub(crate) fn new(count: usize) -> Self {
        Self(Rc::new(RefCell::new(State {
            free: count,
            ..State::default()
        })))
    }

    pub(crate) fn acquire(&self) -> Acquire {
        Acquire {
            permits: self.clone(),
            waiter: None,
        }
    }

    fn release(&self) {
        let next = {
            let mut state = self.0.borrow_mut();
            let next = state.waiting.pop_front();
            match &next {
                Some((waiter, _)) => {
                    let waiter = *waiter;
                    state.granted.insert(waiter);
                }
                None => state.free += 1,
            }
            next
        };
        if let Some((_, waker)) = next {
            waker.wake();
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.release();
    }
}

impl Future for Acquire {
    type Output = Permit;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Permit> {
        let permits = self.permits.clone();
        let mut state = permits.0.borrow_mut();
        if let Some(waiter) = self.waiter {
            if state.granted.remove(&waiter) {
                self.waiter = None;
                return Poll::Ready(Permit(self.permits.clone()));
            }
            if let Some(entry) = state.waiting.iter_mut().find(|(id, _)| *id == waiter) {
                entry.1 = context.waker().clone();
            }
            return Poll::Pending;
        }
        if state.free > 0 && state.waiting.is_empty() {
            state.free -= 1;
            return Poll::Ready(Permit(self.permits.clone()));
        }
        let waiter = state.next_waiter;
        state.next_waiter += 1;
        state.waiting.push_back((waiter, context.waker().clone()));
        self.waiter = Some(waiter);
        Poll::Pending
    }
}

impl Drop for Acquire {
    fn drop(&mut self) {
        let Some(waiter) = self.waiter else { return };
        let had_permit = {
            let mut state = self.permits.0.borrow_mut();
            state.waiting.retain(|(id, _)| *id != waiter);
            state.granted.remove(&waiter)
        };
        if had_permit {
            self.permits.release();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Permits;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    #[test]
    fn waiters_are_served_in_order_and_a_dropped_waiter_passes_on() {
        let permits = Permits::new(1);
        let mut context = Context::from_waker(Waker::noop());
        let Poll::Ready(first) = pin!(permits.acquire()).poll(&mut context) else {
            panic!("a free permit");
        };
        let mut second = Box::pin(permits.acquire());
        let mut third = Box::pin(permits.acquire());
        assert!(second.as_mut().poll(&mut context).is_pending());
        assert!(third.as_mut().poll(&mut context).is_pending());
        drop(first);
        assert!(third.as_mut().poll(&mut context).is_pending());
        drop(second);
        assert!(third.as_mut().poll(&mut context).is_ready());
        assert!(pin!(permits.acquire()).poll(&mut context).is_ready());
    }
}
