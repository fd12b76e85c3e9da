//! Replacing the sources of a group by its output so that a crash at any point recovers.
//!
//! What it is        the protocol, forwards and from whatever a crash left:
//!                   1. `X.log.cleaned` is written and synced. A crash before 2: it is removed.
//!                   2. rename to `X.log.swap`: from here on the output is the truth.
//!                   3. index files, then logs, of the sources behind X are removed; then X's
//!                   index.
//!                   4. rename to `X.log` over the first source.
//!                   5. index files are written (or rebuilt at the next start).
//!                   After a crash behind 2, steps 3 and 4 are done again: the sources are the logs
//!                   whose base offset is behind X and before the end of the output. A source of
//!                   which nothing stayed may survive; it holds only what a later round removes.
//! Invariants        1. sources go before the last rename, so no offset is ever in two logs.
//!                   2. each step is durable before the next (the disk promises it).
//! Source            Kafka 4.3 `UnifiedLog.replaceSegments`, `LogLoader`; docs/formats/segment.md.

use std::future::Future;
use std::rc::Rc;

use super::writer::Cleaned;
use crate::disk::{Disk, DiskError};
use crate::segment::{
    ClosedSegment, FileKind, SegmentError, SegmentStore, file_path, note_all_batches,
    parse_file_name, remove_index_files, remove_log_files, write_index_files,
};

/// The owner of a log's list of segments, as compaction sees it.
pub trait SegmentSwitch {
    /// Proof that nobody else changes the list or takes a checkpoint of it.
    type Turn;

    /// Waits for the turn and makes durable that closed segments which begin below `end_offset` are
    /// about to be replaced, so that a recovery asks the files. `None` when the sources are no
    /// longer in the list (retention): the round ends.
    fn begin(
        &self,
        sources: &[ClosedSegment],
        end_offset: i64,
    ) -> impl Future<Output = Result<Option<Self::Turn>, SegmentError>>;

    /// Replaces the sources by `output` in the list, in the instant in which readers may see it.
    fn finish(&self, turn: Self::Turn, sources: &[ClosedSegment], output: ClosedSegment);
}

/// Steps 2 to 5; false when the owner did not let it happen.
///
/// # Errors
/// [`SegmentError::Disk`]: on an error after step 2 the log must be opened again, which finishes.
pub(crate) async fn switch<D: Disk>(
    store: &SegmentStore<D>,
    directory: &Rc<str>,
    sources: &[ClosedSegment],
    cleaned: Cleaned,
    (owner, end_offset): (&impl SegmentSwitch, i64),
) -> Result<bool, SegmentError> {
    let (Some(first), Some(last)) = (sources.first(), sources.last()) else {
        return Ok(true);
    };
    let Some(list) = owner.begin(sources, end_offset).await? else {
        return Ok(false);
    };
    let disk = store.disk();
    let base = first.base_offset;
    let swap_path = file_path(directory, base, FileKind::Swap);
    disk.rename(&file_path(directory, base, FileKind::Cleaned), &swap_path)
        .await?;
    let turn = store.begin_switch(directory, sources).await;
    for source in sources.iter().skip(1) {
        remove_log_files(disk, directory, source.base_offset).await?;
    }
    remove_index_files(disk, directory, base).await?;
    disk.rename(&swap_path, &file_path(directory, base, FileKind::Log))
        .await?;
    let output = ClosedSegment {
        base_offset: base,
        next_offset: last.next_offset,
        max_timestamp: cleaned.index.max_timestamp(),
        size_bytes: cleaned.size_bytes,
    };
    owner.finish(list, sources, output);
    drop(turn);
    let before: u64 = sources
        .iter()
        .map(|source| u64::from(source.size_bytes))
        .sum();
    store.budget().give_back(before);
    store.budget().adopt(u64::from(output.size_bytes));
    if let Err(error) = write_index_files(disk, directory, &cleaned.index).await {
        tracing::warn!(%error, directory = &**directory, base, "index not written, it is rebuilt later");
    }
    Ok(true)
}

/// Finishes or drops what an interrupted round left in a log's directory. Call it at start, before
/// the segments of the log are opened; without leftovers it costs one listing.
///
/// Returns whether segments changed, so that what a checkpoint says about their sizes no longer
/// holds: find out about them with [`SegmentStore::recover_closed`].
///
/// # Errors
/// [`SegmentError::Disk`]; [`SegmentError::Corrupt`] when a complete output is damaged.
pub async fn recover_interrupted<D: Disk>(
    store: &SegmentStore<D>,
    directory: &Rc<str>,
) -> Result<bool, SegmentError> {
    let disk = store.disk();
    let entries = disk.list(directory).await?;
    let files: Vec<_> = entries
        .iter()
        .filter_map(|entry| Some((parse_file_name(&entry.name)?, entry.length_bytes)))
        .collect();
    let mut changed = false;
    for ((base, kind), length) in &files {
        if *kind == FileKind::Cleaned {
            disk.remove(&file_path(directory, *base, *kind)).await?;
        }
        if *kind == FileKind::Swap {
            let logs = files.iter().filter(|((_, kind), _)| *kind == FileKind::Log);
            let bases: Vec<i64> = logs.map(|((base, _), _)| *base).collect();
            finish_swap(store, directory, *base, *length, &bases).await?;
            changed = true;
        }
    }
    Ok(changed)
}

async fn finish_swap<D: Disk>(
    store: &SegmentStore<D>,
    directory: &Rc<str>,
    base: i64,
    length: u64,
    logs: &[i64],
) -> Result<(), SegmentError> {
    let disk = store.disk();
    let swap_path = file_path(directory, base, FileKind::Swap);
    let size = u32::try_from(length).map_err(|_| DiskError::Io {
        operation: "recover",
        path: swap_path.clone(),
        reason: format!("{length} bytes are more than a segment has"),
    })?;
    let end = note_all_batches(store, directory, base, FileKind::Swap, size).await?;
    for source in logs
        .iter()
        .filter(|source| **source > base && **source < end)
    {
        remove_log_files(disk, directory, *source).await?;
    }
    remove_index_files(disk, directory, base).await?;
    disk.rename(&swap_path, &file_path(directory, base, FileKind::Log))
        .await?;
    Ok(())
}
