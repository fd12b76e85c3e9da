//! The writing half: answers out, in order.
//!
//! What it is        one task per connection. It gathers the answers that are there and sends them
//!                   with one system call that does not wait; only what the socket does not take
//!                   goes through the runtime.
//! Invariants        1. an answer is written whole before the next one starts.
//!                   2. the memory of a request is given back when its answer is written or
//!                      dropped.

use std::io::{self, IoSlice};
use std::os::fd::RawFd;
use std::rc::Rc;

use bytes::{Buf, Bytes};
use monoio::io::{AsyncWriteRent, OwnedWriteHalf};
use monoio::net::TcpStream;

use super::{Answer, AnswerSlot, Connection};
use crate::limits::SEND_SLICES_MAX;
use crate::shard::Shard;
use crate::sys::socket;

/// Answers that are being sent.
#[derive(Default)]
struct Outgoing {
    slots: Vec<AnswerSlot>,
    pieces: Vec<Bytes>,
    /// Pieces before this one are sent.
    next: usize,
}

/// Writes answers until the connection ends.
pub(super) async fn run(
    shard: Rc<Shard>,
    connection: Rc<Connection>,
    mut half: OwnedWriteHalf<TcpStream>,
) {
    let mut outgoing = Outgoing::default();
    while !connection.is_closed() {
        outgoing.gather(&connection);
        if outgoing.slots.is_empty() {
            if !connection.reading.get() && connection.in_flight() == 0 {
                break;
            }
            connection.answer_ready.wait().await;
            continue;
        }
        // The reader may go on: the queue of answers has room again.
        connection.room.notify();
        if send(&shard, &connection, &mut half, &mut outgoing)
            .await
            .is_err()
        {
            connection.close("the client takes no answers");
        }
        for slot in outgoing.slots.drain(..) {
            shard
                .metrics()
                .count_request(slot.key, slot.started.elapsed());
        }
    }
    connection.drop_answers();
}

async fn send(
    shard: &Shard,
    connection: &Connection,
    half: &mut OwnedWriteHalf<TcpStream>,
    outgoing: &mut Outgoing,
) -> io::Result<()> {
    while let Some(descriptor) = connection.descriptor.get()
        && !outgoing.is_sent()
    {
        let count = match outgoing.try_send(descriptor) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                // Only a whole operation of the runtime tells the epoll driver that the socket is
                // full.
                let (result, _piece) = half.write(outgoing.front()).await;
                result?
            }
            other => other?,
        };
        if count == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        outgoing.advance(count);
        connection.touch();
        shard.metrics().count_sent(count);
    }
    outgoing.pieces.clear();
    outgoing.next = 0;
    Ok(())
}

impl Outgoing {
    /// Takes the answers that are there, up to about one system call's worth.
    fn gather(&mut self, connection: &Connection) {
        while self.pieces.len() < SEND_SLICES_MAX {
            let Some(mut slot) = connection.take_answered() else {
                return;
            };
            if let Answer::Frame(frame) = std::mem::replace(&mut slot.answer, Answer::Nothing) {
                self.pieces.extend(frame.pieces);
            }
            self.slots.push(slot);
        }
    }

    fn is_sent(&self) -> bool {
        self.next == self.pieces.len()
    }

    fn front(&self) -> Bytes {
        self.pieces.get(self.next).cloned().unwrap_or_default()
    }

    fn try_send(&self, descriptor: RawFd) -> io::Result<usize> {
        let mut slices = [IoSlice::new(&[]); SEND_SLICES_MAX];
        let pieces = self.pieces.get(self.next..).unwrap_or_default();
        for (slice, piece) in slices.iter_mut().zip(pieces) {
            *slice = IoSlice::new(piece);
        }
        let used = pieces.len().min(SEND_SLICES_MAX);
        socket::try_send(descriptor, slices.get(..used).unwrap_or_default())
    }

    /// Drops what was sent.
    fn advance(&mut self, mut count: usize) {
        while let Some(piece) = self.pieces.get_mut(self.next)
            && count > 0
        {
            let taken = count.min(piece.len());
            piece.advance(taken);
            count -= taken;
            if !piece.is_empty() {
                return;
            }
            *piece = Bytes::new();
            self.next += 1;
        }
    }
}
