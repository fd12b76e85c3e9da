//! Terms and elections: §5.1, §5.2, §5.4.1 and §6.

use replication::{EntryId, HardState, Message, NodeId, Role, Term};

use crate::network::{Cluster, set_of};
use crate::paper::{ONE, THREE, TWO, append, cluster, heartbeat, id, led, tell, with_log};

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
