//! Partitions driven until they wait for something.

use bytes::Bytes;
use kafka_lite::api::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use kafka_lite::error_code::ErrorCode;
use kafka_lite::record_batch::{BatchView, DecompressLimits};

use super::inlet::{Appending, Inlet, Locating, Phase};
use super::records::{Taken, Taking};
use super::{Downlink, DownlinkOutput, LocalRead, Start};
use crate::dead_letter::dead_letter;
use crate::limits::DOWNLINK_APPENDS_MAX;
use crate::link::{Purpose, Question, SendFault};
use crate::origin::{Site, origins};
use crate::output::SourceKey;
use crate::progress::{Identity, StateKey};
use crate::time::Now;

/// Timestamps by which ListOffsets asks for the ends of a partition.
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;

impl Downlink {
    /// Does everything that can be done now.
    pub(super) fn drive(&mut self, now: &Now) {
        if self.gate.is_some_and(|until| until <= now.monotonic) {
            self.gate = None;
        }
        let is_open = !self.is_paused && self.gate.is_none();
        if is_open {
            self.link.drive(now, &mut self.random);
            self.create_topics(now);
        }
        while let Some(key) = self.due.pop_first() {
            let Some(mut inlet) = self.inlets.remove(&key) else {
                continue;
            };
            self.drive_inlet(now, &mut inlet, is_open);
            self.inlets.insert(key, inlet);
        }
        if is_open {
            self.fetch(now);
        }
    }

    /// Asks for local topics that the centre has and that are missing here.
    fn create_topics(&mut self, now: &Now) {
        if !self.link.metadata.is_current() {
            return;
        }
        let mut wanted = Vec::new();
        for (topic, info) in self.link.metadata.topics() {
            let local = self.options.topics.local_of(topic);
            let partitions = i32::try_from(info.leaders.len()).unwrap_or(i32::MAX);
            let has = self.created.get(&local).copied().unwrap_or(0);
            let is_waiting = match self.creating.get(&local) {
                Some(Some(again)) => *again > now.monotonic,
                Some(None) => true,
                None => false,
            };
            if partitions > has && !is_waiting {
                wanted.push((local, partitions));
            }
        }
        for (topic, partitions) in wanted {
            self.creating.insert(topic.clone(), None);
            self.outputs
                .push_back(DownlinkOutput::CreateTopic { topic, partitions });
        }
    }

    fn drive_inlet(&mut self, now: &Now, inlet: &mut Inlet, is_open: bool) {
        self.follow_centre(inlet);
        match inlet.phase {
            Phase::Unplaced | Phase::Storing => {}
            Phase::Scanning(from) => self.read_local(now, inlet, from),
            Phase::Locating(locating) if is_open => self.locate(now, inlet, locating),
            Phase::Locating(_) => {}
            Phase::Flowing => self.append(now, inlet),
        }
        if let Some(value) = inlet.poll_write(now) {
            let mirror = self.options.name.clone();
            let key = StateKey::Downlink(mirror, inlet.topic.clone(), inlet.key.partition);
            self.outputs.push_back(DownlinkOutput::Write {
                lane: inlet.key,
                key: key.encode(),
                value,
            });
        }
    }

    /// Places a partition once the centre is known, and anew when the topic there is another one.
    fn follow_centre(&self, inlet: &mut Inlet) {
        if !self.link.metadata.is_current() || inlet.is_asking || inlet.appending.is_some() {
            return;
        }
        let Some(identity) = self.identity(inlet) else {
            let fault = self.link.metadata.fault(&inlet.topic);
            if let Some(fault) = fault {
                inlet.fault = Some(fault.to_owned());
            }
            return;
        };
        if inlet.phase == Phase::Unplaced || inlet.cursor.identity != identity {
            inlet.succeed();
            inlet.place(identity);
        }
    }

    fn read_local(&mut self, now: &Now, inlet: &mut Inlet, from: i64) {
        if inlet.is_asking || !inlet.has_paused(now) {
            return;
        }
        inlet.is_asking = true;
        self.outputs.push_back(DownlinkOutput::Read {
            lane: inlet.key,
            first_offset: from,
        });
    }

    /// Looks for the last record that came from this partition of the centre.
    pub(super) fn take_read(
        &mut self,
        now: &Now,
        inlet: &mut Inlet,
        result: Result<LocalRead, String>,
    ) {
        let Phase::Scanning(from) = inlet.phase else {
            return;
        };
        let read = match result {
            Ok(read) => read,
            Err(reason) => {
                let fault = format!("reading {}: {reason}", inlet.local);
                return inlet.retry_later(now, &mut self.random, fault);
            }
        };
        inlet.local_end = read.high_watermark;
        match self.last_found(inlet, &read.pieces, from) {
            Ok(next) if next > from && next < read.high_watermark => {
                inlet.phase = Phase::Scanning(next);
            }
            Ok(_) => {
                let start = self.start_of(inlet);
                inlet.handle_scanned(now, start);
            }
            Err(reason) => {
                let fault = format!("reading {}: {reason}", inlet.local);
                inlet.retry_later(now, &mut self.random, fault);
            }
        }
    }

