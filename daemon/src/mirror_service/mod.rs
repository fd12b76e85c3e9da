//! The mirrors of one shard: from the configuration to running state machines.
//!
//! What it is        which partitions are forwarded, the sockets, the timers, the state topic, and
//!                   what others ask: status, pause, what retention must keep.
//! What it is not    a rule of the mirror: those are in the crate `mirror`.
//! Invariants        1. a partition that a mirror wants is held from its start until the mirror has
//!                   said how far it is. 2. without `[[mirror]]` nothing is created and nothing
//!                   runs.
//! Reading order     [`MirrorService::run`], then [`runner`], [`connection`], [`state`].

mod connection;
mod downlink;
pub(crate) mod metrics;
mod runner;
pub(crate) mod security;
pub(crate) mod state;
mod stream;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use kafka_lite::catalog::{MIRROR_TOPIC, is_internal};
use mirror::downlink::{DownlinkOptions, DownlinkStatus};
use mirror::{
    Cursor, Downlink, LaneKey, Marks, Mirror, MirrorStatus, Options, Progress, Site, SourceKey,
    SourceStart,
};
use mirror::{StateKey, Usage};
use storage::room::Unmirrored;
use tracing::{error, warn};

use self::connection::Host;
use self::downlink::DownlinkRunner;
use self::runner::Runner;
use self::security::Security;
use self::state::StateRecord;
use crate::config::downlink::topics_of;
use crate::config::mirror::MirrorConfig;
use crate::controller;
use crate::limits::MIRROR_STATE_RETRY;
use crate::partition::Partition;
use crate::shard::notify::Notify;
use crate::shard::{Shard, ShardId};

/// Value of a control record of a paused mirror, and of one that runs.
const PAUSED: u8 = 1;
const RUNNING: u8 = 0;

/// Mirror, topic of the centre and partition.
type CursorKey = (String, String, i32);

/// Parts of a mirror's lanes of which its downlink gets one.
const DOWNLINK_LANES_PARTS: usize = 4;

/// What there is to say of a mirror on one shard.
pub(crate) struct MirrorReport {
    /// What it says of itself.
    pub(crate) status: MirrorStatus,
    /// Bytes of batches that are kept until the centre acknowledges them.
    pub(crate) kept_bytes: u64,
    /// Bytes stored of records that the centre does not have.
    pub(crate) lag_bytes: u64,
}

/// The mirrors of a shard.
#[derive(Default)]
pub(crate) struct MirrorService {
    runners: RefCell<Vec<Rc<Runner>>>,
    downlinks: RefCell<Vec<Rc<DownlinkRunner>>>,
    cursors: RefCell<BTreeMap<CursorKey, Cursor>>,
    known: RefCell<BTreeMap<(String, LaneKey), Progress>>,
    /// When lanes to come were how far.
    marks: RefCell<BTreeMap<(String, LaneKey), Marks>>,
    /// Bytes of the month by mirror, as this shard had written them down.
    usages: RefCell<BTreeMap<String, Usage>>,
    catalog_changed: Notify,
}

impl MirrorService {
    /// Starts the mirrors, then follows the catalog, for ever.
    pub(crate) async fn run(shard: Rc<Shard>) {
        if shard.config().mirrors.is_empty() {
            return;
        }
        let service = Rc::clone(shard.state().mirrors());
        let records = load(&shard).await;
        let paused = service.take_records(shard.id(), &records);
        for config in &shard.config().mirrors {
            match service.build(&shard, config) {
                Ok(runner) => {
                    let is_paused = paused.contains(&config.name);
                    if is_paused {
                        runner.input(|mirror, now| mirror.handle_paused(now, true));
                    }
                    drop(monoio::spawn(Rc::clone(&runner).run_timers()));
                    service.start_downlink(&shard, &runner, is_paused);
                    service.runners.borrow_mut().push(runner);
                }
                Err(reason) => error!(mirror = %config.name, reason, "a mirror does not start"),
            }
        }
        metrics::register(&shard, &service);
        loop {
            service.add_sources(&shard);
            service.add_downlink_partitions(&shard);
            service.catalog_changed.wait().await;
        }
    }

