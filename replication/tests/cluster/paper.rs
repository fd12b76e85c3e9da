//! Tests named by the section of the Raft paper whose sentence they check.

use replication::{
    AppendRequest, AppendResult, EntryId, EntryRuns, HardState, LogIndex, Message, MessageError,
    NodeId, ProposeError, Role, Term, TermRun, VotersEntry,
};

use crate::network::{Cluster, set_of};
use crate::replica::{Entry, Packet};

const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);
const THREE: NodeId = NodeId(3);

fn cluster(count: u32) -> Cluster {
    let mut cluster = Cluster::new(3);
    let ids: Vec<u32> = (1..=count).collect();
    for id in &ids {
        cluster.add(*id, set_of(&ids, &[]));
    }
    cluster
}

/// Returns a cluster that node 1 leads in term 1.
fn led(count: u32) -> Cluster {
    let mut cluster = cluster(count);
    cluster.fire(ONE);
    cluster.stabilize();
    assert_eq!(cluster.raft(1).role(), Role::Leader);
    cluster
}

/// Gives node `to` a message as if it came from `from`, and returns what it sends at once.
fn tell(cluster: &mut Cluster, from: NodeId, to: NodeId, message: Message) -> Vec<Packet> {
    let packet = Packet {
        from,
        to,
        message,
        entries: vec![],
    };
    cluster.sent.clear();
    cluster.deliver(&packet);
    std::mem::take(&mut cluster.sent)
}

fn id(index: u64, term: u64) -> EntryId {
    EntryId {
        index: LogIndex(index),
        term: Term(term),
    }
}

fn heartbeat(term: u64) -> Message {
    Message::Heartbeat {
        term: Term(term),
        commit_index: LogIndex::ZERO,
    }
}

/// A request for one-record entries with these terms after `previous`.
fn append(term: u64, previous: EntryId, terms: &[u64], commit_index: u64) -> (Message, Vec<Entry>) {
    let first = previous.index.0 + 1;
    let mut runs: Vec<TermRun> = vec![];
    let mut entries = vec![];
    for (index, term) in (first..).zip(terms) {
        let term = Term(*term);
        if runs.last().is_none_or(|run| run.term != term) {
            runs.push(TermRun {
                first_index: LogIndex(index),
                term,
            });
        }
        entries.push(Entry {
            first: index,
            last: index,
            term,
            payload: 900,
            side: None,
        });
    }
    let last = LogIndex(previous.index.0 + terms.len() as u64);
    let message = Message::AppendRequest(AppendRequest {
        term: Term(term),
        previous,
        entries: EntryRuns::from_runs(LogIndex(first), &runs, last).expect("sound runs"),
        commit_index: LogIndex(commit_index),
        voters: None,
    });
    (message, entries)
}

/// Returns a node 1 of three with a log of these terms, in `term`.
fn with_log(term: u64, terms: &[u64]) -> Cluster {
    let mut cluster = cluster(3);
    let (message, entries) = append(term, EntryId::ZERO, terms, 0);
    cluster.deliver(&Packet {
        from: TWO,
        to: ONE,
        message,
        entries,
    });
    cluster.persist_all(ONE);
    cluster.sent.clear();
    cluster
}

#[test]
fn s5_1_a_server_with_a_smaller_term_updates_to_the_larger_one() {
    let mut cluster = led(3);
    for (from, term) in [(TWO, 5), (THREE, 9)] {
        tell(&mut cluster, from, ONE, heartbeat(term));
        assert_eq!(cluster.raft(1).term(), Term(term));
        assert_eq!(cluster.raft(1).role(), Role::Follower);
        assert_eq!(cluster.raft(1).leader(), Some(from));
    }
}

#[test]
fn s5_1_a_request_with_a_stale_term_is_rejected() {
    let mut cluster = with_log(3, &[1, 3]);
    let (message, _) = append(2, id(2, 2), &[2], 0);
    let answers = tell(&mut cluster, THREE, ONE, message);
    assert_eq!(
        answers[0].message,
        Message::HeartbeatResponse { term: Term(3) }
    );
    assert_eq!(cluster.raft(1).log().last(), id(2, 3));
}

