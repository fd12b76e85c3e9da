//! Answers of the centre, given to the partitions that asked.

use kafka_lite::api::fetch::{FetchResponse, PartitionData};
use kafka_lite::api::list_offsets::ListOffsetsResponse;
use kafka_lite::error_code::ErrorCode;
use kafka_lite::primitive::{RecordData, Uuid};

use super::inlet::{Inlet, Locating, Phase};
use super::records::Fetched;
use super::{Downlink, Question};
use crate::link::{Answer, Purpose};
use crate::output::{ConnectionId, SourceKey};
use crate::time::Now;

impl Downlink {
    /// Gives an answer to whom it is for. Errors: it is not Kafka's.
    pub(super) fn handle_answer(
        &mut self,
        now: &Now,
        id: ConnectionId,
        answer: &Answer,
    ) -> Result<(), String> {
        let Purpose::Downlink(question) = &answer.purpose else {
            return Ok(());
        };
        match question {
            Question::Offset(key) => {
                let response: ListOffsetsResponse<'_> = answer.read()?;
                self.with_inlet(*key, |downlink, inlet| {
                    inlet.is_asking = false;
                    downlink.handle_offset(now, inlet, &response);
                });
            }
            Question::Records(keys) => {
                self.fetching.remove(&id);
                for key in keys {
                    if let Some(inlet) = self.inlets.get_mut(key) {
                        inlet.is_asking = false;
                    }
                }
                let response: FetchResponse<'_> = answer.read()?;
                self.handle_fetched(now, answer, keys, &response);
            }
        }
        Ok(())
    }

    fn handle_offset(&mut self, now: &Now, inlet: &mut Inlet, response: &ListOffsetsResponse<'_>) {
        let Phase::Locating(locating) = inlet.phase else {
            return;
        };
        let topics = response.topics.iter();
        let found = topics.flat_map(|topic| &topic.partitions).next();
        let code = found.map_or(ErrorCode::UnknownServerError, |found| found.error_code);
        let offset = found.and_then(|found| found.offset);
        let Some(offset) = offset.filter(|_| code.is_none()) else {
            self.link.metadata.mark_stale();
            let fault = format!("asking for the start: {}", code.name());
            return inlet.retry_later(now, &mut self.random, fault);
        };
        inlet.succeed();
        let wanted = inlet.cursor.next_offset;
        match locating {
            Locating::Earliest | Locating::Latest => inlet.start_at(now, offset),
            Locating::LostStart if wanted < offset => {
                self.counters.gaps += 1;
                inlet.skip(now, (wanted, offset), offset);
            }
            Locating::LostStart => inlet.phase = Phase::Locating(Locating::LostEnd),
            Locating::LostEnd if wanted > offset => {
                self.counters.gaps += 1;
                // What stands there under these offsets from now on is new.
                inlet.cursor.centre_epoch = None;
                inlet.skip(now, (offset, offset), offset);
            }
            Locating::LostEnd => {
                // The offset is there: it was the epoch that the centre does not know.
                inlet.asks_divergence = false;
                inlet.phase = Phase::Flowing;
            }
        }
    }

    fn handle_fetched(
        &mut self,
        now: &Now,
        answer: &Answer,
        keys: &[SourceKey],
        response: &FetchResponse<'_>,
    ) {
        for key in keys {
            self.with_inlet(*key, |downlink, inlet| {
                if inlet.phase != Phase::Flowing {
                    return;
                }
                let topics = response.responses.iter().filter(|topic| {
                    let is_named = topic.topic_id == Uuid::ZERO && topic.topic == inlet.topic;
                    is_named || is_same_id(topic.topic_id, inlet.cursor.identity.topic_id)
                });
                let mut partitions = topics.flat_map(|topic| &topic.partitions);
                let found = partitions.find(|one| one.partition_index == inlet.key.partition);
                let code = match found {
                    None if response.error_code.is_none() => ErrorCode::UnknownServerError,
                    None => response.error_code,
                    Some(found) => found.error_code,
                };
                match found {
                    Some(found) if code.is_none() => {
                        downlink.take_fetched(now, answer, inlet, found)
                    }
                    Some(_) | None => downlink.handle_fault(now, inlet, code),
                }
            });
        }
    }

    fn take_fetched(
        &mut self,
        now: &Now,
        answer: &Answer,
        inlet: &mut Inlet,
        found: &PartitionData<'_>,
    ) {
        if let Some(end) = found.diverging_epoch.end_offset {
            // The centre has lost the end of what was read: it goes on from there.
            let end = end.min(inlet.cursor.next_offset);
            self.counters.gaps += 1;
            inlet.cursor.centre_epoch = None;
            return inlet.skip(now, (end, end), end);
        }
        inlet.succeed();
        inlet.last_success_ms = Some(now.wall_ms);
        let end = match found.last_stable_offset {
            ..0 => found.high_watermark,
            stable => stable,
        };
        inlet.centre_end = Some(end);
        let bytes = match &found.records {
            Some(RecordData::Frame(bytes)) => *bytes,
            Some(RecordData::Pieces(_)) | None => &[],
        };
        if bytes.is_empty() {
            return;
        }
        let aborted = found.aborted_transactions.clone().unwrap_or_default();
        let before = inlet.cursor.next_offset;
        inlet.fetched = Some(Fetched::new(answer.frame.slice_ref(bytes), aborted));
        self.append(now, inlet);
        let is_stuck = inlet.cursor.next_offset == before
            && inlet.appending.is_none()
            && inlet.fetched.is_none()
            && inlet.has_paused(now);
        if is_stuck {
            let fault = "the centre sends no whole batch".to_owned();
            inlet.retry_later(now, &mut self.random, fault);
        }
    }

    /// A fetch of one partition failed.
    fn handle_fault(&mut self, now: &Now, inlet: &mut Inlet, code: ErrorCode) {
        if code == ErrorCode::OffsetOutOfRange {
            inlet.phase = Phase::Locating(Locating::LostStart);
            return;
        }
        self.counters.retries += 1;
        self.link.metadata.mark_stale();
        let fault = format!("fetching: {}", code.name());
        inlet.retry_later(now, &mut self.random, fault);
    }
}

fn is_same_id(left: Uuid, right: Uuid) -> bool {
    left == right && left != Uuid::ZERO
}
