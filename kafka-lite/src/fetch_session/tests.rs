//! Tests of fetch sessions, by the sections of KIP-227.

use std::sync::Arc;

use super::*;
use crate::error_code::ErrorCode;
use crate::limits;

const NOW: i64 = 1_700_000_000_000;

fn name(topic: &str) -> TopicKey {
    TopicKey::Name(Arc::from(topic))
}

fn wanted(topic: &str, partition: i32, fetch_offset: i64) -> FetchPartition {
    FetchPartition {
        topic: name(topic),
        partition,
        current_leader_epoch: None,
        fetch_offset,
        last_fetched_epoch: None,
        max_bytes: 1_048_576,
    }
}

fn request(session_id: i32, session_epoch: i32, partitions: Vec<FetchPartition>) -> SessionRequest {
    SessionRequest {
        session_id,
        session_epoch,
        uses_topic_ids: false,
        partitions,
        forgotten: Vec::new(),
    }
}

fn quiet() -> PartitionAnswer {
    PartitionAnswer {
        error_code: ErrorCode::None,
        records_bytes: 0,
        high_watermark: 10,
        last_stable_offset: 10,
        log_start_offset: 0,
        has_redirection: false,
    }
}

fn code(result: Result<FetchContext, FetchSessionFault>) -> i16 {
    result.map_or_else(|fault| fault.error_code().code(), |_| 0)
}

/// Starts a session over `count` partitions of topic `t`.
fn start(sessions: &mut FetchSessions, now_ms: i64, count: i32) -> i32 {
    let partitions = (0..count)
        .map(|partition| wanted("t", partition, 0))
        .collect();
    let context = sessions
        .handle_request(now_ms, request(0, 0, partitions))
        .unwrap();
    let answers = vec![quiet(); context.partitions.len()];
    let response = sessions
        .handle_response(now_ms, &context, &answers)
        .unwrap();
    assert!(response.is_included.iter().all(|is_included| *is_included));
    response.session_id
}

fn numbers(context: &FetchContext) -> Vec<i32> {
    context
        .partitions
        .iter()
        .map(|partition| partition.partition)
        .collect()
}

#[test]
fn sessionless_fetches_get_all_that_they_asked_for() {
    let mut sessions = FetchSessions::new(FetchSessionOptions::default());
    let asked = vec![wanted("a", 0, 5), wanted("b", 1, 6), wanted("a", 0, 7)];
    let context = sessions
        .handle_request(NOW, request(0, -1, asked.clone()))
        .unwrap();
    assert_eq!(context.partitions, asked);
    let response = sessions
        .handle_response(NOW, &context, &[quiet(); 3])
        .unwrap();
    assert_eq!(
        response,
        SessionResponse {
            session_id: 0,
            is_included: vec![true; 3]
        }
    );
    assert!(sessions.is_empty());
}

#[test]
fn an_incremental_fetch_reads_all_and_answers_what_changed() {
    let mut sessions = FetchSessions::new(FetchSessionOptions::default());
    let id = start(&mut sessions, NOW, 8);
    assert_ne!(id, 0);
    let context = sessions
        .handle_request(NOW, request(id, 1, Vec::new()))
        .unwrap();
    assert_eq!(numbers(&context), [0, 1, 2, 3, 4, 5, 6, 7]);
    let mut answers = [quiet(); 8];
    answers[1].error_code = ErrorCode::NotLeaderOrFollower;
    answers[2].records_bytes = 100;
    answers[3].high_watermark = 11;
    answers[4].last_stable_offset = 9;
    answers[5].log_start_offset = 1;
    answers[6].has_redirection = true;
    let response = sessions.handle_response(NOW, &context, &answers).unwrap();
    assert_eq!(response.session_id, id);
    assert_eq!(
        response.is_included,
        [false, true, true, true, true, true, true, false]
    );

    // Told once is enough, but the end of an error must be told.
    let context = sessions
        .handle_request(NOW, request(id, 2, Vec::new()))
        .unwrap();
    assert_eq!(
        numbers(&context),
        [0, 1, 3, 4, 5, 6, 7, 2],
        "who gave records waits its turn"
    );
    answers = [quiet(); 8];
    answers[2].high_watermark = 11;
    answers[3].last_stable_offset = 9;
    answers[4].log_start_offset = 1;
    let response = sessions.handle_response(NOW, &context, &answers).unwrap();
    assert_eq!(
        response.is_included,
        [false, true, false, false, false, false, false, false]
    );
}

