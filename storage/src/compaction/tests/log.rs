//! A log of closed segments with the state that its records add up to.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use kafka_lite::record_batch::{BatchHeader, BatchOptions, BatchProducer, BatchView};

use crate::compaction::{
    CompactionFigures, CompactionJob, CompactionPlan, CompactionRules, Pace, SegmentSwitch,
    compact_log, recover_interrupted,
};
use crate::disk::{Clock, Disk};
use crate::disk_budget::DiskBudget;
use crate::retention::WallClock;
use crate::segment::{
    BatchWish, ClosedSegment, Durability, FileKind, Segment, SegmentError, SegmentOptions,
    SegmentStore, StoreOptions, parse_file_name,
};
use crate::testing::batches::{TestRecord, batch_with, codec, headers};
use crate::testing::{MemoryDisk, Random, block_on};

#[derive(Clone, Debug)]
pub(super) struct NoTime;

impl Clock for NoTime {
    fn now(&self) -> Duration {
        Duration::ZERO
    }

    async fn sleep(&self, _pause: Duration) {}
}

/// The list of segments of a log that nobody else changes.
pub(super) struct List(pub(super) RefCell<Vec<ClosedSegment>>);

impl SegmentSwitch for List {
    type Turn = ();

    async fn begin(&self, sources: &[ClosedSegment], _: i64) -> Result<Option<()>, SegmentError> {
        let list = self.0.borrow();
        Ok(sources
            .iter()
            .all(|source| list.contains(source))
            .then_some(()))
    }

    fn finish(&self, (): (), sources: &[ClosedSegment], output: ClosedSegment) {
        let mut list = self.0.borrow_mut();
        let at = list
            .iter()
            .position(|segment| *segment == sources[0])
            .unwrap();
        list.splice(at..at + sources.len(), [output]).for_each(drop);
    }
}

pub(super) const RULES: CompactionRules = CompactionRules {
    min_cleanable_dirty_ratio: 0.0,
    min_compaction_lag_ms: 0,
    max_compaction_lag_ms: u64::MAX,
    delete_retention_ms: 1000,
    segment_bytes: 6000,
};

/// A record as a reader sees it: offset, key, value.
pub(super) type Seen = (i64, Option<Vec<u8>>, Option<Vec<u8>>);

/// A log of closed segments with the state that its records add up to.
pub(super) struct Log {
    pub(super) disk: MemoryDisk,
    pub(super) store: SegmentStore<MemoryDisk>,
    pub(super) directory: Rc<str>,
    pub(super) closed: Vec<ClosedSegment>,
    pub(super) next_offset: i64,
    pub(super) first_dirty_offset: i64,
    pub(super) now_ms: i64,
    pub(super) state: BTreeMap<Vec<u8>, (i64, Option<Vec<u8>>)>,
    pub(super) producers: BTreeMap<i64, i64>,
    pub(super) map_bytes: usize,
}

impl Log {
    pub(super) fn new() -> Self {
        let disk = MemoryDisk::new();
        let store = SegmentStore::new(disk.clone(), DiskBudget::new(None), StoreOptions::default());
        Self {
            disk,
            store,
            directory: Rc::from("logs/t-0"),
            closed: Vec::new(),
            next_offset: 0,
            first_dirty_offset: 0,
            now_ms: 1_000_000,
            state: BTreeMap::new(),
            producers: BTreeMap::new(),
            map_bytes: 24 * 1000,
        }
    }

    /// Closes a segment of these batches, given as options and records; offsets are filled in.
    pub(super) fn add_segment(&mut self, batches: Vec<(BatchOptions, Vec<TestRecord>)>) {
        let options = SegmentOptions {
            segment_bytes: 1 << 20,
        };
        let create = Segment::create(&self.store, &self.directory, self.next_offset, options);
        let segment = block_on(create).unwrap();
        for (mut options, records) in batches {
            options.base_offset = self.next_offset;
            options.partition_leader_epoch = 3;
            for (_, key, value) in &records {
                if let (Some(key), false) = (key, options.is_control) {
                    self.state
                        .insert(key.clone(), (self.next_offset, value.clone()));
                }
                self.next_offset += 1;
            }
            if let Some(producer) = options.producer {
                self.producers.insert(producer.id, self.next_offset - 1);
            }
            let bytes = batch_with(options, &records);
            block_on(segment.append(&[bytes], Durability::OnSync)).unwrap();
        }
        self.closed.push(block_on(segment.roll()).unwrap());
    }

    pub(super) fn add_random_segment(&mut self, random: &mut Random) {
        let count = 1 + random.below(12);
        let batches = (0..count).map(|_| self.random_batch(random)).collect();
        self.add_segment(batches);
    }

    pub(super) fn random_batch(&self, random: &mut Random) -> (BatchOptions, Vec<TestRecord>) {
        let mut options = BatchOptions {
            compression: codec(random.below(5)),
            ..BatchOptions::default()
        };
        if random.below(3) == 0 {
            options.producer = Some(BatchProducer {
                id: i64::try_from(random.below(4)).unwrap(),
                epoch: 0,
                base_sequence: 7,
            });
        }
        if random.below(20) == 0 {
            options.is_control = true;
            return (
                options,
                vec![(self.now_ms, Some(vec![0, 0, 0, 1]), Some(vec![0; 6]))],
            );
        }
        let record = |random: &mut Random| {
            let key = match random.below(15) {
                0 => None,
                number => Some(vec![
                    b'k',
                    u8::try_from(number * 3 + random.below(3)).unwrap(),
                ]),
            };
            let value = (random.below(4) > 0).then(|| vec![5; random.below(120)]);
            (
                self.now_ms + i64::try_from(random.below(50)).unwrap(),
                key,
                value,
            )
        };
        let count = 1 + random.below(8);
        (options, (0..count).map(|_| record(random)).collect())
    }

