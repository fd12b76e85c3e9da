//! WebSocket between the bytes of a socket and the bytes of MQTT.
//!
//! What it is        the opening handshake and the frames of RFC 6455 for a server of the
//!                   subprotocol `mqtt`: bytes of the socket in, bytes of MQTT out, and the other
//!                   way. `tungstenite` reads and writes the handshake and the frame headers.
//! What it is not    a queue of messages: payload is passed on as it comes, so that MQTT's own
//!                   bounds hold and a frame may be of any length. A frame is no boundary
//!                   [MQTT-6.0.0-2].
//! Invariants        1. what is kept is at most an incomplete handshake of
//!                      [`WEBSOCKET_HANDSHAKE_BYTES_MAX`], an incomplete frame header, or the
//!                      payload of one control frame (125 bytes). 2. after an error nothing more is
//!                      taken.
//! Source            RFC 6455; MQTT 5.0 §6.
//! Reading order     [`WebSocket::handle_bytes`], [`frame`].

use std::io::Cursor;
use std::sync::Arc;

use thiserror::Error;
use tungstenite::handshake::machine::TryParse;
use tungstenite::handshake::server::{Request, create_response, write_response};
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use crate::limits::WEBSOCKET_HANDSHAKE_BYTES_MAX;

/// The subprotocol that MQTT has at IANA [MQTT-6.0.0-3].
const SUBPROTOCOL: &str = "mqtt";

/// Longest payload of a control frame in bytes (RFC 6455 §5.5).
const CONTROL_BYTES_MAX: u64 = 125;

/// Close codes (RFC 6455 §7.4.1).
const NORMAL: u16 = 1000;
const PROTOCOL_ERROR: u16 = 1002;
const UNSUPPORTED_DATA: u16 = 1003;

/// One WebSocket connection of a client.
#[derive(Debug, Default)]
pub struct WebSocket {
    state: State,
    /// Bytes of a handshake or frame header that is not complete.
    partial: Vec<u8>,
    /// Whether a message has begun whose last frame has not come.
    is_fragmented: bool,
    out: Vec<u8>,
    /// Origins whose pages may connect; `None` is any.
    origins: Option<Arc<[String]>>,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Handshake,
    /// Between two frames.
    Header,
    Payload(Payload),
    Closed,
}

/// The payload of a frame on its way.
#[derive(Debug)]
struct Payload {
    left: u64,
    mask: [u8; 4],
    /// Bytes of the payload that have come, modulo 4.
    phase: usize,
    /// `None` for a data frame.
    control: Option<(Control, Vec<u8>)>,
}

/// Why the client is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum WebSocketError {
    /// The request is longer than is taken.
    #[error("a WebSocket handshake has at most {WEBSOCKET_HANDSHAKE_BYTES_MAX} bytes")]
    HandshakeTooLarge,
    /// No HTTP request, or not one that opens a WebSocket.
    #[error("no WebSocket handshake")]
    Handshake,
    /// The client does not offer the subprotocol.
    #[error("the client does not offer the subprotocol {SUBPROTOCOL}")]
    Subprotocol,
    /// A page of an origin that is not among those that may connect (RFC 6455 §10.2).
    #[error("the origin of the page may not connect (mqtt.websocket.origins)")]
    Origin,
    /// A frame breaks a rule.
    #[error("WebSocket frame: {0}")]
    Frame(&'static str),
    /// A text frame: MQTT is binary [MQTT-6.0.0-1].
    #[error("a WebSocket text frame")]
    Text,
    /// The client closes.
    #[error("the client closes the WebSocket")]
    Closed,
}

impl WebSocket {
    /// A connection that pages of these origins may open, or those of any; clients that are no
    /// browser name none.
    #[must_use]
    pub fn new(origins: Option<Arc<[String]>>) -> Self {
        Self {
            origins,
            ..Self::default()
        }
    }

    /// Takes bytes of the socket; bytes of MQTT are added to `payload`.
    ///
    /// # Errors
    /// [`WebSocketError`]: the connection is over. What [`WebSocket::poll_send`] has says why.
    pub fn handle_bytes(
        &mut self,
        bytes: &[u8],
        payload: &mut Vec<u8>,
    ) -> Result<(), WebSocketError> {
        let taken = self.take(bytes, payload);
        if let Err(error) = taken {
            self.refuse(error);
        }
        taken
    }

