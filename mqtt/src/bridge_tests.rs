//! The bridge's rules, without a broker and without a log.

use super::{Bridge, BridgeFilter, BridgeState};
use crate::limits::{BRIDGE_HELD_MAX, BRIDGE_PAUSE_MS_MAX, BRIDGE_RETRY_MS, BRIDGE_STEADY_MS};
use crate::message::{Message, Qos};

fn bridge() -> Bridge {
    let filter = BridgeFilter {
        filter: "plant/#".to_owned(),
        qos: Qos::AtLeastOnce,
    };
    Bridge::new(vec![filter], 7)
}

fn connected(session_present: bool) -> Bridge {
    let mut bridge = bridge();
    bridge.handle_dialling();
    bridge.handle_connected(0, session_present);
    if bridge.poll_subscribe().is_some() {
        bridge.handle_subscribed(&[true]).unwrap();
    }
    bridge
}

fn message(text: &str) -> Message {
    Message {
        topic: "plant/1".into(),
        payload: text.to_owned().into(),
        qos: Qos::AtLeastOnce,
        ..Message::default()
    }
}

fn texts(messages: &[Message]) -> Vec<String> {
    let text = |one: &Message| String::from_utf8(one.payload.to_vec()).unwrap();
    messages.iter().map(text).collect()
}

fn acknowledgements(bridge: &mut Bridge) -> Vec<u16> {
    let mut all = Vec::new();
    while let Some(packet_id) = bridge.next_acknowledgement() {
        all.push(packet_id);
        bridge.handle_acknowledged();
    }
    all
}

fn refused() -> Result<(), String> {
    Err("the disk is full".to_owned())
}

#[test]
fn nothing_is_acknowledged_before_it_is_stored() {
    let mut bridge = connected(false);
    for (packet_id, text) in [(1, "a"), (2, "b")] {
        bridge.handle_publish(Some(packet_id), message(text));
    }
    bridge.handle_publish(None, message("zero"));
    let batch = bridge.poll_batch(0).unwrap();
    assert_eq!(texts(&batch.messages), ["a", "b", "zero"]);
    bridge.handle_publish(Some(3), message("c"));
    assert_eq!(bridge.poll_batch(0), None, "one batch at a time");
    assert!(acknowledgements(&mut bridge).is_empty());
    bridge.handle_outcome(0, batch.number, &[Ok(()), Ok(()), Ok(())]);
    assert_eq!(acknowledgements(&mut bridge), [1, 2]);
    assert_eq!(bridge.held(), 1);
    let batch = bridge.poll_batch(0).unwrap();
    bridge.handle_outcome(0, batch.number, &[Ok(())]);
    assert_eq!(acknowledgements(&mut bridge), [3]);
    let counts = bridge.counts();
    assert_eq!(
        (counts.received, counts.stored, counts.acknowledged),
        (4, 4, 3)
    );
    assert_eq!((bridge.held, bridge.held_bytes).1, 0);
}

#[test]
fn what_the_log_refused_comes_first_again_and_holds_back_later_acknowledgements() {
    let mut bridge = connected(false);
    for packet_id in 1..=3 {
        bridge.handle_publish(Some(packet_id), message(&packet_id.to_string()));
    }
    let batch = bridge.poll_batch(0).unwrap();
    bridge.handle_outcome(5, batch.number, &[Ok(()), refused(), Ok(())]);
    assert_eq!(bridge.state(), BridgeState::Paused);
    assert_eq!(bridge.error(), Some("the disk is full"));
    assert_eq!(acknowledgements(&mut bridge), [1]);
    bridge.handle_publish(Some(4), message("4"));
    assert_eq!(bridge.poll_batch(5), None);
    let due_ms = bridge.poll_timeout().unwrap();
    assert_eq!(due_ms, 5 + BRIDGE_RETRY_MS);
    let batch = bridge.poll_batch(due_ms).unwrap();
    assert_eq!(texts(&batch.messages), ["2", "4"]);
    bridge.handle_outcome(due_ms, batch.number, &[Ok(()), Ok(())]);
    assert_eq!(acknowledgements(&mut bridge), [2, 3, 4]);
    assert_eq!(
        (bridge.state(), bridge.error()),
        (BridgeState::Running, None)
    );
}

#[test]
fn a_batch_that_takes_long_is_a_pause_until_its_outcome() {
    let mut bridge = connected(false);
    bridge.handle_delay("of nothing".to_owned());
    assert_eq!(bridge.error(), None);
    bridge.handle_publish(Some(1), message("a"));
    let batch = bridge.poll_batch(0).unwrap();
    bridge.handle_delay("the disk is full".to_owned());
    assert_eq!(bridge.state(), BridgeState::Paused);
    assert_eq!(bridge.error(), Some("the disk is full"));
    assert_eq!(bridge.next_acknowledgement(), None);
    bridge.handle_outcome(9, batch.number, &[Ok(())]);
    assert_eq!(
        (bridge.state(), bridge.error()),
        (BridgeState::Running, None)
    );
    assert_eq!(acknowledgements(&mut bridge), [1]);
}

