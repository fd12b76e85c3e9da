//! The writing half of an MQTT connection.
//!
//! What it is        one system call that does not wait; only what the socket does not take goes
//!                   to a task, which lives as long as there is something left.
//! Invariants        1. bytes leave in the order of `send`.
//!                   2. what waits is bounded: a client that takes nothing is given up.
//!                   3. the descriptor is not used after `finish`.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::os::fd::RawFd;
use std::rc::Rc;

use monoio::io::{AsyncWriteRent, OwnedWriteHalf};
use monoio::net::TcpStream;

use crate::limits::MQTT_SEND_BYTES_MAX;
use crate::shard::Shard;
use crate::shard::notify::Notify;
use crate::sys::socket;

/// Bytes on their way to one client.
pub(super) struct Sender {
    shared: Rc<Shared>,
}

struct Shared {
    descriptor: Cell<Option<RawFd>>,
    waiting: RefCell<Vec<u8>>,
    /// Away while a task writes.
    half: RefCell<Option<OwnedWriteHalf<TcpStream>>>,
    is_shut_down: Cell<bool>,
    written: Notify,
}

impl Sender {
    pub(super) fn new(descriptor: RawFd, half: OwnedWriteHalf<TcpStream>) -> Self {
        Self {
            shared: Rc::new(Shared {
                descriptor: Cell::new(Some(descriptor)),
                waiting: RefCell::default(),
                half: RefCell::new(Some(half)),
                is_shut_down: Cell::new(false),
                written: Notify::default(),
            }),
        }
    }

    /// Sends bytes behind those that wait; false when the client is to be given up.
    pub(super) fn send(&self, shard: &Rc<Shard>, bytes: Vec<u8>) -> bool {
        let shared = &self.shared;
        let Some(descriptor) = shared.descriptor.get() else {
            return true;
        };
        if bytes.is_empty() || shared.is_shut_down.get() {
            return true;
        }
        if shared.half.borrow().is_none() {
            let mut waiting = shared.waiting.borrow_mut();
            waiting.extend_from_slice(&bytes);
            return waiting.len() <= MQTT_SEND_BYTES_MAX;
        }
        let mut sent = 0;
        while let Some(rest) = bytes.get(sent..).filter(|rest| !rest.is_empty()) {
            match socket::try_send(descriptor, &[IoSlice::new(rest)]) {
                Ok(count @ 1..) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.start_writing(shard, rest.to_vec());
                    break;
                }
                Ok(_) | Err(_) => return false,
            }
        }
        shard.metrics().count_sent(sent);
        true
    }

    fn start_writing(&self, shard: &Rc<Shard>, rest: Vec<u8>) {
        let Some(half) = self.shared.half.take() else {
            return;
        };
        let (shard, shared) = (Rc::clone(shard), Rc::clone(&self.shared));
        drop(monoio::spawn(write_rest(shard, shared, half, rest)));
    }

    /// Whether the socket has not taken everything yet.
    pub(super) fn is_behind(&self) -> bool {
        self.shared.half.borrow().is_none()
    }

    /// Waits until the socket has taken everything.
    pub(super) async fn written(&self) {
        while self.is_behind() {
            self.shared.written.wait().await;
        }
        // Others may wait as well: the wake-up is passed on.
        self.shared.written.notify();
    }

    /// Ends both directions; what the socket did not take is dropped.
    pub(super) fn shut_down(&self) {
        self.shared.is_shut_down.set(true);
        if let Some(descriptor) = self.shared.descriptor.get() {
            socket::shut_down(descriptor);
        }
    }

    /// Waits until no task writes, and lets the descriptor go.
    pub(super) async fn finish(&self) {
        self.written().await;
        self.shared.descriptor.set(None);
        self.shared.half.take();
    }
}

async fn write_rest(
    shard: Rc<Shard>,
    shared: Rc<Shared>,
    mut half: OwnedWriteHalf<TcpStream>,
    mut bytes: Vec<u8>,
) {
    while !bytes.is_empty() {
        let (result, returned) = half.write(bytes).await;
        bytes = returned;
        let Ok(count @ 1..) = result else { break };
        shard.metrics().count_sent(count);
        bytes.drain(..count.min(bytes.len()));
        if bytes.is_empty() {
            bytes = shared.waiting.take();
        }
    }
    *shared.half.borrow_mut() = Some(half);
    shared.written.notify();
}
