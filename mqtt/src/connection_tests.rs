//! Scripts of a connection: frames in, bytes and orders out.

use super::{Connection, ConnectionOptions, OpenedSession, Output};
use crate::inbound::PublishToken;
use crate::limits::{CONNECT_TIMEOUT_MS, RECEIVE_MAXIMUM, TOPIC_ALIAS_MAX};
use crate::message::Qos;
use crate::packet::{Connect, Version};
use crate::reason::ReasonCode;
use mqtt_proto::{Pid, QosPid, TopicName, v3, v5};

const OPTIONS: ConnectionOptions = ConnectionOptions {
    packet_bytes_max: 1000,
    keep_alive_seconds_max: 0,
    qos_max: Qos::ExactlyOnce,
};

fn new() -> Connection {
    Connection::new(0, OPTIONS)
}

fn frame3(packet: &v3::Packet) -> Vec<u8> {
    packet.encode().unwrap().as_ref().to_vec()
}

fn frame5(packet: &v5::Packet) -> Vec<u8> {
    packet.encode().unwrap().as_ref().to_vec()
}

fn connect3() -> Vec<u8> {
    frame3(&v3::Connect::new("c".into(), 10).into())
}

fn connect5() -> Vec<u8> {
    frame5(&v5::Connect::new("c".into(), 10).into())
}

fn take_open(connection: &mut Connection) -> Box<Connect> {
    match connection.poll_output() {
        Some(Output::Open(connect)) => connect,
        other => panic!("{other:?}"),
    }
}

fn open(connect_frame: &[u8], received_ids: Vec<u16>) -> Connection {
    let mut connection = new();
    connection.handle_frame(0, connect_frame);
    let connect = take_open(&mut connection);
    let opened = OpenedSession {
        received_ids,
        ..OpenedSession::default()
    };
    connection.handle_opened(0, &connect, opened);
    assert_eq!(connection.poll_send().first(), Some(&0x20));
    connection
}

fn publish3(id: QosPid, dup: bool) -> Vec<u8> {
    let topic = TopicName::try_from("a").unwrap();
    let mut publish = v3::Publish::new(id, topic, b"x"[..].into());
    publish.dup = dup;
    frame3(&publish.into())
}

fn once(id: u16) -> QosPid {
    QosPid::Level1(Pid::try_from(id).unwrap())
}

fn exactly(id: u16) -> QosPid {
    QosPid::Level2(Pid::try_from(id).unwrap())
}

fn token(connection: &mut Connection) -> PublishToken {
    match connection.poll_output() {
        Some(Output::Publish {
            token: Some(token), ..
        }) => token,
        other => panic!("{other:?}"),
    }
}

fn reason_of_close(connection: &mut Connection) -> (ReasonCode, bool) {
    loop {
        match connection.poll_output() {
            Some(Output::Close(closing)) => return (closing.reason, closing.publishes_will),
            Some(_) => {}
            None => panic!("it is not closed"),
        }
    }
}

#[test]
fn nothing_is_acknowledged_before_its_commit_and_then_in_order() {
    let mut connection = open(&connect3(), Vec::new());
    connection.handle_frame(1, &publish3(once(7), false));
    connection.handle_frame(1, &publish3(once(8), false));
    connection.handle_frame(1, &publish3(once(7), true));
    let (first, second) = (token(&mut connection), token(&mut connection));
    assert_eq!(connection.poll_output(), None);
    assert!(connection.poll_send().is_empty());
    connection.handle_published(second, ReasonCode::Success);
    assert!(connection.poll_send().is_empty());
    connection.handle_published(first, ReasonCode::Success);
    assert_eq!(connection.poll_send(), [0x40, 2, 0, 7, 0x40, 2, 0, 8]);
    connection.handle_frame(2, &publish3(once(8), true));
    assert_eq!(connection.poll_send(), [0x40, 2, 0, 8]);
    assert_eq!(connection.poll_output(), None);
}

#[test]
fn a_refused_publish_disconnects_an_old_client_and_is_told_to_a_new_one() {
    let mut connection = open(&connect3(), Vec::new());
    connection.handle_frame(1, &publish3(once(7), false));
    let one = token(&mut connection);
    connection.handle_published(one, ReasonCode::QuotaExceeded);
    assert!(connection.poll_send().is_empty());
    assert_eq!(
        reason_of_close(&mut connection),
        (ReasonCode::QuotaExceeded, true)
    );
    let mut connection = open(&connect5(), Vec::new());
    let topic = TopicName::try_from("a").unwrap();
    let publish = v5::Publish::new(once(7), topic, b"x"[..].into());
    connection.handle_frame(1, &frame5(&publish.into()));
    let one = token(&mut connection);
    connection.handle_published(one, ReasonCode::QuotaExceeded);
    assert_eq!(connection.poll_send(), [0x40, 3, 0, 7, 0x97]);
    assert_eq!(connection.poll_output(), None);
}

