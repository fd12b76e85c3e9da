//! Recovery: checkpoint, segment tails and journal become logs.
//!
//! What it is        the reading side of every promise: what was acknowledged is there, what does
//!                   not follow
//!                   without gap is cut, and a cut is recorded before anything new is appended.
//! What it is not    a repair of damage: a log whose durable mark is not reached halts.
//! Source            docs/formats/journal.md "Recovery"; decision 2026-11-23 "one gateway".

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::checkpoint::{Checkpoint, CheckpointError, LogCheckpoint, checkpoint_path};
use crate::disk::{Clock, Disk};
use crate::engine::replay::{Candidate, Replay, ReplayedLog};
use crate::engine::tails::{FoundSegments, recover_segments};
use crate::engine::{EngineState, RecoveredLog};
use crate::error::Corrupt;
use crate::errors::{AppendError, OpenError};
use crate::events::LogEvents;
use crate::journal::format::{FoundCommit, JournalEntry};
use crate::journal::ring::{Ring, RingShape};
use crate::journal::scan::{ReplayStart, ScanError, ScannedRing, scan_ring};
use crate::journal::{
    Journal, JournalShape, JournalStart, commit_capacity, create_ring_file, zero_piece,
};
use crate::limits;
use crate::notify::run_all;
use crate::options::Options;
use crate::partition::append_buffer::BufferedBatch;
use crate::partition::change::remove_log_files;
use crate::partition::producers::ProducerReplay;
use crate::partition::state::{Log, LogState};

/// An engine without its workers.
pub(crate) struct Recovered<D: Disk, C: Clock> {
    pub(crate) shared: Rc<EngineState<D, C>>,
    pub(crate) logs: Vec<RecoveredLog>,
}

/// Reads everything and builds the engine.
pub(crate) async fn recover<D: Disk, C: Clock>(
    disk: D,
    clock: C,
    options: Options,
    events: Rc<dyn LogEvents>,
) -> Result<Recovered<D, C>, OpenError> {
    let directory = options.journal_directory();
    let checkpoint = read_checkpoint(&disk, &options).await?;
    let start = checkpoint.as_ref().map(replay_start).unwrap_or_default();
    let has_checkpoint = checkpoint.is_some();
    let mut replay = Replay::new(checkpoint);
    let mut apply = |commit: &FoundCommit<'_>| replay.handle_commit(commit);
    let scanned = scan_ring(&disk, &directory, start, &mut apply).await;
    let scanned = scanned.map_err(|error| match error {
        ScanError::Disk(error) => OpenError::Disk(error),
        ScanError::Damaged(damage) => OpenError::Damaged(damage),
    })?;
    if !has_checkpoint {
        check_complete(&scanned, &directory)?;
    }
    let journal = open_journal(&disk, clock.clone(), &options, start.number, scanned).await?;
    let shared = Rc::new(EngineState::new(disk, clock, options, events, journal));
    shared.replay_from.set(start.number);
    let logs = build_logs(&shared, replay).await?;
    Ok(Recovered { shared, logs })
}

async fn read_checkpoint<D: Disk>(
    disk: &D,
    options: &Options,
) -> Result<Option<Checkpoint>, OpenError> {
    let directory = options.journal_directory();
    let read = Checkpoint::read(disk, &directory).await;
    let checkpoint = read.map_err(|error| match error {
        CheckpointError::Disk(error) => OpenError::Disk(error),
        CheckpointError::Damaged(damage) => OpenError::Damaged(damage),
    })?;
    match checkpoint {
        Some(checkpoint) if checkpoint.shard != options.shard => Err(OpenError::ForeignShard {
            file: checkpoint_path(&directory),
            expected: options.shard,
            got: checkpoint.shard,
        }),
        Some(checkpoint) => match checkpoint.logs.iter().find(|log| !log.is_sound()) {
            None => Ok(Some(checkpoint)),
            Some(log) => Err(OpenError::Damaged(Corrupt {
                file: checkpoint_path(&directory),
                position: 0,
                expected: format!("offsets and terms of {} that fit together", log.name),
                got: "some that do not".to_owned(),
            })),
        },
        None => Ok(None),
    }
}

