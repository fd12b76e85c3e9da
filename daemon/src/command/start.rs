//! `sluice start`: the broker from its first to its last line.
//!
//! What it is        configuration, sockets, data directory, shards, then the control thread (which
//!                   is the main thread) until a signal comes.
//! Invariants        1. nothing is created on disk before configuration and sockets are fine.
//!                   2. connections are accepted only after every shard is open.
//!                   3. the mark of a clean stop is left only after every shard has said that it is
//!                      flushed.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::AtomicU32;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use tokio::io::unix::AsyncFd;
use tracing::{error, info, warn};

use super::{EXIT_USAGE, complain, show};
use crate::admin::{self, Control};
use crate::config::check::check_memory;
use crate::config::load::{self, Flags};
use crate::config::{Config, HostPort, environment, memory, passwords};
use crate::data_directory::DataDirectory;
use crate::io::device::Device;
use crate::io::disk::FileDriver;
use crate::io::probe::{self, Abilities};
use crate::limits::{
    DISK_BYTES_MIN, FAILURE_LINGER, PORT_PAUSE, PORT_WAIT, SAME_SIGNAL, STOP_TIMEOUT,
};
use crate::log;
use crate::mirror_service::security::Security;
use crate::shard::acceptor::{self, Protocol};
use crate::shard::budgets::ShardPlan;
use crate::shard::failure::Failure;
use crate::shard::mail::{MailReceiver, mailbox};
use crate::shard::run::{self, ShardStart};
use crate::shard::{Message, Process, ShardId};
use crate::sys::memory as system_memory;
use crate::sys::process::{self, StopSignals};

/// Arenas of the allocator with little memory: one, so that freed memory is found again by all.
const ARENAS: i32 = 1;

/// Allocations from this size on come from the kernel and go back to it, in bytes.
const MMAP_THRESHOLD_BYTES: i32 = 4 * 1024 * 1024;

/// Free memory at the end of the heap that goes back to the kernel, in bytes.
const TRIM_THRESHOLD_BYTES: i32 = 1024 * 1024;

/// Why the broker did not start: one line, and the exit code.
struct NotStarted {
    line: String,
    code: u8,
}

/// Sizes that follow from configuration and machine.
struct Sizes {
    memory_bytes: u64,
    processors: Vec<usize>,
    shards: u16,
    open_files: u64,
}

/// What is there before any thread starts.
struct Prepared {
    config: Config,
    sizes: Sizes,
    kafka: TcpListener,
    kafka_address: SocketAddr,
    listeners: Listeners,
    data: DataDirectory,
    disk_bytes: u64,
    abilities: Abilities,
}

/// What is listened on beside the Kafka API.
struct Listeners {
    mqtt: Option<TcpListener>,
    admin: Option<TcpListener>,
}

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
    let prepared = prepare(flags)?;
    let (process, receivers) = build_process(&prepared)?;
    let driver = start_shards(&prepared, &process, receivers, started)?;
    let control = Control::new(&process, driver).map_err(usage)?;
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