    fn build(&self, shard: &Rc<Shard>, config: &MirrorConfig) -> Result<Rc<Runner>, String> {
        let identity = &shard.process().identity;
        let bytes = identity.incarnation.as_bytes();
        let incarnation = *bytes.first_chunk::<8>().ok_or("no incarnation")?;
        // Every shard has its part of what the link may carry.
        let shards = u64::from(shard.shard_count()).max(1);
        let part = |bytes: u64| bytes.div_euclid(shards).max(1);
        let Security { login, tls } = Security::load(config)?;
        let kept_bytes = per_mirror(shard, shard.budgets().plan.mirror_kept_bytes());
        let lanes = per_mirror(shard, shard.budgets().plan.mirror_lanes_max());
        let options = Options {
            login,
            target: config.target.clone(),
            mapping: config.mapping,
            create_topics: config.create_topics,
            compression: config.compression,
            batch_bytes: config.batch_bytes,
            linger: config.linger,
            rate_bytes_per_second: config.rate_bytes_per_second.map(part),
            month_bytes_max: config.month_bytes_max.map(part),
            keep: config.keep_after_mirrored,
            shard: shard.id(),
            windows: config.windows.clone(),
            kept_bytes_max: kept_bytes - downlink_kept_bytes(shard, config),
            lanes_max: lanes - downlink_lanes(shard, config),
            ..Options::new(
                &config.name,
                Site::new(&config.site_name(), incarnation)?,
                config.bootstrap.clone(),
            )
        };
        let seed = shard.wall_clock_ms().unsigned_abs() ^ u64::from(shard.id());
        let usage = self.usages.borrow().get(&config.name).copied();
        let usage = usage.unwrap_or_default();
        let mirror = Mirror::new(&runner::now(shard), options, usage, seed);
        Ok(Runner::new(shard, config.clone(), mirror, tls))
    }

    /// Starts the downlink of a mirror that has one.
    fn start_downlink(&self, shard: &Rc<Shard>, uplink: &Rc<Runner>, is_paused: bool) {
        let config = uplink.config();
        let Some(topics) = topics_of(config) else {
            return;
        };
        let bytes = downlink_kept_bytes(shard, config);
        let options = Site::new(&config.site_name(), [0; 8]).and_then(|site| {
            Ok(DownlinkOptions {
                login: Security::load(config)?.login,
                start: config.downlink.start,
                metadata_age: config.downlink.metadata_age,
                fetch_wait: config.downlink.fetch_wait,
                batch_bytes: bytes.div_euclid(mirror::limits::DOWNLINK_APPENDS_MAX),
                lanes_max: downlink_lanes(shard, config),
                ..DownlinkOptions::new(&config.name, site, config.bootstrap.clone(), topics)
            })
        });
        let options = match options {
            Ok(options) => options,
            Err(reason) => {
                return error!(mirror = %config.name, reason, "a downlink does not start");
            }
        };
        let seed = shard.wall_clock_ms().unsigned_abs() ^ u64::from(shard.id());
        let runner = DownlinkRunner::new(uplink, Downlink::new(options, seed));
        runner.input(|downlink, now| {
            downlink.handle_paused(now, is_paused);
            downlink.handle_timeout(now);
        });
        drop(monoio::spawn(Rc::clone(&runner).run_timers()));
        self.downlinks.borrow_mut().push(runner);
    }

    /// Gives every downlink the partitions of this shard that it brings records into.
    fn add_downlink_partitions(&self, shard: &Rc<Shard>) {
        let downlinks = self.downlinks.borrow().clone();
        for downlink in &downlinks {
            downlink.remove_deleted();
            for partition in shard.state().partitions().all() {
                if !partition.is_ready() || is_internal(partition.topic()) {
                    continue;
                }
                let Some(topic) = downlink.centre_of(partition.topic()) else {
                    continue;
                };
                if downlink.wants(source_key(&partition)) {
                    let key = (downlink.config().name.clone(), topic, partition.index());
                    let cursor = self.cursors.borrow().get(&key).cloned();
                    downlink.add_partition(&partition, cursor);
                }
            }
        }
    }

    /// A cursor was written down.
    fn note_cursor(&self, key: CursorKey, cursor: Cursor) {
        self.cursors.borrow_mut().insert(key, cursor);
    }

    /// Keeps progress for the lanes to come; returns the mirrors that are paused.
    fn take_records(&self, shard: ShardId, records: &[StateRecord]) -> Vec<String> {
        let mut paused = Vec::new();
        for (key, value) in records {
            match StateKey::decode(key) {
                Ok(StateKey::Lane(mirror, lane)) => match Progress::decode(value) {
                    Ok(progress) => {
                        self.known.borrow_mut().insert((mirror, lane), progress);
                    }
                    Err(error) => warn!(mirror, %error, "the progress of a lane cannot be read"),
                },
                Ok(StateKey::Marks(mirror, lane)) => match Marks::decode(value) {
                    Ok(marks) => drop(self.marks.borrow_mut().insert((mirror, lane), marks)),
                    Err(error) => {
                        warn!(mirror, %error, "when records were mirrored cannot be read")
                    }
                },
                Ok(StateKey::Control(mirror)) if value.as_slice() == [PAUSED] => {
                    paused.push(mirror);
                }
                Ok(StateKey::Usage(mirror, of)) if of == shard => match Usage::decode(value) {
                    Ok(usage) => {
                        self.usages.borrow_mut().insert(mirror, usage);
                    }
                    Err(error) => warn!(mirror, %error, "the bytes of the month cannot be read"),
                },
                Ok(StateKey::Downlink(mirror, topic, partition)) => match Cursor::decode(value) {
                    Ok(cursor) => self.note_cursor((mirror, topic, partition), cursor),
                    Err(error) => warn!(mirror, %error, "a cursor of a downlink cannot be read"),
                },
                Ok(StateKey::Control(_) | StateKey::Usage(..)) => {}
                Err(error) => warn!(%error, "a state record of a mirror cannot be read"),
            }
        }
        paused
    }

