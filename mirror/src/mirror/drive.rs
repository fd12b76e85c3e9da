//! Lanes driven until they wait for something.

use bytes::Bytes;
use kafka_lite::error_code::ErrorCode;

use super::{Mirror, SourceStart};
use crate::batching::{self, Built};
use crate::dead_letter::dead_letter;
use crate::lane::{Lane, Phase, Reading, Verdict};
use crate::limits::{KEY_LANES_MAX, READ_BYTES_MAX, READS_MAX};
use crate::output::{Output, SourceKey};
use crate::progress::{Intent, LaneKey, StateKey};
use crate::tail::Tail;
use crate::time::Now;

impl Mirror {
    /// Does everything that can be done now.
    pub(super) fn drive(&mut self, now: &Now) {
        self.last_now = *now;
        self.settle_usage(now);
        if self.is_paused {
            return;
        }
        if self.is_wanted() {
            self.link.drive(now, &mut self.random);
            self.place_waiting(now);
        }
        while let Some(key) = self.due.pop_first() {
            let Some(mut lane) = self.lanes.remove(&key) else {
                continue;
            };
            self.drive_lane(now, &mut lane);
            let entry = (lane.priority, key);
            if lane.next_to_send(now).is_some() {
                self.ready.insert(entry);
            } else {
                self.ready.remove(&entry);
            }
            self.lanes.insert(key, lane);
        }
        self.pump(now);
        self.settle_usage(now);
    }

    /// Makes the lanes of sources whose target has become known.
    fn place_waiting(&mut self, now: &Now) {
        if self.unplaced.is_empty() || !self.link.metadata.is_current() {
            return;
        }
        let site = self.options.site.name();
        let lanes_of = |start: &SourceStart| {
            let target = self.options.target.of(site, &start.topic);
            let info = self.link.metadata.topic(&target)?;
            i32::try_from(info.leaders.len()).ok()
        };
        let placed: Vec<(SourceKey, i32)> = self
            .unplaced
            .iter()
            .filter_map(|(key, start)| Some((*key, lanes_of(start)?)))
            .collect();
        for (key, lanes) in placed {
            let wanted = usize::try_from(lanes.min(KEY_LANES_MAX)).unwrap_or(1);
            if self.lanes.len().saturating_add(wanted) > self.options.lanes_max {
                // It stays, and is held, until lanes have gone.
                continue;
            }
            if let Some(start) = self.unplaced.remove(&key) {
                self.add_lanes(now, key, &start, lanes.min(KEY_LANES_MAX));
            }
        }
    }

    fn drive_lane(&mut self, now: &Now, lane: &mut Lane) {
        match lane.phase {
            Phase::Placing => self.place(now, lane),
            Phase::Checking(_) => self.ask_tail(now, lane),
            Phase::Flowing => self.handle_verdict(now, lane),
        }
        if matches!(lane.phase, Phase::Flowing) {
            self.read(now, lane);
            self.send_dead_letter(now, lane);
        }
        if lane.poll_write(now).is_some() {
            let key = StateKey::Lane(self.options.name.clone(), lane.key);
            self.write(Some(lane.key), &key, lane.progress.encode());
        }
        self.mark(now, lane);
    }

    /// Notes how far the lane is, once in a while.
    fn mark(&mut self, now: &Now, lane: &mut Lane) {
        let keep = self.options.keep;
        if lane.marks.advance(now, keep, lane.progress.cursor) {
            self.outputs.push_back(Output::Note {
                key: StateKey::Marks(self.options.name.clone(), lane.key).encode(),
                value: lane.marks.encode(now),
            });
        }
    }

