//! A group of one voter: the life of every group on a single gateway.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::{
    EntryId, HardState, LogIndex, NodeId, Options, Output, ProposeError, Raft, Recovered,
    RecoveredError, Role, SideEntryKind, Term, TermRun, VoterSet, VotersEntry,
};

const NOW: Duration = Duration::from_secs(5);

fn options() -> Options {
    Options {
        node: NodeId(1),
        election_timeout_ms: 1000,
        heartbeat_interval_ms: 100,
        in_flight_max: 16,
        seed: 7,
    }
}

fn recovered() -> Recovered {
    Recovered {
        hard_state: HardState::default(),
        before: EntryId::ZERO,
        runs: vec![],
        last_index: LogIndex::ZERO,
        commit_index: LogIndex::ZERO,
        voters: vec![VotersEntry {
            index: LogIndex::ZERO,
            set: VoterSet::sole(NodeId(1)),
        }],
    }
}

fn poll(raft: &mut Raft) -> Output {
    raft.check_invariants();
    let output = raft.poll_output().unwrap_or_default();
    assert_eq!(raft.poll_output(), None);
    output
}

fn count(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

/// Returns a leader whose hard state is persisted and whose term start is handed out.
fn leader(recovered: Recovered) -> (Raft, Output) {
    let mut raft = Raft::new(NOW, options(), recovered).unwrap();
    let hard_state = poll(&mut raft).hard_state.unwrap();
    raft.handle_hard_state_persisted(NOW, hard_state);
    let output = poll(&mut raft);
    assert_eq!(raft.role(), Role::Leader);
    (raft, output)
}

#[test]
fn elects_itself_without_a_timeout_and_persists_first() {
    let mut raft = Raft::new(NOW, options(), recovered()).unwrap();
    assert_eq!(
        raft.handle_propose(count(1)),
        Err(ProposeError::NotLeader { leader: None })
    );
    let output = poll(&mut raft);
    assert_eq!(
        output.hard_state,
        Some(HardState {
            term: Term(1),
            vote: Some(NodeId(1))
        })
    );
    assert!(
        output.side_entries.is_empty(),
        "nothing is appended before the vote is persisted"
    );
    assert_eq!(raft.role(), Role::Candidate);

    raft.handle_hard_state_persisted(NOW, output.hard_state.unwrap());
    assert_eq!(
        raft.handle_propose(count(1)),
        Err(ProposeError::OutputPending)
    );
    let output = poll(&mut raft);
    assert_eq!(output.side_entries.len(), 1);
    assert_eq!(
        output.side_entries[0].id,
        EntryId {
            index: LogIndex(1),
            term: Term(1)
        }
    );
    assert_eq!(output.side_entries[0].kind, SideEntryKind::TermStart);
    assert_eq!(output.role.unwrap().role, Role::Leader);
    assert_eq!(
        output.commit_index, None,
        "the term start is not persisted yet"
    );
    assert_eq!(raft.next_deadline(), None, "an idle group costs nothing");
}

#[test]
fn commits_exactly_what_is_persisted() {
    let (mut raft, _) = leader(recovered());
    let first = raft.handle_propose(count(10)).unwrap();
    let second = raft.handle_propose(count(5)).unwrap();
    assert_eq!((first.first_index, first.term), (LogIndex(2), Term(1)));
    assert_eq!(second.first_index, LogIndex(12));
    assert_eq!(
        poll(&mut raft),
        Output::default(),
        "a proposal of a sole voter asks for nothing"
    );
    assert!(!raft.is_ready_leader());

    raft.handle_persisted(NOW, LogIndex(1), Term(1));
    assert_eq!(poll(&mut raft).commit_index, Some(LogIndex(1)));
    assert!(raft.is_ready_leader());
    raft.handle_persisted(NOW, LogIndex(16), Term(1));
    assert_eq!(poll(&mut raft).commit_index, Some(LogIndex(16)));
    raft.handle_persisted(NOW, LogIndex(11), Term(1));
    raft.handle_persisted(NOW, LogIndex(17), Term(1));
    raft.handle_persisted(NOW, LogIndex(16), Term(2));
    assert_eq!(
        poll(&mut raft),
        Output::default(),
        "old, unknown and wrong acknowledgements"
    );
}

#[test]
fn a_stale_hard_state_acknowledgement_elects_nobody() {
    let mut raft = Raft::new(NOW, options(), recovered()).unwrap();
    let hard_state = raft.hard_state();
    raft.handle_hard_state_persisted(NOW, hard_state);
    assert_eq!(raft.role(), Role::Candidate, "it was not even queued");
    let queued = poll(&mut raft).hard_state.unwrap();
    raft.handle_hard_state_persisted(
        NOW,
        HardState {
            term: Term(1),
            vote: None,
        },
    );
    raft.handle_hard_state_persisted(NOW, HardState::default());
    assert_eq!(raft.role(), Role::Candidate);
    raft.handle_hard_state_persisted(NOW, queued);
    assert_eq!(raft.role(), Role::Leader);
}

#[test]
fn a_restart_starts_a_new_term_after_the_recovered_log() {
    let mut found = recovered();
    found.hard_state = HardState {
        term: Term(3),
        vote: Some(NodeId(1)),
    };
    found.before = EntryId {
        index: LogIndex(100),
        term: Term(2),
    };
    found.runs = vec![TermRun {
        first_index: LogIndex(101),
        term: Term(3),
    }];
    found.last_index = LogIndex(120);
    let (mut raft, output) = leader(found);
    let start = EntryId {
        index: LogIndex(121),
        term: Term(4),
    };
    assert_eq!(output.side_entries[0].id, start);
    assert_eq!(
        raft.commit_index(),
        LogIndex(100),
        "only the dropped prefix is known committed"
    );
    raft.handle_persisted(NOW, start.index, start.term);
    assert_eq!(poll(&mut raft).commit_index, Some(LogIndex(121)));
    assert_eq!(raft.log().term_at(LogIndex(100)), Some(Term(2)));
    assert_eq!(raft.log().term_at(LogIndex(99)), None);

    raft.handle_compacted(LogIndex(111), Term(3));
    raft.check_invariants();
    assert_eq!(raft.log().first_index(), LogIndex(111));
    assert_eq!(raft.log().term_at(LogIndex(110)), Some(Term(3)));
    raft.handle_compacted(LogIndex(122), Term(4));
    raft.check_invariants();
    assert_eq!(
        raft.handle_propose(count(1)).unwrap().first_index,
        LogIndex(122)
    );
    raft.check_invariants();
}

#[test]
fn wrong_recovered_state_is_refused() {
    type Change = fn(&mut Recovered);
    let cases: [(Change, RecoveredError); 7] = [
        (|r| r.last_index = LogIndex(5), RecoveredError::Runs),
        (
            |r| {
                r.runs = vec![TermRun {
                    first_index: LogIndex(1),
                    term: Term(2),
                }];
                r.last_index = LogIndex(5);
            },
            RecoveredError::TermBehindLog {
                last: Term(2),
                current: Term(0),
            },
        ),
        (
            |r| {
                let run = |index, term| TermRun {
                    first_index: LogIndex(index),
                    term: Term(term),
                };
                r.runs = vec![run(1, 2), run(3, 2)];
                r.last_index = LogIndex(5);
            },
            RecoveredError::Runs,
        ),
        (|r| r.voters.clear(), RecoveredError::Voters),
        (|r| r.voters[0].index = LogIndex(1), RecoveredError::Voters),
        (
            |r| r.hard_state.term = Term(u64::MAX),
            RecoveredError::Limit,
        ),
        (
            |r| {
                r.runs = vec![TermRun {
                    first_index: LogIndex(2),
                    term: Term(1),
                }];
                r.last_index = LogIndex(5);
            },
            RecoveredError::Runs,
        ),
    ];
    for (change, expected) in cases {
        let mut found = recovered();
        change(&mut found);
        assert_eq!(Raft::new(NOW, options(), found).unwrap_err(), expected);
    }
    let slow = Options {
        heartbeat_interval_ms: 900,
        ..options()
    };
    assert_eq!(
        Raft::new(NOW, slow, recovered()).unwrap_err(),
        RecoveredError::Timing
    );
}

#[test]
fn an_idle_group_is_small() {
    let (mut raft, output) = leader(recovered());
    let start = output.side_entries[0].id;
    raft.handle_persisted(NOW, start.index, start.term);
    while raft.poll_output().is_some() {}
    let sole = raft.memory_bytes();
    assert!(sole < 400, "{sole} bytes per idle group of one voter");

    let mut found = recovered();
    let ids = vec![NodeId(1), NodeId(2), NodeId(3)];
    found.voters[0].set = VoterSet::new(ids, vec![]).unwrap();
    let follower = Raft::new(NOW, options(), found).unwrap().memory_bytes();
    assert!(
        follower < 400,
        "{follower} bytes per idle follower of three voters"
    );
}
