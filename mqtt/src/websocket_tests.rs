//! A WebSocket client's bytes, whole and in pieces, right and wrong.

use std::sync::Arc;

use super::{WebSocket, WebSocketError};
use crate::limits::WEBSOCKET_HANDSHAKE_BYTES_MAX;

const REQUEST: &str = "GET /mqtt HTTP/1.1\r\nHost: gateway:8080\r\nUpgrade: websocket\r\n\
    Connection: keep-alive, Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Protocol: mqttv3.1, mqtt\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// A frame of a client.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [1, 2, 3, 250];
    let mut bytes = vec![first];
    match u16::try_from(payload.len()) {
        Ok(length) if length < 126 => bytes.push(0x80 | u8::try_from(length).unwrap()),
        Ok(length) => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&length.to_be_bytes());
        }
        Err(_) => {
            bytes.push(0x80 | 127);
            let length = u64::try_from(payload.len()).unwrap();
            bytes.extend_from_slice(&length.to_be_bytes());
        }
    }
    bytes.extend_from_slice(&mask);
    bytes.extend(
        payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, key)| byte ^ key),
    );
    bytes
}

fn open() -> WebSocket {
    let mut socket = WebSocket::default();
    let mut payload = Vec::new();
    socket
        .handle_bytes(REQUEST.as_bytes(), &mut payload)
        .unwrap();
    assert!(payload.is_empty() && !socket.poll_send().is_empty());
    socket
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

#[test]
fn the_handshake_is_answered_with_the_key_and_the_subprotocol() {
    // The key and its answer are the example of RFC 6455 §1.3.
    let mut socket = WebSocket::default();
    socket
        .handle_bytes(REQUEST.as_bytes(), &mut Vec::new())
        .unwrap();
    let answer = text(socket.poll_send()).to_lowercase();
    assert!(answer.starts_with("http/1.1 101 "), "{answer}");
    assert!(answer.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n"));
    assert!(answer.contains("sec-websocket-protocol: mqtt\r\n") && answer.ends_with("\r\n\r\n"));
}

#[test]
fn a_stream_is_the_same_in_one_piece_and_in_single_bytes() {
    let large = vec![7; 70_000];
    let stream = [
        REQUEST.as_bytes().to_vec(),
        frame(0x82, b"\x10\x0c"),
        // A message in three frames, a ping between them, and an empty frame.
        frame(0x02, b"one"),
        frame(0x89, b"are you there"),
        frame(0x00, b""),
        frame(0x80, &[b'x'; 300]),
        frame(0x82, &large),
        frame(0x8a, b"unasked pong"),
    ]
    .concat();
    let expected = [&b"\x10\x0cone"[..], &[b'x'; 300], &large].concat();
    let mut answers = Vec::new();
    for size in [1, 7, 1000, stream.len()] {
        let mut socket = WebSocket::default();
        let (mut payload, mut answer) = (Vec::new(), Vec::new());
        for part in stream.chunks(size) {
            socket.handle_bytes(part, &mut payload).unwrap();
            answer.extend(socket.poll_send());
            assert!(socket.partial.len() <= REQUEST.len());
        }
        assert!(payload == expected, "in pieces of {size}");
        assert!(answer.ends_with(b"\x8a\x0dare you there"));
        answers.push(answer);
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn what_is_sent_is_one_binary_frame_of_any_length() {
    let socket = open();
    for (length, head) in [
        (0, &[0x82, 0][..]),
        (125, &[0x82, 125]),
        (126, &[0x82, 126, 0, 126]),
        (65_536, &[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
    ] {
        let bytes = socket.frame(&vec![9; length]);
        assert_eq!(
            (&bytes[..head.len()], bytes.len()),
            (head, head.len() + length)
        );
    }
}

#[test]
fn a_request_that_opens_no_websocket_for_mqtt_is_refused() {
    let without = |line: &str| {
        let kept = REQUEST
            .split_inclusive("\r\n")
            .filter(|one| !one.starts_with(line));
        kept.collect::<String>()
    };
    for (request, error) in [
        (
            without("Sec-WebSocket-Protocol"),
            WebSocketError::Subprotocol,
        ),
        (
            REQUEST.replace(", mqtt\r", ", mqtt5\r"),
            WebSocketError::Subprotocol,
        ),
        (without("Sec-WebSocket-Key"), WebSocketError::Handshake),
        (without("Upgrade"), WebSocketError::Handshake),
        (without("Connection"), WebSocketError::Handshake),
        (
            REQUEST.replace("Version: 13", "Version: 8"),
            WebSocketError::Handshake,
        ),
        (REQUEST.replace("GET", "POST"), WebSocketError::Handshake),
        (
            REQUEST.replace("HTTP/1.1", "HTTP/1.0"),
            WebSocketError::Handshake,
        ),
        (
            "\x10\x0c\0\x04MQTT\x04\x02\0\x3c\0\0".to_owned(),
            WebSocketError::Handshake,
        ),
        (
            REQUEST.replace("/mqtt", &"/".repeat(5000)),
            WebSocketError::HandshakeTooLarge,
        ),
    ] {
        let mut socket = WebSocket::default();
        let found = socket.handle_bytes(request.as_bytes(), &mut Vec::new());
        assert_eq!(found, Err(error), "{request}");
        assert!(text(socket.poll_send()).starts_with("HTTP/1.1 4"));
        assert!(socket.close().is_empty());
        let again = socket.handle_bytes(REQUEST.as_bytes(), &mut Vec::new());
        assert_eq!(again, Err(WebSocketError::Closed));
    }
}

#[test]
fn only_pages_of_the_origins_that_are_named_may_connect() {
    let origins: Arc<[String]> = ["https://plant.example", "http://localhost:3000"]
        .map(str::to_owned)
        .into();
    let of = |lines: &str| REQUEST.replacen("\r\n", &format!("\r\n{lines}"), 1);
    for (lines, is_allowed) in [
        ("", true),
        ("Origin: https://plant.example\r\n", true),
        ("origin: HTTPS://Plant.example\r\n", true),
        ("Origin: http://localhost:3000\r\n", true),
        ("Origin: http://plant.example\r\n", false),
        ("Origin: https://plant.example:8443\r\n", false),
        ("Origin: https://plant.example.evil.example\r\n", false),
        ("Origin: null\r\n", false),
        ("Origin: \r\n", false),
        (
            "Origin: https://plant.example\r\nOrigin: http://evil.example\r\n",
            false,
        ),
    ] {
        let mut socket = WebSocket::new(Some(Arc::clone(&origins)));
        let found = socket.handle_bytes(of(lines).as_bytes(), &mut Vec::new());
        let expected = is_allowed.then_some(()).ok_or(WebSocketError::Origin);
        assert_eq!(found, expected, "{lines}");
        let status = if is_allowed { "101" } else { "403" };
        let answer = text(socket.poll_send());
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")));
        let mut any = WebSocket::default();
        assert_eq!(
            any.handle_bytes(of(lines).as_bytes(), &mut Vec::new()),
            Ok(())
        );
    }
}

#[test]
fn an_endless_request_is_cut_off() {
    let mut socket = WebSocket::default();
    let mut send = |bytes: &[u8]| socket.handle_bytes(bytes, &mut Vec::new());
    send(b"GET / HTTP/1.1\r\nX-Endless: ").unwrap();
    let mut sent = 27;
    while send(&[b'x'; 100]).is_ok() {
        sent += 100;
        assert!(sent < WEBSOCKET_HANDSHAKE_BYTES_MAX);
    }
    assert!(text(socket.poll_send()).starts_with("HTTP/1.1 431 "));
}

#[test]
fn a_frame_that_breaks_a_rule_ends_the_connection() {
    let unmasked = vec![0x82, 1, b'x'];
    let long_ping = frame(0x89, &[0; 126]);
    let code = |code: u16| [&[0x88, 2][..], &code.to_be_bytes()].concat();
    for (bytes, close) in [
        (frame(0x81, b"text"), code(1003)),
        (unmasked, code(1002)),
        (frame(0xc2, b"x"), code(1002)),
        (frame(0x83, b"x"), code(1002)),
        (frame(0x8b, b"x"), code(1002)),
        (frame(0x09, b"ping in parts"), code(1002)),
        (long_ping, code(1002)),
        (frame(0x80, b"continues nothing"), code(1002)),
        ([frame(0x02, b"a"), frame(0x82, b"b")].concat(), code(1002)),
        (
            vec![0x82, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4],
            code(1002),
        ),
        (frame(0x88, &1001_u16.to_be_bytes()), code(1000)),
    ] {
        let mut socket = open();
        let ended = socket.handle_bytes(&bytes, &mut Vec::new());
        assert!(ended.is_err(), "{bytes:?}");
        assert_eq!(socket.poll_send(), close, "{bytes:?}");
        assert!(socket.close().is_empty());
    }
    assert_eq!(open().close(), code(1000));
}

#[test]
fn a_frame_without_end_takes_no_memory_of_its_own() {
    let mut socket = open();
    let mut payload = Vec::new();
    let head = [
        0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0,
    ];
    socket.handle_bytes(&head, &mut payload).unwrap();
    for _ in 0..100 {
        socket.handle_bytes(&[5; 1000], &mut payload).unwrap();
    }
    assert_eq!(payload.len(), 100_000);
    assert!(socket.partial.is_empty() && socket.poll_send().is_empty());
}
