//! The source log of the gateway.

use bytes::Bytes;
use kafka_lite::record_batch::{
    BatchBuilder, BatchOptions, BatchView, Compression, DecompressLimits,
};

use super::{Event, WALL_START_MS, World};

impl World {
    /// Timestamps of new records lie so far in the past.
    pub(crate) fn write_old(&mut self, back_ms: i64) {
        self.timestamp_back_ms = back_ms;
    }

    /// Appends a batch of `count` records to a partition of the gateway.
    pub(crate) fn append(&mut self, partition: i32, count: u64) {
        let source = self.sources.get_mut(&partition).expect("a partition");
        let codec = Compression::ALL[usize::try_from(self.random.below(5)).expect("small")];
        let mut builder = BatchBuilder::new(BatchOptions {
            base_offset: source.end,
            compression: codec,
            ..BatchOptions::default()
        });
        let timestamp =
            WALL_START_MS + i64::try_from(self.now_ms).expect("short") - self.timestamp_back_ms;
        for _ in 0..count {
            let mut value = self.next_value.to_be_bytes().to_vec();
            self.next_value += 1;
            value.resize(
                usize::try_from(self.random.between(8, 300)).expect("small"),
                0x55,
            );
            let key = self.random.below(50).to_be_bytes();
            builder
                .append(timestamp, Some(&key), Some(&value), &[])
                .expect("room");
        }
        let bytes: Bytes = builder.finish().expect("a batch").into();
        let end = source.end + i64::try_from(count).expect("few");
        source.batches.push((source.end, end, bytes));
        source.end = end;
        self.tell_moved(partition);
    }

    /// Retention takes what stands before an offset.
    pub(crate) fn trim(&mut self, partition: i32, start: i64) {
        let source = self.sources.get_mut(&partition).expect("a partition");
        source.start = start.max(source.start);
        source.batches.retain(|(_, end, _)| *end > start);
        self.tell_moved(partition);
    }

    pub(super) fn tell_moved(&mut self, partition: i32) {
        let (start, end) = (self.sources[&partition].start, self.sources[&partition].end);
        let now = self.now();
        self.mirror
            .handle_source_moved(&now, Self::key(partition), start, end);
        self.carry_out();
    }

    pub(crate) fn start_appends(&mut self, count: u64) {
        self.appends_left = count;
        self.later(1, Event::Append);
    }

    pub(super) fn append_some(&mut self) {
        if self.appends_left == 0 {
            return;
        }
        self.appends_left -= 1;
        let partitions = u64::try_from(self.sources.len()).expect("few");
        let partition = i32::try_from(self.random.below(partitions)).expect("few");
        let count = self.random.between(1, 40);
        self.append(partition, count);
        let pause = self.random.between(1, 60);
        self.later(pause, Event::Append);
    }

    pub(crate) fn value_at(&self, partition: i32, offset: i64) -> Option<u64> {
        let batches = &self.sources[&partition].batches;
        let (_, _, bytes) = batches
            .iter()
            .find(|(base, end, _)| (*base..*end).contains(&offset))?;
        let view = BatchView::new(bytes).expect("a batch");
        let mut scratch = Vec::new();
        let limits = DecompressLimits::default();
        let mut records = view.records(&limits, &mut scratch).expect("records");
        let record = records.find(|record| record.as_ref().expect("a record").offset == offset)?;
        let value = record.expect("a record").value.expect("a value");
        Some(u64::from_be_bytes(
            *value.first_chunk::<8>().expect("8 bytes"),
        ))
    }
}
