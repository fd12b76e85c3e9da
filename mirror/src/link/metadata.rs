//! What is known of the centre's brokers and topics.
//!
//! Invariants        1. topics are asked for by name, only those that lanes want. 2. a topic is
//!                   created only when the centre has said that it does not exist. 3. with a
//!                   [`Selection`] topics are looked for again and again, and none is created.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kafka_lite::api::create_topics::{CreatableTopic, CreateTopicsRequest, CreateTopicsResponse};
use kafka_lite::api::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};
use kafka_lite::error_code::ErrorCode;
use kafka_lite::primitive::Uuid;

use crate::backoff::Backoff;
use crate::downlink::TopicPatterns;
use crate::limits::METADATA_PAUSE;
use crate::output::Address;
use crate::random::Random;
use crate::time::Now;

/// Time that the centre gets to create topics, ms.
const CREATE_TIMEOUT_MS: i32 = 30_000;

/// A topic of the centre.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TopicInfo {
    pub(crate) topic_id: Uuid,
    /// Leader of each partition, in their order.
    pub(crate) leaders: Vec<Option<i32>>,
}

/// Topics that are looked for, whether they exist or not.
#[derive(Clone, Debug)]
pub(crate) struct Selection {
    pub(crate) patterns: TopicPatterns,
    /// Time after which they are looked for again.
    pub(crate) age: Duration,
}

/// What is known, and what is to be asked.
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts about one table"
)]
#[derive(Debug)]
pub(crate) struct Metadata {
    creates_topics: bool,
    selection: Option<Selection>,
    /// When the selection is looked for again.
    refresh_at: Option<Duration>,
    /// Topics that lanes want, and how many partitions one that is missing gets.
    wanted: BTreeMap<String, i32>,
    missing: BTreeSet<String>,
    topics: BTreeMap<String, TopicInfo>,
    brokers: BTreeMap<i32, Address>,
    cluster_id: String,
    faults: BTreeMap<String, String>,
    /// Something is to be asked.
    is_stale: bool,
    /// The last answer came after the last reason to doubt it.
    is_current: bool,
    is_asked: bool,
    not_before: Duration,
    backoff: Backoff,
}

impl Metadata {
    pub(super) fn new(creates_topics: bool, selection: Option<Selection>) -> Self {
        Self {
            creates_topics,
            selection,
            refresh_at: None,
            wanted: BTreeMap::new(),
            missing: BTreeSet::new(),
            topics: BTreeMap::new(),
            brokers: BTreeMap::new(),
            cluster_id: String::new(),
            faults: BTreeMap::new(),
            is_stale: true,
            is_current: false,
            is_asked: false,
            not_before: Duration::ZERO,
            backoff: Backoff::default(),
        }
    }

    /// Wants a topic; `partitions` counts if it must be created.
    pub(crate) fn want(&mut self, topic: &str, partitions: i32) {
        let known = self.wanted.get(topic).copied();
        if known.is_some_and(|count| count >= partitions) {
            return;
        }
        self.wanted.insert(topic.to_owned(), partitions);
        self.is_stale |= known.is_none();
    }

    /// What is known does not fit what a broker says.
    pub(crate) fn mark_stale(&mut self) {
        self.is_stale = true;
        self.is_current = false;
    }

    /// As [`Metadata::mark_stale`], behind a pause: the last answer said the same.
    pub(crate) fn mark_stale_later(&mut self, now: &Now, random: &mut Random) {
        if !self.is_stale {
            self.handle_failed(now, random);
            self.is_asked = false;
        }
    }

    pub(super) fn handle_asked(&mut self) {
        self.is_asked = true;
    }

    pub(super) fn handle_lost_connection(&mut self, now: &Now) {
        self.is_asked = false;
        self.is_stale = true;
        self.is_current = false;
        self.not_before = self.not_before.max(now.monotonic);
    }

    pub(super) fn handle_failed(&mut self, now: &Now, random: &mut Random) {
        self.is_asked = false;
        self.is_stale = true;
        let (first, longest) = METADATA_PAUSE;
        self.not_before = now.monotonic + self.backoff.fail(random, first, longest);
    }

