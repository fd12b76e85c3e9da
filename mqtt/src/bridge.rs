//! The bridge: messages of another MQTT broker, on their way into the log.
//!
//! What it is        what one bridge to one broker knows: when to dial, which messages came and are
//!                   not acknowledged, what goes to the log next, what may be acknowledged.
//! What it is not    a connection, a clock, a log; nor the mapping, which is that of the listener.
//! Invariants        1. a message is acknowledged when its record is committed, and on the
//!                      connection on which it came; a lost connection forgets all that it brought,
//!                      since the broker sends it again.
//!                   2. acknowledgements leave in the order of arrival [MQTT-4.6.0-2].
//!                   3. one batch is on its way to the log at a time, and what was refused is first
//!                      in the next one: messages keep their order.
//! Source            docs/decisions/2026-11-24-mqtt.md, "The bridge".

use std::collections::VecDeque;

use crate::limits::{
    BRIDGE_BATCH_BYTES_MAX, BRIDGE_HELD_BYTES_MAX, BRIDGE_HELD_MAX, BRIDGE_PAUSE_MS_MAX,
    BRIDGE_PAUSE_MS_MIN, BRIDGE_RETRY_MS, BRIDGE_STEADY_MS,
};
use crate::message::{Message, Qos};

/// One filter that the bridge subscribes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BridgeFilter {
    /// Topic filter.
    pub filter: String,
    /// At most [`Qos::AtLeastOnce`].
    pub qos: Qos,
}

/// Messages for the log, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BridgeBatch {
    /// For [`Bridge::handle_outcome`].
    pub number: u64,
    /// At least one.
    pub messages: Vec<Message>,
}

/// Where a bridge is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BridgeState {
    /// Waits before it dials again.
    Waiting,
    /// Dials, or waits for the broker's first answers.
    Connecting,
    /// Subscribed.
    Running,
    /// Subscribed, and the log does not take what came: nothing of it is acknowledged.
    Paused,
}

/// What happened since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BridgeCounts {
    /// Messages that came, those that came again included.
    pub received: u64,
    /// Messages that the log took.
    pub stored: u64,
    /// Messages that were acknowledged to the broker.
    pub acknowledged: u64,
    /// Connections that were accepted.
    pub connects: u64,
    /// Connections that were accepted and of whose client the broker had no session.
    pub sessions_lost: u64,
}

/// The state of one bridge.
#[derive(Debug)]
pub struct Bridge {
    filters: Vec<BridgeFilter>,
    link: Link,
    is_subscribed: bool,
    subscribe_due: bool,
    held: VecDeque<Held>,
    held_bytes: usize,
    on_its_way: Option<OnItsWay>,
    next_number: u64,
    retry_at_ms: Option<u64>,
    link_error: Option<String>,
    log_error: Option<String>,
    counts: BridgeCounts,
    random: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Down { dial_at_ms: u64, failures: u32 },
    Dialling { failures: u32 },
    Up { since_ms: u64, failures: u32 },
}

/// A message that is not acknowledged.
#[derive(Debug)]
struct Held {
    /// `None` with QoS 0.
    packet_id: Option<u16>,
    message: Message,
    is_stored: bool,
}

/// The batch that the log was given.
#[derive(Debug)]
struct OnItsWay {
    number: u64,
    /// Places in `held`; empty when they were forgotten with their connection.
    places: Vec<usize>,
}

impl Bridge {
    /// A bridge that dials at once. `seed` is for jitter.
    #[must_use]
    pub fn new(filters: Vec<BridgeFilter>, seed: u64) -> Self {
        Self {
            filters,
            link: Link::Down {
                dial_at_ms: 0,
                failures: 0,
            },
            is_subscribed: false,
            subscribe_due: false,
            held: VecDeque::new(),
            held_bytes: 0,
            on_its_way: None,
            next_number: 0,
            retry_at_ms: None,
            link_error: None,
            log_error: None,
            counts: BridgeCounts::default(),
            random: seed | 1,
        }
    }

    /// The broker is being dialled.
    pub fn handle_dialling(&mut self) {
        let failures = self.failures();
        self.link = Link::Dialling { failures };
    }

