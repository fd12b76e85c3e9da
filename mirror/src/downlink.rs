//! The downlink: topics of the centre brought into local topics, each record once.
//!
//! What it is        a consumer as a state machine: it finds the topics, fetches what is committed,
//!                   and has it appended. The cursor is the origin header of the last record in the
//!                   local log, so that record and cursor are durable together or not at all; what
//!                   is written down beside it only says where to look.
//! What it is not    the way up (`mirror`). It has connections of its own: a broker answers the
//!                   requests of one connection in their order, and a fetch waits for records.
//! Invariants        1. a partition has one fetch and one append under way. 2. what is appended
//!                   comes from offsets that rise. 3. nothing that came from this gateway is
//!                   brought back. 4. what is kept is bounded: one fetch for each broker, and
//!                   [`crate::limits::DOWNLINK_APPENDS_MAX`] batches.
//! Source            `docs/decisions/2026-11-30-downlink.md`; KIP-74, KIP-98, KIP-516.
//! Reading order     `options`, `inlet`, `records`, then the inputs here, `drive`, `answers`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use kafka_lite::error_code::ErrorCode;

use crate::link::metadata::Selection;
use crate::link::{Link, Purpose, Question};
use crate::output::{ConnectionId, Output, SourceKey};
use crate::progress::{Cursor, Identity};
use crate::random::Random;
use crate::time::Now;

mod answers;
mod drive;
mod fetching;
mod inlet;
mod options;
mod records;
mod status;

use inlet::Inlet;
pub use options::{DownlinkOptions, DownlinkTopics, Start, TopicPatterns, matches};
pub use status::{DownlinkCounters, DownlinkStatus, InletStatus};

/// A local partition that records are brought into.
#[derive(Clone, Debug, Default)]
pub struct InletStart {
    /// Name of its topic.
    pub topic: String,
    /// First offset still there.
    pub log_start_offset: i64,
    /// Committed end, exclusive.
    pub high_watermark: i64,
    /// Leader epoch under which this node leads.
    pub leader_epoch: i32,
    /// What was written down.
    pub cursor: Option<Cursor>,
}

/// Records of the local log that were asked for.
#[derive(Clone, Debug, Default)]
pub struct LocalRead {
    /// Whole batches, the first of which holds the offset that was asked for; empty at the end.
    pub pieces: Vec<Bytes>,
    /// Committed end, exclusive.
    pub high_watermark: i64,
}

/// What is to be done outside.
#[derive(Debug)]
pub enum DownlinkOutput {
    /// [`Output::Connect`], [`Output::Send`] or [`Output::Close`].
    Link(Output),
    /// Make sure that a local topic has at least so many partitions; then `handle_created`.
    CreateTopic {
        /// Its name.
        topic: String,
        /// Partitions of the topic at the centre.
        partitions: i32,
    },
    /// Read committed batches of a local partition, as far as there are any; then `handle_read`.
    Read {
        /// Which one.
        lane: SourceKey,
        /// First offset wanted.
        first_offset: i64,
    },
    /// Append a batch to a local partition; then `handle_appended`, when it is durable.
    Append {
        /// Which one.
        lane: SourceKey,
        /// The batch.
        batch: Bytes,
    },
    /// Append a batch to the dead-letter topic of a local topic; then `handle_dead_letter`.
    DeadLetter {
        /// Which partition refused it.
        lane: SourceKey,
        /// Its topic.
        topic: String,
        /// One batch with the refused record.
        batch: Bytes,
    },
    /// Make a state record durable; then `handle_written`.
    Write {
        /// Which partition.
        lane: SourceKey,
        /// Key of the record.
        key: Vec<u8>,
        /// Its value.
        value: Vec<u8>,
    },
}

/// The state machine; see the module.
#[derive(Debug)]
pub struct Downlink {
    options: DownlinkOptions,
    random: Random,
    link: Link,
    inlets: BTreeMap<SourceKey, Inlet>,
    due: BTreeSet<SourceKey>,
    /// Connections with a fetch that is not answered.
    fetching: BTreeSet<ConnectionId>,
    /// Partitions that every local topic is known to have.
    created: BTreeMap<String, i32>,
    /// Topics that are being created, and when one that failed is tried again.
    creating: BTreeMap<String, Option<Duration>>,
    appends: usize,
    /// Partitions that wait for their turn to append.
    crowded: BTreeSet<SourceKey>,
    outputs: VecDeque<DownlinkOutput>,
    counters: DownlinkCounters,
    is_paused: bool,
    gate: Option<Duration>,
    /// Counts fetches: each begins with another partition.
    turns: usize,
    last_fault: Option<String>,
    last_timeout: Duration,
}

