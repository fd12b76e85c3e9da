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

use crate::journal::limits;

/// Commit number of a batch that is not in the journal.
pub(crate) const DIRECT: u64 = u64::MAX;
/// Bytes of a batch that carry base offset and leader epoch.
const HEAD_BYTES: usize = 16;

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
    /// The batch in pieces that follow each other.
    pub(crate) fn pieces(&self) -> [&[u8]; 2] {
        match &self.head {
            Some(head) => [head, self.bytes.get(HEAD_BYTES..).unwrap_or_default()],
            None => [&self.bytes, &[]],
        }
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

    /// Offset of the first batch; `None` when empty.
    pub(crate) fn start_offset(&self) -> Option<i64> {
        self.batches.front().map(|batch| batch.base_offset)
    }

    /// The batches in offset order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &BufferedBatch> {
        self.batches.iter()
    }

    /// Commit of the oldest batch that the journal carries.
    pub(crate) fn oldest_commit(&self) -> Option<u64> {
        self.batches
            .iter()
            .map(|batch| batch.commit)
            .find(|commit| *commit != DIRECT)
    }

    /// Drops the batches below `end_offset`; returns their bytes.
    pub(crate) fn remove_below(&mut self, end_offset: i64) -> usize {
        let before = self.bytes;
        while let Some(first) = self.batches.front() {
            if first.last_offset >= end_offset {
                break;
            }
            self.bytes -= first.bytes.len();
            self.batches.pop_front();
        }
        if self.batches.is_empty() {
            // An idle log keeps no memory.
            self.batches = VecDeque::new();
        }
        before - self.bytes
    }

    /// Drops the batches that reach `offset` or beyond; returns their bytes.
    pub(crate) fn truncate_from(&mut self, offset: i64) -> usize {
        let before = self.bytes;
        while let Some(last) = self.batches.back() {
            if last.last_offset < offset {
                break;
            }
            self.bytes -= last.bytes.len();
            self.batches.pop_back();
        }
        before - self.bytes
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
            push_large(batch, pieces);
        }
        if !small.is_empty() {
            pieces.push(small.freeze());
        }
    }
}

fn push_large(batch: &BufferedBatch, pieces: &mut Vec<Bytes>) {
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
