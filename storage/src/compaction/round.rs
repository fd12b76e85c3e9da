//! One round of compaction over a log.
//!
//! What it is        fill the key map from the dirty part until its end or until the map is full;
//!                   then rewrite all segments before that end, group by group, oldest first.
//! Invariants        memory is the map, one output buffer, one read window and one decompressed
//!                   batch.
//! Source            Kafka 4.3 `Cleaner.doClean`, `groupSegmentsBySize`.

use std::collections::BTreeMap;
use std::rc::Rc;

use kafka_lite::record_batch::{BatchHeader, BatchView};

use super::filter::{Filter, Outcome};
use super::key_map::KeyMap;
use super::pace::Pace;
use super::plan::{CompactionPlan, CompactionRules};
use super::stream::BatchStream;
use super::swap::{SegmentSwitch, switch};
use super::writer::CleanedWriter;
use crate::disk::{Clock, Disk, DiskError};
use crate::retention::WallClock;
use crate::segment::{
    ClosedSegment, FileKind, SegmentError, SegmentStore, decompress_limits, file_path,
};

/// A transaction that was aborted: its records go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// Who wrote it.
    pub producer_id: i64,
    /// First offset of the transaction, inclusive.
    pub first_offset: i64,
    /// Offset of its marker, inclusive.
    pub last_offset: i64,
}

/// One round.
#[derive(Debug)]
pub struct CompactionJob<'a> {
    /// All closed segments of the log, in the order of their base offsets.
    pub closed: &'a [ClosedSegment],
    /// From [`super::plan_compaction`].
    pub plan: CompactionPlan,
    /// The topic's configuration.
    pub rules: CompactionRules,
    /// The time of the round.
    pub clock: WallClock,
    /// Memory for the key map in bytes: 24 per slot, three quarters of the slots are used.
    pub map_bytes: usize,
    /// The output may stand in the reserve of the disk until it replaces its sources.
    pub uses_reserve: bool,
    /// Last data offset of each live producer id; that batch stays, if need be empty.
    pub active_producers: &'a BTreeMap<i64, i64>,
    /// Aborted transactions that overlap the log.
    pub aborted: &'a [AbortedTransaction],
}

/// What a round did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompactionFigures {
    /// Where the next round starts: everything before is clean.
    pub first_dirty_offset: i64,
    /// Bytes of the segments rewritten, before and after.
    pub bytes_before: u64,
    /// See above.
    pub bytes_after: u64,
    /// Records read and kept in the segments rewritten.
    pub records_read: u64,
    /// See above.
    pub records_kept: u64,
    /// The owner's list changed under the round (retention); what was switched stays.
    pub was_stopped: bool,
    /// The map filled before the planned end: another round is due at once.
    pub map_was_full: bool,
}

/// Runs one round; `owner` replaces sources by their output in its list, group by group.
///
/// A reader that was made before keeps the old file; one that is being made fails with
/// [`SegmentError::Replaced`] and looks the segment up again.
///
/// # Errors
/// [`SegmentError::Corrupt`] for a damaged batch: nothing of its group changed.
/// [`SegmentError::Disk`]: groups already switched stay so; see [`super::recover_interrupted`] for
/// the rest.
pub async fn compact_log<D: Disk, C: Clock>(
    store: &SegmentStore<D>,
    directory: &Rc<str>,
    job: &CompactionJob<'_>,
    pace: &mut Pace<C>,
    owner: &impl SegmentSwitch,
) -> Result<CompactionFigures, SegmentError> {
    let mut map = KeyMap::new(job.map_bytes);
    let end_offset = fill_map(store, directory, job, &mut map, pace).await?;
    let mut figures = CompactionFigures {
        first_dirty_offset: end_offset,
        map_was_full: end_offset < job.plan.end_offset,
        ..CompactionFigures::default()
    };
    let mut filter = Filter {
        map: &map,
        end_offset,
        clock: job.clock,
        delete_retention_ms: job.rules.delete_retention_ms,
        active_producers: job.active_producers,
        aborted: job.aborted,
        unreadable_seen: false,
        records_read: 0,
        records_kept: 0,
        scratch: Vec::new(),
    };
    let sources = job
        .closed
        .iter()
        .take_while(|segment| segment.base_offset < end_offset)
        .count();
    let mut rest = job.closed.get(..sources).unwrap_or_default();
    while !rest.is_empty() {
        let (group, later) = rest.split_at(group_length(rest, job.rules.segment_bytes));
        rest = later;
        let bytes: u64 = group
            .iter()
            .map(|segment| u64::from(segment.size_bytes))
            .sum();
        let group = Group {
            store,
            directory,
            sources: group,
            bytes,
            uses_reserve: job.uses_reserve,
        };
        let Some(bytes_after) = group.compact(&mut filter, pace, owner).await? else {
            figures.first_dirty_offset = job.plan.first_dirty_offset;
            figures.was_stopped = true;
            break;
        };
        figures.bytes_before += bytes;
        figures.bytes_after += bytes_after;
    }
    figures.records_read = filter.records_read;
    figures.records_kept = filter.records_kept;
    Ok(figures)
}

