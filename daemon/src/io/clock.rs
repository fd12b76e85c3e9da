//! Time for the engine, from the runtime.

use std::future::Future;
use std::time::{Duration, Instant};

use storage::disk::Clock;

/// The monotonic clock of the process and monoio's timers (resolution 1 ms).
#[derive(Clone, Copy, Debug)]
pub struct ShardClock {
    started: Instant,
}

impl ShardClock {
    /// A clock that counts from `started`; all shards get the same instant.
    pub fn new(started: Instant) -> Self {
        Self { started }
    }
}

impl Clock for ShardClock {
    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn sleep(&self, pause: Duration) -> impl Future<Output = ()> {
        monoio::time::sleep(pause)
    }
}
