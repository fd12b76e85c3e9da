//! Segments of one log after a start: what the checkpoint knows, what the files say.
//!
//! What it is        opens lazily what nobody wrote to; scans the tails of what the journal
//!                   mentions.
//! What it is not    it does not know the journal's batches; `recovery.rs` adds them behind the
//!                   end.
//! Invariants        1. only batches with a right CRC that follow without gap, and whose term start
//!                   is
//!                   known, count. 2. files are removed only when they lie wholly below the log
//!                   start
//!                   or behind a recorded cut.
//! Source            docs/formats/journal.md "Recovery".

use std::rc::Rc;

use crate::compaction::recover_interrupted;
use crate::disk::Disk;
use crate::engine::replay::ReplayedLog;
use crate::error::Corrupt;
use crate::errors::OpenError;
use crate::options::LogConfig;
use crate::partition::producers::ProducerReplay;
use crate::partition::segments::SegmentList;
use crate::segment::{
    ClosedSegment, FileKind, KnownTail, Segment, SegmentError, SegmentOptions, SegmentStore,
    file_path, parse_file_name, remove_log_files,
};
use crate::side_table::SideTable;

/// The segments of a log and where they end.
pub(crate) struct FoundSegments<D: Disk> {
    pub(crate) segments: SegmentList<D>,
    /// Offset after the last good batch.
    pub(crate) end_offset: i64,
    /// Position of that end in the active segment.
    pub(crate) end_position: u32,
    /// Offset and position up to which the active segment is durable, when the rest may not be: all
    /// of
    /// that rest is in the journal too.
    pub(crate) durable: Option<(i64, u32)>,
    /// Batches were given up.
    pub(crate) was_cut: bool,
    pub(crate) damage: Option<Corrupt>,
    /// The producers of the checkpoint and of the batches that were scanned.
    pub(crate) producers: ProducerReplay,
}

/// Finds the segments of a log; `replayed` tells what checkpoint and journal know.
pub(crate) async fn recover_segments<D: Disk>(
    store: &SegmentStore<D>,
    replayed: &ReplayedLog,
    producers: ProducerReplay,
) -> Result<FoundSegments<D>, OpenError> {
    let name = &replayed.checkpoint.name;
    let directory: Rc<str> = Rc::from(replayed.checkpoint.key.directory(name));
    let mut tails = Tails::new(store, directory, replayed, producers);
    if !replayed.mentioned {
        tails.open_untouched();
        return Ok(tails.found);
    }
    match tails.scan().await {
        Ok(()) => {}
        Err(SegmentError::Disk(error)) => return Err(error.into()),
        Err(SegmentError::Replaced) => {}
        Err(SegmentError::Corrupt(damage)) => tails.found.damage = Some(damage),
        Err(
            SegmentError::Poisoned { file }
            | SegmentError::NoRoom { file, .. }
            | SegmentError::Refused { file, .. },
        ) => {
            tails.found.damage = Some(Corrupt {
                file,
                position: 0,
                expected: "a segment that opens".to_owned(),
                got: "a refusal".to_owned(),
            });
        }
    }
    Ok(tails.found)
}

struct Tails<'a, D: Disk> {
    store: &'a SegmentStore<D>,
    directory: Rc<str>,
    replayed: &'a ReplayedLog,
    found: FoundSegments<D>,
}

impl<'a, D: Disk> Tails<'a, D> {
    fn new(
        store: &'a SegmentStore<D>,
        directory: Rc<str>,
        replayed: &'a ReplayedLog,
        producers: ProducerReplay,
    ) -> Self {
        let checkpoint = &replayed.checkpoint;
        // What was compacted after the checkpoint only the files know.
        let compacted_end = replayed.compacted_end.unwrap_or(i64::MIN);
        // What was cut after the checkpoint may have reached into what it lists.
        let cut = replayed.lowest_cut.unwrap_or(i64::MAX);
        let closed: Vec<ClosedSegment> = checkpoint
            .closed
            .iter()
            .copied()
            .map(ClosedSegment::from)
            .filter(|closed| closed.next_offset > checkpoint.log_start_offset)
            .filter(|closed| closed.next_offset <= cut)
            .filter(|closed| closed.base_offset >= compacted_end)
            .collect();
        for segment in &closed {
            store.adopt_closed(segment);
        }
        let end_offset = closed
            .last()
            .map_or(checkpoint.log_start_offset, |last| last.next_offset);
        Self {
            store,
            directory,
            replayed,
            found: FoundSegments {
                segments: SegmentList {
                    closed,
                    active: None,
                },
                end_offset,
                end_position: 0,
                durable: None,
                was_cut: false,
                damage: None,
                producers,
            },
        }
    }

