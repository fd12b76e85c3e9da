//! Messages between threads: bounded rings and a bell.
//!
//! What it is        per pair of threads one single-producer ring (`rtrb`), made when the sender
//!                   first needs it, and per receiver one socket pair. The bell is rung only while
//!                   the receiver sleeps.
//! What it is not    a queue that grows: a full ring gives the message back, and the sender's bell
//!                   is rung when there is room again.
//! Invariants        1. a message pushed is seen: the sender pushes, fences, looks at `sleeping`;
//!                      the receiver sets `sleeping`, fences, looks at the rings.
//!                   2. a sender that was refused is told of room by the same two steps on
//!                      `blocked`.
//!                   3. messages of one sender arrive in their order.
//! Source            Seastar smp.hh; prototype measurements in the design, section 3.

use std::fmt;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};

use rtrb::{Consumer, Producer, PushError, RingBuffer};
use thiserror::Error;

use crate::limits::{MAIL_RING_SLOTS, MAIL_SENDERS_MAX};

/// Bits per word of the dirty map.
const WORD_BITS: usize = 64;

/// The part of a receiver that senders share.
pub struct Mailbox<T> {
    sleeping: AtomicBool,
    space_freed: AtomicBool,
    bell: UnixStream,
    dirty: Box<[AtomicU64]>,
    senders: AtomicUsize,
    new_rings: Mutex<Vec<IncomingRing<T>>>,
}

/// The sending end of one ring.
pub struct MailSender<T> {
    ring: Producer<T>,
    index: usize,
    blocked: Arc<AtomicBool>,
    target: Arc<Mailbox<T>>,
}

/// The receiving end of all rings of one thread.
pub struct MailReceiver<T> {
    mailbox: Arc<Mailbox<T>>,
    rings: Vec<IncomingRing<T>>,
}

struct IncomingRing<T> {
    index: usize,
    ring: Consumer<T>,
    blocked: Arc<AtomicBool>,
    sender: Option<Arc<Mailbox<T>>>,
}

/// More senders than [`MAIL_SENDERS_MAX`] asked for a ring to the same receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("more than {MAIL_SENDERS_MAX} threads send to one shard")]
pub struct TooManySenders;

/// Makes a mailbox; the stream is the bell's end to read from.
///
/// # Errors
/// What the system says about the socket pair.
pub fn mailbox<T>() -> io::Result<(MailReceiver<T>, UnixStream)> {
    let (bell, bell_reader) = UnixStream::pair()?;
    bell.set_nonblocking(true)?;
    let mailbox = Arc::new(Mailbox {
        sleeping: AtomicBool::new(false),
        space_freed: AtomicBool::new(false),
        bell,
        dirty: (0..MAIL_SENDERS_MAX.div_ceil(WORD_BITS))
            .map(|_| AtomicU64::new(0))
            .collect(),
        senders: AtomicUsize::new(0),
        new_rings: Mutex::new(Vec::new()),
    });
    let receiver = MailReceiver {
        mailbox,
        rings: Vec::new(),
    };
    Ok((receiver, bell_reader))
}

impl<T> Mailbox<T> {
    /// Makes a ring from the calling thread to this mailbox. `sender` is the caller's own mailbox,
    /// whose bell tells of room after a refused message; a thread without one tries again by
    /// itself.
    ///
    /// # Errors
    /// [`TooManySenders`].
    pub fn connect(
        self: &Arc<Self>,
        sender: Option<Arc<Self>>,
    ) -> Result<MailSender<T>, TooManySenders> {
        let index = self.senders.fetch_add(1, Ordering::Relaxed);
        if index >= MAIL_SENDERS_MAX {
            return Err(TooManySenders);
        }
        let (producer, consumer) = RingBuffer::new(MAIL_RING_SLOTS);
        let blocked = Arc::new(AtomicBool::new(false));
        let incoming = IncomingRing {
            index,
            ring: consumer,
            blocked: Arc::clone(&blocked),
            sender,
        };
        self.new_rings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(incoming);
        Ok(MailSender {
            ring: producer,
            index,
            blocked,
            target: Arc::clone(self),
        })
    }

    /// Wakes the receiver if it sleeps. The caller has published what the receiver shall see.
    fn ring_bell(&self) {
        fence(Ordering::SeqCst);
        if self.sleeping.load(Ordering::Relaxed) && self.sleeping.swap(false, Ordering::SeqCst) {
            self.write_bell();
        }
    }

    fn write_bell(&self) {
        // A full socket has woken the receiver already, and a closed one has nobody to wake.
        let _ignored: io::Result<usize> = (&self.bell).write(&[1]);
    }

    fn mark_dirty(&self, index: usize) {
        if let Some(word) = self.dirty.get(index.div_euclid(WORD_BITS)) {
            word.fetch_or(1 << (index % WORD_BITS), Ordering::Release);
        }
    }

    fn anything_new(&self) -> bool {
        self.space_freed.load(Ordering::Relaxed)
            || self
                .dirty
                .iter()
                .any(|word| word.load(Ordering::Relaxed) != 0)
    }
}

impl<T> MailSender<T> {
    /// Sends, or gives the message back when the ring is full; then the caller's bell rings when
    /// there is room.
    ///
    /// # Errors
    /// The message itself.
    pub fn try_send(&mut self, message: T) -> Result<(), T> {
        let message = match self.ring.push(message) {
            Ok(()) => {
                self.announce();
                return Ok(());
            }
            Err(PushError::Full(message)) => message,
        };
        self.blocked.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        match self.ring.push(message) {
            Ok(()) => {
                self.announce();
                Ok(())
            }
            Err(PushError::Full(message)) => Err(message),
        }
    }