    /// Bytes for the client that are no MQTT: answers to its handshake, to a ping, or to a close.
    pub fn poll_send(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    /// A binary frame around bytes of MQTT.
    #[must_use]
    pub fn frame(&self, bytes: &[u8]) -> Vec<u8> {
        frame(OpCode::Data(Data::Binary), bytes)
    }

    /// The close frame of a connection that this side ends; empty when none is to be sent.
    pub fn close(&mut self) -> Vec<u8> {
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Header | State::Payload(_) => close_frame(NORMAL),
            State::Handshake | State::Closed => Vec::new(),
        }
    }

    /// Bytes that are kept until more comes, those of [`WebSocket::poll_send`] not counted.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        let control = match &self.state {
            State::Payload(payload) => payload.control.as_ref().map_or(0, |(_, it)| it.len()),
            State::Handshake | State::Header | State::Closed => 0,
        };
        self.partial.len() + control
    }

    fn take(&mut self, mut bytes: &[u8], payload: &mut Vec<u8>) -> Result<(), WebSocketError> {
        while !bytes.is_empty() {
            bytes = match self.state {
                State::Handshake => self.take_handshake(bytes)?,
                State::Header => self.take_header(bytes)?,
                State::Payload(_) => self.take_payload(bytes, payload)?,
                State::Closed => return Err(WebSocketError::Closed),
            };
        }
        Ok(())
    }

    /// Takes what belongs to the handshake and returns the rest.
    fn take_handshake<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], WebSocketError> {
        let before = self.partial.len();
        self.partial.extend_from_slice(bytes);
        let parsed = Request::try_parse(&self.partial).map_err(|_| WebSocketError::Handshake)?;
        let Some((length, request)) = parsed else {
            if self.partial.len() >= WEBSOCKET_HANDSHAKE_BYTES_MAX {
                return Err(WebSocketError::HandshakeTooLarge);
            }
            return Ok(&[]);
        };
        if length > WEBSOCKET_HANDSHAKE_BYTES_MAX {
            return Err(WebSocketError::HandshakeTooLarge);
        }
        if let Some(origins) = self.origins.take() {
            check_origin(&request, &origins)?;
        }
        self.out = answer(&request)?;
        self.partial = Vec::new();
        self.state = State::Header;
        Ok(bytes.get(length - before..).unwrap_or_default())
    }

    fn take_header<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], WebSocketError> {
        let before = self.partial.len();
        let missing = FRAME_HEADER_BYTES_MAX - before;
        self.partial
            .extend_from_slice(bytes.get(..missing).unwrap_or(bytes));
        let mut cursor = Cursor::new(&self.partial);
        let parsed = FrameHeader::parse(&mut cursor);
        let parsed = parsed.map_err(|_| WebSocketError::Frame("opcode that is not known"))?;
        let Some((header, length)) = parsed else {
            return Ok(&[]);
        };
        let used = usize::try_from(cursor.position()).unwrap_or(before);
        self.partial.clear();
        self.begin(&header, length)?;
        Ok(bytes.get(used.saturating_sub(before)..).unwrap_or_default())
    }

    /// A frame begins (RFC 6455 §5.2, §5.4, §5.5).
    fn begin(&mut self, header: &FrameHeader, length: u64) -> Result<(), WebSocketError> {
        if header.rsv1 || header.rsv2 || header.rsv3 {
            return Err(WebSocketError::Frame("reserved bits"));
        }
        let mask = header.mask.ok_or(WebSocketError::Frame("without a mask"))?;
        if length > u64::MAX >> 1 {
            return Err(WebSocketError::Frame("length"));
        }
        let control = match header.opcode {
            OpCode::Control(control) => {
                if !header.is_final || length > CONTROL_BYTES_MAX {
                    return Err(WebSocketError::Frame("control frame in parts or too long"));
                }
                Some((control, Vec::new()))
            }
            OpCode::Data(Data::Text) => return Err(WebSocketError::Text),
            OpCode::Data(data) => {
                if (data == Data::Continue) != self.is_fragmented {
                    return Err(WebSocketError::Frame(
                        "continuation of nothing, or none of one",
                    ));
                }
                self.is_fragmented = !header.is_final;
                None
            }
        };
        self.state = State::Payload(Payload {
            left: length,
            mask,
            phase: 0,
            control,
        });
        self.finish_frame()
    }

    fn take_payload<'a>(
        &mut self,
        bytes: &'a [u8],
        target: &mut Vec<u8>,
    ) -> Result<&'a [u8], WebSocketError> {
        let State::Payload(payload) = &mut self.state else {
            return Ok(bytes);
        };
        let count = usize::try_from(payload.left).unwrap_or(usize::MAX);
        let (part, rest) = bytes.split_at(count.min(bytes.len()));
        let control = payload.control.as_mut().map(|(_, collected)| collected);
        let target = control.unwrap_or(target);
        let keys = payload.mask.iter().cycle().skip(payload.phase);
        target.extend(part.iter().zip(keys).map(|(byte, key)| byte ^ key));
        payload.phase = (payload.phase + part.len()) & 3;
        payload.left -= u64::try_from(part.len()).unwrap_or(payload.left);
        self.finish_frame()?;
        Ok(rest)
    }

    /// Ends a frame whose payload is complete.
    fn finish_frame(&mut self) -> Result<(), WebSocketError> {
        let State::Payload(payload) = &mut self.state else {
            return Ok(());
        };
        if payload.left > 0 {
            return Ok(());
        }
        let control = payload.control.take();
        self.state = State::Header;
        match control {
            Some((Control::Ping, data)) => {
                let pong = frame(OpCode::Control(Control::Pong), &data);
                self.out.extend_from_slice(&pong);
                Ok(())
            }
            Some((Control::Close, _)) => Err(WebSocketError::Closed),
            Some((Control::Pong | Control::Reserved(_), _)) | None => Ok(()),
        }
    }

    /// Says why the connection ends.
    fn refuse(&mut self, error: WebSocketError) {
        let was_open = matches!(self.state, State::Header | State::Payload(_));
        self.state = State::Closed;
        self.partial = Vec::new();
        let last = match error {
            WebSocketError::HandshakeTooLarge => refusal("431 Request Header Fields Too Large"),
            // The version is the only thing that a client may try differently.
            WebSocketError::Handshake => refusal("400 Bad Request\r\nSec-WebSocket-Version: 13"),
            WebSocketError::Subprotocol => refusal("400 Bad Request"),
            WebSocketError::Origin => refusal("403 Forbidden"),
            WebSocketError::Frame(_) => close_frame(PROTOCOL_ERROR),
            WebSocketError::Text => close_frame(UNSUPPORTED_DATA),
            WebSocketError::Closed if was_open => close_frame(NORMAL),
            WebSocketError::Closed => Vec::new(),
        };
        self.out.extend_from_slice(&last);
    }
}