#[test]
fn partitions_are_added_changed_and_forgotten() {
    let mut sessions = FetchSessions::new(FetchSessionOptions::default());
    let id = start(&mut sessions, NOW, 3);
    let mut change = request(id, 1, vec![wanted("t", 1, 77), wanted("new", 9, 0)]);
    change.forgotten = vec![
        ForgottenPartition {
            topic: name("t"),
            partition: 0,
        },
        ForgottenPartition {
            topic: name("absent"),
            partition: 0,
        },
    ];
    let context = sessions.handle_request(NOW, change).unwrap();
    assert_eq!(numbers(&context), [1, 2, 9]);
    assert_eq!(context.partitions[0].fetch_offset, 77);
    let response = sessions
        .handle_response(NOW, &context, &[quiet(); 3])
        .unwrap();
    assert_eq!(
        response.is_included,
        [false, false, true],
        "a new partition is always told"
    );
    assert_eq!(sessions.partitions_count(), 3);
}

#[test]
fn a_session_without_partitions_ends() {
    let mut sessions = FetchSessions::new(FetchSessionOptions::default());
    let id = start(&mut sessions, NOW, 1);
    let mut change = request(id, 1, Vec::new());
    change.forgotten = vec![ForgottenPartition {
        topic: name("t"),
        partition: 0,
    }];
    let context = sessions.handle_request(NOW, change).unwrap();
    let response = sessions.handle_response(NOW, &context, &[]).unwrap();
    assert_eq!(
        (
            response.session_id,
            sessions.len(),
            sessions.partitions_count()
        ),
        (0, 0, 0)
    );
}

#[test]
fn wrong_ids_epochs_and_topic_names_have_their_codes() {
    let mut sessions = FetchSessions::new(FetchSessionOptions::default());
    let id = start(&mut sessions, NOW, 2);
    assert_eq!(
        code(sessions.handle_request(NOW, request(id + 1, 1, Vec::new()))),
        70
    );
    assert_eq!(
        code(sessions.handle_request(NOW, request(0, 1, Vec::new()))),
        70
    );
    assert_eq!(
        code(sessions.handle_request(NOW, request(id, 2, Vec::new()))),
        71
    );
    assert_eq!(
        code(sessions.handle_request(NOW, request(id, -7, Vec::new()))),
        71
    );
    let mut by_id = request(id, 1, Vec::new());
    by_id.uses_topic_ids = true;
    assert_eq!(code(sessions.handle_request(NOW, by_id)), 106);
    assert_eq!(
        code(sessions.handle_request(NOW, request(id, 1, Vec::new()))),
        0
    );
    assert_eq!(
        code(sessions.handle_request(NOW, request(id, 1, Vec::new()))),
        71,
        "doubled"
    );
}

#[test]
fn a_full_fetch_replaces_and_a_final_one_closes_the_session_it_names() {
    let mut sessions = FetchSessions::new(FetchSessionOptions::default());
    let first = start(&mut sessions, NOW, 2);
    let context = sessions
        .handle_request(NOW, request(first, 0, vec![wanted("t", 0, 0)]))
        .unwrap();
    let second = sessions
        .handle_response(NOW, &context, &[quiet()])
        .unwrap()
        .session_id;
    assert_ne!(first, second);
    assert_eq!(sessions.len(), 1);
    let context = sessions
        .handle_request(NOW, request(second, -1, Vec::new()))
        .unwrap();
    assert!(context.partitions.is_empty());
    assert!(sessions.is_empty());
}