/// Notes the keys of the dirty part; returns the end of what the map covers, exclusive.
async fn fill_map<D: Disk, C: Clock>(
    store: &SegmentStore<D>,
    directory: &Rc<str>,
    job: &CompactionJob<'_>,
    map: &mut KeyMap,
    pace: &mut Pace<C>,
) -> Result<i64, SegmentError> {
    let plan = &job.plan;
    let is_dirty = |segment: &&ClosedSegment| {
        segment.next_offset > plan.first_dirty_offset && segment.base_offset < plan.end_offset
    };
    let mut scratch = Vec::new();
    for segment in job.closed.iter().filter(is_dirty) {
        let reader = store.reader(directory, segment).await?;
        let start = reader.lookup(plan.first_dirty_offset).await?;
        let mut stream =
            BatchStream::new(&reader, start.map_or(segment.size_bytes, |found| found.0));
        while let Some((_, bytes)) = stream.next().await? {
            let Ok(batch) = BatchView::new(&bytes) else {
                continue;
            };
            let header = batch.header();
            if header.next_offset() > plan.end_offset {
                return Ok(header.base_offset.min(plan.end_offset));
            }
            let count = usize::try_from(header.records_count).unwrap_or(usize::MAX);
            let fits = count <= map.remaining();
            if !fits && count <= map.capacity() {
                return Ok(header.base_offset);
            }
            if fits && !header.is_control() && !is_aborted(header, job.aborted) {
                note_keys(&batch, map, &mut scratch);
            }
            pace.spend(bytes.len() as u64).await;
        }
    }
    Ok(plan.end_offset)
}

/// Notes the keys of one batch; of a batch that does not parse, those before the fault are right
/// all the same.
fn note_keys(batch: &BatchView<'_>, map: &mut KeyMap, scratch: &mut Vec<u8>) {
    let Ok(records) = batch.records(&decompress_limits(), scratch) else {
        return;
    };
    for record in records.flatten() {
        if let Some(key) = record.key {
            map.put(key, record.offset);
        }
    }
}

fn is_aborted(header: &BatchHeader, aborted: &[AbortedTransaction]) -> bool {
    header.is_transactional()
        && aborted
            .iter()
            .any(|transaction| transaction.contains(header))
}

impl AbortedTransaction {
    /// Whether the batch is part of this transaction.
    pub(crate) fn contains(&self, header: &BatchHeader) -> bool {
        let offsets = self.first_offset..=self.last_offset;
        self.producer_id == header.producer_id && offsets.contains(&header.base_offset)
    }
}

/// How many segments go into the next output: as many as fit `segment.bytes`, at least one.
fn group_length(segments: &[ClosedSegment], segment_bytes: u32) -> usize {
    let base = segments.first().map_or(0, |first| first.base_offset);
    let mut bytes = 0_u64;
    let fits = |segment: &&ClosedSegment| {
        bytes += u64::from(segment.size_bytes);
        let offsets = segment.next_offset.saturating_sub(base);
        bytes <= u64::from(segment_bytes) && i32::try_from(offsets).is_ok()
    };
    segments.iter().take_while(fits).count().max(1)
}