fn replay_start(checkpoint: &Checkpoint) -> ReplayStart {
    ReplayStart {
        number: checkpoint.replay_from,
        previous_crc: checkpoint.previous_crc,
        file_index: checkpoint.file_index,
        position: checkpoint.position,
        acknowledged: checkpoint.acknowledged,
        incarnation: checkpoint.incarnation,
    }
}

/// Without a checkpoint the ring must begin with the first commit there ever was, or be empty.
fn check_complete<F>(scanned: &ScannedRing<F>, directory: &str) -> Result<(), OpenError> {
    let first = scanned.files.iter().map(|file| file.last_commit).max();
    match first {
        Some(last) if last > 0 && scanned.next_number == 1 => Err(OpenError::CheckpointMissing {
            file: checkpoint_path(directory),
            first_commit: last,
        }),
        _ => Ok(()),
    }
}

async fn open_journal<D: Disk, C: Clock>(
    disk: &D,
    clock: C,
    options: &Options,
    free_below: u64,
    scanned: ScannedRing<D::File>,
) -> Result<Journal<D, C>, OpenError> {
    let shape = JournalShape {
        shard: options.shard,
        directory: options.journal_directory(),
        block_bytes: disk.alignment_bytes(),
        commit_bytes: options.commit_bytes,
        commit_interval: options.commit_interval,
        ring_file_bytes: options.ring_file_bytes,
        store_nothing: options.store_nothing,
    };
    let ring_shape = RingShape {
        files_maximum: options.ring_files,
        file_bytes: options.ring_file_bytes,
        commit_bytes: commit_capacity(&shape) as u64,
    };
    let mut files = scanned.files;
    let mut end = scanned.end;
    if !options.store_nothing {
        for place in 0..files.len() {
            let unused = files.get(place).filter(|file| {
                // A crash interrupted its creation or its first commit, or it is too short.
                let is_short = file.bytes < ring_shape.commit_bytes;
                let is_free = place != end.0 && file.last_commit < free_below;
                file.first_commit.0 == 0 || is_short && is_free
            });
            if let Some(index) = unused.map(|file| file.index) {
                let renewed = create_ring_file(disk, &shape, index).await?;
                files.splice(place..=place, [renewed]).for_each(drop);
            }
        }
        if files.is_empty() {
            files.push(create_ring_file(disk, &shape, 0).await?);
            end = (0, 0);
        }
        if let Some(file) = files.get_mut(end.0).filter(|file| file.zeroed_end == 0) {
            file.zeroed_end = zero_piece(disk, &file.file, 0, file.bytes).await?;
            end.1 = 0;
        }
    }
    if !end.1.is_multiple_of(u64::from(shape.block_bytes))
        && let Some(file) = files.get(end.0)
    {
        // The disk has larger blocks than the one before: the rest of the file is not used.
        end.1 = file.bytes;
    }
    let ring = Ring::new(files, end, free_below, ring_shape);
    let start = JournalStart {
        next_number: scanned.next_number,
        previous_crc: scanned.previous_crc,
        incarnation: scanned.incarnation + 1,
    };
    Ok(Journal::new(disk.clone(), clock, shape, start, ring))
}

async fn build_logs<D: Disk, C: Clock>(
    shared: &Rc<EngineState<D, C>>,
    replay: Replay,
) -> Result<Vec<RecoveredLog>, OpenError> {
    shared.next_slot.set(replay.next_slot);
    shared.producers.set_base_ms(replay.producer_time_ms);
    *shared.cursors.borrow_mut() = replay.cursors;
    for (key, name) in &replay.deleted {
        remove_log_files(&shared.disk, &key.directory(name)).await?;
    }
    let replayed: Vec<ReplayedLog> = replay.logs.into_values().collect();
    let found: RefCell<Vec<_>> = RefCell::new(replayed.iter().map(|_| None).collect());
    let scans = replayed.iter().enumerate().map(|(place, log)| {
        let found = &found;
        async move {
            let segments = match replay_producers(shared, log) {
                Ok(producers) => recover_segments(&shared.store, log, producers).await,
                Err(error) => Err(error),
            };
            if let Some(slot) = found.borrow_mut().get_mut(place) {
                *slot = Some(segments);
            }
        }
    });
    run_all(scans, limits::RECOVERY_WIDTH).await;
    let mut recovered = Vec::with_capacity(replayed.len());
    for (log, segments) in replayed.into_iter().zip(found.into_inner()) {
        if let Some(segments) = segments {
            recovered.push(build_log(shared, log, segments?));
        }
    }
    shared.limit_producers();
    Ok(recovered)
}

