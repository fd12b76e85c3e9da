//! One MQTT connection on its shard.
//!
//! What it is        the glue around `mqtt::connection::Connection`: bytes go in, its orders are
//!                   carried out, its bytes go out.
//! Invariants        1. orders are carried out in their order; one that must wait (for a topic, for
//!                      memory) holds up all that come behind it, and the frames too.
//!                   2. no borrow of the core lives while another room is called.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use mqtt::connection::{Closing, Connection, Output};
use mqtt::framing::{FrameStatus, poll_frame};
use mqtt::inbound::PublishToken;
use mqtt::packet::{Connect, Will};
use mqtt::reason::ReasonCode;
use mqtt::session::Session;
use mqtt::websocket::WebSocket;
use tracing::debug;

use super::deliver::Deliveries;
use super::publish::{PublishBatch, Taken};
use super::reader::Framing;
use super::registry::Holder;
use super::sender::Sender;
use super::{exact, now_ms, open, subscribe};
use crate::connection::ConnectionId;
use crate::limits::{EOF_GRACE, MQTT_READ_AHEAD_BYTES, REQUEST_OVERHEAD_BYTES};
use crate::shard::Shard;
use crate::shard::memory_budget::Reservation;
use crate::shard::notify::Notify;
use crate::shard::promise::Promise;

/// One connection; its tasks and its unfinished publishes share it.
pub(super) struct MqttConnection {
    id: ConnectionId,
    peer: SocketAddr,
    pub(super) core: RefCell<Connection>,
    pub(super) sender: Sender,
    /// The layer between the socket and MQTT, where there is one.
    websocket: Option<Box<RefCell<WebSocket>>>,
    accepted_ms: u64,
    client_id: RefCell<Arc<str>>,
    user: RefCell<Option<Arc<str>>>,
    will: RefCell<Option<Will>>,
    /// Seconds that the session outlives the connection.
    pub(super) expiry_seconds: Cell<u32>,
    deliveries: RefCell<Option<Rc<Deliveries>>>,
    /// Steps of publishes with QoS 2 that are under way.
    pub(super) exact: UnderWay,
    /// When the last publish with QoS 2 that came is appended.
    pub(super) last_exact: RefCell<Option<Promise<()>>>,
    /// Bytes that were read and not taken yet.
    pending: RefCell<Vec<u8>>,
    /// Length of the packet that is being read, if it is not complete.
    needed_bytes: Cell<usize>,
    /// Memory of that packet, and since when.
    packet_memory: RefCell<Option<(Reservation, u64)>>,
    /// An order that waits.
    held: RefCell<Option<Output>>,
    /// Something must happen before `held` is tried again.
    waits: Cell<bool>,
    pub(super) granted: RefCell<Option<Reservation>>,
    /// The topic of the held publish cannot be made.
    pub(super) falls_back: Cell<bool>,
    is_busy: Cell<bool>,
    again: Cell<bool>,
    room: Notify,
    closing: Cell<Option<Closing>>,
}

/// Counts what is under way.
#[derive(Default)]
pub(super) struct UnderWay {
    count: Cell<usize>,
    changed: Notify,
}

impl UnderWay {
    pub(super) fn begin(&self) {
        self.count.set(self.count.get() + 1);
    }

    pub(super) fn end(&self) {
        self.count.set(self.count.get() - 1);
        self.changed.notify();
    }

    /// Waits until nothing is.
    pub(super) async fn ended(&self) {
        while self.count.get() > 0 {
            self.changed.wait().await;
        }
    }
}

