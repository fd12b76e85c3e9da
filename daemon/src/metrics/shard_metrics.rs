//! What one shard counts on its way through connections and requests.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;

use kafka_lite::api::ApiKey;

use super::histogram::Histogram;
use super::{Collector, Family, Kind};

/// Counters of one shard, owned by its thread.
#[derive(Debug, Default)]
pub struct ShardMetrics {
    bytes_received: Cell<u64>,
    bytes_sent: Cell<u64>,
    connections_opened: Cell<u64>,
    connections_closed: Cell<u64>,
    connections_refused: Cell<u64>,
    bells: Cell<u64>,
    messages: Cell<u64>,
    requests: RefCell<BTreeMap<ApiKey, Histogram>>,
}

impl ShardMetrics {
    /// Bytes came in from a client.
    pub fn count_received(&self, bytes: usize) {
        add(&self.bytes_received, u64::try_from(bytes).unwrap_or(0));
    }

    /// Bytes went out to a client.
    pub fn count_sent(&self, bytes: usize) {
        add(&self.bytes_sent, u64::try_from(bytes).unwrap_or(0));
    }

    /// A connection was taken in.
    pub fn count_connection_opened(&self) {
        add(&self.connections_opened, 1);
    }

    /// A connection ended.
    pub fn count_connection_closed(&self) {
        add(&self.connections_closed, 1);
    }

    /// A connection was refused since there are too many.
    pub fn count_connection_refused(&self) {
        add(&self.connections_refused, 1);
    }

    /// The shard was woken by its bell.
    pub fn count_bell(&self) {
        add(&self.bells, 1);
    }

    /// A message of another thread was handled.
    pub fn count_message(&self) {
        add(&self.messages, 1);
    }

    /// A request was answered, or ended without an answer, after this time.
    pub fn count_request(&self, key: ApiKey, duration: Duration) {
        self.requests
            .borrow_mut()
            .entry(key)
            .or_default()
            .record(duration);
    }

    /// Adds all counters.
    pub fn collect(&self, collector: &mut Collector) {
        collector.number(&RECEIVED, &[], self.bytes_received.get());
        collector.number(&SENT, &[], self.bytes_sent.get());
        collector.number(&OPENED, &[], self.connections_opened.get());
        collector.number(&REFUSED, &[], self.connections_refused.get());
        let opened = self.connections_opened.get();
        let open = opened.saturating_sub(self.connections_closed.get());
        collector.number(&OPEN, &[], open);
        collector.number(&BELLS, &[], self.bells.get());
        collector.number(&MESSAGES, &[], self.messages.get());
        for (key, histogram) in self.requests.borrow().iter() {
            collector.histogram(&REQUESTS, &[("api", key.name())], histogram.snapshot());
        }
    }
}

fn add(counter: &Cell<u64>, amount: u64) {
    counter.set(counter.get() + amount);
}

static RECEIVED: Family = Family {
    name: "sluice_received_bytes_total",
    help: "Bytes received from Kafka clients.",
    kind: Kind::Counter,
};
static SENT: Family = Family {
    name: "sluice_sent_bytes_total",
    help: "Bytes sent to Kafka clients.",
    kind: Kind::Counter,
};
static OPEN: Family = Family {
    name: "sluice_connections",
    help: "Kafka connections that are open.",
    kind: Kind::Gauge,
};
static OPENED: Family = Family {
    name: "sluice_connections_opened_total",
    help: "Kafka connections that were taken in.",
    kind: Kind::Counter,
};
static REFUSED: Family = Family {
    name: "sluice_connections_refused_total",
    help: "Kafka connections that were closed at once because of a limit.",
    kind: Kind::Counter,
};
static BELLS: Family = Family {
    name: "sluice_shard_bells_total",
    help: "How often a sleeping shard was woken by another thread.",
    kind: Kind::Counter,
};
static MESSAGES: Family = Family {
    name: "sluice_shard_messages_total",
    help: "Messages of other threads that a shard handled.",
    kind: Kind::Counter,
};
static REQUESTS: Family = Family {
    name: "sluice_request_seconds",
    help: "Time from a whole request to its written answer.",
    kind: Kind::Histogram,
};
