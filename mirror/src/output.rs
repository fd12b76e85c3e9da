//! What a [`crate::Mirror`] asks for, and the names of things in it.

use std::fmt;

use bytes::Bytes;
use kafka_lite::primitive::{EncodedFrame, Uuid};

/// Where a broker listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// Name or IP address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// Number of a connection; never used twice by one mirror.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// Number of a write of a lane; rises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WriteId(pub u64);

/// A partition of this gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceKey {
    /// Topic id.
    pub topic_id: Uuid,
    /// Partition number.
    pub partition: i32,
}

/// What is to be done outside.
#[derive(Debug)]
pub enum Output {
    /// Open a connection; then `handle_connected` or `handle_closed`.
    Connect {
        /// Its number.
        connection: ConnectionId,
        /// Where to.
        address: Address,
    },
    /// Write a frame behind all earlier ones of the connection; if that fails, `handle_closed`.
    Send {
        /// On which connection.
        connection: ConnectionId,
        /// The frame.
        frame: EncodedFrame,
    },
    /// Close a connection at once; nothing is heard of it afterwards.
    Close {
        /// Which one.
        connection: ConnectionId,
        /// Why, for the log.
        reason: String,
    },
    /// Read committed batches of a source partition; then `handle_read`.
    Read {
        /// Which lane asks.
        lane: crate::LaneKey,
        /// First offset wanted; the batch that holds it comes whole.
        first_offset: i64,
        /// Exclusive end.
        end_offset: i64,
        /// Bytes, the first batch whatever its size.
        bytes_max: usize,
    },
    /// Make a state record durable; then `handle_written`.
    Write {
        /// Which lane, or `None` for the mirror itself.
        lane: Option<crate::LaneKey>,
        /// Number of the write.
        write: WriteId,
        /// Key of the record.
        key: Vec<u8>,
        /// Its value.
        value: Vec<u8>,
    },
    /// Make a state record durable; nobody waits for it, and when it is lost a later one follows.
    Note {
        /// Key of the record.
        key: Vec<u8>,
        /// Its value.
        value: Vec<u8>,
    },
    /// Append a batch to the dead-letter topic of a source topic; then `handle_dead_letter`.
    DeadLetter {
        /// Which lane.
        lane: crate::LaneKey,
        /// The source topic.
        topic: String,
        /// One batch with the refused record and headers that say why.
        batch: Bytes,
    },
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            return write!(formatter, "[{}]:{}", self.host, self.port);
        }
        write!(formatter, "{}:{}", self.host, self.port)
    }
}
