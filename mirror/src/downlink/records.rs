//! From what the centre sent to batches of the local partition.
//!
//! What it is        leaves out markers, aborted transactions and what came from this gateway; adds
//!                   the origin header, which is the cursor of what is appended.
//! What it is not    a choice of what is fetched.
//! Invariants        1. every record that is taken has an origin header, and they rise. 2. what is
//!                   left out is left out again by whoever reads from an earlier offset.
//! Source            KIP-98; Kafka 4.1 `CompletedFetch.nextFetchedRecord`.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use kafka_lite::api::fetch::AbortedTransaction;
use kafka_lite::record_batch::{
    BatchBuilder, BatchError, BatchHeader, BatchOptions, BatchReadError, BatchView,
    DecompressLimits, Record, RecordHeader,
};

use crate::batching::BuildFault;
use crate::origin::{GAP_HEADER, ORIGIN_HEADER, Site, TIMESTAMP_HEADER};
use crate::output::SourceKey;

/// Room for the headers of one record when sizes are compared with the limit, in bytes.
const RECORD_OVERHEAD_BYTES: usize = 80;

/// Type of a control record that ends an aborted transaction; big-endian, behind a version.
const ABORT_MARKER: [u8; 2] = [0, 0];

/// What the centre sent of one partition and is not taken yet.
#[derive(Debug)]
pub(super) struct Fetched {
    rest: Bytes,
    /// Aborted transactions that begin later, by first offset.
    aborted: VecDeque<AbortedTransaction>,
    /// Producers whose transaction here is an aborted one.
    aborting: BTreeSet<i64>,
}

/// How a batch is taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taking<'a> {
    /// This gateway.
    pub(super) own: &'a Site,
    /// The centre, as the origin headers say it.
    pub(super) centre: &'a Site,
    /// The partition there.
    pub(super) source: SourceKey,
    /// First offset wanted, inclusive.
    pub(super) first_offset: i64,
    /// A gap that the first record announces: first missing offset and the end, exclusive.
    pub(super) gap: Option<(i64, i64)>,
    /// Bytes of records before compression, the first record whatever its size.
    pub(super) bytes_max: usize,
    /// Most records.
    pub(super) records_max: usize,
    /// The local topic refuses these timestamps: they are left out.
    pub(super) omits_timestamps: bool,
}

/// A batch for the local partition and what it covers.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// The batch; empty when nothing was taken.
    pub(super) batch: Vec<u8>,
    /// First offset at the centre behind it.
    pub(super) next_offset: i64,
    /// Leader epoch of the last batch that was looked at.
    pub(super) centre_epoch: Option<i32>,
    /// Records in it.
    pub(super) records: u64,
    /// Records that came from this gateway.
    pub(super) loops: u64,
    /// Records of aborted transactions.
    pub(super) aborted: u64,
}

impl Fetched {
    /// What came: whole batches, of which the last may be cut, and the transactions that do not
    /// count.
    pub(super) fn new(batches: Bytes, mut aborted: Vec<AbortedTransaction>) -> Self {
        aborted.sort_by_key(|one| one.first_offset);
        Self {
            rest: batches,
            aborted: aborted.into(),
            aborting: BTreeSet::new(),
        }
    }

    /// Whether nothing is left.
    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Bytes that are kept.
    pub(super) fn byte_count(&self) -> usize {
        self.rest.len()
    }

    /// Takes one local batch, or as far as it goes.
    ///
    /// Errors: what the centre sent cannot be read.
    pub(super) fn take(&mut self, taking: &Taking<'_>) -> Result<Taken, BuildFault> {
        let mut building = Building::new(taking);
        let mut scratch = Vec::new();
        while building.has_room {
            let bytes = self.rest.clone();
            let (view, size) = match BatchView::split_first(&bytes) {
                Ok(Some((view, rest))) => (view, bytes.len() - rest.len()),
                // Kafka cuts what does not fit.
                Ok(None) | Err(BatchError::Truncated { .. }) => {
                    self.rest = Bytes::new();
                    break;
                }
                Err(error) => return Err(BatchReadError::from(error).into()),
            };
            if view.header().next_offset() > taking.first_offset {
                view.check_crc().map_err(BatchReadError::from)?;
                self.take_batch(&view, &mut building, &mut scratch)?;
            }
            if building.has_room {
                self.rest = bytes.slice(size..);
            }
        }
        building.finish()
    }

    fn take_batch(
        &mut self,
        view: &BatchView<'_>,
        building: &mut Building<'_>,
        scratch: &mut Vec<u8>,
    ) -> Result<(), BuildFault> {
        let header = view.header();
        self.begin_aborted(header.last_offset());
        let producer = header.producer().map_or(-1, |producer| producer.id);
        if header.is_control() {
            if is_abort(view, scratch)? {
                self.aborting.remove(&producer);
            }
            building.pass(header);
        } else if header.is_transactional() && self.aborting.contains(&producer) {
            let count = u64::try_from(header.records_count).unwrap_or(0);
            building.taken.aborted += count;
            building.pass(header);
        } else {
            building.take_records(view, scratch)?;
        }
        Ok(())
    }

