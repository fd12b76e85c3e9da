//! MQTT: Sluice beside Mosquitto with persistence on, in rotated rounds.
//!
//! What it is        publishers with QoS 1 on one thread over epoll; each has at most
//!                   [`WINDOW`] publishes without PUBACK.
//! What it is not    the same promise on both sides: Mosquitto's PUBACK does not wait for the disk.
//!                   The flushes of the device, counted in each run, show it.
//! Source            the method of `docs/benchmarks.md`.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::fd::OwnedFd;

use crate::load::schedule_us;
use crate::machine;
use crate::statistics::spread;
use crate::system::{Places, eprintln_line};

/// Publishes of one client without PUBACK: what Paho and mosquitto_pub have.
const WINDOW: usize = 20;

/// Bytes of a payload.
const PAYLOAD_BYTES: usize = 100;

/// Connections of the measurement of idle memory.
const IDLE: usize = 2_000;

/// Sensors that publish once per second.
const SENSORS: usize = 1_000;

/// Systems by name; `sluice-50ms` gathers 50 ms of publishes into one flush, for flash cards.
const SYSTEMS: [&str; 3] = ["sluice", "sluice-50ms", "mosquitto"];

/// What one run gave, by name.
type Figures = BTreeMap<String, f64>;

/// Measures all, and prints the table.
pub(crate) fn compare(places: &Places, rounds: usize, seconds: u64) -> Result<(), String> {
    let mut results: BTreeMap<(String, usize), Vec<f64>> = BTreeMap::new();
    for round in 0..rounds {
        for place in 0..SYSTEMS.len() {
            let system = (place + round) % SYSTEMS.len();
            for (name, value) in run(places, system, Duration::from_secs(seconds))? {
                eprintln_line(&format!("{round} {} {name}: {value:.1}", name_of(system)));
                results.entry((name, system)).or_default().push(value);
            }
        }
    }
    let names: Vec<&String> = results.keys().map(|(name, _)| name).collect();
    println_line(&format!("{}, {rounds} rounds", machine::description()));
    println_line(&format!("| | {} |\n|---|---|---|---|", SYSTEMS.join(" | ")));
    let mut last = None;
    for name in names {
        if last.replace(name) == Some(name) {
            continue;
        }
        let cell = |system: usize| {
            let values = results.get(&(name.clone(), system));
            spread(values.into_iter().flatten().copied()).text()
        };
        let cells: Vec<String> = (0..SYSTEMS.len()).map(cell).collect();
        println_line(&format!("| {name} | {} |", cells.join(" | ")));
    }
    Ok(())
}

fn name_of(system: usize) -> &'static str {
    SYSTEMS.get(system).copied().unwrap_or_default()
}

/// All measurements of one system, each with a fresh process and directory.
fn run(places: &Places, system: usize, duration: Duration) -> Result<Figures, String> {
    let mut all = Figures::new();
    for clients in [1, 100, 1_000] {
        let broker = Broker::start(places, system)?;
        let mut crowd = Crowd::connect(broker.port, clients)?;
        crowd.publish(Duration::from_secs(1), None)?;
        let before = machine::disk(&broker.data);
        let begun = Instant::now();
        let done = crowd.publish(duration, None)?;
        let passed = begun.elapsed().as_secs_f64();
        let flushes = machine::disk(&broker.data).flushes - before.flushes;
        all.insert(
            format!("{clients:5} clients: publishes/s"),
            done.count as f64 / passed,
        );
        all.insert(
            format!("{clients:5} clients: device flushes/s"),
            flushes as f64 / passed,
        );
    }
    sensors(places, system, duration, &mut all)?;
    let broker = Broker::start(places, system)?;
    let resident = || machine::process(broker.pid()).resident_kib as f64 * 1024.0;
    let before = resident();
    let crowd = Crowd::connect(broker.port, IDLE)?;
    std::thread::sleep(Duration::from_secs(2));
    all.insert(
        "idle: bytes/connection".to_owned(),
        (resident() - before) / IDLE as f64,
    );
    drop(crowd);
    Ok(all)
}

/// A publish per second of each of many sensors, on a schedule.
fn sensors(
    places: &Places,
    system: usize,
    duration: Duration,
    all: &mut Figures,
) -> Result<(), String> {
    let broker = Broker::start(places, system)?;
    let mut crowd = Crowd::connect(broker.port, SENSORS)?;
    crowd.publish(Duration::from_secs(2), Some(SENSORS as u64))?;
    let figures = || (machine::process(broker.pid()), machine::disk(&broker.data));
    let (process, disk) = figures();
    let begun = Instant::now();
    let done = crowd.publish(duration * 3, Some(SENSORS as u64))?;
    let passed = begun.elapsed().as_secs_f64();
    let (process_after, disk_after) = figures();
    let cpu = (process_after.cpu_us - process.cpu_us) as f64 / passed / 10_000.0;
    let by_process = (process_after.written_bytes - process.written_bytes) as f64;
    let written = (disk_after.written_bytes - disk.written_bytes) as f64;
    let flushes = (disk_after.flushes - disk.flushes) as f64;
    for (name, value) in [
        ("p50 µs", done.latency.value_at_quantile(0.5) as f64),
        ("p99 µs", done.latency.value_at_quantile(0.99) as f64),
        ("p99.9 µs", done.latency.value_at_quantile(0.999) as f64),
        ("publishes/s", done.count as f64 / passed),
        ("CPU % of a core", cpu),
        ("process bytes/s", by_process / passed),
        ("device bytes/s", written / passed),
        ("device flushes/s", flushes / passed),
    ] {
        all.insert(format!("sensors: {name}"), value);
    }
    Ok(())
}