impl Downlink {
    /// A downlink without local partitions. `seed` is for jitter.
    #[must_use]
    pub fn new(options: DownlinkOptions, seed: u64) -> Self {
        let selection = Selection {
            patterns: options.topics.patterns().clone(),
            age: options.metadata_age,
        };
        Self {
            random: Random::new(seed),
            link: Link::for_downlink(
                options.bootstrap.clone(),
                options.login.clone(),
                selection,
                options.fetch_wait,
            ),
            options,
            inlets: BTreeMap::new(),
            due: BTreeSet::new(),
            fetching: BTreeSet::new(),
            created: BTreeMap::new(),
            creating: BTreeMap::new(),
            appends: 0,
            crowded: BTreeSet::new(),
            outputs: VecDeque::new(),
            counters: DownlinkCounters::default(),
            is_paused: false,
            gate: None,
            turns: 0,
            last_fault: None,
            last_timeout: Duration::ZERO,
        }
    }

    /// Whether there is room for another local partition.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.inlets.len() < self.options.lanes_max
    }

    /// The topic of the centre that is brought into a local topic, if one is.
    #[must_use]
    pub fn centre_of<'a>(&self, local: &'a str) -> Option<&'a str> {
        self.options.topics.centre_of(local)
    }

    /// A local partition is led by this node. To be given only while [`Downlink::has_room`], and
    /// for a topic that [`Downlink::centre_of`] knows.
    pub fn handle_partition(&mut self, now: &Now, key: SourceKey, start: InletStart) {
        let Some(topic) = self.options.topics.centre_of(&start.topic) else {
            return;
        };
        let topic = topic.to_owned();
        self.link.metadata.want(&topic, 0);
        self.inlets.insert(key, Inlet::new(key, &topic, start));
        self.due.insert(key);
        self.drive(now);
    }

    /// A local partition is gone, or led elsewhere.
    pub fn handle_partition_removed(&mut self, now: &Now, key: SourceKey) {
        let Some(inlet) = self.inlets.remove(&key) else {
            return;
        };
        self.appends = self
            .appends
            .saturating_sub(usize::from(inlet.appending.is_some()));
        self.crowded.remove(&key);
        self.created.remove(&inlet.local);
        if self.inlets.values().all(|other| other.topic != inlet.topic) {
            self.link.metadata.unwant(&inlet.topic);
        }
        self.drive(now);
    }

    /// A local topic has at least the partitions that were asked for, or why not.
    pub fn handle_created(&mut self, now: &Now, topic: &str, result: Result<i32, ErrorCode>) {
        match result {
            Ok(partitions) => {
                self.creating.remove(topic);
                self.created.insert(topic.to_owned(), partitions);
            }
            Err(code) => {
                self.last_fault = Some(format!("creating topic {topic} here: {}", code.name()));
                let again = now.monotonic + crate::limits::RETRY_PAUSE.1;
                self.creating.insert(topic.to_owned(), Some(again));
            }
        }
        self.drive(now);
    }

    /// A connection is open.
    pub fn handle_connected(&mut self, now: &Now, connection: ConnectionId) {
        self.link.handle_connected(now, connection);
        self.drive(now);
    }

    /// A connection could not be opened, or is gone.
    pub fn handle_closed(&mut self, now: &Now, connection: ConnectionId, reason: &str) {
        let lost = self
            .link
            .handle_closed(now, &mut self.random, connection, reason);
        self.handle_lost(connection, lost);
        self.drive(now);
    }

    /// A frame came, without its length prefix.
    pub fn handle_frame(&mut self, now: &Now, connection: ConnectionId, frame: Vec<u8>) {
        let answer = self
            .link
            .handle_frame(now, &mut self.random, connection, frame);
        let handled = match answer {
            Ok(Some(answer)) => self.handle_answer(now, connection, &answer),
            Ok(None) => Ok(()),
            Err(reason) => Err(reason),
        };
        if let Err(reason) = handled {
            self.close(now, connection, &reason);
        }
        self.due.extend(self.inlets.keys().copied());
        self.drive(now);
    }

    /// What was asked for of the local log, or why it is not there.
    pub fn handle_read(&mut self, now: &Now, key: SourceKey, result: Result<LocalRead, String>) {
        self.with_inlet(key, |downlink, inlet| {
            inlet.is_asking = false;
            downlink.take_read(now, inlet, result);
        });
        self.drive(now);
    }

    /// An append ended: the local end behind the batch, or why it was refused.
    pub fn handle_appended(&mut self, now: &Now, key: SourceKey, result: Result<i64, ErrorCode>) {
        self.with_inlet(key, |downlink, inlet| {
            downlink.take_appended(now, inlet, result);
        });
        self.drive(now);
    }

    /// A record is in the dead-letter topic, or could not be put there.
    pub fn handle_dead_letter(&mut self, now: &Now, key: SourceKey, is_durable: bool) {
        self.with_inlet(key, |downlink, inlet| {
            downlink.take_dead_letter(now, inlet, is_durable);
        });
        self.drive(now);
    }

    /// A write ended.
    pub fn handle_written(&mut self, now: &Now, key: SourceKey, is_durable: bool) {
        self.with_inlet(key, |_, inlet| inlet.handle_written(now, is_durable));
        self.drive(now);
    }

    /// The operator stops the mirror or lets it go on.
    pub fn handle_paused(&mut self, now: &Now, is_paused: bool) {
        if self.is_paused == is_paused {
            return;
        }
        self.is_paused = is_paused;
        if is_paused {
            for id in self.link.ids() {
                self.close(now, id, "paused");
            }
        }
        self.due.extend(self.inlets.keys().copied());
        self.drive(now);
    }

    /// The link may be used, or not before this monotonic time.
    pub fn set_gate(&mut self, gate: Option<Duration>) {
        self.gate = gate;
    }

    /// Time has come for something.
    pub fn handle_timeout(&mut self, now: &Now) {
        for id in self.link.overdue(now) {
            self.close(now, id, "no answer in time");
        }
        self.last_timeout = now.monotonic;
        self.due.extend(self.inlets.keys().copied());
        self.drive(now);
    }

    /// What is to be done outside; ask until there is nothing.
    pub fn poll_output(&mut self) -> Option<DownlinkOutput> {
        let of_link = self.link.outputs.pop_front();
        of_link
            .map(DownlinkOutput::Link)
            .or_else(|| self.outputs.pop_front())
    }

    /// When [`Downlink::handle_timeout`] is due, in monotonic time.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        let after = self.last_timeout;
        let inlets = self.inlets.values();
        let inlets = inlets.filter_map(|one| one.poll_timeout(after)).min();
        if self.is_paused {
            return inlets;
        }
        let link = self.link.poll_timeout(self.gate.is_none(), after);
        let creating = self.creating.values().flatten().copied().min();
        let all = [inlets, link, self.gate, creating].into_iter().flatten();
        all.filter(|at| *at > after).min()
    }

    /// First offset of a local partition that may not be removed; `None` if nothing is brought into
    /// it.
    #[must_use]
    pub fn hold_from(&self, key: SourceKey) -> Option<i64> {
        self.inlets.get(&key).map(Inlet::hold_from)
    }

    /// Bytes of records that are kept until they are appended.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        self.inlets.values().map(Inlet::kept_bytes).sum()
    }

    /// Bytes sent and received on connections, without TLS's own.
    #[must_use]
    pub fn link_bytes(&self) -> (u64, u64) {
        (self.link.sent_bytes, self.link.received_bytes)
    }

    fn with_inlet(&mut self, key: SourceKey, then: impl FnOnce(&mut Self, &mut Inlet)) {
        if let Some(mut inlet) = self.inlets.remove(&key) {
            then(self, &mut inlet);
            self.inlets.insert(key, inlet);
            self.due.insert(key);
        }
    }

    fn close(&mut self, now: &Now, id: ConnectionId, reason: &str) {
        let lost = self.link.close(now, &mut self.random, id, reason);
        self.handle_lost(id, lost);
    }

    /// Requests that will not be answered.
    fn handle_lost(&mut self, connection: ConnectionId, lost: Vec<Purpose>) {
        self.fetching.remove(&connection);
        for purpose in lost {
            let Purpose::Downlink(question) = purpose else {
                continue;
            };
            let keys = match question {
                Question::Offset(key) => vec![key],
                Question::Records(keys) => keys,
            };
            for key in keys {
                if let Some(inlet) = self.inlets.get_mut(&key) {
                    inlet.is_asking = false;
                }
            }
        }
        self.due.extend(self.inlets.keys().copied());
    }

    /// The topic of the centre that an inlet reads, as it is now.
    fn identity(&self, inlet: &Inlet) -> Option<Identity> {
        let info = self.link.metadata.topic(&inlet.topic)?;
        let place = usize::try_from(inlet.key.partition).ok()?;
        info.leaders.get(place)?;
        Some(Identity {
            cluster_id: self.link.metadata.cluster_id().to_owned(),
            topic_id: info.topic_id,
        })
    }
}
