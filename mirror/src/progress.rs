//! What a lane must remember over a crash, and its records in `__sluice_mirror`.
//!
//! What it is        [`Progress`] with its intents and [`Marks`]; keys and values as bytes; and
//!                   [`ProgressTable`],
//!                   the newest value of every key on the shard that owns the state partition.
//! Layout            `docs/formats/mirror-state.md`, big-endian.
//! Invariants        1. intents are in order and touch: each, or the gap that it announces, starts
//!                   where the one before ends, the first at the cursor. 2. their sequences follow
//!                   one another.

use std::collections::{BTreeMap, VecDeque};

use kafka_lite::primitive::Uuid;
use kafka_lite::record_batch::Compression;
use thiserror::Error;

use crate::limits::{IN_FLIGHT_MAX, TOPIC_BYTES_MAX};

mod cursor;
mod key;
mod marks;
mod usage;

pub use cursor::{Cursor, Identity};
use key::{KIND_DOWNLINK, KIND_LANE, KIND_MARKS};
pub use key::{LaneKey, StateKey};
pub use marks::Marks;

/// Version of keys and values.
const VERSION: u8 = 1;

/// Where a lane writes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Cluster id of the centre; empty where the centre has none.
    pub cluster_id: String,
    /// Topic there.
    pub topic: String,
    /// Its topic id; all zero where the centre has none.
    pub topic_id: Uuid,
    /// Its partition.
    pub partition: i32,
}

/// Identity of a lane as an idempotent producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Producer {
    /// Producer id.
    pub id: i64,
    /// Producer epoch.
    pub epoch: i16,
}

/// One batch that was or may have been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intent {
    /// First source offset that it covers, inclusive.
    pub first_offset: i64,
    /// Exclusive end of the source offsets that it covers.
    pub end_offset: i64,
    /// Records in it; fewer than offsets where records are passed over or were compacted away.
    pub records: i32,
    /// Sequence of its first record.
    pub first_sequence: i32,
    /// Wall clock of its building, ms; future timestamps were clamped by it. -1 when it was not
    /// set, -2 when the timestamps were left out.
    pub built_ms: i64,
    /// What was added to timestamps of before the clock was set, ms.
    pub shift_ms: i64,
    /// First offset of a gap that ends at `first_offset`.
    pub gap_start: Option<i64>,
    /// Largest timestamp in it as sent, ms.
    pub max_timestamp: i64,
    /// Codec of it.
    pub compression: Compression,
}

/// Everything that a lane must remember.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Progress {
    /// Leader epoch of the source partition under which this was written.
    pub leader_epoch: i32,
    /// First source offset that the centre has not acknowledged.
    pub cursor: i64,
    /// Lanes of this source partition; 1 unless records go by key.
    pub lanes: i32,
    /// Where it writes to, once it is known.
    pub target: Option<Target>,
    /// Who it writes as, once it is known.
    pub producer: Option<Producer>,
    /// Sequence of the next new batch.
    pub next_sequence: i32,
    /// Offset at the target of the last record acknowledged; before the first one the last offset
    /// that the target had when the lane found it, which is -1 for an empty one.
    pub acknowledged_offset: Option<i64>,
    /// Unacknowledged batches.
    pub in_flight: VecDeque<Intent>,
    /// Records acknowledged in all.
    pub mirrored_records: u64,
    /// Records that were gone before they were mirrored.
    pub missing_records: u64,
    /// Gaps announced.
    pub gaps: u64,
    /// Records moved to the dead-letter topic.
    pub dead_letters: u64,
    /// Batches that may stand twice at the target.
    pub possible_duplicates: u64,
}

/// Why a state record cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ProgressError {
    /// A later version wrote it.
    #[error("mirror state of version {got}, known is {VERSION}")]
    Version {
        /// Version found.
        got: u8,
    },
    /// It is cut or says what cannot be.
    #[error("mirror state is damaged at {field}")]
    Damaged {
        /// Where.
        field: &'static str,
    },
}

