//! Recovery: checkpoint, segment tails and journal become logs.
//!
//! What it is        the reading side of every promise: what was acknowledged is there, what does
//!                   not follow
//!                   without gap is cut, and a cut is recorded before anything new is appended.
//! What it is not    a repair of damage: a log whose durable mark is not reached halts.
//! Source            docs/formats/journal.md "Recovery"; decision 2026-11-23 "one gateway".

use std::cell::RefCell;
use std::rc::Rc;

use crate::checkpoint::{Checkpoint, CheckpointError, checkpoint_path};
use crate::disk::{Clock, Disk};
use crate::engine::replay::{Replay, ReplayedLog};
use crate::engine::{RecoveredLog, Shared};
use crate::errors::OpenError;
use crate::events::LogEvents;
use crate::journal::format::{FoundCommit, JournalEntry};
use crate::journal::ring::Ring;
use crate::journal::scan::{ReplayStart, ScanError, ScannedRing, scan_ring};
use crate::journal::{Journal, JournalShape, JournalStart, create_ring_file, zero_piece};
use crate::options::Options;
use crate::partition::append_buffer::BufferedBatch;
use crate::partition::state::{Log, LogState};

/// An engine without its workers.
pub(crate) struct Recovered<D: Disk, C: Clock> {
    pub(crate) shared: Rc<Shared<D, C>>,
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
    let journal = open_journal(&disk, clock, &options, start.number, scanned).await?;
    let shared = Rc::new(Shared::new(disk, options, events, journal));
    let logs = build_logs(&shared, replay);
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
        other => Ok(other),
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
    let mut files = scanned.files;
    if files.is_empty() && !options.store_nothing {
        let mut first = create_ring_file(disk, &shape, 0).await?;
        first.zeroed_end = zero_piece(disk, &first.file, 0, first.bytes).await?;
        files.push(first);
    }
    let ring = Ring::new(
        files,
        scanned.end,
        free_below,
        options.ring_files,
        options.ring_file_bytes,
    );
    let start = JournalStart {
        next_number: scanned.next_number,
        previous_crc: scanned.previous_crc,
        incarnation: scanned.incarnation + 1,
    };
    Ok(Journal::new(disk.clone(), clock, shape, start, ring))
}

fn build_logs<D: Disk, C: Clock>(shared: &Rc<Shared<D, C>>, replay: Replay) -> Vec<RecoveredLog> {
    shared.next_slot.set(replay.next_slot);
    *shared.cursors.borrow_mut() = replay.cursors;
    let mut recovered = Vec::with_capacity(replay.logs.len());
    for replayed in replay.logs.into_values() {
        recovered.push(build_log(shared, replayed));
    }
    recovered
}

fn build_log<D: Disk, C: Clock>(shared: &Rc<Shared<D, C>>, replayed: ReplayedLog) -> RecoveredLog {
    let seen_end = replayed.seen_end;
    let checkpoint = replayed.checkpoint;
    let mut state = LogState {
        term: checkpoint.term,
        vote: checkpoint.vote,
        side: checkpoint.side,
        log_start_offset: checkpoint.log_start_offset,
        log_end_offset: checkpoint
            .segments_end_offset
            .max(checkpoint.log_start_offset),
        segments_end_offset: checkpoint.segments_end_offset,
        ..LogState::default()
    };
    for candidate in replayed.candidates {
        // A copy of what the segments have, or a batch behind a gap, is not taken.
        if candidate.header.base_offset != state.log_end_offset {
            continue;
        }
        state.log_end_offset = candidate.header.next_offset();
        state.max_timestamp = state
            .max_timestamp
            .max(Some(candidate.header.max_timestamp));
        state.buffer.push(BufferedBatch {
            base_offset: candidate.header.base_offset,
            last_offset: candidate.header.last_offset(),
            max_timestamp: candidate.header.max_timestamp,
            term: u32::try_from(candidate.header.partition_leader_epoch).unwrap_or(0),
            commit: candidate.commit,
            head: None,
            bytes: candidate.bytes,
        });
    }
    cut_side_entries(&mut state);
    shared.add_buffered(state.buffer.bytes());
    if let Some(commit) = state.buffer.oldest_commit() {
        shared.note_dirty(commit, checkpoint.slot);
    }
    if state.log_end_offset < seen_end {
        record_cut(shared, checkpoint.slot, &state);
    }
    let log = Rc::new(Log {
        slot: checkpoint.slot,
        key: checkpoint.key,
        name: Rc::from(checkpoint.name.as_str()),
        state: RefCell::new(state),
    });
    shared.add_log(Rc::clone(&log));
    describe(&log)
}

/// Side entries behind the end lost the records before them.
fn cut_side_entries(state: &mut LogState) {
    let end = state.log_end_offset;
    let behind = state.side.entries().iter().find(|side| side.offset > end);
    if let Some(index) = behind.map(|side| side.index) {
        state.side.truncate_from(index);
    }
}

/// What recovery gives up is given up for good: the journal says so before anything new.
fn record_cut<D: Disk, C: Clock>(shared: &Shared<D, C>, slot: u32, state: &LogState) {
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

fn describe(log: &Log) -> RecoveredLog {
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
        damaged: None,
    }
}