#[test]
fn exactly_once_goes_through_four_packets() {
    let mut connection = open(&connect3(), vec![3]);
    connection.handle_frame(1, &publish3(exactly(3), true));
    assert_eq!(connection.poll_send(), [0x50, 2, 0, 3]);
    connection.handle_frame(1, &publish3(exactly(4), false));
    let one = token(&mut connection);
    connection.handle_published(one, ReasonCode::Success);
    assert_eq!(connection.poll_send(), [0x50, 2, 0, 4]);
    connection.handle_frame(1, &frame3(&v3::Packet::Pubrel(Pid::try_from(4).unwrap())));
    assert_eq!(connection.poll_output(), Some(Output::Release(4)));
    assert!(connection.poll_send().is_empty());
    connection.handle_released(4);
    assert_eq!(connection.poll_send(), [0x70, 2, 0, 4]);
    // Unknown: the client finishes what this server has forgotten.
    connection.handle_frame(1, &frame3(&v3::Packet::Pubrel(Pid::try_from(9).unwrap())));
    assert_eq!(connection.poll_send(), [0x70, 2, 0, 9]);
    assert_eq!(connection.received_ids().collect::<Vec<_>>(), [3]);
}

#[test]
fn a_client_that_sends_too_much_waits_and_a_new_one_that_releases_nothing_is_disconnected() {
    let publish5 = |qos_pid| {
        let topic = TopicName::try_from("a").unwrap();
        frame5(&v5::Publish::new(qos_pid, topic, b"x"[..].into()).into())
    };
    for version in [Version::V311, Version::V5] {
        let is_new = version == Version::V5;
        let connect = if is_new { connect5() } else { connect3() };
        let mut connection = open(&connect, Vec::new());
        for id in 1..=RECEIVE_MAXIMUM {
            assert!(connection.can_take(0x32));
            let frame = match is_new {
                true => publish5(once(id)),
                false => publish3(once(id), false),
            };
            connection.handle_frame(1, &frame);
        }
        assert!(!connection.can_take(0x32) && !connection.can_take(0x3d));
        assert!(connection.can_take(0x30) && connection.can_take(0xc0));
        let first = token(&mut connection);
        connection.handle_published(first, ReasonCode::Success);
        assert!(connection.can_take(0x32));
    }
    let mut connection = open(&connect5(), Vec::new());
    for id in 1..=RECEIVE_MAXIMUM {
        connection.handle_frame(1, &publish5(exactly(id)));
        let token = token(&mut connection);
        connection.handle_published(token, ReasonCode::Success);
    }
    drop(connection.poll_send());
    assert!(connection.can_take(0x32));
    connection.handle_frame(1, &publish5(once(RECEIVE_MAXIMUM + 1)));
    let reason = reason_of_close(&mut connection).0;
    assert_eq!(reason, ReasonCode::ReceiveMaximumExceeded);
    assert_eq!(connection.poll_send(), [0xe0, 1, 0x93]);
}

