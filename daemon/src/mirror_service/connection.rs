//! One connection to a broker of the centre.
//!
//! What it is        a reader and a writer task around a queue of frames.
//! What it is not    knowledge of Kafka beyond the length prefix.
//! Invariants        1. frames leave in the order they were given. 2. after `close` nothing is
//!                   heard
//!                   of the connection. 3. a killed process leaves nothing half sent: the socket is
//!                   reset, what it had not sent is dropped.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use kafka_lite::frame::{FrameSplitter, FrameStatus, LENGTH_PREFIX_BYTES};
use kafka_lite::primitive::EncodedFrame;
use mirror::{Address, ConnectionId};
use monoio::net::TcpStream;
use rustls::ClientConfig;

use super::stream::{self, Reader, Tls, Writer};
use crate::config::mirror::MirrorConfig;
use crate::limits::{MIRROR_DIAL_TIMEOUT, MIRROR_SEGMENT_TIMEOUT, MIRROR_SMALL_RESPONSE_BYTES};
use crate::shard::Shard;
use crate::shard::memory_budget::{MemoryBudget, Reservation};
use crate::shard::notify::Notify;
use crate::sys::socket;

/// How an alert of TLS begins: what a listener with TLS says to who speaks without.
const TLS_ALERT: [u8; 2] = [0x15, 0x03];

/// Who has connections, and hears of them.
pub(super) trait Host: 'static {
    /// The shard that it runs on.
    fn shard(&self) -> &Rc<Shard>;
    /// What the operator wants.
    fn config(&self) -> &MirrorConfig;
    /// How connections are encrypted, if they are.
    fn tls(&self) -> Option<Arc<ClientConfig>>;
    /// The connection is open.
    fn handle_connected(self: &Rc<Self>, id: ConnectionId);
    /// It could not be opened, or is gone.
    fn handle_closed(self: &Rc<Self>, id: ConnectionId, reason: &str);
    /// A frame came, with the memory that was set aside for it.
    fn handle_frame(
        self: &Rc<Self>,
        id: ConnectionId,
        frame: Vec<u8>,
        reserved: Option<Reservation>,
    );
    /// Bytes went over the link beyond those of frames.
    fn handle_overhead(self: &Rc<Self>, sent: u64, received: u64);
    /// Nothing will be heard of the connection any more.
    fn forget(&self, id: ConnectionId);
}

/// The end that the host keeps.
#[derive(Default)]
pub(super) struct Link {
    frames: RefCell<VecDeque<Bytes>>,
    added: Rc<Notify>,
    is_closed: Cell<bool>,
    /// The reader has ended.
    is_ended: Cell<bool>,
    descriptor: Cell<Option<RawFd>>,
}

impl Link {
    /// Queues a frame.
    pub(super) fn send(&self, frame: EncodedFrame) {
        self.frames.borrow_mut().extend(frame.pieces);
        self.added.notify();
    }

    /// Ends the connection; both tasks return.
    pub(super) fn close(&self) {
        self.is_closed.set(true);
        if let Some(descriptor) = self.descriptor.get() {
            socket::shut_down(descriptor);
        }
        self.added.notify();
    }
}

/// Opens a connection and serves it until it ends.
pub(super) async fn run<H: Host>(host: Rc<H>, link: Rc<Link>, id: ConnectionId, address: Address) {
    let reason = match dial(&*host, &address).await {
        Err(error) => error.to_string(),
        Ok(_) if link.is_closed.get() => return,
        Ok(stream) => match secure(&*host, &link, &address, stream).await {
            Err(error) => error.to_string(),
            Ok((stream, tls)) => serve(&host, &link, id, stream, tls).await,
        },
    };
    if !link.is_closed.replace(true) {
        host.handle_closed(id, &reason);
    }
    host.forget(id);
}