impl MqttConnection {
    pub(super) fn new(
        shard: &Shard,
        id: ConnectionId,
        (peer, framing): (SocketAddr, Framing),
        sender: Sender,
    ) -> Rc<Self> {
        let service = shard.state().mqtt();
        let (options, origins) = (service.options, service.origins.clone());
        Rc::new(Self {
            id,
            peer,
            core: RefCell::new(Connection::new(now_ms(shard), options)),
            sender,
            websocket: (framing == Framing::WebSocket)
                .then(|| Box::new(RefCell::new(WebSocket::new(origins)))),
            accepted_ms: now_ms(shard),
            client_id: RefCell::new("".into()),
            user: RefCell::default(),
            will: RefCell::default(),
            expiry_seconds: Cell::new(0),
            deliveries: RefCell::default(),
            exact: UnderWay::default(),
            last_exact: RefCell::default(),
            pending: RefCell::default(),
            needed_bytes: Cell::new(0),
            packet_memory: RefCell::default(),
            held: RefCell::default(),
            waits: Cell::new(false),
            granted: RefCell::default(),
            falls_back: Cell::new(false),
            is_busy: Cell::new(false),
            again: Cell::new(false),
            room: Notify::default(),
            closing: Cell::new(None),
        })
    }

    pub(super) fn id(&self) -> ConnectionId {
        self.id
    }

    /// Its name for other shards.
    pub(super) fn holder(&self, shard: &Shard) -> Holder {
        Holder {
            shard: shard.id(),
            connection: self.id,
        }
    }

    pub(super) fn client_id(&self) -> Arc<str> {
        Arc::clone(&self.client_id.borrow())
    }

    /// The user name that it connected with.
    pub(super) fn user(&self) -> Option<Arc<str>> {
        self.user.borrow().clone()
    }

    pub(super) fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Time of the shard's clock in ms.
    pub(super) fn accepted_ms(&self) -> u64 {
        self.accepted_ms
    }

    /// Whether nothing more is read.
    pub(super) fn is_closed(&self) -> bool {
        self.closing.get().is_some()
    }

    /// Takes bytes of the client; false when nothing more is to be read.
    pub(super) fn handle_bytes(self: &Rc<Self>, shard: &Rc<Shard>, bytes: &[u8]) -> bool {
        let goes_on = match &self.websocket {
            None => {
                self.pending.borrow_mut().extend_from_slice(bytes);
                true
            }
            Some(websocket) => self.handle_framed(shard, websocket, bytes),
        };
        // What came before the end is still taken.
        self.resume(shard);
        goes_on
    }

    fn handle_framed(
        &self,
        shard: &Rc<Shard>,
        websocket: &RefCell<WebSocket>,
        bytes: &[u8],
    ) -> bool {
        let mut websocket = websocket.borrow_mut();
        let taken = websocket.handle_bytes(bytes, &mut self.pending.borrow_mut());
        let answer = websocket.poll_send();
        drop(websocket);
        if let Err(error) = taken {
            debug!(peer = %self.peer, %error, "WebSocket end");
        }
        self.sender.send(shard, answer) && taken.is_ok()
    }

    /// Takes as many frames as may be taken now.
    pub(super) fn resume(self: &Rc<Self>, shard: &Rc<Shard>) {
        self.again.set(true);
        if self.is_busy.replace(true) {
            return;
        }
        while self.again.replace(false) {
            let mut bytes = self.pending.take();
            let used = self.take_frames(shard, &bytes);
            if used == bytes.len() {
                bytes = Vec::new();
            } else {
                bytes.drain(..used);
            }
            self.answer_early_pings(shard, &mut bytes);
            *self.pending.borrow_mut() = bytes;
        }
        self.is_busy.set(false);
        self.flush(shard);
        self.room.notify();
    }

    fn take_frames(self: &Rc<Self>, shard: &Rc<Shard>, bytes: &[u8]) -> usize {
        let mut batch = PublishBatch::new(shard);
        let mut used = 0;
        self.needed_bytes.set(0);
        loop {
            self.carry_out(shard, &mut batch);
            let is_stopping = shard.state().mqtt().stopping.get();
            if self.waits.get() || self.is_closed() || is_stopping {
                break;
            }
            let rest = bytes.get(used..).unwrap_or_default();
            match self.take_frame(shard, rest) {
                Some(0) | None => break,
                Some(taken) => used += taken,
            }
        }
        batch.send(shard, self);
        if self.is_closed() { bytes.len() } else { used }
    }

