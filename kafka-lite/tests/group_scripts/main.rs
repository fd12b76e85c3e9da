//! Runs the scripts of `testdata/group`: a command, `----`, and what the coordinator then does.
//!
//! `UPDATE_SCRIPTS=1 cargo test -p kafka-lite --test group_scripts` writes what happens into the
//! scripts; the difference is then read. Words of the scripts: `testdata/group/README.md`.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a script that does not fit fails its test; the scenario's name helps to find it"
)]

mod show;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use bytes::Bytes;
use kafka_lite::group::{
    AppendError, AppendId, CommitPartition, CommitTopic, Coordinator, HeartbeatRequest,
    JoinGroupRequest, LeaveGroupRequest, LeavingMember, Now, OffsetCommitRequest,
    OffsetDeleteRequest, Options, Output, Protocol, Record, ReplyToken, SyncGroupRequest,
};

use self::show::{error_name, show_record, show_reply};

/// What every generated uuid begins with here; scripts write only its last two digits.
const UUID_HEAD: &str = "00000000-0000-0000-0000-0000000000";

/// A consumer's subscription: version 0, the topics, no user data.
fn subscription(topics: &str) -> Bytes {
    let mut bytes = vec![0, 0];
    let topics: Vec<&str> = topics
        .split('+')
        .filter(|topic| !topic.is_empty())
        .collect();
    bytes.extend_from_slice(&i32::try_from(topics.len()).unwrap().to_be_bytes());
    for topic in topics {
        bytes.extend_from_slice(&i16::try_from(topic.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(topic.as_bytes());
    }
    bytes.extend_from_slice(&(-1_i32).to_be_bytes());
    bytes.into()
}

/// Member ids end in two digits: `c-01`.
fn expand(id: &str) -> String {
    match id.rsplit_once('-') {
        Some((head, tail)) if tail.len() == 2 => format!("{head}-{UUID_HEAD}{tail}"),
        _ => id.to_owned(),
    }
}

/// A command: words, and `key=value` pairs.
struct Command {
    words: Vec<String>,
    pairs: Vec<(String, String)>,
}

impl Command {
    fn parse(line: &str) -> Self {
        let (mut words, mut pairs) = (Vec::new(), Vec::new());
        for word in line.split_whitespace() {
            match word.split_once('=') {
                Some((key, value)) => pairs.push((key.to_owned(), value.to_owned())),
                None => words.push(word.to_owned()),
            }
        }
        Self { words, pairs }
    }

    fn value(&self, key: &str) -> Option<&str> {
        self.pairs
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value.as_str())
    }

    fn number<N: std::str::FromStr>(&self, key: &str, default: N) -> N {
        self.value(key)
            .map_or(default, |value| value.parse().ok().expect("a number"))
    }

    fn word(&self, index: usize) -> &str {
        &self.words[index]
    }

    fn instance(&self) -> Option<String> {
        self.value("instance").map(str::to_owned)
    }
}

struct World {
    options: Options,
    coordinator: Coordinator,
    now: Now,
    tokens: Vec<String>,
    uuid: u128,
    manual: bool,
    in_flight: BTreeMap<AppendId, Vec<Record>>,
    log: Vec<Record>,
    shown: String,
}

impl World {
    fn new(command: &Command) -> Self {
        let options = Options {
            partition_count: command.number("partitions", 1),
            initial_rebalance_delay_ms: command.number("delay", 0),
            group_size_max: command.number("size", 100),
            groups_max: command.number("groups", 100),
            members_max: command.number("members", 100),
            offsets_per_group_max: command.number("offsets", 100),
            memory_bytes_max: command.number("memory", 1 << 20),
            offset_metadata_bytes_max: command.number("metadata", 4096),
            offsets_retention_ms: command.number("retention", 100_000),
            offsets_retention_check_interval_ms: command.number("check", 10_000),
            ..Options::default()
        };
        let mut world = Self {
            coordinator: Coordinator::new(options.clone()),
            options,
            now: Now {
                monotonic_ms: 0,
                timestamp_ms: 1_000_000,
            },
            tokens: Vec::new(),
            uuid: 0,
            manual: command.words.iter().any(|word| word == "manual"),
            in_flight: BTreeMap::new(),
            log: Vec::new(),
            shown: String::new(),
        };
        world.load();
        world
    }

    fn load(&mut self) {
        for partition in 0..self.options.partition_count {
            self.coordinator.start_loading(partition);
            for record in &self.log {
                let value = record.value.as_deref();
                self.coordinator
                    .load_record(partition, &record.key, value)
                    .expect("loads");
            }
            self.coordinator.finish_loading(self.now, partition);
        }
    }

    fn show(&mut self, line: &str) {
        writeln!(self.shown, "{}", line.trim_end().replace(UUID_HEAD, "")).unwrap();
    }

    fn token(&mut self, label: &str) -> ReplyToken {
        self.tokens.push(label.to_owned());
        ReplyToken(u64::try_from(self.tokens.len()).unwrap() - 1)
    }

    fn run(&mut self, line: &str) -> String {
        let command = Command::parse(line);
        self.dispatch(&command);
        self.drain();
        self.coordinator.check_invariants();
        std::mem::take(&mut self.shown)
    }

    fn dispatch(&mut self, command: &Command) {
        match command.word(0) {
            "join" => self.join(command),
            "sync" => self.sync(command),
            "heartbeat" => self.heartbeat(command),
            "leave" => self.leave(command),
            "commit" => self.commit(command),
            "delete-offsets" => self.delete_offsets(command),
            "delete-groups" => {
                let token = self.token(command.word(1));
                self.coordinator
                    .handle_delete_groups(self.now, token, &command.words[2..]);
            }
            "topic-deleted" => self
                .coordinator
                .handle_topic_deleted(self.now, command.word(1)),
            "disconnect" => self.disconnect(command.word(1)),
            "advance" => self.advance(command.word(1).parse().unwrap()),
            "set-clock" => self.now.timestamp_ms = command.word(1).parse().unwrap(),
            "persist" => self.persist(command),
            "expiry" => self.coordinator.set_expiry_enabled(command.word(1) == "on"),
            "restart" => self.restart(),
            "size" => self.options.group_size_max = command.word(1).parse().unwrap(),
            "loading" => self.coordinator.start_loading(0),
            "loaded" => self.coordinator.finish_loading(self.now, 0),
            "unload" => self.coordinator.unload(0),
            "fetch" => self.fetch(command),
            "describe" => self.describe(command.word(1)),
            "list" => self.list(command),
            "timeout" => {
                let at = self.coordinator.poll_timeout();
                self.show(&at.map_or_else(|| "none".to_owned(), |at| format!("at {at}")));
            }
            "count" => {
                let line = format!(
                    "groups {} members {} held {}",
                    self.coordinator.group_count(),
                    self.coordinator.member_count(),
                    self.coordinator.held_count()
                );
                self.show(&line);
            }
            other => panic!("unknown command {other}"),
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.coordinator.poll_output() {
            match output {
                Output::Reply { token, reply } => {
                    let label = self.tokens[usize::try_from(token.0).unwrap()].clone();
                    let line = format!("{label}: {}", show_reply(&reply));
                    self.show(&line);
                }
                Output::Append { id, records, .. } => {
                    for record in &records {
                        let line = format!("append {}", show_record(record));
                        self.show(&line);
                    }
                    if self.manual {
                        self.in_flight.insert(id, records);
                    } else {
                        self.log.extend(records);
                        self.coordinator.handle_persisted(self.now, id, Ok(()));
                    }
                }
            }
        }
    }

    fn persist(&mut self, command: &Command) {
        let result = match command.words.get(1).map(String::as_str) {
            None => Ok(()),
            Some("too-large") => Err(AppendError::TooLarge),
            Some("not-leader") => Err(AppendError::NotLeader),
            Some("unavailable") => Err(AppendError::Unavailable),
            Some(other) => panic!("unknown result {other}"),
        };
        let Some((id, records)) = self.in_flight.pop_first() else {
            panic!("nothing in flight")
        };
        if result.is_ok() {
            self.log.extend(records);
        }
        self.coordinator.handle_persisted(self.now, id, result);
    }

    fn advance(&mut self, milliseconds: u64) {
        let end = self.now.monotonic_ms + milliseconds;
        while let Some(at) = self.coordinator.poll_timeout().filter(|at| *at <= end) {
            self.step_to(at);
            self.coordinator.handle_timeout(self.now);
            self.drain();
        }
        self.step_to(end);
    }

    fn step_to(&mut self, at: u64) {
        let step = at.saturating_sub(self.now.monotonic_ms);
        self.now.monotonic_ms += step;
        self.now.timestamp_ms += i64::try_from(step).unwrap();
    }

    fn restart(&mut self) {
        self.coordinator = Coordinator::new(self.options.clone());
        self.in_flight.clear();
        self.load();
    }

    fn disconnect(&mut self, label: &str) {
        let index = self
            .tokens
            .iter()
            .rposition(|one| one == label)
            .expect("a label");
        let token = ReplyToken(u64::try_from(index).unwrap());
        self.coordinator.handle_disconnect(self.now, token);
    }

    fn join(&mut self, command: &Command) {
        let token = self.token(command.word(1));
        let protocols = command.value("protocols").unwrap_or("range:t").split(',');
        let protocols = protocols.filter(|one| !one.is_empty()).map(|one| {
            let (name, topics) = one.split_once(':').unwrap_or((one, ""));
            let metadata = match topics.strip_prefix('!') {
                Some(raw) => Bytes::copy_from_slice(raw.as_bytes()),
                None => subscription(topics),
            };
            Protocol {
                name: name.to_owned(),
                metadata,
            }
        });
        let version = command.number("v", 5);
        let request = JoinGroupRequest {
            api_version: version,
            group_id: command.words.get(2).cloned().unwrap_or_default(),
            session_timeout_ms: command.number("session", 10_000),
            rebalance_timeout_ms: (version > 0).then(|| command.number("rebalance", 30_000)),
            member_id: expand(command.value("member").unwrap_or_default()),
            group_instance_id: command.instance(),
            protocol_type: command.value("type").unwrap_or("consumer").to_owned(),
            protocols: protocols.collect(),
            client_id: command.value("client").unwrap_or("c").to_owned(),
            client_host: "/h".to_owned(),
        };
        self.uuid += 1;
        self.coordinator
            .handle_join_group(self.now, token, &request, self.uuid);
    }

    fn sync(&mut self, command: &Command) {
        let token = self.token(command.word(1));
        let named = ["gen", "member", "instance", "type", "name"];
        let assignments = command
            .pairs
            .iter()
            .filter(|(key, _)| !named.contains(&key.as_str()));
        let bytes = |value: &String| Bytes::copy_from_slice(value.as_bytes());
        let request = SyncGroupRequest {
            group_id: command.word(2).to_owned(),
            generation_id: command.number("gen", 1),
            member_id: expand(command.value("member").unwrap_or_default()),
            group_instance_id: command.instance(),
            protocol_type: command.value("type").map(str::to_owned),
            protocol_name: command.value("name").map(str::to_owned),
            assignments: assignments
                .map(|(key, value)| (expand(key), bytes(value)))
                .collect(),
        };
        self.coordinator
            .handle_sync_group(self.now, token, &request);
    }

    fn heartbeat(&mut self, command: &Command) {
        let token = self.token(command.word(1));
        let request = HeartbeatRequest {
            group_id: command.word(2).to_owned(),
            generation_id: command.number("gen", 1),
            member_id: expand(command.value("member").unwrap_or_default()),
            group_instance_id: command.instance(),
        };
        self.coordinator.handle_heartbeat(self.now, token, &request);
    }

    fn leave(&mut self, command: &Command) {
        let token = self.token(command.word(1));
        let members = command.words[3..].iter().map(|word| {
            let (member_id, instance) = match word.split_once('/') {
                Some((member_id, instance)) => (member_id, Some(instance.to_owned())),
                None => (word.as_str(), None),
            };
            LeavingMember {
                member_id: expand(member_id),
                group_instance_id: instance,
            }
        });
        let request = LeaveGroupRequest {
            group_id: command.word(2).to_owned(),
            members: members.collect(),
        };
        self.coordinator
            .handle_leave_group(self.now, token, &request);
    }

    fn commit(&mut self, command: &Command) {
        let token = self.token(command.word(1));
        let offsets = command.pairs.iter().filter(|(key, _)| key.contains('/'));
        let topics = offsets.map(|(key, value)| {
            let (topic, partition) = key.split_once('/').unwrap();
            let mut parts = value.splitn(3, ',');
            let partition = CommitPartition {
                partition: partition.parse().unwrap(),
                offset: parts.next().unwrap().parse().unwrap(),
                leader_epoch: parts
                    .next()
                    .filter(|text| !text.is_empty())
                    .map(|text| text.parse().unwrap()),
                metadata: parts.next().unwrap_or_default().to_owned(),
            };
            CommitTopic {
                name: topic.to_owned(),
                partitions: vec![partition],
            }
        });
        let request = OffsetCommitRequest {
            api_version: command.number("v", 8),
            group_id: command.words.get(2).cloned().unwrap_or_default(),
            generation_id: command.number("gen", -1),
            member_id: expand(command.value("member").unwrap_or_default()),
            group_instance_id: command.instance(),
            retention_time_ms: command
                .value("retention")
                .map(|value| value.parse().unwrap()),
            topics: topics.collect(),
        };
        self.coordinator
            .handle_offset_commit(self.now, token, &request);
    }

    fn delete_offsets(&mut self, command: &Command) {
        let token = self.token(command.word(1));
        let request = OffsetDeleteRequest {
            group_id: command.word(2).to_owned(),
            topics: partitions(&command.words[3..]),
        };
        self.coordinator
            .handle_offset_delete(self.now, token, &request);
    }

    fn fetch(&mut self, command: &Command) {
        let group_id = command.words.get(1).cloned().unwrap_or_default();
        let listed = command
            .words
            .get(2..)
            .filter(|words| !words.is_empty())
            .map(partitions);
        let lines: Vec<String> = match self.coordinator.fetch_offsets(&group_id, listed.as_deref())
        {
            Err(error) => vec![error_name(Some(error))],
            Ok(topics) => topics
                .iter()
                .flat_map(|topic| topic.partitions.iter().map(move |one| (&topic.name, one)))
                .map(|(name, (partition, committed))| match committed {
                    None => format!("{name}/{partition} none"),
                    Some(committed) => format!(
                        "{name}/{partition} {} epoch {:?} metadata {:?}",
                        committed.offset, committed.leader_epoch, committed.metadata
                    ),
                })
                .collect(),
        };
        for line in lines {
            self.show(&line);
        }
    }

    fn describe(&mut self, group_id: &str) {
        let lines = match self.coordinator.describe(group_id) {
            Err(error) => vec![error_name(Some(error))],
            Ok(group) => {
                let head = format!(
                    "{} [{}] [{}]",
                    group.state, group.protocol_type, group.protocol_name
                );
                let members = group.members.iter().map(|member| {
                    format!(
                        "  {} instance {:?} metadata {} bytes assignment {:?}",
                        member.member_id,
                        member.group_instance_id,
                        member.metadata.len(),
                        String::from_utf8_lossy(&member.assignment)
                    )
                });
                std::iter::once(head).chain(members).collect()
            }
        };
        for line in lines {
            self.show(&line);
        }
    }

    fn list(&mut self, command: &Command) {
        let filter = |key: &str| -> Vec<String> {
            command
                .value(key)
                .map(|list| list.split(',').map(str::to_owned).collect())
                .unwrap_or_default()
        };
        let (error, groups) = self.coordinator.list(&filter("states"), &filter("types"));
        self.show(&error_name(error));
        for group in groups {
            let line = format!(
                "  {} [{}] {} {}",
                group.group_id, group.protocol_type, group.state, group.group_type
            );
            self.show(&line);
        }
    }
}

fn partitions(words: &[String]) -> Vec<(String, Vec<i32>)> {
    let one = |word: &String| {
        let (topic, partition) = word.split_once('/').unwrap();
        (topic.to_owned(), vec![partition.parse().unwrap()])
    };
    words.iter().map(one).collect()
}

/// Runs one script and returns it with the outputs that came.
fn run_script(script: &str) -> (String, usize) {
    let mut result = String::new();
    let mut world: Option<World> = None;
    let mut scenarios = 0;
    let mut lines = script.lines().peekable();
    while let Some(line) = lines.next() {
        writeln!(result, "{line}").unwrap();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(scenario) = line.strip_prefix("scenario ") {
            println!("{scenario}");
            scenarios += 1;
            world = Some(World::new(&Command::parse(scenario)));
            continue;
        }
        let shown = world.as_mut().expect("a scenario first").run(line);
        if lines.peek() == Some(&"----") {
            while lines.peek().is_some_and(|line| !line.is_empty()) {
                lines.next();
            }
        }
        write!(result, "----\n{shown}").unwrap();
        if lines.peek().is_some_and(|line| !line.is_empty()) {
            result.push('\n');
        }
    }
    (result, scenarios)
}

#[test]
fn every_script_does_what_it_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/group");
    let mut paths: Vec<_> = std::fs::read_dir(&folder)
        .expect("the folder of scripts")
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    paths.sort();
    let mut scenarios = 0;
    for path in paths {
        println!("{}", path.display());
        let script = std::fs::read_to_string(&path).unwrap();
        let (result, count) = run_script(&script);
        scenarios += count;
        if std::env::var_os("UPDATE_SCRIPTS").is_some() {
            std::fs::write(&path, &result).unwrap();
        } else {
            assert_eq!(result, script, "{}", path.display());
        }
    }
    assert!(scenarios >= 40, "only {scenarios} scenarios were found");
}