impl Progress {
    /// A lane that begins at this offset.
    #[must_use]
    pub fn starting_at(cursor: i64) -> Self {
        Self {
            cursor,
            lanes: 1,
            ..Self::default()
        }
    }

    /// First source offset behind all intents.
    #[must_use]
    pub fn next_offset(&self) -> i64 {
        self.in_flight
            .back()
            .map_or(self.cursor, |last| last.end_offset)
    }

    /// The bytes of the value.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer(vec![VERSION]);
        out.number(&self.leader_epoch.to_be_bytes());
        out.number(&self.cursor.to_be_bytes());
        out.number(&self.lanes.to_be_bytes());
        out.number(&[u8::from(self.target.is_some())]);
        if let Some(target) = &self.target {
            out.text(&target.cluster_id);
            out.text(&target.topic);
            out.number(&target.topic_id.0);
            out.number(&target.partition.to_be_bytes());
        }
        let producer = self.producer.unwrap_or(Producer { id: -1, epoch: -1 });
        out.number(&producer.id.to_be_bytes());
        out.number(&producer.epoch.to_be_bytes());
        out.number(&self.next_sequence.to_be_bytes());
        out.number(&self.acknowledged_offset.unwrap_or(-2).to_be_bytes());
        for counter in [
            self.mirrored_records,
            self.missing_records,
            self.gaps,
            self.dead_letters,
            self.possible_duplicates,
        ] {
            out.number(&counter.to_be_bytes());
        }
        out.number(&[u8::try_from(self.in_flight.len()).unwrap_or(u8::MAX)]);
        for intent in &self.in_flight {
            intent.encode(&mut out);
        }
        out.0
    }

    /// Reads a value.
    ///
    /// # Errors
    /// [`ProgressError`].
    pub fn decode(value: &[u8]) -> Result<Self, ProgressError> {
        let mut reader = Reader(value);
        reader.version()?;
        let leader_epoch = i32::from_be_bytes(reader.take("leader epoch")?);
        let cursor = i64::from_be_bytes(reader.take("cursor")?);
        let lanes = i32::from_be_bytes(reader.take("lanes")?);
        let target = match reader.byte("has target")? {
            0 => None,
            _ => Some(Target {
                cluster_id: reader.text("cluster id")?,
                topic: reader.text("topic")?,
                topic_id: Uuid(reader.take("topic id")?),
                partition: i32::from_be_bytes(reader.take("partition")?),
            }),
        };
        let id = i64::from_be_bytes(reader.take("producer id")?);
        let epoch = i16::from_be_bytes(reader.take("producer epoch")?);
        let next_sequence = i32::from_be_bytes(reader.take("next sequence")?);
        let acknowledged = i64::from_be_bytes(reader.take("acknowledged offset")?);
        let mut counter = || reader.take("counter").map(u64::from_be_bytes);
        let mut progress = Self {
            leader_epoch,
            cursor,
            lanes,
            target,
            producer: (id >= 0).then_some(Producer { id, epoch }),
            next_sequence,
            acknowledged_offset: (acknowledged >= -1).then_some(acknowledged),
            in_flight: VecDeque::new(),
            mirrored_records: counter()?,
            missing_records: counter()?,
            gaps: counter()?,
            dead_letters: counter()?,
            possible_duplicates: counter()?,
        };
        let count = usize::from(reader.byte("intents")?);
        if count > IN_FLIGHT_MAX {
            return Err(ProgressError::Damaged { field: "intents" });
        }
        for _ in 0..count {
            let intent = Intent::decode(&mut reader)?;
            progress.check_next(&intent)?;
            progress.in_flight.push_back(intent);
        }
        reader.end()?;
        Ok(progress)
    }

    /// Invariant 1 for what comes behind the intents that are there.
    fn check_next(&self, intent: &Intent) -> Result<(), ProgressError> {
        let next_offset = self.next_offset();
        let follows = (intent.first_offset == next_offset || intent.gap_start == Some(next_offset))
            && intent.end_offset > intent.first_offset
            && intent.records > 0;
        if follows {
            return Ok(());
        }
        Err(ProgressError::Damaged {
            field: "intent offsets",
        })
    }
}

