//! Idempotent producers over restarts: a resend of what was acknowledged is known.
//!
//! Method    a client as Kafka's: at most five batches unanswered, resent in order after a crash.
//!           The disk stops at every operation of a script of small and large batches.

use std::time::Duration;

use bytes::Bytes;
use kafka_lite::producer::ProducerCheck;
use kafka_lite::record_batch::{BatchBuilder, BatchHeader, BatchOptions, BatchProducer};

use crate::compaction::{CompactionFacts, CompactionRules, Pace, plan_compaction};
use crate::engine::tests::segments::small_ring;
use crate::engine::tests::{Harness, TestLog, append, key, new_log, read_all, start_term};
use crate::retention::WallClock;
use crate::testing::MemoryDisk;
use crate::{CompactionRequest, LogConfig, Options};

const UNANSWERED_MAXIMUM: usize = 5;
const LOGS: u8 = 2;

/// A batch of two keyed records of producer `id`.
fn produced(id: i64, base_sequence: i32, value_bytes: usize) -> Bytes {
    let mut builder = BatchBuilder::new(BatchOptions {
        producer: Some(BatchProducer {
            id,
            epoch: 0,
            base_sequence,
        }),
        ..BatchOptions::default()
    });
    for key in [b"a", b"b"] {
        let value = vec![7; value_bytes];
        builder.append(1000, Some(key), Some(&value), &[]).unwrap();
    }
    Bytes::from(builder.finish().unwrap())
}

fn check(log: &TestLog, bytes: &[u8]) -> ProducerCheck {
    log.check_producer(&BatchHeader::decode(bytes).unwrap())
}

fn duplicate_of(base_offset: i64) -> ProducerCheck {
    ProducerCheck::Duplicate {
        base_offset,
        last_offset: base_offset + 1,
        log_append_time: None,
    }
}

/// An idempotent producer of one log.
#[derive(Debug, Default)]
struct Client {
    id: i64,
    /// Every batch in order of sequence, with the offset it was given first.
    sent: Vec<(Bytes, i64)>,
    /// How many of them were answered.
    answered: usize,
}

impl Client {
    fn send(&mut self, log: &TestLog, value_bytes: usize) {
        if self.sent.len() - self.answered == UNANSWERED_MAXIMUM {
            return;
        }
        let sequence = i32::try_from(self.sent.len()).unwrap() * 2;
        let bytes = produced(self.id, sequence, value_bytes);
        if log.failure().is_some() || !log.has_room(bytes.len()) {
            return;
        }
        assert_eq!(check(log, &bytes), ProducerCheck::Append);
        let base_offset = append(log, bytes.clone()).base_offset;
        self.sent.push((bytes, base_offset));
    }

    fn hear(&mut self, harness: &Harness, log: &TestLog) {
        let index = harness.persisted(log.slot());
        let end = log.with_side_table(|side| side.offset_of_index(index + 1));
        let answered = self.sent.iter().filter(|(_, base)| base + 1 < end).count();
        self.answered = self.answered.max(answered);
    }

    /// Sends its last batches again; what was answered must be known.
    fn resend(&mut self, log: &TestLog, context: &str) {
        let first = self.sent.len().saturating_sub(UNANSWERED_MAXIMUM);
        for (number, (bytes, base_offset)) in self.sent.iter_mut().enumerate().skip(first) {
            let found = check(log, bytes);
            if found == ProducerCheck::Append && number >= self.answered {
                *base_offset = append(log, bytes.clone()).base_offset;
                continue;
            }
            assert_eq!(
                found,
                duplicate_of(*base_offset),
                "{context}: batch {number}, {} answered",
                self.answered
            );
        }
    }
}

/// Every sequence stands in the log once, in order.
fn check_sequences(harness: &mut Harness, log: &TestLog, client: &Client, context: &str) {
    let all = read_all(harness, log, 0);
    let (mut rest, mut next) = (&all[..], 0);
    while !rest.is_empty() {
        let header = BatchHeader::decode(rest).unwrap();
        assert_eq!(header.producer().unwrap().base_sequence, next, "{context}");
        next += 2;
        rest = &rest[header.size_bytes..];
    }
    let sent = i32::try_from(client.sent.len()).unwrap();
    assert_eq!(
        next,
        sent * 2,
        "{context}: everything is there after a resend"
    );
}

