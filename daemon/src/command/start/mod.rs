//! `sluice start`: the broker from its first to its last line.
//!
//! What it is        what is prepared, shards, then the control thread (which is the main thread)
//!                   until a signal comes.
//! Reading order     [`prepare`], then this file, then [`announce`].
//! Invariants        1. connections are accepted only after every shard is open.
//!                   2. the mark of a clean stop is left only after every shard has said that it is
//!                      flushed.

mod announce;
mod not_started;
mod prepare;

use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;
use std::sync::atomic::AtomicU32;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use tokio::io::unix::AsyncFd;
use tracing::{error, info};

use self::announce::announce;
use self::not_started::{NotStarted, failure, refused, usage};
use self::prepare::{Listeners, Prepared, end_if_told, prepare};
use super::complain;
use crate::admin::{self, Control};
use crate::config::load::Flags;
use crate::config::{Config, HostPort};
use crate::io::disk::FileDriver;
use crate::limits::{FAILURE_LINGER, SAME_SIGNAL, START_SIGNAL_PAUSE, STOP_TIMEOUT};
use crate::mqtt_bridge;
use crate::shard::acceptor::{self, Protocol};
use crate::shard::budgets::ShardPlan;
use crate::shard::failure::Failure;
use crate::shard::mail::{MailReceiver, mailbox};
use crate::shard::run::{self, NotOpened, ShardStart};
use crate::shard::{Message, Process, ShardId};
use crate::sys::memory as system_memory;
use crate::sys::process::{self, StopSignals};

/// Arenas of the allocator with little memory: one, so that freed memory is found again by all.
const ARENAS: i32 = 1;

/// Allocations from this size on come from the kernel and go back to it, in bytes.
const MMAP_THRESHOLD_BYTES: i32 = 4 * 1024 * 1024;

/// Free memory at the end of the heap that goes back to the kernel, in bytes.
const TRIM_THRESHOLD_BYTES: i32 = 1024 * 1024;

/// Runs the broker until it is told to stop.
pub fn run(flags: &Flags) -> ExitCode {
    let started = Instant::now();
    system_memory::tune_allocator(ARENAS, MMAP_THRESHOLD_BYTES, TRIM_THRESHOLD_BYTES);
    match start(flags, started) {
        Ok(()) => ExitCode::SUCCESS,
        Err(not_started) => {
            complain(&not_started.line);
            ExitCode::from(not_started.code)
        }
    }
}

fn start(flags: &Flags, started: Instant) -> Result<(), NotStarted> {
    let signals = StopSignals::block_and_open().map_err(failure("signals"))?;
    process::ignore_file_size_signal();
    let prepared = prepare(flags, &signals)?;
    let (process, receivers) = build_process(&prepared)?;
    let driver = start_shards(&prepared, &process, receivers, started, &signals)?;
    let bridges = mqtt_bridge::build(&prepared.config, prepared.sizes.shards).map_err(usage)?;
    let control = Control::new(&process, driver, bridges).map_err(usage)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failure("control thread"))?;
    let _inside = runtime.enter();
    let signals = signals.register().map_err(failure("signals"))?;
    let Prepared {
        config,
        sizes,
        kafka,
        kafka_address,
        listeners,
        data,
        ..
    } = prepared;
    announce(&config, kafka_address, &listeners, driver, &sizes);
    system_memory::give_back_code();
    runtime.block_on(serve(control, kafka, listeners, &signals, &process.failure))?;
    runtime
        .block_on(async { data.mark_clean() })
        .map_err(failure("mark the clean stop"))?;
    info!("stopped");
    Ok(())
}

fn build_process(prepared: &Prepared) -> Result<(Arc<Process>, Vec<ShardEnds>), NotStarted> {
    let Prepared {
        config,
        sizes,
        kafka_address,
        data,
        ..
    } = prepared;
    let mut mailboxes = Vec::new();
    let mut ends = Vec::new();
    for id in 0..sizes.shards {
        let (receiver, bell) = mailbox::<Message>().map_err(failure("shards"))?;
        mailboxes.push(receiver.mailbox());
        ends.push(ShardEnds { id, receiver, bell });
    }
    let plan = ShardPlan::new(
        sizes.shards_memory_bytes,
        sizes.shards,
        !config.mirrors.is_empty(),
    );
    let of_all = |fitting: u64| fitting.saturating_mul(u64::from(sizes.shards));
    let process = Process {
        memory_bytes: sizes.shards_memory_bytes,
        disk_bytes: prepared.disk_bytes,
        open_files: sizes.open_files,
        advertised: advertised(config, *kafka_address),
        config: config.clone(),
        identity: data.identity().clone(),
        mailboxes,
        connections: ends.iter().map(|_| AtomicU32::new(0)).collect(),
        mqtt_connections: ends.iter().map(|_| AtomicU32::new(0)).collect(),
        connections_max: config
            .max_connections
            .unwrap_or_else(|| of_all(plan.connections_max())),
        mqtt_connections_max: config
            .mqtt_connections_max
            .unwrap_or_else(|| of_all(plan.mqtt_connections_max())),
        address_counts: Mutex::default(),
        failure: Failure::default(),
    };
    Ok((Arc::new(process), ends))
}

/// The receiving ends of one shard.
struct ShardEnds {
    id: ShardId,
    receiver: MailReceiver<Message>,
    bell: std::os::unix::net::UnixStream,
}

