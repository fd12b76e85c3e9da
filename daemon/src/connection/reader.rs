//! The reading half: bytes in, requests on.
//!
//! What it is        one task per connection. It waits for room (answers in flight, messages to
//!                   other shards, memory) before it takes the next frame, so that an overloaded
//!                   broker reads slowly instead of growing.
//! Invariants        1. a frame larger than the read buffer is read only after its memory is
//!                      reserved.
//!                   2. no read is ever cancelled: closing shuts the socket down and the read
//!                      returns.
//!                   3. the first frame that cannot be read, or is not a request, ends the
//!                      connection.

use std::os::fd::AsRawFd;
use std::pin::pin;
use std::rc::Rc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use kafka_lite::api::ApiKey;
use kafka_lite::frame::{FrameSplitter, FrameStatus, LENGTH_PREFIX_BYTES};
use kafka_lite::header::{RequestHeader, Support};
use monoio::buf::IoBufMut;
use monoio::io::{AsyncReadRent, OwnedReadHalf, Splitable};
use monoio::net::TcpStream;
use tracing::debug;

use super::admission::{KEY_END, estimate_bytes, peek_key};
use super::{Connection, ConnectionId, frame_pool, writer};
use crate::handlers::{self, Reply, RequestContext};
use crate::limits::{EOF_GRACE, READ_BUFFER_BYTES, READ_BUFFER_IDLE_BYTES, SLOW_FRAME_TIME};
use crate::shard::Shard;
use crate::shard::memory_budget::Reservation;

/// Why a connection is no longer read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The client closed its side; what it asked for is still answered.
    Eof,
    /// Nothing more may be written either.
    Close(&'static str),
}

/// Serves one connection until it ends.
pub async fn serve(shard: Rc<Shard>, stream: TcpStream, id: ConnectionId) {
    let Ok(peer) = stream.peer_addr() else {
        // The client is gone already.
        return;
    };
    let connection = Connection::new(id, peer, stream.as_raw_fd());
    shard.add_connection(&connection);
    let (read_half, write_half) = stream.into_split();
    let writing = writer::run(Rc::clone(&shard), Rc::clone(&connection), write_half);
    let writer = monoio::spawn(writing);
    let mut reader = Reader::new(&shard, &connection, read_half);
    let end = loop {
        if let Err(end) = reader.step().await {
            break end;
        }
    };
    if let End::Close(reason) = end {
        connection.close(reason);
    }
    connection.end_reading();
    let Reader { half, .. } = reader;
    let mut writer = writer;
    if monoio::time::timeout(EOF_GRACE, &mut writer).await.is_err() {
        connection.close("the client ended while its answers were not there");
        writer.await;
    }
    connection.close("the client ended");
    connection.descriptor.set(None);
    drop(half);
    shard.remove_connection(&connection);
}

struct Reader<'a> {
    shard: &'a Rc<Shard>,
    connection: &'a Rc<Connection>,
    half: OwnedReadHalf<TcpStream>,
    splitter: FrameSplitter,
    buffer: BytesMut,
    /// How large the read buffer is made when it is empty.
    wanted_bytes: usize,
}

impl<'a> Reader<'a> {
    fn new(
        shard: &'a Rc<Shard>,
        connection: &'a Rc<Connection>,
        half: OwnedReadHalf<TcpStream>,
    ) -> Self {
        let frame_bytes_max = shard.config().socket_request_max_bytes;
        Self {
            shard,
            connection,
            half,
            splitter: FrameSplitter::for_requests(
                usize::try_from(frame_bytes_max).unwrap_or(usize::MAX),
            ),
            buffer: BytesMut::new(),
            wanted_bytes: READ_BUFFER_IDLE_BYTES,
        }
    }

    /// Handles one frame, or reads more bytes when none is complete.
    async fn step(&mut self) -> Result<(), End> {
        let status = self.splitter.poll_frame(&self.buffer).map_err(|error| {
            debug!(peer = %self.connection.peer(), %error, "not a frame");
            End::Close("not a frame")
        })?;
        match status {
            FrameStatus::Complete { frame_end } => {
                let memory = self.wait_for_room(frame_end).await?;
                let frame = self.buffer.split_to(frame_end).freeze();
                self.handle_frame(frame, memory)
            }
            FrameStatus::BodyMissing { frame_end, .. } if frame_end <= READ_BUFFER_BYTES => {
                self.read_more(frame_end).await
            }
            FrameStatus::BodyMissing { .. } if self.buffer.len() < KEY_END => {
                self.read_more(KEY_END).await
            }
            FrameStatus::BodyMissing { .. } if peek_key(&self.buffer).is_none() => {
                Err(End::Close("the API is not supported"))
            }
            FrameStatus::BodyMissing { frame_end, .. } => {
                let memory = self.wait_for_room(frame_end).await?;
                self.connection.frame_since.set(Some(Instant::now()));
                let frame = self.read_large_frame(frame_end).await?;
                self.connection.frame_since.set(None);
                self.handle_frame(frame, memory)
            }
            FrameStatus::LengthMissing(_) => self.read_more(LENGTH_PREFIX_BYTES).await,
        }
    }

