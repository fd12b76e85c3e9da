//! The ring: which file and position the next commit takes.
//!
//! What it is        bookkeeping of the ring's files; no I/O.
//! Invariants        1. a commit never spans two files. 2. a file is reused only when every commit
//!                   in it is
//!                   below `free_below`. 3. a commit is placed only where the file is zeroed.

/// One file of the ring.
#[derive(Clone, Debug)]
pub(crate) struct RingFile<F> {
    /// Number in the file's name.
    pub(crate) index: u32,
    pub(crate) file: F,
    /// Length of the file.
    pub(crate) bytes: u64,
    /// Bytes from the start that are allocated and written.
    pub(crate) zeroed_end: u64,
    /// First commit in the file that may still be needed, and the CRC of the commit before it.
    pub(crate) first_commit: (u64, u32),
    /// Where that commit begins.
    pub(crate) first_position: u64,
    /// Last commit in the file; 0 for none.
    pub(crate) last_commit: u64,
}

/// Where a replay may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReplayPoint {
    pub(crate) number: u64,
    pub(crate) previous_crc: u32,
    pub(crate) file_index: u32,
    pub(crate) position: u64,
}

/// Sizes of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RingShape {
    pub(crate) files_maximum: usize,
    /// Bytes of a file that is created.
    pub(crate) file_bytes: u64,
    /// Bytes of the longest commit: a file that does not hold it (cut short, or of a start with
    /// other settings) is left alone once it is free, and another one is made in its place.
    pub(crate) commit_bytes: u64,
}

/// All files of one shard's ring.
#[derive(Clone, Debug)]
pub(crate) struct Ring<F> {
    files: Vec<RingFile<F>>,
    /// Place in `files` of the one being written.
    current: usize,
    position: u64,
    /// Commits below this number are no longer needed.
    free_below: u64,
    shape: RingShape,
    /// The disk had no room for another file.
    growth_refused: bool,
}

/// Where a commit goes.
#[derive(Clone, Debug)]
pub(crate) struct Place<F> {
    pub(crate) file: F,
    pub(crate) position: u64,
}

impl<F: Clone> Ring<F> {
    /// A ring over `files`; writing goes on in `files[current]` at `position`.
    pub(crate) fn new(
        files: Vec<RingFile<F>>,
        (current, position): (usize, u64),
        free_below: u64,
        shape: RingShape,
    ) -> Self {
        Self {
            files,
            current,
            position,
            free_below,
            shape,
            growth_refused: false,
        }
    }

    /// Takes `bytes` (a multiple of the block) for commit `number`, whose predecessor has
    /// `previous_crc`; `None` when the ring has no place now.
    pub(crate) fn place(
        &mut self,
        (number, previous_crc): (u64, u32),
        bytes: u64,
    ) -> Option<Place<F>> {
        let fits = self
            .files
            .get(self.current)
            .is_some_and(|file| self.position + bytes <= file.bytes);
        if !fits {
            let next = self.next_free(bytes)?;
            self.current = next;
            self.position = 0;
        }
        let position = self.position;
        let file = self.files.get_mut(self.current)?;
        if position + bytes > file.zeroed_end {
            return None;
        }
        if position == 0 {
            file.first_commit = (number, previous_crc);
            file.first_position = 0;
        }
        file.last_commit = number;
        self.position += bytes;
        Some(Place {
            file: file.file.clone(),
            position,
        })
    }

    fn next_free(&self, bytes: u64) -> Option<usize> {
        let mut free = self.free_files();
        free.find(|(_, file)| file.bytes >= bytes)
            .map(|(place, _)| place)
    }

    /// Forgets the commits below `number`.
    pub(crate) fn free_below(&mut self, number: u64) {
        self.free_below = self.free_below.max(number);
    }

    /// Bytes that commits can still take in files that exist.
    pub(crate) fn free_bytes(&self) -> u64 {
        let rest = self
            .files
            .get(self.current)
            .map_or(0, |file| file.bytes.saturating_sub(self.position));
        rest + self.free_files().map(|(_, file)| file.bytes).sum::<u64>()
    }

    /// Bytes of files that may yet be created.
    pub(crate) fn growth_bytes(&self) -> u64 {
        if self.growth_refused {
            return 0;
        }
        let usable = self.files.iter().filter(|file| self.is_usable(file));
        let missing = self.shape.files_maximum.saturating_sub(usable.count());
        self.shape.file_bytes * missing as u64
    }

    /// Bytes of the ring, files that may yet be created included.
    pub(crate) fn total_bytes(&self) -> u64 {
        let usable = self.files.iter().filter(|file| self.is_usable(file));
        usable.map(|file| file.bytes).sum::<u64>() + self.growth_bytes()
    }

    fn is_usable(&self, file: &RingFile<F>) -> bool {
        file.bytes >= self.shape.commit_bytes
    }

    /// Notes whether the disk has room for another file.
    pub(crate) fn set_growth_refused(&mut self, refused: bool) {
        self.growth_refused = refused;
    }

    /// Whether half of the ring is in use.
    pub(crate) fn is_half_used(&self) -> bool {
        self.free_bytes() + self.growth_bytes() < self.total_bytes() >> 1
    }

