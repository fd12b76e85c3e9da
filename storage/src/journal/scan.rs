//! Reading the ring at start: the chain of commits, its end, and whether that end is honest.
//!
//! What it is        finds the first commit to replay, follows numbers and CRCs, and decides
//!                   whether a bad
//!                   commit is a torn tail (never acknowledged) or damage (a later commit or the
//!                   checkpoint
//!                   says that it had been acknowledged).
//! What it is not    it does not interpret entries; it never writes.
//! Invariants        1. entries are handed out only from commits whose CRC and chain fit.
//! Source            decision 2026-11-23 "one gateway"; docs/formats/journal.md "Recovery".

use crate::aligned_buffer::AlignedBuffer;
use crate::disk::{Disk, DiskError, OpenMode};
use crate::error::Corrupt;
use crate::journal::format::{FoundCommit, NotCommit, decode_commit};
use crate::journal::ring::RingFile;
use crate::journal::{RING_MODE, ring_path};
use crate::limits;

/// Where replay begins, from the checkpoint; `Default` is a shard without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReplayStart {
    pub(crate) number: u64,
    pub(crate) previous_crc: u32,
    pub(crate) file_index: u32,
    pub(crate) position: u64,
    /// Commits up to this one had been acknowledged when the checkpoint was written.
    pub(crate) acknowledged: u64,
    pub(crate) incarnation: u64,
}

impl Default for ReplayStart {
    fn default() -> Self {
        Self {
            number: 1,
            previous_crc: 0,
            file_index: 0,
            position: 0,
            acknowledged: 0,
            incarnation: 0,
        }
    }
}

/// What the scan found.
#[derive(Debug)]
pub(crate) struct ScannedRing<F> {
    pub(crate) files: Vec<RingFile<F>>,
    /// Place in `files` and position where writing goes on.
    pub(crate) end: (usize, u64),
    pub(crate) next_number: u64,
    pub(crate) previous_crc: u32,
    /// Highest incarnation of any sound commit that was met.
    pub(crate) incarnation: u64,
}

/// Why the ring cannot be read.
#[derive(Debug)]
pub(crate) enum ScanError {
    Disk(DiskError),
    Damaged(Corrupt),
}

impl From<DiskError> for ScanError {
    fn from(error: DiskError) -> Self {
        Self::Disk(error)
    }
}

struct Cursor {
    place: usize,
    position: u64,
    number: u64,
    previous_crc: u32,
    incarnation: u64,
}

/// Opens the files of the ring and hands every commit from `start` on to `apply`.
pub(crate) async fn scan_ring<D: Disk>(
    disk: &D,
    directory: &str,
    start: ReplayStart,
    apply: &mut impl FnMut(&FoundCommit<'_>) -> bool,
) -> Result<ScannedRing<D::File>, ScanError> {
    let files = open_files(disk, directory).await?;
    let mut scan = Scanner::new(disk, directory, files);
    let mut cursor = scan.find_start(&start).await?;
    loop {
        match scan.read_commit(&mut cursor, apply).await? {
            Found::Commit => {}
            Found::Rejected => return Err(scan.damaged(&cursor, "entries that decode")),
            Found::Nothing => {
                if !scan.go_to_next_file(&mut cursor).await? {
                    break;
                }
            }
        }
    }
    if start.acknowledged >= cursor.number || scan.is_acknowledged(&cursor).await? {
        let expected = format!("acknowledged commit {}", cursor.number);
        return Err(scan.damaged(&cursor, &expected));
    }
    if cursor.number > start.number
        && let Some(file) = scan.files.get(cursor.place)
    {
        // The process may have died while the last commit was being written.
        disk.sync(&file.file).await?;
    }
    Ok(ScannedRing {
        files: scan.files,
        end: (cursor.place, cursor.position),
        next_number: cursor.number,
        previous_crc: cursor.previous_crc,
        incarnation: cursor.incarnation.max(scan.incarnation_seen),
    })
}

async fn open_files<D: Disk>(
    disk: &D,
    directory: &str,
) -> Result<Vec<RingFile<D::File>>, DiskError> {
    let mut files = Vec::new();
    let block = u64::from(disk.alignment_bytes());
    for entry in disk.list(directory).await? {
        let Some(index) = ring_index(&entry.name) else {
            continue;
        };
        let mode = OpenMode { ..RING_MODE };
        let file = disk.open(&ring_path(directory, index), mode).await?;
        // Part of a block cannot be written to.
        let bytes = entry.length_bytes - entry.length_bytes % block;
        files.push(RingFile {
            index,
            file,
            bytes,
            zeroed_end: bytes,
            first_commit: (0, 0),
            first_position: 0,
            last_commit: 0,
        });
    }
    Ok(files)
}

/// The number in the name of a ring file; `None` for any other name.
pub(crate) fn ring_index(name: &str) -> Option<u32> {
    let digits = name.strip_prefix("ring-")?.strip_suffix(".journal")?;
    (digits.len() == 4).then(|| digits.parse().ok())?
}

enum Found {
    Commit,
    Rejected,
    Nothing,
}

struct Scanner<'a, D: Disk> {
    disk: &'a D,
    directory: &'a str,
    files: Vec<RingFile<D::File>>,
    window: AlignedBuffer,
    window_place: usize,
    window_start: u64,
    incarnation_seen: u64,
}