    /// What follows from refusals.
    fn handle_verdict(&mut self, now: &Now, lane: &mut Lane) {
        let Some((verdict, code, sentence)) = lane.poll_verdict() else {
            return;
        };
        lane.last_fault = Some(format!("{} {sentence}", code.name()).trim().to_owned());
        if !matches!(verdict, Verdict::Narrow | Verdict::Untimely) {
            lane.retry_later(now, &mut self.random);
        }
        match verdict {
            Verdict::Retry | Verdict::Forbidden => {
                lane.forgive();
                self.counters.retries += 1;
            }
            Verdict::Relocate => {
                self.link.metadata.mark_stale();
                lane.forgive();
                lane.enter_placing();
                self.counters.retries += 1;
            }
            Verdict::Check | Verdict::Overtaken | Verdict::Unsure => {
                lane.checks += u32::from(verdict != Verdict::Unsure);
                lane.is_proven = false;
                self.counters.tail_checks += 1;
                lane.phase = Phase::Checking(if verdict == Verdict::Overtaken {
                    Tail::of_records(&lane.progress)
                } else {
                    Tail::new()
                });
                self.due.insert(lane.key);
            }
            Verdict::Untimely => {
                lane.omit_timestamps(now);
                self.counters.retries += 1;
                lane.recut(now);
                self.due.insert(lane.key);
            }
            Verdict::Narrow => self.narrow(now, lane, code, &sentence),
        }
    }

    /// The first batch is refused for good: smaller ones, or its record is put aside.
    fn narrow(&mut self, now: &Now, lane: &mut Lane, code: ErrorCode, sentence: &str) {
        let bytes = lane.batches.front().and_then(|batch| batch.bytes.clone());
        let poison = lane.narrow_first();
        if let (Some(offset), Some(bytes)) = (poison, bytes) {
            lane.dead_letter = Some(offset);
            lane.dead_letter_batch = dead_letter(&bytes, &format!("{} {sentence}", code.name()));
        }
        lane.recut(now);
        self.due.insert(lane.key);
    }

    fn send_dead_letter(&mut self, now: &Now, lane: &mut Lane) {
        if !lane.has_paused(now) {
            return;
        }
        // Kept until the answer, in case that it fails.
        let Some(batch) = lane.dead_letter_batch.clone() else {
            return;
        };
        if lane.is_dead_letter_sent {
            return;
        }
        lane.is_dead_letter_sent = true;
        self.outputs.push_back(Output::DeadLetter {
            lane: lane.key,
            topic: lane.topic.clone(),
            batch,
        });
    }

    /// Reads what must be built again, or what is new.
    fn read(&mut self, now: &Now, lane: &mut Lane) {
        if lane.reading.is_some() || !lane.has_paused(now) || lane.must_recut {
            return;
        }
        let rebuild = lane.next_rebuild();
        if rebuild.is_none() && !lane.may_read_new(now) {
            return;
        }
        if !self.has_connection(now, lane) {
            return;
        }
        if !self.has_room_for(lane) {
            self.crowded.insert(lane.key);
            return;
        }
        let (first_offset, end_offset) = match &rebuild {
            Some(intent) => (intent.first_offset, intent.end_offset),
            None => (
                lane.read_offset.max(lane.log_start_offset),
                lane.high_watermark,
            ),
        };
        lane.reading = Some(Reading {
            first_offset,
            end_offset,
            is_rebuild: rebuild.is_some(),
        });
        self.reads += 1;
        self.outputs.push_back(Output::Read {
            lane: lane.key,
            // What is gone is found out by what comes.
            first_offset: first_offset.max(lane.log_start_offset),
            end_offset,
            bytes_max: match rebuild {
                Some(_) => usize::MAX,
                None => READ_BYTES_MAX,
            },
        });
    }

    /// Whether the leader of the target listens; dials if not.
    fn has_connection(&mut self, now: &Now, lane: &Lane) -> bool {
        let Some(target) = &lane.progress.target else {
            return false;
        };
        match self.link.metadata.leader(&target.topic, target.partition) {
            Some(leader) => self.link.connection_to(now, &leader).is_some(),
            None => {
                self.link.metadata.mark_stale();
                false
            }
        }
    }