fn build_log<D: Disk, C: Clock>(
    shared: &Rc<EngineState<D, C>>,
    mut replayed: ReplayedLog,
    mut found: FoundSegments<D>,
) -> RecoveredLog {
    let candidates = std::mem::take(&mut replayed.candidates);
    let (slot, key) = (replayed.checkpoint.slot, replayed.checkpoint.key);
    let name = std::mem::take(&mut replayed.checkpoint.name);
    let seen_end = replayed.seen_end;
    let checkpoint = replayed.checkpoint;
    let end = first_end(&checkpoint, found.end_offset, &candidates);
    let unsynced = found.durable.filter(|(offset, _)| *offset < end);
    let (durable_offset, durable_position) = unsynced.unwrap_or((end, found.end_position));
    let mut state = LogState {
        home: checkpoint.home,
        term: checkpoint.term,
        vote: checkpoint.vote,
        side: checkpoint.side,
        log_start_offset: checkpoint.log_start_offset,
        log_end_offset: end,
        segments_end_offset: durable_offset,
        segments_end_position: durable_position,
        unsynced_since: unsynced.map(|_| shared.replay_from.get()),
        written_end_offset: end,
        write_goal: end,
        settled_end_offset: (!replayed.mentioned).then_some(end),
        segments: found.segments,
        marked_end_offset: replayed.marked_end_offset,
        ..LogState::default()
    };
    let was_cut = found.was_cut;
    let mut damage = found.damage;
    if damage.is_none() {
        take_candidates(&mut state, &mut found.producers, candidates);
        begin_at_log_start(&mut state);
        damage = missing_below_mark(&state, &key.directory(&name));
    }
    state.producers = found.producers.finish(state.log_end_offset);
    cut_side_entries(&mut state);
    follow_last_term(&mut state);
    shared.add_buffered(state.buffer.bytes());
    shared.update_dirty(slot, &mut state);
    let last_index = state.next_index() - 1;
    state.durable.set_released(last_index);
    match &damage {
        Some(damage) => {
            tracing::error!(topic = %name, partition = key.partition, %damage, "log halted");
            state.failure = Some(AppendError::Halted(damage.clone()));
        }
        None if was_cut || state.log_end_offset < seen_end => record_cut(shared, slot, &state),
        None => {}
    }
    let log = Rc::new(Log::new(slot, key, &name, state));
    shared.add_log(Rc::clone(&log));
    describe(&log, damage)
}

/// Where the journal's batches go on: the end of the segments, or the log start when they end below
/// it. A log start inside a batch that the journal alone has begins with that batch.
fn first_end(
    checkpoint: &LogCheckpoint,
    segments_end: i64,
    candidates: &BTreeMap<i64, Candidate>,
) -> i64 {
    let start = checkpoint.log_start_offset;
    if segments_end > start {
        return segments_end;
    }
    let before = candidates.range(..start).next_back();
    before
        .filter(|(_, candidate)| candidate.header.last_offset() >= start)
        .map_or(start, |(base_offset, _)| *base_offset)
}

/// Starts with the producers of the checkpoint; a snapshot that does not decode is damage, since an
/// empty table would take duplicates.
fn replay_producers<D: Disk, C: Clock>(
    shared: &EngineState<D, C>,
    replayed: &ReplayedLog,
) -> Result<ProducerReplay, OpenError> {
    let options = shared.options.producer_options();
    let now_ms = shared.producers.now_ms(shared.clock.now());
    let snapshot = &replayed.checkpoint.producers;
    let started = ProducerReplay::new(snapshot, replayed.lowest_cut, options, now_ms);
    started.map_err(|error| {
        OpenError::Damaged(Corrupt {
            file: checkpoint_path(&shared.options.journal_directory()),
            position: 0,
            expected: format!("the producers of {}", replayed.checkpoint.name),
            got: error.to_string(),
        })
    })
}