    pub(super) fn handle_metadata(
        &mut self,
        now: &Now,
        random: &mut Random,
        response: &MetadataResponse<'_>,
    ) {
        self.is_asked = false;
        self.is_current = true;
        self.brokers = response
            .brokers
            .iter()
            .filter_map(|broker| {
                let port = u16::try_from(broker.port).ok()?;
                let host = broker.host.to_string();
                Some((broker.node_id, Address { host, port }))
            })
            .collect();
        self.cluster_id = response
            .cluster_id
            .as_deref()
            .unwrap_or_default()
            .to_owned();
        let mut is_complete = self.forget_unlisted(response);
        for topic in &response.topics {
            let Some(name) = topic.name.as_deref() else {
                continue;
            };
            if self.is_wanted(name, topic.is_internal) {
                is_complete &= self.take_topic(name, topic);
            }
        }
        let refresh = |selection: &Selection| now.monotonic + selection.age;
        self.refresh_at = self.selection.as_ref().map(refresh);
        if is_complete {
            self.is_stale = false;
            self.backoff.reset();
            self.not_before = now.monotonic;
        } else {
            self.handle_failed(now, random);
            if !self.missing.is_empty() && self.creates_topics {
                self.not_before = now.monotonic;
            }
        }
    }

    /// A list of all topics says by its silence which are gone; returns whether all that lanes want
    /// are there.
    fn forget_unlisted(&mut self, response: &MetadataResponse<'_>) -> bool {
        if !self.asks_for_all() {
            return true;
        }
        let listed = response.topics.iter();
        let listed: BTreeSet<&str> = listed.filter_map(|one| one.name.as_deref()).collect();
        self.topics.retain(|name, _| listed.contains(name.as_str()));
        for name in self.wanted.keys() {
            if !listed.contains(name.as_str()) {
                self.faults.insert(name.clone(), missing_fault(name));
            }
        }
        let mut wanted = self.wanted.keys();
        wanted.all(|name| listed.contains(name.as_str()))
    }

    fn is_wanted(&self, name: &str, is_internal: bool) -> bool {
        match &self.selection {
            None => true,
            Some(selection) => !is_internal && selection.patterns.matches(name),
        }
    }

    /// Whether only a list of all topics tells which are selected.
    fn asks_for_all(&self) -> bool {
        let selection = self.selection.as_ref();
        selection.is_some_and(|selection| selection.patterns.has_wildcard())
    }

    /// Takes one topic; returns whether all of it is known.
    fn take_topic(
        &mut self,
        name: &str,
        topic: &kafka_lite::api::metadata::MetadataResponseTopic<'_>,
    ) -> bool {
        self.faults.remove(name);
        if topic.error_code == ErrorCode::UnknownTopicOrPartition {
            self.topics.remove(name);
            self.missing.insert(name.to_owned());
            if !self.creates_topics {
                self.faults.insert(name.to_owned(), missing_fault(name));
            }
            // What is only looked for may come later.
            return self.selection.is_some() && !self.wanted.contains_key(name);
        }
        self.missing.remove(name);
        if !topic.error_code.is_none() {
            let fault = format!("topic {name}: {}", topic.error_code.name());
            self.faults.insert(name.to_owned(), fault);
            return false;
        }
        let mut leaders = vec![None; topic.partitions.len()];
        for partition in &topic.partitions {
            let place = usize::try_from(partition.partition_index).unwrap_or(usize::MAX);
            if let Some(slot) = leaders.get_mut(place) {
                *slot = partition.leader_id.filter(|leader| *leader >= 0);
            }
        }
        let is_complete = !leaders.is_empty() && leaders.iter().all(Option::is_some);
        let info = TopicInfo {
            topic_id: topic.topic_id,
            leaders,
        };
        self.topics.insert(name.to_owned(), info);
        is_complete
    }

