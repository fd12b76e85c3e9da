//! What MQTT counts on one shard.

use std::cell::Cell;

use mqtt::message::Qos;

use super::MqttService;
use crate::metrics::{Collector, Family, Kind};

/// Counters of one shard.
#[derive(Debug, Default)]
pub(super) struct MqttMetrics {
    opened: Cell<u64>,
    closed: Cell<u64>,
    publishes: [Cell<u64>; 3],
    delivered: Cell<u64>,
    dropped: Cell<u64>,
    refused: Cell<u64>,
    logins_refused: Cell<u64>,
    /// Messages per rule; the last one is the catch-all.
    rules: Vec<Cell<u64>>,
}

/// What was counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) opened: u64,
    /// By quality of service.
    pub(crate) publishes: [u64; 3],
    pub(crate) delivered: u64,
    pub(crate) dropped: u64,
    pub(crate) refused: u64,
    pub(crate) logins_refused: u64,
}

fn add(counter: &Cell<u64>) {
    counter.set(counter.get() + 1);
}

impl MqttMetrics {
    /// Counters for so many rules.
    pub(super) fn new(rules: usize) -> Self {
        Self {
            rules: vec![Cell::new(0); rules + 1],
            ..Self::default()
        }
    }

    pub(super) fn count_opened(&self) {
        add(&self.opened);
    }

    pub(super) fn count_closed(&self) {
        add(&self.closed);
    }

    /// A message of this quality goes where this rule says.
    pub(super) fn count_publish(&self, qos: Qos, rule: Option<usize>) {
        if let Some(counter) = self.publishes.get(usize::from(qos.level())) {
            add(counter);
        }
        let number = rule.unwrap_or(self.rules.len() - 1);
        if let Some(counter) = self.rules.get(number) {
            add(counter);
        }
    }

    /// A message was sent to a subscriber.
    pub(super) fn count_delivered(&self) {
        add(&self.delivered);
    }

    /// A message with QoS 0 found no memory.
    pub(super) fn count_dropped(&self) {
        add(&self.dropped);
    }

    /// Messages were not taken by the log.
    pub(super) fn count_refused(&self) {
        add(&self.refused);
    }

    /// A client was not let in: anonymous, or with a wrong name or password.
    pub(super) fn count_login_refused(&self) {
        add(&self.logins_refused);
    }

    pub(super) fn totals(&self) -> Totals {
        Totals {
            opened: self.opened.get(),
            publishes: self.publishes.each_ref().map(Cell::get),
            delivered: self.delivered.get(),
            dropped: self.dropped.get(),
            refused: self.refused.get(),
            logins_refused: self.logins_refused.get(),
        }
    }

    /// Messages per rule; the last one is the catch-all.
    pub(super) fn rule_counts(&self) -> Vec<u64> {
        self.rules.iter().map(Cell::get).collect()
    }

    pub(super) fn collect(&self, collector: &mut Collector, service: &MqttService) {
        let open = self.opened.get() - self.closed.get();
        collector.number(&CONNECTIONS, &[], open);
        collector.number(&OPENED, &[], self.opened.get());
        for (qos, counter) in ["0", "1", "2"].iter().zip(&self.publishes) {
            collector.number(&PUBLISHES, &[("qos", qos)], counter.get());
        }
        collector.number(&DELIVERED, &[], self.delivered.get());
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        collector.number(&SESSIONS, &[], count(service.sessions.count()));
        collector.number(&RETAINED, &[], count(service.retained.count()));
        collector.number(&GROUPS, &[], count(service.shares.count()));
        collector.number(&READS, &[], service.reads.count());
        collector.number(&DROPPED, &[], self.dropped.get());
        collector.number(&REFUSED, &[], self.refused.get());
        collector.number(&LOGINS_REFUSED, &[], self.logins_refused.get());
        let rules = service
            .mapping
            .rules()
            .iter()
            .map(mqtt::mapping::Rule::text);
        for (rule, counter) in rules.chain(["catch-all"]).zip(&self.rules) {
            collector.number(&RULES, &[("rule", rule)], counter.get());
        }
    }
}

static CONNECTIONS: Family = Family {
    name: "sluice_mqtt_connections",
    help: "MQTT connections that are open.",
    kind: Kind::Gauge,
};
static OPENED: Family = Family {
    name: "sluice_mqtt_connections_opened_total",
    help: "MQTT connections that were accepted.",
    kind: Kind::Counter,
};
static PUBLISHES: Family = Family {
    name: "sluice_mqtt_publishes_total",
    help: "Messages that MQTT clients published and that went to the log.",
    kind: Kind::Counter,
};
static DELIVERED: Family = Family {
    name: "sluice_mqtt_deliveries_total",
    help: "Messages that were sent to MQTT subscribers.",
    kind: Kind::Counter,
};
static SESSIONS: Family = Family {
    name: "sluice_mqtt_sessions",
    help: "MQTT sessions that outlive their connection.",
    kind: Kind::Gauge,
};
static RETAINED: Family = Family {
    name: "sluice_mqtt_retained_messages",
    help: "Retained MQTT messages.",
    kind: Kind::Gauge,
};
static GROUPS: Family = Family {
    name: "sluice_mqtt_shared_subscriptions",
    help: "Groups of MQTT clients that share a subscription.",
    kind: Kind::Gauge,
};
static READS: Family = Family {
    name: "sluice_mqtt_subscriber_reads_total",
    help: "Reads of a partition for MQTT subscribers; those at the same offset share one.",
    kind: Kind::Counter,
};
static DROPPED: Family = Family {
    name: "sluice_mqtt_publishes_dropped_total",
    help: "Messages with QoS 0 that found no memory.",
    kind: Kind::Counter,
};
static REFUSED: Family = Family {
    name: "sluice_mqtt_publishes_refused_total",
    help: "Batches of messages that the log did not take.",
    kind: Kind::Counter,
};
static LOGINS_REFUSED: Family = Family {
    name: "sluice_mqtt_logins_refused_total",
    help: "MQTT clients that were not let in: anonymous, or with a wrong name or password.",
    kind: Kind::Counter,
};
static RULES: Family = Family {
    name: "sluice_mqtt_rule_messages_total",
    help: "Messages that went where a rule says.",
    kind: Kind::Counter,
};