    fn has_room_for(&self, lane: &Lane) -> bool {
        let is_first = lane.batches.iter().all(|batch| batch.bytes.is_none());
        let kept = self.kept_bytes() + lane.kept_bytes();
        let most = self.options.kept_bytes_max;
        let limit = match is_first {
            true => most,
            false => most.saturating_mul(4).div_euclid(5),
        };
        // Reads under way become batches, and so will this one.
        let coming = (self.reads + 1).saturating_mul(self.options.batch_bytes);
        let is_alone = kept == 0 && self.reads == 0;
        self.reads < READS_MAX && (is_alone || kept.saturating_add(coming) <= limit)
    }

    /// A read ended.
    pub(super) fn take_read(
        &mut self,
        now: &Now,
        key: LaneKey,
        result: Result<Vec<Bytes>, String>,
    ) {
        self.reads = self.reads.saturating_sub(1);
        self.due.append(&mut self.crowded);
        self.due.insert(key);
        let Some(mut lane) = self.lanes.remove(&key) else {
            return;
        };
        if let Some(reading) = lane.reading.take() {
            match result {
                Err(reason) => {
                    lane.last_fault = Some(format!("source: {reason}"));
                    lane.retry_later(now, &mut self.random);
                }
                Ok(pieces) if reading.is_rebuild => {
                    self.rebuild(now, &mut lane, reading, &pieces);
                }
                Ok(pieces) => self.build(now, &mut lane, reading, &pieces),
            }
        }
        self.lanes.insert(key, lane);
    }

    /// Makes a new batch and its intent.
    fn build(&mut self, now: &Now, lane: &mut Lane, reading: Reading, pieces: &[Bytes]) {
        let is_expected = reading.first_offset == lane.read_offset.max(lane.log_start_offset);
        if !is_expected || !lane.may_read_new(now) {
            return;
        }
        let batching = self.batching(lane, None, now);
        let (gap_start, first_offset) = (batching.gap_start, batching.first_offset);
        let intent_of = |built: &Built| Intent {
            first_offset: match gap_start {
                Some(_) => first_offset,
                None => lane.progress.next_offset(),
            },
            end_offset: built.end_offset,
            records: built.records,
            first_sequence: lane.progress.next_sequence,
            built_ms: batching.timestamps.built_ms(),
            shift_ms: batching.shift_ms,
            gap_start,
            max_timestamp: built.max_timestamp,
            compression: batching.compression,
        };
        let mut built = match batching::build(pieces, &batching) {
            Ok(built) => built,
            Err(fault) => {
                lane.last_fault = Some(fault.to_string());
                return lane.retry_later(now, &mut self.random);
            }
        };
        self.counters.loops += built.loops;
        let intent = intent_of(&built);
        if built.records > 0
            && let Some(producer) = lane.progress.producer
        {
            batching::stamp(&mut built.batch, producer, &intent);
            let batch = std::mem::take(&mut built.batch);
            lane.push(intent, batch.into());
        } else if let Some(start) = gap_start {
            lane.count_gap(start, first_offset);
        }
        lane.handle_looked(now, &built, reading.end_offset, self.options.linger);
    }

    /// Makes the batch of an intent again.
    fn rebuild(&mut self, now: &Now, lane: &mut Lane, reading: Reading, pieces: &[Bytes]) {
        let mut intents = lane.progress.in_flight.iter();
        let place = intents.position(|intent| intent.first_offset == reading.first_offset);
        let intent = place.and_then(|place| lane.progress.in_flight.get(place).copied());
        let (Some(place), Some(intent)) = (place, intent) else {
            return;
        };
        let built = batching::build(pieces, &self.batching(lane, Some(&intent), now));
        let built = built.ok().filter(|built| built.records == intent.records);
        match (built, lane.progress.producer) {
            (Some(mut built), Some(producer)) => {
                batching::stamp(&mut built.batch, producer, &intent);
                if let Some(batch) = lane.batches.get_mut(place) {
                    batch.bytes = Some(built.batch.into());
                }
            }
            // The source is not what it was: what has not landed is cut from what there is.
            (None, _) | (_, None) if lane.needs_check() => {
                lane.must_recut = true;
                self.counters.tail_checks += 1;
                lane.phase = Phase::Checking(Tail::new());
            }
            (None, _) | (_, None) => lane.recut(now),
        }
    }
}
