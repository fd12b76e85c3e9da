//! Reading partitions: where each stands, and the records from there on.
//!
//! What it is        Fetch to every leader in turn, batches opened, records handed to the caller
//!                   one by one; leaders that move are followed.
//! What it is not    a fetch session: every request names all partitions.
//! Invariants        1. a record is handed over at most once, in the order of its partition.
//!                   2. nothing below the wanted start or from the wanted end on is handed over.
//! Source            Fetch 4 to 12 (names, not ids); KIP-74.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kafka_lite::api::fetch::{
    FetchPartition, FetchRequest, FetchResponse, FetchTopic, PartitionData,
};
use kafka_lite::error_code::ErrorCode;
use kafka_lite::record_batch::{BatchError, BatchView, DecompressLimits, Record};

use super::cluster::Cluster;
use super::error::{ClientError, check, is_stale_metadata};
use super::limits::{
    FETCH_BYTES_MAX, FETCH_WAIT, FETCH_WAIT_OF_MANY, SEARCH_PAUSE, SEARCH_TIMEOUT,
};
use super::offsets::{TopicPartition, Wanted, by_leader, by_topic, list_same};

/// Last version of Fetch that names topics.
const FETCH_VERSION: i16 = 12;

/// Where a partition is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Offset to fetch next; must exist or be the end.
    pub next: i64,
    /// First offset that the caller wants; may lie in the future.
    pub first_wanted: i64,
    /// End of what the caller wants, exclusive.
    pub end: Option<i64>,
}

/// One record and what is known around it.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    /// Where it stands.
    pub source: &'a TopicPartition,
    /// The record.
    pub record: &'a Record<'a>,
    /// Epoch of the leader that appended it.
    pub leader_epoch: i32,
    /// First offset that is still there.
    pub log_start_offset: i64,
    /// End of what is committed, exclusive.
    pub high_watermark: i64,
}

/// Whether the caller wants more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    More,
    /// This record was the last one wanted.
    Enough,
}

/// Reads partitions.
#[derive(Debug, Default)]
pub struct Fetcher {
    positions: BTreeMap<TopicPartition, Position>,
    /// Partitions end where nothing more is committed.
    ends_at_high_watermark: bool,
    leaders: BTreeMap<i32, Vec<TopicPartition>>,
    /// Next offset of every partition of which something was read since the assignment.
    consumed: BTreeMap<TopicPartition, i64>,
    turn: usize,
    failing_since: Option<Instant>,
    notices: Vec<String>,
    scratch: Vec<u8>,
}

impl Fetcher {
    /// Reads nothing yet. With `ends_at_high_watermark` a partition is done when its end is seen.
    #[must_use]
    pub fn new(ends_at_high_watermark: bool) -> Self {
        Self {
            ends_at_high_watermark,
            ..Self::default()
        }
    }

    /// Replaces what is read.
    pub fn assign(&mut self, positions: BTreeMap<TopicPartition, Position>) {
        self.positions = positions;
        self.positions.retain(|_, position| !position.is_done());
        self.leaders.clear();
        self.consumed.clear();
    }

    /// What to commit: the next offset of every partition that has moved since the last call.
    pub fn take_consumed(&mut self) -> BTreeMap<TopicPartition, i64> {
        std::mem::take(&mut self.consumed)
    }

