//! Target: what a client sends on a WebSocket connection, from its first byte on.
//!
//! Input             byte 0: with bit 0 a handshake that is right comes first, with bit 1 only the
//!                   pages of one origin may connect; the other bits choose how the stream is cut.
//!                   The rest is the stream.
//! Rules             no panic; the same bytes of MQTT, the same answers and the same end however
//!                   the stream is cut; no more MQTT than came; what is kept stays within its
//!                   bounds; nothing is taken behind the end.

use std::sync::Arc;

use mqtt::limits::WEBSOCKET_HANDSHAKE_BYTES_MAX;
use mqtt::websocket::{WebSocket, WebSocketError};

const ORIGIN: &str = "https://plant.example";
const REQUEST: &str = "GET /mqtt HTTP/1.1\r\nHost: gateway\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Version: 13\r\n\
    Origin: https://plant.example\r\n\r\n";

/// Longest payload of a control frame, and the longest header of a frame, in bytes.
const CONTROL_BYTES_MAX: usize = 125;
const FRAME_HEADER_BYTES_MAX: usize = 14;

/// What came out of a stream.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    payload: Vec<u8>,
    answers: Vec<u8>,
    end: Option<WebSocketError>,
}

/// Feeds the stream whole and in pieces.
pub fn check(input: &[u8]) {
    let Some((mode, stream)) = input.split_first() else {
        return;
    };
    let origins = || (mode & 2 != 0).then(|| Arc::from([ORIGIN.to_owned()]));
    let opening = if mode & 1 != 0 { REQUEST } else { "" };
    let stream = [opening.as_bytes(), stream].concat();
    let piece = usize::from(mode >> 2) + 1;
    let in_pieces = feed(WebSocket::new(origins()), stream.chunks(piece));
    let whole = feed(
        WebSocket::new(origins()),
        stream.chunks(stream.len().max(1)),
    );
    // A handshake that is too long or broken shows when enough of it is there: which is told first
    // depends on the pieces, and only that.
    if is_of_handshake(whole.end) && is_of_handshake(in_pieces.end) {
        assert!(whole.payload.is_empty() && in_pieces.payload.is_empty());
        return;
    }
    assert_eq!(in_pieces, whole, "in pieces of {piece}");
}

fn is_of_handshake(end: Option<WebSocketError>) -> bool {
    matches!(
        end,
        Some(WebSocketError::Handshake | WebSocketError::HandshakeTooLarge)
    )
}

fn feed<'a>(mut socket: WebSocket, pieces: impl Iterator<Item = &'a [u8]>) -> Outcome {
    let mut outcome = Outcome {
        payload: Vec::new(),
        answers: Vec::new(),
        end: None,
    };
    let mut sent = 0;
    for piece in pieces {
        sent += piece.len();
        let taken = socket.handle_bytes(piece, &mut outcome.payload);
        outcome.answers.extend(socket.poll_send());
        assert!(outcome.payload.len() <= sent, "no more than came");
        let is_open = outcome.answers.starts_with(b"HTTP/1.1 101 ");
        let kept_max = match is_open {
            true => FRAME_HEADER_BYTES_MAX + CONTROL_BYTES_MAX,
            false => WEBSOCKET_HANDSHAKE_BYTES_MAX + piece.len(),
        };
        assert!(socket.kept_bytes() <= kept_max, "{}", socket.kept_bytes());
        if let Err(end) = taken {
            outcome.end = Some(end);
            let length = outcome.payload.len();
            let again = socket.handle_bytes(REQUEST.as_bytes(), &mut outcome.payload);
            assert_eq!(again, Err(WebSocketError::Closed));
            assert_eq!(
                (outcome.payload.len(), socket.poll_send().len()),
                (length, 0)
            );
            break;
        }
    }
    outcome
}

/// Streams of a client: the handshake, each kind of frame, frames in parts, and long ones.
pub fn corpus() -> Vec<Vec<u8>> {
    let frame = |first: u8, payload: &[u8]| {
        let mut bytes = vec![first];
        match u8::try_from(payload.len()) {
            Ok(length @ ..126) => bytes.push(0x80 | length),
            Ok(_) | Err(_) => {
                bytes.push(0x80 | 126);
                let length = u16::try_from(payload.len()).unwrap();
                bytes.extend(length.to_be_bytes());
            }
        }
        let mask = [7, 0, 255, 1];
        bytes.extend(mask);
        let keys = mask.iter().cycle();
        bytes.extend(payload.iter().zip(keys).map(|(byte, key)| byte ^ key));
        bytes
    };
    let connect = b"\x10\x0d\0\x04MQTT\x04\x02\0\x09\0\x01c";
    let frames = [
        frame(0x82, connect),
        frame(0x02, b"\xc0"),
        frame(0x89, b"ping"),
        frame(0x00, b""),
        frame(0x80, b"\0"),
        frame(0x82, &[0x30; 400]),
        frame(0x8a, b""),
        frame(0x88, &[3, 0xe8]),
        frame(0x81, b"text"),
        frame(0xc2, b"x"),
        vec![0x82, 1, b'x'],
        vec![
            0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 5,
        ],
        vec![0x82, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4],
    ];
    let mut corpus = vec![
        [&[0][..], REQUEST.as_bytes()].concat(),
        [&[2 | 5 << 2][..], REQUEST.as_bytes()].concat(),
        [&[2][..], REQUEST.replace("plant", "evil").as_bytes()].concat(),
        [&[0][..], REQUEST.replace(": mqtt", ": chat").as_bytes()].concat(),
        [&[9 << 2][..], b"GET / HTTP/1.1\r\n\r\n"].concat(),
    ];
    for mode in [1, 1 | 6 << 2, 3 | 63 << 2] {
        corpus.push([&[mode][..], &frames[..7].concat()].concat());
    }
    for one in frames {
        corpus.push([&[1][..], &one].concat());
    }
    corpus
}
