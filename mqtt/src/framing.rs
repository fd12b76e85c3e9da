//! Where a packet ends in a stream of bytes, and what it says.
//!
//! What it is        a strict wrapper around `mqtt-proto`: Remaining Length is the boundary of a
//!                   packet, a packet that is too large is refused before it is there, and every
//!                   byte of the body is used.
//! What it is not    a place that knows which packet may come when.
//! Invariants        1. no byte behind the packet is looked at. 2. the body is decoded exactly.
//! Source            MQTT 5.0 §2.1.

use mqtt_proto::{PollHeader, v3, v5};
use thiserror::Error;

use crate::packet::{Incoming, Version};
use crate::reason::ReasonCode;

/// Bytes of the longest fixed header.
pub const FIXED_HEADER_BYTES_MAX: usize = 5;

/// What stands at the front of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameStatus {
    /// The fixed header is not complete.
    HeaderMissing,
    /// The packet ends at `end` bytes, which are not there yet.
    BodyMissing {
        /// Length of the packet, fixed header included.
        end: usize,
    },
    /// The packet is there.
    Complete {
        /// Length of the packet, fixed header included.
        end: usize,
    },
}

/// Why bytes are no packet.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FramingError {
    /// Remaining Length has more than four bytes.
    #[error("remaining length has more than four bytes")]
    RemainingLength,
    /// Larger than is accepted now.
    #[error("packet of {got} bytes, at most {max} are accepted")]
    TooLarge {
        /// Bytes of the packet.
        got: usize,
        /// Bytes accepted.
        max: usize,
    },
    /// The packet does not parse.
    #[error("malformed packet: {0}")]
    Malformed(String),
    /// The packet parses, and breaks a rule.
    #[error("{0}")]
    Rule(&'static str, ReasonCode),
}

impl FramingError {
    /// The reason code for the client.
    #[must_use]
    pub fn reason(&self) -> ReasonCode {
        match self {
            Self::RemainingLength | Self::Malformed(_) => ReasonCode::MalformedPacket,
            Self::TooLarge { .. } => ReasonCode::PacketTooLarge,
            Self::Rule(_, reason) => *reason,
        }
    }
}

/// Looks for the end of the first packet in `buffer`.
///
/// # Errors
/// [`FramingError::RemainingLength`]; [`FramingError::TooLarge`] as soon as the header is there.
pub fn poll_frame(buffer: &[u8], bytes_max: usize) -> Result<FrameStatus, FramingError> {
    let mut remaining = 0_usize;
    let lengths = buffer.iter().skip(1).take(FIXED_HEADER_BYTES_MAX - 1);
    for (place, byte) in lengths.enumerate() {
        remaining |= usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 != 0 {
            continue;
        }
        let end = place + 2 + remaining;
        if end > bytes_max {
            let (got, max) = (end, bytes_max);
            return Err(FramingError::TooLarge { got, max });
        }
        return Ok(if buffer.len() < end {
            FrameStatus::BodyMissing { end }
        } else {
            FrameStatus::Complete { end }
        });
    }
    if buffer.len() >= FIXED_HEADER_BYTES_MAX {
        return Err(FramingError::RemainingLength);
    }
    Ok(FrameStatus::HeaderMissing)
}

/// The version that a CONNECT packet asks for, or the reason for refusing it.
///
/// # Errors
/// [`FramingError::Rule`]: not a CONNECT, not MQTT, or a level that is not served (0x84; Mosquitto
/// bridges ask for level 0x84 first).
pub fn version_of_connect(frame: &[u8]) -> Result<Version, FramingError> {
    const NO_CONNECT: FramingError = FramingError::Rule(
        "the first packet is not a CONNECT",
        ReasonCode::ProtocolError,
    );
    if frame.first() != Some(&0x10) {
        return Err(NO_CONNECT);
    }
    let header_bytes = header_bytes(frame);
    let body = frame.get(header_bytes..).unwrap_or_default();
    let (length, rest) = body.split_first_chunk::<2>().ok_or(NO_CONNECT)?;
    let length = usize::from(u16::from_be_bytes(*length));
    let (name, rest) = rest.split_at_checked(length).ok_or(NO_CONNECT)?;
    let level = rest.first().copied();
    match (name, level) {
        (b"MQIsdp", Some(3)) => Ok(Version::V31),
        (b"MQTT", Some(4)) => Ok(Version::V311),
        (b"MQTT", Some(5)) => Ok(Version::V5),
        (b"MQTT" | b"MQIsdp", Some(_)) => Err(FramingError::Rule(
            "this protocol level is not served",
            ReasonCode::UnsupportedProtocolVersion,
        )),
        _ => Err(NO_CONNECT),
    }
}

/// Decodes exactly one packet: `frame` is what [`poll_frame`] found complete.
///
/// # Errors
/// [`FramingError::Malformed`] and [`FramingError::Rule`].
pub fn decode(version: Version, frame: &[u8]) -> Result<Incoming, FramingError> {
    match version {
        Version::V31 | Version::V311 => Incoming::from_v3(decode_as::<v3::Header>(frame)?),
        Version::V5 => Incoming::from_v5(decode_as::<v5::Header>(frame)?),
    }
}

