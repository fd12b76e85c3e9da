//! Signals, limits and processors of this process.

use std::fs::File;
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{
    Resource, Rlimit, Signal, getpid, getppid, getrlimit, set_parent_process_death_signal,
    setrlimit,
};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tokio::io::unix::AsyncFd;

/// Bytes of one `signalfd_siginfo` record.
const SIGNAL_RECORD_BYTES: usize = size_of::<libc::signalfd_siginfo>();

/// The signals SIGTERM and SIGINT as a file descriptor that becomes readable.
#[derive(Debug)]
pub struct StopSignals {
    file: File,
}

impl StopSignals {
    /// Blocks both signals in this thread and in all threads it starts later, and opens the
    /// descriptor.
    ///
    /// Call it before the first thread is started, or a signal may kill the process the usual way.
    /// SIGPIPE is left as the standard library sets it: ignored.
    ///
    /// # Errors
    /// What the system says.
    pub fn block_and_open() -> io::Result<Self> {
        let mut signals = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: sigemptyset initialises the set it is given.
        unsafe { libc::sigemptyset(signals.as_mut_ptr()) };
        for signal in [libc::SIGTERM, libc::SIGINT] {
            // SAFETY: the set was initialised above; the signal numbers are valid.
            unsafe { libc::sigaddset(signals.as_mut_ptr(), signal) };
        }
        // SAFETY: the set is initialised; a null old set is allowed.
        let blocked = unsafe {
            libc::pthread_sigmask(libc::SIG_BLOCK, signals.as_ptr(), std::ptr::null_mut())
        };
        if blocked != 0 {
            return Err(io::Error::from_raw_os_error(blocked));
        }
        let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
        // SAFETY: -1 asks for a new descriptor; the set is initialised.
        let descriptor = unsafe { libc::signalfd(-1, signals.as_ptr(), flags) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is open, new, and owned by nobody else.
        let file = unsafe { File::from_raw_fd(descriptor) };
        Ok(Self { file })
    }

    /// Gives the descriptor to the tokio runtime that is entered.
    ///
    /// # Errors
    /// What the system says.
    pub fn register(self) -> io::Result<AsyncFd<Self>> {
        // SAFETY: the descriptor is owned by the value that is registered, and stays open and the
        // same until that value is dropped, which the registration outlives not.
        let registered = unsafe { AsyncFd::register(self) };
        registered.map_err(io::Error::from)
    }

    /// Takes one pending signal; `WouldBlock` when there is none.
    ///
    /// # Errors
    /// What the system says; `WouldBlock` is the usual one.
    pub fn take(&self) -> io::Result<()> {
        let mut record = [0_u8; SIGNAL_RECORD_BYTES];
        (&self.file).read_exact(&mut record)
    }
}

impl AsFd for StopSignals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl AsRawFd for StopSignals {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

/// Lets a write beyond the limit of file sizes (`ulimit -f`) fail with EFBIG, which the log engine
/// handles as a full disk, instead of SIGXFSZ ending the process. Commands that are started inherit
/// it.
pub fn ignore_file_size_signal() {
    // SAFETY: no handler is installed; the signal number is valid, so that the call cannot fail.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

/// Lets the process that a command starts get SIGTERM when the thread that starts it ends, however
/// that happens.
pub fn end_with_parent(command: &mut Command) {
    let parent = getpid();
    let ask = move || {
        set_parent_process_death_signal(Some(Signal::TERM))?;
        // The parent may have ended before it was asked for.
        match getppid() == Some(parent) {
            true => Ok(()),
            false => Err(io::ErrorKind::NotConnected.into()),
        }
    };
    // SAFETY: between fork and exec only system calls are made, nothing is allocated or locked.
    unsafe { command.pre_exec(ask) };
}

/// Ends the process at once, without running any destructor or exit handler.
pub fn end_now(code: i32) -> ! {
    // SAFETY: _exit never returns and needs nothing of the process to be intact.
    unsafe { libc::_exit(code) }
}

/// The processors that this process may run on, in rising order; never empty.
pub fn allowed_processors() -> Vec<usize> {
    let Ok(set) = sched_getaffinity(None) else {
        return vec![0];
    };
    let allowed: Vec<usize> = (0..CpuSet::MAX_CPU)
        .filter(|cpu| set.is_set(*cpu))
        .collect();
    if allowed.is_empty() { vec![0] } else { allowed }
}

/// Pins the calling thread to one processor.
///
/// # Errors
/// What the system says.
pub fn pin_thread(processor: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(processor);
    Ok(sched_setaffinity(None, &set)?)
}

/// Raises the limit of open files to its hard limit and returns the limit now in force.
pub fn raise_open_file_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum.unwrap_or(u64::MAX),
        Err(_) => limit.current.unwrap_or(u64::MAX),
    }
}