/// Takes the journal's batches that continue the segments without gap.
fn take_candidates<D: Disk>(
    state: &mut LogState<D>,
    producers: &mut ProducerReplay,
    candidates: BTreeMap<i64, Candidate>,
) {
    for candidate in candidates.into_values() {
        let header = candidate.header;
        let term = u32::try_from(header.partition_leader_epoch).unwrap_or(0);
        // A copy of what the segments have, a batch behind a gap, or one whose term start is lost.
        let follows = header.base_offset == state.log_end_offset
            && state
                .side
                .term_at_offset(header.base_offset)
                .unwrap_or(term)
                == term;
        if !follows {
            continue;
        }
        producers.handle_batch(&header);
        state.log_end_offset = header.next_offset();
        state.max_timestamp = state.max_timestamp.max(Some(header.max_timestamp));
        state.buffer.push(BufferedBatch {
            base_offset: header.base_offset,
            last_offset: header.last_offset(),
            max_timestamp: header.max_timestamp,
            term,
            commit: candidate.commit,
            head: None,
            bytes: candidate.bytes,
        });
    }
}

/// A log whose batches all lie below its start, or were not taken, is empty there.
fn begin_at_log_start<D: Disk>(state: &mut LogState<D>) {
    let start = state.log_start_offset;
    if state.log_end_offset < start {
        state.log_end_offset = start;
        state.segments_end_offset = start;
        state.written_end_offset = start;
        state.write_goal = start;
    }
}

/// Segments and journal together must reach what was once durable in segments.
fn missing_below_mark<D: Disk>(state: &LogState<D>, directory: &str) -> Option<Corrupt> {
    (state.log_end_offset < state.marked_end_offset).then(|| Corrupt {
        file: directory.to_owned(),
        position: u64::from(state.segments_end_position),
        expected: format!("records up to offset {}", state.marked_end_offset),
        got: format!("an end at offset {}", state.log_end_offset),
    })
}

/// Side entries behind the end lost the records before them.
fn cut_side_entries<D: Disk>(state: &mut LogState<D>) {
    let end = state.log_end_offset;
    let behind = state.side.entries().iter().find(|side| side.offset > end);
    if let Some(index) = behind.map(|side| side.index) {
        state.side.truncate_from(index);
    }
}

/// Who has an entry of a term has seen that term (Raft §5.1), whatever became of the hard state.
fn follow_last_term<D: Disk>(state: &mut LogState<D>) {
    if let Some(last) = state.side.last_term().filter(|last| *last > state.term) {
        state.term = last;
        state.vote = None;
    }
}

/// What recovery gives up is given up for good: the journal says so before anything new.
fn record_cut<D: Disk, C: Clock>(shared: &EngineState<D, C>, slot: u32, state: &LogState<D>) {
    let from_index = state.next_index();
    let cut = JournalEntry::Truncate {
        from_index,
        end_offset: state.log_end_offset,
    };
    let done = JournalEntry::TruncateDone { from_index };
    for entry in [cut, done] {
        let _refused = shared.journal.add(slot, &entry, None, true);
    }
}

fn describe<D: Disk>(log: &Log<D>, damaged: Option<Corrupt>) -> RecoveredLog {
    let state = log.state.borrow();
    let first_index = state.side.index_of_offset(state.log_start_offset);
    let last_index = state.next_index() - 1;
    RecoveredLog {
        key: log.key,
        name: Rc::clone(&log.name),
        slot: log.slot,
        term: state.term,
        vote: state.vote,
        side_table: state.side.clone(),
        first_index: first_index.min(last_index + 1),
        last_index,
        log_start_offset: state.log_start_offset,
        log_end_offset: state.log_end_offset,
        damaged,
    }
}