fn clients() -> Vec<Client> {
    let client = |id| Client {
        id,
        ..Client::default()
    };
    (1..=i64::from(LOGS)).map(client).collect()
}

fn play(harness: &mut Harness, clients: &mut [Client], logs: &[TestLog], rounds: usize) {
    let shared = std::rc::Rc::clone(&harness.engine.shared);
    for round in 0..rounds {
        for (log, client) in logs.iter().zip(clients.iter_mut()) {
            for number in 0..=(round % 3) {
                let is_large = (round + number) % 4 == 3;
                client.send(log, if is_large { 40_000 } else { 300 });
            }
        }
        if round % 4 == 2 {
            let _stopped = harness.run(shared.write_back_to(u64::MAX));
        }
        if round % 2 == 1 {
            harness.settle();
        }
        for (log, client) in logs.iter().zip(clients.iter_mut()) {
            client.hear(harness, log);
        }
    }
}

fn new_logs(harness: &Harness) -> Vec<TestLog> {
    let logs: Vec<_> = (1..=LOGS).map(|number| new_log(harness, number)).collect();
    for log in &logs {
        log.apply_config(LogConfig {
            segment_bytes: 200_000,
            ..LogConfig::default()
        });
    }
    logs
}

/// Opens after a crash and lets the clients send again what they have no answer for.
fn reopen(disk: &MemoryDisk, clients: &mut [Client], context: &str) -> Option<Harness> {
    let mut harness = Harness::open(disk, small_ring());
    for (number, client) in (1..=LOGS).zip(clients) {
        let log = harness.engine.log(key(number));
        let Some(log) = log.filter(|log| log.next_index() > 1) else {
            assert_eq!(client.answered, 0, "{context}");
            return None;
        };
        let term = log.with_side_table(|side| side.last_term()).unwrap();
        start_term(&log, term + 1);
        client.resend(&log, context);
        harness.settle();
        check_sequences(&mut harness, &log, client, context);
        client.hear(&harness, &log);
    }
    Some(harness)
}

#[test]
fn a_resend_is_known_wherever_the_disk_stops() {
    let disk = MemoryDisk::new();
    let mut harness = Harness::open(&disk, small_ring());
    let before = disk.operation_count();
    let logs = new_logs(&harness);
    play(&mut harness, &mut clients(), &logs, 12);
    let operations = disk.operation_count() - before;
    assert!(operations > 40, "{operations}");
    for stop in 0..=operations {
        let context = format!("stopped after {stop} operations");
        let disk = MemoryDisk::new();
        let mut harness = Harness::open(&disk, small_ring());
        let mut clients = clients();
        let logs = new_logs(&harness);
        disk.stop_after(Some(stop));
        play(&mut harness, &mut clients, &logs, 12);
        disk.lose_power();
        let Some(mut harness) = reopen(&disk, &mut clients, &context) else {
            continue;
        };
        let open = |number| harness.engine.log(key(number)).unwrap();
        let logs: Vec<_> = (1..=LOGS).map(open).collect();
        disk.stop_after(Some(stop >> 1));
        play(&mut harness, &mut clients, &logs, 4);
        disk.lose_power();
        reopen(&disk, &mut clients, &format!("{context}, second life"));
    }
}

#[test]
fn a_clean_stop_keeps_the_window_and_the_age() {
    let disk = MemoryDisk::new();
    let mut harness = Harness::open(&disk, small_ring());
    let log = new_log(&harness, 1);
    for number in 0..7 {
        append(&log, produced(9, number * 2, 10));
    }
    let engine = harness.engine.clone();
    harness.run(engine.shutdown()).unwrap();

    let options = Options {
        producer_expiration: Duration::from_secs(60),
        ..small_ring()
    };
    let harness = Harness::open(&disk, options);
    let log = harness.engine.log(key(1)).unwrap();
    for number in 2..7 {
        let again = check(&log, &produced(9, number * 2, 10));
        assert_eq!(again, duplicate_of(i64::from(number) * 2));
    }
    assert!(matches!(
        check(&log, &produced(9, 40, 10)),
        ProducerCheck::Refuse(_)
    ));
    let described = log.describe_producers(1_000_000);
    assert_eq!(described[0].last_timestamp, 1_000_000);
    harness.clock.now.set(Duration::from_secs(59));
    assert_eq!(harness.engine.expire_producers(), 0);
    harness.clock.now.set(Duration::from_secs(61));
    assert_eq!(harness.engine.expire_producers(), 1);
    assert_eq!(check(&log, &produced(9, 40, 10)), ProducerCheck::Append);
}