impl Intent {
    /// Sequence of its last record.
    #[must_use]
    pub fn last_sequence(&self) -> i32 {
        crate::sequence::advance(self.first_sequence, self.records - 1)
    }

    fn encode(&self, out: &mut Writer) {
        out.number(&self.first_offset.to_be_bytes());
        out.number(&self.end_offset.to_be_bytes());
        out.number(&self.records.to_be_bytes());
        out.number(&self.first_sequence.to_be_bytes());
        out.number(&self.built_ms.to_be_bytes());
        out.number(&self.shift_ms.to_be_bytes());
        out.number(&self.gap_start.unwrap_or(-1).to_be_bytes());
        out.number(&self.max_timestamp.to_be_bytes());
        out.number(&[u8::try_from(self.compression.id()).unwrap_or(0)]);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, ProgressError> {
        let first_offset = i64::from_be_bytes(reader.take("first offset")?);
        let end_offset = i64::from_be_bytes(reader.take("end offset")?);
        let records = i32::from_be_bytes(reader.take("records")?);
        let first_sequence = i32::from_be_bytes(reader.take("first sequence")?);
        let built_ms = i64::from_be_bytes(reader.take("built at")?);
        let shift_ms = i64::from_be_bytes(reader.take("clock shift")?);
        let gap_start = i64::from_be_bytes(reader.take("gap start")?);
        let max_timestamp = i64::from_be_bytes(reader.take("largest timestamp")?);
        let codec = i16::from(reader.byte("codec")?);
        Ok(Self {
            first_offset,
            end_offset,
            records,
            first_sequence,
            built_ms,
            shift_ms,
            gap_start: (gap_start >= 0).then_some(gap_start),
            max_timestamp,
            compression: Compression::from_id(codec)
                .ok_or(ProgressError::Damaged { field: "codec" })?,
        })
    }
}

/// The newest value of every key of one state partition, and the guard of its writers.
#[derive(Debug, Default)]
pub struct ProgressTable {
    values: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl ProgressTable {
    /// Takes a record of the log; `None` removes the key.
    pub fn load(&mut self, key: &[u8], value: Option<&[u8]>) {
        match value {
            Some(value) => drop(self.values.insert(key.to_vec(), value.to_vec())),
            None => drop(self.values.remove(key)),
        }
    }

    /// Whether a writer may replace the value of a key: not when a later leader of the gateway's
    /// partition has written.
    #[must_use]
    pub fn may_write(&self, key: &[u8], value: &[u8]) -> bool {
        let kind = key.get(1).copied();
        let epoch = |value: &[u8]| match kind {
            Some(KIND_DOWNLINK) => Cursor::decode(value).map(|cursor| cursor.leader_epoch),
            Some(KIND_MARKS) => Marks::decode(value).map(|marks| marks.leader_epoch),
            _ => Progress::decode(value).map(|progress| progress.leader_epoch),
        };
        let has_leader = matches!(kind, Some(KIND_LANE | KIND_DOWNLINK | KIND_MARKS));
        match self.values.get(key) {
            Some(present) if has_leader => match (epoch(present), epoch(value)) {
                (Ok(present), Ok(new)) => new >= present,
                (Err(_), _) | (_, Err(_)) => false,
            },
            Some(_) | None => true,
        }
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.values.get(key).map(Vec::as_slice)
    }

    /// All keys and values.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let entries = self.values.iter();
        entries.map(|(key, value)| (key.as_slice(), value.as_slice()))
    }
}

struct Writer(Vec<u8>);

impl Writer {
    fn number(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Length in two bytes, then the text.
    fn text(&mut self, text: &str) {
        let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
        self.number(&length.to_be_bytes());
        self.number(text.as_bytes());
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn version(&mut self) -> Result<(), ProgressError> {
        match self.byte("version")? {
            VERSION => Ok(()),
            got => Err(ProgressError::Version { got }),
        }
    }

    fn take<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], ProgressError> {
        let (first, rest) = self
            .0
            .split_first_chunk::<N>()
            .ok_or(ProgressError::Damaged { field })?;
        self.0 = rest;
        Ok(*first)
    }

    fn byte(&mut self, field: &'static str) -> Result<u8, ProgressError> {
        self.take::<1>(field).map(|[byte]| byte)
    }

    fn text(&mut self, field: &'static str) -> Result<String, ProgressError> {
        let length = usize::from(u16::from_be_bytes(self.take(field)?));
        let damaged = ProgressError::Damaged { field };
        let (text, rest) = self.0.split_at_checked(length).ok_or(damaged)?;
        if length > TOPIC_BYTES_MAX {
            return Err(damaged);
        }
        self.0 = rest;
        let text = core::str::from_utf8(text).map_err(|_| damaged)?;
        Ok(text.to_owned())
    }

    fn end(&self) -> Result<(), ProgressError> {
        if self.0.is_empty() {
            return Ok(());
        }
        Err(ProgressError::Damaged { field: "end" })
    }
}

#[cfg(test)]
mod tests {
    use super::{Intent, LaneKey, Producer, Progress, ProgressTable, StateKey, Target};
    use crate::output::SourceKey;
    use kafka_lite::primitive::Uuid;
    use kafka_lite::record_batch::Compression;