/// Everything that can be refused before anything is started.
fn prepare(flags: &Flags) -> Result<Prepared, NotStarted> {
    let mut config = load::load(flags, utf8_environment()).map_err(usage)?;
    log::start(&config);
    if let Some(names) = environment::unknown_variables(utf8_environment().map(|(name, _)| name)) {
        warn!("the environment has variables that are not known and change nothing: {names}");
    }
    let sizes = choose_sizes(&config);
    check_memory(&config, sizes.memory_bytes, sizes.shards)
        .map_err(|fault| usage(format!("{}: {}", fault.key, fault.reason)))?;
    check_passwords(&config)?;
    check_mirrors(&config)?;
    let kafka = bind("kafka.listen", &config.kafka_listen)?;
    let kafka_address = kafka.local_addr().map_err(failure("kafka.listen"))?;
    let bind_if_on = |key: &str, address: &Option<HostPort>| {
        let address = address.as_ref();
        address.map(|address| bind(key, address)).transpose()
    };
    let listeners = Listeners {
        mqtt: bind_if_on("mqtt.listen", &config.mqtt_listen)?,
        admin: bind_if_on("admin.listen", &config.admin_listen)?,
    };
    let data = DataDirectory::open(&config.data_dir, config.node_id).map_err(usage)?;
    if config.memory_lock {
        system_memory::lock_all_memory().map_err(|error| {
            usage(format!(
                "memory.lock: {error}; raise the limit of locked memory (ulimit -l)"
            ))
        })?;
    }
    let disk_bytes = disk_bytes(data.path())?;
    let abilities = probe::probe(data.path(), config.storage_direct_io)
        .map_err(|error| usage(format!("data directory {}: {error}", data.path().display())))?;
    let device = Device::of(data.path()).map_err(failure("data directory"))?;
    choose_by_device(&mut config, device);
    if !data.was_clean() {
        info!("the last stop was not clean; the logs are recovered");
    }
    data.begin_use().map_err(failure("data directory"))?;
    Ok(Prepared {
        config,
        sizes,
        kafka,
        kafka_address,
        listeners,
        data,
        disk_bytes,
        abilities,
    })
}

/// A password file that cannot be read is found now, not by the first client.
fn check_passwords(config: &Config) -> Result<(), NotStarted> {
    let Some(file) = &config.mqtt_password_file else {
        return Ok(());
    };
    let read = passwords::read(file);
    read.map(drop)
        .map_err(|reason| usage(format!("mqtt.password.file: {reason}")))
}

/// Files of a mirror that cannot be used are found now, not by the first connection.
fn check_mirrors(config: &Config) -> Result<(), NotStarted> {
    for mirror in &config.mirrors {
        let read = Security::load(mirror);
        let refused = |reason| usage(format!("mirror.{reason} (mirror {})", mirror.name));
        drop(read.map_err(refused)?);
    }
    Ok(())
}

/// Settings that the operator leaves to the disk.
fn choose_by_device(config: &mut Config, device: Device) {
    config
        .storage_commit_interval
        .get_or_insert_with(|| device.commit_interval());
    if config.segment_bytes_automatic {
        let bytes = device.segment_bytes().to_string();
        let configs = &mut config.broker_configs;
        configs.insert("log.segment.bytes".into(), bytes.as_str().into());
    }
}

fn choose_sizes(config: &Config) -> Sizes {
    let memory_bytes = config
        .memory_bytes
        .unwrap_or_else(memory::automatic_memory_bytes);
    let processors = process::allowed_processors();
    let shards = config
        .shards
        .unwrap_or_else(|| memory::automatic_shards(memory_bytes, processors.len()));
    let open_files = process::raise_open_file_limit();
    if open_files < 4096 {
        warn!(
            open_files,
            "the limit of open files is low; partitions and connections need more"
        );
    }
    Sizes {
        memory_bytes,
        processors,
        shards,
        open_files,
    }
}