    fn announce(&self) {
        self.target.mark_dirty(self.index);
        self.target.ring_bell();
    }
}

impl<T> MailReceiver<T> {
    /// The shared part, for senders.
    pub fn mailbox(&self) -> Arc<Mailbox<T>> {
        Arc::clone(&self.mailbox)
    }

    /// Hands every message that is there to `handle`: per ring at most as many as it has slots.
    pub fn drain(&mut self, mut handle: impl FnMut(T)) {
        for word in 0..self.mailbox.dirty.len() {
            let mut bits = self
                .mailbox
                .dirty
                .get(word)
                .map_or(0, |word| word.swap(0, Ordering::Acquire));
            while bits != 0 {
                let bit = usize::try_from(bits.trailing_zeros()).unwrap_or(0);
                bits &= bits - 1;
                self.drain_ring(word * WORD_BITS + bit, &mut handle);
            }
        }
    }

    /// Whether a ring that was full has room again since the last call.
    pub fn take_space_freed(&self) -> bool {
        self.mailbox.space_freed.swap(false, Ordering::Acquire)
    }

    /// Announces sleep. After `true` the bell rings for whatever comes; after `false` something is
    /// there already and the bell has been rung for it, so that reading the bell returns at once
    /// either way.
    pub fn prepare_sleep(&self) -> bool {
        self.mailbox.sleeping.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if !self.mailbox.anything_new() {
            return true;
        }
        if self.mailbox.sleeping.swap(false, Ordering::SeqCst) {
            self.mailbox.write_bell();
        }
        false
    }

    fn drain_ring(&mut self, index: usize, handle: &mut impl FnMut(T)) {
        let Some(place) = self.place_of(index) else {
            return;
        };
        let Some(incoming) = self.rings.get_mut(place) else {
            return;
        };
        for _ in 0..MAIL_RING_SLOTS {
            let Ok(message) = incoming.ring.pop() else {
                break;
            };
            handle(message);
        }
        if !incoming.ring.is_empty() {
            self.mailbox.mark_dirty(index);
        }
        fence(Ordering::SeqCst);
        if incoming.blocked.load(Ordering::Relaxed)
            && incoming.blocked.swap(false, Ordering::SeqCst)
            && let Some(sender) = &incoming.sender
        {
            sender.space_freed.store(true, Ordering::Release);
            sender.ring_bell();
        }
    }

    /// Where the ring stands in `rings`; rings made since the last look are taken over first.
    fn place_of(&mut self, index: usize) -> Option<usize> {
        let known = self.rings.iter().position(|ring| ring.index == index);
        if known.is_some() {
            return known;
        }
        let mut new_rings = self
            .mailbox
            .new_rings
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.rings.append(&mut new_rings);
        drop(new_rings);
        self.rings.iter().position(|ring| ring.index == index)
    }
}

impl<T> fmt::Debug for Mailbox<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Mailbox")
            .field("sleeping", &self.sleeping)
            .field("senders", &self.senders)
            .finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for MailSender<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("MailSender")
            .field("index", &self.index)
            .finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for MailReceiver<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("MailReceiver")
            .field("rings", &self.rings.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::{MailReceiver, mailbox};
    use crate::limits::MAIL_RING_SLOTS;
    use std::io::Read;
    use std::thread;

    fn drained(receiver: &mut MailReceiver<usize>) -> Vec<usize> {
        let mut all = Vec::new();
        receiver.drain(|message| all.push(message));
        all
    }

    #[test]
    fn a_full_ring_gives_the_message_back_and_the_bell_tells_of_room() {
        let (mut receiver, _bell) = mailbox().unwrap();
        let (sender_receiver, mut sender_bell) = mailbox().unwrap();
        let mut sender = receiver
            .mailbox()
            .connect(Some(sender_receiver.mailbox()))
            .unwrap();
        for number in 0..MAIL_RING_SLOTS {
            sender.try_send(number).unwrap();
        }
        assert_eq!(sender.try_send(7), Err(7));
        assert!(sender_receiver.prepare_sleep());
        assert_eq!(drained(&mut receiver).len(), MAIL_RING_SLOTS);
        let mut rung = [0; 1];
        sender_bell.read_exact(&mut rung).unwrap();
        assert!(sender_receiver.take_space_freed());
        assert!(!sender_receiver.take_space_freed());
        assert_eq!(sender.try_send(7), Ok(()));
        assert_eq!(drained(&mut receiver), vec![7]);
    }

    #[test]
    fn no_message_is_lost_and_the_order_holds_while_both_sides_run() {
        const MESSAGES: usize = 100_000;
        let (mut receiver, mut bell) = mailbox().unwrap();
        let mut senders = Vec::new();
        for sender in 0..3 {
            let mut ring = receiver.mailbox().connect(None).unwrap();
            senders.push(thread::spawn(move || {
                for number in 0..MESSAGES {
                    let mut message = sender * MESSAGES + number;
                    while let Err(returned) = ring.try_send(message) {
                        message = returned;
                        thread::yield_now();
                    }
                }
            }));
        }
        let mut next = [0, MESSAGES, 2 * MESSAGES];
        let mut seen = 0;
        while seen < 3 * MESSAGES {
            receiver.drain(|message| {
                assert_eq!(next[message.div_euclid(MESSAGES)], message);
                next[message.div_euclid(MESSAGES)] += 1;
                seen += 1;
            });
            if seen < 3 * MESSAGES {
                receiver.prepare_sleep();
                let mut rung = [0; 64];
                assert!(bell.read(&mut rung).unwrap() > 0);
            }
        }
        for sender in senders {
            sender.join().unwrap();
        }
    }
}
