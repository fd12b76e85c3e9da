//! The way of a produced batch into the log.
//!
//! Invariants        1. checks and appends of one partition happen in the order of arrival: while
//! one
//!                   append waits for room, all later ones queue behind it. 2. Raft hears of a
//!                   batch
//!                   only when the log has room for it, so that both always agree on the next
//!                   index.

use std::num::NonZeroU32;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use kafka_lite::error_code::ErrorCode;
use kafka_lite::producer::ProducerCheck;
use kafka_lite::record_batch::{
    AppendRules, BatchSummary, DecompressLimits, RecordWalk, TimestampBounds, check_produced,
};
use replication::LogIndex;
use storage::{AppendError, Entry};

use super::observe::{AppendFault, AppendObserver};
use super::queue::QueuedAppend;
use super::{CommitWaiter, Partition, storage_term};

/// A batch to append.
#[derive(Clone, Debug)]
pub(crate) struct AppendRequest {
    /// Exactly one record batch, as it came.
    pub(crate) batch: Bytes,
    /// Version of the Produce request.
    pub(crate) api_version: i16,
    /// The broker's wall clock, ms since 1970.
    pub(crate) now_ms: i64,
}

/// Where a batch stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AppendedBatch {
    /// Offset of its first record.
    pub(crate) base_offset: i64,
    /// The broker's time, ms, where the topic asks for it.
    pub(crate) log_append_time_ms: Option<i64>,
    /// First offset that is still served.
    pub(crate) log_start_offset: i64,
}

/// What is to be done with a checked batch.
enum Checked {
    Append(BatchSummary),
    /// In the log already: the answer waits until this index is committed.
    Duplicate(AppendedBatch, LogIndex),
}

impl Partition {
    /// Appends a batch; `observer` hears at `place` what became of it, now or later.
    pub(crate) fn append(
        self: &Rc<Self>,
        request: AppendRequest,
        observer: Rc<dyn AppendObserver>,
        place: usize,
    ) {
        let must_wait = !self.queue.borrow().is_empty()
            || !self.log.has_room(request.batch.len())
                && !request.batch.is_empty()
                && self.failure().is_none();
        let append = QueuedAppend {
            request,
            observer,
            place,
        };
        if must_wait && self.log.is_reserve_spent(append.request.batch.len()) {
            // Whoever waits for the broker's own records hears of it at once.
            let fault = AppendFault::of_log(&AppendError::DiskFull);
            append.observer.handle_append(append.place, Err(fault));
        } else if must_wait {
            self.enqueue(append);
        } else {
            self.append_now(append);
        }
    }

    /// Checks and appends; the log has room.
    pub(super) fn append_now(&self, append: QueuedAppend) {
        match self.check(&append.request) {
            Err(fault) => append.observer.handle_append(append.place, Err(fault)),
            Ok(Checked::Duplicate(appended, last_index)) => {
                self.answer_when_committed(last_index, appended, append);
            }
            Ok(Checked::Append(summary)) => self.append_checked(&summary, append),
        }
    }

    fn check(&self, request: &AppendRequest) -> Result<Checked, AppendFault> {
        if self.is_deleted() {
            return Err(AppendFault::code(ErrorCode::UnknownTopicOrPartition));
        }
        if let Some(failure) = self.failure() {
            return Err(AppendFault::of_log(&failure));
        }
        let summary = check_produced(&request.batch, &self.rules(request))
            .map_err(|fault| AppendFault::of_batch(&fault))?;
        match self.log.check_producer(&summary.header) {
            ProducerCheck::Append => Ok(Checked::Append(summary)),
            ProducerCheck::Duplicate {
                base_offset,
                last_offset,
                log_append_time,
            } => {
                let last_index = self
                    .log
                    .with_side_table(|table| table.index_of_offset(last_offset));
                let appended = AppendedBatch {
                    base_offset,
                    log_append_time_ms: log_append_time,
                    log_start_offset: self.log.log_start_offset(),
                };
                Ok(Checked::Duplicate(appended, LogIndex(last_index)))
            }
            ProducerCheck::Refuse(fault) => Err(AppendFault::with_message(
                fault.error_code(),
                fault.to_string(),
            )),
        }
    }