fn decode_as<H>(frame: &[u8]) -> Result<H::Packet, FramingError>
where
    H: PollHeader,
    H::Error: std::fmt::Display,
{
    let malformed = |error: H::Error| FramingError::Malformed(error.to_string());
    let length = |length: usize| {
        u32::try_from(length).map_err(|_| FramingError::Malformed("length".to_owned()))
    };
    let first = frame.first().copied().unwrap_or(0);
    let (head, body) = frame
        .split_at_checked(header_bytes(frame))
        .ok_or(FramingError::RemainingLength)?;
    let header = H::new_with(first, length(body.len())?, length(head.len() + body.len())?)
        .map_err(malformed)?;
    if let Some(packet) = header.build_empty_packet() {
        if !body.is_empty() {
            return Err(FramingError::Malformed(
                "this packet has no body".to_owned(),
            ));
        }
        return Ok(packet);
    }
    let mut used = 0;
    let packet = header.decode_buffer(body, &mut used).map_err(malformed)?;
    if used != body.len() {
        let rest = body.len() - used;
        return Err(FramingError::Malformed(format!(
            "{rest} bytes behind its end"
        )));
    }
    Ok(packet)
}

/// Bytes of the fixed header of a complete packet.
fn header_bytes(frame: &[u8]) -> usize {
    let lengths = frame.iter().skip(1).take(FIXED_HEADER_BYTES_MAX - 1);
    1 + lengths.take_while(|byte| *byte & 0x80 != 0).count() + 1
}

#[cfg(test)]
mod tests {
    use super::{FrameStatus, FramingError, decode, poll_frame, version_of_connect};
    use crate::packet::{Incoming, Version};
    use crate::reason::ReasonCode;

    #[test]
    fn the_end_of_a_packet_is_found_before_it_is_there() {
        for (bytes, expected) in [
            (&[][..], FrameStatus::HeaderMissing),
            (&[0x30], FrameStatus::HeaderMissing),
            (&[0x30, 0x80], FrameStatus::HeaderMissing),
            (&[0xc0, 0], FrameStatus::Complete { end: 2 }),
            (&[0xc0, 0, 0xc0], FrameStatus::Complete { end: 2 }),
            (&[0x30, 0x81, 1], FrameStatus::BodyMissing { end: 132 }),
        ] {
            assert_eq!(poll_frame(bytes, 200), Ok(expected), "{bytes:?}");
        }
        let endless = [0x30, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(
            poll_frame(&endless, 1 << 30),
            Err(FramingError::RemainingLength)
        );
        assert_eq!(
            poll_frame(&[0x30, 0xff, 0xff, 0xff, 0x7f], 1000),
            Err(FramingError::TooLarge {
                got: 268_435_460,
                max: 1000
            })
        );
    }

    #[test]
    fn a_connect_chooses_the_version_and_anything_else_is_refused() {
        let connect = |name: &[u8], level| {
            let length = u8::try_from(name.len()).unwrap();
            [&[0x10, length + 3, 0, length], name, &[level]].concat()
        };
        assert_eq!(version_of_connect(&connect(b"MQIsdp", 3)), Ok(Version::V31));
        assert_eq!(version_of_connect(&connect(b"MQTT", 4)), Ok(Version::V311));
        assert_eq!(version_of_connect(&connect(b"MQTT", 5)), Ok(Version::V5));
        let reason = |frame: &[u8]| version_of_connect(frame).unwrap_err().reason();
        let unsupported = ReasonCode::UnsupportedProtocolVersion;
        assert_eq!(reason(&connect(b"MQTT", 0x84)), unsupported);
        assert_eq!(reason(&connect(b"MQIsdp", 0x83)), unsupported);
        for bad in [
            &connect(b"HTTP", 1)[..],
            &[0xc0, 0],
            &[0x10, 0],
            &[0x10, 2, 0, 9],
            &[],
        ] {
            assert_eq!(reason(bad), ReasonCode::ProtocolError, "{bad:?}");
        }
    }

    #[test]
    fn remaining_length_is_the_boundary() {
        let publish = [0x32, 7, 0, 1, b'a', 0, 9, b'x', b'y'];
        let Incoming::Publish(publish_packet) = decode(Version::V311, &publish).unwrap() else {
            panic!("a publish");
        };
        assert_eq!(publish_packet.packet_id, Some(9));
        assert_eq!(&publish_packet.message.payload[..], b"xy");
        for (version, bad) in [
            // PINGREQ with a body, PUBACK too long, topic beyond the packet, packet id 0, DUP with
            // QoS 0, wrong flags, empty topic, wildcard, CONNACK from a client.
            (Version::V311, &[0xc0, 1, 0][..]),
            (Version::V311, &[0x40, 3, 0, 1, 0]),
            (Version::V311, &[0x30, 3, 0, 9, b'a']),
            (Version::V311, &[0x32, 5, 0, 1, b'a', 0, 0]),
            (Version::V311, &[0x38, 3, 0, 1, b'a']),
            (Version::V311, &[0x60, 2, 0, 1]),
            (Version::V311, &[0x30, 2, 0, 0]),
            (Version::V311, &[0x30, 3, 0, 1, b'#']),
            (Version::V311, &[0x20, 2, 0, 0]),
            (Version::V5, &[0x20, 3, 0, 0, 0]),
            (Version::V5, &[0x36, 6, 0, 1, b'a', 0, 1, 0]),
            (Version::V5, &[0x30, 3, 0, 0, 0]),
            (Version::V5, &[0xc0, 1, 0]),
            (Version::V311, &[0x82, 2, 0, 1]),
            (Version::V311, &[0x82, 7, 0, 1, 0, 2, b'+', b'a', 1]),
        ] {
            assert!(decode(version, bad).is_err(), "{bad:?}");
        }
    }
}
