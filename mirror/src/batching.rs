//! From source batches to one target batch.
//!
//! What it is        reads whole source batches, takes the records of a range, adds the origin
//!                   header and builds one batch for the centre.
//! What it is not    a choice of when: the lane says which range.
//! Invariants        1. with a fixed end the result depends on the source and the [`Batching`]
//!                   alone: a resend has the same records. 2. timestamps are neither in the future
//!                   nor of before the clock was set, or are left out where the centre takes none
//!                   of them; the original one is kept in a header.

use kafka_lite::record_batch::{
    BatchBuilder, BatchOptions, BatchProducer, BatchReadError, BatchView, BuildError, Compression,
    DecompressLimits, Record, RecordHeader,
};
use kafka_lite::wall_clock::CLOCK_SET_MS;
use thiserror::Error;

use crate::limits::FUTURE_MAX_MS;
use crate::origin::{GAP_HEADER, ORIGIN_HEADER, Site, TIMESTAMP_HEADER};
use crate::output::SourceKey;
use crate::progress::{Intent, Producer};

/// Stands for the wall clock in the intent of a batch without timestamps.
const OMITTED_MS: i64 = -2;

/// Room for the headers of one record when sizes are compared with the limit, in bytes.
const RECORD_OVERHEAD_BYTES: usize = 80;

/// How a batch is built.
#[derive(Clone, Copy, Debug)]
pub struct Batching<'a> {
    /// This gateway.
    pub site: &'a Site,
    /// The source partition.
    pub source: SourceKey,
    /// First offset wanted, inclusive.
    pub first_offset: i64,
    /// Exclusive end: the fixed one of an intent, or as far as may be read.
    pub end_offset: i64,
    /// Bytes of records before compression, the first record whatever its size; `None` for a fixed
    /// end.
    pub bytes_max: Option<usize>,
    /// Most records.
    pub records_max: usize,
    /// Own lane and number of lanes when records go by key.
    pub lane: Option<(i32, i32)>,
    /// What becomes of timestamps.
    pub timestamps: Timestamps,
    /// What is added to timestamps of before the clock was set, ms; 0 sets them to `built_ms`.
    pub shift_ms: i64,
    /// First offset of a gap that ends at `first_offset`.
    pub gap_start: Option<i64>,
    /// Codec.
    pub compression: Compression,
}

/// What becomes of the timestamps of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timestamps {
    /// They stay: the wall clock is not set, nothing is known.
    Keep,
    /// Those of a clock that was never set are corrected, those ahead of this wall clock, ms, are
    /// set to it.
    Clamp(i64),
    /// They are left out, Kafka's -1: the centre refuses what this clock says.
    Omit,
}

impl Timestamps {
    /// As an intent says it; see `docs/formats/mirror-state.md`.
    #[must_use]
    pub const fn from_built_ms(built_ms: i64) -> Self {
        match built_ms {
            0.. => Self::Clamp(built_ms),
            OMITTED_MS => Self::Omit,
            _ => Self::Keep,
        }
    }

    /// For an intent: the wall clock of the building, or what stands for it.
    #[must_use]
    pub const fn built_ms(self) -> i64 {
        match self {
            Self::Keep => -1,
            Self::Clamp(built_ms) => built_ms,
            Self::Omit => OMITTED_MS,
        }
    }
}

/// A batch and what it covers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Built {
    /// The batch, without producer fields; empty when no record was taken.
    pub batch: Vec<u8>,
    /// Exclusive end of the source offsets that it covers.
    pub end_offset: i64,
    /// Records in it.
    pub records: i32,
    /// Records that were here before and were passed over.
    pub loops: u64,
    /// Largest timestamp, ms; -1 for none.
    pub max_timestamp: i64,
    /// Timestamp of the first record, ms.
    pub first_timestamp: Option<i64>,
    /// The limit ended it: there is more to read.
    pub is_full: bool,
}

/// Why no batch can be built.
#[derive(Debug, Error)]
pub enum BuildFault {
    /// The source batches cannot be read.
    #[error("source records: {0}")]
    Source(#[from] BatchReadError),
    /// The target batch cannot be built.
    #[error("target batch: {0}")]
    Target(#[from] BuildError),
}

/// Builds a batch from `pieces`, whole source batches one after the other.
///
/// # Errors
/// [`BuildFault`]: damage in the source, or a record that no batch can hold.
pub fn build(pieces: &[impl AsRef<[u8]>], batching: &Batching<'_>) -> Result<Built, BuildFault> {
    let mut building = Building::new(batching);
    let mut scratch = Vec::new();
    for piece in pieces {
        let mut rest = piece.as_ref();
        while let Some((view, after)) =
            BatchView::split_first(rest).map_err(BatchReadError::from)?
        {
            rest = after;
            if !building.take_batch(&view, &mut scratch)? {
                return building.finish();
            }
        }
    }
    building.finish()
}

/// Writes producer id, epoch and sequence into a built batch; its CRC follows.
pub(crate) fn stamp(batch: &mut [u8], producer: Producer, intent: &Intent) {
    let fields = BatchProducer {
        id: producer.id,
        epoch: producer.epoch,
        base_sequence: intent.first_sequence,
    };
    // Built by us a moment ago: it has a header.
    let _has_header: Result<(), _> = kafka_lite::record_batch::set_producer(batch, fields);
}

struct Building<'a> {
    batching: &'a Batching<'a>,
    builder: BatchBuilder,
    built: Built,
    bytes: usize,
    origin: Vec<u8>,
}

impl<'a> Building<'a> {
    fn new(batching: &'a Batching<'a>) -> Self {
        Self {
            batching,
            builder: BatchBuilder::new(BatchOptions {
                compression: batching.compression,
                ..BatchOptions::default()
            }),
            built: Built {
                end_offset: batching.first_offset,
                max_timestamp: -1,
                ..Built::default()
            },
            bytes: 0,
            origin: Vec::new(),
        }
    }

