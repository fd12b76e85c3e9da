//! Append buffer: the batches of one log that are not yet in a segment, and the memory they share.
//!
//! What it is        a queue of batches in offset order; small batches are slices of blocks that
//!                   all logs of
//!                   the shard share ([`SharedBlock`]), large ones keep the frame they came in.
//! What it is not    bounded by itself: the engine counts its bytes.
//! Invariants        1. batches are dense: each begins where the one before ends.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use kafka_lite::record_batch::field;

use crate::limits;

/// Commit number of a batch that is not in the journal.
pub(crate) const DIRECT: u64 = u64::MAX;
/// Bytes of a batch that carry base offset and leader epoch.
const HEAD_BYTES: usize = 16;
/// Room for batches that an empty buffer keeps, so that a steady trickle allocates nothing.
const BATCHES_KEPT: usize = 8;

/// One batch in memory.
#[derive(Clone, Debug)]
pub(crate) struct BufferedBatch {
    pub(crate) base_offset: i64,
    /// Inclusive.
    pub(crate) last_offset: i64,
    pub(crate) max_timestamp: i64,
    pub(crate) term: u32,
    /// Commit of the journal that carries it; [`DIRECT`] for none.
    pub(crate) commit: u64,
    /// Patched first bytes of a large batch, whose frame must not be written to.
    pub(crate) head: Option<[u8; HEAD_BYTES]>,
    pub(crate) bytes: Bytes,
}

impl BufferedBatch {
    /// The batch in one piece; copies a large one.
    pub(crate) fn contiguous(&self) -> Bytes {
        let Some(head) = &self.head else {
            return self.bytes.clone();
        };
        let mut whole = BytesMut::with_capacity(self.bytes.len());
        whole.extend_from_slice(head);
        whole.extend_from_slice(self.bytes.get(HEAD_BYTES..).unwrap_or_default());
        whole.freeze()
    }

    /// Keeps base offset and leader epoch beside a frame that is shared.
    pub(crate) fn patched_head(bytes: &[u8], base_offset: i64, term: u32) -> [u8; HEAD_BYTES] {
        let mut head = [0_u8; HEAD_BYTES];
        if let Some(start) = bytes.get(..HEAD_BYTES) {
            head.copy_from_slice(start);
        }
        patch(&mut head, base_offset, term);
        head
    }
}

/// Bytes that left a buffer, by the budget that they came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Freed {
    pub(crate) journal_bytes: usize,
    pub(crate) direct_bytes: usize,
}

impl Freed {
    fn add(&mut self, batch: &BufferedBatch) {
        if batch.commit == DIRECT {
            self.direct_bytes += batch.bytes.len();
        } else {
            self.journal_bytes += batch.bytes.len();
        }
    }
}

/// The queue of one log.
#[derive(Debug, Default)]
pub(crate) struct AppendBuffer {
    batches: VecDeque<BufferedBatch>,
    bytes: usize,
}

impl AppendBuffer {
    /// Adds a batch at the end.
    pub(crate) fn push(&mut self, batch: BufferedBatch) {
        debug_assert!(
            self.batches
                .back()
                .is_none_or(|last| last.last_offset + 1 == batch.base_offset),
            "batches are dense"
        );
        self.bytes += batch.bytes.len();
        self.batches.push_back(batch);
    }

    /// Bytes of all batches.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Largest timestamp, ms since 1970; `None` for an empty buffer.
    pub(crate) fn max_timestamp(&self) -> Option<i64> {
        self.iter().map(|batch| batch.max_timestamp).max()
    }

    /// Offset of the first batch; `None` when empty.
    pub(crate) fn start_offset(&self) -> Option<i64> {
        self.batches.front().map(|batch| batch.base_offset)
    }