/// Size of the disk of the data directory; too small a one is refused.
fn disk_bytes(directory: &Path) -> Result<u64, NotStarted> {
    let refused =
        |reason: String| usage(format!("data directory {}: {reason}", directory.display()));
    let figures = rustix::fs::statvfs(directory).map_err(|error| refused(error.to_string()))?;
    let bytes = figures.f_blocks.saturating_mul(figures.f_frsize);
    if bytes < DISK_BYTES_MIN {
        return Err(refused(format!(
            "its disk has {} MiB, at least {} MiB are needed",
            bytes >> 20,
            DISK_BYTES_MIN >> 20
        )));
    }
    Ok(bytes)
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
    let plan = ShardPlan::new(sizes.memory_bytes, sizes.shards, !config.mirrors.is_empty());
    let of_all = |fitting: u64| fitting.saturating_mul(u64::from(sizes.shards));
    let process = Process {
        memory_bytes: sizes.memory_bytes,
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
            process_memory_bytes: sizes.memory_bytes,
            data_directory: prepared.data.path().to_owned(),
            abilities: prepared.abilities,
            started,
            opened: opened.clone(),
        })
        .map_err(failure("shards"))?;
    }
    let mut driver = FileDriver::Ring;
    for _ in 0..shards {
        let result = results
            .recv()
            .map_err(|_| usage("a shard ended while it opened"))?;
        driver = result.map_err(|line| NotStarted { line, code: 1 })?;
    }
    Ok(driver)
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
            match listeners.mqtt {
                Some(mqtt) => acceptor::start(shard, mqtt, Protocol::Mqtt),
                None => Ok(()),
            }
        })
        .await;
    match accepting {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return Err(failure("kafka.listen or mqtt.listen")(error)),
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
    let reason = wait_for_end(signals, broken)
        .await
        .map_err(failure("signals"))?;
    info!("stopping");
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

/// Says on standard output where the broker listens and what to try.
fn announce(
    config: &Config,
    kafka: SocketAddr,
    listeners: &Listeners,
    driver: FileDriver,
    sizes: &Sizes,
) {
    let driver = driver.name();
    info!(%kafka, driver, shards = sizes.shards, memory_bytes = sizes.memory_bytes, "started");
    let mut text = format!(
        "Sluice {} is up.\n  Kafka   {kafka}\n",
        env!("CARGO_PKG_VERSION")
    );
    let address = |listener: &Option<TcpListener>| {
        let listener = listener.as_ref();
        listener.and_then(|listener| listener.local_addr().ok())
    };
    let mqtt = address(&listeners.mqtt);
    if let Some(mqtt) = mqtt {
        text.push_str(&format!("  MQTT    {mqtt}\n"));
    }
    if let Some(admin) = address(&listeners.admin) {
        text.push_str(&format!("  Admin   http://{admin}/metrics\n"));
    }
    text.push_str(&format!(
        "  Data    {}\n  Driver  {driver}, {} shard(s), {} MB of memory\nTry:\n  \
         echo hello | kcat -b {kafka} -P -t greetings\n  kcat -b {kafka} -C -t greetings -e\n",
        config.data_dir.display(),
        sizes.shards,
        sizes.memory_bytes.div_euclid(1_000_000),
    ));
    if let Some(mqtt) = mqtt {
        let (host, port) = (mqtt.ip(), mqtt.port());
        text.push_str(&format!(
            "  mosquitto_pub -h {host} -p {port} -q 1 -t boiler/temperature -m 21.5\n  \
             kcat -b {kafka} -C -t mqtt -e -K ' '\n"
        ));
    }
    show(text);
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

fn bind(key: &str, address: &HostPort) -> Result<TcpListener, NotStarted> {
    let refused = |error: std::io::Error| usage(format!("{key} {address}: {error}"));
    let resolved = (address.host.as_str(), address.port)
        .to_socket_addrs()
        .map_err(refused)?
        .collect::<Vec<_>>();
    let deadline = Instant::now() + PORT_WAIT;
    loop {
        match TcpListener::bind(resolved.as_slice()) {
            // The ring of a process that was killed a moment ago still holds its port.
            Err(error) if error.kind() == ErrorKind::AddrInUse && Instant::now() < deadline => {
                thread::sleep(PORT_PAUSE);
            }
            other => return other.map_err(refused),
        }
    }
}

/// The environment as text; what is not text cannot be one of our variables.
fn utf8_environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

fn usage(line: impl std::fmt::Display) -> NotStarted {
    NotStarted {
        line: line.to_string(),
        code: EXIT_USAGE,
    }
}

fn failure(what: &str) -> impl Fn(std::io::Error) -> NotStarted {
    move |error| NotStarted {
        line: format!("{what}: {error}"),
        code: 1,
    }
}
