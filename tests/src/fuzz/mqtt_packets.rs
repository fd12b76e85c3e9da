//! Target: what an MQTT client sends on one connection, from its first byte on.
//!
//! Input             byte 0: bits 0 to 1 choose when commits are told (at once, in reverse, never);
//!                   the rest is the stream.
//! Rules             no panic; nothing is acknowledged that was not committed, and only once per
//!                   publish; what waits stays within its limits.

use std::collections::BTreeMap;

use mqtt::connection::{Connection, ConnectionOptions, OpenedSession, Output};
use mqtt::framing::{FrameStatus, poll_frame};
use mqtt::inbound::PublishToken;
use mqtt::limits::RECEIVED_IDS_MAX;
use mqtt::message::Qos;
use mqtt::reason::ReasonCode;

const OPTIONS: ConnectionOptions = ConnectionOptions {
    packet_bytes_max: 1024,
    keep_alive_seconds_max: 0,
    qos_max: Qos::ExactlyOnce,
};

/// Feeds the stream and plays the server around the connection.
pub fn check(input: &[u8]) {
    let Some((mode, stream)) = input.split_first() else {
        return;
    };
    let mut connection = Connection::new(0, OPTIONS);
    let mut open = Vec::new();
    let mut told = BTreeMap::new();
    let mut rest = stream;
    let mut is_closed = false;
    while !is_closed {
        match poll_frame(rest, connection.frame_bytes_max()) {
            Ok(FrameStatus::Complete { end }) if connection.can_take(rest[0]) => {
                connection.handle_frame(1, &rest[..end]);
                rest = &rest[end..];
            }
            Ok(FrameStatus::Complete { .. }) if !open.is_empty() => {}
            Ok(_) => break,
            Err(error) => {
                connection.handle_framing_error(&error);
                rest = &[];
            }
        }
        is_closed = carry_out(&mut connection, &mut open);
        if mode & 3 != 3 {
            commit(&mut connection, &mut open, &mut told, mode & 1 != 0);
        }
        assert!(connection.waiting_publishes() <= RECEIVED_IDS_MAX + usize::from(u16::MAX));
        assert!(connection.received_ids().count() <= RECEIVED_IDS_MAX);
        drop(connection.poll_send());
        if mode & 3 == 3 && !connection.can_take(0x32) {
            break;
        }
    }
    connection.handle_lost();
    carry_out(&mut connection, &mut open);
    assert!(connection.poll_output().is_none());
}

fn carry_out(connection: &mut Connection, open: &mut Vec<PublishToken>) -> bool {
    let mut is_closed = false;
    while let Some(output) = connection.poll_output() {
        assert!(!is_closed, "nothing comes behind the end");
        match output {
            Output::Open(connect) => {
                connection.handle_opened(1, &connect, OpenedSession::default());
            }
            Output::Publish { token, message, .. } => {
                assert!(mqtt::filter::is_topic_name(&message.topic));
                open.extend(token);
            }
            Output::Release(packet_id) => connection.handle_released(packet_id),
            Output::Subscribe(subscribe) => {
                let reasons = vec![ReasonCode::Success; subscribe.filters.len()];
                connection.handle_subscribed(subscribe.packet_id, &reasons);
            }
            Output::Unsubscribe(unsubscribe) => {
                let reasons = vec![ReasonCode::Success; unsubscribe.filters.len()];
                connection.handle_unsubscribed(unsubscribe.packet_id, &reasons);
            }
            Output::Delivered(_) => {}
            Output::Close(_) => is_closed = true,
        }
    }
    is_closed
}

fn commit(
    connection: &mut Connection,
    open: &mut Vec<PublishToken>,
    told: &mut BTreeMap<PublishToken, ()>,
    in_reverse: bool,
) {
    if in_reverse {
        open.reverse();
    }
    for token in open.drain(..) {
        assert!(
            told.insert(token, ()).is_none(),
            "a publish is given out once"
        );
        connection.handle_published(token, ReasonCode::Success);
    }
}

/// Streams of a client: each version, each packet.
pub fn corpus() -> Vec<Vec<u8>> {
    let connect = |name: &[u8], level: u8, properties: &[u8]| {
        let length = u8::try_from(name.len()).unwrap();
        let head = [&[0, length], name, &[level, 2, 0, 9]].concat();
        let body = [&head[..], properties, &[0, 1, b'c']].concat();
        [&[0x10, u8::try_from(body.len()).unwrap()][..], &body].concat()
    };
    let old = connect(b"MQTT", 4, &[]);
    let oldest = connect(b"MQIsdp", 3, &[]);
    let new = connect(b"MQTT", 5, &[0]);
    let packets: [&[u8]; 10] = [
        &[0x30, 4, 0, 1, b'a', b'x'],
        &[0x32, 6, 0, 1, b'a', 0, 1, b'x'],
        &[0x3a, 6, 0, 1, b'a', 0, 1, b'x'],
        &[0x34, 6, 0, 1, b'a', 0, 2, b'x'],
        &[0x62, 2, 0, 2],
        &[0x82, 6, 0, 3, 0, 1, b'#', 1],
        &[0xa2, 5, 0, 4, 0, 1, b'#'],
        &[0xc0, 0],
        &[0x40, 2, 0, 1],
        &[0xe0, 0],
    ];
    let packets5: [&[u8]; 5] = [
        &[0x32, 10, 0, 1, b'a', 0, 1, 3, 0x23, 0, 1, b'x'],
        &[0x34, 9, 0, 0, 0, 2, 3, 0x23, 0, 1, b'x'],
        &[0x30, 12, 0, 1, b'a', 7, 0x26, 0, 1, b'k', 0, 1, b'v', b'x'],
        &[0x82, 7, 0, 3, 0, 0, 1, b'+', 1],
        &[0xe0, 1, 4],
    ];
    let mut corpus = vec![[&[0][..], &new].concat(), [&[1][..], &oldest].concat()];
    for mode in 0..4 {
        let all: Vec<u8> = packets.concat();
        let all5: Vec<u8> = packets5.concat();
        corpus.push([&[mode][..], &old, &all].concat());
        corpus.push([&[mode][..], &oldest, &all].concat());
        corpus.push([&[mode][..], &new, &all5].concat());
    }
    for packet in packets {
        corpus.push([&[0][..], &old, packet].concat());
    }
    for packet in packets5 {
        corpus.push([&[0][..], &new, packet].concat());
    }
    corpus
}