    fn free_files(&self) -> impl Iterator<Item = (usize, &RingFile<F>)> {
        self.files.iter().enumerate().filter(|(place, file)| {
            let is_free = *place != self.current && file.last_commit < self.free_below;
            is_free && self.is_usable(file)
        })
    }

    /// Number of the file to create next: one and a half files are kept ahead of the commits, so
    /// that
    /// a disk that fills up finds the ring grown.
    pub(crate) fn wants_file(&self) -> Option<u32> {
        let ahead = self.shape.file_bytes + (self.shape.file_bytes >> 1);
        if self.growth_bytes() == 0 || self.free_bytes() >= ahead {
            return None;
        }
        (0_u32..).find(|index| !self.files.iter().any(|file| file.index == *index))
    }

    /// Adds a created file; what is not yet zeroed is not used.
    pub(crate) fn add_file(&mut self, file: RingFile<F>) {
        self.files.push(file);
    }

    /// The next piece to zero: file, position and its index in the ring.
    pub(crate) fn wants_zeros(&self) -> Option<(F, u64, u64, u32)> {
        self.files
            .iter()
            .find(|file| file.zeroed_end < file.bytes)
            .map(|file| (file.file.clone(), file.zeroed_end, file.bytes, file.index))
    }

    /// Notes that file `index` is zeroed up to `end`.
    pub(crate) fn set_zeroed(&mut self, index: u32, end: u64) {
        if let Some(file) = self.files.iter_mut().find(|file| file.index == index) {
            file.zeroed_end = end;
        }
    }

    /// The commit number up to which (inclusive) logs must be written back so that the oldest used
    /// file
    /// becomes free; `None` when only the current file is in use.
    pub(crate) fn oldest_used_last_commit(&self) -> Option<u64> {
        self.files
            .iter()
            .enumerate()
            .filter(|(place, file)| *place != self.current && file.last_commit >= self.free_below)
            .map(|(_, file)| file.last_commit)
            .min()
    }

    /// The latest point at which a replay may begin so that it meets commit `number`: the start of
    /// a file, since only whole files become free, or where the last replay began inside one.
    pub(crate) fn replay_point(&self, number: u64) -> Option<ReplayPoint> {
        self.files
            .iter()
            .filter(|file| file.last_commit >= self.free_below)
            .filter(|file| (1..=number).contains(&file.first_commit.0))
            .max_by_key(|file| file.first_commit.0)
            .map(|file| ReplayPoint {
                number: file.first_commit.0,
                previous_crc: file.first_commit.1,
                file_index: file.index,
                position: file.first_position,
            })
    }

    /// Number of the current file and the position in it.
    pub(crate) fn position(&self) -> (u32, u64) {
        let index = self.files.get(self.current).map_or(0, |file| file.index);
        (index, self.position)
    }
}

#[cfg(test)]
mod tests {
    use super::{Ring, RingFile, RingShape};

    fn shape(files_maximum: usize) -> RingShape {
        RingShape {
            files_maximum,
            file_bytes: 4096,
            commit_bytes: 2048,
        }
    }

    fn file(index: u32) -> RingFile<u32> {
        RingFile {
            index,
            file: index,
            bytes: 4096,
            zeroed_end: 4096,
            first_commit: (0, 0),
            first_position: 0,
            last_commit: 0,
        }
    }

    #[test]
    fn a_file_is_reused_only_after_its_commits_are_freed() {
        let mut ring = Ring::new(vec![file(0), file(1)], (0, 0), 1, shape(2));
        let places: Vec<_> = (1..=4)
            .map(|number| {
                ring.place((number, 0), 2048)
                    .map(|place| (place.file, place.position))
            })
            .collect();
        assert_eq!(
            places,
            [Some((0, 0)), Some((0, 2048)), Some((1, 0)), Some((1, 2048))]
        );
        assert!(ring.place((5, 0), 2048).is_none());
        ring.free_below(2);
        assert!(
            ring.place((5, 0), 2048).is_none(),
            "commit 2 is still needed"
        );
        ring.free_below(3);
        assert_eq!(ring.place((5, 0), 2048).map(|place| place.file), Some(0));
    }

    #[test]
    fn a_commit_waits_for_zeros() {
        let mut fresh = file(0);
        fresh.zeroed_end = 1024;
        let mut ring = Ring::new(vec![fresh], (0, 0), 1, shape(1));
        assert!(ring.place((1, 0), 2048).is_none());
        ring.set_zeroed(0, 2048);
        assert!(ring.place((1, 0), 2048).is_some());
        assert_eq!(ring.free_bytes(), 2048);
    }

    #[test]
    fn a_file_that_holds_no_whole_commit_does_not_count() {
        let mut short = file(0);
        short.bytes = 1024;
        let mut ring = Ring::new(vec![short, file(1)], (1, 0), 1, shape(2));
        assert!(ring.place((1, 0), 2048).is_some());
        assert!(ring.place((2, 0), 2048).is_some());
        assert!(ring.place((3, 0), 1024).is_none(), "not into the short one");
        assert_eq!(ring.wants_file(), Some(2));
        ring.add_file(file(2));
        assert_eq!(ring.place((3, 0), 2048).map(|place| place.file), Some(2));
        assert_eq!(ring.total_bytes(), 8192);
    }
}