    /// The broker has accepted the connection. A subscription is due when the broker has no session
    /// of this client, and once after the start, since the filters may be others than before. Not
    /// otherwise: each one brings all retained messages again.
    pub fn handle_connected(&mut self, now_ms: u64, session_present: bool) {
        let failures = self.failures();
        self.link = Link::Up {
            since_ms: now_ms,
            failures,
        };
        self.counts.connects += 1;
        if !session_present {
            self.counts.sessions_lost += 1;
            self.is_subscribed = false;
        }
        self.subscribe_due = !self.is_subscribed;
        self.forget_held();
        if self.is_subscribed {
            self.link_error = None;
        }
    }

    /// The broker has answered the subscription: for each filter whether it was granted.
    ///
    /// # Errors
    /// A sentence that names what was refused; the connection is to be given up.
    pub fn handle_subscribed(&mut self, granted: &[bool]) -> Result<(), String> {
        let refused = (0..self.filters.len()).find(|place| granted.get(*place) != Some(&true));
        if let Some(filter) = refused.and_then(|place| self.filters.get(place)) {
            let filter = &filter.filter;
            return Err(format!("the broker refuses the subscription to {filter}"));
        }
        self.is_subscribed = true;
        self.link_error = None;
        Ok(())
    }

    /// A message came; `packet_id` is `None` with QoS 0.
    pub fn handle_publish(&mut self, packet_id: Option<u16>, message: Message) {
        self.counts.received += 1;
        self.held_bytes += size_bytes(&message);
        self.held.push_back(Held {
            packet_id,
            message,
            is_stored: false,
        });
    }

    /// What became of a batch: for each message why it was refused, if it was. Outcomes that are
    /// missing count as refused.
    pub fn handle_outcome(&mut self, now_ms: u64, number: u64, outcomes: &[Result<(), String>]) {
        let Some(on_its_way) = self.on_its_way.take_if(|it| it.number == number) else {
            return;
        };
        let stored = outcomes.iter().filter(|one| one.is_ok()).count();
        self.counts.stored += u64::try_from(stored).unwrap_or(u64::MAX);
        let reason = outcomes.iter().find_map(|one| one.as_ref().err().cloned());
        let is_short = outcomes.len() < on_its_way.places.len();
        self.log_error = reason.or_else(|| is_short.then(|| "the log did not answer".to_owned()));
        self.retry_at_ms = (self.log_error.is_some()).then_some(now_ms + BRIDGE_RETRY_MS);
        for (place, outcome) in on_its_way.places.iter().zip(outcomes) {
            if let Some(held) = self.held.get_mut(*place) {
                held.is_stored = outcome.is_ok();
            }
        }
    }

    /// The batch on its way takes long, and this is why; [`Bridge::handle_outcome`] ends that.
    pub fn handle_delay(&mut self, reason: String) {
        if self.on_its_way.is_some() {
            self.log_error = Some(reason);
        }
    }

    /// The acknowledgement of [`Bridge::next_acknowledgement`] is on its way.
    pub fn handle_acknowledged(&mut self) {
        if self.held.front().is_some_and(|first| first.is_stored) {
            self.take_first();
            self.counts.acknowledged += 1;
        }
    }

    /// The connection has ended, or there was none. What it brought is forgotten.
    pub fn handle_lost(&mut self, now_ms: u64, reason: String) {
        let was_steady = matches!(self.link, Link::Up { since_ms, .. }
            if now_ms.saturating_sub(since_ms) >= BRIDGE_STEADY_MS);
        let failures = if was_steady { 0 } else { self.failures() };
        let pause_ms = self.pause_ms(failures);
        self.link = Link::Down {
            dial_at_ms: now_ms + pause_ms,
            failures: failures.saturating_add(1),
        };
        self.subscribe_due = false;
        self.link_error = Some(reason);
        self.forget_held();
    }

    /// The filters to subscribe to, once for each connection that needs it.
    pub fn poll_subscribe(&mut self) -> Option<Vec<BridgeFilter>> {
        let is_up = matches!(self.link, Link::Up { .. });
        if !is_up || !std::mem::take(&mut self.subscribe_due) {
            return None;
        }
        Some(self.filters.clone())
    }