#[test]
fn s5_2_servers_start_as_followers_and_stay_so_while_they_hear_a_leader() {
    let mut cluster = cluster(3);
    assert!((1..=3).all(|id| cluster.raft(id).role() == Role::Follower));
    cluster.fire(ONE);
    cluster.run_for(5000);
    assert_eq!(
        cluster.oracle.elections, 1,
        "one election in five quiet seconds"
    );
    assert_eq!(cluster.raft(1).role(), Role::Leader);
}

#[test]
fn s5_2_a_candidate_votes_for_itself_and_wins_with_a_majority() {
    for (count, grants, expected) in [
        (3, 1, Role::Leader),
        (5, 1, Role::Candidate),
        (5, 2, Role::Leader),
    ] {
        let mut cluster = cluster(count);
        cluster.fire(ONE);
        for from in 2..=3 {
            let yes = Message::PreVoteResponse {
                term: Term(1),
                granted: true,
            };
            tell(&mut cluster, NodeId(from), ONE, yes);
        }
        let expected_vote = HardState {
            term: Term(1),
            vote: Some(ONE),
        };
        assert_eq!(cluster.raft(1).hard_state(), expected_vote);
        cluster.nodes.get_mut(&ONE).unwrap().disk.complete_one();
        let now = cluster.now;
        cluster.nodes.get_mut(&ONE).unwrap().acknowledge_one(now);
        cluster.drain(ONE);
        for from in 2..2 + grants {
            let yes = Message::VoteResponse {
                term: Term(1),
                granted: true,
            };
            tell(&mut cluster, NodeId(from), ONE, yes);
        }
        assert_eq!(cluster.raft(1).role(), expected, "{grants} of {count}");
    }
}

#[test]
fn s5_2_a_server_votes_for_at_most_one_candidate_per_term_first_come() {
    let mut cluster = cluster(3);
    let request = Message::VoteRequest {
        term: Term(1),
        last: EntryId::ZERO,
        transfer: false,
    };
    assert_eq!(
        tell(&mut cluster, TWO, ONE, request.clone()).len(),
        0,
        "held until stored"
    );
    let no = Message::VoteResponse {
        term: Term(1),
        granted: false,
    };
    assert_eq!(
        tell(&mut cluster, THREE, ONE, request.clone())[0].message,
        no
    );
    cluster.persist_all(ONE);
    let yes = Message::VoteResponse {
        term: Term(1),
        granted: true,
    };
    assert_eq!((cluster.sent[0].to, &cluster.sent[0].message), (TWO, &yes));
    assert_eq!(
        tell(&mut cluster, TWO, ONE, request)[0].message,
        yes,
        "repeated on request"
    );
}

#[test]
fn s5_2_a_candidate_steps_back_for_a_leader_of_its_term() {
    let mut cluster = cluster(3);
    cluster.fire(ONE);
    let yes = Message::PreVoteResponse {
        term: Term(1),
        granted: true,
    };
    tell(&mut cluster, TWO, ONE, yes);
    cluster.persist_all(ONE);
    assert_eq!(cluster.raft(1).role(), Role::Candidate);
    tell(&mut cluster, TWO, ONE, heartbeat(1));
    assert_eq!(
        (cluster.raft(1).role(), cluster.raft(1).leader()),
        (Role::Follower, Some(TWO))
    );
    assert_eq!(cluster.raft(1).term(), Term(1));
}

#[test]
fn s5_2_election_timeouts_are_random_within_their_interval() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..100 {
        let mut cluster = Cluster::new(seed);
        cluster.add(1, set_of(&[1, 2, 3], &[]));
        let wait = cluster.raft(1).next_deadline().unwrap() - cluster.now;
        assert!((100..200).contains(&wait.as_millis()), "{wait:?}");
        seen.insert(wait.as_millis());
    }
    assert!(seen.len() > 40, "only {} different timeouts", seen.len());
}