/// Longest header of a frame in bytes: two, a length of eight, a mask of four.
const FRAME_HEADER_BYTES_MAX: usize = 14;

/// Looks at who sent the page that connects; a client that is no browser does not say.
fn check_origin(request: &Request, origins: &[String]) -> Result<(), WebSocketError> {
    let is_known = |named: &[u8]| {
        let mut origins = origins.iter();
        origins.any(|one| one.as_bytes().eq_ignore_ascii_case(named))
    };
    let mut named = request.headers().get_all("Origin").iter();
    let is_allowed = named.all(|origin| is_known(origin.as_bytes()));
    is_allowed.then_some(()).ok_or(WebSocketError::Origin)
}

/// The answer to a request that opens a WebSocket with our subprotocol.
fn answer(request: &Request) -> Result<Vec<u8>, WebSocketError> {
    let mut response = create_response(request).map_err(|_| WebSocketError::Handshake)?;
    let offers = request.headers().get_all("Sec-WebSocket-Protocol").iter();
    let offers = offers.filter_map(|value| value.to_str().ok());
    let mut offers = offers.flat_map(|value| value.split(','));
    if !offers.any(|offer| offer.trim() == SUBPROTOCOL) {
        return Err(WebSocketError::Subprotocol);
    }
    let value = SUBPROTOCOL
        .parse()
        .map_err(|_| WebSocketError::Subprotocol)?;
    response
        .headers_mut()
        .insert("Sec-WebSocket-Protocol", value);
    let mut bytes = Vec::new();
    write_response(&mut bytes, &response).map_err(|_| WebSocketError::Handshake)?;
    Ok(bytes)
}

fn refusal(status: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").into_bytes()
}

fn close_frame(code: u16) -> Vec<u8> {
    frame(OpCode::Control(Control::Close), &code.to_be_bytes())
}

/// A whole frame of the server: without a mask (RFC 6455 §5.1).
fn frame(opcode: OpCode, payload: &[u8]) -> Vec<u8> {
    let header = FrameHeader {
        opcode,
        ..FrameHeader::default()
    };
    let length = u64::try_from(payload.len()).unwrap_or(u64::MAX);
    let mut bytes = Vec::with_capacity(header.len(length) + payload.len());
    // Writing to a vector does not fail.
    let _written = header.format(length, &mut bytes);
    bytes.extend_from_slice(payload);
    bytes
}

#[cfg(test)]
#[path = "websocket_tests.rs"]
mod tests;