    /// The next batch for the log, at most [`BRIDGE_BATCH_BYTES_MAX`] or one larger message; `None`
    /// while one is on its way or the pause after a refusal lasts.
    pub fn poll_batch(&mut self, now_ms: u64) -> Option<BridgeBatch> {
        if self.on_its_way.is_some() || self.retry_at_ms.is_some_and(|at| now_ms < at) {
            return None;
        }
        let mut places = Vec::new();
        let mut messages = Vec::new();
        let mut bytes = 0;
        for (place, held) in self.held.iter().enumerate().filter(|(_, it)| !it.is_stored) {
            bytes += size_bytes(&held.message);
            if bytes > BRIDGE_BATCH_BYTES_MAX && !messages.is_empty() {
                break;
            }
            places.push(place);
            messages.push(held.message.clone());
        }
        if messages.is_empty() {
            return None;
        }
        let number = self.next_number;
        self.next_number += 1;
        self.on_its_way = Some(OnItsWay { number, places });
        Some(BridgeBatch { number, messages })
    }

    /// The packet identifier that may be acknowledged next, in order of arrival; it stays until
    /// [`Bridge::handle_acknowledged`].
    pub fn next_acknowledgement(&mut self) -> Option<u16> {
        // Places of a batch count from the front: it stays until the outcome is known.
        if self
            .on_its_way
            .as_ref()
            .is_some_and(|it| !it.places.is_empty())
        {
            return None;
        }
        while self.held.front()?.packet_id.is_none() && self.held.front()?.is_stored {
            self.take_first();
        }
        let first = self.held.front().filter(|first| first.is_stored)?;
        first.packet_id
    }

    /// Time in ms at which something is due by itself: to dial, or to try the log again.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        match self.link {
            Link::Down { dial_at_ms, .. } => Some(dial_at_ms),
            Link::Dialling { .. } | Link::Up { .. } => {
                let waits = self.on_its_way.is_none() && self.held.iter().any(|it| !it.is_stored);
                self.retry_at_ms.filter(|_| waits)
            }
        }
    }

    /// Whether another packet may be read: what is held is bounded.
    #[must_use]
    pub fn can_receive(&self) -> bool {
        self.held.len() < BRIDGE_HELD_MAX && self.held_bytes < BRIDGE_HELD_BYTES_MAX
    }

    /// Where the bridge is.
    #[must_use]
    pub fn state(&self) -> BridgeState {
        match self.link {
            Link::Down { .. } => BridgeState::Waiting,
            Link::Up { .. } if self.is_subscribed && self.log_error.is_some() => {
                BridgeState::Paused
            }
            Link::Up { .. } if self.is_subscribed => BridgeState::Running,
            Link::Dialling { .. } | Link::Up { .. } => BridgeState::Connecting,
        }
    }

    /// What is wrong now; `None` when all is well.
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        self.link_error.as_deref().or(self.log_error.as_deref())
    }

    /// Messages that are not acknowledged.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// What was counted.
    #[must_use]
    pub fn counts(&self) -> BridgeCounts {
        self.counts
    }

    fn failures(&self) -> u32 {
        match self.link {
            Link::Down { failures, .. }
            | Link::Dialling { failures }
            | Link::Up { failures, .. } => failures,
        }
    }

    fn take_first(&mut self) {
        if let Some(first) = self.held.pop_front() {
            self.held_bytes -= size_bytes(&first.message);
        }
    }

    fn forget_held(&mut self) {
        self.held.clear();
        self.held_bytes = 0;
        self.log_error = None;
        if let Some(on_its_way) = &mut self.on_its_way {
            on_its_way.places.clear();
        }
    }

    /// Doubles with each failure in a row; half of it is chance, so that gateways which lost their
    /// broker together do not come back together.
    fn pause_ms(&mut self, failures: u32) -> u64 {
        let doubled = BRIDGE_PAUSE_MS_MIN << failures.min(16);
        let longest = doubled.min(BRIDGE_PAUSE_MS_MAX);
        let half = longest.div_euclid(2);
        half + self.next_random() % (longest - half + 1)
    }

    /// Xorshift: chance enough for a pause.
    fn next_random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}

/// Bytes that a message holds, roughly.
fn size_bytes(message: &Message) -> usize {
    message.topic.len() + message.payload.len() + 128
}

#[cfg(test)]
#[path = "bridge_tests.rs"]
mod tests;
