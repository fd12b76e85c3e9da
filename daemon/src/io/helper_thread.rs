//! Helper threads of one shard: system calls that block and that the runtime does not have.
//!
//! What it is        a few threads made on first need; a job goes in as a closure, its result comes
//!                   back to the shard as a message through the mailbox.
//! What it is not    a place for work of the processor: the hashes of MQTT passwords have a helper
//!                   of their own.
//! Invariants        1. at most [`HELPER_JOBS_MAX`] jobs are in flight, so that completions always
//!                      fit the ring.
//!                   2. a job runs even if its caller stopped waiting.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::limits::{HELPER_JOBS_MAX, HELPER_STACK_BYTES, MAIL_RING_SLOTS};
use crate::shard::mail::{MailSender, Mailbox, TooManySenders};
use crate::shard::notify::Notify;
use crate::shard::promise::promise;

const _: () = assert!(HELPER_JOBS_MAX < MAIL_RING_SLOTS);

/// What a job sends to its shard when it is done: run it there.
pub type Completion = Box<dyn FnOnce() + Send>;

type Job = Box<dyn FnOnce() -> Completion + Send>;

type CompletionSender = Box<dyn FnMut(Completion) + Send>;

/// The helper threads of one shard; clones share them.
#[derive(Clone)]
pub struct Helper {
    local: Rc<Local>,
}

struct Local {
    name: String,
    threads_max: usize,
    threads: Cell<usize>,
    in_flight: Cell<usize>,
    room: Notify,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    completions: Mutex<CompletionSender>,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    idle: usize,
}

impl std::fmt::Debug for Helper {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Helper")
            .field("threads", &self.local.threads)
            .field("in_flight", &self.local.in_flight)
            .finish_non_exhaustive()
    }
}

impl Helper {
    /// At most `threads_max` helper threads for the shard that owns the mailbox; `wrap` makes the
    /// shard's message of a completion.
    ///
    /// # Errors
    /// [`TooManySenders`].
    pub fn new<T: Send + 'static>(
        name: String,
        threads_max: usize,
        mailbox: &Arc<Mailbox<T>>,
        wrap: fn(Completion) -> T,
    ) -> Result<Self, TooManySenders> {
        let sender = mailbox.connect(None)?;
        let shared = Shared {
            state: Mutex::new(State::default()),
            wake: Condvar::new(),
            completions: Mutex::new(completion_sender(sender, wrap)),
        };
        Ok(Self {
            local: Rc::new(Local {
                name,
                threads_max,
                threads: Cell::new(0),
                in_flight: Cell::new(0),
                room: Notify::default(),
                shared: Arc::new(shared),
            }),
        })
    }

    /// Runs `job` on a helper thread and returns its result. Waits first while too many jobs are in
    /// flight.
    pub async fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        while self.local.in_flight.get() >= HELPER_JOBS_MAX {
            self.local.room.wait().await;
        }
        let (fulfil, result) = promise();
        let job: Job = Box::new(move || {
            let value = job();
            Box::new(move || fulfil.fulfil(value))
        });
        self.local.in_flight.set(self.local.in_flight.get() + 1);
        let guard = InFlight { local: &self.local };
        self.submit(job);
        let value = result.await;
        drop(guard);
        value
    }

    /// Jobs that wait or run.
    pub fn in_flight(&self) -> usize {
        self.local.in_flight.get()
    }

    fn submit(&self, job: Job) {
        let mut state = lock(&self.local.shared.state);
        state.jobs.push_back(job);
        let too_few_idle = state.idle < state.jobs.len();
        drop(state);
        self.local.shared.wake.notify_one();
        if too_few_idle && self.local.threads.get() < self.local.threads_max {
            self.start_thread();
        }
    }

    fn start_thread(&self) {
        let shared = Arc::clone(&self.local.shared);
        let started = thread::Builder::new()
            .name(format!("{}-helper", self.local.name))
            .stack_size(HELPER_STACK_BYTES)
            .spawn(move || work(&shared));
        match started {
            Ok(_detached) => self.local.threads.set(self.local.threads.get() + 1),
            // With a thread already there the jobs are only slower; without one they could never
            // finish.
            Err(error) => {
                assert!(
                    self.local.threads.get() > 0,
                    "the system refuses the first helper thread: {error}"
                );
            }
        }
    }
}

/// Counts a job as done even if its caller stops waiting.
struct InFlight<'a> {
    local: &'a Local,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.local.in_flight.set(self.local.in_flight.get() - 1);
        self.local.room.notify();
    }
}

fn work(shared: &Shared) {
    loop {
        let completion = next_job(shared)();
        let mut send = lock(&shared.completions);
        (*send)(completion);
    }
}

fn next_job(shared: &Shared) -> Job {
    let mut state = lock(&shared.state);
    loop {
        if let Some(job) = state.jobs.pop_front() {
            return job;
        }
        state.idle += 1;
        state = shared
            .wake
            .wait(state)
            .unwrap_or_else(PoisonError::into_inner);
        state.idle -= 1;
    }
}

fn completion_sender<T: Send + 'static>(
    mut sender: MailSender<T>,
    wrap: fn(Completion) -> T,
) -> CompletionSender {
    Box::new(move |completion| {
        let mut message = wrap(completion);
        // The ring has more slots than there are jobs, so that a refusal can only be passing.
        while let Err(returned) = sender.try_send(message) {
            message = returned;
            thread::sleep(Duration::from_millis(1));
        }
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