impl<'a, D: Disk> Scanner<'a, D> {
    fn new(disk: &'a D, directory: &'a str, files: Vec<RingFile<D::File>>) -> Self {
        let longest = files.iter().map(|file| file.bytes).max().unwrap_or(0);
        let whole = usize::try_from(longest).unwrap_or(usize::MAX);
        let capacity = limits::COMMIT_BYTES_MAXIMUM + limits::SCAN_CHUNK_BYTES;
        // A small ring needs no more than one of its files.
        let capacity = whole.min(capacity as usize).next_multiple_of(4096);
        Self {
            disk,
            directory,
            files,
            window: AlignedBuffer::with_capacity(capacity),
            window_place: usize::MAX,
            window_start: 0,
            incarnation_seen: 0,
        }
    }

    /// Makes at least `need` bytes at `position` available, fewer only at the end of the file.
    async fn load(&mut self, place: usize, position: u64, need: u64) -> Result<(), DiskError> {
        let window_end = self.window_start + self.window.len() as u64;
        let loaded = self.window_place == place && position >= self.window_start;
        if loaded && position + need <= window_end {
            return Ok(());
        }
        let Some(file) = self.files.get(place) else {
            self.window.clear();
            return Ok(());
        };
        let alignment = u64::from(self.disk.alignment_bytes());
        // Not more than asked for and a bit: most looks are at a file's head only.
        let wanted = if need <= alignment {
            u64::from(limits::SCAN_CHUNK_BYTES).min(64 * 1024)
        } else {
            u64::from(limits::SCAN_CHUNK_BYTES)
        };
        let start = position - position % alignment;
        let length = (position - start + need.max(wanted))
            .next_multiple_of(alignment)
            .min(self.window.capacity() as u64);
        let length = u32::try_from(length).unwrap_or(limits::SCAN_CHUNK_BYTES);
        let file = file.file.clone();
        let mut buffer = std::mem::replace(&mut self.window, AlignedBuffer::with_capacity(0));
        buffer.clear();
        let (result, buffer) = self.disk.read(&file, start, buffer, length).await;
        self.window = buffer;
        self.window_place = place;
        self.window_start = start;
        result.map(|_| ())
    }

    fn bytes_at(&self, position: u64) -> &[u8] {
        usize::try_from(position.saturating_sub(self.window_start))
            .ok()
            .and_then(|from| self.window.as_slice().get(from..))
            .unwrap_or_default()
    }

