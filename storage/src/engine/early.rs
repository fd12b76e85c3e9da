//! Topics with `flush.messages` above 1: their appends are acknowledged before the flush, and
//! flushed when Kafka's settings say so.
//!
//! What it is        one worker that tells the owner of early appends and hurries the journal when
//!                   the time of the first unflushed one is over.
//! What it is not    a way around the order of a log: an early append waits for the strict ones
//!                   before it, and what is flushed is always a prefix.
//! Invariants        1. nothing here runs for a log with `flush.messages` of 1.
//! Source            Kafka's `flush.messages` and `flush.ms`;
//!                   docs/decisions/2026-11-24-flush-messages.md.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use crate::disk::{Clock, Disk};
use crate::engine::EngineState;
use crate::limits;
use crate::notify::Changes;
use crate::options::LogConfig;

/// What waits for the worker.
#[derive(Debug, Default)]
pub(crate) struct Early {
    /// Logs with appends that the owner has not been told of.
    slots: RefCell<BTreeSet<u32>>,
    /// When the open commit is to be written at the latest.
    flush_due: Cell<Option<Duration>>,
    changed: Changes,
}

impl Early {
    /// Lets the worker look again.
    pub(crate) fn wake(&self) {
        self.changed.notify();
    }
}

impl<D: Disk, C: Clock> EngineState<D, C> {
    /// A log has an append that is acknowledged before its flush.
    pub(crate) fn note_early(&self, slot: u32, config: &LogConfig) {
        let interval = config.flush_interval.min(limits::UNFLUSHED_TIME_MAX);
        let due = self.clock.now() + interval;
        let early = &self.early;
        let before = early.flush_due.get();
        if before.is_none_or(|before| due < before) {
            early.flush_due.set(Some(due));
        }
        if early.slots.borrow_mut().insert(slot) || before.is_none() {
            early.wake();
        }
    }

    /// Runs until the engine stops.
    pub(crate) async fn run_early(&self) {
        let early = &self.early;
        loop {
            let seen = early.changed.seen();
            self.tell_early();
            if self.stopped() {
                return;
            }
            match early.flush_due.get() {
                None => early.changed.after(seen).await,
                Some(due) if due <= self.clock.now() => {
                    early.flush_due.set(None);
                    self.journal.hurry();
                }
                Some(due) => self.sleep_or_change(due, seen).await,
            }
        }
    }

    fn tell_early(&self) {
        loop {
            let next = self.early.slots.borrow_mut().pop_first();
            let Some(slot) = next else { return };
            let Some(log) = self.log(slot) else { continue };
            let released = {
                let mut state = log.state.borrow_mut();
                let is_open = state.failure.is_none();
                is_open.then(|| state.durable.release_early()).flatten()
            };
            if let Some((last_index, term)) = released {
                self.events.handle_persisted(slot, last_index, term);
            }
        }
    }

    async fn sleep_or_change(&self, due: Duration, seen: u64) {
        let pause = due.saturating_sub(self.clock.now());
        let mut sleep = pin!(self.clock.sleep(pause));
        let mut change = pin!(self.early.changed.after(seen));
        poll_fn(|context| {
            let is_over = sleep.as_mut().poll(context).is_ready();
            if is_over || change.as_mut().poll(context).is_ready() {
                return Poll::Ready(());
            }
            Poll::Pending
        })
        .await;
    }
}
