//! Everything that can be refused before anything is started.
//!
//! What it is        configuration, sizes, sockets, the data directory and its disk, in this order.
//! Invariants        1. nothing is made on disk before configuration and sockets are fine.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::path::Path;
use std::thread;
use std::time::Instant;

use rustix::fs::statvfs;
use tracing::{info, warn};

use super::not_started::{NotStarted, failure, refused, usage};
use crate::config::check::check_memory;
use crate::config::load::{self, Flags};
use crate::config::{Config, HostPort, environment, memory, passwords};
use crate::data_directory::{DataDirectory, is_of_the_disk};
use crate::io::device::Device;
use crate::io::probe::{self, Abilities};
use crate::limits::{DISK_BYTES_MIN, PORT_PAUSE, PORT_WAIT};
use crate::log;
use crate::mirror_service::security::Security;
use crate::mqtt_bridge;
use crate::sys::memory as system_memory;
use crate::sys::process::{self, StopSignals};

/// Sizes that follow from configuration and machine.
pub(super) struct Sizes {
    pub(super) memory_bytes: u64,
    /// What the bridges leave to the shards.
    pub(super) shards_memory_bytes: u64,
    pub(super) processors: Vec<usize>,
    pub(super) shards: u16,
    pub(super) open_files: u64,
}

/// What is there before any thread starts.
pub(super) struct Prepared {
    pub(super) config: Config,
    pub(super) sizes: Sizes,
    pub(super) kafka: TcpListener,
    pub(super) kafka_address: SocketAddr,
    pub(super) listeners: Listeners,
    pub(super) data: DataDirectory,
    pub(super) disk_bytes: u64,
    pub(super) abilities: Abilities,
}

/// What is listened on beside the Kafka API.
pub(super) struct Listeners {
    pub(super) mqtt: Option<TcpListener>,
    pub(super) mqtt_websocket: Option<TcpListener>,
    pub(super) admin: Option<TcpListener>,
}

/// Everything that can be refused before anything is started.
pub(super) fn prepare(flags: &Flags, signals: &StopSignals) -> Result<Prepared, NotStarted> {
    let variables = environment::as_text(std::env::vars_os()).map_err(usage)?;
    let names: Vec<String> = variables.iter().map(|(name, _)| name.clone()).collect();
    let mut config = load::load(flags, variables.into_iter()).map_err(usage)?;
    log::start(&config);
    if let Some(names) = environment::unknown_variables(names.into_iter()) {
        warn!("the environment has variables that are not known and change nothing: {names}");
    }
    let sizes = choose_sizes(&config);
    check_memory(&config, sizes.memory_bytes, sizes.shards)
        .map_err(|fault| usage(format!("{}: {}", fault.key, fault.reason)))?;
    check_passwords(&config)?;
    check_mirrors(&config)?;
    drop(mqtt_bridge::build(&config, sizes.shards).map_err(usage)?);
    let kafka = bind("kafka.listen", &config.kafka_listen, signals)?;
    let kafka_address = kafka.local_addr().map_err(failure("kafka.listen"))?;
    let bind_if_on = |key: &str, address: &Option<HostPort>| {
        let address = address.as_ref();
        let bound = address.map(|address| bind(key, address, signals));
        bound.transpose()
    };
    let listeners = Listeners {
        mqtt: bind_if_on("mqtt.listen", &config.mqtt_listen)?,
        mqtt_websocket: bind_if_on("mqtt.websocket.listen", &config.mqtt_websocket_listen)?,
        admin: bind_if_on("admin.listen", &config.admin_listen)?,
    };
    let disk_bytes = disk_bytes(&config.data_dir)?;
    let data = DataDirectory::open(&config.data_dir, config.node_id)
        .map_err(|error| refused(error.is_of_the_disk(), error))?;
    if config.memory_lock {
        system_memory::lock_all_memory().map_err(|error| {
            usage(format!(
                "memory.lock: {error}; raise the limit of locked memory (ulimit -l)"
            ))
        })?;
    }
    let abilities = probe::probe(data.path(), config.storage_direct_io).map_err(|error| {
        let line = format!("data directory {}: {error}", data.path().display());
        refused(is_of_the_disk(&error), line)
    })?;
    let device = Device::of(data.path()).map_err(failure("data directory"))?;
    choose_by_device(&mut config, device);
    if data.lacks_journals() {
        warn!(
            directory = %data.path().join("journal").display(),
            "the data directory is not new and has no journal: if it held records, they are gone"
        );
    }
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
        shards_memory_bytes: memory_bytes.saturating_sub(config.mqtt_bridge_bytes()),
        processors,
        shards,
        open_files,
    }
}

/// Size of the disk that the data directory is on or will be; too small a one is refused.
fn disk_bytes(directory: &Path) -> Result<u64, NotStarted> {
    let refused =
        |reason: String| usage(format!("data directory {}: {reason}", directory.display()));
    let figures = statvfs(nearest(directory)).map_err(|error| refused(error.to_string()))?;
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

/// The directory, or what there is of the way to it.
fn nearest(directory: &Path) -> &Path {
    let mut ancestors = directory.ancestors();
    let there = ancestors.find(|path| path.exists());
    there.unwrap_or_else(|| Path::new("."))
}

fn bind(key: &str, address: &HostPort, signals: &StopSignals) -> Result<TcpListener, NotStarted> {
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
                end_if_told(signals);
                thread::sleep(PORT_PAUSE);
            }
            other => return other.map_err(refused),
        }
    }
}

/// Ends the process if it was told to stop before it was up: it has acknowledged nothing, and a
/// recovery that was cut off begins anew.
pub(super) fn end_if_told(signals: &StopSignals) {
    if signals.take().is_ok() {
        info!("stopped before it was up");
        process::end_now(0);
    }
}