#[test]
fn an_outcome_of_a_lost_connection_acknowledges_nothing_on_the_next_one() {
    let mut bridge = connected(true);
    bridge.handle_publish(Some(1), message("old"));
    let batch = bridge.poll_batch(0).unwrap();
    bridge.handle_lost(0, "gone".to_owned());
    bridge.handle_dialling();
    bridge.handle_connected(10, false);
    // The broker has forgotten everything: its identifiers begin again.
    bridge.handle_publish(Some(1), message("new"));
    assert_eq!(bridge.poll_batch(10), None, "order: the old batch first");
    bridge.handle_outcome(20, batch.number, &[Ok(())]);
    assert!(acknowledgements(&mut bridge).is_empty());
    let batch = bridge.poll_batch(20).unwrap();
    assert_eq!(texts(&batch.messages), ["new"]);
    bridge.handle_outcome(20, batch.number, &[Ok(())]);
    bridge.handle_outcome(20, batch.number, &[Ok(())]);
    assert_eq!(acknowledgements(&mut bridge), [1]);
}

#[test]
fn it_subscribes_after_the_start_and_when_the_session_was_lost() {
    let mut bridge = bridge();
    bridge.handle_dialling();
    assert_eq!(bridge.state(), BridgeState::Connecting);
    bridge.handle_connected(0, true);
    assert!(bridge.poll_subscribe().is_some(), "the filters may be new");
    assert!(bridge.poll_subscribe().is_none());
    // The connection ends before the answer.
    bridge.handle_lost(0, "gone".to_owned());
    bridge.handle_connected(1, true);
    assert!(bridge.poll_subscribe().is_some());
    bridge.handle_subscribed(&[true]).unwrap();
    bridge.handle_lost(1, "gone".to_owned());
    bridge.handle_connected(2, true);
    assert!(bridge.poll_subscribe().is_none());
    assert_eq!(
        (bridge.state(), bridge.error()),
        (BridgeState::Running, None)
    );
    bridge.handle_lost(2, "gone".to_owned());
    bridge.handle_connected(3, false);
    assert!(bridge.poll_subscribe().is_some());
    let error = bridge.handle_subscribed(&[false]).unwrap_err();
    assert!(error.contains("plant/#"), "{error}");
    assert!(bridge.handle_subscribed(&[]).is_err());
    assert_eq!(
        (bridge.counts().connects, bridge.counts().sessions_lost),
        (4, 1)
    );
}

#[test]
fn pauses_grow_are_bounded_differ_and_begin_anew_after_a_steady_connection() {
    let mut bridge = bridge();
    let mut pauses = Vec::new();
    for _ in 0..40 {
        bridge.handle_dialling();
        bridge.handle_lost(1_000, "refused".to_owned());
        pauses.push(bridge.poll_timeout().unwrap() - 1_000);
    }
    assert!(pauses[0] <= 500 && pauses[3] >= 2_000, "{pauses:?}");
    let within = |pause: &u64| (BRIDGE_PAUSE_MS_MAX >> 1..=BRIDGE_PAUSE_MS_MAX).contains(pause);
    assert!(pauses[10..].iter().all(within), "{pauses:?}");
    assert!(
        pauses[10..].windows(2).any(|two| two[0] != two[1]),
        "{pauses:?}"
    );
    // A broker that accepts and ends the connection at once is not dialled faster.
    bridge.handle_connected(0, true);
    bridge.handle_lost(10, "gone".to_owned());
    assert!(bridge.poll_timeout().unwrap() >= 10 + (BRIDGE_PAUSE_MS_MAX >> 1));
    bridge.handle_connected(0, true);
    bridge.handle_lost(BRIDGE_STEADY_MS, "gone".to_owned());
    assert!(bridge.poll_timeout().unwrap() <= BRIDGE_STEADY_MS + 500);
    assert_eq!(
        (bridge.state(), bridge.error()),
        (BridgeState::Waiting, Some("gone"))
    );
}

#[test]
fn what_is_held_is_bounded_by_count_and_by_bytes() {
    let mut bridge = connected(false);
    for number in 0..BRIDGE_HELD_MAX {
        assert!(bridge.can_receive(), "{number}");
        bridge.handle_publish(Some(1), message("x"));
    }
    assert!(!bridge.can_receive());
    bridge.handle_lost(0, "gone".to_owned());
    assert!(bridge.can_receive());
    let large = "x".repeat(100_000);
    for _ in 0..3 {
        assert!(bridge.can_receive());
        bridge.handle_publish(Some(1), message(&large));
    }
    assert!(!bridge.can_receive());
    let batch = bridge.poll_batch(0).unwrap();
    assert_eq!(batch.messages.len(), 1);
}