    /// Takes the checkpoint's word: nothing was written since.
    fn open_untouched(&mut self) {
        let checkpoint = &self.replayed.checkpoint;
        self.found.end_offset = checkpoint.segments_end_offset.max(self.found.end_offset);
        let Some((base_offset, end_position, max_timestamp)) = checkpoint.active else {
            return;
        };
        let tail = KnownTail {
            end_position,
            next_offset: checkpoint.segments_end_offset,
            max_timestamp,
            // Longer than the end: a write that was never acknowledged may have left bytes there.
            file_length_bytes: u64::from(end_position) + 1,
        };
        self.found.end_position = end_position;
        self.found.segments.active = Some(Rc::new(self.open(base_offset, tail)));
    }

    fn open(&self, base_offset: i64, tail: KnownTail) -> Segment<D> {
        let options = SegmentOptions {
            segment_bytes: LogConfig::default().segment_bytes,
        };
        Segment::open(self.store, &self.directory, base_offset, options, tail)
    }

    async fn scan(&mut self) -> Result<(), SegmentError> {
        let compacted_end = self.replayed.compacted_end;
        if compacted_end.is_some() {
            recover_interrupted(self.store, &self.directory).await?;
        }
        let mut files = Vec::new();
        for entry in self.store.disk().list(&self.directory).await? {
            if let Some((base_offset, FileKind::Log)) = parse_file_name(&entry.name) {
                files.push((base_offset, entry.length_bytes));
            }
        }
        files.sort_unstable();
        self.check_known_files(&files);
        let start = self.replayed.checkpoint.log_start_offset;
        for place in 0..files.len() {
            let Some((base_offset, length)) = files.get(place).copied() else {
                break;
            };
            let next_base = files.get(place + 1).map(|(base, _)| *base);
            let listed = self.found.segments.closed.iter();
            if listed
                .map(|closed| closed.base_offset)
                .any(|base| base == base_offset)
            {
                continue;
            }
            // Below the log start, or behind a cut that the journal has: its removal had been
            // decided.
            let below_start = next_base.is_some_and(|next| next <= start);
            let behind_cut = self.replayed.open_cut.is_some_and(|cut| base_offset >= cut);
            if below_start || behind_cut {
                self.store.forget(&self.directory, base_offset);
                remove_log_files(self.store.disk(), &self.directory, base_offset).await?;
                continue;
            }
            if compacted_end.is_some_and(|end| base_offset < end) {
                self.take_compacted(base_offset, length, next_base).await?;
            } else {
                self.scan_file(base_offset, length).await?;
            }
        }
        self.found
            .segments
            .closed
            .sort_unstable_by_key(|closed| closed.base_offset);
        if self.found.end_offset < start {
            // The journal alone had what was deleted: the next segment begins at the log start.
            self.close_active().await?;
        }
        self.found.was_cut |= self.replayed.open_cut.is_some();
        Ok(())
    }

    /// A closed segment as compaction left it: its batches have gaps, and it ends where the next
    /// one begins.
    async fn take_compacted(
        &mut self,
        base_offset: i64,
        file_length_bytes: u64,
        next_base: Option<i64>,
    ) -> Result<(), SegmentError> {
        let size = u32::try_from(file_length_bytes).unwrap_or(u32::MAX);
        let recover = self
            .store
            .recover_closed(&self.directory, base_offset, size);
        let mut closed = recover.await?;
        closed.next_offset = next_base
            .unwrap_or(closed.next_offset)
            .max(closed.next_offset);
        self.found.end_offset = self.found.end_offset.max(closed.next_offset);
        self.found.segments.closed.push(closed);
        Ok(())
    }

    /// Files that the checkpoint names must be there and be long enough.
    fn check_known_files(&mut self, files: &[(i64, u64)]) {
        let checkpoint = &self.replayed.checkpoint;
        // Closed since, and removed: all that the checkpoint knows of it is below the log start.
        let may_be_gone = checkpoint.log_start_offset >= checkpoint.segments_end_offset;
        let active = self
            .known_active()
            .filter(|_| !may_be_gone)
            .map(|(base, position, _)| (base, position));
        let closed = self.found.segments.closed.iter();
        let known = closed.map(|closed| (closed.base_offset, closed.size_bytes));
        let mut damage = None;
        for (base_offset, size) in known.chain(active) {
            let found = files.iter().find(|(base, _)| *base == base_offset);
            let length = found.map(|(_, length)| *length);
            if size > 0 && length.is_none_or(|length| length < u64::from(size)) {
                damage.get_or_insert_with(|| Corrupt {
                    file: file_path(&self.directory, base_offset, FileKind::Log),
                    position: length.unwrap_or(0),
                    expected: format!("a file of at least {size} bytes"),
                    got: length
                        .map_or_else(|| "no file".to_owned(), |length| format!("{length} bytes")),
                });
            }
        }
        self.found.damage = damage;
    }

