//! State of one log, owned by its shard.

use std::cell::{OnceCell, RefCell};
use std::rc::Rc;

use kafka_lite::producer::{ProducerTable, ProducerTableOptions};

use crate::disk::Disk;
use crate::errors::AppendError;
use crate::log_key::LogKey;
use crate::notify::Gate;
use crate::options::LogConfig;
use crate::partition::append_buffer::AppendBuffer;
use crate::partition::durable::DurableUpTo;
use crate::partition::segments::SegmentList;
use crate::side_table::SideTable;

/// One log: its fixed names and its state.
pub(crate) struct Log<D: Disk> {
    pub(crate) slot: u32,
    pub(crate) key: LogKey,
    pub(crate) name: Rc<str>,
    directory: OnceCell<Rc<str>>,
    /// Held by whoever changes the segments.
    pub(crate) gate: Rc<Gate>,
    pub(crate) state: RefCell<LogState<D>>,
}

/// What changes.
pub(crate) struct LogState<D: Disk> {
    pub(crate) config: LogConfig,
    /// Shard that created the log.
    pub(crate) home: u32,
    pub(crate) term: u32,
    pub(crate) vote: Option<i32>,
    pub(crate) side: SideTable,
    /// Commit of the journal with the latest side entry: no batch behind it goes to a segment
    /// before
    /// that commit is durable, since segments do not know side entries.
    pub(crate) last_side_commit: u64,
    pub(crate) log_start_offset: i64,
    /// Offset of the next record (exclusive end of the log).
    pub(crate) log_end_offset: i64,
    /// Everything below is in segments, durably.
    pub(crate) segments_end_offset: i64,
    /// Position in the active segment that `segments_end_offset` stands for.
    pub(crate) segments_end_position: u32,
    /// Commit from which on the journal must stay because what recovery found in segments may not
    /// be
    /// durable there.
    pub(crate) unsynced_since: Option<u64>,
    /// Created in this life: its directory must be empty.
    pub(crate) is_fresh: bool,
    /// Everything below is written to segments, perhaps not yet durably.
    pub(crate) written_end_offset: i64,
    /// Writers go on up to here.
    pub(crate) write_goal: i64,
    /// The log waits in the queue of the segment writers.
    pub(crate) queued: bool,
    pub(crate) segments: SegmentList<D>,
    pub(crate) buffer: AppendBuffer,
    pub(crate) durable: DurableUpTo,
    /// Key of the log in the engine's list of dirty logs.
    pub(crate) dirty_commit: Option<u64>,
    /// Commit of the last mark in the journal; 0 for none.
    pub(crate) noted_commit: u64,
    /// The segments were seen to hold everything below; less after a start is damage.
    pub(crate) marked_end_offset: i64,
    pub(crate) max_timestamp: Option<i64>,
    /// Log end offset when the files were last left as other programs read them.
    pub(crate) settled_end_offset: Option<i64>,
    /// Knows every batch below `log_end_offset`, durable or not.
    pub(crate) producers: ProducerTable,
    pub(crate) failure: Option<AppendError>,
}

impl<D: Disk> Default for LogState<D> {
    fn default() -> Self {
        Self {
            config: LogConfig::default(),
            home: 0,
            term: 0,
            vote: None,
            side: SideTable::default(),
            last_side_commit: 0,
            log_start_offset: 0,
            log_end_offset: 0,
            segments_end_offset: 0,
            segments_end_position: 0,
            unsynced_since: None,
            is_fresh: false,
            written_end_offset: 0,
            write_goal: 0,
            queued: false,
            segments: SegmentList::default(),
            buffer: AppendBuffer::default(),
            durable: DurableUpTo::default(),
            dirty_commit: None,
            noted_commit: 0,
            marked_end_offset: 0,
            max_timestamp: None,
            settled_end_offset: None,
            producers: ProducerTable::new(ProducerTableOptions::default()),
            failure: None,
        }
    }
}

impl<D: Disk> Log<D> {
    pub(crate) fn new(slot: u32, key: LogKey, name: &str, state: LogState<D>) -> Self {
        Self {
            slot,
            key,
            name: Rc::from(name),
            directory: OnceCell::new(),
            gate: Rc::new(Gate::default()),
            state: RefCell::new(state),
        }
    }

    /// [`LogConfig::uses_reserve`].
    pub(crate) fn uses_reserve(&self) -> bool {
        self.state.borrow().config.uses_reserve
    }

    /// The directory of the log's segments.
    pub(crate) fn directory(&self) -> &Rc<str> {
        self.directory
            .get_or_init(|| Rc::from(self.key.directory(&self.name)))
    }
}

impl<D: Disk> LogState<D> {
    /// Index of the next entry.
    pub(crate) fn next_index(&self) -> u64 {
        u64::try_from(self.log_end_offset).unwrap_or(0) + 1 + self.side.count()
    }

    /// Index of the last entry whose offset is below `end_offset`, or 0.
    pub(crate) fn last_index_below(&self, end_offset: i64) -> u64 {
        if end_offset <= 0 {
            return 0;
        }
        self.side.index_of_offset(end_offset - 1)
    }
}