    /// Waits until the request may be taken in: answers in flight, other shards, memory.
    async fn wait_for_room(&self, frame_bytes: usize) -> Result<Reservation, End> {
        while !self.connection.has_room() && !self.connection.is_closed() {
            self.connection.room.wait().await;
        }
        self.shard.wait_until_not_congested().await;
        let bytes = estimate_bytes(peek_key(&self.buffer), frame_bytes);
        let budgets = self.shard.budgets();
        let memory = match budgets.requests.try_reserve(bytes) {
            Some(memory) => memory,
            None if frame_bytes <= READ_BUFFER_BYTES => budgets.small_requests.reserve(bytes).await,
            None => {
                let reserve = budgets.requests.reserve(bytes);
                self.outwait_slow_frames(reserve).await
            }
        };
        if self.connection.is_closed() {
            return Err(End::Close("closed"));
        }
        Ok(memory)
    }

    /// Waits for memory, and closes those who hold it for frames that never end. The place in the
    /// queue is kept.
    async fn outwait_slow_frames(&self, reserve: impl Future<Output = Reservation>) -> Reservation {
        let mut reserve = pin!(reserve);
        loop {
            match monoio::time::timeout(SLOW_FRAME_TIME, &mut reserve).await {
                Ok(memory) => return memory,
                Err(_elapsed) => {
                    for connection in self.shard.connections() {
                        connection.end_slow_frame(SLOW_FRAME_TIME);
                    }
                }
            }
        }
    }

    /// Reads at least one byte into the read buffer, which has room for `needed_bytes` in all.
    async fn read_more(&mut self, needed_bytes: usize) -> Result<(), End> {
        let mut buffer = std::mem::take(&mut self.buffer);
        if buffer.is_empty() && buffer.capacity() > self.wanted_bytes {
            buffer = BytesMut::new();
        }
        if buffer.capacity() < needed_bytes || buffer.capacity() == buffer.len() {
            let room = self.wanted_bytes.max(needed_bytes).max(buffer.len() + 1);
            buffer.reserve(room - buffer.len());
        }
        let start = buffer.len();
        let spare = buffer.capacity() - start;
        let (result, slice) = self.half.read(buffer.slice_mut(start..)).await;
        self.buffer = slice.into_inner();
        let count = self.handle_read(result)?;
        if count == spare {
            self.wanted_bytes = READ_BUFFER_BYTES;
        } else if count < READ_BUFFER_IDLE_BYTES {
            self.wanted_bytes = READ_BUFFER_IDLE_BYTES;
        }
        Ok(())
    }

    /// Reads the rest of a frame straight into a buffer of its own.
    async fn read_large_frame(&mut self, frame_end: usize) -> Result<Bytes, End> {
        let mut frame = frame_pool::take(frame_end);
        frame.extend_from_slice(&self.buffer);
        self.buffer.clear();
        while frame.len() < frame_end {
            let start = frame.len();
            let (result, slice) = self.half.read(frame.slice_mut(start..frame_end)).await;
            frame = slice.into_inner();
            self.handle_read(result)?;
        }
        Ok(frame_pool::freeze(frame))
    }

    fn handle_read(&self, result: std::io::Result<usize>) -> Result<usize, End> {
        match result {
            Ok(0) => Err(End::Eof),
            Ok(count) => {
                self.connection.touch();
                self.shard.metrics().count_received(count);
                Ok(count)
            }
            Err(_reset) => Err(End::Close("the client reset the connection")),
        }
    }

    /// Hands a whole frame, length prefix included, to the handlers.
    fn handle_frame(&mut self, frame: Bytes, memory: Reservation) -> Result<(), End> {
        let frame = frame.slice(LENGTH_PREFIX_BYTES..);
        let (header, body) = RequestHeader::decode(&frame).map_err(|error| {
            debug!(peer = %self.connection.peer(), %error, "not a request");
            End::Close("not a request")
        })?;
        let key = match header.support() {
            Support::Supported(key) => key,
            Support::UnknownApiVersions => ApiKey::ApiVersions,
            Support::Unsupported => {
                let (key, version) = (header.key, header.version);
                debug!(peer = %self.connection.peer(), key, version, "unsupported request");
                return Err(End::Close("the API or its version is not supported"));
            }
        };
        self.splitter.handle_valid_request();
        let connection = Rc::clone(self.connection);
        let request = RequestContext::new(connection, frame.clone(), key, &header, body.len());
        let sequence = self.connection.enqueue(key, memory);
        handlers::handle_request(self.shard, &request, Reply::new(&request, sequence));
        if self.connection.is_closed() {
            return Err(End::Close("closed"));
        }
        Ok(())
    }
}