    /// Gives one frame to the core and returns its length; `None` when there is none to give.
    fn take_frame(&self, shard: &Rc<Shard>, rest: &[u8]) -> Option<usize> {
        let mut core = self.core.borrow_mut();
        match poll_frame(rest, core.frame_bytes_max()) {
            Ok(FrameStatus::Complete { end }) => {
                let frame = rest.get(..end)?;
                if !core.can_take(*frame.first()?) {
                    return None;
                }
                core.handle_frame(now_ms(shard), frame);
                self.packet_memory.take();
                Some(end)
            }
            Ok(FrameStatus::BodyMissing { end }) => {
                self.needed_bytes.set(end);
                None
            }
            Ok(FrameStatus::HeaderMissing) => None,
            Err(error) => {
                debug!(peer = %self.peer, %error, "not an MQTT packet");
                core.handle_framing_error(&error);
                Some(rest.len())
            }
        }
    }

    /// Carries out the orders of the core, until there is none or one has to wait.
    fn carry_out(self: &Rc<Self>, shard: &Rc<Shard>, batch: &mut PublishBatch) {
        while !self.waits.get() {
            let held = self.held.take();
            let Some(output) = held.or_else(|| self.core.borrow_mut().poll_output()) else {
                return;
            };
            match output {
                Output::Publish { .. } => {
                    if let Taken::MustWait(output) = batch.take(shard, self, output) {
                        *self.held.borrow_mut() = Some(output);
                    }
                }
                Output::Open(connect) => open::start(shard, self, connect),
                Output::Close(closing) => self.handle_close(shard, closing),
                Output::Release(packet_id) => self.release(shard, packet_id),
                Output::Subscribe(packet) => {
                    self.carry_out_later(shard, async move |shard, this| {
                        subscribe::subscribe(&shard, &this, packet).await;
                    })
                }
                Output::Unsubscribe(packet) => {
                    self.carry_out_later(shard, async move |shard, this| {
                        subscribe::unsubscribe(&shard, &this, packet).await;
                    });
                }
                Output::Delivered(packet_id) => {
                    if let Some(deliveries) = self.deliveries_if_any() {
                        deliveries.handle_acknowledged(shard, packet_id);
                    }
                }
            }
        }
    }

    /// Carries out an order that takes time; what comes behind it waits.
    fn carry_out_later<F>(self: &Rc<Self>, shard: &Rc<Shard>, work: F)
    where
        F: AsyncFnOnce(Rc<Shard>, Rc<Self>) + 'static,
    {
        self.wait();
        let (shard, this) = (Rc::clone(shard), Rc::clone(self));
        drop(monoio::spawn(async move {
            work(Rc::clone(&shard), Rc::clone(&this)).await;
            this.go_on(&shard);
        }));
    }

    /// Frees the identifier of a publish with QoS 2.
    fn release(self: &Rc<Self>, shard: &Rc<Shard>, packet_id: u16) {
        if self.expiry_seconds.get() == 0 {
            return self.core.borrow_mut().handle_released(packet_id);
        }
        let (shard, this) = (Rc::clone(shard), Rc::clone(self));
        this.exact.begin();
        drop(monoio::spawn(async move {
            if exact::release(&shard, &this, packet_id).await {
                this.core.borrow_mut().handle_released(packet_id);
                this.flush(&shard);
            } else {
                this.end(&shard, ReasonCode::QuotaExceeded);
            }
            this.exact.end();
        }));
    }

    /// What is sent to this subscriber; made with its first subscription.
    pub(super) fn deliveries(&self) -> Rc<Deliveries> {
        let maximum = self.core.borrow().client_receive_maximum();
        let mut deliveries = self.deliveries.borrow_mut();
        let made = || Deliveries::new(maximum, &Session::default());
        Rc::clone(deliveries.get_or_insert_with(made))
    }

    /// What is sent to this subscriber, if it has subscribed.
    pub(super) fn deliveries_if_any(&self) -> Option<Rc<Deliveries>> {
        self.deliveries.borrow().clone()
    }

    /// The session expiry that DISCONNECT named.
    pub(super) fn closing_expiry(&self) -> Option<u32> {
        self.closing.get()?.session_expiry_seconds
    }