    /// Gives every mirror the partitions of this shard that it wants and does not have.
    fn add_sources(&self, shard: &Rc<Shard>) {
        let runners = self.runners.borrow().clone();
        for partition in shard.state().partitions().all() {
            if !partition.is_ready() || is_internal(partition.topic()) {
                continue;
            }
            let key = source_key(&partition);
            for runner in &runners {
                let priority = runner.config().priority_of(partition.topic());
                if let Some(priority) = priority
                    && !runner.has_source(key)
                    && runner.has_room()
                    && let Some(start) = self.start_of(shard, runner, &partition, priority)
                {
                    runner.add_source(key, &partition, start);
                }
            }
        }
    }

    fn start_of(
        &self,
        shard: &Shard,
        runner: &Runner,
        partition: &Partition,
        priority: u8,
    ) -> Option<SourceStart> {
        let catalog = shard.catalog();
        let topic = catalog.topic(partition.topic())?;
        let source = source_key(partition);
        let name = &runner.config().name;
        let known = self.known.borrow();
        let of_lane = known
            .iter()
            .filter(|((mirror, lane), _)| mirror == name && lane.source == source);
        Some(SourceStart {
            topic: partition.topic().to_string(),
            partitions: i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX),
            log_start_offset: partition.log().log_start_offset(),
            high_watermark: partition.high_watermark(),
            leader_epoch: partition.leader_epoch(),
            priority,
            progress: of_lane
                .map(|((_, lane), progress)| (lane.lane, progress.clone()))
                .collect(),
            marks: self.take_marks(name, source),
        })
    }

    fn take_marks(&self, name: &str, source: SourceKey) -> BTreeMap<i32, Marks> {
        let mut taken = BTreeMap::new();
        self.marks.borrow_mut().retain(|(mirror, lane), marks| {
            let is_wanted = mirror == name && lane.source == source;
            if is_wanted {
                taken.insert(lane.lane, std::mem::take(marks));
            }
            !is_wanted
        });
        taken
    }

    /// The catalog has changed: there may be new partitions.
    pub(crate) fn handle_catalog(&self) {
        self.catalog_changed.notify();
    }

    /// First offset of a partition that must stay for a mirror.
    pub(crate) fn hold_from(&self, shard: &Shard, partition: &Partition) -> Option<i64> {
        self.first_held(shard, partition, Runner::hold_from)
    }

    /// First offset of a partition that retention must leave for a mirror: what was mirrored stays
    /// for a while.
    pub(crate) fn keep_from(&self, shard: &Shard, partition: &Partition) -> Option<i64> {
        self.first_held(shard, partition, Runner::keep_from)
    }

    fn first_held(
        &self,
        shard: &Shard,
        partition: &Partition,
        of_runner: impl Fn(&Runner, SourceKey) -> Option<i64>,
    ) -> Option<i64> {
        let wants = |config: &&MirrorConfig| config.priority_of(partition.topic()).is_some();
        let configs = shard.config().mirrors.iter().filter(wants);
        if is_internal(partition.topic()) {
            return None;
        }
        let runners = self.runners.borrow();
        let held = configs.map(|config| {
            let runner = runners
                .iter()
                .find(|runner| runner.config().name == config.name);
            runner
                .and_then(|runner| of_runner(runner, source_key(partition)))
                .unwrap_or_else(|| partition.log().log_start_offset())
        });
        let brought = self.hold_for_downlink(shard, partition);
        held.chain(brought).min()
    }

    /// First offset that a downlink may have to look at after a crash.
    fn hold_for_downlink(&self, shard: &Shard, partition: &Partition) -> Option<i64> {
        let configs = shard.config().mirrors.iter();
        let mut brought = configs.flat_map(|config| &config.brought);
        brought.find(|topics| topics.centre_of(partition.topic()).is_some())?;
        let key = source_key(partition);
        let downlinks = self.downlinks.borrow();
        let held = downlinks.iter().filter_map(|one| one.hold_from(key)).min();
        Some(held.unwrap_or_else(|| partition.log().log_start_offset()))
    }

    /// What becomes of unmirrored records of a partition when nothing else is left to make room.
    pub(crate) fn unmirrored(shard: &Shard, partition: &Partition) -> Unmirrored {
        let configs = shard.config().mirrors.iter();
        let mut brought = configs.clone().flat_map(|config| &config.brought);
        if brought.any(|topics| topics.centre_of(partition.topic()).is_some()) {
            // The last records that came are the downlink's cursor.
            return Unmirrored::Stays;
        }
        let wanted = configs.filter_map(|config| {
            let priority = config.priority_of(partition.topic())?;
            Some(config.drops_oldest.then_some(priority))
        });
        // One that keeps them decides for all, and so does the one to which they matter most.
        let all: Option<Vec<u8>> = wanted.collect();
        match all.map(|all| all.into_iter().min().unwrap_or(u8::MAX)) {
            Some(priority) => Unmirrored::Goes { priority },
            None => Unmirrored::Stays,
        }
    }

    /// What there is to say of every mirror of this shard.
    pub(crate) fn reports(&self) -> Vec<MirrorReport> {
        let runners = self.runners.borrow();
        runners.iter().map(|runner| runner.report()).collect()
    }

    /// What every downlink of this shard says of itself.
    pub(crate) fn downlink_status(&self) -> Vec<DownlinkStatus> {
        let downlinks = self.downlinks.borrow();
        downlinks.iter().map(|one| one.status()).collect()
    }

    /// Stops a mirror on this shard or lets it go on; returns whether there is one of this name.
    pub(crate) fn set_paused(&self, name: &str, is_paused: bool) -> bool {
        let runners = self.runners.borrow().clone();
        let runner = runners.iter().find(|runner| runner.config().name == name);
        if let Some(runner) = runner {
            runner.input(|mirror, now| mirror.handle_paused(now, is_paused));
        }
        let downlinks = self.downlinks.borrow().clone();
        for downlink in downlinks.iter().filter(|one| one.config().name == name) {
            downlink.input(|downlink, now| downlink.handle_paused(now, is_paused));
        }
        runner.is_some()
    }
}