    /// Takes what is wanted of a source batch; returns whether more may follow.
    fn take_batch(
        &mut self,
        view: &BatchView<'_>,
        scratch: &mut Vec<u8>,
    ) -> Result<bool, BuildFault> {
        let header = view.header();
        let next_offset = header.next_offset();
        if next_offset <= self.batching.first_offset {
            return Ok(true);
        }
        if header.base_offset >= self.batching.end_offset {
            return Ok(false);
        }
        view.check_crc().map_err(BatchReadError::from)?;
        if !header.is_control() {
            for record in view.records(&DecompressLimits::default(), scratch)? {
                let record = record.map_err(BatchReadError::from)?;
                if record.offset < self.batching.first_offset {
                    continue;
                }
                if record.offset >= self.batching.end_offset {
                    break;
                }
                if !self.take_record(&record)? {
                    return Ok(false);
                }
            }
        }
        // Offsets behind the last record that compaction took away are covered too.
        self.built.end_offset = next_offset.min(self.batching.end_offset);
        Ok(self.built.end_offset < self.batching.end_offset)
    }

    /// Takes one record; returns whether it had room.
    fn take_record(&mut self, record: &Record<'_>) -> Result<bool, BuildFault> {
        if self.is_elsewhere(record) {
            self.built.end_offset = record.offset.saturating_add(1);
            return Ok(true);
        }
        if self.batching.site.is_loop(record.headers) {
            self.built.loops += 1;
            self.built.end_offset = record.offset.saturating_add(1);
            return Ok(true);
        }
        let size = record_bytes(record);
        let count = usize::try_from(self.built.records).unwrap_or(usize::MAX);
        let is_over = self
            .batching
            .bytes_max
            .is_some_and(|most| self.bytes.saturating_add(size) > most);
        if count >= self.batching.records_max || (is_over && count > 0) {
            self.built.is_full = true;
            return Ok(false);
        }
        self.append(record)?;
        self.bytes = self.bytes.saturating_add(size);
        self.built.end_offset = record.offset.saturating_add(1);
        Ok(true)
    }

    fn append(&mut self, record: &Record<'_>) -> Result<(), BuildFault> {
        let timestamp = self.timestamp(record.timestamp);
        let original = record.timestamp.to_be_bytes();
        let gap = self.gap();
        self.batching
            .site
            .encode_origin(&self.batching.source, record.offset, &mut self.origin);
        let mut headers: Vec<RecordHeader<'_>> = record.headers.collect();
        if timestamp != record.timestamp {
            headers.push(header(TIMESTAMP_HEADER, &original));
        }
        if let Some(gap) = &gap {
            headers.push(header(GAP_HEADER, gap));
        }
        headers.push(header(ORIGIN_HEADER, &self.origin));
        self.builder
            .append(timestamp, record.key, record.value, &headers)?;
        self.built.records += 1;
        self.built.max_timestamp = self.built.max_timestamp.max(timestamp);
        self.built.first_timestamp.get_or_insert(timestamp);
        Ok(())
    }

    /// The gap marker, for the first record.
    fn gap(&self) -> Option<[u8; 16]> {
        let start = self
            .batching
            .gap_start
            .filter(|_| self.built.records == 0)?;
        let mut value = [0; 16];
        let (first, end) = value.split_at_mut(8);
        first.copy_from_slice(&start.to_be_bytes());
        end.copy_from_slice(&self.batching.first_offset.to_be_bytes());
        Some(value)
    }

    fn timestamp(&self, timestamp: i64) -> i64 {
        let built_ms = match self.batching.timestamps {
            Timestamps::Keep => return timestamp,
            Timestamps::Omit => return -1,
            Timestamps::Clamp(built_ms) => built_ms,
        };
        let corrected = match timestamp {
            // None at all, or a clock that was set.
            -1 | CLOCK_SET_MS.. => timestamp,
            _ if self.batching.shift_ms == 0 => built_ms,
            _ => timestamp.saturating_add(self.batching.shift_ms),
        };
        if corrected > built_ms.saturating_add(FUTURE_MAX_MS) {
            return built_ms;
        }
        corrected
    }

    /// Whether another lane takes the record.
    fn is_elsewhere(&self, record: &Record<'_>) -> bool {
        let Some((lane, lanes)) = self.batching.lane else {
            return false;
        };
        let own = match record.key {
            Some(key) => kafka_lite::partitioner::partition_of(key, lanes),
            // Without a key all records of a source partition stay together.
            None => self
                .batching
                .source
                .partition
                .checked_rem(lanes)
                .unwrap_or(0),
        };
        own != lane
    }

    fn finish(self) -> Result<Built, BuildFault> {
        let mut built = self.built;
        if built.records > 0 {
            built.batch = self.builder.finish()?;
        }
        Ok(built)
    }
}

fn header<'a>(key: &'a [u8], value: &'a [u8]) -> RecordHeader<'a> {
    RecordHeader {
        key,
        value: Some(value),
    }
}

fn record_bytes(record: &Record<'_>) -> usize {
    let length = |slice: Option<&[u8]>| slice.map_or(0, <[u8]>::len);
    let headers: usize = record
        .headers
        .map(|header| header.key.len() + length(header.value))
        .sum();
    RECORD_OVERHEAD_BYTES + length(record.key) + length(record.value) + headers
}
