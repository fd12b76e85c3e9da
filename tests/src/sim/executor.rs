//! A single-threaded executor with virtual time that picks the next ready task by seed.
//!
//! What it is        the stand-in for a shard's runtime when `storage` is simulated.
//! Invariants        1. a task runs only when woken. 2. time moves only when no task is ready.
//!                   3. after [`Executor::stop`] no task runs again: that is the crash.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use storage::disk::Clock;

use super::random::Random;

/// A future that stays on this thread.
pub type LocalFuture = Pin<Box<dyn Future<Output = ()>>>;

/// The executor; clones share it.
#[derive(Clone)]
pub struct Executor {
    state: Rc<RefCell<State>>,
    ready: Arc<Mutex<Vec<u64>>>,
}

struct State {
    random: Random,
    now: Duration,
    tasks: BTreeMap<u64, Option<LocalFuture>>,
    task_next: u64,
    timers: BTreeMap<(Duration, u64), Waker>,
    timer_next: u64,
    stopped: bool,
}

struct TaskWaker {
    task: u64,
    ready: Arc<Mutex<Vec<u64>>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        if let Ok(mut ready) = self.ready.lock()
            && !ready.contains(&self.task)
        {
            ready.push(self.task);
        }
    }
}

impl Executor {
    /// An executor whose choices follow `seed`.
    pub fn new(seed: u64) -> Self {
        let state = State {
            random: Random::new(seed, 1),
            now: Duration::from_secs(1),
            tasks: BTreeMap::new(),
            task_next: 0,
            timers: BTreeMap::new(),
            timer_next: 0,
            stopped: false,
        };
        Self {
            state: Rc::new(RefCell::new(state)),
            ready: Arc::default(),
        }
    }

    /// Adds a task; it runs when the executor does.
    pub fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        let mut state = self.state.borrow_mut();
        let task = state.task_next;
        state.task_next += 1;
        state.tasks.insert(task, Some(Box::pin(future)));
        drop(state);
        Arc::new(TaskWaker {
            task,
            ready: self.ready.clone(),
        })
        .wake();
    }

    /// Runs until `done` says so, or nothing can run any more, or `steps_max` polls were made.
    /// Returns whether `done` said so.
    pub fn run_until(&self, steps_max: u64, mut done: impl FnMut() -> bool) -> bool {
        for _ in 0..steps_max {
            if done() {
                return true;
            }
            if !self.step() {
                return done();
            }
        }
        done()
    }

    /// Runs `future` to its end and returns its value; `None` when the world stopped or stalled
    /// before.
    pub fn block_on<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> Option<T> {
        let slot = Rc::new(RefCell::new(None));
        let result = slot.clone();
        self.spawn(async move {
            let value = future.await;
            *slot.borrow_mut() = Some(value);
        });
        let seen = result.clone();
        self.run_until(u64::MAX, move || seen.borrow().is_some());
        result.borrow_mut().take()
    }

    /// No task runs any more: the process is gone.
    pub fn stop(&self) {
        self.state.borrow_mut().stopped = true;
    }

    /// Drops all tasks, which often hold this executor: without it a finished world is never freed.
    pub fn clear(&self) {
        self.stop();
        let mut state = self.state.borrow_mut();
        let tasks = std::mem::take(&mut state.tasks);
        let timers = std::mem::take(&mut state.timers);
        // What they drop may ask for the state.
        drop(state);
        drop((tasks, timers));
    }

    /// Whether [`Executor::stop`] was called.
    pub fn is_stopped(&self) -> bool {
        self.state.borrow().stopped
    }

    /// Polls one ready task, or moves time to the next timer. False when there is neither.
    fn step(&self) -> bool {
        if self.is_stopped() {
            return false;
        }
        let Some(task) = self.choose() else {
            return self.advance_time();
        };
        let future = self
            .state
            .borrow_mut()
            .tasks
            .get_mut(&task)
            .and_then(Option::take);
        let Some(mut future) = future else {
            return true;
        };
        let waker = Waker::from(Arc::new(TaskWaker {
            task,
            ready: self.ready.clone(),
        }));
        let finished = future
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_ready();
        let mut state = self.state.borrow_mut();
        if finished {
            state.tasks.remove(&task);
        } else if let Some(slot) = state.tasks.get_mut(&task) {
            *slot = Some(future);
        }
        true
    }

    fn choose(&self) -> Option<u64> {
        let mut ready = self.ready.lock().ok()?;
        if ready.is_empty() {
            return None;
        }
        let choice = self.state.borrow_mut().random.below(ready.len());
        Some(ready.swap_remove(choice))
    }

    fn advance_time(&self) -> bool {
        let mut state = self.state.borrow_mut();
        let Some((&(deadline, number), _)) = state.timers.iter().next() else {
            return false;
        };
        state.now = state.now.max(deadline);
        let waker = state.timers.remove(&(deadline, number));
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }
}

impl Clock for Executor {
    fn now(&self) -> Duration {
        self.state.borrow().now
    }

    async fn sleep(&self, pause: Duration) {
        let deadline = self.now() + pause;
        // One timer per sleep, however often it is polled: a task that waits for several things at
        // once would multiply them.
        let mut timer = None;
        std::future::poll_fn(|context| {
            let mut state = self.state.borrow_mut();
            if state.now >= deadline {
                return Poll::Ready(());
            }
            let number = *timer.get_or_insert(state.timer_next);
            state.timer_next = state.timer_next.max(number + 1);
            state
                .timers
                .insert((deadline, number), context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;
    use std::time::Duration;

    use storage::disk::Clock;

    use super::Executor;

    fn order_of(seed: u64) -> Vec<u32> {
        let executor = Executor::new(seed);
        let order = Rc::new(RefCell::new(Vec::new()));
        for name in 0..8 {
            let (order, clock) = (order.clone(), executor.clone());
            executor.spawn(async move {
                clock.sleep(Duration::from_millis(5)).await;
                order.borrow_mut().push(name);
            });
        }
        assert!(executor.run_until(1000, || order.borrow().len() == 8));
        assert_eq!(executor.now(), Duration::from_millis(1005));
        order.take()
    }

    #[test]
    fn one_seed_is_one_run_and_another_seed_another() {
        assert_eq!(order_of(3), order_of(3));
        assert!((0..16).any(|seed| order_of(seed) != order_of(3)));
    }

    #[test]
    fn a_stopped_world_runs_nothing() {
        let executor = Executor::new(1);
        let clock = executor.clone();
        executor.spawn(async move { clock.stop() });
        assert_eq!(executor.block_on(std::future::pending::<u8>()), None);
    }
}
