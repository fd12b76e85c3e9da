//! Reading partitions of one shard.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use kafka_lite::error_code::ErrorCode;
use kafka_lite::primitive::Uuid;
use storage::ReadError;

use super::read_ahead::{self, ReadBounds};
use crate::partition::{Partition, ReadSignal};
use crate::shard::{CallAnswer, Shard, ShardId};

/// What to read from one partition.
#[derive(Clone, Debug)]
pub(super) struct ReadOrder {
    pub(super) shard: ShardId,
    pub(super) topic_id: Uuid,
    pub(super) index: i32,
    pub(super) offset: i64,
    pub(super) current_leader_epoch: Option<i32>,
    pub(super) last_fetched_epoch: Option<i32>,
    pub(super) max_bytes: usize,
}

/// What one partition gave. Offsets are -1 with an error.
#[derive(Clone, Debug)]
pub(super) struct PartitionRead {
    pub(super) error_code: ErrorCode,
    pub(super) high_watermark: i64,
    pub(super) log_start_offset: i64,
    /// Epoch and end offset where the reader's log and this one part (Fetch 12).
    pub(super) diverging: Option<(i32, i64)>,
    pub(super) pieces: Vec<Bytes>,
}

impl PartitionRead {
    /// Nothing but an error, or nothing at all.
    pub(super) fn error(error_code: ErrorCode) -> Self {
        Self {
            error_code,
            high_watermark: -1,
            log_start_offset: -1,
            diverging: None,
            pieces: Vec::new(),
        }
    }

    /// Bytes of records.
    pub(super) fn byte_count(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum()
    }
}

/// Reads in the order of the request until `max_bytes` are found; the first batch comes whole.
pub(super) async fn read_orders(
    shard: &Rc<Shard>,
    orders: &[(usize, ReadOrder)],
    max_bytes: usize,
) -> Vec<(usize, PartitionRead)> {
    let mut left = max_bytes;
    let mut is_first = true;
    let mut reads = Vec::with_capacity(orders.len());
    for (place, order) in orders {
        let read = match shard.state().partitions().get(order.topic_id, order.index) {
            None => PartitionRead::error(ErrorCode::NotLeaderOrFollower),
            Some(partition) => read_partition(shard, &partition, order, (left, is_first)).await,
        };
        let found = read.byte_count();
        is_first &= found == 0;
        left = left.saturating_sub(found);
        reads.push((*place, read));
    }
    reads
}

async fn read_partition(
    shard: &Rc<Shard>,
    partition: &Rc<Partition>,
    order: &ReadOrder,
    (left, at_least_one): (usize, bool),
) -> PartitionRead {
    if partition.is_deleted() {
        return PartitionRead::error(ErrorCode::UnknownTopicOrPartition);
    }
    if !partition.is_ready() {
        return PartitionRead::error(ErrorCode::NotLeaderOrFollower);
    }
    if let Err(code) = partition.check_leader_epoch(order.current_leader_epoch) {
        return PartitionRead::error(code);
    }
    let high_watermark = partition.high_watermark();
    let mut read = PartitionRead {
        error_code: ErrorCode::None,
        high_watermark,
        log_start_offset: partition.log().log_start_offset(),
        diverging: diverging(partition, order),
        pieces: Vec::new(),
    };
    if read.diverging.is_some() {
        return read;
    }
    let end = partition.log().log_end_offset();
    if order.offset > end || order.offset < read.log_start_offset {
        return PartitionRead::error(ErrorCode::OffsetOutOfRange);
    }
    if order.offset >= high_watermark || (left == 0 && !at_least_one) {
        return read;
    }
    let bounds = ReadBounds {
        high_watermark,
        max_bytes: left.min(order.max_bytes),
        at_least_one,
    };
    match read_ahead::read(shard, partition, order, bounds).await {
        Ok(found) => read.pieces = found.pieces,
        Err(error) => return PartitionRead::error(error_code(&error)),
    }
    read
}

/// Where the reader's log ends in the epoch it last read, if that is before what it has (KIP-595).
fn diverging(partition: &Partition, order: &ReadOrder) -> Option<(i32, i64)> {
    let term = u32::try_from(order.last_fetched_epoch?).ok()?;
    let (epoch, end_offset) = partition.log().end_offset_of_term(term)?;
    let is_other = epoch < term || end_offset < order.offset;
    is_other.then(|| (i32::try_from(epoch).unwrap_or(i32::MAX), end_offset))
}

/// Only codes that every consumer knows may leave a fetch.
fn error_code(error: &ReadError) -> ErrorCode {
    match error {
        ReadError::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
        ReadError::Disk(_) => ErrorCode::KafkaStorageError,
        ReadError::Corrupt(_) => ErrorCode::CorruptMessage,
    }
}

/// Takes away what is over the limit of the whole answer, from the end; the first batch stays.
pub(super) fn cut_to(reads: &mut [PartitionRead], max_bytes: usize) {
    let mut total = 0;
    for read in reads {
        let found = read.byte_count();
        if total > 0 && total + found > max_bytes {
            read.pieces.clear();
        } else {
            total += found;
        }
    }
}

/// Raises `signal` when any of the partitions has something new.
pub(super) fn watch<'a>(
    shard: &Rc<Shard>,
    orders: impl Iterator<Item = &'a ReadOrder>,
    signal: &Rc<ReadSignal>,
) {
    for order in orders {
        if let Some(partition) = shard.state().partitions().get(order.topic_id, order.index) {
            partition.watch(signal);
        }
    }
}

/// Tells another shard whether any partition had something new before `left` was over.
pub(super) async fn wait_for_any(
    shard: Rc<Shard>,
    orders: Vec<ReadOrder>,
    left: Duration,
    answer: CallAnswer<bool>,
) {
    let signal = ReadSignal::new();
    watch(&shard, orders.iter(), &signal);
    let is_raised = monoio::select! {
        () = signal.raised() => true,
        () = monoio::time::sleep(left) => false,
    };
    answer.send(&shard, is_raised);
}
