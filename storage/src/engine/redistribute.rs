//! The number of shards changes between two starts: logs move to the shards that own them now.
//!
//! What it is        run before any shard opens. A log belongs to shard `home % shards`, where home
//!                   is
//!                   the shard that created it.
//! What it is not    a copy of data: segments stay where they are, only checkpoints are written
//!                   anew.
//! Invariants        1. until the manifest is there, nothing but the old layout is on the disk;
//!                   from
//!                   then on the manifest is the truth and is carried out again after a crash.
//!                   2. new checkpoints begin above every commit number of the old rings, so that
//!                   no
//!                   old commit is ever replayed.
//! Source            decision 2026-11-23 "Shard count may change between starts";
//!                   docs/formats/checkpoint.md.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use serde::{Deserialize, Serialize};

use crate::checkpoint::{Checkpoint, CheckpointError, checkpoint_path, read_framed, write_framed};
use crate::disk::{Clock, Disk};
use crate::engine::{Engine, Worker};
use crate::errors::{AppendError, OpenError};
use crate::events::LogEvents;
use crate::journal::ring_path;
use crate::journal::scan::ring_index;
use crate::log_key::LOGS_DIRECTORY;
use crate::options::Options;
use crate::segment::{FileKind, parse_file_name};

/// Where the journals of all shards are.
const JOURNALS: &str = "journal";
/// How many shards the directory is laid out for.
const LAYOUT_PATH: &str = "journal/layout";
/// A redistribution that is decided and perhaps not carried out.
const MANIFEST_PATH: &str = "journal/redistribution";
const LAYOUT_MAGIC: [u8; 8] = *b"SLLAYOU1";
const MANIFEST_MAGIC: [u8; 8] = *b"SLREDIS1";

#[derive(Debug, Serialize, Deserialize)]
struct Layout {
    shards: u32,
}

#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    old_shards: u32,
    checkpoints: Vec<Checkpoint>,
}

/// Brings the journals into the layout for `shards` shards; to be called before any
/// [`Engine::open`].
///
/// `template` gives the sizes for the engines that are opened for a moment; its shard number is not
/// used. Cost: one small read when the number has not changed.
///
/// # Errors
/// [`OpenError`]; the old layout still holds unless the manifest was written, and the next call
/// goes on.
pub async fn prepare_shards<D: Disk, C: Clock>(
    disk: &D,
    clock: &C,
    template: &Options,
    shards: u32,
) -> Result<(), OpenError> {
    if template.store_nothing {
        return Ok(());
    }
    let manifest: Option<Manifest> = read_framed(disk, MANIFEST_PATH, MANIFEST_MAGIC).await?;
    if let Some(manifest) = manifest {
        carry_out(disk, &manifest).await?;
    }
    let old_shards = old_layout(disk).await?;
    check_journals(disk, old_shards).await?;
    if old_shards == Some(shards) {
        return Ok(());
    }
    let Some(old_shards) = old_shards else {
        return write_layout(disk, shards).await;
    };
    tracing::info!(old_shards, shards, "logs move to other shards");
    let mut old = Vec::new();
    for shard in 0..old_shards {
        let options = Options {
            shard,
            ..template.clone()
        };
        settle(disk, clock, options.clone()).await?;
        let directory = options.journal_directory();
        old.extend(Checkpoint::read(disk, &directory).await?);
    }
    let manifest = Manifest {
        old_shards,
        checkpoints: distribute(old, shards),
    };
    write_framed(disk, MANIFEST_PATH, MANIFEST_MAGIC, &manifest).await?;
    carry_out(disk, &manifest).await
}

/// The number of shards of the last start; `None` for a directory without journals.
async fn old_layout<D: Disk>(disk: &D) -> Result<Option<u32>, OpenError> {
    let layout: Option<Layout> = read_framed(disk, LAYOUT_PATH, LAYOUT_MAGIC).await?;
    if let Some(layout) = layout {
        return Ok(Some(layout.shards));
    }
    // A directory whose first start was interrupted: what has a journal counts.
    let mut shards = 0;
    while !disk
        .list(&Options::gateway(shards).journal_directory())
        .await?
        .is_empty()
    {
        shards += 1;
    }
    Ok((shards > 0).then_some(shards))
}

/// Refuses segments whose journal is gone: new logs would begin at offset 0 beside them.
async fn check_journals<D: Disk>(disk: &D, shards: Option<u32>) -> Result<(), OpenError> {
    let mut missing = shards.is_none().then(|| JOURNALS.to_owned());
    for shard in 0..shards.unwrap_or(0) {
        let directory = Options::gateway(shard).journal_directory();
        if !has_journal(disk, &directory).await? {
            missing = Some(directory);
            break;
        }
    }
    let Some(directory) = missing else {
        return Ok(());
    };
    // A first start that was interrupted has written no segment.
    match find_segment(disk).await? {
        Some(found) => Err(OpenError::JournalMissing { directory, found }),
        None => Ok(()),
    }
}

async fn has_journal<D: Disk>(disk: &D, directory: &str) -> Result<bool, OpenError> {
    let path = checkpoint_path(directory);
    let is_ours = |name: &str| ring_index(name).is_some() || path == format!("{directory}/{name}");
    let entries = disk.list(directory).await?;
    Ok(entries.iter().any(|entry| is_ours(&entry.name)))
}

/// A segment that is not empty, of any log.
async fn find_segment<D: Disk>(disk: &D) -> Result<Option<String>, OpenError> {
    for log in disk.list(LOGS_DIRECTORY).await? {
        let directory = format!("{LOGS_DIRECTORY}/{}", log.name);
        if !log.is_directory {
            continue;
        }
        for entry in disk.list(&directory).await? {
            let is_log = matches!(parse_file_name(&entry.name), Some((_, FileKind::Log)));
            if is_log && entry.length_bytes > 0 {
                return Ok(Some(format!("{directory}/{}", entry.name)));
            }
        }
    }
    Ok(None)
}