    /// The last will, if it is to be published.
    pub(super) fn take_will(&self) -> Option<Will> {
        let publishes = self
            .closing
            .get()
            .is_some_and(|closing| closing.publishes_will);
        let will = self.will.borrow_mut().take();
        will.filter(|_| publishes)
    }

    /// The order at hand waits; [`MqttConnection::go_on`] ends that.
    pub(super) fn wait(&self) {
        self.waits.set(true);
    }

    /// What the held order waited for has happened.
    pub(super) fn go_on(self: &Rc<Self>, shard: &Rc<Shard>) {
        self.waits.set(false);
        self.resume(shard);
    }

    /// The session is open, or the client is refused.
    pub(super) fn handle_opened(
        self: &Rc<Self>,
        shard: &Rc<Shard>,
        connect: Connect,
        opened: Result<open::Opened, ReasonCode>,
    ) {
        match opened {
            Ok(opened) => self.enter(shard, connect, opened),
            Err(reason) => self.core.borrow_mut().handle_refused(reason),
        }
        self.resume(shard);
    }

    fn enter(self: &Rc<Self>, shard: &Rc<Shard>, mut connect: Connect, opened: open::Opened) {
        *self.client_id.borrow_mut() = opened.client_id;
        self.expiry_seconds.set(connect.session_expiry_seconds);
        *self.will.borrow_mut() = connect.will.take();
        *self.user.borrow_mut() = connect.user_name.take();
        let session = opened.session;
        self.core
            .borrow_mut()
            .handle_opened(now_ms(shard), &connect, opened.opened);
        if !session.subscriptions.is_empty() {
            let maximum = self.core.borrow().client_receive_maximum();
            *self.deliveries.borrow_mut() = Some(Deliveries::new(maximum, &session));
            self.carry_out_later(shard, async move |shard, this| {
                subscribe::start(&shard, &this, &session).await;
            });
        }
        self.watch_timeout(shard);
    }

    /// Publishes are committed, or refused.
    pub(super) fn handle_published(
        self: &Rc<Self>,
        shard: &Rc<Shard>,
        tokens: &[PublishToken],
        outcome: ReasonCode,
    ) {
        {
            let mut core = self.core.borrow_mut();
            for token in tokens {
                core.handle_published(*token, outcome);
            }
        }
        if shard.state().mqtt().stopping.get() {
            self.end_when_idle(shard);
        } else {
            self.resume(shard);
        }
    }

    /// A client that waits for acknowledgements still gets answers to its PINGREQs, wherever they
    /// stand in what was read.
    fn answer_early_pings(&self, shard: &Rc<Shard>, bytes: &mut Vec<u8>) {
        let mut core = self.core.borrow_mut();
        let mut start = 0;
        while let Some(rest) = bytes.get(start..)
            && let Ok(FrameStatus::Complete { end }) = poll_frame(rest, core.frame_bytes_max())
        {
            if rest.first() == Some(&0xc0) && end == 2 && core.is_open() {
                core.handle_early_pingreq(now_ms(shard));
                bytes.drain(start..start + end);
            } else {
                start += end;
            }
        }
    }

    fn handle_close(&self, shard: &Rc<Shard>, closing: Closing) {
        debug!(peer = %self.peer, client = %self.client_id(), reason = ?closing.reason, "MQTT end");
        self.closing.set(Some(closing));
        self.flush(shard);
        if let Some(websocket) = &self.websocket {
            let last = websocket.borrow_mut().close();
            // It is over anyway.
            let _sent: bool = self.sender.send(shard, last);
        }
        self.sender.shut_down();
        self.room.notify();
    }

    /// The socket has ended, or is about to: gives back what the connection holds.
    pub(super) fn handle_lost(self: &Rc<Self>, shard: &Rc<Shard>) {
        self.core.borrow_mut().handle_lost();
        self.waits.set(false);
        self.held.take();
        loop {
            let output = self.core.borrow_mut().poll_output();
            match output {
                Some(Output::Close(closing)) => self.handle_close(shard, closing),
                Some(_) => {}
                None => break,
            }
        }
        self.pending.take();
        self.packet_memory.take();
        self.granted.take();
    }

