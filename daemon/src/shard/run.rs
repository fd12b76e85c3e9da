//! The life of a shard's thread: runtime, opening, serving, stopping.
//!
//! Invariants        1. the runtime is never dropped: with I/O in flight that would hand freed
//!                      memory to the kernel. After stopping, the thread waits for the process to
//!                      end.
//!                   2. the inbox never yields by waking itself; it reads its bell, which lets the
//!                      runtime handle everything else.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::{Duration, Instant};

use monoio::io::AsyncReadRent;
use storage::disk::Clock;
use tracing::{debug, warn};

use super::budgets::{ShardBudgets, ShardPlan};
use super::mail::MailReceiver;
use super::{Message, Process, Shard, ShardId, ShardParts};
use crate::connection::free_kept_frames;
use crate::handlers::expire_produces;
use crate::io::clock::ShardClock;
use crate::io::disk::{FileDisk, FileDriver};
use crate::io::helper_thread::{Completion, Helper};
use crate::io::probe::Abilities;
use crate::limits::{
    HELPER_THREADS_EPOLL, HELPER_THREADS_RING, IDLE_SWEEP_INTERVAL, RING_ENTRIES_LARGE,
    RING_ENTRIES_SMALL, SHARD_STACK_BYTES, SMALL_MEMORY_BYTES, STOP_DRAIN_TIMEOUT,
};
use crate::shard_state::ShardState;
use crate::sys::{memory, process};

/// What a shard's thread needs at start.
#[derive(Debug)]
pub struct ShardStart {
    /// Number of the shard.
    pub id: ShardId,
    /// What all shards share.
    pub process: Arc<Process>,
    /// The receiving end of its mailbox.
    pub receiver: MailReceiver<Message>,
    /// The bell's end to read from.
    pub bell: UnixStream,
    /// The processor to stay on, if any.
    pub processor: Option<usize>,
    /// Memory limit of the whole process in bytes.
    pub process_memory_bytes: u64,
    /// The data directory.
    pub data_directory: PathBuf,
    /// What its file system can do.
    pub abilities: Abilities,
    /// When the process started; the clocks of all shards count from here.
    pub started: Instant,
    /// Gets one answer: whether the shard is open, and which way it reaches files.
    pub opened: Sender<Result<FileDriver, NotOpened>>,
}

/// Why a shard does not open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotOpened {
    /// A sentence for the operator.
    pub line: String,
    /// Starting it again does not help.
    pub is_final: bool,
}

impl From<String> for NotOpened {
    fn from(line: String) -> Self {
        Self {
            line,
            is_final: false,
        }
    }
}

/// Starts the thread of a shard.
///
/// # Errors
/// What the system says.
pub fn start(start: ShardStart) -> io::Result<()> {
    thread::Builder::new()
        .name(format!("shard-{}", start.id))
        .stack_size(SHARD_STACK_BYTES)
        .spawn(move || run_thread(start))
        .map(drop)
}

fn run_thread(start: ShardStart) {
    if let Some(processor) = start.processor
        && let Err(error) = process::pin_thread(processor)
    {
        warn!(shard = start.id, processor, %error, "the thread is not pinned");
    }
    let entries = if start.process_memory_bytes <= SMALL_MEMORY_BYTES {
        RING_ENTRIES_SMALL
    } else {
        RING_ENTRIES_LARGE
    };
    let runtime = monoio::RuntimeBuilder::<monoio::FusionDriver>::new()
        .with_entries(entries)
        .enable_timer()
        .build();
    match runtime {
        Ok(mut runtime) => runtime.block_on(run_shard(start)),
        Err(error) => report(
            &start.opened,
            Err(format!("the shard's runtime: {error}").into()),
        ),
    }
}

async fn run_shard(start: ShardStart) {
    let opened = start.opened.clone();
    match open(start).await {
        Ok(shard) => {
            monoio::spawn(sweep_idle_connections(Rc::clone(&shard)));
            monoio::spawn(expire_produces(Rc::clone(&shard)));
            report(&opened, Ok(shard.disk().driver()));
        }
        Err(error) => report(&opened, Err(error)),
    }
    // The process ends while this thread waits; see invariant 1.
    std::future::pending().await
}

