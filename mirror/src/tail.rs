//! The tail check: what of the batches in flight stands at the target.
//!
//! What it is        DescribeProducers first; where the centre has forgotten the producer, or does
//!                   not say, the target's tail is read for our origin headers.
//! What it is not    a decision what follows; that is the lane's.
//! Invariants        1. the scan starts behind the last acknowledged record, or at the start of the
//!                   log where that is gone. 2. it ends at the high watermark of its first answer.
//!                   3. where another process has written as this producer, the last sequence
//!                   before and behind the scan is the same: offsets and sequences belong together.
//! Source            KIP-664 (DescribeProducers); Fetch 4–17; ListOffsets 1–10.

use std::collections::BTreeSet;

use kafka_lite::api::describe_producers::{DescribeProducersResponse, ProducerState};
use kafka_lite::api::fetch::{FetchResponse, PartitionData};
use kafka_lite::api::list_offsets::ListOffsetsResponse;
use kafka_lite::error_code::ErrorCode;
use kafka_lite::record_batch::{BatchView, DecompressLimits};

use crate::origin::Site;
use crate::output::SourceKey;
use crate::progress::Progress;
use crate::sequence;

/// What was found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Landed {
    /// The producer's last sequence at the target.
    Sequence(i32),
    /// First source offsets of the batches of which the target's tail has records.
    Batches(BTreeSet<i64>),
    /// Another process writes as this producer, a copy of this gateway.
    Elsewhere {
        /// The producer's last sequence at the target.
        last_sequence: i32,
        /// Source offset behind the last record of this partition at the target.
        next_offset: i64,
        /// Offset behind what was looked at, at the target.
        end_offset: i64,
    },
    /// The centre does not let us look.
    Unknown,
}

/// What to ask next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    Describe,
    Earliest,
    Fetch(i64),
}

/// Why an answer is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TailFault {
    /// Ask again, perhaps elsewhere.
    Again(ErrorCode),
}

/// A tail check under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tail {
    pub(crate) question: Question,
    pub(crate) is_asked: bool,
    /// The producer id is of no use any more, whatever the scan says.
    pub(crate) must_renew: bool,
    /// The centre had acknowledged batches of the producer and does not know it any more.
    pub(crate) is_forgotten: bool,
    end_offset: Option<i64>,
    landed: BTreeSet<i64>,
    /// Last sequence that somebody else has written as this producer.
    foreign_sequence: Option<i32>,
    /// Source offset behind the last own record that the scan saw.
    next_offset: Option<i64>,
}

impl Tail {
    /// A check that begins with DescribeProducers.
    pub(crate) fn new() -> Self {
        Self {
            question: Question::Describe,
            is_asked: false,
            must_renew: false,
            is_forgotten: false,
            end_offset: None,
            landed: BTreeSet::new(),
            foreign_sequence: None,
            next_offset: None,
        }
    }

    /// A check that does not ask for the last sequence: it says nothing of batches before it.
    pub(crate) fn of_records(progress: &Progress) -> Self {
        let mut tail = Self::new();
        tail.must_renew = true;
        tail.begin_scan(progress);
        tail
    }

    /// DescribeProducers was answered.
    pub(crate) fn handle_described(
        &mut self,
        progress: &Progress,
        response: &DescribeProducersResponse<'_>,
    ) -> Result<Option<Landed>, TailFault> {
        self.is_asked = false;
        let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
        let partition = only(partitions, |one| one.error_code)?;
        let own = own_state(progress, &partition.active_producers);
        let Some(state) = own.filter(|_| partition.error_code.is_none()) else {
            self.is_forgotten = partition.error_code.is_none() && has_acknowledged(progress);
            self.begin_scan(progress);
            return Ok(None);
        };
        let last = state.last_sequence.unwrap_or(-1);
        let epoch = progress.producer.map_or(-1, |producer| producer.epoch);
        let is_epoch = state.producer_epoch == i32::from(epoch);
        if is_epoch && let Some(foreign) = self.foreign_sequence {
            return Ok(self.settle_foreign(foreign, last));
        }
        if is_epoch && is_boundary(progress, last) {
            return Ok(Some(Landed::Sequence(last)));
        }
        if is_epoch && is_ahead(progress, last) {
            self.foreign_sequence = Some(last);
        } else {
            // It lost what it had acknowledged.
            self.must_renew = true;
            self.is_forgotten = true;
        }
        self.begin_scan(progress);
        Ok(None)
    }

    /// The last sequence behind the scan: if it is that of before, nobody wrote meanwhile.
    fn settle_foreign(&mut self, foreign: i32, last: i32) -> Option<Landed> {
        let (Some(next_offset), Some(end_offset)) = (self.next_offset, self.end_offset) else {
            // Of what was written nothing is there any more.
            self.must_renew = true;
            return Some(Landed::Unknown);
        };
        if foreign == last {
            return Some(Landed::Elsewhere {
                last_sequence: last,
                next_offset,
                end_offset,
            });
        }
        self.foreign_sequence = Some(last);
        self.end_offset = None;
        self.question = Question::Fetch(end_offset);
        None
    }

    /// DescribeProducers cannot be asked.
    pub(crate) fn begin_scan(&mut self, progress: &Progress) {
        self.is_asked = false;
        self.question = match progress.acknowledged_offset {
            Some(offset) => Question::Fetch(offset.saturating_add(1)),
            None => Question::Earliest,
        };
    }