#[test]
fn s5_3_a_leader_appends_then_replicates_and_commits_on_a_majority() {
    let mut cluster = led(5);
    let entry = cluster.propose(ONE, 4).unwrap();
    assert_eq!(entry, id(5, 1));
    for from in [TWO, THREE] {
        assert_eq!(cluster.raft(1).commit_index(), LogIndex(1));
        let result = AppendResult::Accepted {
            match_index: LogIndex(5),
        };
        // The oracle wants the truth on the disks, so the followers really get there.
        let packet = cluster
            .sent
            .iter()
            .find(|packet| packet.to == from)
            .unwrap()
            .clone();
        cluster.deliver(&packet);
        cluster.persist_all(from);
        let answer = cluster
            .sent
            .iter()
            .rfind(|packet| packet.from == from)
            .unwrap()
            .clone();
        assert_eq!(
            answer.message,
            Message::AppendResponse {
                term: Term(1),
                result
            }
        );
        cluster.deliver(&answer);
    }
    assert_eq!(
        cluster.raft(1).commit_index(),
        LogIndex(1),
        "two of five and not its own disk"
    );
    cluster.persist_all(ONE);
    assert_eq!(
        cluster.raft(1).commit_index(),
        LogIndex(5),
        "the leader counts like any other"
    );
}

#[test]
fn s5_3_a_follower_rejects_entries_after_one_it_lacks() {
    let mut cluster = with_log(3, &[1, 1, 3]);
    for (previous, hint) in [
        (id(7, 3), id(3, 3)),
        (id(3, 2), id(2, 1)),
        (id(2, 3), id(2, 1)),
    ] {
        let (message, _) = append(3, previous, &[3], 0);
        let answer = tell(&mut cluster, TWO, ONE, message);
        let result = AppendResult::Rejected {
            previous_index: previous.index,
            hint,
        };
        assert_eq!(
            answer[0].message,
            Message::AppendResponse {
                term: Term(3),
                result
            }
        );
    }
}

#[test]
fn s5_3_a_follower_deletes_what_conflicts_and_appends_the_rest() {
    for (previous, terms, expected) in [
        (id(2, 2), &[3][..], &[1, 2, 3][..]),
        (id(1, 1), &[3, 4], &[1, 3, 4]),
        (EntryId::ZERO, &[1], &[1, 2, 2]),
        (EntryId::ZERO, &[3], &[3]),
        (id(3, 2), &[4, 4], &[1, 2, 2, 4, 4]),
        (id(2, 2), &[], &[1, 2, 2]),
    ] {
        let mut cluster = with_log(3, &[1, 2, 2]);
        let (message, mut entries) = append(4, previous, terms, 0);
        for entry in entries.iter_mut().filter(|entry| entry.term < Term(3)) {
            entry.payload = 900;
        }
        cluster.deliver(&Packet {
            from: TWO,
            to: ONE,
            message,
            entries,
        });
        cluster.persist_all(ONE);
        let log = &cluster.nodes[&ONE].disk.log;
        let found: Vec<u64> = log.entries.iter().map(|entry| entry.term.0).collect();
        assert_eq!(found, expected, "{terms:?} after {previous}");
    }
}

#[test]
fn s5_3_a_follower_commits_no_further_than_what_the_request_covers() {
    for (terms, expected) in [(&[][..], 1), (&[2], 2), (&[2, 2], 3), (&[3], 2)] {
        let mut cluster = with_log(3, &[1, 2, 2]);
        let (message, entries) = append(4, id(1, 1), terms, 3);
        let now = cluster.now;
        // The core alone: no such cluster exists, so the oracle stays out of it.
        let raft = cluster.nodes.get_mut(&ONE).unwrap().raft.as_mut().unwrap();
        raft.handle_message(now, TWO, message).unwrap();
        assert_eq!(raft.commit_index(), LogIndex(expected), "{entries:?}");
    }
}