async fn open(start: ShardStart) -> Result<Rc<Shard>, NotOpened> {
    let legacy = monoio::utils::is_legacy();
    let (driver, helper_threads) = if legacy {
        (FileDriver::Thread, HELPER_THREADS_EPOLL)
    } else {
        (FileDriver::Ring, HELPER_THREADS_RING)
    };
    let bell = start
        .bell
        .set_nonblocking(legacy)
        .and_then(|()| monoio::net::UnixStream::from_std(start.bell))
        .map_err(|error| format!("the bell of shard {}: {error}", start.id))?;
    let name = format!("shard-{}", start.id);
    let mailbox = start.receiver.mailbox();
    let helper = Helper::new(name, helper_threads, &mailbox, |completion: Completion| {
        let message: Message = Box::new(move |_shard| completion());
        message
    })
    .map_err(|error| error.to_string())?;
    let shards = u16::try_from(start.process.mailboxes.len()).unwrap_or(u16::MAX);
    let has_mirrors = !start.process.config.mirrors.is_empty();
    let plan = ShardPlan::new(start.process_memory_bytes, shards, has_mirrors);
    let disk = FileDisk::new(
        start.data_directory,
        driver,
        start.abilities,
        helper.clone(),
    );
    let shard = Shard::new(ShardParts {
        id: start.id,
        process: start.process,
        budgets: ShardBudgets::new(plan),
        helper,
        disk,
        clock: ShardClock::new(start.started),
    });
    shard.set_state(ShardState::new(&shard));
    monoio::spawn(run_inbox(Rc::clone(&shard), start.receiver, bell));
    ShardState::open(&shard).await?;
    Ok(shard)
}

/// Handles messages of other threads, for ever.
async fn run_inbox(
    shard: Rc<Shard>,
    mut receiver: MailReceiver<Message>,
    mut bell: monoio::net::UnixStream,
) {
    let mut rung = vec![0; 64];
    loop {
        receiver.drain(|message| {
            shard.metrics().count_message();
            message(&shard);
        });
        if receiver.take_space_freed() {
            shard.send_waiting();
        }
        receiver.prepare_sleep();
        let result;
        (result, rung) = bell.read(rung).await;
        shard.metrics().count_bell();
        if let Err(error) = result {
            // Without its bell a shard would never wake again.
            warn!(shard = shard.id(), %error, "the bell of the shard fails");
            process::end_now(1);
        }
    }
}

/// Closes connections that were silent for too long, and gives memory back when all is quiet.
async fn sweep_idle_connections(shard: Rc<Shard>) {
    let idle_max = Duration::from_millis(shard.config().connections_max_idle_ms);
    loop {
        monoio::time::sleep(IDLE_SWEEP_INTERVAL).await;
        let mut busy = false;
        for connection in shard.connections() {
            let idle = connection.last_active().elapsed();
            busy |= idle < IDLE_SWEEP_INTERVAL;
            if !idle_max.is_zero() && idle > idle_max && connection.in_flight() == 0 {
                connection.close("idle for longer than connections.max.idle.ms");
            }
        }
        shard.state().read_ahead().drop_old(shard.clock().now());
        if !busy && (free_kept_frames() | storage::free_kept_buffers()) {
            memory::give_back_freed_memory();
            memory::give_back_code();
        }
    }
}

/// Stops a shard: connections end after their last answers, then the rooms are closed.
pub async fn stop(shard: Rc<Shard>) {
    shard.begin_stop();
    for connection in shard.connections() {
        connection.stop_reading();
    }
    let mqtt = Rc::clone(shard.state().mqtt());
    mqtt.begin_stop(&shard);
    let deadline = Instant::now() + STOP_DRAIN_TIMEOUT;
    while (!shard.connections().is_empty() || !mqtt.is_empty()) && Instant::now() < deadline {
        monoio::time::sleep(Duration::from_millis(5)).await;
    }
    mqtt.close_all(&shard);
    for connection in shard.connections() {
        connection.close("the broker stops");
    }
    shard.state().close().await;
    debug!(shard = shard.id(), "stopped");
}

fn report(opened: &Sender<Result<FileDriver, NotOpened>>, result: Result<FileDriver, NotOpened>) {
    // The receiver is gone only when the start has failed elsewhere and the process is ending.
    let _gone: Result<(), _> = opened.send(result);
}
