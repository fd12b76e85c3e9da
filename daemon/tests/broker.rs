//! The process as its users meet it: sockets, signals, exit codes, on both runtime drivers.
#![allow(
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::integer_division,
    reason = "a test may fail by panicking"
)]

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// ApiVersions v0 with correlation id 7 and no client id.
const API_VERSIONS: [u8; 14] = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 7, 0xff, 0xff];

/// How the runtime is driven.
const DRIVERS: [&[(&str, &str)]; 2] = [&[], &[("MONOIO_FORCE_LEGACY_DRIVER", "1")]];

static NEXT_DIRECTORY: AtomicU32 = AtomicU32::new(0);

struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        let number = NEXT_DIRECTORY.fetch_add(1, Ordering::Relaxed);
        let name = format!("sluice-broker-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn data(&self) -> PathBuf {
        self.0.join("data")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

struct Broker {
    child: Child,
    kafka: String,
    admin: String,
}

impl Broker {
    fn start(data: &Path, flags: &[&str], environment: &[(&str, &str)]) -> Self {
        Self::of(&mut command(data, flags, environment))
    }

    fn of(command: &mut Command) -> Self {
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

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.kafka).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        stream
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let status = Command::new("kill")
            .args(["-s", name, &id])
            .status()
            .unwrap();
        assert!(status.success());
    }

    fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.unwrap().trim_end_matches("kB").trim().parse().unwrap()
    }

    fn stop(mut self) -> Option<i32> {
        self.signal("TERM");
        self.wait()
    }

    fn wait(&mut self) -> Option<i32> {
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(10) {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("the broker does not end");
    }

    fn get(&self, path: &str) -> String {
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

fn command(data: &Path, flags: &[&str], environment: &[(&str, &str)]) -> Command {
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

fn refused(data: &Path, flags: &[&str]) -> String {
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

fn frame(stream: &mut impl Read) -> Vec<u8> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut body = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap()];
    stream.read_exact(&mut body).unwrap();
    body
}

/// Whether the broker has closed the connection, within the read timeout.
fn is_closed(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(0) => true,
        Ok(count) => panic!("{count} bytes instead of the end"),
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

#[test]
fn api_versions_is_answered_in_order_on_both_drivers_and_any_number_of_shards() {
    for environment in DRIVERS {
        for shards in ["1", "2"] {
            let directory = Directory::new();
            let broker = Broker::start(&directory.data(), &["--shards", shards], environment);
            for _connection in 0..4 {
                let mut stream = broker.connect();
                let mut pipelined = Vec::new();
                for number in 0..200_u8 {
                    let mut request = API_VERSIONS;
                    request[11] = number;
                    pipelined.extend_from_slice(&request);
                }
                stream.write_all(&pipelined).unwrap();
                for number in 0..200_u8 {
                    let answer = frame(&mut stream);
                    assert_eq!(answer[..4], [0, 0, 0, number]);
                    assert_eq!(answer[4..6], [0, 0], "no error");
                }
            }
            assert_eq!(broker.stop(), Some(0));
        }
    }
}

#[test]
fn a_request_may_arrive_byte_by_byte() {
    for environment in DRIVERS {
        let directory = Directory::new();
        let broker = Broker::start(&directory.data(), &[], environment);
        let mut stream = broker.connect();
        stream.set_nodelay(true).unwrap();
        for byte in API_VERSIONS {
            stream.write_all(&[byte]).unwrap();
        }
        assert_eq!(frame(&mut stream)[..4], [0, 0, 0, 7]);
    }
}

#[test]
fn a_client_that_ends_its_side_still_gets_its_answers() {
    for environment in DRIVERS {
        let directory = Directory::new();
        let broker = Broker::start(&directory.data(), &[], environment);
        let mut stream = broker.connect();
        stream.write_all(&API_VERSIONS).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        frame(&mut stream);
        assert!(is_closed(&mut stream));
    }
}

#[test]
fn an_unknown_version_of_api_versions_is_answered_with_error_35() {
    let directory = Directory::new();
    let broker = Broker::start(&directory.data(), &[], &[]);
    let mut stream = broker.connect();
    let mut request = API_VERSIONS;
    request[7] = 99;
    stream.write_all(&request).unwrap();
    let answer = frame(&mut stream);
    assert_eq!(answer[..6], [0, 0, 0, 7, 0, 35]);
    stream.write_all(&API_VERSIONS).unwrap();
    assert_eq!(frame(&mut stream)[4..6], [0, 0]);
}

#[test]
fn garbage_closes_the_connection_and_the_broker_lives() {
    for environment in DRIVERS {
        let directory = Directory::new();
        let broker = Broker::start(&directory.data(), &[], environment);
        let garbage: [&[u8]; 6] = [
            b"GET / HTTP/1.1\r\n\r\n",
            &[0xff; 64],
            &[0, 0, 0, 0],
            &[0, 0, 0, 9],
            // A key that does not exist, and a client id that is longer than the frame.
            &[0, 0, 0, 10, 0x7f, 0xff, 0, 0, 0, 0, 0, 1, 0xff, 0xff],
            &[0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0x7f, 0xff],
        ];
        for bytes in garbage {
            let mut stream = broker.connect();
            stream.write_all(bytes).unwrap();
            assert!(is_closed(&mut stream), "{bytes:?}");
        }
        let mut stream = broker.connect();
        stream.write_all(&API_VERSIONS).unwrap();
        frame(&mut stream);
    }
}

#[test]
fn a_stranger_may_not_send_more_than_64_kib_and_a_known_client_may() {
    let directory = Directory::new();
    let broker = Broker::start(&directory.data(), &[], &[]);
    // ApiVersions v3: the whole frame is read before its client name, which is null, is refused.
    let mut large = vec![0, 1, 0x86, 0xa0, 0, 18, 0, 3, 0, 0, 0, 1, 0xff, 0xff];
    large.resize(4 + 100_000, 0);
    let mut stranger = broker.connect();
    stranger.write_all(&large[..14]).unwrap();
    assert!(is_closed(&mut stranger));
    let mut known = broker.connect();
    known.write_all(&API_VERSIONS).unwrap();
    frame(&mut known);
    known.write_all(&large).unwrap();
    assert!(is_closed(&mut known));
    let text = broker.get("/metrics");
    let received: u64 = text
        .lines()
        .filter(|line| line.starts_with("sluice_received_bytes_total{"))
        .filter_map(|line| line.split(' ').nth(1)?.parse::<u64>().ok())
        .sum();
    assert!(received >= 100_000, "{received}");
}

/// ApiVersions v0 whose client id makes the frame as long as wanted.
fn request_of(number: u32, client_id_bytes: u16) -> Vec<u8> {
    let length = 10 + u32::from(client_id_bytes);
    let mut request = length.to_be_bytes().to_vec();
    request.extend_from_slice(&[0, 18, 0, 0]);
    request.extend_from_slice(&number.to_be_bytes());
    request.extend_from_slice(&client_id_bytes.to_be_bytes());
    request.resize(request.len() + usize::from(client_id_bytes), b'a');
    request
}

#[test]
fn frames_of_every_size_around_the_read_buffer_are_cut_where_they_end() {
    for environment in DRIVERS {
        let directory = Directory::new();
        let broker = Broker::start(&directory.data(), &[], environment);
        let mut stream = broker.connect();
        let sizes = [
            0, 1, 4_000, 4_082, 4_083, 16_370, 16_371, 16_372, 32_767, 5, 20_000, 0,
        ];
        let requests: Vec<u8> = (0..)
            .zip(sizes)
            .flat_map(|(n, size)| request_of(n, size))
            .collect();
        for _round in 0..3 {
            stream.write_all(&requests).unwrap();
            for number in 0..u8::try_from(sizes.len()).unwrap() {
                assert_eq!(frame(&mut stream)[..6], [0, 0, 0, number, 0, 0]);
            }
        }
    }
}

#[test]
fn a_client_that_does_not_read_is_not_read_and_loses_nothing() {
    for environment in DRIVERS {
        let directory = Directory::new();
        let broker = Broker::start(&directory.data(), &["--memory", "60M"], environment);
        let mut stream = broker.connect();
        stream
            .set_write_timeout(Some(Duration::from_millis(500)))
            .unwrap();
        let mut requests = Vec::new();
        for number in 0..1000 {
            requests.extend_from_slice(&request_of(number, 0));
        }
        let mut sent = 0;
        // Answers are longer than requests; the buffers of the kernel are full at some time.
        while let Ok(count) = stream.write(&requests[sent % requests.len()..]) {
            sent += count;
            assert!(sent < 100_000_000, "the broker reads without end");
        }
        let whole = sent / 14;
        let mut answers = BufReader::with_capacity(1 << 20, stream);
        for number in 0..whole {
            let expected = u32::try_from(number % 1000).unwrap().to_be_bytes();
            assert_eq!(frame(&mut answers)[..4], expected);
        }
        let text = broker.get("/metrics");
        let received: u64 = text
            .lines()
            .filter(|line| line.starts_with("sluice_received_bytes_total{"))
            .filter_map(|line| line.split(' ').nth(1)?.parse::<u64>().ok())
            .sum();
        assert_eq!(received, u64::try_from(sent).unwrap());
    }
}

#[test]
fn admin_http_tells_health_and_numbers() {
    for environment in DRIVERS {
        let directory = Directory::new();
        let broker = Broker::start(&directory.data(), &["--shards", "2"], environment);
        let mut stream = broker.connect();
        stream.write_all(&API_VERSIONS).unwrap();
        frame(&mut stream);
        assert!(broker.get("/healthz").starts_with("HTTP/1.1 200"));
        assert!(broker.get("/readyz").starts_with("HTTP/1.1 200"));
        let metrics = broker.get("/metrics");
        for expected in [
            "sluice_request_seconds_count{shard=\"0\",api=\"ApiVersions\"} 1",
            "sluice_connections{shard=\"0\"} 1",
            "sluice_memory_budget_limit_bytes{shard=\"1\",budget=\"requests\"}",
            "sluice_resident_memory_bytes ",
            "sluice_shards_silent 0",
        ] {
            assert!(metrics.contains(expected), "{expected} in {metrics}");
        }
        let driver = if environment.is_empty() {
            "io_uring"
        } else {
            "epoll"
        };
        let info = format!("sluice_io_driver{{driver=\"{driver}\"}} 1");
        assert!(metrics.contains(&info), "{metrics}");
    }
}

#[test]
fn admin_http_holds_little_for_many_who_never_finish() {
    let directory = Directory::new();
    let broker = Broker::start(&directory.data(), &["--memory", "64M"], &[]);
    let before = broker.resident_kib();
    let address = broker.admin.trim_start_matches("http://");
    let address = address.split('/').next().unwrap();
    let mut head = b"GET /metrics HTTP/1.1\r\nHost: x\r\nX: ".to_vec();
    head.resize(300_000, b'a');
    let mut silent = Vec::new();
    for _ in 0..100 {
        let mut stream = TcpStream::connect(address).unwrap();
        let patience = Some(Duration::from_millis(20));
        stream.set_write_timeout(patience).unwrap();
        // Those that are not let in take no more than the kernel holds for them.
        let _refused = stream.write_all(&head);
        silent.push(stream);
    }
    let grown = broker.resident_kib() - before;
    assert!(grown < 16 * 1024, "{grown} KiB for 100 connections");
    drop(silent);
    assert!(broker.get("/healthz").starts_with("HTTP/1.1 200"));
    let mut quiet = TcpStream::connect(address).unwrap();
    quiet
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    assert!(is_closed(&mut quiet), "a connection without a request ends");
    assert_eq!(broker.stop(), Some(0));
}

#[test]
fn connections_beyond_the_limits_are_closed() {
    let directory = Directory::new();
    let flags = [
        "--max-connections",
        "3",
        "--max-connections-per-ip",
        "2",
        "--shards",
        "2",
    ];
    let broker = Broker::start(&directory.data(), &flags, &[]);
    let mut open: Vec<TcpStream> = (0..2).map(|_| broker.connect()).collect();
    for stream in &mut open {
        stream.write_all(&API_VERSIONS).unwrap();
        frame(stream);
    }
    assert!(is_closed(&mut broker.connect()));
    drop(open);
    let started = Instant::now();
    loop {
        let mut stream = broker.connect();
        if stream.write_all(&API_VERSIONS).is_ok() && stream.read_exact(&mut [0; 4]).is_ok() {
            break;
        }
        assert!(
            started.elapsed() < Duration::from_secs(5),
            "room comes back"
        );
    }
}

#[test]
fn a_port_in_use_is_refused_before_anything_is_made() {
    let directory = Directory::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let listeners = ["--kafka-listen", "--admin-listen", "--mqtt-listen"];
    for flag in listeners {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
        command.arg("start").arg("--data-dir").arg(directory.data());
        for listener in listeners {
            let free = "127.0.0.1:0";
            command.args([listener, if listener == flag { &address } else { free }]);
        }
        let output = command.output().unwrap();
        let line = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{line}");
        assert!(line.contains(&address) && line.contains("in use"), "{line}");
        assert!(!directory.data().exists());
    }
}

#[test]
fn a_data_directory_that_is_not_free_is_refused() {
    let directory = Directory::new();
    let broker = Broker::start(&directory.data(), &[], &[]);
    let line = refused(&directory.data(), &[]);
    assert!(line.contains("another broker uses it"), "{line}");
    drop(broker);
    let line = refused(&directory.data(), &["--node-id", "2"]);
    assert!(line.contains("belongs to node 1"), "{line}");
    let foreign = directory.0.join("foreign");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("letter.txt"), "dear").unwrap();
    let line = refused(&foreign, &[]);
    assert!(line.contains("letter.txt"), "{line}");
    let names: Vec<_> = fs::read_dir(&foreign).unwrap().collect();
    assert_eq!(names.len(), 1);
    let file = directory.0.join("file");
    fs::write(&file, "").unwrap();
    let line = refused(&file, &[]);
    assert!(line.contains("data directory"), "{line}");
}

#[test]
fn a_wrong_configuration_is_one_line_and_exit_code_2() {
    let directory = Directory::new();
    let file = directory.0.join("sluice.toml");
    fs::write(
        &file,
        "[kafka]\nlisten = \"127.0.0.1:0\"\nadvertize = \"x:1\"\n",
    )
    .unwrap();
    let file = file.to_str().unwrap();
    let line = refused(&directory.data(), &["--config", file]);
    assert!(
        line.contains("line 3; did you mean `kafka.advertise`?"),
        "{line}"
    );
    let line = refused(&directory.data(), &["--memory", "1M"]);
    assert!(line.contains("memory in flag --memory"), "{line}");
    let line = refused(&directory.data(), &["--memory", "130M", "--shards", "5"]);
    assert!(line.contains("shards in flag --shards"), "{line}");
    let line = refused(&directory.data(), &["--memry", "130M"]);
    assert!(line.contains("'--memory'"), "{line}");
    assert!(!directory.data().exists());
    let check = |file: &str| {
        Command::new(env!("CARGO_BIN_EXE_sluice"))
            .args(["config", "check", file])
            .output()
            .unwrap()
    };
    assert_eq!(check(file).status.code(), Some(2));
    fs::write(file, "shards = 2\n").unwrap();
    assert_eq!(check(file).status.code(), Some(0));
}

#[test]
fn a_mistyped_variable_is_one_warning_and_one_of_kubernetes_is_none() {
    let directory = Directory::new();
    let warnings = |variables: &[(&str, &str)]| {
        let data = directory.data();
        let mut child = command(&data, &[], variables)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let is_up = output.lines().any(|line| line.unwrap() == "Try:");
        child.kill().unwrap();
        let stderr = child.wait_with_output().unwrap().stderr;
        assert!(is_up);
        let lines = String::from_utf8(stderr).unwrap();
        let lines = lines.lines().filter(|line| line.contains("SLUICE_"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let mistyped = warnings(&[("SLUICE_MEMRY", "64M"), ("SLUICE_SERVICE_HOST", "10.0.0.1")]);
    assert_eq!(mistyped.len(), 1, "{mistyped:?}");
    assert!(mistyped[0].contains("WARN"), "{mistyped:?}");
    assert!(
        mistyped[0].ends_with(": SLUICE_MEMRY (did you mean SLUICE_MEMORY?)"),
        "{mistyped:?}"
    );
    let kubernetes = [
        ("SLUICE_SERVICE_HOST", "10.0.0.1"),
        ("SLUICE_PORT", "tcp://10.0.0.1:9092"),
    ];
    assert!(warnings(&kubernetes).is_empty());
}

#[test]
fn values_that_nobody_can_mean_are_one_line_and_exit_code_2() {
    let directory = Directory::new();
    let largest = u64::MAX.to_string();
    let line = refused(&directory.data(), &["--memory", &largest]);
    assert!(line.contains("at most 70368744177664 bytes"), "{line}");
    // The broker must not run with its data elsewhere than it was told.
    let mut elsewhere = Command::new(env!("CARGO_BIN_EXE_sluice"));
    elsewhere
        .args(["start", "--kafka-listen", "127.0.0.1:0"])
        .env("SLUICE_DATA_DIR", OsStr::from_bytes(b"/tmp/\xff"))
        .current_dir(&directory.0);
    let output = elsewhere.output().unwrap();
    let line = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{line}");
    assert!(line.contains("variable SLUICE_DATA_DIR: UTF-8"), "{line}");
    assert_eq!(fs::read_dir(&directory.0).unwrap().count(), 0);
}

#[test]
fn a_log_that_nobody_takes_does_not_end_the_broker() {
    let directory = Directory::new();
    for format in ["text", "json"] {
        let flags = ["--log-level", "debug", "--log-format", format];
        let mut command = command(&directory.data(), &flags, &[]);
        // Every line is ENOSPC, as on a full disk.
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let broker = Broker::of(command.stderr(full));
        let mut stream = broker.connect();
        stream.write_all(&API_VERSIONS).unwrap();
        frame(&mut stream);
        assert_eq!(broker.stop(), Some(0));
    }
}

#[test]
fn a_stop_while_the_disk_keeps_the_start_waiting_is_obeyed_at_once() {
    let directory = Directory::new();
    let broker = Broker::start(&directory.data(), &[], &[]);
    assert_eq!(broker.stop(), Some(0));
    // As if writes of a killed process were still on their way.
    let journal = directory.data().join("journal/shard-000/ring-0000.journal");
    let earlier = fs::File::open(journal).unwrap();
    rustix::fs::flock(&earlier, rustix::fs::FlockOperation::LockShared).unwrap();
    for signal in ["TERM", "INT"] {
        let mut child = command(&directory.data(), &[], &[])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(300));
        assert!(child.try_wait().unwrap().is_none(), "it waits");
        let id = child.id().to_string();
        let told = Command::new("kill").args(["-s", signal, &id]).status();
        assert!(told.unwrap().success());
        let asked = Instant::now();
        assert_eq!(child.wait().unwrap().code(), Some(0));
        assert!(asked.elapsed() < Duration::from_secs(5));
    }
    drop(earlier);
    let broker = Broker::start(&directory.data(), &[], &[]);
    assert_eq!(broker.stop(), Some(0));
}

#[test]
fn a_stop_with_open_connections_is_clean_and_the_next_start_knows_it() {
    for environment in DRIVERS {
        let directory = Directory::new();
        let broker = Broker::start(&directory.data(), &["--shards", "2"], environment);
        let mut streams: Vec<_> = (0..5).map(|_| broker.connect()).collect();
        for stream in &mut streams {
            stream.write_all(&API_VERSIONS).unwrap();
            frame(stream);
        }
        let started = Instant::now();
        assert_eq!(broker.stop(), Some(0));
        assert!(started.elapsed() < Duration::from_secs(5));
        for stream in &mut streams {
            assert!(is_closed(stream));
        }
        assert!(directory.data().join("sluice.clean").exists());
        let mut killed = Broker::start(&directory.data(), &[], environment);
        assert!(!directory.data().join("sluice.clean").exists());
        killed.signal("KILL");
        killed.wait();
        let again = Broker::start(&directory.data(), &[], environment);
        again.signal("INT");
        let mut again = again;
        assert_eq!(again.wait(), Some(0));
    }
}

#[test]
fn signals_at_once_are_one_wish_to_stop() {
    let directory = Directory::new();
    let mut broker = Broker::start(&directory.data(), &["--shards", "2"], &[]);
    let mut stream = broker.connect();
    stream.write_all(&API_VERSIONS).unwrap();
    broker.signal("TERM");
    broker.signal("TERM");
    assert_eq!(broker.wait(), Some(0));
    assert!(directory.data().join("sluice.clean").exists());
}