/// Starts all shards and waits until every one is open.
fn start_shards(
    prepared: &Prepared,
    process: &Arc<Process>,
    ends: Vec<ShardEnds>,
    started: Instant,
    signals: &StopSignals,
) -> Result<FileDriver, NotStarted> {
    let (opened, results) = mpsc::channel();
    let sizes = &prepared.sizes;
    let pin = prepared.config.threads_pin && sizes.shards > 1;
    let shards = ends.len();
    for ShardEnds { id, receiver, bell } in ends {
        let processor = sizes.processors.get(usize::from(id)).copied();
        run::start(ShardStart {
            id,
            process: Arc::clone(process),
            receiver,
            bell,
            processor: processor.filter(|_| pin),
            process_memory_bytes: sizes.shards_memory_bytes,
            data_directory: prepared.data.path().to_owned(),
            abilities: prepared.abilities,
            started,
            opened: opened.clone(),
        })
        .map_err(failure("shards"))?;
    }
    let mut driver = FileDriver::Ring;
    for _ in 0..shards {
        driver = wait_for_one(&results, signals).map_err(|not_opened| {
            let may_help = !not_opened.is_final && prepared.data.find_denied().is_none();
            refused(may_help, not_opened.line)
        })?;
    }
    Ok(driver)
}

/// Waits for the next shard that is open, or for the signal to stop: the disk may be slow or stuck.
fn wait_for_one(
    results: &mpsc::Receiver<Result<FileDriver, NotOpened>>,
    signals: &StopSignals,
) -> Result<FileDriver, NotOpened> {
    loop {
        match results.recv_timeout(START_SIGNAL_PAUSE) {
            Ok(result) => return result,
            Err(RecvTimeoutError::Timeout) => end_if_told(signals),
            Err(RecvTimeoutError::Disconnected) => {
                return Err("a shard ended while it opened".to_owned().into());
            }
        }
    }
}

/// Serves until a signal or a failure, then stops everything. A later second signal ends the
/// process at once.
async fn serve(
    control: Control,
    kafka: TcpListener,
    listeners: Listeners,
    signals: &AsyncFd<StopSignals>,
    broken: &Failure,
) -> Result<(), NotStarted> {
    let accepting = control
        .ask(0, move |shard| {
            acceptor::start(shard, kafka, Protocol::Kafka)?;
            let others = [
                (listeners.mqtt, Protocol::Mqtt),
                (listeners.mqtt_websocket, Protocol::MqttWebSocket),
            ];
            for (listener, protocol) in others {
                if let Some(listener) = listener {
                    acceptor::start(shard, listener, protocol)?;
                }
            }
            Ok(())
        })
        .await;
    match accepting {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            return Err(failure(
                "kafka.listen, mqtt.listen or mqtt.websocket.listen",
            )(error));
        }
        Err(no_answer) => {
            return Err(NotStarted {
                line: no_answer.to_string(),
                code: 1,
            });
        }
    }
    let control = Arc::new(control);
    if let Some(listener) = listeners.admin {
        admin::start(listener, Arc::clone(&control)).map_err(failure("admin.listen"))?;
    }
    let bridges = mqtt_bridge::start(&control);
    let reason = wait_for_end(signals, broken)
        .await
        .map_err(failure("signals"))?;
    info!("stopping");
    drop(bridges);
    tokio::select! {
        stopped = tokio::time::timeout(STOP_TIMEOUT, control.stop_all()) => match stopped {
            Ok(Ok(())) => match reason {
                Some(line) => Err(NotStarted { line, code: 1 }),
                None => Ok(()),
            },
            Ok(Err(no_answer)) => Err(NotStarted { line: no_answer.to_string(), code: 1 }),
            Err(_elapsed) => {
                error!("the shards did not stop in time; the next start recovers");
                process::end_now(1)
            }
        },
        _second = wait_for_another_signal(signals) => process::end_now(1),
    }
}

/// Waits for a signal (`None`), or for a failure and as long as others need to see it.
async fn wait_for_end(
    signals: &AsyncFd<StopSignals>,
    broken: &Failure,
) -> std::io::Result<Option<String>> {
    let seen = async {
        let reason = broken.happened().await;
        tokio::time::sleep(FAILURE_LINGER).await;
        reason
    };
    tokio::select! {
        signal = wait_for_signal(signals) => signal.map(|()| None),
        reason = seen => Ok(Some(reason)),
    }
}

/// A supervisor may signal a process and its group: signals at once are one wish to stop.
async fn wait_for_another_signal(signals: &AsyncFd<StopSignals>) -> std::io::Result<()> {
    tokio::time::sleep(SAME_SIGNAL).await;
    while signals.get_ref().take().is_ok() {}
    wait_for_signal(signals).await
}

async fn wait_for_signal(signals: &AsyncFd<StopSignals>) -> std::io::Result<()> {
    loop {
        let mut guard = signals.readable().await?;
        match guard.try_io(|signals| signals.get_ref().take()) {
            Ok(result) => return result,
            Err(_would_block) => {}
        }
    }
}

fn advertised(config: &Config, kafka: SocketAddr) -> HostPort {
    if let Some(advertised) = &config.kafka_advertise {
        return advertised.clone();
    }
    let host = if kafka.ip().is_unspecified() {
        // Clients cannot connect to 0.0.0.0; the name of the machine is the best guess.
        machine_name()
    } else {
        config.kafka_listen.host.clone()
    };
    HostPort {
        host,
        port: kafka.port(),
    }
}

fn machine_name() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}