async fn dial<H: Host>(host: &H, address: &Address) -> io::Result<TcpStream> {
    let (name, port) = (address.host.clone(), address.port);
    // The system's resolver blocks.
    let resolved = host
        .shard()
        .helper()
        .run(move || -> io::Result<Vec<SocketAddr>> {
            Ok((name.as_str(), port).to_socket_addrs()?.collect())
        })
        .await?;
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for target in resolved {
        let connecting = TcpStream::connect_addr(target);
        match monoio::time::timeout(MIRROR_DIAL_TIMEOUT, connecting).await {
            Ok(Ok(stream)) => {
                stream.set_nodelay(true)?;
                socket::give_up_after(stream.as_raw_fd(), MIRROR_SEGMENT_TIMEOUT)?;
                return Ok(stream);
            }
            Ok(Err(error)) => last = error,
            Err(_elapsed) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}

/// Shakes hands where the mirror has TLS.
async fn secure<H: Host>(
    host: &H,
    link: &Link,
    address: &Address,
    mut stream: TcpStream,
) -> io::Result<(TcpStream, Option<Rc<Tls>>)> {
    let Some(config) = host.tls() else {
        return Ok((stream, None));
    };
    link.descriptor.set(Some(stream.as_raw_fd()));
    let name = host.config().ssl_server_name.as_deref();
    let name = name.unwrap_or(&address.host);
    let added = Rc::clone(&link.added);
    let shaken = stream::shake_hands(&mut stream, config, name, added).await;
    link.descriptor.set(None);
    Ok((stream, Some(shaken?)))
}

/// Reads frames until the end; returns why it ended.
async fn serve<H: Host>(
    host: &Rc<H>,
    link: &Rc<Link>,
    id: ConnectionId,
    stream: TcpStream,
    tls: Option<Rc<Tls>>,
) -> String {
    if link.is_closed.get() {
        return "closed".to_owned();
    }
    link.descriptor.set(Some(stream.as_raw_fd()));
    let (mut reader, writer) = stream::split(stream, tls.clone());
    let count_overhead = || {
        if let Some(tls) = &tls {
            let (sent, received) = tls.take_overhead();
            host.handle_overhead(sent, received);
        }
    };
    count_overhead();
    let writing = monoio::spawn(write(Rc::clone(link), writer));
    host.handle_connected(id);
    let splitter = FrameSplitter::for_responses(mirror::limits::RESPONSE_BYTES_MAX);
    let budget = &host.shard().budgets().mirror_responses;
    let reason = loop {
        match read_frame(&mut reader, &splitter, budget).await {
            Ok((frame, reserved)) if !link.is_closed.get() => {
                count_overhead();
                host.handle_frame(id, frame, reserved);
            }
            Ok(_) => break "closed".to_owned(),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                break "the broker closed the connection".to_owned();
            }
            Err(error) => break error.to_string(),
        }
    };
    if let Some(descriptor) = link.descriptor.get() {
        socket::shut_down(descriptor);
    }
    link.is_ended.set(true);
    link.added.notify();
    writing.await;
    // Both halves are let go behind this line: nobody may shut the descriptor down any more.
    link.descriptor.set(None);
    reason
}

async fn read_frame(
    reader: &mut Reader,
    splitter: &FrameSplitter,
    budget: &Rc<MemoryBudget>,
) -> io::Result<(Vec<u8>, Option<Reservation>)> {
    let prefix = reader.read_exact(vec![0; LENGTH_PREFIX_BYTES]).await?;
    if prefix.starts_with(&TLS_ALERT) {
        return Err(io::Error::other(
            "the broker speaks TLS; set security.protocol to SSL or SASL_SSL",
        ));
    }
    let status = splitter.poll_frame(&prefix);
    let frame_end = match status.map_err(|error| io::Error::other(error.to_string()))? {
        FrameStatus::BodyMissing { frame_end, .. } | FrameStatus::Complete { frame_end } => {
            frame_end
        }
        FrameStatus::LengthMissing(_) => return Err(io::ErrorKind::InvalidData.into()),
    };
    let body_bytes = frame_end.saturating_sub(LENGTH_PREFIX_BYTES);
    let reserved = match body_bytes > MIRROR_SMALL_RESPONSE_BYTES {
        true => Some(
            budget
                .reserve(u64::try_from(body_bytes).unwrap_or(u64::MAX))
                .await,
        ),
        false => None,
    };
    let body = reader.read_exact(vec![0; body_bytes]).await?;
    Ok((body, reserved))
}

/// Writes frames until the connection ends.
async fn write(link: Rc<Link>, mut writer: Writer) {
    while !link.is_closed.get() && !link.is_ended.get() {
        let next = link.frames.borrow_mut().pop_front();
        let result = match next {
            Some(piece) => writer.write_all(piece).await,
            None => {
                let flushed = writer.flush().await;
                if flushed.is_ok() {
                    link.added.wait().await;
                }
                flushed
            }
        };
        if result.is_err() {
            // The reader hears of the end as well and tells it.
            if let Some(descriptor) = link.descriptor.get() {
                socket::shut_down(descriptor);
            }
            break;
        }
    }
}