#[test]
fn a_cut_forgets_the_batches_that_it_removes() {
    let disk = MemoryDisk::new();
    let mut harness = Harness::open(&disk, small_ring());
    let log = new_log(&harness, 1);
    for number in 0..4 {
        append(&log, produced(9, number * 2, 10));
    }
    append(&log, produced(8, 0, 10));
    let shared = std::rc::Rc::clone(&harness.engine.shared);
    harness.run(shared.write_back_to(u64::MAX)).unwrap();
    // Index 1 is the term start; batch 2 begins at index 6.
    harness.run(log.truncate_from(6)).unwrap();
    assert_eq!(check(&log, &produced(9, 4, 10)), ProducerCheck::Append);
    start_term(&log, 2);
    append(&log, produced(9, 4, 10));
    harness.settle();

    disk.lose_power();
    let harness = Harness::open(&disk, small_ring());
    let log = harness.engine.log(key(1)).unwrap();
    assert_eq!(log.log_end_offset(), 6);
    assert_eq!(check(&log, &produced(9, 2, 10)), duplicate_of(2));
    assert_eq!(check(&log, &produced(9, 4, 10)), duplicate_of(4));
    assert_eq!(check(&log, &produced(9, 6, 10)), ProducerCheck::Append);
    assert_eq!(check(&log, &produced(8, 0, 10)), ProducerCheck::Append);
}

#[test]
fn compaction_takes_records_but_no_window() {
    let disk = MemoryDisk::new();
    let mut harness = Harness::open(&disk, small_ring());
    let log = new_logs(&harness).remove(0);
    for number in 0..16 {
        append(&log, produced(9, number * 2, 40_000));
        harness.settle();
    }
    let facts = log.segments();
    let rules = CompactionRules {
        min_cleanable_dirty_ratio: 0.0,
        min_compaction_lag_ms: 0,
        max_compaction_lag_ms: u64::MAX,
        delete_retention_ms: 1000,
        segment_bytes: 200_000,
    };
    let clock = WallClock {
        now_ms: 5000,
        is_synchronised: true,
    };
    harness.run(log.roll()).unwrap();
    let closed = log.segments().closed;
    let facts = CompactionFacts {
        closed: &closed,
        first_dirty_offset: 0,
        end_offset: log.log_end_offset(),
        earliest_dirty_timestamp: facts.active.and_then(|active| active.max_timestamp),
    };
    let request = CompactionRequest {
        plan: plan_compaction(&facts, &rules, clock).unwrap(),
        rules,
        clock,
        map_bytes: 10_000,
        aborted: &[],
    };
    let mut pace = Pace::new(harness.clock.clone(), 0);
    let figures = harness.run(log.compact(request, &mut pace)).unwrap();
    assert!(figures.bytes_after * 4 < figures.bytes_before);

    disk.lose_power();
    let harness = Harness::open(&disk, small_ring());
    let log = harness.engine.log(key(1)).unwrap();
    for number in 11..16 {
        let again = check(&log, &produced(9, number * 2, 40_000));
        assert_eq!(again, duplicate_of(i64::from(number) * 2));
    }
}

#[test]
fn the_bound_holds_over_all_logs_and_the_oldest_go() {
    let disk = MemoryDisk::new();
    let options = Options {
        producers_maximum: 16,
        ..small_ring()
    };
    let harness = Harness::open(&disk, options);
    let logs = new_logs(&harness);
    for id in 0..40 {
        harness
            .clock
            .now
            .set(Duration::from_millis(u64::try_from(id).unwrap()));
        append(&logs[usize::from(id % 2 == 1)], produced(id, 0, 10));
        let known: usize = logs
            .iter()
            .map(|log| log.with_producers(|table| table.len()))
            .sum();
        assert!(known <= 16, "{known}");
        assert_eq!(known, harness.engine.shared.producers.count());
    }
    let is_known = |id: i64| {
        let log = &logs[usize::from(id % 2 == 1)];
        check(log, &produced(id, 0, 10)) != ProducerCheck::Append
    };
    assert!((26..40).all(is_known));
    assert!(!(0..24).any(is_known));
}