    /// ListOffsets was answered.
    pub(crate) fn handle_earliest(
        &mut self,
        response: &ListOffsetsResponse<'_>,
    ) -> Result<Option<Landed>, TailFault> {
        self.is_asked = false;
        let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
        let partition = only(partitions, |one| one.error_code)?;
        match partition.offset.filter(|_| partition.error_code.is_none()) {
            Some(offset) => {
                self.question = Question::Fetch(offset);
                Ok(None)
            }
            None => Ok(Some(Landed::Unknown)),
        }
    }

    /// Fetch was answered.
    pub(crate) fn handle_fetched(
        &mut self,
        site: &Site,
        source: &SourceKey,
        progress: &Progress,
        response: &FetchResponse<'_>,
    ) -> Result<Option<Landed>, TailFault> {
        self.is_asked = false;
        let Question::Fetch(offset) = self.question else {
            return Ok(None);
        };
        if !response.error_code.is_none() {
            return Err(TailFault::Again(response.error_code));
        }
        let partitions = response.responses.iter();
        let partition = only(partitions.flat_map(|topic| &topic.partitions), |one| {
            one.error_code
        })?;
        if partition.error_code == ErrorCode::OffsetOutOfRange {
            // What we knew of this log is not there any more.
            self.question = Question::Earliest;
            return Ok(None);
        }
        if !partition.error_code.is_none() {
            return Ok(Some(Landed::Unknown));
        }
        let end = *self.end_offset.get_or_insert(partition.high_watermark);
        let next = self.take_records((site, source), progress, partition, offset);
        let Some(next) = next else {
            return Ok(Some(Landed::Unknown));
        };
        if next >= end && self.foreign_sequence.is_some() {
            self.end_offset = Some(next);
            self.question = Question::Describe;
            return Ok(None);
        }
        if next >= end {
            return Ok(Some(Landed::Batches(std::mem::take(&mut self.landed))));
        }
        self.question = Question::Fetch(next);
        Ok(None)
    }

    /// Looks through fetched batches; returns the next offset, or `None` if they cannot be read.
    fn take_records(
        &mut self,
        (site, source): (&Site, &SourceKey),
        progress: &Progress,
        partition: &PartitionData<'_>,
        offset: i64,
    ) -> Option<i64> {
        let Some(records) = &partition.records else {
            return Some(offset.max(partition.high_watermark));
        };
        let bytes = records.contiguous();
        let mut rest = bytes.as_ref();
        let mut next = offset;
        let mut scratch = Vec::new();
        // The last batch of a fetch may be cut; it comes again.
        while let Ok(Some((view, after))) = BatchView::split_first(rest) {
            rest = after;
            next = view.header().next_offset();
            if view.header().is_control() {
                continue;
            }
            for record in view
                .records(&DecompressLimits::default(), &mut scratch)
                .ok()?
            {
                let own = site.own_offset(source, record.ok()?.headers);
                self.next_offset = self.next_offset.max(own.map(|own| own.saturating_add(1)));
                let of_own = own.and_then(|offset| intent_of(progress, offset));
                self.landed.extend(of_own);
            }
        }
        if next == offset {
            // Nothing whole came: at the end, or a batch larger than what was asked for.
            let is_at_end = offset >= partition.high_watermark;
            return is_at_end.then_some(offset);
        }
        Some(next)
    }
}

/// The one partition that was asked for, unless it lives elsewhere or is not in the answer.
fn only<'a, T: 'a>(
    mut partitions: impl Iterator<Item = &'a T>,
    code: impl Fn(&T) -> ErrorCode,
) -> Result<&'a T, TailFault> {
    let one = partitions
        .next()
        .ok_or(TailFault::Again(ErrorCode::UnknownServerError))?;
    match code(one) {
        code if is_elsewhere(code) => Err(TailFault::Again(code)),
        _ => Ok(one),
    }
}

fn own_state<'a>(progress: &Progress, states: &'a [ProducerState]) -> Option<&'a ProducerState> {
    let own = progress.producer?;
    states.iter().find(|state| state.producer_id == own.id)
}

/// Whether the centre has acknowledged something of this producer.
fn has_acknowledged(progress: &Progress) -> bool {
    let first = progress.in_flight.front();
    first.is_some_and(|intent| intent.first_sequence > 0)
}

/// First source offset of the batch in flight that covers this one.
fn intent_of(progress: &Progress, offset: i64) -> Option<i64> {
    let mut intents = progress.in_flight.iter();
    let covers =
        |intent: &&crate::Intent| (intent.first_offset..intent.end_offset).contains(&offset);
    intents.find(covers).map(|intent| intent.first_offset)
}

/// Whether the centre's last sequence is the end of a batch in flight or what stands before them.
fn is_boundary(progress: &Progress, last: i32) -> bool {
    let Some(first) = progress.in_flight.front() else {
        return true;
    };
    let before = sequence::advance(first.first_sequence, -1);
    let mut ends = progress.in_flight.iter().map(crate::Intent::last_sequence);
    last == before || ends.any(|end| end == last)
}

/// Whether the centre's last sequence lies behind what it has acknowledged.
fn is_ahead(progress: &Progress, last: i32) -> bool {
    let first = progress.in_flight.front();
    first.is_some_and(|first| !sequence::is_before(last, first.first_sequence))
}

fn is_elsewhere(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::NotLeaderOrFollower
            | ErrorCode::LeaderNotAvailable
            | ErrorCode::UnknownTopicOrPartition
            | ErrorCode::UnknownTopicId
            | ErrorCode::FencedLeaderEpoch
            | ErrorCode::UnknownLeaderEpoch
            | ErrorCode::RequestTimedOut
            | ErrorCode::KafkaStorageError
            | ErrorCode::UnknownServerError
    )
}
