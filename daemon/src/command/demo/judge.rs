//! The judge of the demonstration: a consumer at the centre that counts what is there.
//!
//! What it is        every record of the target topic, told apart by its origin header.
//! What it is not    a look at what the mirror says of itself.
//! Invariants        1. a record counts as there once, however often it comes. 2. an offset that
//!                   no record has and no gap marker names is missing once a later one came.

use std::collections::{BTreeMap, BTreeSet};

use kafka_lite::record_batch::RecordHeaders;
use mirror::SourceKey;
use mirror::origin::{GAP_HEADER, origins};

/// What was found so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Findings {
    /// Records of the gateway that are there.
    pub(super) records: u64,
    /// Records that came again.
    pub(super) duplicates: u64,
    /// Records that came behind a later one of their partition.
    pub(super) out_of_order: u64,
    /// Offsets that later records have passed.
    pub(super) missing: u64,
    /// Gaps that were announced.
    pub(super) gaps: u64,
    /// Offsets in them.
    pub(super) announced: u64,
    /// Records without an origin header.
    pub(super) unmarked: u64,
}

/// The judge.
#[derive(Debug, Default)]
pub(super) struct Judge {
    partitions: BTreeMap<SourceKey, Seen>,
    findings: Findings,
}

/// What came of one source partition.
#[derive(Debug, Default)]
struct Seen {
    /// Everything below has come or was announced as missing.
    next: i64,
    /// What came from there on.
    ahead: BTreeSet<i64>,
    /// Announced gaps from there on: start and end.
    gaps: BTreeMap<i64, i64>,
    /// Behind the highest offset that came.
    end: i64,
}

impl Judge {
    /// Takes a record of the target topic by its headers.
    pub(super) fn take(&mut self, headers: RecordHeaders<'_>) {
        let Some(origin) = origins(headers).last() else {
            self.findings.unmarked += 1;
            return;
        };
        let seen = self.partitions.entry(origin.source).or_default();
        for gap in headers.filter(|header| header.key == GAP_HEADER) {
            if let Some((start, end)) = gap.value.and_then(read_gap) {
                self.findings.gaps += 1;
                self.findings.announced += u64::try_from(end.saturating_sub(start)).unwrap_or(0);
                seen.gaps.insert(start, end);
            }
        }
        if origin.offset < seen.next || !seen.ahead.insert(origin.offset) {
            self.findings.duplicates += 1;
            return;
        }
        self.findings.records += 1;
        if origin.offset < seen.end {
            self.findings.out_of_order += 1;
        }
        seen.end = seen.end.max(origin.offset.saturating_add(1));
        seen.advance();
    }

    /// What was found.
    pub(super) fn findings(&self) -> Findings {
        let missing = self.partitions.values().map(Seen::missing).sum();
        Findings {
            missing,
            ..self.findings
        }
    }
}

impl Seen {
    fn advance(&mut self) {
        loop {
            if self.ahead.remove(&self.next) {
                self.next = self.next.saturating_add(1);
            } else if let Some(end) = self.gaps.remove(&self.next) {
                self.next = self.next.max(end);
            } else {
                return;
            }
        }
    }

    fn missing(&self) -> u64 {
        let there = i64::try_from(self.ahead.len()).unwrap_or(i64::MAX);
        let announced: i64 = self.gaps.iter().map(|(start, end)| end - start).sum();
        let holes = self.end - self.next - there - announced;
        u64::try_from(holes).unwrap_or(0)
    }
}

fn read_gap(value: &[u8]) -> Option<(i64, i64)> {
    let (start, end) = value.split_first_chunk::<8>()?;
    let end = end.first_chunk::<8>()?;
    Some((i64::from_be_bytes(*start), i64::from_be_bytes(*end)))
}

#[cfg(test)]
mod tests {
    use super::{Findings, Judge};
    use kafka_lite::record_batch::{
        BatchBuilder, BatchOptions, BatchView, DecompressLimits, RecordHeader,
    };
    use mirror::batching::build;
    use mirror::{Batching, Site, SourceKey};

    /// What a judge finds when the centre has these offsets, where `(offset, gap start)`.
    fn found(offsets: &[(i64, Option<i64>)]) -> Findings {
        let mut judge = Judge::default();
        let site = Site::new("gateway", [1; 8]).unwrap();
        for (offset, gap_start) in offsets {
            let mut source = BatchBuilder::new(BatchOptions {
                base_offset: *offset,
                ..BatchOptions::default()
            });
            source.append(0, None, Some(b"x"), &[]).unwrap();
            let batching = Batching {
                site: &site,
                source: SourceKey {
                    topic_id: kafka_lite::primitive::Uuid([7; 16]),
                    partition: 0,
                },
                first_offset: *offset,
                end_offset: offset + 1,
                bytes_max: None,
                records_max: 1,
                lane: None,
                timestamps: mirror::Timestamps::Keep,
                shift_ms: 0,
                gap_start: *gap_start,
                compression: kafka_lite::record_batch::Compression::None,
            };
            let built = build(&[source.finish().unwrap()], &batching).unwrap();
            take_all(&mut judge, &built.batch);
        }
        judge.findings()
    }

    fn take_all(judge: &mut Judge, batch: &[u8]) {
        let (view, _) = BatchView::split_first(batch).unwrap().unwrap();
        let mut scratch = Vec::new();
        for record in view
            .records(&DecompressLimits::default(), &mut scratch)
            .unwrap()
        {
            judge.take(record.unwrap().headers);
        }
    }

    #[test]
    fn every_offset_once_and_in_order_is_clean() {
        let clean = Findings {
            records: 3,
            ..Findings::default()
        };
        assert_eq!(found(&[(0, None), (1, None), (2, None)]), clean);
    }

    #[test]
    fn duplicates_holes_and_disorder_are_found() {
        let twice = found(&[(0, None), (1, None), (0, None), (1, None)]);
        assert_eq!((twice.records, twice.duplicates, twice.missing), (2, 2, 0));
        let hole = found(&[(0, None), (3, None)]);
        assert_eq!((hole.records, hole.missing), (2, 2));
        let late = found(&[(0, None), (2, None), (1, None)]);
        assert_eq!((late.records, late.out_of_order, late.missing), (3, 1, 0));
    }

    #[test]
    fn an_announced_gap_is_no_hole() {
        let gap = found(&[(0, None), (3, Some(1)), (4, None)]);
        assert_eq!(
            (gap.records, gap.missing, gap.gaps, gap.announced),
            (3, 0, 1, 2)
        );
    }

    #[test]
    fn a_record_without_an_origin_is_unmarked() {
        let mut judge = Judge::default();
        let mut builder = BatchBuilder::new(BatchOptions::default());
        let other = RecordHeader {
            key: b"other",
            value: None,
        };
        builder.append(0, None, Some(b"x"), &[other]).unwrap();
        take_all(&mut judge, &builder.finish().unwrap());
        assert_eq!(judge.findings().unmarked, 1);
    }
}