/// Neighbouring segments that become one.
struct Group<'a, D: Disk> {
    store: &'a SegmentStore<D>,
    directory: &'a Rc<str>,
    sources: &'a [ClosedSegment],
    bytes: u64,
    uses_reserve: bool,
}

impl<D: Disk> Group<'_, D> {
    /// Writes the output and switches to it; returns its size, `None` when the owner stopped it.
    /// A group of one that would not change stays.
    async fn compact<C: Clock>(
        &self,
        filter: &mut Filter<'_>,
        pace: &mut Pace<C>,
        owner: &impl SegmentSwitch,
    ) -> Result<Option<u64>, SegmentError> {
        let Some(first) = self.sources.first() else {
            return Ok(Some(0));
        };
        let budget = self.store.budget();
        let is_taken =
            budget.take(self.bytes) || self.uses_reserve && budget.take_from_reserve(self.bytes);
        if !is_taken {
            let path = file_path(self.directory, first.base_offset, FileKind::Cleaned);
            return Err(DiskError::Full {
                shortage: budget.shortage(self.bytes),
                operation: "compact",
                path,
            }
            .into());
        }
        let result = self.write_and_switch(first, filter, pace, owner).await;
        budget.give_back(self.bytes);
        if !matches!(result, Ok(Some(_))) {
            // A leftover would be removed at the next start; now is better, but not needed.
            let path = file_path(self.directory, first.base_offset, FileKind::Cleaned);
            if let Err(error) = self.store.disk().remove(&path).await {
                tracing::debug!(%error, "no output of the interrupted compaction to remove");
            }
        }
        result
    }

    async fn write_and_switch<C: Clock>(
        &self,
        first: &ClosedSegment,
        filter: &mut Filter<'_>,
        pace: &mut Pace<C>,
        owner: &impl SegmentSwitch,
    ) -> Result<Option<u64>, SegmentError> {
        let mut writer =
            CleanedWriter::create(self.store, self.directory, first.base_offset).await?;
        let mut changed = self.sources.len() > 1;
        for source in self.sources {
            changed |= self.copy(source, filter, &mut writer, pace).await?;
        }
        let cleaned = writer.finish().await?;
        let size = u64::from(cleaned.size_bytes);
        if changed {
            let owner = (owner, filter.end_offset);
            if !switch(self.store, self.directory, self.sources, cleaned, owner).await? {
                return Ok(None);
            }
        } else {
            let path = file_path(self.directory, first.base_offset, FileKind::Cleaned);
            self.store.disk().remove(&path).await?;
        }
        Ok(Some(size))
    }

    async fn copy<C: Clock>(
        &self,
        source: &ClosedSegment,
        filter: &mut Filter<'_>,
        writer: &mut CleanedWriter<D>,
        pace: &mut Pace<C>,
    ) -> Result<bool, SegmentError> {
        let reader = self.store.reader(self.directory, source).await?;
        let mut stream = BatchStream::new(&reader, 0);
        let mut changed = false;
        while let Some((position, bytes)) = stream.next().await? {
            pace.spend(bytes.len() as u64 * 2).await;
            let wrong = |error: &dyn ToString| {
                reader.corrupt(position, "a record batch", error.to_string())
            };
            let batch = BatchView::new(&bytes).map_err(|error| wrong(&error))?;
            match filter.apply(&batch) {
                Outcome::Verbatim => writer.append(batch.header(), &bytes).await?,
                Outcome::Rewritten(bytes) => {
                    changed = true;
                    let header = BatchHeader::decode(&bytes).map_err(|error| wrong(&error))?;
                    writer.append(&header, &bytes).await?;
                }
                Outcome::Dropped => changed = true,
            }
        }
        Ok(changed)
    }
}