#[test]
fn a_fetch_that_waited_while_its_session_went_on_is_refused() {
    let mut sessions = FetchSessions::new(FetchSessionOptions::default());
    let id = start(&mut sessions, NOW, 1);
    let waiting = sessions
        .handle_request(NOW, request(id, 1, Vec::new()))
        .unwrap();
    let next = sessions
        .handle_request(NOW, request(id, 2, Vec::new()))
        .unwrap();
    assert_eq!(
        sessions
            .handle_response(NOW, &waiting, &[quiet()])
            .unwrap_err()
            .error_code()
            .code(),
        71
    );
    assert!(sessions.handle_response(NOW, &next, &[quiet()]).is_ok());
    let last = sessions
        .handle_request(NOW, request(id, 3, Vec::new()))
        .unwrap();
    sessions
        .handle_request(NOW, request(id, -1, Vec::new()))
        .unwrap();
    assert_eq!(
        sessions
            .handle_response(NOW, &last, &[quiet()])
            .unwrap_err()
            .error_code()
            .code(),
        70
    );
}

#[test]
fn a_full_cache_gives_room_to_the_idle_and_to_the_larger_only() {
    let options = FetchSessionOptions {
        sessions_max: 2,
        ..FetchSessionOptions::default()
    };
    let mut sessions = FetchSessions::new(options);
    let small = start(&mut sessions, NOW, 2);
    let large = start(&mut sessions, NOW, 5);
    assert_eq!(start(&mut sessions, NOW + 1, 9), 0, "all in use and young");

    let later = NOW + limits::FETCH_SESSION_EVICTION_MS + 1;
    for id in [small, large] {
        let context = sessions
            .handle_request(later, request(id, 1, Vec::new()))
            .unwrap();
        let answers = vec![quiet(); context.partitions.len()];
        sessions.handle_response(later, &context, &answers).unwrap();
    }
    assert_eq!(
        start(&mut sessions, later, 2),
        0,
        "not larger than the smallest"
    );
    let larger = start(&mut sessions, later, 3);
    assert_ne!(larger, 0);
    assert_eq!(
        code(sessions.handle_request(later, request(small, 2, Vec::new()))),
        70
    );

    let idle = later + limits::FETCH_SESSION_EVICTION_MS + 1;
    sessions
        .handle_request(idle, request(larger, 1, Vec::new()))
        .unwrap();
    assert_ne!(
        start(&mut sessions, idle, 1),
        0,
        "the idle one goes, whatever its size"
    );
    assert_eq!(
        code(sessions.handle_request(idle, request(large, 2, Vec::new()))),
        70
    );
}

#[test]
fn partitions_of_all_sessions_are_bounded() {
    let options = FetchSessionOptions {
        partitions_max: 10,
        ..FetchSessionOptions::default()
    };
    let mut sessions = FetchSessions::new(options);
    assert_eq!(start(&mut sessions, NOW, 11), 0);
    let id = start(&mut sessions, NOW, 8);
    assert_eq!(start(&mut sessions, NOW, 3), 0);
    let more = (0..3)
        .map(|partition| wanted("more", partition, 0))
        .collect();
    assert_eq!(code(sessions.handle_request(NOW, request(id, 1, more))), 70);
    assert_eq!((sessions.len(), sessions.partitions_count()), (0, 0));
}

#[test]
fn ids_of_a_shard_keep_their_remainder_and_wrap() {
    let options = FetchSessionOptions {
        first_id: i32::MAX - 3,
        id_step: 4,
        ..FetchSessionOptions::default()
    };
    let mut sessions = FetchSessions::new(options);
    let ids: Vec<i32> = (0..3).map(|_| start(&mut sessions, NOW, 1)).collect();
    assert_eq!(ids, [i32::MAX - 3, 4, 8]);
    assert!(ids.iter().all(|id| id % 4 == 0));
}
