//! The keeper of the ring: files and zeros are there before a commit needs them.
//!
//! What it is        [`Journal::run_ring_keeper`], and how a file of the ring is made.
//! What it is not    the arithmetic of the ring (`ring.rs`).

use super::release::CommitSink;
use super::ring::{Ring, RingFile};
use super::{Journal, JournalShape};
use crate::aligned_buffer::AlignedBuffer;
use crate::disk::{Clock, Disk, DiskError, OpenMode, Resize};
use crate::limits;

impl<D: Disk, C: Clock> Journal<D, C> {
    /// Notes whether the disk has room for another file of the ring.
    pub(crate) fn set_growth_refused(&self, refused: bool) {
        self.state.borrow_mut().ring.set_growth_refused(refused);
    }

    /// Fills and creates the ring's files ahead of the commits, until the journal stops.
    pub(crate) async fn run_ring_keeper(&self, sink: &impl CommitSink) {
        loop {
            let seen = self.ring_changed.seen();
            if self.poisoned().is_some() || (self.is_stopping() && self.depth() == 0) {
                return;
            }
            match self.keep_ring().await {
                Ok(true) => {}
                Ok(false) => self.ring_changed.after(seen).await,
                Err(error @ DiskError::Full { .. }) => {
                    if self.take_growth_telling() {
                        tracing::warn!(%error, "the journal's ring cannot grow");
                    }
                    self.set_growth_refused(true);
                    self.ring_changed.after(seen).await;
                }
                Err(error) => {
                    self.poison(error, sink);
                    return;
                }
            }
        }
    }

    /// Whether it is told that the ring cannot grow; a full disk is tried twice a second.
    fn take_growth_telling(&self) -> bool {
        let now = self.clock.now();
        let is_repeated = |at| now.saturating_sub(at) < limits::SHORTAGE_TOLD_INTERVAL;
        let is_due = !self.growth_told_at.get().is_some_and(is_repeated);
        if is_due {
            self.growth_told_at.set(Some(now));
        }
        is_due
    }

    async fn keep_ring(&self) -> Result<bool, DiskError> {
        if self.shape.store_nothing {
            return Ok(false);
        }
        if let Some((file, from, end, index)) = self.with_ring(Ring::wants_zeros) {
            let to = zero_piece(&self.disk, &file, from, end).await?;
            self.state.borrow_mut().ring.set_zeroed(index, to);
            self.ring_changed.notify();
            return Ok(true);
        }
        if let Some(index) = self.with_ring(Ring::wants_file) {
            let file = create_ring_file(&self.disk, &self.shape, index).await?;
            self.state.borrow_mut().ring.add_file(file);
            self.ring_changed.notify();
            return Ok(true);
        }
        Ok(false)
    }
}

/// Path of a file of the ring.
pub(crate) fn ring_path(directory: &str, index: u32) -> String {
    format!("{directory}/ring-{index:04}.journal")
}

/// How the ring's files are opened.
pub(crate) const RING_MODE: OpenMode = OpenMode {
    create: false,
    write: true,
    durable: true,
    direct: true,
};

/// Creates a file of the ring and reserves its space; the zeros follow in pieces.
pub(crate) async fn create_ring_file<D: Disk>(
    disk: &D,
    shape: &JournalShape,
    index: u32,
) -> Result<RingFile<D::File>, DiskError> {
    let mode = OpenMode {
        create: true,
        ..RING_MODE
    };
    let path = ring_path(&shape.directory, index);
    let file = disk.open(&path, mode).await?;
    disk.resize(&file, Resize::Reserve(shape.ring_file_bytes))
        .await?;
    disk.sync(&file).await?;
    Ok(RingFile {
        index,
        file,
        bytes: shape.ring_file_bytes,
        zeroed_end: 0,
        first_commit: (0, 0),
        first_position: 0,
        last_commit: 0,
    })
}

/// Writes zeros from `from`, at most one piece; returns the new end.
pub(crate) async fn zero_piece<D: Disk>(
    disk: &D,
    file: &D::File,
    from: u64,
    end: u64,
) -> Result<u64, DiskError> {
    let length = (end - from).min(u64::from(limits::ZERO_CHUNK_BYTES));
    let length = usize::try_from(length).unwrap_or(limits::ZERO_CHUNK_BYTES as usize);
    let mut buffer = AlignedBuffer::with_capacity(length);
    buffer.set_len(length);
    let (result, _buffer) = disk.write(file, from, buffer).await;
    result.map(|()| from + length as u64)
}
