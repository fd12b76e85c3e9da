//! SIGINT and SIGTERM for commands that run until they are told to stop.
//!
//! What it is        a flag that a thread raises at the first signal; a command looks at it between
//!                   two calls and ends with code 0.
//! Invariants        1. a later second signal, or a command that does not look, ends the process
//!                      anyway.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};

use crate::limits::SAME_SIGNAL;
use crate::sys::process::{StopSignals, end_now};

/// Time that a command has to end after that.
const END_TIMEOUT: Duration = Duration::from_secs(3);

/// Exit code of a command that a second signal had to end.
const EXIT_KILLED: i32 = 130;

/// The flag.
#[derive(Debug)]
pub(super) struct Interrupt {
    is_raised: Arc<AtomicBool>,
}

impl Interrupt {
    /// Watches for signals from now on. Call it before other threads start.
    pub(super) fn watch() -> io::Result<Self> {
        let signals = StopSignals::block_and_open()?;
        let is_raised = Arc::new(AtomicBool::new(false));
        let raise = Arc::clone(&is_raised);
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                if wait(&signals, None) {
                    raise.store(true, Ordering::Relaxed);
                    std::thread::sleep(SAME_SIGNAL);
                    while signals.take().is_ok() {}
                    wait(&signals, Some(END_TIMEOUT));
                    end_now(EXIT_KILLED);
                }
            })?;
        Ok(Self { is_raised })
    }

    /// Whether a signal came.
    pub(super) fn is_raised(&self) -> bool {
        self.is_raised.load(Ordering::Relaxed)
    }
}

/// Waits for a signal; false if none came in time or none can be waited for.
fn wait(signals: &StopSignals, timeout: Option<Duration>) -> bool {
    let timeout = timeout.map(|timeout| rustix::event::Timespec {
        tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(0),
        tv_nsec: i64::from(timeout.subsec_nanos()),
    });
    let mut waited_for = [PollFd::new(signals, PollFlags::IN)];
    let count = poll(&mut waited_for, timeout.as_ref());
    count.is_ok_and(|count| count > 0) && signals.take().is_ok()
}