    /// Ends the connection from this side.
    pub(super) fn end(self: &Rc<Self>, shard: &Rc<Shard>, reason: ReasonCode) {
        self.core.borrow_mut().handle_end(reason);
        self.held.take();
        self.go_on(shard);
    }

    /// Ends the connection when nothing waits for a commit.
    pub(super) fn end_when_idle(self: &Rc<Self>, shard: &Rc<Shard>) {
        if self.core.borrow().waiting_publishes() == 0 {
            self.end(shard, ReasonCode::ServerShuttingDown);
        } else {
            self.flush(shard);
        }
    }

    /// The time that the core or a slow packet has is over, perhaps.
    pub(super) fn handle_timeout(self: &Rc<Self>, shard: &Rc<Shard>) {
        let now_ms = now_ms(shard);
        self.core.borrow_mut().handle_timeout(now_ms);
        let is_slow =
            |(_, since_ms): &(Reservation, u64)| now_ms >= since_ms + super::timers::SLOW_PACKET_MS;
        if self.packet_memory.borrow().as_ref().is_some_and(is_slow) {
            self.core.borrow_mut().handle_end(ReasonCode::Unspecified);
        }
        self.resume(shard);
        self.watch_timeout(shard);
    }

    /// Asks for [`MqttConnection::handle_timeout`] when it is due.
    pub(super) fn watch_timeout(&self, shard: &Rc<Shard>) {
        let due_ms = self.core.borrow().poll_timeout();
        if let Some(due_ms) = due_ms {
            shard.state().mqtt().timers.add(due_ms, self.id);
        }
    }

    /// Waits while more is read ahead than may be, and for the memory of a large packet.
    pub(super) async fn wait_for_room(self: &Rc<Self>, shard: &Rc<Shard>) {
        while self.is_full() && !self.is_closed() {
            self.room.wait().await;
        }
        let needed = self.needed_bytes.get();
        if needed <= MQTT_READ_AHEAD_BYTES || self.packet_memory.borrow().is_some() {
            return;
        }
        let bytes = u64::try_from(needed).unwrap_or(u64::MAX) + REQUEST_OVERHEAD_BYTES;
        let memory = shard.budgets().requests.reserve(bytes).await;
        let since_ms = now_ms(shard);
        *self.packet_memory.borrow_mut() = Some((memory, since_ms));
        let due_ms = since_ms + super::timers::SLOW_PACKET_MS;
        shard.state().mqtt().timers.add(due_ms, self.id);
    }

    /// The client has closed its side: what it sent before is still taken, whatever it waits for.
    pub(super) async fn finish_held(&self) {
        let finished = async {
            while !self.is_closed() && self.has_held() {
                self.room.wait().await;
            }
        };
        // Whoever waits longer is not served by this.
        let _late: Result<(), monoio::time::error::Elapsed> =
            monoio::time::timeout(EOF_GRACE, finished).await;
    }

    fn has_held(&self) -> bool {
        let is_opening = self.core.borrow().is_opening();
        self.held.borrow().is_some() || is_opening && !self.pending.borrow().is_empty()
    }

    fn is_full(&self) -> bool {
        let read_ahead = self.pending.borrow().len();
        read_ahead >= MQTT_READ_AHEAD_BYTES.max(self.needed_bytes.get())
    }

    /// Sends what the core has to say.
    pub(super) fn flush(&self, shard: &Rc<Shard>) {
        let mut bytes = self.core.borrow_mut().poll_send();
        if let Some(websocket) = self.websocket.as_ref().filter(|_| !bytes.is_empty()) {
            bytes = websocket.borrow().frame(&bytes);
        }
        if !self.sender.send(shard, bytes) {
            self.core.borrow_mut().handle_lost();
            self.sender.shut_down();
        }
    }

    /// Waits until the task that writes has let the socket go.
    pub(super) async fn finish_sending(&self) {
        self.sender.finish().await;
    }
}