    pub(super) fn handle_created(
        &mut self,
        now: &Now,
        random: &mut Random,
        response: &CreateTopicsResponse<'_>,
    ) {
        self.is_asked = false;
        self.is_stale = true;
        let mut has_failed = false;
        for topic in &response.topics {
            self.missing.remove(topic.name.as_ref());
            if topic.error_code.is_none() || topic.error_code == ErrorCode::TopicAlreadyExists {
                self.faults.remove(topic.name.as_ref());
                continue;
            }
            has_failed = true;
            let code = topic.error_code.name();
            let sentence = topic.error_message.as_deref().unwrap_or_default();
            let fault = format!("creating topic {}: {code} {sentence}", topic.name);
            self.faults.insert(topic.name.to_string(), fault);
        }
        if has_failed {
            self.handle_failed(now, random);
        } else {
            // It takes a moment until every broker of the centre knows it.
            self.not_before = now.monotonic + METADATA_PAUSE.0;
        }
    }

    /// Whether something is to be asked now.
    pub(super) fn is_due(&self, now: &Now) -> bool {
        self.poll_timeout().is_some_and(|at| at <= now.monotonic)
    }

    /// The request that creates what is missing.
    pub(super) fn next_creation(&self) -> Option<CreateTopicsRequest<'static>> {
        if self.missing.is_empty() || !self.creates_topics {
            return None;
        }
        let topics = self.missing.iter().map(|name| CreatableTopic {
            name: name.clone().into(),
            num_partitions: Some(self.wanted.get(name).copied().unwrap_or(1).max(1)),
            replication_factor: None,
            assignments: Vec::new(),
            configs: Vec::new(),
        });
        Some(CreateTopicsRequest {
            topics: topics.collect(),
            timeout_ms: CREATE_TIMEOUT_MS,
            validate_only: false,
        })
    }

    /// The question for all topics that are wanted or looked for.
    pub(super) fn next_question(&self) -> MetadataRequest<'static> {
        let selected = self.selection.iter();
        let selected = selected.flat_map(|selection| selection.patterns.iter());
        let names: BTreeSet<&str> = self
            .wanted
            .keys()
            .map(String::as_str)
            .chain(selected)
            .collect();
        let topics = names.into_iter().map(|name| MetadataRequestTopic {
            topic_id: Uuid::ZERO,
            name: Some(name.to_owned().into()),
        });
        MetadataRequest {
            topics: (!self.asks_for_all()).then(|| topics.collect()),
            allow_auto_topic_creation: false,
            include_cluster_authorized_operations: false,
            include_topic_authorized_operations: false,
        }
    }

    /// Every topic that is known.
    pub(crate) fn topics(&self) -> impl Iterator<Item = (&str, &TopicInfo)> {
        let topics = self.topics.iter();
        topics.map(|(name, info)| (name.as_str(), info))
    }

    /// No lane wants the topic any more.
    pub(crate) fn unwant(&mut self, topic: &str) {
        self.wanted.remove(topic);
    }

    /// A topic, if it is known.
    pub(crate) fn topic(&self, name: &str) -> Option<&TopicInfo> {
        self.topics.get(name)
    }

    /// Where the leader of a partition listens.
    pub(crate) fn leader(&self, topic: &str, partition: i32) -> Option<Address> {
        let place = usize::try_from(partition).ok()?;
        let leader = (*self.topics.get(topic)?.leaders.get(place)?)?;
        self.brokers.get(&leader).cloned()
    }

    /// What is wrong with a topic, if something is.
    pub(crate) fn fault(&self, topic: &str) -> Option<&str> {
        self.faults.get(topic).map(String::as_str)
    }

    /// The id of the centre's cluster.
    pub(crate) fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// Whether the last answer is good enough to place lanes by.
    pub(crate) fn is_current(&self) -> bool {
        self.is_current
    }

    pub(super) fn addresses(&self) -> impl Iterator<Item = Address> + use<> {
        self.brokers
            .values()
            .cloned()
            .collect::<Vec<_>>()
            .into_iter()
    }

    /// When something is to be asked.
    pub(super) fn poll_timeout(&self) -> Option<Duration> {
        let has_reason = self.selection.is_some() || !self.wanted.is_empty();
        if self.is_asked || !has_reason {
            return None;
        }
        match self.is_stale {
            true => Some(self.not_before),
            false => self.refresh_at,
        }
    }
}

fn missing_fault(topic: &str) -> String {
    format!("topic {topic} does not exist at the centre")
}