    /// The batches in offset order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &BufferedBatch> {
        self.batches.iter()
    }

    /// Oldest commit that carries any of the batches. Not always that of the first one: a batch may
    /// have been carried forward in the ring.
    pub(crate) fn oldest_commit(&self) -> Option<u64> {
        let commits = self.batches.iter().map(|batch| batch.commit);
        commits.filter(|commit| *commit != DIRECT).min()
    }

    /// Bytes of the batches that commits up to `commit` carry.
    pub(crate) fn bytes_up_to(&self, commit: u64) -> usize {
        let old = self.batches.iter().filter(|batch| batch.commit <= commit);
        old.map(|batch| batch.bytes.len()).sum()
    }

    /// Base offset of the batch that holds `offset`.
    pub(crate) fn base_of(&self, offset: i64) -> Option<i64> {
        let first = self
            .batches
            .partition_point(|batch| batch.last_offset < offset);
        let batch = self.batches.get(first)?;
        (batch.base_offset <= offset).then_some(batch.base_offset)
    }

    /// Offset of the first batch that is not in the journal.
    pub(crate) fn first_direct_offset(&self) -> Option<i64> {
        let mut direct = self.batches.iter().filter(|batch| batch.commit == DIRECT);
        direct.next().map(|batch| batch.base_offset)
    }

    /// Drops the batches below `end_offset`.
    pub(crate) fn remove_below(&mut self, end_offset: i64) -> Freed {
        let mut freed = Freed::default();
        while let Some(first) = self.batches.front() {
            if first.last_offset >= end_offset {
                break;
            }
            freed.add(first);
            self.batches.pop_front();
        }
        self.bytes -= freed.journal_bytes + freed.direct_bytes;
        if self.batches.is_empty() && self.batches.capacity() > BATCHES_KEPT {
            // An idle log keeps little memory.
            self.batches = VecDeque::new();
        }
        freed
    }

    /// Drops the batches that reach `offset` or beyond.
    pub(crate) fn truncate_from(&mut self, offset: i64) -> Freed {
        let mut freed = Freed::default();
        while let Some(last) = self.batches.back() {
            if last.last_offset < offset {
                break;
            }
            freed.add(last);
            self.batches.pop_back();
        }
        self.bytes -= freed.journal_bytes + freed.direct_bytes;
        freed
    }

    /// Collects batches from `offset` on and below `end_offset`, at most `max_bytes` but at least
    /// one;
    /// the pieces follow each other. Returns them with their bytes and the offset after them.
    pub(crate) fn collect(
        &self,
        (offset, end_offset): (i64, i64),
        max_bytes: usize,
    ) -> (Vec<Bytes>, usize, i64) {
        let first = self
            .batches
            .partition_point(|batch| batch.base_offset < offset);
        let (mut pieces, mut total, mut next) = (Vec::new(), 0, offset);
        for batch in self.batches.iter().skip(first) {
            let too_much = total > 0 && total + batch.bytes.len() > max_bytes;
            if batch.last_offset >= end_offset || too_much {
                break;
            }
            total += batch.bytes.len();
            next = batch.last_offset + 1;
            push_pieces(batch, &mut pieces);
        }
        (pieces, total, next)
    }

    /// Bytes of the first batch at or behind `offset`.
    pub(crate) fn first_batch_bytes(&self, offset: i64) -> Option<usize> {
        let first = self
            .batches
            .partition_point(|batch| batch.base_offset < offset);
        self.batches.get(first).map(|batch| batch.bytes.len())
    }

    /// The batches, to give them other commits.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut BufferedBatch> {
        self.batches.iter_mut()
    }

    /// Collects whole batches from the one that holds `offset`, below `end_offset`, up to
    /// `max_bytes`; the
    /// first one whatever its size if `at_least_one`.
    pub(crate) fn read(
        &self,
        (offset, end_offset): (i64, i64),
        max_bytes: usize,
        at_least_one: bool,
        pieces: &mut Vec<Bytes>,
    ) {
        let first = self
            .batches
            .partition_point(|batch| batch.last_offset < offset);
        let mut total = 0;
        let mut small = BytesMut::new();
        for batch in self.batches.iter().skip(first) {
            let forced = total == 0 && at_least_one;
            let too_much = total + batch.bytes.len() > max_bytes && !forced;
            if batch.last_offset >= end_offset || too_much {
                break;
            }
            total += batch.bytes.len();
            if batch.head.is_none() && batch.bytes.len() < limits::READ_COPY_BYTES {
                small.extend_from_slice(&batch.bytes);
                continue;
            }
            if !small.is_empty() {
                pieces.push(small.split().freeze());
            }
            push_pieces(batch, pieces);
        }
        if !small.is_empty() {
            pieces.push(small.freeze());
        }
    }
}

fn push_pieces(batch: &BufferedBatch, pieces: &mut Vec<Bytes>) {
    match &batch.head {
        Some(head) => {
            pieces.push(Bytes::copy_from_slice(head));
            pieces.push(batch.bytes.slice(HEAD_BYTES..));
        }
        None => pieces.push(batch.bytes.clone()),
    }
}

/// The block that small batches of all logs are copied into.
#[derive(Debug, Default)]
pub(crate) struct SharedBlock {
    block: BytesMut,
}

impl SharedBlock {
    /// Copies a batch and patches it: the one copy that an append makes.
    pub(crate) fn copy_patched(&mut self, batch: &[u8], base_offset: i64, term: u32) -> Bytes {
        self.reserve(batch.len());
        self.block.extend_from_slice(batch);
        patch(&mut self.block, base_offset, term);
        self.block.split().freeze()
    }

    /// Copies bytes as they are.
    pub(crate) fn copy(&mut self, batch: &[u8]) -> Bytes {
        self.reserve(batch.len());
        self.block.extend_from_slice(batch);
        self.block.split().freeze()
    }

    fn reserve(&mut self, bytes: usize) {
        if self.block.capacity() < bytes {
            self.block = BytesMut::with_capacity(bytes.max(limits::APPEND_BLOCK_BYTES));
        }
    }
}

/// Writes base offset and leader epoch; both lie outside the CRC.
fn patch(bytes: &mut [u8], base_offset: i64, term: u32) {
    if let Some(place) = bytes.get_mut(field::BASE_OFFSET) {
        place.copy_from_slice(&base_offset.to_be_bytes());
    }
    if let Some(place) = bytes.get_mut(field::PARTITION_LEADER_EPOCH) {
        place.copy_from_slice(&i32::try_from(term).unwrap_or(i32::MAX).to_be_bytes());
    }
}