/// A broker that was started here and ends with this value.
struct Broker {
    child: Child,
    port: u16,
    data: PathBuf,
}

impl Broker {
    fn start(places: &Places, system: usize) -> Result<Self, String> {
        let port = free_port()?;
        let data = places.work.join(format!("mqtt-{}-{port}", name_of(system)));
        let failed = |error: std::io::Error| format!("{}: {error}", name_of(system));
        fs::create_dir_all(&data).map_err(failed)?;
        let mut command = match name_of(system) {
            name @ ("sluice" | "sluice-50ms") => {
                let mut command = Command::new(&places.sluice);
                command.args(["start", "--shards", "1", "--admin-listen", "off"]);
                command.args(["--memory", &format!("{}M", places.memory_megabytes)]);
                command.args(["--kafka-listen", &format!("127.0.0.1:{}", free_port()?)]);
                command.args(["--mqtt-listen", &format!("127.0.0.1:{port}")]);
                command.arg("--data-dir").arg(data.join("sluice"));
                if name == "sluice-50ms" {
                    command.args(["--storage-commit-interval-ms", "50"]);
                }
                command
            }
            _ => {
                let config = data.join("mosquitto.conf");
                let text = format!(
                    "listener {port} 127.0.0.1\nallow_anonymous true\npersistence true\n\
                     persistence_location {}/\nlog_dest none\nuser root\n",
                    data.display()
                );
                fs::write(&config, text).map_err(failed)?;
                let mut command = Command::new("mosquitto");
                command.arg("-c").arg(config);
                command
            }
        };
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let broker = Self {
            child: child.map_err(failed)?,
            port,
            data,
        };
        let deadline = Instant::now() + Duration::from_secs(15);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if Instant::now() > deadline {
                return Err(format!("{} does not listen", name_of(system)));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(broker)
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if self.child.kill().is_err() || self.child.wait().is_err() {
            eprintln_line("a broker did not end");
        }
        if let Err(error) = fs::remove_dir_all(&self.data) {
            eprintln_line(&format!("{}: {error}", self.data.display()));
        }
    }
}

fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    Ok(address.port())
}

/// One client.
struct Client {
    stream: TcpStream,
    topic: String,
    next_id: u16,
    /// When each publish without PUBACK was due.
    waiting: VecDeque<Instant>,
    unsent: Vec<u8>,
    unread: Vec<u8>,
}

/// Many clients on one thread.
struct Crowd {
    clients: Vec<Client>,
    epoll: OwnedFd,
}

/// What a crowd has done.
struct Done {
    count: u64,
    /// From when a publish was due to its PUBACK, in µs.
    latency: Histogram<u64>,
}