    fn rules(&self, request: &AppendRequest) -> AppendRules {
        let config = self.config.borrow();
        AppendRules {
            api_version: request.api_version,
            max_message_bytes: usize::try_from(config.max_message_bytes).unwrap_or(0),
            timestamp_type: config.message_timestamp_type,
            timestamp_bounds: TimestampBounds {
                now_ms: request.now_ms,
                before_max_ms: config.message_timestamp_before_max_ms,
                after_max_ms: config.message_timestamp_after_max_ms,
            },
            is_compacted: config.cleanup_policy.is_compact,
            record_walk: RecordWalk::HeaderOnly,
            decompress_limits: DecompressLimits::default(),
        }
    }

    fn append_checked(&self, summary: &BatchSummary, append: QueuedAppend) {
        let bytes = match stamped(summary, &append.request) {
            Ok(bytes) => bytes,
            Err(fault) => return append.observer.handle_append(append.place, Err(fault)),
        };
        let count = u32::try_from(summary.header.last_offset_delta).unwrap_or(0) + 1;
        let count = NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN);
        let proposed = self.raft.borrow_mut().handle_propose(count);
        let Ok(proposed) = proposed else {
            let fault = AppendFault::code(ErrorCode::NotLeaderOrFollower);
            return append.observer.handle_append(append.place, Err(fault));
        };
        let entry = Entry::Batch {
            bytes,
            first_index: proposed.first_index.0,
            term: storage_term(proposed.term),
        };
        match self.log.append(entry) {
            Ok(entry) => {
                let append_time = summary.needs_append_time.then_some(append.request.now_ms);
                let appended = AppendedBatch {
                    base_offset: entry.base_offset,
                    log_append_time_ms: append_time,
                    log_start_offset: self.log.log_start_offset(),
                };
                self.answer_when_committed(LogIndex(entry.last_index), appended, append);
            }
            Err(error) => self.handle_split(&error, append),
        }
    }

    /// Raft took an entry that the log refused: they no longer agree, so the partition stops.
    fn handle_split(&self, error: &AppendError, append: QueuedAppend) {
        tracing::error!(partition = ?self, %error, "a log refused what it had room for and stops");
        append
            .observer
            .handle_append(append.place, Err(AppendFault::of_log(error)));
        self.handle_failed(error);
    }

    fn answer_when_committed(
        &self,
        last_index: LogIndex,
        appended: AppendedBatch,
        append: QueuedAppend,
    ) {
        if last_index <= self.raft.borrow().commit_index() {
            return append.observer.handle_append(append.place, Ok(appended));
        }
        let QueuedAppend {
            observer, place, ..
        } = append;
        let waiter = CommitWaiter {
            last_index,
            appended,
            observer,
            place,
        };
        let mut waiters = self.commit_waiters.borrow_mut();
        // A duplicate may wait for an older index than the youngest waiter.
        let at = waiters.partition_point(|other| other.last_index <= last_index);
        waiters.insert(at, waiter);
    }
}

/// The bytes to store: as they came, or with the broker's time written into a copy.
fn stamped(summary: &BatchSummary, request: &AppendRequest) -> Result<Bytes, AppendFault> {
    if !summary.needs_timestamp_patch() {
        return Ok(request.batch.clone());
    }
    let mut bytes = BytesMut::from(request.batch.as_ref());
    let patched = summary.patch_timestamps(&mut bytes, request.now_ms);
    let refused = |_| AppendFault::code(ErrorCode::CorruptMessage);
    patched.map_err(refused).map(|()| bytes.freeze())
}
