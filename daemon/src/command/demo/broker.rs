//! A broker of the demonstration: a child process with a data directory of its own.
//!
//! Invariants        1. it does not outlive the demonstration, however that ends. 2. neither the
//!                   configuration of this machine nor its environment reaches it.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::sys::process::end_with_parent;

/// Time for a broker to start.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Time for a broker to stop before it is killed: less than an interrupted command has.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// Pause between two looks at a process that is to end.
const STOP_PAUSE: Duration = Duration::from_millis(10);

/// Bytes of its log that an error shows.
const LOG_BYTES_SHOWN: usize = 2000;

/// A running broker.
#[derive(Debug)]
pub(super) struct Broker {
    child: Child,
    log: PathBuf,
    /// Where it serves the Kafka API.
    pub(super) kafka: SocketAddr,
    /// Where it serves admin HTTP.
    pub(super) admin: SocketAddr,
}

impl Broker {
    /// Starts a broker in a directory of its own below `directory`, and waits until it serves.
    ///
    /// Errors: what it says of itself when it does not start.
    pub(super) fn start(
        directory: &Path,
        name: &str,
        config: &str,
        flags: &[&str],
    ) -> io::Result<Self> {
        let file = directory.join(format!("{name}.toml"));
        fs::write(&file, config)?;
        let log = directory.join(format!("{name}.log"));
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["start", "--config"])
            .arg(&file)
            .arg("--data-dir")
            .arg(directory.join(name))
            .args(["--kafka-listen", "127.0.0.1:0"])
            .args(["--admin-listen", "127.0.0.1:0"])
            .args(["--mqtt-listen", "off", "--shards", "1", "--memory", "130M"])
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log)?)
            // Ctrl-C is for the demonstration, which then stops its brokers.
            .process_group(0);
        let variables = std::env::vars_os().map(|(variable, _)| variable);
        for variable in variables.filter(|name| name.to_string_lossy().starts_with("SLUICE_")) {
            command.env_remove(variable);
        }
        end_with_parent(&mut command);
        let mut child = command.spawn()?;
        let output = child.stdout.take();
        let addresses = output.and_then(|output| wait_for_addresses(output, START_TIMEOUT));
        let Some((kafka, admin)) = addresses else {
            end(&mut child);
            return Err(io::Error::other(format!(
                "the {name} did not start: {}",
                tail_of(&log)
            )));
        };
        Ok(Self {
            child,
            log,
            kafka,
            admin,
        })
    }

    /// Why it has ended, if it has.
    pub(super) fn fault(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok().flatten()?;
        Some(format!("{status}: {}", tail_of(&self.log)))
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Tells a process to stop, and kills it when it does not.
fn end(child: &mut Child) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let is_told = pid.is_some_and(|pid| kill_process(pid, Signal::TERM).is_ok());
    let deadline = Instant::now() + STOP_TIMEOUT;
    while is_told && Instant::now() < deadline {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        thread::sleep(STOP_PAUSE);
    }
    // It may have ended by itself at last.
    let _gone: io::Result<()> = child.kill();
    let _status: io::Result<_> = child.wait();
}

/// The addresses that a broker prints when it serves; reads on so that it can go on printing.
fn wait_for_addresses(output: ChildStdout, timeout: Duration) -> Option<(SocketAddr, SocketAddr)> {
    let (sender, receiver) = mpsc::channel();
    let reading = move || {
        let (mut kafka, mut admin) = (None, None);
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let mut words = line.split_whitespace();
            match (words.next(), words.next()) {
                (Some("Kafka"), Some(address)) => kafka = address.parse().ok(),
                (Some("Admin"), Some(address)) => {
                    let address = address.strip_prefix("http://").unwrap_or(address);
                    admin = address.split('/').next().and_then(|text| text.parse().ok());
                }
                _ => {}
            }
            if let (Some(kafka), Some(admin)) = (kafka.take_if(|_| admin.is_some()), admin) {
                // The one who waits may have given up.
                let _gone: Result<(), _> = sender.send((kafka, admin));
            }
        }
    };
    let spawned = thread::Builder::new()
        .name("output".to_owned())
        .spawn(reading);
    spawned.ok()?;
    receiver.recv_timeout(timeout).ok()
}

fn tail_of(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let start = text.len().saturating_sub(LOG_BYTES_SHOWN);
    let tail = text.get(start..).unwrap_or_default();
    String::from_utf8_lossy(tail).trim().replace('\n', "; ")
}