    /// Whether every partition has reached its end.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.positions.is_empty()
    }

    /// What the user should hear about, since the last call.
    pub fn take_notices(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notices)
    }

    /// Fetches once from every leader and hands the records over.
    ///
    /// # Errors
    /// Of the caller, or of the brokers when it lasts.
    pub fn poll<E: From<ClientError>>(
        &mut self,
        cluster: &mut Cluster,
        deliver: &mut impl FnMut(&Delivery<'_>) -> Result<Verdict, E>,
    ) -> Result<Verdict, E> {
        if self.leaders.is_empty() && !self.is_done() {
            match by_leader(cluster, self.positions.keys()) {
                Ok(leaders) => self.leaders = leaders,
                Err(error) => {
                    self.handle_failure(error)?;
                    return Ok(Verdict::More);
                }
            }
        }
        let wait = if self.leaders.len() > 1 {
            FETCH_WAIT_OF_MANY
        } else {
            FETCH_WAIT
        };
        for (leader, mut partitions) in self.leaders.clone() {
            partitions.retain(|one| self.positions.contains_key(one));
            if partitions.is_empty() {
                continue;
            }
            let turn = self.turn.checked_rem(partitions.len()).unwrap_or(0);
            partitions.rotate_left(turn);
            let verdict = self.fetch(cluster, leader, &partitions, wait, deliver)?;
            if verdict == Verdict::Enough {
                return Ok(verdict);
            }
        }
        self.turn = self.turn.wrapping_add(1);
        Ok(Verdict::More)
    }

    fn fetch<E: From<ClientError>>(
        &mut self,
        cluster: &mut Cluster,
        leader: i32,
        partitions: &[TopicPartition],
        wait: Duration,
        deliver: &mut impl FnMut(&Delivery<'_>) -> Result<Verdict, E>,
    ) -> Result<Verdict, E> {
        let request = self.request(partitions, wait);
        let node = cluster.node(leader);
        let answer = node.and_then(|node| node.call_up_to(FETCH_VERSION, wait, &request));
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                self.handle_failure(error)?;
                return Ok(Verdict::More);
            }
        };
        let response: FetchResponse<'_> = answer.read()?;
        check(response.error_code, None, || "fetch".to_owned())?;
        for topic in &response.responses {
            for partition in &topic.partitions {
                let source = TopicPartition::new(&topic.topic, partition.partition_index);
                if !partition.error_code.is_none() {
                    self.handle_partition_error(cluster, &source, partition.error_code)?;
                    continue;
                }
                self.failing_since = None;
                if self.handle_partition(&source, partition, deliver)? == Verdict::Enough {
                    return Ok(Verdict::Enough);
                }
            }
        }
        Ok(Verdict::More)
    }

    fn request(&self, partitions: &[TopicPartition], wait: Duration) -> FetchRequest<'static> {
        let wanted = |topic: &str, number: i32| FetchPartition {
            partition: number,
            fetch_offset: self
                .positions
                .get(&TopicPartition::new(topic, number))
                .map_or(0, |position| position.next),
            partition_max_bytes: FETCH_BYTES_MAX,
            ..FetchPartition::default()
        };
        let topics = by_topic(partitions).into_iter();
        let topics = topics.map(|(topic, numbers)| FetchTopic {
            topic: topic.to_owned().into(),
            partitions: numbers
                .iter()
                .map(|number| wanted(topic, *number))
                .collect(),
            ..FetchTopic::default()
        });
        FetchRequest {
            max_wait_ms: i32::try_from(wait.as_millis()).unwrap_or(i32::MAX),
            min_bytes: 1,
            max_bytes: FETCH_BYTES_MAX,
            topics: topics.collect(),
            ..FetchRequest::default()
        }
    }

    fn handle_partition<E: From<ClientError>>(
        &mut self,
        source: &TopicPartition,
        partition: &PartitionData<'_>,
        deliver: &mut impl FnMut(&Delivery<'_>) -> Result<Verdict, E>,
    ) -> Result<Verdict, E> {
        let Some(mut position) = self.positions.get(source).copied() else {
            return Ok(Verdict::More);
        };
        let bytes = partition.records.as_ref().map(|data| data.contiguous());
        let reader = Reader {
            source,
            log_start_offset: partition.log_start_offset,
            high_watermark: partition.high_watermark,
        };
        let bytes = bytes.as_deref().unwrap_or_default();
        let before = position.next;
        let verdict = reader.read(bytes, &mut position, &mut self.scratch, deliver)?;
        if position.next > before {
            self.consumed.insert(source.clone(), position.next);
        }
        let at_end = self.ends_at_high_watermark && position.next >= partition.high_watermark;
        if at_end || position.is_done() {
            self.positions.remove(source);
        } else {
            self.positions.insert(source.clone(), position);
        }
        Ok(verdict)
    }

    fn handle_partition_error(
        &mut self,
        cluster: &mut Cluster,
        source: &TopicPartition,
        code: ErrorCode,
    ) -> Result<(), ClientError> {
        if code != ErrorCode::OffsetOutOfRange {
            return self.handle_failure(ClientError::refused(source.to_string(), code, None));
        }
        let one = std::slice::from_ref(source);
        let start = list_same(cluster, one, Wanted::Start)?.into_values().next();
        let end = list_same(cluster, one, Wanted::End)?.into_values().next();
        if let (Some(position), Some(start), Some(end)) =
            (self.positions.get_mut(source), start, end)
        {
            let left = position.next;
            position.next = left.clamp(start, end);
            let now = position.next;
            self.notices.push(format!(
                "{source}: offset {left} is not there, going on at {now}"
            ));
        }
        Ok(())
    }

    /// Pauses and forgets the leaders if the error may pass, until it has lasted too long.
    fn handle_failure(&mut self, error: ClientError) -> Result<(), ClientError> {
        let since = *self.failing_since.get_or_insert_with(Instant::now);
        let may_pass = error.is_connection() || error.code().is_some_and(is_stale_metadata);
        if !may_pass || since.elapsed() > SEARCH_TIMEOUT {
            return Err(error);
        }
        self.leaders.clear();
        std::thread::sleep(SEARCH_PAUSE);
        Ok(())
    }
}