    pub(super) fn job<'a>(
        &self,
        closed: &'a [ClosedSegment],
        producers: &'a BTreeMap<i64, i64>,
    ) -> CompactionJob<'a> {
        CompactionJob {
            closed,
            plan: CompactionPlan {
                first_dirty_offset: self.first_dirty_offset,
                end_offset: self.next_offset,
                dirty_ratio: 1.0,
            },
            rules: RULES,
            clock: WallClock {
                now_ms: self.now_ms,
                is_synchronised: true,
            },
            map_bytes: self.map_bytes,
            uses_reserve: false,
            active_producers: producers,
            aborted: &[],
        }
    }

    pub(super) fn compact(&mut self) -> Result<CompactionFigures, SegmentError> {
        let (closed, producers) = (self.closed.clone(), self.producers.clone());
        let job = self.job(&closed, &producers);
        let owner = List(RefCell::new(closed.clone()));
        let mut pace = Pace::new(NoTime, 1000);
        let compact = compact_log(&self.store, &self.directory, &job, &mut pace, &owner);
        let result = block_on(compact);
        self.closed = owner.0.into_inner();
        let figures = result?;
        self.first_dirty_offset = figures.first_dirty_offset;
        Ok(figures)
    }

    /// Every batch, checked: CRC, rising offsets, and that each offset leads to the next batch.
    pub(super) fn batches(&self) -> Vec<(BatchHeader, Vec<Seen>)> {
        let mut all: Vec<(BatchHeader, Vec<Seen>)> = Vec::new();
        let mut next_offset = 0;
        for segment in &self.closed {
            let reader = block_on(self.store.reader(&self.directory, segment)).unwrap();
            let bytes = block_on(reader.read(0, u32::MAX)).unwrap();
            assert_eq!(bytes.len(), segment.size_bytes as usize);
            for (position, header) in headers(&bytes) {
                assert!(header.base_offset >= next_offset, "offsets rise");
                for offset in [next_offset.max(segment.base_offset), header.last_offset()] {
                    let found = block_on(reader.lookup(offset)).unwrap().unwrap();
                    assert_eq!(
                        found,
                        (position, header),
                        "{offset} leads to the next batch"
                    );
                    let read =
                        block_on(reader.read_batches(BatchWish::new(offset, 1, i64::MAX))).unwrap();
                    assert_eq!(read.unwrap().base_offset, header.base_offset);
                }
                next_offset = header.next_offset();
                all.push((header, records(&bytes.slice(position as usize..))));
            }
        }
        all
    }

    pub(super) fn data(&self) -> Vec<Seen> {
        let batches = self.batches();
        let data = batches.iter().filter(|(header, _)| !header.is_control());
        data.flat_map(|(_, records)| records.iter().cloned())
            .collect()
    }

    /// The records left add up to the same state; a deleted key may have its tombstone or nothing.
    pub(super) fn check_state(&self) {
        let mut seen: BTreeMap<Vec<u8>, (i64, Option<Vec<u8>>)> = BTreeMap::new();
        for (offset, key, value) in self.data() {
            if let Some(key) = key {
                seen.insert(key, (offset, value));
            }
        }
        for (key, (offset, value)) in &self.state {
            match seen.remove(key) {
                Some(found) => assert_eq!(found, (*offset, value.clone()), "{key:?}"),
                None => assert_eq!(*value, None, "{key:?} at {offset} is lost"),
            }
        }
        assert!(seen.is_empty(), "records from nowhere: {seen:?}");
    }

    /// Below the end of the last round each key has one record and none is without key.
    pub(super) fn check_compacted(&self) {
        let mut last = BTreeMap::new();
        let clean = self
            .data()
            .into_iter()
            .filter(|seen| seen.0 < self.first_dirty_offset);
        for (offset, key, _) in clean {
            let key = key.unwrap_or_else(|| panic!("a record without key stayed at {offset}"));
            assert_eq!(last.insert(key, offset), None, "two records of a key");
        }
    }

    /// Start again from what is on the disk.
    pub(super) fn recover(&mut self) {
        self.disk.lose_power();
        let budget = DiskBudget::new(None);
        self.store = SegmentStore::new(self.disk.clone(), budget, StoreOptions::default());
        block_on(recover_interrupted(&self.store, &self.directory)).unwrap();
        assert!(!block_on(recover_interrupted(&self.store, &self.directory)).unwrap());
        self.closed.clear();
        for entry in block_on(self.disk.list(&self.directory)).unwrap() {
            let (base, kind) = parse_file_name(&entry.name).unwrap();
            assert!(!matches!(kind, FileKind::Swap | FileKind::Cleaned));
            if kind == FileKind::Log {
                let size = u32::try_from(entry.length_bytes).unwrap();
                let recover = self.store.recover_closed(&self.directory, base, size);
                self.closed.push(block_on(recover).unwrap());
            }
        }
    }
}

pub(super) fn records(bytes: &Bytes) -> Vec<Seen> {
    let view = BatchView::new(bytes).unwrap();
    view.check_crc().unwrap();
    let mut scratch = Vec::new();
    let records = view.records(&Default::default(), &mut scratch).unwrap();
    let records = records.map(|record| {
        let record = record.unwrap();
        (
            record.offset,
            record.key.map(<[u8]>::to_vec),
            record.value.map(<[u8]>::to_vec),
        )
    });
    records.collect()
}