    fn progress() -> Progress {
        let intent = |first_offset: i64, sequence| Intent {
            first_offset,
            end_offset: first_offset + 10,
            records: 10,
            first_sequence: sequence,
            built_ms: 1_700_000_000_000,
            shift_ms: 0,
            gap_start: None,
            max_timestamp: -1,
            compression: Compression::Zstd,
        };
        Progress {
            leader_epoch: 3,
            target: Some(Target {
                cluster_id: "c".to_owned(),
                topic: "t".to_owned(),
                topic_id: Uuid([5; 16]),
                partition: 2,
            }),
            producer: Some(Producer { id: 77, epoch: 1 }),
            next_sequence: 20,
            acknowledged_offset: Some(9),
            in_flight: [intent(40, 0), intent(50, 10)].into(),
            possible_duplicates: 4,
            ..Progress::starting_at(40)
        }
    }

    #[test]
    fn progress_comes_back_and_every_cut_is_an_error() {
        for progress in [progress(), Progress::starting_at(0)] {
            let value = progress.encode();
            assert_eq!(Progress::decode(&value), Ok(progress));
            for end in 0..value.len() {
                assert!(Progress::decode(&value[..end]).is_err(), "{end}");
            }
        }
    }

    #[test]
    fn intents_that_do_not_touch_are_damage() {
        let mut torn = progress();
        torn.in_flight[1].first_offset += 1;
        assert!(Progress::decode(&torn.encode()).is_err());
        torn.in_flight[1].gap_start = Some(50);
        assert_eq!(Progress::decode(&torn.encode()), Ok(torn));
        let mut later = progress().encode();
        later[0] = 2;
        assert!(
            Progress::decode(&later)
                .unwrap_err()
                .to_string()
                .contains("version 2")
        );
    }

    #[test]
    fn a_deposed_leader_writes_no_progress() {
        let lane = LaneKey {
            source: SourceKey {
                topic_id: Uuid([1; 16]),
                partition: 0,
            },
            lane: 0,
        };
        let key = StateKey::Lane("m".to_owned(), lane).encode();
        let mut table = ProgressTable::default();
        let of_epoch = |leader_epoch| {
            let progress = Progress {
                leader_epoch,
                ..progress()
            };
            progress.encode()
        };
        assert!(table.may_write(&key, &of_epoch(3)));
        table.load(&key, Some(&of_epoch(3)));
        assert!(table.may_write(&key, &of_epoch(3)) && table.may_write(&key, &of_epoch(4)));
        assert!(!table.may_write(&key, &of_epoch(2)));
        table.load(&key, None);
        assert_eq!(table.get(&key), None);
    }
}