impl Position {
    fn is_done(&self) -> bool {
        self.end
            .is_some_and(|end| self.next >= end || self.first_wanted >= end)
    }
}

/// Opens the batches of one partition.
struct Reader<'a> {
    source: &'a TopicPartition,
    log_start_offset: i64,
    high_watermark: i64,
}

impl Reader<'_> {
    fn read<E: From<ClientError>>(
        &self,
        mut bytes: &[u8],
        position: &mut Position,
        scratch: &mut Vec<u8>,
        deliver: &mut impl FnMut(&Delivery<'_>) -> Result<Verdict, E>,
    ) -> Result<Verdict, E> {
        loop {
            let (batch, rest) = match BatchView::split_first(bytes) {
                // The last batch may be cut.
                Ok(None) | Err(BatchError::Truncated { .. }) => return Ok(Verdict::More),
                Ok(Some(found)) => found,
                Err(error) => return Err(self.unreadable(position.next, &error).into()),
            };
            bytes = rest;
            batch
                .check_crc()
                .map_err(|error| self.unreadable(position.next, &error))?;
            let verdict = self.read_batch(&batch, position, scratch, deliver)?;
            if verdict == Verdict::Enough || position.is_done() {
                return Ok(verdict);
            }
            position.next = position.next.max(batch.header().next_offset());
        }
    }

    fn read_batch<E: From<ClientError>>(
        &self,
        batch: &BatchView<'_>,
        position: &mut Position,
        scratch: &mut Vec<u8>,
        deliver: &mut impl FnMut(&Delivery<'_>) -> Result<Verdict, E>,
    ) -> Result<Verdict, E> {
        if batch.header().is_control() {
            return Ok(Verdict::More);
        }
        let records = batch.records(&DecompressLimits::default(), scratch);
        let records = records.map_err(|error| self.unreadable(position.next, &error))?;
        for record in records {
            let record = record.map_err(|error| self.unreadable(position.next, &error))?;
            if record.offset < position.next.max(position.first_wanted) {
                continue;
            }
            if position.end.is_some_and(|end| record.offset >= end) {
                position.next = record.offset;
                return Ok(Verdict::More);
            }
            let verdict = deliver(&Delivery {
                source: self.source,
                record: &record,
                leader_epoch: batch.header().partition_leader_epoch,
                log_start_offset: self.log_start_offset,
                high_watermark: self.high_watermark,
            })?;
            position.next = record.offset + 1;
            if verdict == Verdict::Enough {
                return Ok(verdict);
            }
        }
        Ok(Verdict::More)
    }

    fn unreadable(&self, offset: i64, error: &dyn std::error::Error) -> ClientError {
        ClientError::Other(format!("{}, offset {offset}: {error}", self.source))
    }
}

#[cfg(test)]
mod tests {
    use kafka_lite::record_batch::{BatchBuilder, BatchOptions, Compression};

    use super::{ClientError, Position, Reader, TopicPartition, Verdict};

    /// Batches of two records each, from offset 10 on; the values are the offsets.
    fn batches(count: i64, compression: Compression) -> Vec<u8> {
        let batch = |number: i64| {
            let base_offset = 10 + 2 * number;
            let mut builder = BatchBuilder::new(BatchOptions {
                base_offset,
                compression,
                ..BatchOptions::default()
            });
            for offset in [base_offset, base_offset + 1] {
                let value = offset.to_string();
                builder
                    .append(0, None, Some(value.as_bytes()), &[])
                    .unwrap();
            }
            builder.finish().unwrap()
        };
        (0..count).flat_map(batch).collect()
    }

    fn position(next: i64, first_wanted: i64, end: Option<i64>) -> Position {
        Position {
            next,
            first_wanted,
            end,
        }
    }

    /// Reads and returns the offsets handed over, where reading goes on, and whether it failed.
    fn read(bytes: &[u8], mut position: Position, enough: usize) -> (Vec<i64>, i64, bool) {
        let reader = Reader {
            source: &TopicPartition::new("orders", 0),
            log_start_offset: 10,
            high_watermark: 16,
        };
        let mut offsets = Vec::new();
        let result =
            reader.read::<ClientError>(bytes, &mut position, &mut Vec::new(), &mut |from| {
                assert_eq!(
                    from.record.value,
                    Some(from.record.offset.to_string().as_bytes())
                );
                offsets.push(from.record.offset);
                let is_enough = offsets.len() >= enough;
                Ok(if is_enough {
                    Verdict::Enough
                } else {
                    Verdict::More
                })
            });
        (offsets, position.next, result.is_err())
    }

    #[test]
    fn records_are_handed_over_from_the_wanted_one_to_the_end() {
        for compression in Compression::ALL {
            let bytes = batches(3, compression);
            let rows = [
                (position(10, 10, None), (10..16).collect(), 16),
                (position(13, 13, None), vec![13, 14, 15], 16),
                // Wanted lies behind what there is to fetch from.
                (position(10, 15, None), vec![15], 16),
                (position(10, 20, None), vec![], 16),
                (position(10, 10, Some(13)), vec![10, 11, 12], 13),
                (position(10, 10, Some(16)), (10..16).collect(), 16),
            ];
            for (position, offsets, next) in rows {
                assert_eq!(
                    read(&bytes, position, 99),
                    (offsets, next, false),
                    "{position:?}"
                );
            }
        }
    }

    #[test]
    fn enough_stops_behind_the_last_record_handed_over() {
        let bytes = batches(3, Compression::None);
        let all = position(10, 10, None);
        assert_eq!(read(&bytes, all, 3), (vec![10, 11, 12], 13, false));
    }

    #[test]
    fn a_cut_batch_is_left_for_the_next_fetch_and_a_damaged_one_is_an_error() {
        let whole = batches(2, Compression::None);
        let all = position(10, 10, None);
        let cut = &whole[..whole.len() - 1];
        assert_eq!(read(cut, all, 99), (vec![10, 11], 12, false));
        let mut damaged = whole.clone();
        *damaged.last_mut().unwrap() ^= 1;
        assert_eq!(read(&damaged, all, 99), (vec![10, 11], 12, true));
    }
}
