//! A value that comes back from another thread to a task that waits here.
//!
//! What it is        a slot with two ends. The fulfilling end travels through other threads inside
//!                   messages, but is used up on the thread that waits, by the message that brings
//!                   the value home.
//! Invariants        1. [`Fulfil::fulfil`] runs on the waiting thread: monoio's wakers work only
//!                      there.
//!                   2. no waker is left in the slot when the waiting end is gone, so that none is
//!                      dropped elsewhere.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// The end that gives the value.
#[derive(Debug)]
pub struct Fulfil<T> {
    slot: Arc<Mutex<Slot<T>>>,
}

/// The end that waits for the value.
#[derive(Debug)]
pub struct Promise<T> {
    slot: Arc<Mutex<Slot<T>>>,
}

#[derive(Debug)]
struct Slot<T> {
    value: Option<T>,
    waker: Option<Waker>,
}

/// Makes both ends.
pub fn promise<T>() -> (Fulfil<T>, Promise<T>) {
    let slot = Arc::new(Mutex::new(Slot {
        value: None,
        waker: None,
    }));
    let fulfil = Fulfil {
        slot: Arc::clone(&slot),
    };
    (fulfil, Promise { slot })
}

impl<T> Fulfil<T> {
    /// Gives the value. To be called on the thread that waits.
    pub fn fulfil(self, value: T) {
        let waker = {
            let mut slot = lock(&self.slot);
            slot.value = Some(value);
            slot.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Future for Promise<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let mut slot = lock(&self.slot);
        if let Some(value) = slot.value.take() {
            return Poll::Ready(value);
        }
        slot.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        let waker = lock(&self.slot).waker.take();
        drop(waker);
    }
}

fn lock<T>(slot: &Mutex<Slot<T>>) -> MutexGuard<'_, Slot<T>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}
