//! A sticky wake-up between tasks of one shard.
//!
//! What it is        `notify` wakes whoever waits, and one of them (or the next to come) goes on.
//! What it is not    a condition: a waiter checks its condition again in a loop.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// Wakes tasks of the same thread.
#[derive(Debug, Default)]
pub struct Notify {
    signalled: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
}

impl Notify {
    /// Wakes all waiters; when there is none, the next wait returns at once.
    pub fn notify(&self) {
        self.signalled.set(true);
        let waiting = self.waiting.take();
        for waker in waiting {
            waker.wake();
        }
    }

    /// Waits for the next [`Notify::notify`], or takes one that has come already.
    pub fn wait(&self) -> Wait<'_> {
        Wait { notify: self }
    }
}

/// Future of [`Notify::wait`].
#[derive(Debug)]
pub struct Wait<'a> {
    notify: &'a Notify,
}

impl Future for Wait<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.notify.signalled.replace(false) {
            return Poll::Ready(());
        }
        let mut waiting = self.notify.waiting.borrow_mut();
        if !waiting.iter().any(|waker| waker.will_wake(context.waker())) {
            waiting.push(context.waker().clone());
        }
        Poll::Pending
    }
}