    /// The checkpoint's active segment, unless a later cut, damage, or a roll and compaction has
    /// made its figures wrong.
    fn known_active(&self) -> Option<(i64, u32, Option<i64>)> {
        let checkpoint = &self.replayed.checkpoint;
        let intact = self
            .replayed
            .lowest_cut
            .is_none_or(|cut| cut >= checkpoint.segments_end_offset);
        let compacted_end = self.replayed.compacted_end.unwrap_or(i64::MIN);
        checkpoint
            .active
            .filter(|(base_offset, _, _)| *base_offset >= compacted_end)
            .filter(|_| intact && self.found.damage.is_none())
    }

    async fn scan_file(
        &mut self,
        base_offset: i64,
        file_length_bytes: u64,
    ) -> Result<(), SegmentError> {
        let end = self.found.end_offset;
        let first = self.found.segments.closed.is_empty() && self.found.segments.active.is_none();
        // The first segment may begin below the log start offset.
        if base_offset != end && !(first && base_offset < end) {
            return Err(self.gap(base_offset));
        }
        self.close_active().await?;
        let known = self
            .known_active()
            .filter(|(base, _, _)| *base == base_offset);
        let tail = KnownTail {
            end_position: known.map_or(0, |(_, position, _)| position),
            next_offset: known.map_or(base_offset, |_| {
                self.replayed.checkpoint.segments_end_offset
            }),
            max_timestamp: known.and_then(|(_, _, timestamp)| timestamp),
            file_length_bytes,
        };
        let segment = self.open(base_offset, tail);
        let side = &self.replayed.checkpoint.side;
        let cut = self.replayed.open_cut.unwrap_or(i64::MAX);
        let candidates = &self.replayed.candidates;
        let mut bad: Option<(u32, i64)> = None;
        let mut is_journaled = true;
        let producers = &mut self.found.producers;
        let epoch = side.term_at_offset(tail.next_offset - 1).unwrap_or(0);
        let epoch = i32::try_from(epoch).unwrap_or(i32::MAX);
        let scan = segment
            .scan_tail(epoch, |position, header| {
                let term = u32::try_from(header.partition_leader_epoch).unwrap_or(0);
                is_journaled &= candidates.contains_key(&header.base_offset);
                let known_term = is_term_known(side, header.base_offset, term);
                if bad.is_none() && (!known_term || header.last_offset() >= cut) {
                    bad = Some((position, header.base_offset));
                }
                if bad.is_none() {
                    producers.handle_batch(header);
                }
            })
            .await?;
        self.found.end_offset = scan.next_offset;
        if let Some((position, offset)) = bad {
            segment.truncate(position, offset).await?;
            self.found.end_offset = offset;
            self.found.was_cut = true;
        }
        // The process may have died between write and sync: before anybody is told of a batch that
        // the
        // journal does not have, it is made durable. The others may wait for the next write-back.
        let grew = segment.end_position() > tail.end_position;
        self.found.durable =
            (grew && is_journaled).then_some((tail.next_offset, tail.end_position));
        if grew && !is_journaled {
            segment.sync().await?;
        }
        self.found.end_position = segment.end_position();
        self.found.segments.active = Some(Rc::new(segment));
        Ok(())
    }

    /// A segment with a successor was complete: it is closed as it had been.
    async fn close_active(&mut self) -> Result<(), SegmentError> {
        let Some(active) = self.found.segments.active.take() else {
            return Ok(());
        };
        let closed = active.roll().await?;
        self.found.segments.closed.push(closed);
        Ok(())
    }

    fn gap(&self, base_offset: i64) -> SegmentError {
        SegmentError::Corrupt(Corrupt {
            file: file_path(&self.directory, base_offset, FileKind::Log),
            position: 0,
            expected: format!("a segment that begins at offset {}", self.found.end_offset),
            got: format!("one that begins at {base_offset}"),
        })
    }
}

/// Whether the side table knows that the record at `offset` is of `term`: a batch whose term start
/// is not
/// durable was never acknowledged.
fn is_term_known(side: &SideTable, offset: i64, term: u32) -> bool {
    side.term_at_offset(offset)
        .is_none_or(|known| known == term)
}