async fn write_layout<D: Disk>(disk: &D, shards: u32) -> Result<(), OpenError> {
    write_framed(disk, LAYOUT_PATH, LAYOUT_MAGIC, &Layout { shards }).await?;
    Ok(())
}

/// Opens a shard and stops it at once: all it has is in segments and in a clean checkpoint then.
async fn settle<D: Disk, C: Clock>(disk: &D, clock: &C, options: Options) -> Result<(), OpenError> {
    let events: Rc<dyn LogEvents> = Rc::new(Deaf);
    let shard = options.shard;
    let opened = Engine::open(disk.clone(), clock.clone(), options, events).await?;
    let engine = opened.engine.clone();
    run_with(opened.workers, engine.shutdown()).await?;
    let stuck = engine.shared.logs.borrow().values().find_map(|log| {
        let state = log.state.borrow();
        let left = state.buffer.bytes() > 0;
        left.then(|| (log.key, Rc::clone(&log.name)))
    });
    match stuck {
        Some((key, name)) => Err(OpenError::Unmovable {
            shard,
            log: format!("{name}-{}", key.partition),
        }),
        None => Ok(()),
    }
}

/// The checkpoints of the new layout.
fn distribute(old: Vec<Checkpoint>, shards: u32) -> Vec<Checkpoint> {
    let highest = old.iter().map(|checkpoint| {
        let after = checkpoint.replay_from.max(checkpoint.acknowledged + 1);
        (after, checkpoint.incarnation)
    });
    let (after, incarnation) = highest.fold((1, 0), |one, other| {
        (one.0.max(other.0), one.1.max(other.1))
    });
    // The earliest of the clocks: no producer expires early.
    let times = old.iter().map(|checkpoint| checkpoint.producer_time_ms);
    let time_ms = times.min().unwrap_or(0);
    let mut new: BTreeMap<u32, Checkpoint> = (0..shards)
        .map(|shard| (shard, empty(shard, after + 1, incarnation + 1, time_ms)))
        .collect();
    for checkpoint in old {
        let owner = checkpoint.shard.checked_rem(shards).unwrap_or(0);
        if let Some(target) = new.get_mut(&owner) {
            target.cursors.extend(checkpoint.cursors);
        }
        for mut log in checkpoint.logs {
            let owner = log.home.checked_rem(shards).unwrap_or(0);
            if let Some(target) = new.get_mut(&owner) {
                log.slot = target.next_slot;
                target.next_slot += 1;
                target.logs.push(log);
            }
        }
    }
    new.into_values().collect()
}

fn empty(shard: u32, replay_from: u64, incarnation: u64, producer_time_ms: i64) -> Checkpoint {
    Checkpoint {
        shard,
        incarnation,
        replay_from,
        previous_crc: 0,
        file_index: 0,
        position: 0,
        acknowledged: replay_from - 1,
        next_slot: 0,
        producer_time_ms,
        clean: true,
        logs: Vec::new(),
        cursors: Vec::new(),
    }
}

/// Makes the manifest true; may be done again from any point.
async fn carry_out<D: Disk>(disk: &D, manifest: &Manifest) -> Result<(), OpenError> {
    let shards = u32::try_from(manifest.checkpoints.len()).unwrap_or(u32::MAX);
    for checkpoint in &manifest.checkpoints {
        let directory = Options::gateway(checkpoint.shard).journal_directory();
        checkpoint.write(disk, &directory).await?;
    }
    for shard in shards..manifest.old_shards {
        remove_journal(disk, &Options::gateway(shard).journal_directory()).await?;
    }
    write_layout(disk, shards).await?;
    Ok(disk.remove(MANIFEST_PATH).await?)
}

/// Removes the files of a shard that is no more; what is not ours stays.
async fn remove_journal<D: Disk>(disk: &D, directory: &str) -> Result<(), OpenError> {
    for entry in disk.list(directory).await? {
        let path = format!("{directory}/{}", entry.name);
        let ring = ring_index(&entry.name).map(|index| ring_path(directory, index));
        if ring.as_ref() == Some(&path) || path == checkpoint_path(directory) {
            disk.remove(&path).await?;
        } else {
            tracing::warn!(path, "a file that is not ours stays");
        }
    }
    Ok(())
}

/// Runs workers beside `main` until `main` is done.
async fn run_with<T>(mut workers: Vec<Worker>, main: impl Future<Output = T>) -> T {
    let mut main = pin!(main);
    poll_fn(|context| {
        workers.retain_mut(|worker| worker.as_mut().poll(context).is_pending());
        if let Poll::Ready(value) = main.as_mut().poll(context) {
            return Poll::Ready(value);
        }
        Poll::Pending
    })
    .await
}

impl From<CheckpointError> for OpenError {
    fn from(error: CheckpointError) -> Self {
        match error {
            CheckpointError::Disk(error) => Self::Disk(error),
            CheckpointError::Damaged(damage) => Self::Damaged(damage),
        }
    }
}

/// Nobody listens while shards are settled.
struct Deaf;

impl LogEvents for Deaf {
    fn handle_persisted(&self, _slot: u32, _last_index: u64, _term: u32) {}

    fn handle_hard_state_persisted(&self, _slot: u32, _term: u32, _vote: Option<i32>) {}

    fn handle_failed(&self, slot: u32, error: &AppendError) {
        tracing::error!(slot, %error, "a log failed while shards were settled");
    }
}