#[test]
fn aliases_stand_for_topics() {
    let mut connection = open(&connect5(), Vec::new());
    let mut send = |topic: &str, alias: u16| {
        let topic = TopicName::try_from(topic).unwrap();
        let mut publish = v5::Publish::new(QosPid::Level0, topic, b"x"[..].into());
        publish.properties.topic_alias = Some(alias);
        connection.handle_frame(1, &frame5(&publish.into()));
        match connection.poll_output() {
            Some(Output::Publish { message, .. }) => message.topic.to_string(),
            Some(Output::Close(closing)) => format!("{:?}", closing.reason),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(send("long/topic", TOPIC_ALIAS_MAX), "long/topic");
    assert_eq!(send("", TOPIC_ALIAS_MAX), "long/topic");
    assert_eq!(send("other", TOPIC_ALIAS_MAX), "other");
    assert_eq!(send("", TOPIC_ALIAS_MAX), "other");
    assert_eq!(send("", 1), "ProtocolError");
    for bad in [0, TOPIC_ALIAS_MAX + 1] {
        let mut connection = open(&connect5(), Vec::new());
        let topic = TopicName::try_from("a").unwrap();
        let mut publish = v5::Publish::new(QosPid::Level0, topic, b"x"[..].into());
        publish.properties.topic_alias = Some(bad);
        connection.handle_frame(1, &frame5(&publish.into()));
        assert_eq!(
            reason_of_close(&mut connection).0,
            ReasonCode::TopicAliasInvalid
        );
    }
}

#[test]
fn keep_alive_is_one_and_a_half_times_what_was_asked_for() {
    let mut connection = new();
    assert_eq!(connection.poll_timeout(), Some(CONNECT_TIMEOUT_MS));
    connection.handle_timeout(CONNECT_TIMEOUT_MS - 1);
    assert_eq!(connection.poll_output(), None);
    connection.handle_timeout(CONNECT_TIMEOUT_MS);
    assert_eq!(
        reason_of_close(&mut connection).0,
        ReasonCode::KeepAliveTimeout
    );
    let mut connection = open(&connect3(), Vec::new());
    connection.handle_frame(5_000, &[0xc0, 0]);
    assert_eq!(connection.poll_send(), [0xd0, 0]);
    assert_eq!(connection.poll_timeout(), Some(20_000));
    connection.handle_timeout(20_000);
    assert_eq!(
        reason_of_close(&mut connection),
        (ReasonCode::KeepAliveTimeout, true)
    );
    assert_eq!(connection.poll_timeout(), None);
}

#[test]
fn the_will_is_dropped_by_a_disconnect_and_kept_by_anything_else() {
    let mut connection = open(&connect3(), Vec::new());
    connection.handle_frame(1, &[0xe0, 0]);
    assert_eq!(
        reason_of_close(&mut connection),
        (ReasonCode::Success, false)
    );
    let mut connection = open(&connect5(), Vec::new());
    connection.handle_frame(1, &[0xe0, 1, 4]);
    assert_eq!(
        reason_of_close(&mut connection),
        (ReasonCode::Success, true)
    );
    let mut connection = open(&connect5(), Vec::new());
    connection.handle_lost();
    assert!(reason_of_close(&mut connection).1);
    connection.handle_lost();
    assert_eq!(connection.poll_output(), None);
}

#[test]
fn only_a_connect_opens_and_only_once() {
    for bad in [
        &[0xc0, 0][..],
        &[0x30, 3, 0, 1, b'a'],
        &[0x20, 2, 0, 0],
        b"GET / HTTP/1.1\r\n",
    ] {
        let mut connection = new();
        connection.handle_frame(0, bad);
        assert_eq!(
            reason_of_close(&mut connection).0,
            ReasonCode::ProtocolError
        );
        assert!(connection.poll_send().is_empty());
    }
    let mut connection = new();
    connection.handle_frame(0, &[0x10, 7, 0, 4, b'M', b'Q', b'T', b'T', 0x84]);
    assert_eq!(connection.poll_send(), [0x20, 2, 0, 1]);
    let mut connection = open(&connect3(), Vec::new());
    connection.handle_frame(0, &connect3());
    assert_eq!(
        reason_of_close(&mut connection).0,
        ReasonCode::ProtocolError
    );
}

#[test]
fn a_client_without_a_name_needs_a_clean_start() {
    let mut nameless = v3::Connect::new("".into(), 10);
    nameless.clean_session = false;
    let mut connection = new();
    connection.handle_frame(0, &frame3(&nameless.clone().into()));
    assert_eq!(connection.poll_send(), [0x20, 2, 0, 2]);
    nameless.clean_session = true;
    let mut connection = new();
    connection.handle_frame(0, &frame3(&nameless.into()));
    take_open(&mut connection);
    assert!(!connection.can_take(0xc0));
    connection.handle_refused(ReasonCode::BadUserNameOrPassword);
    assert_eq!(connection.poll_send(), [0x20, 2, 0, 4]);
}

#[test]
fn a_quality_that_is_not_served_is_refused() {
    let options = ConnectionOptions {
        qos_max: Qos::AtLeastOnce,
        ..OPTIONS
    };
    let mut connection = Connection::new(0, options);
    connection.handle_frame(0, &connect3());
    let connect = take_open(&mut connection);
    connection.handle_opened(0, &connect, OpenedSession::default());
    connection.handle_frame(1, &publish3(exactly(1), false));
    assert_eq!(
        reason_of_close(&mut connection).0,
        ReasonCode::QosNotSupported
    );
}

#[test]
fn a_session_that_ends_with_its_connection_cannot_be_kept_by_disconnect() {
    let disconnect = |seconds| {
        let mut disconnect = v5::Disconnect::new_normal();
        disconnect.properties.session_expiry_interval = Some(seconds);
        frame5(&disconnect.into())
    };
    let mut connect = v5::Connect::new("c".into(), 10);
    for (kept, wanted, reason) in [
        (0, 0, ReasonCode::Success),
        (0, 9, ReasonCode::ProtocolError),
        (5, 9, ReasonCode::Success),
        (5, 0, ReasonCode::Success),
    ] {
        connect.properties.session_expiry_interval = Some(kept);
        let mut connection = open(&frame5(&connect.clone().into()), Vec::new());
        connection.handle_frame(1, &disconnect(wanted));
        let is_refused = reason.is_error();
        assert_eq!(reason_of_close(&mut connection), (reason, is_refused));
        assert_eq!(connection.poll_send().last() == Some(&0x82), is_refused);
    }
}