#[test]
fn s5_3_a_leader_does_not_contradict_itself() {
    let mut cluster = with_log(3, &[1, 3]);
    let now = cluster.now;
    let (message, _) = append(3, id(1, 1), &[2], 0);
    let result = cluster
        .with(ONE, |raft| raft.handle_message(now, TWO, message))
        .unwrap();
    assert_eq!(
        result,
        Err(MessageError::Contradiction {
            from: TWO,
            index: LogIndex(2)
        })
    );
    assert_eq!(cluster.raft(1).log().last(), id(2, 3));
}

#[test]
fn s5_3_a_leader_brings_the_logs_of_figure_7_to_its_own() {
    let leader: &[u64] = &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6];
    let followers: [&[u64]; 6] = [
        &[1, 1, 1, 4, 4, 5, 5, 6, 6],
        &[1, 1, 1, 4],
        &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6],
        &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7],
        &[1, 1, 1, 4, 4, 4, 4],
        &[1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3],
    ];
    for follower in followers {
        let mut cluster = with_log(6, leader);
        let term = (*follower.last().unwrap()).max(6);
        // In two requests: one request names four terms at most.
        let (front, back) = follower.split_at(follower.len().min(9));
        let after = |count: usize| match count.checked_sub(1) {
            Some(last) => id(count as u64, front[last]),
            None => EntryId::ZERO,
        };
        for (previous, terms) in [(EntryId::ZERO, front), (after(front.len()), back)] {
            let (message, mut entries) = append(term, previous, terms, 0);
            // Entries that no other log of the figure has get a payload of their own.
            for entry in &mut entries {
                let same = leader.get(usize::try_from(entry.first).unwrap() - 1);
                entry.payload = if same == Some(&entry.term.0) {
                    900
                } else {
                    901
                };
            }
            cluster.deliver(&Packet {
                from: THREE,
                to: TWO,
                message,
                entries,
            });
        }
        cluster.persist_all(TWO);
        cluster.sent.clear();
        for _ in 0..50 {
            cluster.fire(ONE);
            cluster.stabilize();
            if cluster.raft(1).role() == Role::Leader {
                break;
            }
        }
        cluster.run_for(100);
        let [one, two] = [ONE, TWO].map(|id| &cluster.nodes[&id].disk.log);
        if cluster.raft(1).role() == Role::Leader {
            assert_eq!(one.entries, two.entries, "{follower:?}");
        } else {
            // (d): the longer log wins; then node 1 is brought to it.
            assert_eq!(cluster.raft(1).leader(), Some(TWO), "{follower:?}");
            assert_eq!(one.entries, two.entries, "{follower:?}");
        }
    }
}

#[test]
fn s5_4_1_only_a_candidate_with_an_up_to_date_log_gets_a_vote() {
    for (ours, last, expected) in [
        (&[1][..], id(1, 1), true),
        (&[1], id(2, 1), true),
        (&[1, 1], id(1, 1), false),
        (&[1], id(1, 2), true),
        (&[1, 1], id(1, 2), true),
        (&[2], id(1, 1), false),
        (&[2], id(9, 1), false),
    ] {
        let mut cluster = with_log(2, ours);
        cluster.now += std::time::Duration::from_millis(500);
        let request = Message::VoteRequest {
            term: Term(3),
            last,
            transfer: false,
        };
        tell(&mut cluster, THREE, ONE, request);
        cluster.persist_all(ONE);
        let expected_vote = expected.then_some(THREE);
        assert_eq!(
            cluster.raft(1).hard_state().vote,
            expected_vote,
            "{ours:?} and {last}"
        );
    }
}

