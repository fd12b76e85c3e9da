//! State of one log, owned by its shard.

use std::cell::RefCell;
use std::rc::Rc;

use crate::errors::AppendError;
use crate::log_key::LogKey;
use crate::options::LogConfig;
use crate::partition::append_buffer::AppendBuffer;
use crate::partition::durable::DurableUpTo;
use crate::side_table::SideTable;

/// One log: its fixed names and its state.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) slot: u32,
    pub(crate) key: LogKey,
    pub(crate) name: Rc<str>,
    pub(crate) state: RefCell<LogState>,
}

/// What changes.
#[derive(Debug, Default)]
pub(crate) struct LogState {
    pub(crate) config: LogConfig,
    pub(crate) term: u32,
    pub(crate) vote: Option<i32>,
    pub(crate) side: SideTable,
    pub(crate) log_start_offset: i64,
    /// Offset of the next record (exclusive end of the log).
    pub(crate) log_end_offset: i64,
    /// Everything below is in segments, durably.
    pub(crate) segments_end_offset: i64,
    pub(crate) buffer: AppendBuffer,
    pub(crate) durable: DurableUpTo,
    pub(crate) max_timestamp: Option<i64>,
    pub(crate) failure: Option<AppendError>,
}

impl LogState {
    /// Index of the next entry.
    pub(crate) fn next_index(&self) -> u64 {
        u64::try_from(self.log_end_offset).unwrap_or(0) + 1 + self.side.count()
    }
}