/// The part of one mirror of what all mirrors of a shard have.
fn per_mirror(shard: &Shard, of_all: u64) -> usize {
    let mirrors = u64::try_from(shard.config().mirrors.len()).unwrap_or(u64::MAX);
    usize::try_from(of_all.div_euclid(mirrors.max(1))).unwrap_or(usize::MAX)
}

/// Bytes of a mirror's part that its downlink has for what is being appended.
fn downlink_kept_bytes(shard: &Shard, config: &MirrorConfig) -> usize {
    if config.downlink.topics.is_empty() {
        return 0;
    }
    let kept = per_mirror(shard, shard.budgets().plan.mirror_kept_bytes());
    let batches = mirror::limits::BATCH_BYTES_DEFAULT * mirror::limits::DOWNLINK_APPENDS_MAX;
    batches.min(kept.div_euclid(3))
}

/// Lanes of a mirror's part that its downlink has.
fn downlink_lanes(shard: &Shard, config: &MirrorConfig) -> usize {
    if config.downlink.topics.is_empty() {
        return 0;
    }
    let lanes = per_mirror(shard, shard.budgets().plan.mirror_lanes_max());
    lanes.div_euclid(DOWNLINK_LANES_PARTS)
}

/// Writes down whether a mirror is paused; returns whether that is durable.
pub(crate) async fn write_paused(shard: &Rc<Shard>, name: &str, is_paused: bool) -> bool {
    let key = StateKey::Control(name.to_owned()).encode();
    let value = vec![if is_paused { PAUSED } else { RUNNING }];
    runner::write_state(shard, key, value).await
}

/// All state records, once the topic is there and loaded.
async fn load(shard: &Rc<Shard>) -> Vec<StateRecord> {
    loop {
        if let Err(code) = controller::ensure_internal_topic(shard, MIRROR_TOPIC).await {
            warn!(
                error = code.name(),
                "the topic for the progress of mirrors is not there"
            );
            monoio::time::sleep(MIRROR_STATE_RETRY).await;
            continue;
        }
        let catalog = shard.catalog();
        let owner = catalog
            .topic(MIRROR_TOPIC)
            .and_then(|topic| controller::place(shard, topic, 0));
        let Some(owner) = owner else {
            monoio::time::sleep(MIRROR_STATE_RETRY).await;
            continue;
        };
        return shard
            .call_with(owner, |there, answer| {
                let there = Rc::clone(there);
                drop(monoio::spawn(async move {
                    let records = there.state().mirror_state().snapshot().await;
                    answer.send(&there, records);
                }));
            })
            .await;
    }
}

fn source_key(partition: &Partition) -> SourceKey {
    SourceKey {
        topic_id: partition.topic_id(),
        partition: partition.index(),
    }
}
