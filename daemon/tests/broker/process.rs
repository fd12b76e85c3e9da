//! A broker as a process of its own, and a client of a few lines.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// ApiVersions v0 with correlation id 7 and no client id.
pub(crate) const API_VERSIONS: [u8; 14] = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 7, 0xff, 0xff];

/// How the runtime is driven.
pub(crate) const DRIVERS: [&[(&str, &str)]; 2] = [&[], &[("MONOIO_FORCE_LEGACY_DRIVER", "1")]];

static NEXT_DIRECTORY: AtomicU32 = AtomicU32::new(0);

pub(crate) struct Directory(pub(crate) PathBuf);

impl Directory {
    pub(crate) fn new() -> Self {
        let number = NEXT_DIRECTORY.fetch_add(1, Ordering::Relaxed);
        let name = format!("sluice-broker-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.0.join("data")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

pub(crate) struct Broker {
    pub(crate) child: Child,
    pub(crate) kafka: String,
    pub(crate) admin: String,
}

impl Broker {
    pub(crate) fn start(data: &Path, flags: &[&str], environment: &[(&str, &str)]) -> Self {
        Self::of(&mut command(data, flags, environment))
    }

    pub(crate) fn of(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let output = child.stdout.take().unwrap();
        let mut broker = Self {
            child,
            kafka: String::new(),
            admin: String::new(),
        };
        for line in BufReader::new(output).lines() {
            let line = line.unwrap();
            let mut words = line.split_whitespace();
            match (words.next(), words.next()) {
                (Some("Kafka"), Some(address)) => address.clone_into(&mut broker.kafka),
                (Some("Admin"), Some(address)) => address.clone_into(&mut broker.admin),
                (Some("Try:"), _) => break,
                _ => {}
            }
        }
        assert!(!broker.kafka.is_empty(), "the broker says where it listens");
        broker
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.kafka).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        stream
    }

    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let status = Command::new("kill")
            .args(["-s", name, &id])
            .status()
            .unwrap();
        assert!(status.success());
    }

    pub(crate) fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.unwrap().trim_end_matches("kB").trim().parse().unwrap()
    }

    pub(crate) fn stop(mut self) -> Option<i32> {
        self.signal("TERM");
        self.wait()
    }

    pub(crate) fn wait(&mut self) -> Option<i32> {
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(10) {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("the broker does not end");
    }

    pub(crate) fn get(&self, path: &str) -> String {
        let address = self.admin.trim_start_matches("http://");
        let address = address.split('/').next().unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Already ended in the tests that stop it.
        let _ended = self.child.kill();
        self.child.wait().unwrap();
    }
}

pub(crate) fn command(data: &Path, flags: &[&str], environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
    command
        .arg("start")
        .arg("--data-dir")
        .arg(data)
        .args([
            "--kafka-listen",
            "127.0.0.1:0",
            "--admin-listen",
            "127.0.0.1:0",
            "--mqtt-listen",
            "127.0.0.1:0",
        ])
        .args(flags)
        .envs(environment.iter().copied());
    command
}

pub(crate) fn refused(data: &Path, flags: &[&str]) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = command(data, flags, &[]).output().unwrap();
    let line = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(2), "{line}");
    assert_eq!(line.lines().count(), 1, "{line}");
    assert!(stdout.is_empty());
    line
}

pub(crate) fn frame(stream: &mut impl Read) -> Vec<u8> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut body = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap()];
    stream.read_exact(&mut body).unwrap();
    body
}

/// Whether the broker has closed the connection, within the read timeout.
pub(crate) fn is_closed(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(0) => true,
        Ok(count) => panic!("{count} bytes instead of the end"),
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}
