//! One client connection: a reader and a writer task around a queue of answers.
//!
//! What it is        the reader cuts frames, waits for memory and hands requests on in order; the
//!                   writer sends the answers in the same order. Both live on one shard.
//! What it is not    a place for rules of the Kafka API.
//! Invariants        1. answers leave in the order of their requests.
//!                   2. at most [`REQUESTS_IN_FLIGHT_MAX`] requests wait for an answer; beyond that
//!                      nothing is read.
//!                   3. the descriptor is open as long as the reader task runs; it clears
//!                      `descriptor` before it lets the socket go, so that nobody shuts down a
//!                      descriptor that belongs to somebody else.
//! Reading order     [`Connection`], then `reader`, `writer`, `admission`, `frame_pool`.

mod admission;
mod frame_pool;
mod reader;
mod writer;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use kafka_lite::api::ApiKey;
use kafka_lite::primitive::EncodedFrame;
use tracing::debug;

use crate::limits::REQUESTS_IN_FLIGHT_MAX;
use crate::shard::memory_budget::Reservation;
use crate::shard::notify::Notify;
use crate::sys::socket;

pub use frame_pool::free_kept_frames;
pub use reader::serve;

/// Number of a connection, unique on its shard.
pub type ConnectionId = u64;

/// One client connection; the tasks, the shard's table and unanswered requests share it.
#[derive(Debug)]
pub struct Connection {
    id: ConnectionId,
    peer: SocketAddr,
    descriptor: Cell<Option<RawFd>>,
    answers: RefCell<AnswerQueue>,
    /// The writer waits here for answers and for the end.
    answer_ready: Notify,
    /// The reader waits here for room in the queue of answers.
    room: Notify,
    /// Long polls wait here for the end.
    end: Notify,
    closed: Cell<bool>,
    reading: Cell<bool>,
    last_active: Cell<Instant>,
    /// When memory was reserved for the large frame that is being read.
    frame_since: Cell<Option<Instant>>,
}

/// Requests in the order of arrival, and their answers.
#[derive(Debug, Default)]
struct AnswerQueue {
    first_sequence: u64,
    slots: VecDeque<AnswerSlot>,
}

/// One request that is not answered on the wire yet.
#[derive(Debug)]
struct AnswerSlot {
    key: ApiKey,
    started: Instant,
    answer: Answer,
    _memory: Reservation,
    answer_memory: Option<Reservation>,
}

#[derive(Debug)]
enum Answer {
    /// Not there yet.
    Waiting,
    /// To be written.
    Frame(EncodedFrame),
    /// Nothing is to be written.
    Nothing,
}

impl Connection {
    pub(crate) fn new(id: ConnectionId, peer: SocketAddr, descriptor: RawFd) -> Rc<Self> {
        Rc::new(Self {
            id,
            peer,
            descriptor: Cell::new(Some(descriptor)),
            answers: RefCell::default(),
            answer_ready: Notify::default(),
            room: Notify::default(),
            end: Notify::default(),
            closed: Cell::new(false),
            reading: Cell::new(true),
            last_active: Cell::new(Instant::now()),
            frame_since: Cell::new(None),
        })
    }

    /// Number of the connection on its shard.
    pub fn id(&self) -> ConnectionId {
        self.id
    }

    /// Address of the client.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Whether nothing more is read or written.
    pub fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Waits until the connection is closed; for long polls. One task at a time may wait per
    /// request.
    pub async fn closed(&self) {
        while !self.closed.get() {
            self.end.wait().await;
        }
        // The next waiter must see it too.
        self.end.notify();
    }

    /// Closes the connection: pending socket operations return, answers that are not written are
    /// dropped.
    pub fn close(&self, reason: &'static str) {
        if self.closed.replace(true) {
            return;
        }
        debug!(connection = self.id, peer = %self.peer, reason, "connection closed");
        if let Some(descriptor) = self.descriptor.get() {
            socket::shut_down(descriptor);
        }
        self.answer_ready.notify();
        self.room.notify();
        self.end.notify();
    }

    /// The client is read no more; what it asked for is still answered.
    pub(crate) fn stop_reading(&self) {
        if let Some(descriptor) = self.descriptor.get() {
            socket::shut_down_reading(descriptor);
        }
    }

    /// Requests that are not answered on the wire.
    pub fn in_flight(&self) -> usize {
        self.answers.borrow().slots.len()
    }

    /// When the last byte arrived or left.
    pub fn last_active(&self) -> Instant {
        self.last_active.get()
    }

    /// Gives the answer of one request; `None` writes nothing. Ignored when the connection is
    /// closed.
    pub(crate) fn answer(&self, sequence: u64, frame: Option<EncodedFrame>) {
        let mut answers = self.answers.borrow_mut();
        let place = sequence
            .checked_sub(answers.first_sequence)
            .and_then(|place| usize::try_from(place).ok());
        let Some(slot) = place.and_then(|place| answers.slots.get_mut(place)) else {
            return;
        };
        slot.answer = frame.map_or(Answer::Nothing, Answer::Frame);
        let is_next = sequence == answers.first_sequence;
        drop(answers);
        if is_next {
            self.answer_ready.notify();
        }
    }

    /// Keeps the memory of an answer reserved until it is written; given before the answer.
    pub(crate) fn hold(&self, sequence: u64, memory: Reservation) {
        let mut answers = self.answers.borrow_mut();
        let place = sequence
            .checked_sub(answers.first_sequence)
            .and_then(|place| usize::try_from(place).ok());
        if let Some(slot) = place.and_then(|place| answers.slots.get_mut(place)) {
            slot.answer_memory = Some(memory);
        }
    }

    /// Whether the reader may take another request.
    fn has_room(&self) -> bool {
        self.in_flight() < REQUESTS_IN_FLIGHT_MAX
    }

    /// Queues a request behind the others and returns its number.
    fn enqueue(&self, key: ApiKey, memory: Reservation) -> u64 {
        let mut answers = self.answers.borrow_mut();
        let sequence = answers.first_sequence + queue_length(&answers);
        answers.slots.push_back(AnswerSlot {
            key,
            started: Instant::now(),
            answer: Answer::Waiting,
            _memory: memory,
            answer_memory: None,
        });
        sequence
    }

    /// Takes the request at the front if its answer is there.
    fn take_answered(&self) -> Option<AnswerSlot> {
        let mut answers = self.answers.borrow_mut();
        match answers.slots.front()?.answer {
            Answer::Waiting => None,
            Answer::Frame(_) | Answer::Nothing => {
                answers.first_sequence += 1;
                answers.slots.pop_front()
            }
        }
    }

    /// Drops all requests and answers; their memory goes back.
    fn drop_answers(&self) {
        let slots = {
            let mut answers = self.answers.borrow_mut();
            answers.first_sequence += queue_length(&answers);
            std::mem::take(&mut answers.slots)
        };
        drop(slots);
    }

    /// The reader has ended: what is answered is still written, then the writer ends.
    fn end_reading(&self) {
        self.reading.set(false);
        self.answer_ready.notify();
    }

    /// Closes the connection if it holds memory for a frame whose end does not come, and others
    /// wait for that memory.
    pub(crate) fn end_slow_frame(&self, time_max: Duration) {
        let since = self.frame_since.get();
        if since.is_some_and(|since| since.elapsed() > time_max) {
            self.close("its request does not end while others wait for memory");
        }
    }

    fn touch(&self) {
        self.last_active.set(Instant::now());
    }
}

fn queue_length(answers: &AnswerQueue) -> u64 {
    u64::try_from(answers.slots.len()).unwrap_or(u64::MAX)
}
