//! The log: §5.3, §5.4.2, figure 8 and §8.

use replication::{AppendResult, EntryId, LogIndex, Message, MessageError, Role, Term};

use crate::paper::{ONE, THREE, TWO, append, id, led, tell, with_log};
use crate::replica::Packet;

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