#[test]
fn s5_4_2_only_entries_of_the_own_term_are_committed_by_counting() {
    let mut cluster = led(3);
    cluster.isolate(THREE);
    cluster.cut.insert((TWO, ONE));
    cluster.propose(ONE, 1);
    cluster.stabilize();
    assert_eq!(
        cluster.raft(2).log().last(),
        id(2, 1),
        "on a majority, but nobody knows"
    );
    cluster.cut.clear();
    cluster.isolate(ONE);
    cluster.run_for(190);
    for _ in 0..100 {
        let (_, id) = cluster.next_deadline().unwrap();
        cluster.fire(id);
        for packet in std::mem::take(&mut cluster.sent) {
            cluster.deliver(&packet);
        }
        if matches!(cluster.raft(2).role(), Role::Candidate | Role::Leader) {
            break;
        }
    }
    cluster.stabilize();
    let raft = cluster.raft(2);
    assert_eq!(raft.role(), Role::Leader);
    // With the term start, which is of its own term, the older entry is committed too.
    assert_eq!(
        (raft.commit_index(), raft.log().last().term),
        (LogIndex(3), raft.term())
    );
}

#[test]
fn figure_8_an_old_entry_on_a_majority_may_still_be_overwritten() {
    // Node 1 leads term 4 and holds an entry of term 2 that it spreads to a majority. It must not
    // call it committed before its own term start is: node 5's log of term 3 could replace it.
    let mut cluster = with_log(3, &[1, 2]);
    cluster.now += std::time::Duration::from_millis(500);
    cluster.fire(ONE);
    let yes = Message::PreVoteResponse {
        term: Term(4),
        granted: true,
    };
    tell(&mut cluster, TWO, ONE, yes);
    cluster.persist_all(ONE);
    tell(
        &mut cluster,
        TWO,
        ONE,
        Message::VoteResponse {
            term: Term(4),
            granted: true,
        },
    );
    assert_eq!(cluster.raft(1).role(), Role::Leader);
    let accepted = |index| Message::AppendResponse {
        term: Term(4),
        result: AppendResult::Accepted {
            match_index: LogIndex(index),
        },
    };
    tell(&mut cluster, TWO, ONE, accepted(2));
    tell(&mut cluster, THREE, ONE, accepted(2));
    assert_eq!(cluster.raft(1).commit_index(), LogIndex::ZERO);
}

#[test]
fn s6_servers_ignore_votes_while_a_leader_is_alive() {
    let mut cluster = led(3);
    cluster.run_for(40);
    let last = id(9, 1);
    let request = Message::VoteRequest {
        term: Term(7),
        last,
        transfer: false,
    };
    assert!(tell(&mut cluster, THREE, TWO, request).is_empty());
    assert_eq!(
        cluster.raft(2).term(),
        Term(1),
        "the term does not rise either"
    );
    let transfer = Message::VoteRequest {
        term: Term(7),
        last,
        transfer: true,
    };
    tell(&mut cluster, THREE, TWO, transfer);
    assert_eq!(
        cluster.raft(2).term(),
        Term(7),
        "but a transfer is the leader's own wish"
    );
}

#[test]
fn s8_a_leader_knows_what_is_committed_after_its_term_start() {
    let mut cluster = led(3);
    cluster.propose(ONE, 1);
    cluster.stabilize();
    cluster.crash(ONE, false);
    cluster.fire(TWO);
    cluster.stabilize();
    let leader = cluster.leader().expect("a new leader");
    let raft = cluster.raft(leader.0);
    assert!(raft.is_ready_leader());
    assert_eq!(raft.commit_index(), LogIndex(3));
}

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

#[test]
fn heartbeats_of_all_groups_fall_together() {
    let mut deadlines = vec![];
    for pause in [1, 7, 13] {
        let mut cluster = cluster(3);
        cluster.now += std::time::Duration::from_millis(pause);
        cluster.fire(ONE);
        cluster.stabilize();
        let deadline = cluster.raft(1).next_deadline().unwrap();
        deadlines.push(deadline.as_micros() % 20_000);
    }
    assert_eq!(deadlines, [0, 0, 0]);
}
