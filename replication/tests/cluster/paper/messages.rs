//! What no server may say, and what clients are told.

use replication::{
    AppendResult, EntryId, EntryRuns, LogIndex, Message, MessageError, ProposeError, Term, TermRun,
    VotersEntry,
};

use crate::network::set_of;
use crate::paper::{ONE, THREE, TWO, append, heartbeat, id, led};

#[test]
fn malformed_messages_change_nothing() {
    let mut cluster = led(3);
    let now = cluster.now;
    let at = |index, term| TermRun {
        first_index: LogIndex(index),
        term: Term(term),
    };
    assert_eq!(
        EntryRuns::from_runs(LogIndex(2), &[at(3, 1)], LogIndex(4)),
        None
    );
    assert_eq!(
        EntryRuns::from_runs(LogIndex(2), &[at(2, 2), at(3, 1)], LogIndex(4)),
        None
    );
    assert_eq!(
        EntryRuns::from_runs(LogIndex(2), &[at(2, 1), at(9, 2)], LogIndex(4)),
        None
    );
    assert_eq!(
        EntryRuns::from_runs(LogIndex(2), &[at(2, 1); 5], LogIndex(9)),
        None
    );
    assert_eq!(EntryRuns::from_runs(LogIndex(2), &[], LogIndex(2)), None);
    assert_eq!(
        EntryRuns::from_runs(LogIndex(2), &[at(2, 1)], LogIndex(1)),
        None
    );
    let voters = VotersEntry {
        index: LogIndex(9),
        set: set_of(&[1], &[]),
    };
    let mut request = match append(2, id(1, 1), &[2], 0).0 {
        Message::AppendRequest(request) => request,
        other => panic!("{other:?}"),
    };
    request.voters = Some(Box::new(voters));
    let messages = [
        heartbeat(0),
        heartbeat(u64::MAX),
        Message::Heartbeat {
            term: Term(2),
            commit_index: LogIndex(u64::MAX),
        },
        Message::VoteRequest {
            term: Term(2),
            last: id(1, 3),
            transfer: false,
        },
        Message::VoteRequest {
            term: Term(2),
            last: id(u64::MAX, 1),
            transfer: true,
        },
        append(2, id(1, 1), &[3], 0).0,
        append(2, id(1, 2), &[1], 0).0,
        append(2, id(1, 1), &[2], u64::MAX).0,
        Message::AppendRequest(request),
    ];
    for message in messages {
        let kind = message.kind();
        let result = cluster
            .with(TWO, |raft| raft.handle_message(now, THREE, message))
            .unwrap();
        assert_eq!(result, Err(MessageError::Malformed { from: THREE, kind }));
        assert_eq!(cluster.raft(2).term(), Term(1));
    }
    // Well formed, but no correct node would send it.
    let result = cluster
        .with(TWO, |raft| raft.handle_message(now, THREE, heartbeat(1)))
        .unwrap();
    let two = MessageError::TwoLeaders {
        from: THREE,
        leader: ONE,
        term: Term(1),
    };
    assert_eq!(result, Err(two));
    cluster.run_for(40);
    let now = cluster.now;
    let (conflict, _) = append(2, EntryId::ZERO, &[2], 0);
    let result = cluster
        .with(TWO, |raft| raft.handle_message(now, THREE, conflict))
        .unwrap();
    let index = LogIndex(1);
    assert_eq!(
        result,
        Err(MessageError::Contradiction { from: THREE, index })
    );
    let too_far = AppendResult::Accepted {
        match_index: LogIndex(99),
    };
    let answer = Message::AppendResponse {
        term: Term(1),
        result: too_far,
    };
    cluster
        .with(ONE, |raft| raft.handle_message(now, TWO, answer))
        .unwrap()
        .unwrap();
    assert_eq!(cluster.raft(1).commit_index(), LogIndex(1));
}

#[test]
fn a_follower_refuses_proposals_and_names_the_leader() {
    let mut cluster = led(3);
    let count = 1.try_into().unwrap();
    let result = cluster
        .with(TWO, |raft| raft.handle_propose(count))
        .unwrap();
    assert_eq!(result, Err(ProposeError::NotLeader { leader: Some(ONE) }));
}