    /// Transactions that have begun up to this offset and were aborted.
    fn begin_aborted(&mut self, last_offset: i64) {
        while let Some(first) = self.aborted.front() {
            if first.first_offset > last_offset {
                return;
            }
            self.aborting.insert(first.producer_id);
            self.aborted.pop_front();
        }
    }
}

/// Whether a control batch ends a transaction by aborting it.
fn is_abort(view: &BatchView<'_>, scratch: &mut Vec<u8>) -> Result<bool, BuildFault> {
    let mut records = view.records(&DecompressLimits::default(), scratch)?;
    let Some(record) = records.next() else {
        return Ok(false);
    };
    let key = record.map_err(BatchReadError::from)?.key;
    Ok(key.and_then(|key| key.get(2..4)) == Some(&ABORT_MARKER[..]))
}

struct Building<'a> {
    taking: &'a Taking<'a>,
    builder: Option<BatchBuilder>,
    taken: Taken,
    bytes: usize,
    has_room: bool,
    origin: Vec<u8>,
}

impl<'a> Building<'a> {
    fn new(taking: &'a Taking<'a>) -> Self {
        Self {
            taking,
            builder: None,
            taken: Taken {
                next_offset: taking.first_offset,
                ..Taken::default()
            },
            bytes: 0,
            has_room: true,
            origin: Vec::new(),
        }
    }

    /// The rest of a batch is dealt with.
    fn pass(&mut self, header: &BatchHeader) {
        self.taken.next_offset = header.next_offset();
        self.taken.centre_epoch = Some(header.partition_leader_epoch);
    }

    fn take_records(
        &mut self,
        view: &BatchView<'_>,
        scratch: &mut Vec<u8>,
    ) -> Result<(), BuildFault> {
        for record in view.records(&DecompressLimits::default(), scratch)? {
            let record = record.map_err(BatchReadError::from)?;
            if record.offset < self.taking.first_offset {
                continue;
            }
            if self.taking.own.is_loop(record.headers) {
                self.taken.loops += 1;
            } else if !self.take_record(&record, view.header())? {
                self.has_room = false;
                return Ok(());
            }
            self.taken.next_offset = record.offset.saturating_add(1);
        }
        self.pass(view.header());
        Ok(())
    }

    /// Takes one record; returns whether it had room.
    fn take_record(
        &mut self,
        record: &Record<'_>,
        header: &BatchHeader,
    ) -> Result<bool, BuildFault> {
        let size = [record.key, record.value].into_iter().flatten();
        let size = size.map(<[u8]>::len).sum::<usize>() + RECORD_OVERHEAD_BYTES;
        let headers = record.headers;
        let of_header = |one: RecordHeader<'_>| one.key.len() + one.value.map_or(0, <[u8]>::len);
        let size = size + headers.map(of_header).sum::<usize>();
        let count = usize::try_from(self.taken.records).unwrap_or(usize::MAX);
        let is_over = self.bytes.saturating_add(size) > self.taking.bytes_max;
        if count >= self.taking.records_max || (is_over && count > 0) {
            return Ok(false);
        }
        let options = BatchOptions {
            compression: header.compression().map_err(BatchReadError::from)?,
            ..BatchOptions::default()
        };
        let mut builder = self
            .builder
            .take()
            .unwrap_or_else(|| BatchBuilder::new(options));
        self.append(&mut builder, record)?;
        self.builder = Some(builder);
        self.bytes = self.bytes.saturating_add(size);
        self.taken.records += 1;
        Ok(true)
    }

    fn append(
        &mut self,
        builder: &mut BatchBuilder,
        record: &Record<'_>,
    ) -> Result<(), BuildFault> {
        let taking = self.taking;
        let original = record.timestamp.to_be_bytes();
        let gap = taking.gap.filter(|_| self.taken.records == 0);
        let gap = gap.map(|(start, end)| [start.to_be_bytes(), end.to_be_bytes()].concat());
        let source = &taking.source;
        taking
            .centre
            .encode_origin(source, record.offset, &mut self.origin);
        let mut headers: Vec<RecordHeader<'_>> = record.headers.collect();
        if taking.omits_timestamps {
            headers.push(header(TIMESTAMP_HEADER, &original));
        }
        if let Some(gap) = &gap {
            headers.push(header(GAP_HEADER, gap));
        }
        headers.push(header(ORIGIN_HEADER, &self.origin));
        let timestamp = match taking.omits_timestamps {
            true => -1,
            false => record.timestamp,
        };
        builder.append(timestamp, record.key, record.value, &headers)?;
        Ok(())
    }

    fn finish(mut self) -> Result<Taken, BuildFault> {
        if let Some(builder) = self.builder {
            self.taken.batch = builder.finish()?;
        }
        Ok(self.taken)
    }
}

fn header<'a>(key: &'a [u8], value: &'a [u8]) -> RecordHeader<'a> {
    RecordHeader {
        key,
        value: Some(value),
    }
}