    /// Notes what stands in local batches; returns the local offset behind them.
    fn last_found(&self, inlet: &mut Inlet, pieces: &[Bytes], from: i64) -> Result<i64, String> {
        let centre = self.centre(&inlet.cursor.identity)?;
        let source = source_of(inlet);
        let mut next = from;
        let mut scratch = Vec::new();
        for piece in pieces {
            let mut rest: &[u8] = piece;
            while let Some((view, after)) =
                BatchView::split_first(rest).map_err(|error| error.to_string())?
            {
                rest = after;
                next = next.max(view.header().next_offset());
                if view.header().is_control() {
                    continue;
                }
                let records = view
                    .records(&DecompressLimits::default(), &mut scratch)
                    .map_err(|error| error.to_string())?;
                for record in records {
                    let record = record.map_err(|error| error.to_string())?;
                    let last = origins(record.headers).last();
                    let is_own = |origin: &crate::Origin<'_>| {
                        origin.site == centre.name() && origin.source == source
                    };
                    if let Some(origin) = last.filter(is_own) {
                        inlet.handle_found(origin.offset);
                    }
                }
            }
        }
        Ok(next)
    }

    /// Where a partition begins that has no cursor.
    fn start_of(&self, inlet: &Inlet) -> Locating {
        let mut others = self.inlets.values();
        let is_known =
            inlet.is_known || others.any(|other| other.topic == inlet.topic && other.is_known);
        match self.options.start {
            Start::Latest if !is_known => Locating::Latest,
            Start::Latest | Start::Earliest => Locating::Earliest,
        }
    }

    /// The centre as the origin headers say it.
    pub(super) fn centre(&self, identity: &Identity) -> Result<Site, String> {
        let name = match identity.cluster_id.is_empty() {
            true => &self.options.name,
            false => &identity.cluster_id,
        };
        Site::new(name, [0; 8]).map_err(|reason| format!("cluster id of the centre: {reason}"))
    }

    /// Asks where the partition begins or ends at the centre.
    fn locate(&mut self, now: &Now, inlet: &mut Inlet, locating: Locating) {
        if inlet.is_asking || !inlet.has_paused(now) {
            return;
        }
        let leader = self.link.metadata.leader(&inlet.topic, inlet.key.partition);
        let Some(address) = leader else {
            self.link.metadata.mark_stale();
            return inlet.retry_later(now, &mut self.random, "no leader at the centre".to_owned());
        };
        let Some(id) = self.link.connection_to(now, &address) else {
            return;
        };
        // Behind a fetch that waits it would wait too.
        if self.fetching.contains(&id) {
            return;
        }
        let timestamp = match locating {
            Locating::Earliest | Locating::LostStart => EARLIEST,
            Locating::Latest | Locating::LostEnd => LATEST,
        };
        let request = ListOffsetsRequest {
            replica_id: -1,
            isolation_level: i8::from(locating == Locating::Latest),
            topics: vec![ListOffsetsTopic {
                name: inlet.topic.clone().into(),
                partitions: vec![ListOffsetsPartition {
                    partition_index: inlet.key.partition,
                    current_leader_epoch: None,
                    timestamp,
                }],
            }],
            ..ListOffsetsRequest::default()
        };
        let purpose = Purpose::Downlink(Question::Offset(inlet.key));
        match self.link.send(now, id, &request, purpose) {
            Ok(()) => inlet.is_asking = true,
            Err(SendFault::Busy) => {}
            Err(SendFault::Unsupported) => {
                let fault = "the centre does not speak ListOffsets".to_owned();
                inlet.retry_later(now, &mut self.random, fault);
            }
        }
    }

    /// Appends the next batch of what was fetched.
    pub(super) fn append(&mut self, now: &Now, inlet: &mut Inlet) {
        if inlet.appending.is_some() || inlet.fetched.is_none() || !inlet.has_paused(now) {
            return;
        }
        if self.appends >= DOWNLINK_APPENDS_MAX {
            self.crowded.insert(inlet.key);
            return;
        }
        let taken = match self.take(inlet) {
            Ok(taken) => taken,
            Err(fault) => {
                inlet.fetched = None;
                return inlet.retry_later(now, &mut self.random, fault);
            }
        };
        if inlet
            .fetched
            .as_ref()
            .is_some_and(super::records::Fetched::is_empty)
        {
            inlet.fetched = None;
        }
        self.counters.loops += taken.loops;
        self.counters.aborted_records += taken.aborted;
        if taken.records == 0 {
            return inlet.advance(now, &taken, None);
        }
        self.start_append(inlet, taken);
    }

    fn take(&self, inlet: &mut Inlet) -> Result<Taken, String> {
        let centre = self.centre(&inlet.cursor.identity)?;
        let taking = Taking {
            own: &self.options.site,
            centre: &centre,
            source: source_of(inlet),
            first_offset: inlet.cursor.next_offset,
            gap: inlet.cursor.gap,
            bytes_max: self.options.batch_bytes,
            records_max: inlet.narrow.map_or(usize::MAX, |(_, most)| most),
            omits_timestamps: inlet.omits_timestamps,
        };
        let Some(fetched) = &mut inlet.fetched else {
            return Ok(Taken::default());
        };
        fetched.take(&taking).map_err(|fault| fault.to_string())
    }

    fn start_append(&mut self, inlet: &mut Inlet, mut taken: Taken) {
        let batch = Bytes::from(std::mem::take(&mut taken.batch));
        let bytes = batch.len();
        let refusal = inlet.refusal.filter(|_| taken.records == 1);
        let output = match refusal {
            Some(code) => DownlinkOutput::DeadLetter {
                lane: inlet.key,
                topic: inlet.local.clone(),
                batch: dead_letter(&batch, code.name()).unwrap_or(batch),
            },
            None => DownlinkOutput::Append {
                lane: inlet.key,
                batch,
            },
        };
        inlet.appending = Some(Appending { taken, bytes });
        self.appends += 1;
        self.outputs.push_back(output);
    }

    /// An append has ended; returns it.
    fn end_append(&mut self, inlet: &mut Inlet) -> Option<Appending> {
        let appending = inlet.appending.take()?;
        self.appends = self.appends.saturating_sub(1);
        self.due.append(&mut self.crowded);
        Some(appending)
    }

    pub(super) fn take_appended(
        &mut self,
        now: &Now,
        inlet: &mut Inlet,
        result: Result<i64, ErrorCode>,
    ) {
        let Some(appending) = self.end_append(inlet) else {
            return;
        };
        match result {
            Ok(local_end) => {
                inlet.cursor.records += appending.taken.records;
                inlet.cursor.gap = None;
                self.counters.records += appending.taken.records;
                inlet.last_success_ms = Some(now.wall_ms);
                inlet.is_cautious = false;
                inlet.refusal = None;
                inlet.succeed();
                inlet.advance(now, &appending.taken, Some(local_end));
            }
            Err(code) => self.handle_refused(now, inlet, &appending, code),
        }
    }

    /// The local topic has not taken a batch.
    fn handle_refused(
        &mut self,
        now: &Now,
        inlet: &mut Inlet,
        appending: &Appending,
        code: ErrorCode,
    ) {
        self.counters.retries += 1;
        inlet.is_cautious = true;
        let fault = format!("{} refuses records: {}", inlet.local, code.name());
        let next_offset = appending.taken.next_offset;
        if code == ErrorCode::InvalidTimestamp && !inlet.omits_timestamps {
            inlet.omits_timestamps = true;
            inlet.narrow = Some((next_offset, usize::MAX));
            inlet.fetched = None;
        } else if is_for_good(code) {
            let count = usize::try_from(appending.taken.records).unwrap_or(1);
            inlet.refusal = (count == 1).then_some(code);
            inlet.narrow = Some((next_offset, (count >> 1).max(1)));
            inlet.fetched = None;
        } else {
            // Whether it is there after all is seen in the log.
            inlet.scan();
            inlet.retry_later(now, &mut self.random, fault);
        }
    }

    pub(super) fn take_dead_letter(&mut self, now: &Now, inlet: &mut Inlet, is_durable: bool) {
        let Some(appending) = self.end_append(inlet) else {
            return;
        };
        if !is_durable {
            inlet.fetched = None;
            let fault = format!("{}: a refused record cannot be put aside", inlet.local);
            return inlet.retry_later(now, &mut self.random, fault);
        }
        inlet.cursor.dead_letters += 1;
        inlet.refusal = None;
        inlet.succeed();
        inlet.advance(now, &appending.taken, None);
        // Nothing in the local log says that it was dealt with.
        inlet.start_at(now, inlet.cursor.next_offset);
    }
}

/// The partition at the centre, as origin headers say it.
pub(super) fn source_of(inlet: &Inlet) -> SourceKey {
    SourceKey {
        topic_id: inlet.cursor.identity.topic_id,
        partition: inlet.key.partition,
    }
}

/// Whether the same batch would be refused again. What is not listed may pass: the disk is full,
/// the partition moves.
const fn is_for_good(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::MessageTooLarge
            | ErrorCode::RecordListTooLarge
            | ErrorCode::InvalidRecord
            | ErrorCode::InvalidTimestamp
            | ErrorCode::CorruptMessage
            | ErrorCode::UnsupportedForMessageFormat
            | ErrorCode::UnsupportedCompressionType
            | ErrorCode::PolicyViolation
    )
}