    async fn commit_at(
        &mut self,
        place: usize,
        position: u64,
    ) -> Result<Result<FoundCommit<'_>, NotCommit>, DiskError> {
        let alignment = u64::from(self.disk.alignment_bytes());
        let end = self.files.get(place).map_or(0, |file| file.bytes);
        if position + alignment > end {
            return Ok(Err(NotCommit::Absent));
        }
        self.load(place, position, alignment).await?;
        let longest = u64::from(limits::COMMIT_BYTES_MAXIMUM);
        if let Err(NotCommit::Short(need)) = decode_commit(self.bytes_at(position), longest) {
            if position + need > end {
                return Ok(Err(NotCommit::Damaged));
            }
            self.load(place, position, need).await?;
        }
        Ok(decode_commit(self.bytes_at(position), longest))
    }

    async fn find_start(&mut self, start: &ReplayStart) -> Result<Cursor, ScanError> {
        let mut cursor = Cursor {
            place: 0,
            position: 0,
            number: start.number,
            previous_crc: start.previous_crc,
            // Replay may begin with commits of an earlier life than the checkpoint's.
            incarnation: 0,
        };
        self.incarnation_seen = start.incarnation;
        self.note_heads().await?;
        if let Some(place) = self
            .files
            .iter()
            .position(|file| file.index == start.file_index)
        {
            cursor.place = place;
            cursor.position = start.position;
            if let Some(file) = self.files.get_mut(place)
                && start.position > 0
            {
                // What stands before is in the checkpoint and may be damaged.
                file.first_commit = (start.number, start.previous_crc);
                file.first_position = start.position;
            }
        }
        Ok(cursor)
    }

    /// Files whose head is older than the replay are free; the others hold at least their head.
    async fn note_heads(&mut self) -> Result<(), DiskError> {
        for place in 0..self.files.len() {
            let head = self.commit_at(place, 0).await?.ok();
            let found = head.map(|commit| commit.header);
            if let (Some(header), Some(file)) = (found, self.files.get_mut(place)) {
                file.first_commit = (header.number, header.previous_crc);
                file.last_commit = header.number;
                self.incarnation_seen = self.incarnation_seen.max(header.incarnation);
            }
        }
        Ok(())
    }

    async fn read_commit(
        &mut self,
        cursor: &mut Cursor,
        apply: &mut impl FnMut(&FoundCommit<'_>) -> bool,
    ) -> Result<Found, DiskError> {
        let found = self.commit_at(cursor.place, cursor.position).await?;
        let Ok(commit) = found else {
            return Ok(Found::Nothing);
        };
        let fits = commit.header.number == cursor.number
            && commit.header.previous_crc == cursor.previous_crc
            && commit.header.incarnation >= cursor.incarnation;
        if !fits {
            return Ok(Found::Nothing);
        }
        if !apply(&commit) {
            return Ok(Found::Rejected);
        }
        let (crc, padded) = (commit.crc, commit.padded_bytes);
        cursor.incarnation = commit.header.incarnation;
        if let Some(file) = self.files.get_mut(cursor.place) {
            file.last_commit = cursor.number;
        }
        cursor.previous_crc = crc;
        cursor.number += 1;
        cursor.position += padded;
        Ok(Found::Commit)
    }

    /// Moves to the file whose first commit is the expected one.
    async fn go_to_next_file(&mut self, cursor: &mut Cursor) -> Result<bool, DiskError> {
        if cursor.position == 0 && self.files.len() <= 1 {
            return Ok(false);
        }
        for place in 0..self.files.len() {
            if place == cursor.place && cursor.position == 0 {
                continue;
            }
            let Ok(commit) = self.commit_at(place, 0).await? else {
                continue;
            };
            let fits = commit.header.number == cursor.number
                && commit.header.previous_crc == cursor.previous_crc
                && commit.header.incarnation >= cursor.incarnation;
            if fits {
                cursor.place = place;
                cursor.position = 0;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a sound commit behind the end of the chain says that the next one had been
    /// acknowledged.
    async fn is_acknowledged(&mut self, cursor: &Cursor) -> Result<bool, DiskError> {
        for place in 0..self.files.len() {
            let from = if place == cursor.place {
                cursor.position
            } else {
                0
            };
            let head = self.commit_at(place, from).await?.ok();
            let head = head.map(|commit| commit.header.number);
            // A file that begins with an older commit was not reused since: all in it is older.
            let stale = place != cursor.place && head.is_some_and(|head| head < cursor.number);
            if !stale && self.has_proof(place, from, cursor).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn has_proof(
        &mut self,
        place: usize,
        from: u64,
        cursor: &Cursor,
    ) -> Result<bool, DiskError> {
        let step = u64::from(self.disk.alignment_bytes());
        let end = self.files.get(place).map_or(0, |file| file.bytes);
        let mut position = from;
        while position < end {
            let mut next = position + step;
            if let Ok(commit) = self.commit_at(place, position).await? {
                let header = commit.header;
                next = position + commit.padded_bytes.max(step);
                self.incarnation_seen = self.incarnation_seen.max(header.incarnation);
                if header.number >= cursor.number
                    && header.acknowledged >= cursor.number
                    && header.incarnation >= cursor.incarnation
                {
                    return Ok(true);
                }
            }
            position = next;
        }
        Ok(false)
    }

    fn damaged(&self, cursor: &Cursor, expected: &str) -> ScanError {
        let index = self.files.get(cursor.place).map_or(0, |file| file.index);
        ScanError::Damaged(Corrupt {
            file: ring_path(self.directory, index),
            position: cursor.position,
            expected: expected.to_owned(),
            got: "bytes that make no such commit".to_owned(),
        })
    }
}