impl Crowd {
    fn connect(port: u16, count: usize) -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("connect: {error}");
        let epoll = epoll::create(CreateFlags::CLOEXEC).map_err(|error| error.to_string())?;
        let mut clients = Vec::with_capacity(count);
        for number in 0..count {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).map_err(failed)?;
            stream.set_nodelay(true).map_err(failed)?;
            let id = format!("sensor-{number:05}");
            let mut packet = vec![0x10, 0, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 60, 0, 12];
            packet.extend_from_slice(id.as_bytes());
            set_length(&mut packet);
            stream.write_all(&packet).map_err(failed)?;
            let mut answer = [0; 4];
            stream.read_exact(&mut answer).map_err(failed)?;
            if answer != [0x20, 2, 0, 0] {
                return Err(format!("CONNACK {answer:?}"));
            }
            stream.set_nonblocking(true).map_err(failed)?;
            let data = EventData::new_u64(number as u64);
            epoll::add(&epoll, &stream, data, EventFlags::IN).map_err(|error| error.to_string())?;
            clients.push(Client {
                stream,
                topic: format!("plant/{number}/temperature"),
                next_id: 1,
                waiting: VecDeque::new(),
                unsent: Vec::new(),
                unread: Vec::new(),
            });
        }
        Ok(Self { clients, epoll })
    }

    /// Publishes for a while: as fast as the windows allow, or `rate` per second in all, in turn.
    /// Returns when all is acknowledged.
    fn publish(&mut self, duration: Duration, rate: Option<u64>) -> Result<Done, String> {
        let latency = Histogram::new_with_bounds(1, 60_000_000, 3);
        let mut done = Done {
            count: 0,
            latency: latency.map_err(|error| error.to_string())?,
        };
        let start = Instant::now();
        let mut scheduled = 0_u64;
        if rate.is_none() {
            for client in &mut self.clients {
                client.fill(Instant::now())?;
            }
        }
        let mut events = Vec::with_capacity(256);
        loop {
            let passed = start.elapsed();
            let is_over = passed >= duration;
            if let Some(rate) = rate.filter(|_| !is_over) {
                let due =
                    (u64::try_from(passed.as_micros()).unwrap_or(0) * rate).div_euclid(1_000_000);
                while scheduled < due {
                    let at = start + Duration::from_micros(schedule_us(scheduled, rate));
                    let place = usize::try_from(scheduled).unwrap_or(0) % self.clients.len();
                    if let Some(client) = self.clients.get_mut(place) {
                        client.add(at);
                        client.send()?;
                    }
                    scheduled += 1;
                }
            }
            if is_over && self.clients.iter().all(|client| client.waiting.is_empty()) {
                return Ok(done);
            }
            if passed > duration + Duration::from_secs(30) {
                return Err("publishes were not acknowledged within 30 s".to_owned());
            }
            self.take(&mut events, &mut done, rate.is_none() && !is_over)?;
        }
    }

    /// Takes the PUBACKs that are there, or come within a millisecond.
    fn take(
        &mut self,
        events: &mut Vec<epoll::Event>,
        done: &mut Done,
        refill: bool,
    ) -> Result<(), String> {
        events.clear();
        let wait = rustix::event::Timespec {
            tv_sec: 0,
            tv_nsec: 1_000_000,
        };
        let spare = rustix::buffer::spare_capacity(events);
        epoll::wait(&self.epoll, spare, Some(&wait)).map_err(|error| error.to_string())?;
        for event in events.iter() {
            let place = usize::try_from(event.data.u64()).unwrap_or(usize::MAX);
            let Some(client) = self.clients.get_mut(place) else {
                continue;
            };
            client.receive(done)?;
            if refill {
                client.fill(Instant::now())?;
            } else {
                client.send()?;
            }
        }
        Ok(())
    }
}

impl Client {
    fn fill(&mut self, due: Instant) -> Result<(), String> {
        while self.waiting.len() < WINDOW {
            self.add(due);
        }
        self.send()
    }

    fn add(&mut self, due: Instant) {
        let mut packet = vec![0x32, 0, 0];
        packet.push(u8::try_from(self.topic.len()).unwrap_or(0));
        packet.extend_from_slice(self.topic.as_bytes());
        packet.extend_from_slice(&self.next_id.to_be_bytes());
        packet.extend_from_slice(&[b'x'; PAYLOAD_BYTES]);
        set_length(&mut packet);
        self.next_id = self.next_id.checked_add(1).unwrap_or(1);
        self.unsent.extend_from_slice(&packet);
        self.waiting.push_back(due);
    }

    fn send(&mut self) -> Result<(), String> {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(sent) => drop(self.unsent.drain(..sent)),
                // Windows are small: what does not fit goes with the next PUBACK.
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(format!("send: {error}")),
            }
        }
        Ok(())
    }

    fn receive(&mut self, done: &mut Done) -> Result<(), String> {
        let mut chunk = [0; 4096];
        match self.stream.read(&mut chunk) {
            Ok(0) => return Err("the broker has closed a connection".to_owned()),
            Ok(read) => self
                .unread
                .extend_from_slice(chunk.get(..read).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(format!("receive: {error}")),
        }
        while let Some([kind, 2, _, _]) = self.unread.get(..4) {
            if *kind != 0x40 {
                return Err(format!("packet {kind:#x} instead of a PUBACK"));
            }
            self.unread.drain(..4);
            let due = self.waiting.pop_front();
            let due = due.ok_or_else(|| "a PUBACK for nothing".to_owned())?;
            let micros = u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX);
            done.latency.saturating_record(micros.max(1));
            done.count += 1;
        }
        Ok(())
    }
}

/// Writes the Remaining Length of a packet below 16 KiB into its second byte, or two.
fn set_length(packet: &mut Vec<u8>) {
    let length = packet.len() - 2;
    let low = u8::try_from(length & 0x7f).unwrap_or(0);
    let high = u8::try_from(length >> 7).unwrap_or(0);
    if let Some(byte) = packet.get_mut(1) {
        *byte = if high == 0 { low } else { low | 0x80 };
    }
    if high > 0 {
        packet.insert(2, high);
    }
}

/// A line of the table.
fn println_line(line: &str) {
    let mut output = std::io::stdout();
    if writeln!(output, "{line}").is_err() {
        eprintln_line("standard output is closed");
    }
}
